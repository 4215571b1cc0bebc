import assert from 'node:assert/strict';
import test from 'node:test';
import { crc32c } from '../src/wire.js';
import { decodeMessages } from '../src/message.js';
import { goodbye, packed, published } from './support/bytes.mjs';
import { settle, world } from './support/world.mjs';

/** A connected world. `texts` are the payloads of the records over its last connection. */
async function publishing(t, { terms, ...options } = {}) {
  const it = await world(t, options);
  await it.connect({ terms });
  const records = () => it.socket.of('record').map(textsOf);
  const answer = async (...entries) => {
    await it.socket.deliver(published(...entries));
  };
  return Object.assign(it, { records, answer });
}

function textsOf({ bytes, count }) {
  const block = bytes.subarray(48 + bytes[16], bytes.length - bytes[18]);
  return decodeMessages(block, count).map(({ payload }) => Buffer.from(payload).toString());
}

test('what is published is answered with its place', async (t) => {
  const it = await publishing(t);
  const place = it.oyez.publish('a', 'hello', { key: 'k', headers: { unit: 'celsius' } });
  await settle();
  const [sent] = it.socket.of('record');
  assert.deepEqual([sent.topic, sent.count], ['a', 1]);
  await it.answer({ id: sent.id, offset: 1000, epoch: 255 });
  assert.deepEqual(await place, { offset: 1000, epoch: 255n });
});

test('what is published in one turn shares a record by topic, and keeps its order', async (t) => {
  const it = await publishing(t);
  const places = ['a0', 'b0', 'a1', 'a2'].map((text) => it.oyez.publish(text[0], text));
  await settle();
  assert.deepEqual(it.records(), [['a0', 'a1', 'a2'], ['b0']]);
  const [a, b] = it.socket.of('record');
  await it.answer({ id: b.id, offset: 5 }, { id: a.id, offset: 70 });
  assert.deepEqual((await Promise.all(places)).map(({ offset }) => offset), [70, 5, 71, 72]);
});

test('ids are numbers that are followed by their checksums', async (t) => {
  const it = await publishing(t);
  for (const topic of ['a', 'b', 'c']) it.oyez.publish(topic, 'x').catch(() => {});
  await settle();
  const expected = [1n, 2n, 3n].map((number) => (number << 16n) | BigInt(crc32c(packed([8, number])) & 0xffff));
  assert.deepEqual(it.socket.of('record').map(({ id }) => id), expected);
});

test('what is published without a connection waits for one', async (t) => {
  const it = await world(t);
  const place = it.oyez.publish('a', '0');
  it.oyez.publish('a', '1').catch(() => {});
  await settle();
  await it.socket.accept();
  assert.equal(it.socket.of('record').length, 0, 'the limits are not known yet');
  await it.socket.break();
  await it.retry();
  await it.connect();
  const [sent] = it.socket.of('record');
  assert.deepEqual(textsOf(sent), ['0', '1']);
  await it.socket.deliver(published({ id: sent.id, offset: 3 }));
  assert.equal((await place).offset, 3);
});

test('what was not answered goes again, first, in its order, and under the limits of the new connection', async (t) => {
  const it = await publishing(t);
  const settled = [];
  const publish = (text) => it.oyez.publish('a', text).then(({ offset }) => settled.push([text, offset]));
  for (const text of ['0', '1', '2']) {
    publish(text);
    await settle();
  }
  const [, second] = it.socket.of('record');
  await it.answer({ id: second.id, offset: 11 });
  await it.socket.break();
  publish('3');
  await it.retry();
  await it.connect({ terms: { recordSizeMax: 56 } });
  assert.deepEqual(it.records(), [['0', '2', '3']]);
  await it.answer({ id: it.socket.of('record')[0].id, offset: 20 });
  assert.deepEqual(settled, [['1', 11], ['0', 20], ['2', 21], ['3', 22]]);
});

test('refusals say whether to try again', async (t) => {
  const it = await publishing(t);
  const refused = [[0x100, 'refused', false], [0x201, 'not_now', true], [0x301, 'not_allowed', false], [0x400, 'not_supported', false]];
  for (const [outcome, code, retryable] of refused) {
    const told = assert.rejects(it.oyez.publish('a', 'x'), { name: 'OyezError', code, outcome, retryable, retryAfterMs: 2000 });
    await settle();
    await it.socket.deliver(published({ id: it.socket.of('record').at(-1).id, outcome, retryAfterMs: 2000 }));
    await told;
  }
});

test('while the broker shuts down a record is kept for the next connection', async (t) => {
  const it = await publishing(t);
  const place = it.oyez.publish('a', 'x');
  await settle();
  await it.answer({ id: it.socket.of('record')[0].id, outcome: 0x202 });
  await it.socket.deliver(goodbye(1));
  await it.retry();
  await it.connect();
  assert.deepEqual(it.records(), [['x']]);
  await it.answer({ id: it.socket.of('record')[0].id, offset: 4 });
  assert.equal((await place).offset, 4);
});

test('no more is on its way than the broker takes, and what waits meanwhile shares records', async (t) => {
  const it = await publishing(t, { terms: { inflightRecordsMax: 2 } });
  for (const text of ['0', '1', '2', '3']) {
    it.oyez.publish('a', text).catch(() => {});
    await settle();
  }
  assert.deepEqual(it.records(), [['0'], ['1']]);
  await it.answer({ id: it.socket.of('record')[1].id });
  assert.deepEqual(it.records(), [['0'], ['1'], ['2', '3']]);
});

