/** The golden bytes of the protocol: hexadecimal texts in the tests of the Rust implementation, by the test they stand in. */
import { readFileSync } from 'node:fs';

const folder = new URL('../../../../protocol/tests/golden/', import.meta.url);

function readAll(file) {
  const source = readFileSync(new URL(file, folder), 'utf8');
  const found = new Map();
  let test;
  for (const [, name, hex] of source.matchAll(/fn (\w+)\(|"\\?\s*((?:[0-9a-f]{2}\s+){8,}(?:[0-9a-f]{2}\s*)*)"/g)) {
    if (name) test = name;
    else found.set(test, [...(found.get(test) ?? []), Buffer.from(hex.replace(/\s/g, ''), 'hex')]);
  }
  // What stands between two tests, as a constant, belongs to the one before.
  return found;
}

export const golden = new Map([...readAll('control.rs'), ...readAll('records.rs')]);
