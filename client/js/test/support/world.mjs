/** A client in a world of its own: time, chance, network and page are the test's, and so is the broker. */
import { Oyez } from '../../src/index.js';
import { buffer, subscribed, welcome } from './bytes.mjs';

const KINDS = [, 'record', 'hello', , 'subscribe', , 'unsubscribe', , , 'ping', 'pong', 'goodbye'];

/** What the client has sent, as values. */
function read(bytes) {
  const frames = [];
  for (let rest = Buffer.from(bytes); rest.length; rest = rest.subarray(rest.readUInt32LE(0))) {
    const kind = KINDS[rest[4]];
    const frame = { kind, aux: rest.readUInt16LE(6), id: rest.readUInt32LE(12), bytes: rest.subarray(0, rest.readUInt32LE(0)) };
    frames.push(Object.assign(frame, FIELDS[kind]?.(rest)));
  }
  return frames;
}

const FIELDS = {
  hello: (bytes) => {
    const credentials = 32 + bytes.readUInt16LE(28);
    return { heartbeatMs: bytes.readUInt32LE(24), token: `${bytes.subarray(credentials, credentials + bytes.readUInt16LE(30))}` };
  },
  subscribe: (bytes) => ({
    start: bytes[16],
    value: Number(bytes.readBigUInt64LE(24)),
    epoch: Number(bytes.readBigUInt64LE(32)),
    topic: `${bytes.subarray(40, 40 + bytes[18])}`,
  }),
  unsubscribe: (bytes) => ({ topic: `${bytes.subarray(17, 17 + bytes[16])}` }),
  record: (bytes) => ({ count: bytes.readUInt16LE(6), id: bytes.readBigUInt64LE(24), topic: `${bytes.subarray(48, 48 + bytes[16])}` }),
};

function socketsOf(sockets) {
  return class {
    readyState = 0;
    sent = [];

    constructor(url, protocol) {
      Object.assign(this, { url: String(url), protocol });
      sockets.push(this);
    }

    send(bytes) {
      this.sent.push(...read(bytes));
    }

    close(code) {
      this.readyState = 3;
      this.closedWith = code;
    }

    accept() {
      this.readyState = 1;
      this.onopen({});
      return settle();
    }

    deliver(...frames) {
      this.onmessage({ data: buffer(...frames) });
      return settle();
    }

    break(code = 1006) {
      this.readyState = 3;
      this.onclose({ code });
      return settle();
    }

    of(kind) {
      return this.sent.filter((frame) => frame.kind === kind);
    }
  };
}

/** Lets everything happen that waits for nothing but its turn. */
export async function settle() {
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
}

export async function world(t, options = {}) {
  const { url = 'ws://broker', ...rest } = options;
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 });
  t.mock.method(Math, 'random', () => 0.5);
  const page = new EventTarget();
  const network = { onLine: true };
  const signals = [];
  const listen = (type, act, options) => (signals.push(options.signal), page.addEventListener(type, act, options));
  const globals = { addEventListener: listen, navigator: network };
  const before = Object.keys(globals).map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]);
  for (const name in globals) Object.defineProperty(globalThis, name, { value: globals[name], configurable: true });
  const sockets = [];
  const oyez = new Oyez(url, { WebSocket: socketsOf(sockets), ...rest });
  const states = [oyez.state];
  const events = [];
  oyez.addEventListener('state', ({ state, error, waitMs }) => (states.push(state), events.push({ type: 'state', state, error, waitMs })));
  for (const type of ['open', 'close', 'gap', 'skip', 'epoch', 'end']) oyez.addEventListener(type, (event) => events.push(event));
  t.after(() => {
    oyez.close();
    for (const [name, descriptor] of before) {
      if (descriptor) Object.defineProperty(globalThis, name, descriptor);
      else delete globalThis[name];
    }
  });
  await settle();
  return {
    oyez,
    sockets,
    states,
    events,
    network,
    signals,
    get socket() {
      return sockets.at(-1);
    },
    told: (type) => events.filter((event) => event.type === type),
    happen: (type) => (page.dispatchEvent(new Event(type)), settle()),
    /** Time passes in small steps, so that what waits for a promise comes in between. */
    async pass(ms) {
      for (let left = ms; left > 0; left -= 500) {
        t.mock.timers.tick(Math.min(left, 500));
        await settle();
      }
    },
    /** Until the next attempt. */
    async retry() {
      for (const before = sockets.length; sockets.length === before; ) await this.pass(100);
    },
    /** The process stands still meanwhile, and all timers are late. */
    async sleep(ms) {
      t.mock.timers.setTime(Date.now() + ms);
      t.mock.timers.tick(1);
      await settle();
    },
    /** The broker takes the connection, and all that is asked for begins at these offsets. */
    async connect({ terms, places = {} } = {}) {
      await this.socket.accept();
      const asked = this.socket.of('subscribe');
      await this.socket.deliver(welcome(terms), ...asked.map(({ id, topic }) => subscribed({ id, ...places[topic] })));
    },
    /** The broker's answer to the last subscribe. */
    async admit(place) {
      await this.socket.deliver(subscribed({ id: this.socket.of('subscribe').at(-1).id, ...place }));
    },
  };
}
