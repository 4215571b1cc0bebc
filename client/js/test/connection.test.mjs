import assert from 'node:assert/strict';
import test from 'node:test';
import { Oyez, OyezError } from '../src/index.js';
import { beat, frame, goodbye, record, welcome } from './support/bytes.mjs';
import { world } from './support/world.mjs';

const WEB = 'oyez.v2';

test('it connects at once and is open with the welcome', async (t) => {
  const it = await world(t, { name: 'demo' });
  assert.deepEqual([it.socket.url, it.socket.protocol, it.socket.binaryType], ['ws://broker/api/v1/ws', WEB, 'arraybuffer']);
  assert.equal(it.oyez.state, 'connecting');
  await it.socket.accept();
  assert.equal(it.socket.of('hello').length, 1);
  assert.equal(it.oyez.state, 'connecting');
  await it.socket.deliver(welcome());
  assert.equal(it.oyez.state, 'open');
  assert.equal(it.told('open').length, 1);
});

test('addresses of the web are those of a WebSocket', async (t) => {
  const address = async (url) => {
    const it = await world(t, { url });
    t.mock.timers.reset();
    return it.socket.url;
  };
  assert.equal(await address('https://example.org'), 'wss://example.org/api/v1/ws');
  assert.equal(await address('http://example.org:7450/'), 'ws://example.org:7450/api/v1/ws');
  assert.equal(await address('wss://example.org/its/own'), 'wss://example.org/its/own');
  Object.defineProperty(globalThis, 'location', { value: { href: 'https://example.org/page?x' }, configurable: true });
  t.after(() => delete globalThis.location);
  assert.equal(await address('/'), 'wss://example.org/api/v1/ws');
  assert.equal(await address('/ws'), 'wss://example.org/ws');
});

test('without a WebSocket there is a clear error', (t) => {
  const known = globalThis.WebSocket;
  delete globalThis.WebSocket;
  t.after(() => known && (globalThis.WebSocket = known));
  assert.throws(() => new Oyez('ws://broker'), { code: 'no_websocket' });
  assert.throws(() => new Oyez('no address', { WebSocket: class {} }), TypeError);
});

test('a lost connection is made again after a random delay below a bound that doubles', async (t) => {
  const it = await world(t, { minDelayMs: 1000, maxDelayMs: 8000 });
  const waits = [];
  for (let turn = 0; turn < 6; turn++) {
    await it.socket.break();
    const { error, waitMs } = it.told('state').at(-1);
    assert.equal(error.code, 'lost');
    waits.push(waitMs);
    const before = it.sockets.length;
    await it.pass(waitMs - 1);
    assert.equal(it.sockets.length, before, 'not sooner');
    await it.pass(1);
    assert.equal(it.sockets.length, before + 1);
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 4000, 4000]);
});

test('a connection that stood for a second begins anew with short delays, one that was only welcomed does not', async (t) => {
  const it = await world(t, { minDelayMs: 1000 });
  const waits = [];
  for (const stoodMs of [0, 0, 1500, 0]) {
    await it.connect();
    await it.pass(stoodMs);
    await it.socket.break();
    waits.push(it.told('state').at(-1).waitMs);
    await it.pass(waits.at(-1));
  }
  assert.deepEqual(waits, [500, 1000, 500, 1000]);
});

test('delays grow after a connection that stood, too', async (t) => {
  const it = await world(t, { minDelayMs: 1000 });
  await it.connect();
  await it.pass(1500);
  const waits = [];
  for (let turn = 0; turn < 3; turn++) {
    await it.socket.break();
    waits.push(it.told('state').at(-1).waitMs);
    await it.retry();
  }
  assert.deepEqual(waits, [500, 1000, 2000]);
});

test('a goodbye is the last that counts', async (t) => {
  const it = await world(t);
  const got = [];
  it.oyez.subscribe('a', (message) => void got.push(message));
  await it.connect();
  await it.socket.deliver(goodbye(1), record({}));
  assert.deepEqual([got.length, it.oyez.state], [0, 'waiting']);
});

test('a goodbye says when to come back', async (t) => {
  const it = await world(t, { minDelayMs: 1000 });
  await it.connect();
  await it.socket.deliver(goodbye(1, { reason: 'shutting down', retryAfterMs: 7000 }));
  const { error, waitMs, state } = it.told('state').at(-1);
  assert.deepEqual([state, error.code, error.goodbye, error.message, waitMs], ['waiting', 'goodbye', 1, 'goodbye: shutting down', 7500]);
  await it.socket.break(1012);
  assert.equal(it.told('state').at(-1).error, error, 'the close behind it says nothing new');
  assert.equal(it.socket.of('goodbye').length, 0, 'it has nothing to be told');
});

