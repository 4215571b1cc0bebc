import assert from 'node:assert/strict';
import test from 'node:test';
import { decompress } from '../src/lz4.js';
import { decodeMessages, decodeToken, encodeMessage, encodeToken } from '../src/message.js';
import { encode, frames } from '../src/wire.js';
import { beat, buffer, ended, frame, goodbye, hole, published, record, stamped, subscribed, welcome } from './support/bytes.mjs';
import { golden } from './support/golden.mjs';

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const one = (bytes) => {
  const [found, ...more] = frames(buffer(bytes));
  assert.equal(more.length, 0);
  return found;
};
/** Some fields of an object. */
const some = (object, like) => Object.fromEntries(Object.keys(like).map((key) => [key, object[key]]));
const has = (object, like) => assert.deepEqual(some(object, like), like);

test('what the client sends has the golden bytes', () => {
  const name = Buffer.from('demo');
  const magic = 0x5a45594f;
  const hello = { magic, version: 2, heartbeatMs: 0, aux: 5, nameSize: 4, proofSize: 0 };
  assert.equal(hex(encode('hello', hello, name)), hex(golden.get('hello')[1]));
  const place = { aux: 1, id: 7, start: 2, topicSize: 4, value: 42n, epoch: 0x1122334455667788n };
  assert.equal(hex(encode('subscribe', place, name)), hex(golden.get('subscribe')[0]));
  const latest = { aux: 1, id: 1, start: 0, topicSize: 4, value: 0n, epoch: 0n };
  assert.equal(hex(encode('subscribe', latest, Buffer.from('a/ü'))), hex(golden.get('subscribe')[1]));
  assert.equal(hex(encode('unsubscribe', { id: 8, topicSize: 4 }, name)), hex(golden.get('unsubscribe')[0]));
  for (const [index, kind] of ['ping', 'pong'].entries()) {
    assert.equal(hex(encode(kind, { token: 0xa1b2c3d4n })), hex(golden.get('ping_and_pong')[index]));
  }
  const reason = Buffer.from('shutting down');
  const parting = { aux: 1, retryAfterMs: 1500, size: reason.length };
  assert.equal(hex(encode('goodbye', parting, reason)), hex(golden.get('goodbye')[0]));
});

test('a published record has the golden bytes, as in the worked example', () => {
  const [name, message] = [Buffer.from('demo'), encodeMessage('hello')];
  const head = { count: 1, rawSize: message.length, topicSize: 4, padding: 6, offset: 9n, sequence: 0n };
  assert.equal(hex(encode('record', head, name, message)), hex(golden.get('builder')[0]));
});

test('what the broker sends is read as the golden bytes say', () => {
  has(one(golden.get('welcome')[0]), {
    kind: 'welcome',
    aux: 2,
    heartbeatMs: 30_000,
    recordSizeMax: 262_144,
    rawSizeMax: 1_048_576,
    recordsMax: 256,
    bytesMax: 16 << 20,
    text: 'oyez-server',
  });
  has(one(golden.get('subscribed')[0]), { kind: 'subscribed', id: 7, aux: 0, flags: 3, next: 42n, epoch: 9n, retryAfterMs: 0 });
  has(one(golden.get('subscribed')[1]), { kind: 'subscribed', id: 7, aux: 0x204, retryAfterMs: 1500 });
  has(one(golden.get('goodbye')[0]), { kind: 'goodbye', aux: 1, retryAfterMs: 1500, text: 'shutting down' });
  has(one(golden.get('gap')[0]), { kind: 'gap', aux: 2, from: 10n, to: 12n, epoch: 9n, text: 'demo' });
  has(one(golden.get('skip')[0]), { kind: 'skip', aux: 2, from: 10n, to: 12n, epoch: 9n, text: 'demo' });
  has(one(golden.get('ended')[0]), { kind: 'ended', aux: 0x302, retryAfterMs: 0, text: 'demo' });
  has(one(golden.get('ping_and_pong')[0]), { kind: 'ping', token: 0xa1b2c3d4n });
  has(one(golden.get('ping_and_pong')[1]), { kind: 'pong', token: 0xa1b2c3d4n });
  assert.equal(one(golden.get('unsubscribed')[0]).kind, 'unsubscribed');
  assert.equal(one(golden.get('notice')[0]).kind, 'notice');
  const [first, second] = frames(buffer(golden.get('published')[0]));
  has(first, { kind: 'published', id: 5n, offset: 100n, epoch: 9n, outcome: 0 });
  has(second, { kind: 'published', id: 6n, outcome: 0x201, retryAfterMs: 2000 });
});

