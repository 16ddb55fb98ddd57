// Builds dist/: console page and dashboard as the daemon embeds them, each in a folder of its own.
// The same sources and lock file give the same bytes on every machine, so that a package can be built again and compared.

import { createHash } from 'node:crypto';
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { thirdPartyText } from './licences.mjs';

const root = fileURLToPath(new URL('.', import.meta.url));
const dist = join(root, 'dist');
const spiceHtml5 = join(root, 'node_modules/@spice-project/spice-html5');
const { version } = JSON.parse(await readFile(join(spiceHtml5, 'package.json'), 'utf8'));
// What is there for ever in browsers' caches has another name for each version.
const spiceFolder = `spice-html5-${version}`;
const ironRdp = join(root, 'node_modules/@devolutions/iron-remote-desktop-rdp');
const { version: ironVersion, license: ironLicence } = JSON.parse(await readFile(join(ironRdp, 'package.json'), 'utf8'));
const ironFile = `iron-remote-desktop-rdp-${ironVersion}.js`;

// Old hashed files would be embedded too, so nothing of an earlier build may stay.
await rm(dist, { recursive: true, force: true });

// The package has no copy of it; ours ends with one.
const licence = await readFile(join(root, '../../LICENSE'), 'utf8');
const apache = licence.slice(licence.indexOf('                                 Apache License'));

const besides = `
${'='.repeat(78)}
@spice-project/spice-html5 ${version}, licence LGPL-3.0-or-later

Used unmodified, each file for itself, in ${spiceFolder}/ beside this text; its licences are COPYING.txt and
COPYING.LESSER.txt there. Source: npm package @spice-project/spice-html5 version ${version}.

${'='.repeat(78)}
@devolutions/iron-remote-desktop-rdp ${ironVersion}, licence ${ironLicence}

Used unmodified, as ${ironFile} beside this text, under the Apache License 2.0. Source: npm package
@devolutions/iron-remote-desktop-rdp version ${ironVersion}, or https://github.com/Devolutions/IronRDP

${apache}`;

await buildSite('console', 'src', 'console');
await copySpice();
// IronRDP as it came: it holds a program of WebAssembly, which no bundler makes smaller.
await cp(join(ironRdp, 'iron-remote-desktop-rdp.js'), join(dist, 'console/assets', ironFile));
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
    define: { SPICE_HTML5: JSON.stringify(spiceFolder), IRON_RDP: JSON.stringify(ironFile) },
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

/** spice-html5 as it came, each file for itself: who has the page may put others in their place (LGPL 3, section 4). */
async function copySpice() {
  const to = join(dist, 'console/assets', spiceFolder);
  // What loads modules for browsers without them is not needed, and not built for a page with a policy.
  const filter = (path) => !path.includes('browser-es-module-loader');
  await cp(join(spiceHtml5, 'src'), to, { recursive: true, filter });
  for (const name of ['COPYING', 'COPYING.LESSER', 'README']) await cp(join(spiceHtml5, name), join(to, `${name}.txt`));
}

function builtFrom(metafile, entryPoint) {
  const found = Object.entries(metafile.outputs).find(([, output]) => output.entryPoint === entryPoint);
  return basename(found[0]);
}

async function writeLicences(site, inputs) {
  const text = (await thirdPartyText(root, inputs)) + (site === 'console' ? besides : '');
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 8).toUpperCase();
  const name = `THIRD-PARTY-${hash}.txt`;
  await mkdir(join(dist, site, 'assets'), { recursive: true });
  await writeFile(join(dist, site, 'assets', name), text);
  return name;
}
