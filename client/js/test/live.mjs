/**
 * The client against a real broker: `node test/live.mjs ws://127.0.0.1:7450`. Where there is no WebSocket, as in Node.js
 * 20, it takes that of the package `ws`. Each check names itself when it is done; the first that fails ends the script.
 */
import assert from 'node:assert/strict';
import { Oyez } from '../src/index.js';

const url = process.argv[2];
if (!url) {
  console.log('usage: node test/live.mjs ws://HOST:PORT');
  process.exit(process.env.NODE_TEST_CONTEXT ? 0 : 2);
}
const WebSocket = globalThis.WebSocket ?? (await import('ws')).WebSocket;
const DEADLINE_MS = 20_000;
const run = `live/${Date.now().toString(36)}`;

function connect(options) {
  return new Oyez(url, { WebSocket, name: 'live', ...options });
}

async function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`too late: ${what}`)), DEADLINE_MS)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const opened = (oyez) => new Promise((resolve) => oyez.addEventListener('open', resolve, { once: true }));

/** The next `count` messages of a subscription. */
async function take(subscription, count) {
  const got = [];
  for await (const message of subscription) if (got.push(message) === count) break;
  return got;
}

const checks = {
  async 'a message comes as it was published'(oyez) {
    const topic = `${run}/one`;
    const subscription = oyez.subscribe(topic);
    const next = take(subscription, 1);
    const begin = await subscription.ready;
    const place = await oyez.publish(topic, { hello: 'world' }, { key: 'k', headers: { unit: 'ü' } });
    const [message] = await next;
    assert.deepEqual([message.topic, message.offset, place.offset, begin.offset], [topic, 0, 0, 0]);
    assert.equal(place.epoch, begin.epoch);
    assert.deepEqual([message.json(), Buffer.from(message.key).toString(), message.headers], [{ hello: 'world' }, 'k', [['unit', 'ü']]]);
    assert.ok(Math.abs(message.timestampMs - Date.now()) < 60_000);
  },

  async 'ten thousand messages keep their order, and those of one turn share records'(oyez) {
    const topic = `${run}/many`;
    const all = take(oyez.subscribe(topic, { from: 'earliest' }), 10_000);
    const places = [];
    for (let index = 0; index < 10_000; index++) {
      places.push(oyez.publish(topic, `${index}`));
      if (index % 500 === 0) await places[index];
    }
    const offsets = (await Promise.all(places)).map(({ offset }) => offset);
    assert.deepEqual(offsets, [...offsets.keys()]);
    for (const [index, message] of (await all).entries()) assert.deepEqual([message.offset, message.text()], [index, `${index}`]);
  },

  async 'a hundred subscriptions get what is their own'(oyez) {
    const topics = Array.from({ length: 100 }, (_, index) => `${run}/hundred/${index}`);
    const got = [];
    const subscriptions = topics.map((topic) => oyez.subscribe(topic, {}, (message) => void got.push([message.topic, message.text()])));
    await Promise.all(subscriptions.map(({ ready }) => ready));
    await Promise.all(topics.map((topic) => oyez.publish(topic, `of ${topic}`)));
    while (got.length < 100) await new Promise(setImmediate);
    assert.deepEqual(got.sort(), topics.map((topic) => [topic, `of ${topic}`]).sort());
    for (const subscription of subscriptions) subscription.close();
  },

  async 'a token resumes where it was taken, over another connection'(oyez) {
    const topic = `${run}/resume`;
    for (const text of ['0', '1', '2', '3']) await oyez.publish(topic, text);
    const [, second] = await take(oyez.subscribe(topic, { from: 'earliest' }), 2);
    const other = connect();
    const rest = await take(other.subscribe(topic, { from: second.token }), 2);
    assert.deepEqual(rest.map((message) => message.text()), ['2', '3']);
    const stream = new URL(`/${topic}/sse?last_event_id=${second.token}`, url.replace(/^ws/, 'http'));
    const reader = (await fetch(stream)).body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    while (!text.includes('data: 3')) text += (await reader.read()).value;
    const [, id] = /id: (\S+)\ndata: 2\n/.exec(text);
    const [last] = await take(other.subscribe(topic, { from: id }), 1);
    assert.deepEqual([text.includes('data: 1\n'), last.text()], [false, '3'], 'event streams take and give the same');
    await reader.cancel();
    other.close();
  },

  async 'a lost connection is resumed without a loss and without a repeat'(oyez) {
    const topic = `${run}/loss`;
    const sockets = [];
    const other = connect({
      minDelayMs: 10,
      WebSocket: class extends WebSocket {
        constructor(...parts) {
          super(...parts);
          sockets.push(this);
        }
      },
    });
    const all = take(other.subscribe(topic, { from: 'earliest' }), 300);
    for (let index = 0; index < 300; index++) {
      await oyez.publish(topic, `${index}`);
      if (index % 100 === 50) sockets.at(-1).close();
    }
    assert.deepEqual((await all).map(({ offset }) => offset), [...Array(300).keys()]);
    assert.ok(sockets.length >= 3);
    other.close();
  },

  async 'a slow reader leaves the rest with the broker, and gets all of it'(oyez) {
    const topic = `${run}/slow`;
    for (let index = 0; index < 40; index++) await oyez.publish(topic, 'x'.repeat(100_000));
    const subscription = oyez.subscribe(topic, { from: 'earliest', bufferBytes: 300_000 });
    const offsets = [];
    for await (const { offset } of subscription) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      if (offsets.push(offset) === 40) break;
    }
    assert.deepEqual(offsets, [...Array(40).keys()]);
  },

  async 'what is refused says why'(oyez) {
    await assert.rejects(oyez.publish('$own', 'x'), { code: 'not_allowed', outcome: 0x301 });
    await assert.rejects(oyez.subscribe(`${run}/ahead`, { from: 1000 }).ready, { outcome: 0x105 });
    await assert.rejects(oyez.publish(`${run}/large`, 'x'.repeat(2 << 20)), { code: 'too_large' });
    const stranger = connect({ token: 'secret' });
    const { error } = await new Promise((resolve) => stranger.addEventListener('close', resolve));
    assert.deepEqual([error.goodbye, stranger.state], [263, 'closed']);
  },

  async 'an idle connection is kept alive by a short heartbeat'() {
    const other = connect({ heartbeatMs: 1000 });
    await opened(other);
    const states = [];
    other.addEventListener('state', ({ state }) => states.push(state));
    await new Promise((resolve) => setTimeout(resolve, 4000));
    assert.deepEqual(states, []);
    await other.publish(`${run}/idle`, 'x');
    other.close();
  },
};

const oyez = connect();
await within(opened(oyez), 'a connection');
for (const [name, check] of Object.entries(checks)) {
  await within(check(oyez), name);
  console.log(`ok - ${name}`);
}
oyez.close();
