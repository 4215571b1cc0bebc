import assert from 'node:assert/strict';
import test from 'node:test';
import { decompress } from '../src/lz4.js';
import { decodeMessages, encodeMessage } from '../src/message.js';
import { crc32c, frames } from '../src/wire.js';
import { buffer, message, naiveCrc, packed, record, sealed, stamped } from './support/bytes.mjs';
import { golden } from './support/golden.mjs';
import { lz4Block } from './support/lz4.mjs';
import { forSeeds } from './support/random.mjs';

test('the checksum is that of the Castagnoli polynomial', () => {
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
  assert.equal(crc32c(Buffer.from('1234'), Buffer.alloc(0), Buffer.from('56789')), 0xe3069283);
  forSeeds(50, (random) => {
    const bytes = random.bytes(random.below(500));
    assert.equal(crc32c(bytes), naiveCrc(bytes));
  });
});

test('LZ4 blocks decompress to what they were made from', () => {
  forSeeds(2000, (random) => {
    const { block, raw } = lz4Block(random, random.below(8));
    assert.deepEqual(Buffer.from(decompress(block, raw.length)), raw);
    assert.equal(decompress(block, raw.length + 1), undefined, 'too little');
    assert.equal(decompress(block, raw.length - 1), undefined, 'too much');
  });
});

test('damaged LZ4 blocks give exactly as many bytes as were promised, or none', () => {
  forSeeds(10_000, (random) => {
    const { block, raw } = lz4Block(random, random.below(4));
    for (let left = 1 + random.below(4); left; left--) block[random.below(block.length)] = random.below(256);
    const damaged = block.subarray(0, random.below(3) ? block.length : random.below(block.length + 1));
    const opened = decompress(damaged, raw.length);
    assert.ok(opened === undefined || opened.length === raw.length);
  });
});

test('a block that claims lengths beyond all bounds is refused at once', () => {
  const greedy = Buffer.concat([Buffer.from([0x1f, 0x61, 1, 0]), Buffer.alloc(1 << 20, 255)]);
  assert.equal(decompress(greedy, 8 << 20), undefined);
  assert.equal(decompress(Buffer.from([0xf0, 255, 255]), 100), undefined);
  assert.equal(decompress(Buffer.alloc(0), 0), undefined);
  assert.equal(decompress(Buffer.from([0x10, 0x61, 0, 0]), 5), undefined, 'a distance of nothing');
  assert.equal(decompress(Buffer.from([0x10, 0x61, 2, 0, 0]), 5), undefined, 'a distance beyond the beginning');
  assert.deepEqual([...decompress(Buffer.from([0x10, 0x61, 1, 0, 0]), 5)], [0x61, 0x61, 0x61, 0x61, 0x61]);
});

test('messages come out of a block as they went in', () => {
  forSeeds(500, (random) => {
    const parts = Array.from({ length: 1 + random.below(5) }, () => ({
      payload: random.bytes(random.pick([0, 1, 31, 32, 5000])),
      key: random.below(2) ? random.bytes(random.below(200)) : undefined,
      headers: Array.from({ length: random.below(3) }, (_, index) => [`name ${index}`, 'x'.repeat(random.below(200))]),
    }));
    const raw = Buffer.concat(parts.map(message));
    assert.deepEqual(Buffer.concat(parts.map(({ payload, ...rest }) => encodeMessage(payload, rest))), raw);
    const found = decodeMessages(raw, parts.length);
    for (const [index, { payload, key, headers }] of found.entries()) {
      assert.deepEqual(Buffer.from(payload), parts[index].payload);
      assert.deepEqual(key && Buffer.from(key), parts[index].key ?? null);
      assert.deepEqual(headers, parts[index].headers);
    }
    for (const [bytes, count] of [[raw, parts.length + 1], [raw.subarray(0, -1), parts.length], [packed(raw, [1, 0]), parts.length]]) {
      assert.throws(() => decodeMessages(bytes, count));
    }
  });
});

test('numbers in a block have their shortest form and 32 bits', () => {
  const refused = ['8000', '808080808000', 'ffffffff1f', '02', '0200', '0080', 'fcffffff0f', '848080801061'];
  for (const hex of refused) assert.throws(() => decodeMessages(Buffer.from(hex, 'hex'), 1), hex);
  assert.throws(() => decodeMessages(Buffer.from('02ffffffff0f', 'hex'), 1), 'four billion headers');
});

test('payloads are text, bytes, or JSON', () => {
  const content = (payload) => Buffer.from(decodeMessages(encodeMessage(payload), 1)[0].payload).toString();
  const bytes = new TextEncoder().encode('abcd');
  assert.equal(content('ü'), 'ü');
  assert.equal(content(bytes), 'abcd');
  assert.equal(content(bytes.buffer), 'abcd');
  assert.equal(content(new DataView(bytes.buffer, 1, 2)), 'bc');
  assert.deepEqual([content({ a: 1 }), content([1]), content(7), content(null)], ['{"a":1}', '[1]', '7', 'null']);
});

