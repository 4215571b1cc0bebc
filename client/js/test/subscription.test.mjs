import assert from 'node:assert/strict';
import test from 'node:test';
import { encodeToken } from '../src/message.js';
import { beat, ended, frame, goodbye, hole, record, subscribed, unsubscribed, welcome } from './support/bytes.mjs';
import { lz4Block } from './support/lz4.mjs';
import { random } from './support/random.mjs';
import { settle, world } from './support/world.mjs';

const [GAP, SKIP] = [14, 15];
const EPOCH = 7n;

/** A world with a subscription to `a`, which begins at offset 10 of epoch 7, and what its handler was given. */
async function receiving(t, options = {}) {
  const it = await world(t);
  const got = [];
  const subscription = it.oyez.subscribe('a', options, (message) => void got.push(message));
  await it.connect({ places: { a: { next: 10 } } });
  const deliver = async (...frames) => {
    await it.socket.deliver(...frames);
  };
  const told = () => it.events.filter(({ topic }) => topic).map(({ type, from, to, cause, epoch }) => ({ type, from, to, cause, epoch }));
  return Object.assign(it, { got, subscription, deliver, toldOf: told, texts: () => got.map((message) => message.text()) });
}

test('a subscription is asked for in the same breath as the hello', async (t) => {
  const it = await world(t);
  it.oyez.subscribe('a', {}, () => {});
  it.oyez.subscribe('b/ü', { from: 'earliest' }, () => {});
  await it.socket.accept();
  assert.deepEqual(it.socket.sent.map(({ kind }) => kind), ['hello', 'subscribe', 'subscribe']);
  const asked = it.socket.of('subscribe').map(({ aux, topic, start, value, epoch }) => [aux, topic, start, value, epoch]);
  assert.deepEqual(asked, [[1, 'a', 0, 0, 0], [1, 'b/ü', 1, 0, 0]]);
  await it.socket.deliver(welcome());
  assert.equal(it.socket.of('subscribe').length, 2, 'and not again');
});

test('one that is made later is asked for at once', async (t) => {
  const it = await world(t);
  await it.socket.accept();
  it.oyez.subscribe('a', () => {});
  await it.socket.deliver(welcome());
  it.oyez.subscribe('b', () => {});
  await settle();
  assert.deepEqual(it.socket.of('subscribe').map(({ topic }) => topic), ['a', 'b']);
});

test('where it begins is told', async (t) => {
  const { subscription } = await receiving(t);
  assert.deepEqual(await subscription.ready, { offset: 10, epoch: EPOCH });
});

test('a place to begin with is an offset, an offset of an epoch, or a token', async (t) => {
  const it = await world(t);
  const places = [7, 7n, { offset: 7 }, { offset: 7, epoch: 255n }, encodeToken('e', { epoch: 255n, next: 7n })];
  for (const [index, from] of places.entries()) it.oyez.subscribe('abcde'[index], { from }, () => {});
  await it.socket.accept();
  const asked = it.socket.of('subscribe').map(({ start, value, epoch }) => [start, value, epoch]);
  assert.deepEqual(asked, [[2, 7, 0], [2, 7, 0], [2, 7, 0], [2, 7, 255], [2, 7, 255]]);
  assert.throws(() => it.oyez.subscribe('f', { from: places[4] }), { code: 'bad_token' }, 'of another topic');
  assert.throws(() => it.oyez.subscribe('f', { from: 'newest' }), { code: 'bad_token' });
  assert.throws(() => it.oyez.subscribe('f', { from: 1.5 }), RangeError);
  assert.equal(it.oyez.subscribe('f').topic, 'f', 'what was refused is not subscribed to');
});

test('messages come with all that is known of them', async (t) => {
  const it = await receiving(t);
  const rich = { payload: '{"x":1}', key: 'k', headers: [['unit', 'celsius'], ['unit', 'again']] };
  await it.deliver(record({ offset: 10, messages: [rich, 'ü'], timestampMs: 1_700_000_000_123 }));
  const [first, second] = it.got;
  assert.deepEqual([first.topic, first.offset, first.timestampMs, Buffer.from(first.key).toString()], ['a', 10, 1_700_000_000_123, 'k']);
  assert.deepEqual([first.headers, first.json()], [rich.headers, { x: 1 }]);
  assert.deepEqual([second.offset, second.text(), second.key, second.headers], [11, 'ü', null, []]);
  assert.ok(first.payload instanceof Uint8Array);
  assert.equal(first.token, encodeToken('a', { epoch: 7n, next: 11n }));
});