test('a goodbye from 256 on is final', async (t) => {
  const it = await world(t, { token: 'secret' });
  const [published, subscription] = [it.oyez.publish('a', 'x'), it.oyez.subscribe('a')];
  await it.socket.accept();
  assert.equal(it.socket.of('hello')[0].token, 'secret');
  const refused = { code: 'goodbye', goodbye: 263, message: 'goodbye: credentials that cannot be checked' };
  const all = [published, subscription[Symbol.asyncIterator]().next(), subscription.ready].map((one) => assert.rejects(one, refused));
  await it.socket.deliver(goodbye(263, { reason: 'credentials that cannot be checked' }));
  assert.equal(it.oyez.state, 'closed');
  await Promise.all(all);
  assert.equal(it.told('close')[0].error.goodbye, 263);
  await it.pass(100_000);
  assert.equal(it.sockets.length, 1);
  await assert.rejects(it.oyez.publish('a', 'x'), { code: 'closed' });
  assert.throws(() => it.oyez.subscribe('a'), { code: 'closed' });
});

test('a close code says the same where the goodbye was lost', async (t) => {
  const it = await world(t);
  await it.connect();
  await it.socket.break(4001);
  assert.equal(it.oyez.state, 'waiting');
  await it.pass(1000);
  await it.socket.break(4256);
  assert.equal(it.oyez.state, 'closed');
});

test('it gives up when it is told to', async (t) => {
  const it = await world(t, { giveUpAfterMs: 10_000 });
  while (it.oyez.state !== 'closed') {
    assert.ok(Date.now() < 1_020_000);
    if (it.oyez.state === 'connecting') await it.socket.break();
    await it.pass(500);
  }
  assert.ok(Date.now() >= 1_009_000);
  assert.equal(it.told('close')[0].error.code, 'lost');
});

test('it gives up at once when the broker wants to be left alone for longer', async (t) => {
  const it = await world(t, { giveUpAfterMs: 10_000 });
  await it.connect();
  await it.socket.deliver(goodbye(2, { retryAfterMs: 60_000 }));
  assert.equal(it.oyez.state, 'closed');
});

test('a broker that never answers is given up after ten seconds', async (t) => {
  const it = await world(t);
  await it.pass(9500);
  assert.equal(it.oyez.state, 'connecting');
  await it.pass(500);
  assert.deepEqual([it.oyez.state, it.told('state').at(-1).error.code], ['waiting', 'silent']);
  await it.retry();
  await it.socket.accept();
  await it.pass(10_000);
  assert.deepEqual([it.oyez.state, it.states.length], ['waiting', 4], 'nor is one waited for that does not welcome');
});

test('a token may come from a function, which is asked for each connection and may fail', async (t) => {
  let asked = 0;
  const token = async () => {
    if (++asked === 2) throw new Error('no token today');
    return `token ${asked}`;
  };
  const it = await world(t, { token });
  await it.socket.accept();
  assert.equal(it.socket.of('hello')[0].token, 'token 1');
  await it.socket.break();
  await it.pass(500);
  assert.equal(it.sockets.length, 1);
  assert.equal(it.told('state').at(-1).error.message, 'no token today');
  await it.pass(1000);
  await it.socket.accept();
  assert.equal(it.socket.of('hello')[0].token, 'token 3');
});

test('the broker is asked after a heartbeat of silence, and given up when it does not answer', async (t) => {
  const it = await world(t, { heartbeatMs: 20_000 });
  await it.socket.accept();
  assert.equal(it.socket.of('hello')[0].heartbeatMs, 20_000);
  await it.socket.deliver(welcome({ heartbeatMs: 20_000 }));
  await it.pass(15_000);
  await it.socket.deliver(beat(10, 5));
  await it.pass(19_500);
  assert.equal(it.socket.of('ping').length, 0, 'what was heard counts');
  await it.pass(500);
  assert.equal(it.socket.of('ping').length, 1);
  await it.pass(5000);
  await it.socket.deliver(beat(10));
  await it.pass(19_000);
  assert.deepEqual([it.oyez.state, it.socket.of('ping').length], ['open', 1]);
  await it.pass(1000 + 9500);
  assert.deepEqual([it.oyez.state, it.socket.of('ping').length], ['open', 2]);
  await it.pass(500);
  assert.deepEqual([it.oyez.state, it.socket.closedWith, it.told('state').at(-1).error.code], ['waiting', 1000, 'silent']);
});

test('pings of the broker are answered with their token', async (t) => {
  const it = await world(t);
  await it.connect();
  await it.socket.deliver(beat(9, 0x1234));
  assert.equal(it.socket.of('pong')[0].bytes.readBigUInt64LE(16), 0x1234n);
});

test('a process that slept asks before it judges', async (t) => {
  const it = await world(t);
  await it.connect({ terms: { heartbeatMs: 20_000 } });
  await it.pass(20_000);
  assert.equal(it.socket.of('ping').length, 1);
  await it.sleep(3_600_000);
  assert.deepEqual([it.oyez.state, it.socket.of('ping').length], ['open', 2]);
  await it.socket.deliver(beat(10));
  await it.pass(15_000);
  assert.equal(it.oyez.state, 'open');
});

