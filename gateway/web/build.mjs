// Builds dist/: console page and dashboard as the daemon embeds them, each in a folder of its own.
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

await buildSite('console', 'src', 'console');
await buildSite('dashboard', 'src/dashboard', 'dashboard');

/** Builds dist/`site` of index.html and `entry`.js and .css in `folder`. */
async function buildSite(site, folder, entry) {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: [`${folder}/${entry}.js`, `${folder}/${entry}.css`],
    outdir: `dist/${site}/assets`,
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
  const inputs = Object.keys(metafile.inputs);
  const page = {
    [`${entry}.js`]: builtFrom(metafile, `${folder}/${entry}.js`),
    [`${entry}.css`]: builtFrom(metafile, `${folder}/${entry}.css`),
    // Only where there is something of others.
    ...inputs.some((input) => input.startsWith('node_modules/')) && { 'third-party.txt': await writeLicences(site, inputs) },
  };

  const template = await readFile(join(root, folder, 'index.html'), 'utf8');
  const html = template.replace(/%([a-z.-]+)%/g, (_, name) => {
    if (!(name in page)) throw new Error(`${folder}/index.html asks for %${name}%, which is not built`);
    return `assets/${page[name]}`;
  });
  await writeFile(join(dist, site, 'index.html'), html);
}

function builtFrom(metafile, entryPoint) {
  const found = Object.entries(metafile.outputs).find(([, output]) => output.entryPoint === entryPoint);
  return basename(found[0]);
}

async function writeLicences(site, inputs) {
  const text = await thirdPartyText(root, inputs);
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 8).toUpperCase();
  const name = `THIRD-PARTY-${hash}.txt`;
  await mkdir(join(dist, site, 'assets'), { recursive: true });
  await writeFile(join(dist, site, 'assets', name), text);
  return name;
}
