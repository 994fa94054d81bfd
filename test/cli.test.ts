import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const CLI = fileURLToPath(new URL('../src/cli.ts', import.meta.url));
const TSX = import.meta.resolve('tsx');
const folder = await mkdtemp(join(tmpdir(), 'tailrace-cli-'));
after(() => rm(folder, { recursive: true, force: true }));

interface Ended {
  readonly code: number | string | null | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** In a folder of its own, where there is no tailrace.yaml. */
function tailrace(...args: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['--import', TSX, CLI, ...args], { cwd: folder }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : error.code, stdout, stderr });
    });
  });
}

test('--help lists the commands and the exit codes', async () => {
  const { code, stdout } = await tailrace('--help');
  assert.equal(code, 0);
  for (const command of ['run', 'check', 'tail', 'checkpoint', 'parked', 'explain']) {
    assert.match(stdout, new RegExp(String.raw`^ {2}${command}\b`, 'm'));
  }
  for (const exitCode of [0, 1, 2, 3, 130]) assert.match(stdout, new RegExp(`^ {2}${exitCode} `, 'm'));
});

test("each command's help names its options", async () => {
  for (const [args, options] of [
    [['run'], ['-c, --config <file>', '--repartition', '--fail-fast']],
    [['check'], ['-c, --config <file>']],
    [['tail'], ['--ns <pattern>', '--from <start>', '--format <format>']],
    [
      ['checkpoint', 'show'],
      ['-c, --config <file>', '--json'],
    ],
    [
      ['parked', 'list'],
      ['-c, --config <file>', '--json', '--subscription <name>', '--reason <reason>', '--since <time>', '--event <id>'],
    ],
    [
      ['parked', 'replay'],
      ['-c, --config <file>', '--until <time>', '--dry-run'],
    ],
    [
      ['parked', 'drop'],
      ['-c, --config <file>', '--until <time>', '--dry-run', '--yes'],
    ],
  ] as const) {
    const { code, stdout } = await tailrace(...args, '--help');
    assert.equal(code, 0);
    for (const option of options) assert.ok(stdout.includes(option), `${args.join(' ')}: ${option}`);
  }
});

test("--version prints the package's version", async () => {
  const manifest = await readFile(new URL('../package.json', import.meta.url), 'utf8');
  const { code, stdout } = await tailrace('--version');
  assert.equal(code, 0);
  assert.ok(manifest.includes(`"version": "${stdout.trim()}"`), stdout);
});

test('bad usage exits 2 and says what is wrong on stderr', async () => {
  for (const [args, said] of [
    [[], /Usage: tailrace/],
    [['chek'], /^tailrace: unknown command 'chek'\n\(Did you mean check\?\)/],
    [['run', '--nope'], /^tailrace: unknown option '--nope'/],
    [['run', 'file.yaml'], /^tailrace: too many arguments/],
    [['run', '-c'], /^tailrace: option '-c, --config <file>' argument missing/],
    [['checkpoint'], /Usage: tailrace checkpoint/],
    [['checkpoint', 'sat'], /^tailrace: unknown command 'sat'/],
    [
      ['checkpoint', 'set', 'orders'],
      /^tailrace: missing required argument 'position'\n`tailrace checkpoint set --help` shows/,
    ],
    [['parked', 'forget'], /^tailrace: unknown command 'forget'\n`tailrace parked --help` shows/],
    [
      ['parked', 'list', '--reason', 'missing-feild'],
      /^tailrace: --reason "missing-feild": nothing is parked for that; did you mean "missing-field"\? Known are undecodable, /,
    ],
    [
      ['parked', 'drop', '--reason', 'bogus'],
      /^tailrace: --reason "bogus": nothing is parked for that Known|Known are /,
    ],
    [['parked', 'drop', '--since', 'lately'], /^tailrace: --since "lately": expected an ISO date/],
    [['tail'], /^tailrace: missing required argument 'uri'/],
    [['tail', 'mongodb://h', '--from', 'never'], /^tailrace: --from "never": expected latest, /],
  ] as const) {
    const { code, stdout, stderr } = await tailrace(...args);
    assert.equal(code, 2, args.join(' '));
    assert.match(stderr, said);
    assert.equal(stdout, '');
  }
});

test('a URI in the wrong place is not shown with its password', async () => {
  const { code, stderr } = await tailrace('mongodb://root:hunter2@h/');
  assert.equal(code, 2);
  assert.match(stderr, /unknown command 'mongodb:\/\/\(hidden\)@h\/'/);
});

test('a secret of the file is in no message, wherever else it stands in the file or on the command line', async () => {
  const secret = 'S3CRET-tailrace';
  const uri = (scheme: string): string => `${scheme}://u:${secret}@127.0.0.1:1/`;
  // Where secrets have no place, and messages show what is there.
  const content = {
    sources: { src: { uri: `${uri('mongodb')}?replicaSet=rs0` } },
    sinks: { mq: { uri: uri('amqps'), tls: { ca: `./${secret}.pem` } } },
    subscriptions: [{ name: 'orders', namespaces: ['shop.*'], to: { queue: 'orders' } }],
  };
  await writeFile(join(folder, 'secret.json'), JSON.stringify(content));
  const config = ['-c', 'secret.json'];
  for (const args of [
    ['checkpoint', 'set', secret, 'latest', '--yes', ...config],
    ['checkpoint', 'forget', secret, '--yes', ...config],
    ['check', ...config],
  ]) {
    const { code, stdout, stderr } = await tailrace(...args);
    assert.equal(code, 2, stderr);
    assert.match(stdout + stderr, /\(hidden\)/, args.join(' '));
    assert.doesNotMatch(stdout + stderr, /S3CRET/, args.join(' '));
  }
});

test('without a file, every command that needs one exits 2 and names it', async () => {
  for (const args of [['check'], ['checkpoint', 'show'], ['parked', 'list']]) {
    const { code, stderr } = await tailrace(...args);
    assert.equal(code, 2, args.join(' '));
    assert.match(
      stderr,
      /^tailrace: there is no configuration file .*\/tailrace\.yaml; name one with -c FILE, or write a first one with `tailrace init`\n\[code: config-invalid; .*\]\n$/,
    );
  }
});

test('a run says why it cannot start as a line of its log, with a code', async () => {
  const { code, stderr } = await tailrace('run');
  assert.equal(code, 2);
  const said = JSON.parse(stderr) as Record<string, unknown>;
  assert.deepEqual(
    { level: said['level'], code: said['code'], exitCode: said['exitCode'] },
    { level: 'fatal', code: 'config-invalid', exitCode: 2 },
  );
  assert.match(
    String(said['msg']),
    /^there is no configuration file .*\/tailrace\.yaml; name one with -c FILE, or write a first one with `tailrace init`$/,
  );
});

test('a faulty file is reported whole, with exit code 2', async () => {
  await writeFile(join(folder, 'faulty.yaml'), 'sources: {}\nlog: { level: loud }\nsnapshots: {}\n');
  const run = await tailrace('run', '-c', 'faulty.yaml');
  assert.equal(run.code, 2);
  assert.match((JSON.parse(run.stderr) as { msg: string }).msg, /^faulty\.yaml has 4 faults; nothing was started:\n/);
  const { code, stderr } = await tailrace('check', '-c', 'faulty.yaml');
  assert.equal(code, 2);
  assert.match(stderr, /^tailrace: faulty\.yaml has 4 faults; nothing was started:\n/);
  assert.equal(stderr.trimEnd().split('\n').length, 6, stderr);
  assert.match(stderr, /\n\[code: config-invalid; `tailrace explain config-invalid` says more\]\n$/);
});