test('offsets are numbers as long as numbers are exact', async (t) => {
  const it = await receiving(t, { from: 2n ** 53n - 2n });
  await it.deliver(record({ offset: 2n ** 53n - 2n, messages: ['x', 'y', 'z'] }));
  assert.deepEqual(it.got.map(({ offset }) => offset), [2 ** 53 - 2, 2 ** 53 - 1, 2n ** 53n]);
  assert.equal(it.got[2].token, encodeToken('a', { epoch: 7n, next: 2n ** 53n + 1n }));
});

test('compressed records are opened', async (t) => {
  const it = await receiving(t);
  const { block, raw } = lz4Block({ ...random(1), bytes: () => Buffer.from([0x14, 0x68]), pick: (list) => list.at(2) }, 0);
  assert.ok(block && raw);
  const golden = Buffer.from('3fa001610100140f2a0012506161616161', 'hex');
  const messages = ['a'.repeat(40), 'a'.repeat(40)];
  await it.deliver(record({ offset: 10, messages, codec: 1, block: golden }));
  assert.deepEqual(it.texts(), messages);
});

test('repeats are dropped and records trimmed', async (t) => {
  const it = await receiving(t);
  await it.deliver(record({ offset: 8, messages: ['8', '9'] }));
  await it.deliver(record({ offset: 8, messages: ['8', '9', '10', '11'] }));
  await it.deliver(record({ offset: 8, messages: ['8', '9', '10', '11'] }), record({ offset: 12, messages: ['12'] }));
  assert.deepEqual(it.texts(), ['10', '11', '12']);
  assert.deepEqual(it.toldOf(), []);
});

test('a start inside a record is kept although its record begins before it', async (t) => {
  const it = await world(t);
  const got = [];
  const subscription = it.oyez.subscribe('a', { from: 5 }, ({ offset }) => void got.push(offset));
  await it.connect({ places: { a: { next: 3 } } });
  await it.socket.deliver(record({ offset: 3, messages: ['3', '4', '5', '6'] }));
  assert.deepEqual([got, (await subscription.ready).offset], [[5, 6], 5]);
});

test('what is missing is told between the messages that it lies between', async (t) => {
  const it = await receiving(t);
  const order = [];
  it.oyez.addEventListener('gap', ({ from }) => order.push(`gap ${from}`));
  it.oyez.addEventListener('skip', ({ from }) => order.push(`skip ${from}`));
  const { push } = it.got;
  it.got.push = (message) => (order.push(message.offset), push.call(it.got, message));
  await it.deliver(
    record({ offset: 10 }),
    hole(GAP, { from: 8, to: 20, cause: 1 }),
    record({ offset: 20 }),
    hole(SKIP, { from: 21, to: 23, cause: 2 }),
    hole(SKIP, { from: 25, to: 26, cause: 9 }),
    record({ offset: 28 }),
    hole(GAP, { from: 2, to: 29, cause: 1 }),
  );
  assert.deepEqual(order, [10, 'gap 11', 20, 'skip 21', 'gap 23', 'skip 25', 'gap 26', 28]);
  assert.deepEqual(it.toldOf(), [
    { type: 'gap', from: 11, to: 20, cause: 'retention', epoch: undefined },
    { type: 'skip', from: 21, to: 23, cause: 'superseded', epoch: undefined },
    { type: 'gap', from: 23, to: 25, cause: 'other', epoch: undefined },
    { type: 'skip', from: 25, to: 26, cause: 'other', epoch: undefined },
    { type: 'gap', from: 26, to: 28, cause: 'other', epoch: undefined },
  ]);
});

test('a record whose block is none is a gap, and what follows comes', async (t) => {
  const it = await receiving(t);
  await it.deliver(record({ offset: 9, count: 3, raw: Buffer.from([4, 0x61, 8, 0x62]) }), record({ offset: 12, messages: ['on'] }));
  await it.deliver(record({ offset: 13, count: 1, codec: 1, raw: Buffer.alloc(20), block: Buffer.from([0xff, 1]) }));
  assert.deepEqual(it.texts(), ['on']);
  const gaps = it.toldOf().map(({ from, to, cause }) => [from, to, cause]);
  assert.deepEqual(gaps, [[10, 12, 'unreadable'], [13, 14, 'unreadable']]);
  assert.equal(it.oyez.state, 'open');
});

