/**
 * What a broker sends, built by an implementation of its own: plain, slow, and without a line of the client. The golden
 * bytes of the protocol hold both to the same.
 */

/** CRC-32C bit by bit. */
export function naiveCrc(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

/** Little-endian bytes of `[size, value]` pairs, and of texts and buffers. */
export function packed(...parts) {
  return Buffer.concat(
    parts.map((part) => {
      if (typeof part === 'string') return Buffer.from(part);
      if (!Array.isArray(part)) return Buffer.from(part);
      const [size, value] = part;
      return Buffer.from(Array.from({ length: size }, (_, index) => Number((BigInt(value) >> BigInt(8 * index)) & 0xffn)));
    }),
  );
}

const padded = (bytes) => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 7)]);

export function frame({ kind, flags = 0, aux = 0, id = 0 }, ...fields) {
  const bytes = padded(packed([4, 0], [1, kind], [1, flags], [2, aux], [4, 0], [4, id], ...fields));
  bytes.writeUInt32LE(bytes.length, 0);
  return sealed(bytes);
}

/** The same frame with a checksum that is right. */
export function sealed(bytes) {
  bytes.writeUInt32LE(naiveCrc(Buffer.concat([bytes.subarray(0, 8), bytes.subarray(12)])), 8);
  return bytes;
}

export function welcome(terms = {}) {
  const { version = 2, heartbeatMs = 45_000, recordSizeMax = 262_144, rawSizeMax = 1_048_576, ...rest } = terms;
  const { inflightRecordsMax = 256, inflightBytesMax = 1 << 24, features = 0, instance = 1n, name = 'broker' } = rest;
  return frame(
    { kind: 3, aux: version },
    [4, heartbeatMs],
    [4, recordSizeMax],
    [4, rawSizeMax],
    [4, inflightRecordsMax],
    [4, inflightBytesMax],
    [4, features],
    [8, instance],
    [8, rest.expires ?? 0],
    [4, rest.subscriptionsMax ?? 1024],
    [2, Buffer.byteLength(name)],
    [2, 0],
    name,
  );
}

export function subscribed({ id, outcome = 0, flags = 0, next = 0, epoch = 7, retryAfterMs = 0, entry = 0, log = 0 }) {
  const { earliest, head } = { earliest: 0, head: 1_000_000 };
  return frame({ kind: 5, flags, aux: outcome, id }, [8, next], [8, earliest], [8, head], [8, epoch], [2, entry], [2, log], [4, retryAfterMs]);
}

export const unsubscribed = (id) => frame({ kind: 7, id });

export function published(...entries) {
  const fields = entries.flatMap(({ id, offset = 0, epoch = 7, outcome = 0, retryAfterMs = 0 }) => [
    [8, id],
    [8, offset],
    [8, epoch],
    [2, outcome],
    [2, 0],
    [4, retryAfterMs],
  ]);
  return frame({ kind: 8, aux: entries.length }, ...fields);
}

export const beat = (kind, token = 0) => frame({ kind }, [8, token]);

export function goodbye(code, { reason = 'so', retryAfterMs = 0 } = {}) {
  return frame({ kind: 11, aux: code }, [4, retryAfterMs], [2, Buffer.byteLength(reason)], [2, 0], reason);
}

export function hole(kind, { topic = 'a', from, to, cause = 0, epoch = 7, flags = 0 }) {
  return frame({ kind, flags, aux: cause }, [8, from], [8, to], [8, epoch], [2, 0], [1, Buffer.byteLength(topic)], topic);
}

export function ended(topic, outcome, retryAfterMs = 0) {
  return frame({ kind: 21, aux: outcome }, [4, retryAfterMs], [1, Buffer.byteLength(topic)], topic);
}

function varint(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
}

const sized = (value) => packed(varint(Buffer.byteLength(value)), Buffer.from(value));

/** A message in a block: a text, or its parts. */
export function message(parts) {
  const { payload = '', key, headers = [] } = typeof parts === 'string' ? { payload: parts } : parts;
  const content = Buffer.from(payload);
  const flags = (key === undefined ? 0 : 1) + (headers.length ? 2 : 0);
  const pairs = headers.flatMap(([name, value]) => [sized(name), sized(value)]);
  return packed(
    varint(content.length * 4 + flags),
    key === undefined ? '' : sized(key),
    headers.length ? varint(headers.length) : '',
    ...pairs,
    content,
  );
}

/** A record as it is delivered. `block` and `raw` stand in for those of the messages. */
export function record({ topic = 'a', offset = 0, messages = ['m'], timestampMs = 1_700_000_000_000, ...rest }) {
  const raw = rest.raw ?? Buffer.concat(messages.map(message));
  const block = rest.block ?? raw;
  const name = Buffer.from(topic);
  const extras = rest.extras ?? Buffer.alloc(0);
  const padding = -(name.length + extras.length + block.length) & 7;
  const count = rest.count ?? messages.length;
  const bytes = packed(
    [4, 48 + name.length + extras.length + block.length + padding],
    [1, 1],
    [1, rest.codec ?? 0],
    [2, count],
    [4, 0],
    [4, raw.length],
    [1, name.length],
    [1, extras.length / 8],
    [1, padding],
    [5, 0],
    [8, offset],
    [6, 77],
    [2, 3],
    [6, timestampMs],
    [2, 2],
    name,
    extras,
    block,
    Buffer.alloc(padding),
  );
  return stamped(bytes);
}

/** The same record with checksums that are right. */
export function stamped(bytes) {
  const covered = [bytes.subarray(0, 8), bytes.subarray(12, 20), bytes.subarray(48)];
  bytes.writeUInt32LE(naiveCrc(Buffer.concat(covered)), 8);
  bytes.writeUInt32LE(0, 20);
  bytes.writeUInt32LE(naiveCrc(bytes.subarray(0, 48)), 20);
  return bytes;
}

export const buffer = (...frames) => {
  const bytes = Buffer.concat(frames);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
};
