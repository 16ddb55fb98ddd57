// The licence text that travels with the page: for each npm package that is in the bundle, where its source is,
// its licence files, and the copyright notices at the head of its files, which minifying takes away.

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

const RULE = '='.repeat(78);
const LICENCE_FILE = /^(licen[cs]e|copying|notice|authors)([.-].*)?$/i;
const HEAD_COMMENT = /^\s*\/\*([\s\S]*?)\*\//;

/** `inputs` are the bundled files relative to `root`, as esbuild lists them. */
export async function thirdPartyText(root, inputs) {
  const packages = new Map();
  for (const input of [...inputs].sort()) {
    const [, name, file] = /^node_modules\/((?:@[^/]+\/)?[^/]+)\/(.+)$/.exec(input) ?? [];
    if (name) packages.set(name, [...(packages.get(name) ?? []), file]);
  }

  const parts = ['Third-party software in the Portcullis console page\n'];
  for (const [name, files] of packages) {
    parts.push(await packageText(join(root, 'node_modules', name), files));
  }
  return parts.join('\n');
}

async function packageText(folder, bundled) {
  const about = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
  const source = (about.repository?.url ?? about.repository ?? about.homepage).replace(/^git\+/, '');
  const parts = [
    RULE,
    `${about.name} ${about.version}, licence ${about.license}`,
    // MPL 2.0 section 3.2: who receives the minified form is told how to get the source.
    `Used unmodified, minified. Source: npm package ${about.name} version ${about.version}, or ${source}\n`,
  ];
  for (const file of await licenceFiles(folder)) {
    parts.push(RULE, `${about.name}: ${file}\n`, await readFile(join(folder, file), 'utf8'));
  }
  for (const [notice, files] of await notices(folder, bundled)) {
    parts.push(RULE, `${about.name}: notice in ${files.join(', ')}\n`, `${notice}\n`);
  }
  return parts.join('\n');
}

async function licenceFiles(folder, under = '') {
  const entries = await readdir(join(folder, under), { withFileTypes: true });
  const found = await Promise.all(entries.map((entry) => {
    const path = under + entry.name;
    if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : licenceFiles(folder, `${path}/`);
    return LICENCE_FILE.test(entry.name) ? [path] : [];
  }));
  return found.flat().sort();
}

/** Notice -> the files that carry it; many files of one package carry the same. */
async function notices(folder, bundled) {
  const found = new Map();
  for (const file of bundled) {
    const comment = HEAD_COMMENT.exec(await readFile(join(folder, file), 'utf8'))?.[1] ?? '';
    if (!/copyright/i.test(comment)) continue;
    const notice = comment.replace(/^[ \t]*\*? ?/gm, '').trim();
    found.set(notice, [...(found.get(notice) ?? []), file]);
  }
  return found;
}
