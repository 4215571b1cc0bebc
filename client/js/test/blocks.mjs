/**
 * Compares how this client reads records with how another implementation does: `node test/blocks.mjs FILE`.
 *
 * The file has a JSON object on each line, for one record, whole or damaged:
 *
 *   record    its bytes in base64, as they would be delivered: stamped by a broker
 *   verdict   what the other implementation makes of them, under the limits of the protocol (`Limits::HARD`):
 *             "refused"     they are not just one record, or it breaks a rule: structure, topic, extras, either checksum
 *             "unreadable"  it is one, but its block does not decompress, or does not hold its messages
 *             "read"        it is one, with these:
 *   topic         the topic
 *   offset        of the first message, as a text of decimal digits
 *   timestamp_ms  as a number
 *   messages      a list of { "key": base64 or null, "headers": [[name, value], ...], "payload": base64 }, where names and
 *                 values are text: what is no UTF-8 is replaced by U+FFFD, as `String::from_utf8_lossy` does
 *
 * It prints each line that is read otherwise, and at last how many passed and failed. It fails unless all passed, and
 * when there are none.
 */
import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { decompress } from '../src/lz4.js';
import { decodeMessages } from '../src/message.js';
import { frames } from '../src/wire.js';

const base64 = (bytes) => Buffer.from(bytes).toString('base64');

/** The one record in these bytes. */
function recordIn(bytes) {
  try {
    const found = [...frames(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))];
    return found.length === 1 && found[0].kind === 'record' ? found[0] : undefined;
  } catch {
    return undefined;
  }
}

function messagesOf({ codec, block, rawSize, count }) {
  try {
    return decodeMessages(codec ? decompress(block, rawSize) : block, count);
  } catch {
    return undefined;
  }
}

function verdictOn(bytes) {
  const record = recordIn(bytes);
  if (!record) return { verdict: 'refused' };
  const parts = messagesOf(record);
  if (!parts) return { verdict: 'unreadable' };
  const messages = parts.map(({ key, headers, payload }) => ({ key: key && base64(key), headers, payload: base64(payload) }));
  const { topic, offset, timestampMs } = record;
  return { verdict: 'read', topic, offset: String(offset), timestamp_ms: timestampMs, messages };
}

const file = process.argv[2];
if (!file) {
  console.log('usage: node test/blocks.mjs FILE');
  process.exit(process.env.NODE_TEST_CONTEXT ? 0 : 2);
}
const counts = { passed: 0, failed: 0, read: 0, unreadable: 0, refused: 0 };
let number = 0;
for await (const line of createInterface({ input: createReadStream(file) })) {
  number++;
  if (!line) continue;
  const { record, ...expected } = JSON.parse(line);
  try {
    assert.deepEqual(verdictOn(Buffer.from(record, 'base64')), expected);
    counts.passed++;
    counts[expected.verdict]++;
  } catch (error) {
    counts.failed++;
    console.log(`line ${number}: ${error.message}`);
  }
}
console.log(`${counts.read} read, ${counts.unreadable} unreadable, ${counts.refused} refused`);
console.log(`${counts.passed} passed, ${counts.failed} failed`);
process.exitCode = counts.failed || !counts.passed ? 1 : 0;
