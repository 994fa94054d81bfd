/**
 * What is installed for users: each package pinned with its hash, and none with a known vulnerability, moderate or worse. A
 * registry that cannot be asked about those (a mirror, most often) is no reason to fail; that it could not is said.
 */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';

const lock = JSON.parse(await readFile(new URL('../package-lock.json', import.meta.url), 'utf8'));
const loose = Object.entries(lock.packages).filter(([path, { integrity, link }]) => path !== '' && !integrity && !link);
if (loose.length > 0) fail(`not pinned by a hash: ${loose.map(([path]) => path).join(', ')}`);

const report = await new Promise((resolve) => {
  execFile('npm', ['audit', '--omit=dev', '--json'], { timeout: 60_000 }, (_, stdout) => {
    try {
      resolve(JSON.parse(stdout));
    } catch {
      resolve({});
    }
  });
});
const counts = report.metadata?.vulnerabilities;
if (counts === undefined) {
  console.log(`NOT AUDITED: the registry does not say (${report.message ?? 'no answer'})`);
} else {
  const bad = counts.moderate + counts.high + counts.critical;
  for (const { name, severity, range } of Object.values(report.vulnerabilities ?? {})) {
    console.log(`${severity}: ${name} ${range}`);
  }
  if (bad > 0) fail(`${bad} known vulnerabilities: \`npm audit --omit=dev\` tells more`);
  console.log('no known vulnerability, moderate or worse');
}

function fail(why) {
  console.error(why);
  process.exit(1);
}
