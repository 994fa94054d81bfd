/**
 * The Helm chart. What needs no helm is tried always; with `npm run test:chart` helm renders it, and each object is held against the
 * schemas of Kubernetes.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Ajv } from 'ajv';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { readConfig } from '../../src/config/load.ts';

const exec = promisify(execFile);
const CHART = fileURLToPath(new URL('../../deploy/helm/tailrace/', import.meta.url));
const VALIDATE = fileURLToPath(new URL('validate.py', import.meta.url));
const HELM = process.env['TAILRACE_TEST_HELM'];
const KUBERNETES = ['1.25', '1.31', '1.37'];
/** Of itself it stands for a cluster as old as its sources say. */
const TEMPLATE = ['template', 'it', CHART, '--kube-version', '1.31.0'];

const CONFIG = {
  sources: { shop: { uri: '${MONGODB_URI}' } },
  sinks: { rabbit: { uri: '${AMQP_URI}' } },
  subscriptions: [{ name: 'orders', namespaces: ['shop.*'], to: { exchange: 'changes' } }],
};
const FEWEST = { config: CONFIG, existingEnvSecret: 'uris' };
const MOST = {
  ...FEWEST,
  secretEnv: { EXTRA: 'a "quoted" one: yes' },
  mountedSecrets: ['rabbit-tls'],
  imagePullSecrets: [{ name: 'registry' }],
  persistence: { size: '20Gi', storageClass: 'fast' },
  serviceMonitor: { enabled: true, labels: { release: 'prometheus' } },
  networkPolicy: {
    enabled: true,
    ingressFrom: [{ namespaceSelector: { matchLabels: { name: 'monitoring' } } }],
    egress: [{ to: [{ ipBlock: { cidr: '192.0.2.0/24' } }], ports: [{ port: 27_017, protocol: 'TCP' }] }],
  },
  podAnnotations: { a: 'b' },
  podLabels: { team: 'data' },
  nodeSelector: { disk: 'ssd' },
  tolerations: [{ key: 'data', operator: 'Exists' }],
  affinity: {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [{ matchExpressions: [{ key: 'zone', operator: 'In', values: ['a'] }] }],
      },
    },
  },
  priorityClassName: 'high',
};
const OWN = {
  existingConfigSecret: 'mine',
  persistence: { existingClaim: 'kept' },
  podDisruptionBudget: { enabled: false },
};

test("the chart has the package's version", async () => {
  const chart = parse(await readFile(join(CHART, 'Chart.yaml'), 'utf8')) as { version: string; appVersion: string };
  const manifest = JSON.parse(await readFile(join(CHART, '../../../package.json'), 'utf8')) as { version: string };
  assert.equal(chart.appVersion, manifest.version);
});

test('its schema takes its defaults and the examples, and nothing that is misspelt', async () => {
  const schema = JSON.parse(await readFile(join(CHART, 'values.schema.json'), 'utf8')) as object;
  const check = new Ajv({ strict: false }).compile(schema);
  const defaults = parse(await readFile(join(CHART, 'values.yaml'), 'utf8')) as object;
  for (const values of [defaults, FEWEST, MOST, OWN]) assert.ok(check(values), JSON.stringify(check.errors));
  for (const wrong of [{ replicas: 2 }, { persistence: { size: 5 } }, { podDisruptionBudget: { maxUnavailable: 2 } }])
    assert.equal(check(wrong), false, JSON.stringify(wrong));
});

test('what its templates read is in values.yaml', async () => {
  const defaults = parse(await readFile(join(CHART, 'values.yaml'), 'utf8')) as Record<string, unknown>;
  const read = new Set<string>();
  for (const name of await readdir(join(CHART, 'templates'))) {
    const text = await readFile(join(CHART, 'templates', name), 'utf8');
    for (const [, path = ''] of text.matchAll(/\.Values\.([\w.]+)/g)) read.add(path);
  }
  for (const path of read) {
    let value: unknown = defaults;
    for (const part of path.split('.')) value = (value as Record<string, unknown> | undefined)?.[part];
    assert.notEqual(value, undefined, path);
  }
  for (const name of Object.keys(defaults))
    assert.ok(
      [...read].some((path) => path.split('.')[0] === name),
      name,
    );
});

