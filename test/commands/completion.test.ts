/** The scripts of `tailrace completion`, at work in the real shells: keys are typed, and it is seen what the command is called with. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { aptInstall, canAptInstall } from '../servers/apt.ts';
import { onPath } from '../servers/run.ts';

const exec = promisify(execFile);
const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const TYPE_KEYS = fileURLToPath(new URL('type-keys.py', import.meta.url));

/** What is typed, and what the command gets. */
const TYPED = [
  ['tailrace expl\theld-unr\t', 'explain held-unroutable'],
  ['tailrace checkp\tsh\t--js\t', 'checkpoint show --json'],
  ['tailrace run --conf\tmy-c\t--fail\t', 'run --config my-config.yaml --fail-fast'],
  ['tailrace tail --format cl\tx', 'tail --format cloudevents x'],
  ['tailrace parked list --subscription orders --reas\ttoo-\t', 'parked list --subscription orders --reason too-large'],
  ['tailrace checkpoint set orders ear\t', 'checkpoint set orders earliest'],
  ['tailrace completion zs\t', 'completion zsh'],
] as const;

interface Shell {
  readonly name: 'bash' | 'zsh' | 'fish';
  readonly command: (script: string) => readonly string[];
  readonly setup: (script: string) => string;
}

const GOT = 'tailrace() { printf "GOT<%s>\\n" "$*"; }';
const SHELLS: readonly Shell[] = [
  {
    name: 'bash',
    command: (setup) => ['bash', '--noprofile', '--rcfile', setup, '-i'],
    setup: (script) => `PS1='$ '\n${GOT}\nsource ${script}\n`,
  },
  {
    name: 'zsh',
    // It reads .zshrc from the folder that is its ZDOTDIR.
    command: (setup) => ['env', `ZDOTDIR=${join(setup, '..')}`, 'zsh', '--no-globalrcs', '-i'],
    setup: (script) => `PS1='$ '\nautoload -Uz compinit && compinit -u -D\n${GOT}\nsource ${script}\n`,
  },
  {
    name: 'fish',
    command: (setup) => ['fish', '--no-config', '--private', '--init-command', `source ${setup}`, '-i'],
    setup: (script) =>
      `set -g fish_greeting ''\nset -g fish_autosuggestion_enabled 0\nfunction fish_prompt; echo '$ '; end\n` +
      `source ${script}\nfunction tailrace; printf "GOT<%s>\\n" "$argv"; end\n`,
  },
];

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tailrace-completion-'));
  await writeFile(join(folder, 'my-config.yaml'), '');
});
after(() => rm(folder, { recursive: true, force: true }));

// Most of it is waiting for shells.
describe('commands, options and known values complete', { concurrency: SHELLS.length }, () => {
  for (const { name, command, setup } of SHELLS) {
    test(`in ${name}`, async (t) => {
      if (!(await obtained(name))) return t.skip(`there is no ${name}, or no Python`);
      const { stdout: script } = await exec(process.execPath, [CLI, 'completion', name]);
      const file = join(folder, `script.${name}`);
      await writeFile(file, script);
      const rc = join(folder, name === 'zsh' ? '.zshrc' : `rc.${name}`);
      await writeFile(rc, setup(file));
      const keys = TYPED.map(([typed]) => `${typed}\r`).join('');
      const { stdout } = await exec('python3', [TYPE_KEYS, keys, ...command(rc)], {
        cwd: folder,
        env: { ...process.env, TERM: 'dumb', HOME: folder, LC_ALL: 'C.UTF-8' },
        timeout: 120_000,
      });
      const got = [...stdout.matchAll(/^\r*GOT<(?<words>[^>]*)>/gm)].map(({ groups }) => groups!['words']!.trim());
      assert.deepEqual(
        got,
        TYPED.map(([, wanted]) => wanted),
        stdout,
      );
    });
  }
});

/** Whether it is there now. */
async function obtained(name: string): Promise<boolean> {
  if ((await onPath('python3')) === undefined) return false;
  if ((await onPath(name)) === undefined && (await canAptInstall())) await aptInstall(name).catch(() => undefined);
  return (await onPath(name)) !== undefined;
}