test('a page that comes back asks at once, and replaces a connection that does not answer soon', async (t) => {
  for (const event of ['visibilitychange', 'pageshow', 'resume']) {
    const it = await world(t);
    await it.connect();
    await it.happen(event);
    assert.equal(it.socket.of('ping').length, 1, event);
    await it.socket.deliver(beat(10));
    await it.pass(6000);
    assert.equal(it.oyez.state, 'open');
    await it.happen(event);
    await it.pass(4500);
    assert.notEqual(it.oyez.state, 'open');
    it.oyez.close();
    t.mock.timers.reset();
  }
});

test('without a network it waits, and tries at once when it is back', async (t) => {
  const it = await world(t);
  it.network.onLine = false;
  await it.socket.break();
  await it.pass(100_000);
  assert.deepEqual([it.sockets.length, it.oyez.state], [1, 'waiting']);
  it.network.onLine = true;
  await it.happen('online');
  await it.pass(1);
  assert.equal(it.sockets.length, 2);
});

test('a network that goes away while it waits ends the attempts', async (t) => {
  const it = await world(t, { minDelayMs: 10_000 });
  await it.socket.break();
  it.network.onLine = false;
  await it.happen('offline');
  await it.pass(60_000);
  assert.equal(it.sockets.length, 1);
});

test('a network that changes under an open connection makes it ask', async (t) => {
  const it = await world(t);
  await it.connect();
  it.network.onLine = false;
  await it.happen('offline');
  assert.equal(it.socket.of('ping').length, 1);
  await it.pass(30_000);
  assert.deepEqual([it.oyez.state, it.sockets.length], ['waiting', 1]);
});

test('nonsense from the broker is complained of, and it comes back', async (t) => {
  const it = await world(t);
  const nonsense = async (code, ...frames) => {
    const { socket } = it;
    await socket.deliver(...frames);
    assert.deepEqual(socket.of('goodbye').map(({ aux }) => aux), [code]);
    assert.deepEqual([socket.closedWith, it.oyez.state], [1000, 'waiting']);
    await it.retry();
  };
  const damaged = Buffer.from(beat(10));
  damaged[20] ^= 1;
  await it.connect();
  await nonsense(6, damaged);
  await it.connect();
  await nonsense(256, frame({ kind: 10 }));
  await it.connect();
  await nonsense(261, welcome());
  await it.socket.accept();
  await nonsense(261, welcome({ version: 3 }));
});

test('a connection that was given up has no say any more', async (t) => {
  const it = await world(t);
  await it.connect();
  const old = it.socket;
  const { onmessage, onclose } = old;
  await it.happen('pageshow');
  await it.pass(5000);
  assert.equal(it.oyez.state, 'connecting');
  await old.deliver(welcome());
  await old.deliver(goodbye(263));
  await old.break();
  assert.deepEqual([it.oyez.state, it.sockets.length], ['connecting', 2]);
  assert.ok(onmessage && onclose);
});

test('closing says goodbye, and then nothing happens any more', async (t) => {
  const it = await world(t);
  await it.connect();
  const published = it.oyez.publish('a', 'x');
  it.oyez.close();
  await assert.rejects(published, { code: 'closed' });
  assert.deepEqual(it.socket.of('goodbye').map(({ aux }) => aux), [0]);
  assert.equal(it.socket.of('record').length, 1, 'what was published goes first');
  assert.deepEqual([it.socket.closedWith, it.oyez.state, it.told('close').length], [1000, 'closed', 1]);
  it.oyez.close();
  await it.happen('online');
  await it.happen('pageshow');
  await it.pass(100_000);
  assert.deepEqual([it.sockets.length, it.told('close').length], [1, 1]);
});

test('closing while it connects ends the attempt', async (t) => {
  const it = await world(t);
  it.oyez.close();
  assert.equal(it.socket.closedWith, 1000);
  it.socket.onopen?.({});
  await it.pass(60_000);
  assert.deepEqual([it.sockets.length, it.socket.sent.length], [1, 0]);
});

test('closing while a token is awaited makes no connection, and nothing is listened for any more', async (t) => {
  let give;
  const it = await world(t, { token: () => new Promise((resolve) => (give = resolve)) });
  assert.ok(it.signals.length > 3 && it.signals.every(({ aborted }) => !aborted));
  it.oyez.close();
  give('token');
  await it.pass(20_000);
  assert.deepEqual([it.sockets.length, it.signals.every(({ aborted }) => aborted)], [0, true]);
});

test('errors are errors', () => {
  const error = new OyezError('code', 'message');
  assert.ok(error instanceof Error);
  assert.deepEqual([error.name, error.code, error.message, error.retryable], ['OyezError', 'code', 'code: message', false]);
});