test('delivered records and their messages are read as the golden bytes say', () => {
  const delivered = one(golden.get('stamped_record')[0]);
  has(delivered, { kind: 'record', topic: 'demo', count: 1, codec: 0, offset: 1000n, timestampMs: 1_700_000_000_000 });
  assert.equal(Buffer.from(decodeMessages(delivered.block, 1)[0].payload).toString(), 'hello');

  const rich = one(stamped(golden.get('record_with_extras_and_every_part_of_a_message')[0]));
  const [message, empty] = decodeMessages(rich.block, rich.count);
  assert.equal(Buffer.from(message.key).toString(), 'user-1');
  assert.deepEqual(message.headers, [['type', 'note'], ['empty', '']]);
  assert.deepEqual([message.payload.length, empty.payload.length, empty.key], [5, 0, null]);

  const packed = one(stamped(golden.get('lz4_record')[0]));
  const payloads = decodeMessages(decompress(packed.block, packed.rawSize), 2).map(({ payload }) => Buffer.from(payload).toString());
  assert.deepEqual(payloads, ['a'.repeat(40), 'a'.repeat(40)]);
});

test('a message has one encoding, which is that of the golden bytes', () => {
  const rich = stamped(golden.get('record_with_extras_and_every_part_of_a_message')[0]);
  const { block } = one(rich);
  const headers = { type: 'note', empty: '' };
  const encoded = [encodeMessage('hello', { key: 'user-1', headers }), encodeMessage('')];
  assert.equal(hex(Buffer.concat(encoded)), hex(block));
  assert.equal(hex(encodeMessage('hello', { key: 'user-1', headers: Object.entries(headers) })), hex(encoded[0]));
});

test('a resume token has the golden bytes', () => {
  const text = golden.get('resume_token')[0].toString('base64url');
  assert.equal(encodeToken('demo', { epoch: 7n, next: 1000n }), text);
  has(decodeToken(text, 'demo'), { epoch: 7n, next: 1000n });
  assert.throws(() => decodeToken(text, 'other'), { code: 'bad_token' });
  const nameless = encodeToken('', { epoch: 7n, next: 1000n });
  has(decodeToken(nameless, 'demo'), { epoch: 7n, next: 1000n });
  for (const wrong of ['', 'x', 'latest!', text.slice(1), `${text}A`, text.replace(/.$/, '_')]) {
    assert.throws(() => decodeToken(wrong, 'demo'), { code: 'bad_token' }, wrong);
  }
});

test('a kind that is not known is passed over when its high bit is set, and else ends the connection', () => {
  const later = golden.get('a_kind_that_is_not_known_and_may_be_skipped')[0];
  assert.deepEqual([...frames(buffer(later, beat(10)))].map(({ kind }) => kind), ['pong']);
  assert.throws(() => one(frame({ kind: 23 })), { complaint: 261 });
  assert.throws(() => one(golden.get('answer')[0]), { complaint: 261 });
});

test('sequences of logs have no place where no filter was subscribed to', () => {
  assert.throws(() => one(golden.get('gap')[1]));
  assert.throws(() => one(golden.get('subscribed_to_a_filter')[0]));
  assert.throws(() => one(golden.get('ended')[1]));
});

test('the frames that other tests build are those of the golden bytes', () => {
  const terms = { heartbeatMs: 30_000, features: 65, instance: 0x0123456789abcdefn, expires: 1_700_000_000_000, name: 'oyez-server' };
  assert.equal(hex(welcome(terms)), hex(golden.get('welcome')[0]));
  assert.equal(hex(goodbye(1, { reason: 'shutting down', retryAfterMs: 1500 })), hex(golden.get('goodbye')[0]));
  assert.equal(hex(hole(14, { topic: 'demo', from: 10, to: 12, cause: 2, epoch: 9 })), hex(golden.get('gap')[0]));
  assert.equal(hex(ended('demo', 0x302)), hex(golden.get('ended')[0]));
  const entries = [{ id: 5, offset: 100, epoch: 9 }, { id: 6, epoch: 0, outcome: 0x201, retryAfterMs: 2000 }];
  assert.equal(hex(published(...entries)), hex(golden.get('published')[0]));
  assert.equal(hex(record({ topic: 'demo', offset: 1000, messages: ['hello'] })), hex(golden.get('stamped_record')[0]));
  assert.equal(subscribed({ id: 7 }).length, golden.get('subscribed')[0].length);
});
