import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { record } from './support/bytes.mjs';

const script = fileURLToPath(new URL('blocks.mjs', import.meta.url));

/** What the script says of a file with these lines. */
function judged(t, lines) {
  const folder = mkdtempSync(join(tmpdir(), 'oyez-blocks-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'blocks.jsonl');
  writeFileSync(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  const env = { ...process.env, NODE_TEST_CONTEXT: '' };
  const { status, stdout } = spawnSync(process.execPath, [script, file], { encoding: 'utf8', env });
  return { status, last: stdout.trim().split('\n').at(-1) };
}

const base64 = (bytes) => Buffer.from(bytes).toString('base64');
const rich = { payload: 'hello', key: 'k', headers: [['unit', Buffer.from([0x61, 0xff])]] };
const whole = record({ topic: 'demo', offset: 7n, messages: [rich, 'x'], timestampMs: 1_700_000_000_123 });
const read = {
  record: base64(whole),
  verdict: 'read',
  topic: 'demo',
  offset: '7',
  timestamp_ms: 1_700_000_000_123,
  messages: [
    { key: base64('k'), headers: [['unit', 'a\ufffd']], payload: base64('hello') },
    { key: null, headers: [], payload: base64('x') },
  ],
};
const unreadable = { record: base64(record({ count: 2, raw: Buffer.from([8, 0x61, 0x62]) })), verdict: 'unreadable' };
const refused = { record: base64(whole.subarray(8)), verdict: 'refused' };

test('a file of blocks passes when all is read as it says', (t) => {
  assert.deepEqual(judged(t, [read, unreadable, refused]), { status: 0, last: '3 passed, 0 failed' });
});

test('a file of blocks fails when one is read otherwise, or when there are none', (t) => {
  for (const wrong of [{ ...read, offset: '8' }, { ...unreadable, verdict: 'refused' }, { ...refused, verdict: 'unreadable' }]) {
    assert.deepEqual(judged(t, [read, wrong]), { status: 1, last: '1 passed, 1 failed' });
  }
  assert.equal(judged(t, []).status, 1);
});