describe('as helm renders it', { skip: HELM === undefined && 'npm run test:chart' }, () => {
  let folder: string;
  let python: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tailrace-chart-'));
    await exec('python3', ['-m', 'venv', join(folder, 'python')]);
    python = join(folder, 'python/bin/python');
    await exec(python, ['-m', 'pip', 'install', '--quiet', 'kubernetes-validate==1.37.0']);
  });
  after(() => rm(folder, { recursive: true, force: true }));

  const render = async (values: object): Promise<string> => {
    const file = join(folder, 'values.yaml');
    await writeFile(file, stringify(values));
    await exec(HELM!, ['lint', '--strict', CHART, '--values', file]);
    return (await exec(HELM!, [...TEMPLATE, '--namespace', 'data', '--values', file])).stdout;
  };

  for (const [name, values, kinds] of [
    ['fewest', FEWEST, ['PodDisruptionBudget', 'Secret', 'Service', 'StatefulSet']],
    [
      'most',
      MOST,
      ['NetworkPolicy', 'PodDisruptionBudget', 'Secret', 'Secret', 'Service', 'ServiceMonitor', 'StatefulSet'],
    ],
    ['own', OWN, ['Service', 'StatefulSet']],
  ] as const) {
    test(`with the ${name} values each object is one that Kubernetes ${KUBERNETES.join(', ')} take`, async () => {
      const text = await render(values);
      assert.deepEqual(
        objects(text)
          .map(({ kind }) => kind)
          .toSorted(byName),
        kinds,
      );
      const file = join(folder, 'rendered.yaml');
      await writeFile(file, text);
      const { stdout } = await exec('sh', ['-c', `"$0" "$@" < '${file}'`, python, VALIDATE, ...KUBERNETES]).catch(
        (error: unknown) => assert.fail((error as { stdout: string; stderr: string }).stdout || String(error)),
      );
      assert.equal(Number(stdout), kinds.length);
    });
  }

  test('there is one replica, not as root, with its volume and its probes', async () => {
    const set = objects(await render(MOST)).find(({ kind }) => kind === 'StatefulSet');
    const { spec } = set as StatefulSet;
    assert.equal(spec.replicas, 1);
    const [container] = spec.template.spec.containers;
    assert.equal(spec.template.spec.securityContext.runAsNonRoot, true);
    assert.equal(container!.securityContext.readOnlyRootFilesystem, true);
    assert.equal(container!.readinessProbe.httpGet.path, '/readyz');
    assert.equal(container!.livenessProbe.httpGet.path, '/healthz');
    assert.deepEqual(
      container!.volumeMounts.map(({ mountPath }) => mountPath),
      ['/var/lib/tailrace', '/etc/tailrace', '/tmp', '/etc/tailrace-secrets/rabbit-tls'],
    );
    assert.equal(spec.volumeClaimTemplates[0]!.metadata.name, 'data');
  });

  test('the configuration in the secret is one that Tailrace takes, and another one is another pod', async () => {
    const first = objects(await render(FEWEST));
    const secret = first.find(({ kind }) => kind === 'Secret') as unknown as {
      stringData: { 'tailrace.yaml': string };
    };
    const config = await readConfig(parse(secret.stringData['tailrace.yaml']) as object, {
      MONGODB_URI: 'mongodb://h/?replicaSet=rs0',
      AMQP_URI: 'amqp://h',
    });
    assert.equal(config.checkpoint.path, '/var/lib/tailrace');
    assert.deepEqual({ host: config.http?.host, port: config.http?.port }, { host: '0.0.0.0', port: 9464 });
    const second = objects(await render({ ...FEWEST, config: { ...CONFIG, log: { level: 'debug' } } }));
    const checksum = (all: readonly KubernetesObject[]): unknown =>
      (all.find(({ kind }) => kind === 'StatefulSet') as StatefulSet).spec.template.metadata.annotations[
        'checksum/config'
      ];
    assert.notEqual(checksum(first), checksum(second));
  });

  test('without a configuration, or with a value that there is not, it says so', async () => {
    await assert.rejects(exec(HELM!, TEMPLATE), /Tailrace needs a configuration/);
    await assert.rejects(exec(HELM!, [...TEMPLATE, '--set', 'existingConfigSecret=x,replicas=2']), /replicas/);
  });
});

interface KubernetesObject {
  readonly kind: string;
}

interface StatefulSet extends KubernetesObject {
  readonly spec: {
    readonly replicas: number;
    readonly volumeClaimTemplates: readonly { readonly metadata: { readonly name: string } }[];
    readonly template: {
      readonly metadata: { readonly annotations: Readonly<Record<string, string>> };
      readonly spec: {
        readonly securityContext: { readonly runAsNonRoot: boolean };
        readonly containers: readonly {
          readonly securityContext: { readonly readOnlyRootFilesystem: boolean };
          readonly livenessProbe: Probe;
          readonly readinessProbe: Probe;
          readonly volumeMounts: readonly { readonly mountPath: string }[];
        }[];
      };
    };
  };
}

interface Probe {
  readonly httpGet: { readonly path: string };
}

function objects(text: string): KubernetesObject[] {
  return parseAllDocuments(text)
    .map((document) => document.toJS() as KubernetesObject | null)
    .filter((one) => one !== null);
}

function byName(a: string, b: string): number {
  return a < b ? -1 : 1;
}