/** Frames that a broker sends. */
const sent = ['welcome', 'subscribed', 'unsubscribed', 'published', 'ping_and_pong', 'goodbye', 'gap', 'skip', 'notice', 'ended', 'stamped_record'];
const whole = sent.map((name) => golden.get(name)[0]);

test('no flipped bit and no cut of a frame goes unnoticed', () => {
  for (const bytes of whole) {
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const damaged = Buffer.from(bytes);
      damaged[bit >> 3] ^= 1 << (bit & 7);
      assert.throws(() => [...frames(buffer(damaged))], `bit ${bit}`);
    }
    for (let size = 1; size < bytes.length; size++) assert.throws(() => [...frames(buffer(bytes.subarray(0, size)))], `${size} bytes`);
  }
});

test('what is damaged comes with code 6, and what is meant as it is with another', () => {
  const complaint = (bytes) => {
    try {
      for (const _ of frames(buffer(bytes)));
    } catch (error) {
      return error.complaint ?? 256;
    }
  };
  const changed = (bytes, at, value) => Object.assign(Buffer.from(bytes), { [at]: value });
  const [gap, pong] = [golden.get('gap')[0], golden.get('ping_and_pong')[1]];
  const delivered = golden.get('stamped_record')[0];
  assert.equal(complaint(changed(pong, 17, 1)), 6);
  assert.equal(complaint(changed(pong, 0, 17)), 6);
  assert.equal(complaint(changed(delivered, 60, 1)), 6);
  assert.equal(complaint(changed(delivered, 30, 1)), 6, 'a field of the broker');
  assert.equal(complaint(sealed(changed(pong, 5, 1))), 256, 'a flag');
  assert.equal(complaint(sealed(changed(gap, 47, 1))), 256, 'a padding');
  assert.equal(complaint(sealed(changed(gap, 42, 200))), 256, 'a name beyond the end');
  assert.equal(complaint(sealed(changed(gap, 43, 255))), 256, 'a name that is no text');
  assert.equal(complaint(stamped(changed(delivered, 5, 2))), 256, 'a codec');
  assert.equal(complaint(record({ topic: 'a+' })), 256, 'a topic');
});

test('records that break a rule are refused although their checksums are right', () => {
  const refused = (parts, why) => assert.throws(() => [...frames(buffer(record(parts)))], why);
  const fine = (parts) => assert.equal([...frames(buffer(record(parts)))].length, 1);
  fine({ extras: Buffer.from([0x81, 3, 1, 2, 3, 0, 0, 0, 0xff, 6, 1, 1, 1, 1, 1, 1]) });
  refused({ extras: Buffer.from([1, 3, 1, 2, 3, 0, 0, 0]) }, 'an extra that may not be ignored');
  refused({ extras: Buffer.from([0x81, 7, 1, 2, 3, 0, 0, 0]) }, 'an extra beyond the end');
  refused({ extras: Buffer.from([0x81, 3, 1, 2, 3, 0, 0, 1]) }, 'an extra with more than zeros behind it');
  refused({ count: 0 }, 'no messages');
  refused({ count: 3, messages: [''] }, 'more messages than bytes');
  refused({ topic: '' }, 'no topic');
  refused({ topic: 'a\0' }, 'a topic with NUL');
  refused({ raw: Buffer.alloc(300), block: Buffer.alloc(1), codec: 1 }, 'a block that grows too much');
  refused({ raw: Buffer.alloc(3), block: Buffer.alloc(4), codec: 1 }, 'a block that shrinks');
  refused({ raw: Buffer.alloc(3), block: Buffer.alloc(4) }, 'a stored block of another size');
  const huge = { raw: { length: (8 << 20) + 1 }, block: Buffer.alloc(40_000), codec: 1, count: 1 };
  refused(huge, 'a block above the limit of the protocol');
});

test('bytes from anywhere end in frames or in an error', () => {
  forSeeds(5000, (random) => {
    const bytes = Buffer.concat(Array.from({ length: 1 + random.below(3) }, () => random.pick(whole)));
    for (let left = random.below(5); left; left--) bytes[random.below(bytes.length)] = random.below(256);
    // Half of them are meant as they are.
    if (random.below(2) && bytes.readUInt32LE(0) <= bytes.length && bytes.readUInt32LE(0) >= 16) {
      const first = bytes.subarray(0, bytes.readUInt32LE(0));
      if (bytes[4] !== 1) sealed(first);
      else if (first.length >= 48) stamped(first);
    }
    try {
      for (const frame of frames(buffer(bytes))) if (frame.kind === 'record') decodeMessages(frame.block, frame.count);
    } catch (error) {
      assert.ok(error instanceof Error);
    }
  });
});
