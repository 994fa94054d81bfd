/**
 * Every page can be reached from the README, and every link of a page that leads into this repository leads to something: a file that is
 * there, and in a page a heading (its anchor made as GitHub makes it).
 */
import assert from 'node:assert/strict';
import { access, readFile, readdir } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const START = 'README.md';

interface Page {
  /** As they stand, without those to other hosts. */
  readonly links: readonly string[];
  /** Of each link, in the same order. */
  readonly words: readonly string[];
  readonly anchors: ReadonlySet<string>;
}

test('every page is reachable from the README', async () => {
  const pages = await allPages();
  const reached = new Set([START]);
  for (const page of reached) {
    for (const link of pages.get(page)!.links) {
      const { path } = targetOf(page, link);
      if (pages.has(path)) reached.add(path);
    }
  }
  assert.deepEqual([...pages.keys()].filter((page) => !reached.has(page)).toSorted(), []);
});

test('every relative link leads to a file, and every #anchor to a heading', async () => {
  const dead: string[] = [];
  const pages = await allPages();
  for (const [page, { links }] of pages) {
    for (const link of links) {
      const { path, anchor } = targetOf(page, link);
      const there = await access(join(ROOT, path)).then(
        () => true,
        () => false,
      );
      const isHeading = anchor === '' || pages.get(path)?.anchors.has(anchor) === true;
      if (!there || !isHeading) dead.push(`${page}: ${link}`);
    }
  }
  assert.deepEqual(dead, []);
});

test('a test that a page names by its words is where the page says', async () => {
  const wrong: string[] = [];
  for (const [page, { links, words }] of await allPages()) {
    for (const [at, link] of links.entries()) {
      if (!/\/test\/.*\.ts$/.test(link)) continue;
      const source = await readFile(join(ROOT, targetOf(page, link).path), 'utf8');
      // In the source a quote may be escaped.
      if (!source.replaceAll('\\', '').includes(words[at]!)) wrong.push(`${page}: ${words[at]}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test('every page that the program or a setting names is there', async () => {
  const names = await readdir(join(ROOT, 'src'), { recursive: true });
  const files = names.filter((name) => name.endsWith('.ts')).map((name) => join('src', name));
  const missing: string[] = [];
  for (const file of [START, ...files]) {
    const text = await readFile(join(ROOT, file), 'utf8');
    for (const [page] of text.matchAll(/docs\/[\w/-]+\.md/g)) {
      const found = await access(join(ROOT, page)).catch(() => 'missing');
      if (found === 'missing') missing.push(`${file}: ${page}`);
    }
  }
  assert.deepEqual(missing, []);
});

test('every source file that a page names is there', async () => {
  const folders = ['src', 'test', 'bench', 'wasm', 'grafana', 'examples'];
  const files = await Promise.all(
    folders.map(async (folder) =>
      (await readdir(join(ROOT, folder), { recursive: true })).map((name) => `/${folder}/${name}`),
    ),
  );
  const all = files.flat();
  const missing: string[] = [];
  for (const page of (await allPages()).keys()) {
    const text = await readFile(join(ROOT, page), 'utf8');
    for (const [, file = ''] of text.matchAll(/`([\w/-]+\.m?ts)`/g)) {
      if (!all.some((path) => path.endsWith(`/${file}`))) missing.push(`${page}: ${file}`);
    }
  }
  assert.deepEqual(missing, []);
});

test('anchors are made as GitHub makes them', () => {
  const { anchors } = pageOf('# A `b.c`: d, e\n## HTTP\n## HTTP\n```sh\n# none\n```\n### _x_ & [y z](q.md)\n');
  assert.deepEqual([...anchors], ['a-bc-d-e', 'http', 'http-1', 'x--y-z']);
});

async function allPages(): Promise<ReadonlyMap<string, Page>> {
  const below = await Promise.all(
    ['docs', 'deploy', 'grafana', 'examples'].map(async (folder) => {
      const names = await readdir(join(ROOT, folder), { recursive: true });
      return names.filter((name) => name.endsWith('.md')).map((name) => join(folder, name));
    }),
  );
  const paths = [START, ...below.flat()];
  return new Map(
    await Promise.all(paths.map(async (path) => [path, pageOf(await readFile(join(ROOT, path), 'utf8'))] as const)),
  );
}

function pageOf(markdown: string): Page {
  const text = markdown.replaceAll(/^ *```[\s\S]*?^ *```/gm, '');
  const found = [...text.matchAll(/(?:\[(?<words>[^\][]*))?\]\((?<link>[^)\s]+)\)/g)].flatMap(({ groups }) => {
    const { words = '', link = '' } = groups!;
    // Those to other hosts are not ours to keep.
    return /^[a-z]+:/.test(link) ? [] : { link, words: words.replaceAll('\\', '').replaceAll(/\s+/g, ' ') };
  });
  const anchors = new Set<string>();
  for (const { groups } of text.matchAll(/^#{1,6} +(?<heading>.+?) *$/gm)) {
    const slug = slugOf(groups!['heading']!);
    let anchor = slug;
    for (let n = 1; anchors.has(anchor); n++) anchor = `${slug}-${n}`;
    anchors.add(anchor);
  }
  return { links: found.map(({ link }) => link), words: found.map(({ words }) => words), anchors };
}

function slugOf(heading: string): string {
  return heading
    .replaceAll(/\[(?<text>[^\]]*)\]\([^)]*\)/g, '$<text>')
    .replaceAll(/(?<![\p{L}\p{N}])_(?<text>[^_]+)_(?![\p{L}\p{N}])/gu, '$<text>')
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}_\- ]/gu, '')
    .replaceAll(' ', '-');
}

/** Both relative to the repository. */
function targetOf(page: string, link: string): { readonly path: string; readonly anchor: string } {
  const [file = '', anchor = ''] = link.split('#');
  return { path: file === '' ? page : normalize(join(dirname(page), decodeURI(file))), anchor };
}