test('after a loss it resumes where it was, and what comes again is not delivered again', async (t) => {
  const it = await receiving(t);
  await it.deliver(record({ offset: 10, messages: ['10', '11'] }));
  await it.socket.break();
  await it.retry();
  await it.socket.accept();
  const [{ id, start, value, epoch }] = it.socket.of('subscribe');
  assert.deepEqual([start, value, epoch], [2, 12, 7]);
  await it.deliver(welcome(), subscribed({ id, next: 12 }), record({ offset: 11, messages: ['11', '12'] }));
  assert.deepEqual(it.texts(), ['10', '11', '12']);
  assert.deepEqual(it.toldOf(), []);
});

test('even before the first message the place is kept', async (t) => {
  const it = await receiving(t);
  await it.socket.break();
  await it.retry();
  await it.socket.accept();
  const [{ start, value, epoch }] = it.socket.of('subscribe');
  assert.deepEqual([start, value, epoch], [2, 10, 7]);
});

test('what retention took meanwhile is a gap, and a history that changed is told', async (t) => {
  const it = await receiving(t);
  const again = async (place) => {
    await it.socket.break();
    await it.retry();
    await it.connect({ places: { a: place } });
  };
  await again({ next: 25, flags: 2 });
  await again({ next: 3, flags: 1, epoch: 8 });
  await it.deliver(record({ offset: 2, messages: ['old', 'new'] }));
  assert.deepEqual(it.toldOf(), [
    { type: 'gap', from: 10, to: 25, cause: 'retention', epoch: undefined },
    { type: 'epoch', from: 25, to: 3, cause: undefined, epoch: 8n },
  ]);
  assert.equal(it.told('epoch')[0].old, EPOCH);
  assert.deepEqual(it.texts(), ['new']);
  assert.equal(it.got[0].token, encodeToken('a', { epoch: 8n, next: 4n }));
});

test('a hole of another epoch leads into that', async (t) => {
  const it = await receiving(t);
  await it.deliver(hole(GAP, { from: 10, to: 12, epoch: 9 }), record({ offset: 12 }));
  assert.deepEqual(it.toldOf(), [{ type: 'epoch', from: 10, to: 12, cause: undefined, epoch: 9n }]);
  assert.deepEqual(it.got.map(({ offset }) => offset), [12]);
});

test('what the broker sent before its answer is not meant', async (t) => {
  const it = await world(t);
  const got = [];
  it.oyez.subscribe('a', (message) => void got.push(message.text()));
  await it.socket.accept();
  const [{ id }] = it.socket.of('subscribe');
  await it.socket.deliver(welcome(), record({ offset: 5, messages: ['before'] }), subscribed({ id, next: 3 }), record({ offset: 3, messages: ['behind'] }));
  await settle();
  assert.deepEqual(got, ['behind']);
});

test('a refusal ends the subscription, and says so', async (t) => {
  const it = await world(t);
  const [handled, iterated] = [it.oyez.subscribe('a', () => {}), it.oyez.subscribe('b')];
  const asked = iterated[Symbol.asyncIterator]().next();
  await Promise.all([
    assert.rejects(handled.ready, { code: 'refused', outcome: 0x105, retryable: false }),
    assert.rejects(iterated.ready, { code: 'not_allowed', outcome: 0x301 }),
    assert.rejects(asked, { code: 'not_allowed' }),
    it.connect({ places: { a: { outcome: 0x105 }, b: { outcome: 0x301 } } }),
  ]);
  assert.deepEqual(it.told('end').map(({ topic, error }) => [topic, error.code]), [['a', 'refused']]);
  it.oyez.subscribe('a', () => {});
  await settle();
  assert.equal(it.socket.of('subscribe').length, 3, 'it may be tried again');
});

test('outcomes that are not known count as the plainest of their class', async (t) => {
  const it = await world(t);
  const refused = [['a', 0x1ff, 'refused'], ['b', 0x3ff, 'not_allowed'], ['c', 0x4ff, 'not_supported'], ['d', 0x700, 'refused']];
  const all = refused.map(([topic, , code]) => assert.rejects(it.oyez.subscribe(topic).ready, { code }));
  await it.connect({ places: Object.fromEntries(refused.map(([topic, outcome]) => [topic, { outcome }])) });
  await Promise.all(all);
});