test('bytes on their way are bounded, and what is larger goes alone', async (t) => {
  const it = await publishing(t, { terms: { inflightBytesMax: 100 } });
  for (const size of [38, 38, 38, 500]) {
    it.oyez.publish('a', 'x'.repeat(size)).catch(() => {});
    await settle();
  }
  const sizes = () => it.records().map((texts) => texts.join('').length);
  assert.deepEqual(sizes(), [38, 38]);
  await it.answer({ id: it.socket.of('record')[0].id });
  assert.deepEqual(sizes(), [38, 38], 'what waits has grown together');
  await it.answer({ id: it.socket.of('record')[1].id });
  assert.deepEqual(sizes(), [38, 38, 538]);
  for (const topic of ['b', 'c', 'd']) it.oyez.publish(topic, 'x'.repeat(38)).catch(() => {});
  await it.answer({ id: it.socket.of('record')[2].id });
  assert.equal(sizes().length, 5);
  await it.answer({ id: it.socket.of('record')[3].id });
  assert.equal(sizes().length, 6, 'what is answered makes room');
});

test('topics take turns', async (t) => {
  const it = await publishing(t, { terms: { inflightRecordsMax: 1, rawSizeMax: 3 } });
  for (const text of ['a0', 'a1', 'a2', 'b0', 'b1', 'c0']) it.oyez.publish(text[0], text).catch(() => {});
  for (let turn = 0; turn < 6; turn++) {
    await settle();
    await it.answer({ id: it.socket.of('record').at(-1).id });
  }
  assert.deepEqual(it.records().flat(), ['a0', 'b0', 'c0', 'a1', 'b1', 'a2']);
});

test('records keep within the limits of the broker', async (t) => {
  const it = await publishing(t, { terms: { recordSizeMax: 4096, rawSizeMax: 2000 } });
  const texts = Array.from({ length: 40 }, (_, index) => `${index}`.padEnd(150, '.'));
  for (const text of texts) it.oyez.publish('a', text).catch(() => {});
  await settle();
  for (const { bytes } of it.socket.of('record')) assert.ok(bytes.length <= 4096 && bytes.readUInt32LE(12) <= 2000);
  assert.deepEqual(it.records().flat(), texts);
  assert.equal(it.records().length, 4);
});

test('a record has at most 65,535 messages', async (t) => {
  const it = await publishing(t, { bufferBytes: 1 << 30 });
  for (let index = 0; index < 70_000; index++) it.oyez.publish('a', '').catch(() => {});
  await settle();
  assert.deepEqual(it.socket.of('record').map(({ count }) => count), [65_535, 4465]);
});

test('what no record can hold is refused, and what follows goes on', async (t) => {
  const it = await publishing(t, { terms: { recordSizeMax: 4096 } });
  const refused = assert.rejects(it.oyez.publish('a', 'x'.repeat(4096)), { code: 'too_large', retryable: false });
  it.oyez.publish('a', 'next').catch(() => {});
  const largest = 'y'.repeat(4096 - 48 - 1 - 2);
  it.oyez.publish('b', largest).catch(() => {});
  const larger = assert.rejects(it.oyez.publish('c', `${largest}y`), { code: 'too_large' });
  await settle();
  await Promise.all([refused, larger]);
  assert.deepEqual(it.records().sort(), [['next'], [largest]]);
  assert.equal(Math.max(...it.socket.of('record').map(({ bytes }) => bytes.length)), 4096);
});

test('what waits is bounded', async (t) => {
  const it = await world(t, { bufferBytes: 10_000 });
  const all = Array.from({ length: 30 }, () => it.oyez.publish('a', 'x'.repeat(500)));
  for (const one of all) one.catch(() => {});
  const refused = await Promise.race([Promise.any(all.map((one) => one.then(() => {}, (error) => error))), settle()]);
  assert.deepEqual([refused.code, refused.retryable], ['buffer_full', true]);
  await it.connect();
  const sent = it.socket.of('record').reduce((sum, { count }) => sum + count, 0);
  assert.ok(sent > 10 && sent < 16);
  await it.socket.deliver(published(...it.socket.of('record').map(({ id }) => ({ id }))));
  await settle();
  it.oyez.publish('a', 'there is room again').catch(() => {});
  await settle();
  assert.equal(it.socket.of('record').at(-1).count, 1);
});

test('an answer to what was not published ends the connection', async (t) => {
  const it = await publishing(t);
  const { socket } = it;
  it.oyez.publish('a', 'x').catch(() => {});
  await settle();
  await socket.deliver(published({ id: socket.of('record')[0].id ^ 1n }));
  assert.deepEqual([it.oyez.state, socket.of('goodbye').map(({ aux }) => aux)], ['waiting', [261]]);
});

test('what arrives damaged three times in a row is not the fault of the way', async (t) => {
  const it = await publishing(t);
  const place = it.oyez.publish('a', 'x');
  place.catch(() => {});
  const lose = async () => {
    await settle();
    await it.socket.deliver(goodbye(6, { reason: 'damaged' }));
    await it.retry();
    await it.connect();
  };
  await lose();
  await lose();
  assert.deepEqual(it.records(), [['x']]);
  await lose();
  await assert.rejects(place, { code: 'goodbye', goodbye: 6 });
  assert.deepEqual([it.records(), it.oyez.state], [[], 'open']);
  await it.pass(2000);
  it.oyez.publish('a', 'another').catch(() => {});
  await lose();
  assert.deepEqual(it.records(), [['another']], 'it is counted anew');
});

test('a topic that is none is refused before anything is sent', async (t) => {
  const it = await publishing(t);
  for (const topic of ['', 'a/#', 'x'.repeat(256), 7, undefined]) await assert.rejects(it.oyez.publish(topic, 'x'), { code: 'bad_topic' });
  assert.equal(it.oyez.state, 'open');
});
