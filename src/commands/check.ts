/**
 * `tailrace check`: would `run` start, and on what? Looks at this machine and at both ends, and changes nothing anywhere. Every end is looked at
 * even when another one fails, so that one run tells all there is to mend.
 */
import { loadFile } from '../config/load.ts';
import { checkDefinitions } from './check-definitions.ts';
import { checkFiles, checkFolder, checkPort } from './check-folder.ts';
import { checkSink } from '../check/check-sink.ts';
import { checkSource } from '../check/check-source.ts';
import { Findings } from '../check/findings.ts';
import { asJson, toStdout } from './output.ts';

export interface CheckOptions {
  /** The configuration file. */
  readonly config: string;
  readonly json?: boolean;
  readonly write?: (text: string) => void;
}

export async function check({ config: path, json = false, write = toStdout }: CheckOptions): Promise<number> {
  const loaded = await loadFile(path, process.env);
  const findings = new Findings(json ? () => undefined : write);
  findings.title(path);
  findings.ok('the file has no faults');
  const folder = await checkFolder(path, loaded.config, findings);
  await checkPort(loaded.config, folder, findings);
  const { config, starts } = await checkDefinitions(loaded, process.env, findings);
  await checkFiles(config, findings);
  for (const source of config.sources) await checkSource(source, { config, stored: folder.stored, starts }, findings);
  for (const sink of config.sinks) await checkSink(sink, config, findings);
  const { faults, all: found } = findings;
  if (json) write(asJson({ ok: faults === 0, faults, found }));
  else write(faults === 0 ? 'All is well.\n' : `${faults} to mend.\n`);
  return faults === 0 ? 0 : 2;
}