test('what may be done later is asked for later', async (t) => {
  const it = await world(t);
  it.oyez.subscribe('a', () => {});
  await it.connect({ places: { a: { outcome: 0x204, retryAfterMs: 3000 } } });
  await it.pass(2500);
  assert.equal(it.socket.of('subscribe').length, 1);
  await it.pass(500);
  assert.equal(it.socket.of('subscribe').length, 2);
  await it.admit({ next: 5 });
  await it.socket.deliver(ended('a', 0x200, 2000));
  await it.pass(2000);
  const { start, value } = it.socket.of('subscribe')[2];
  assert.deepEqual([start, value], [2, 5]);
});

test('a subscription that the broker ends is over', async (t) => {
  const it = await receiving(t);
  await it.deliver(record({ offset: 10, messages: ['last'] }), ended('a', 0x302));
  assert.deepEqual(it.texts(), ['last']);
  assert.deepEqual(it.told('end').map(({ error }) => error.outcome), [0x302]);
  assert.equal(it.socket.of('unsubscribe').length, 0);
});

test('an iterator gives what has come and what comes, and ends with its loop', async (t) => {
  const it = await world(t);
  const subscription = it.oyez.subscribe('a');
  await it.connect();
  await it.socket.deliver(record({ messages: ['0', '1'] }));
  const got = [];
  const loop = (async () => {
    for await (const message of subscription) {
      got.push(message.text());
      if (got.length === 3) break;
    }
  })();
  await settle();
  assert.deepEqual(got, ['0', '1']);
  await it.socket.deliver(record({ offset: 2, messages: ['2', '3'] }));
  await loop;
  assert.deepEqual(got, ['0', '1', '2']);
  assert.deepEqual(it.socket.of('unsubscribe').map(({ topic }) => topic), ['a']);
  await it.socket.break();
  await it.retry();
  await it.socket.accept();
  assert.equal(it.socket.of('subscribe').length, 0);
});

test('closing ends the loop of an iterator that waits', async (t) => {
  const it = await world(t);
  const [one, other] = [it.oyez.subscribe('a'), it.oyez.subscribe('b')];
  const ends = [one, other].map((subscription) => subscription[Symbol.asyncIterator]().next());
  await it.connect();
  one.close();
  assert.deepEqual(await ends[0], { value: undefined, done: true });
  it.oyez.close();
  assert.deepEqual(await ends[1], { value: undefined, done: true });
});

test('what came before the end is still given, and then the error', async (t) => {
  const it = await world(t);
  const subscription = it.oyez.subscribe('a');
  await it.connect();
  await it.socket.deliver(record({ messages: ['0', '1'] }), goodbye(264, { reason: 'revoked' }));
  const got = [];
  await assert.rejects(
    async () => {
      for await (const message of subscription) got.push(message.text());
    },
    { goodbye: 264, message: 'goodbye: revoked' },
  );
  assert.deepEqual(got, ['0', '1']);
});

test('a handler that promises something is waited for', async (t) => {
  const it = await world(t);
  const [got, done] = [[], []];
  it.oyez.subscribe('a', (message) => (got.push(message.text()), new Promise((resolve) => done.push(resolve))));
  await it.connect();
  await it.socket.deliver(record({ messages: ['0', '1'] }));
  await settle();
  assert.deepEqual(got, ['0']);
  done[0]();
  await settle();
  assert.deepEqual(got, ['0', '1']);
});

test('a handler that fails is reported, and gets the next message', async (t) => {
  const it = await world(t);
  const got = [];
  const reported = [];
  const listeners = process.listeners('unhandledRejection');
  process.removeAllListeners('unhandledRejection');
  process.on('unhandledRejection', (error) => reported.push(error.message));
  it.oyez.subscribe('a', (message) => {
    got.push(message.text());
    throw new Error(`cannot ${message.text()}`);
  });
  await it.connect();
  await it.socket.deliver(record({ messages: ['0', '1'] }));
  await settle();
  process.removeAllListeners('unhandledRejection');
  for (const listener of listeners) process.on('unhandledRejection', listener);
  assert.deepEqual([got, reported], [['0', '1'], ['cannot 0', 'cannot 1']]);
});

