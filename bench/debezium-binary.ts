/** Where Debezium Server comes from: its distribution in the Maven registry, fetched with the `mvn` that is there, kept in our cache. */
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { debianRoot } from '../test/servers/debian-root.ts';
import { cacheFolder } from '../test/servers/mongod-binary.ts';
import { onPath, run } from '../test/servers/run.ts';
import { ServersUnavailable } from '../test/servers/unavailable.ts';
import type { Progress } from '../test/servers/unavailable.ts';

export interface DebeziumBinary {
  readonly version: string;
  /** "21 of a Debian in a folder" */
  readonly javaWords: string;
  readonly java: string;
  /** Of the unpacked distribution. */
  readonly folder: string;
  readonly classPath: string;
}

/** What all of them are compiled for. */
const JAVA = 21;
/** The one that most figures elsewhere are about, and the newest that the registry has. */
export const DEBEZIUM_VERSIONS = ['3.0.0.Final', '3.6.0.Final'];

/** Throws `ServersUnavailable`, with the reason, where it cannot be had. */
export async function debeziumBinary(version: string, progress: Progress): Promise<DebeziumBinary> {
  try {
    const folder = await obtained(version, progress);
    const { java, javaWords } = await javaFor(progress);
    const runner = (await readdir(folder)).find((name) => /^debezium-server-.*runner\.jar$/.test(name));
    if (runner === undefined) throw new Error(`${folder} holds no runner`);
    return { version, java, javaWords, folder, classPath: `${join(folder, runner)}:${join(folder, 'lib')}/*` };
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
    throw new ServersUnavailable(`Debezium Server ${version} cannot be had: ${reason}`, { cause: error });
  }
}

async function obtained(version: string, progress: Progress): Promise<string> {
  const folder = join(cacheFolder(), 'debezium', version);
  if ((await readdir(folder).catch(() => [])).length > 0) return folder;
  if ((await onPath('mvn')) === undefined) throw new Error('there is no mvn to fetch it with');
  progress(`fetching Debezium Server ${version} (400 to 700 MB) into ${folder}`);
  const partial = `${folder}.${process.pid}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  const artifact = `-Dartifact=io.debezium:debezium-server-dist:${version}:tar.gz`;
  const mvn = async (...args: string[]): Promise<string> => run('mvn', ['-q', '-B', ...args], { timeoutMs: 900_000 });
  await mvn('dependency:get', artifact, '-Dtransitive=false');
  await mvn('dependency:copy', artifact, `-DoutputDirectory=${partial}`);
  const archive = join(partial, `debezium-server-dist-${version}.tar.gz`);
  await run('tar', ['-xzf', archive, '-C', partial], { timeoutMs: 300_000 });
  await rename(join(partial, 'debezium-server'), folder);
  await rm(partial, { recursive: true });
  return folder;
}

async function javaFor(progress: Progress): Promise<{ java: string; javaWords: string }> {
  const found = await onPath('java');
  if (found === undefined) throw new Error('there is no java');
  const { stdout, version } = await versionOf(found);
  if (version >= JAVA) return { java: found, javaWords: stdout };
  const programs = { java: '/usr/bin/java' };
  const scripts = await debianRoot(
    { suite: 'trixie', packages: [`openjdk-${JAVA}-jre-headless`], programs },
    progress,
  ).catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`it takes Java ${JAVA}, here is ${version}, and ${reason}`);
  });
  const own = await versionOf(join(scripts, 'java'));
  return { java: join(scripts, 'java'), javaWords: own.stdout };
}

async function versionOf(java: string): Promise<{ stdout: string; version: number }> {
  // Unlike `-version`, it speaks to stdout: "openjdk 17.0.15 2025-04-15".
  const stdout = (await run(java, ['--version'])).split('\n', 1)[0]!;
  return { stdout, version: Number(/\d+/.exec(stdout)?.[0]) };
}
