/**
 * Where Chromium comes from: CHROMIUM_BINARY, PATH, or – as root on Debian or Ubuntu – the distribution's package, with a typeface that
 * is the same on every machine.
 */
import { aptInstall, canAptInstall } from './apt.ts';
import { isExecutable, onPath } from './run.ts';
import { ServersUnavailable } from './unavailable.ts';
import type { Progress } from './unavailable.ts';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome'];
const INSTALL = 'Chromium is not installed: install chromium, or name its program in CHROMIUM_BINARY';

/** Throws `ServersUnavailable`, with the reason, where it cannot be had. */
export async function chromiumBinary(progress: Progress = () => {}): Promise<string> {
  const named = process.env['CHROMIUM_BINARY'];
  if (named !== undefined && named !== '') {
    if (await isExecutable(named)) return named;
    throw new ServersUnavailable(`CHROMIUM_BINARY is ${named}, which is no program`);
  }
  const found = await installed();
  if (found !== undefined) return found;
  if (!(await canAptInstall())) throw new ServersUnavailable(INSTALL);
  progress('installing chromium with apt-get (a minute or so, once)');
  try {
    await aptInstall('chromium');
    // Pictures are nicer with it.
    await aptInstall('fonts-inter').catch(() => {});
  } catch (error) {
    throw new ServersUnavailable(`${INSTALL} (apt-get could not install it)`, { cause: error });
  }
  const now = await installed();
  if (now === undefined) throw new ServersUnavailable(INSTALL);
  return now;
}

async function installed(): Promise<string | undefined> {
  for (const name of NAMES) {
    const path = await onPath(name);
    if (path !== undefined) return path;
  }
  return undefined;
}