test('a slow consumer leaves the rest with the broker, and misses nothing', async (t) => {
  const it = await world(t);
  const subscription = it.oyez.subscribe('a', { bufferBytes: 10_000 });
  const messages = subscription[Symbol.asyncIterator]();
  await it.connect();
  const payload = 'x'.repeat(1000);
  let offset = 0;
  for (; !it.socket.of('unsubscribe').length; offset++) await it.socket.deliver(record({ offset, messages: [payload] }));
  assert.ok(offset < 12);
  await it.socket.deliver(record({ offset, messages: ['on its way'] }), unsubscribed(it.socket.of('unsubscribe')[0].id));
  let taken = 0;
  for (; it.socket.of('subscribe').length === 1; taken++) assert.equal((await messages.next()).value.offset, taken);
  assert.ok(taken > 2 && taken < offset, 'it is asked for again before all is taken');
  const { start, value, epoch } = it.socket.of('subscribe')[1];
  assert.deepEqual([start, value, epoch], [2, offset, 7]);
  await it.socket.deliver(record({ offset: offset + 50, messages: ['not asked for yet'] }));
  await it.admit({ next: offset });
  await it.socket.deliver(record({ offset, messages: ['on its way', 'last'] }));
  for (; taken < offset + 2; taken++) assert.equal((await messages.next()).value.offset, taken);
  assert.deepEqual(it.told('gap'), []);
});

test('a slow consumer is not asked for again by a new connection', async (t) => {
  const it = await world(t);
  const messages = it.oyez.subscribe('a', { bufferBytes: 1000 })[Symbol.asyncIterator]();
  await it.connect();
  await it.socket.deliver(record({ messages: ['x'.repeat(2000)] }));
  await it.socket.break();
  await it.retry();
  await it.connect();
  assert.equal(it.socket.of('subscribe').length, 0);
  await messages.next();
  assert.deepEqual(it.socket.of('subscribe').map(({ value }) => value), [1]);
});

test('closing and subscribing again gives the new subscription only what is its own', async (t) => {
  const it = await receiving(t);
  it.subscription.close();
  const again = [];
  it.oyez.subscribe('a', { from: 3 }, (message) => void again.push(message.text()));
  await settle();
  assert.deepEqual(it.socket.sent.slice(2).map(({ kind }) => kind), ['unsubscribe', 'subscribe']);
  await it.deliver(record({ offset: 10, messages: ['of the old one'] }), unsubscribed(9));
  await it.admit({ next: 3 });
  await it.deliver(record({ offset: 3, messages: ['of the new one'] }));
  assert.deepEqual([it.texts(), again], [[], ['of the new one']]);
});

test('what the broker says of the old subscription does not concern the new one', async (t) => {
  const it = await receiving(t);
  it.subscription.close();
  const again = it.oyez.subscribe('a');
  await it.deliver(ended('a', 0x302));
  await it.admit({ next: 3 });
  assert.deepEqual(await again.ready, { offset: 3, epoch: EPOCH });
});

test('a notice that reads like a topic is not taken for one', async (t) => {
  const it = await receiving(t);
  await it.deliver(frame({ kind: 20, aux: 1 }, [8, 0], [2, 1], 'a'), record({ offset: 10 }));
  assert.deepEqual([it.got.length, it.oyez.state], [1, 'open']);
});

test('a topic is subscribed to once, and has a name that can be one', async (t) => {
  const it = await world(t);
  it.oyez.subscribe('a', () => {});
  assert.throws(() => it.oyez.subscribe('a'), { code: 'already_subscribed' });
  for (const name of ['', 'a/+', '#', 'a\0', 'x'.repeat(256)]) {
    assert.throws(() => it.oyez.subscribe(name), { code: 'bad_topic' }, name);
  }
});

test('a thousand subscriptions come back in one message', async (t) => {
  const it = await world(t);
  let count = 0;
  for (let index = 0; index < 1000; index++) it.oyez.subscribe(`topic/${index}`, () => void count++);
  const all = Array.from({ length: 1000 }, (_, index) => record({ topic: `topic/${index}`, offset: 5 }));
  const places = Object.fromEntries(all.map((_, index) => [`topic/${index}`, { next: 5 }]));
  await it.connect({ places });
  await it.socket.deliver(...all, beat(9));
  await settle();
  assert.equal(count, 1000);
  await it.socket.break();
  await it.retry();
  await it.socket.accept();
  assert.deepEqual(it.socket.of('subscribe').map(({ value }) => value), new Array(1000).fill(6));
});
