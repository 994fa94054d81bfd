/** Certificates for servers and clients of tests, by the machine's openssl: made for one test, thrown away with its folder. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from './run.ts';

export interface Certificates extends AsyncDisposable {
  readonly folder: string;
  /** The authority that signed all of them. */
  readonly ca: string;
  /** Another one, which signed none. */
  readonly otherCa: string;
  /** For 127.0.0.1 and localhost. */
  readonly server: KeyPair;
  /** For another host. */
  readonly elsewhere: KeyPair;
  /** For 127.0.0.1, but not valid any more. */
  readonly expired: KeyPair;
  readonly client: KeyPair & { readonly subject: string; readonly commonName: string };
  /** The client's, its key under `passphrase`. */
  readonly locked: KeyPair & { readonly passphrase: string };
}

/** Paths of PEM files. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
  /** Both in one file, as MongoDB wants them. */
  readonly both: string;
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
const SUBJECT = '/O=Tailrace tests';

export async function makeCertificates(): Promise<Certificates> {
  const folder = await mkdtemp(join(tmpdir(), 'tailrace-certificates-'));
  const at = (name: string): string => join(folder, name);
  const openssl = (...args: readonly string[]): Promise<string> => run('openssl', args);

  const authority = async (name: string): Promise<string> => {
    const files = ['-keyout', at(`${name}.key`), '-out', at(`${name}.pem`)];
    await openssl('req', '-x509', ...NEW_KEY, ...files, '-days', '2', '-subj', `${SUBJECT}/CN=${name}`);
    return at(`${name}.pem`);
  };
  const signed = async (name: string, { unit, alt, days = 2 }: SignOptions): Promise<KeyPair> => {
    const [cert, key, request] = [at(`${name}.pem`), at(`${name}.key`), at(`${name}.csr`)];
    const subject = `${SUBJECT}/OU=${unit}/CN=${name}`;
    await openssl('req', ...NEW_KEY, '-keyout', key, '-out', request, '-subj', subject);
    await writeFile(at(`${name}.ext`), alt === undefined ? 'extendedKeyUsage=clientAuth' : `subjectAltName=${alt}`);
    const authorities = ['-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial', '-extfile', at(`${name}.ext`)];
    await openssl('x509', '-req', '-in', request, '-out', cert, '-days', `${days}`, ...authorities);
    return { cert, key, both: await joined(cert, key) };
  };

  const here = 'IP:127.0.0.1,DNS:localhost';
  const [ca, otherCa] = await Promise.all([authority('ca'), authority('other')]);
  const server = await signed('server', { unit: 'servers', alt: here });
  const elsewhere = await signed('elsewhere', { unit: 'servers', alt: 'DNS:db.elsewhere' });
  const expired = await signed('expired', { unit: 'servers', alt: here, days: 0 });
  const client = await signed('tailrace', { unit: 'clients' });
  const passphrase = 'open-the-key-s3cret';
  await openssl('ec', '-in', client.key, '-out', at('locked.key'), '-aes256', '-passout', `pass:${passphrase}`);
  const locked = { cert: client.cert, key: at('locked.key'), both: await joined(client.cert, at('locked.key')) };
  return {
    folder,
    ca,
    otherCa,
    server,
    elsewhere,
    expired,
    client: { ...client, commonName: 'tailrace', subject: 'CN=tailrace,OU=clients,O=Tailrace tests' },
    locked: { ...locked, passphrase },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

interface SignOptions {
  readonly unit: string;
  /** A server's names; a client has none. */
  readonly alt?: string;
  readonly days?: number;
}

async function joined(cert: string, key: string): Promise<string> {
  const path = `${key}.both`;
  await writeFile(path, (await readFile(cert, 'utf8')) + (await readFile(key, 'utf8')));
  return path;
}
