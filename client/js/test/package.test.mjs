import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import * as client from '../src/index.js';

const root = new URL('..', import.meta.url);
const read = (path) => readFileSync(new URL(path, root));
const sources = readdirSync(new URL('src', root)).filter((name) => name.endsWith('.js'));
const SIZE_MAX = 8192;

test('all sources together have at most 8 KB, as gzip -9 packs them', () => {
  const all = Buffer.concat(sources.sort().map((name) => read(`src/${name}`)));
  const size = execFileSync('gzip', ['-9'], { input: all }).length;
  assert.ok(size <= SIZE_MAX, `${size} bytes, ${size - SIZE_MAX} too many`);
});

test('no source imports anything but its neighbours, and no function is longer than 60 lines', () => {
  for (const name of sources) {
    const text = read(`src/${name}`).toString();
    for (const [, path] of text.matchAll(/from '([^']+)'/g)) assert.ok(sources.includes(path.slice(2)), `${name}: ${path}`);
    assert.doesNotMatch(text, /\brequire\(|\bprocess\b|\bBuffer\b|node:/, name);
    let begin = 0;
    for (const [index, line] of text.split('\n').entries()) {
      if (/^\t?(async |export |static |get |\*|#|\w)/.test(line) && line.endsWith('{') && !/class /.test(line)) begin = index;
      if (/^\t?\}$/.test(line)) assert.ok(index - begin < 60, `${name}:${begin + 1}`);
    }
  }
});

test('the package exports what its types declare, and its files are there', () => {
  const { exports, files, sideEffects, dependencies } = JSON.parse(read('package.json'));
  assert.deepEqual([sideEffects, dependencies], [false, undefined]);
  for (const path of [...Object.values(exports['.']), ...files]) assert.ok(existsSync(new URL(path, root)), path);
  const declared = [...read('src/index.d.ts').toString().matchAll(/^export class (\w+)/gm)].map(([, name]) => name);
  assert.deepEqual(Object.keys(client).sort(), declared.sort());
});

const tsc = new URL('node_modules/typescript/bin/tsc', root);
const skip = existsSync(tsc) ? false : 'TypeScript is not installed: npm ci';

test('the types hold for a program that uses them, strictly', { skip }, () => {
  const args = ['--strict', '--noEmit', '--target', 'es2022', '--lib', 'es2022,dom,dom.asynciterable'];
  const modules = ['--module', 'nodenext', '--moduleResolution', 'nodenext'];
  try {
    execFileSync(process.execPath, [fileURLToPath(tsc), ...args, ...modules, 'test/types/usage.ts'], { cwd: fileURLToPath(root) });
  } catch (error) {
    assert.fail(`${error.stdout}`);
  }
});
