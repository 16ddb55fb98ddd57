// Builds dist/: the console page as the daemon embeds it.
// The same sources and lock file give the same bytes on every machine, so that a package can be built again and compared.

import { createHash } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { thirdPartyText } from './licences.mjs';

const root = fileURLToPath(new URL('.', import.meta.url));
const dist = join(root, 'dist');

// Old hashed files would be embedded too, so nothing of an earlier build may stay.
await rm(dist, { recursive: true, force: true });

const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: ['src/console.js', 'src/console.css'],
  outdir: 'dist/assets',
  entryNames: '[name]-[hash]',
  chunkNames: '[name]-[hash]',
  bundle: true,
  minify: true,
  // The viewer is loaded on demand (see src/console.js), which needs a chunk of its own.
  splitting: true,
  format: 'esm',
  // noVNC awaits at the top level of a module.
  target: 'es2022',
  metafile: true,
  logLevel: 'warning',
});

const page = {
  'console.js': builtFrom('src/console.js'),
  'console.css': builtFrom('src/console.css'),
  'third-party.txt': await writeLicences(),
};

const template = await readFile(join(root, 'src/index.html'), 'utf8');
const html = template.replace(/%([a-z.-]+)%/g, (_, name) => {
  if (!(name in page)) throw new Error(`src/index.html asks for %${name}%, which is not built`);
  return `assets/${page[name]}`;
});
await writeFile(join(dist, 'index.html'), html);

function builtFrom(entryPoint) {
  const found = Object.entries(metafile.outputs).find(([, output]) => output.entryPoint === entryPoint);
  return basename(found[0]);
}

async function writeLicences() {
  const text = await thirdPartyText(root, Object.keys(metafile.inputs));
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 8).toUpperCase();
  const name = `THIRD-PARTY-${hash}.txt`;
  await mkdir(join(dist, 'assets'), { recursive: true });
  await writeFile(join(dist, 'assets', name), text);
  return name;
}
