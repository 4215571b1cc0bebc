import { check, demand } from './error.js'

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export const toText = (bytes) => decoder.decode(bytes)

export function toBytes(value) {
	if (value?.byteLength >= 0) return new Uint8Array(value.buffer ?? value, value.byteOffset, value.byteLength)
	return new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value))
}

export const toNumber = (big) => (big >> 53n ? big : Number(big))

export function topicBytes(topic) {
	const bytes = toBytes(topic)
	demand(topic && bytes.length < 256 && !/[\0+#]/.test(topic) && toText(bytes) === topic, 'bad_topic', topic)
	return bytes
}

export function join(parts) {
	const joined = new Uint8Array(parts.reduce((size, part) => size + part.length, 0))
	let at = 0
	for (const part of parts) {
		joined.set(part, at)
		at += part.length
	}
	return joined
}

/** Of CRC-32C. */
const TABLE = Int32Array.from({ length: 256 }, (_, value) => {
	for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 && 0x82f63b78)
	return value
})

export function crc32c(...parts) {
	let crc = -1
	for (const part of parts) {
		for (let at = 0; at < part.length; at++) crc = TABLE[(crc ^ part[at]) & 255] ^ (crc >>> 8)
	}
	return ~crc >>> 0
}

/** A layout is names with sizes. Without a name it is reserved. */
function walk(bytes, layout, at, act) {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
	for (const field of layout.split(' ')) {
		const size = +field.at(-1)
		act(view, `${size > 4 ? 'Big' : ''}Uint${size * 8}`, at, field.slice(0, -1))
		at += size
	}
	return at
}

export function read(bytes, layout, at = 0) {
	const values = {}
	values.end = walk(bytes, layout, at, (view, type, at, name) => {
		values[name] = view[`get${type}`](at, true)
		check(!values[''])
	})
	return values
}

export function write(bytes, layout, values, at = 0) {
	return walk(bytes, layout, at, (view, type, at, name) => view[`set${type}`](at, values[name] ?? 0, true))
}

const HEAD = 'frameSize4 kind1 flags1 aux2 crc4 id4'
const HOLE = `${HEAD} from8 to8 epoch8 2 size1`
/** `size` is that of the text behind. `_` is not read. */
const KINDS = [
	[],
	['record', 'frameSize4 kind1 codec1 count2 crc4 rawSize4 size1 extras1 padding1 1 headerCrc4 offset8 _4 _4 timeLow4 timeHigh2 _2'],
	['hello', `${HEAD} magic4 version2 version2 heartbeatMs4 size2 proofSize2`],
	['welcome', `${HEAD} heartbeatMs4 recordSizeMax4 rawSizeMax4 recordsMax4 bytesMax4 _4 _8 _8 _4 size2 2`],
	['subscribe', `${HEAD} start1 1 size1 1 4 value8 epoch8`],
	['subscribed', `${HEAD} next8 _8 _8 epoch8 _2 2 retryAfterMs4`],
	['unsubscribe', `${HEAD} size1`],
	['unsubscribed', HEAD],
	['published', 'id8 offset8 epoch8 outcome2 2 retryAfterMs4'],
	['ping', `${HEAD} token8`],
	['pong', `${HEAD} token8`],
	['goodbye', `${HEAD} retryAfterMs4 size2 2`],
	[],
	[],
	['gap', HOLE],
	['skip', HOLE],
	[],
	[],
	[],
	[],
	['notice', `${HEAD} _8 size2`],
	['ended', `${HEAD} retryAfterMs4 size1`],
]

/** Not over what the broker writes. */
function crcOf(bytes) {
	const [end, at] = bytes[4] === 1 ? [20, 48] : [Infinity, Infinity]
	return crc32c(bytes.subarray(0, 8), bytes.subarray(12, end), bytes.subarray(at))
}

export function encode(kind, values, ...tails) {
	const head = new Uint8Array(64)
	const body = join(tails)
	const number = KINDS.findIndex(([name]) => name === kind)
	const size = write(head, KINDS[number][1], { ...values, kind: number, size: tails[0]?.length, padding: -body.length & 7 })
	const frame = join([head.subarray(0, size), body, new Uint8Array(-(size + body.length) & 7)])
	write(frame, 'frameSize4', { frameSize: frame.length })
	write(frame, 'crc4', { crc: crcOf(frame) }, 8)
	return frame
}

export function* frames(buffer) {
	for (let rest = new Uint8Array(buffer); rest.length; ) {
		const { frameSize, kind } = read(rest, 'frameSize4 kind1')
		const bytes = rest.subarray(0, frameSize)
		rest = rest.subarray(frameSize)
		const isWhole = frameSize > 15 && frameSize % 8 === 0 && frameSize === bytes.length
		check(isWhole && crcOf(bytes) === read(bytes, 'crc4', 8).crc, 6)
		if (kind < 128) yield* decode(KINDS[kind] ?? [], bytes)
	}
}

function checkForm(isRight, reserved) {
	check(isRight && !reserved.some(Boolean))
}

function* decode([kind, layout], bytes) {
	check(kind, 261)
	if (kind === 'record') return yield decodeRecord(read(bytes, layout), bytes)
	const head = read(bytes, HEAD)
	const isList = kind === 'published'
	let { end } = head
	for (let left = isList ? head.aux : 1; left--; ) {
		const frame = { ...read(bytes, layout, isList ? end : 0), kind }
		end = frame.end
		frame.text = toText(bytes.subarray(end, (end += frame.size ?? 0)))
		if (!left) checkForm(head.flags < (kind === 'subscribed' ? 4 : 1) && (bytes.length - end) >>> 3 === 0, bytes.subarray(end))
		yield frame
	}
}

function decodeRecord(record, bytes) {
	const { codec, count, rawSize, padding } = record
	let at = 48 + record.size
	const topic = toText(bytes.subarray(48, at))
	topicBytes(topic)
	const blockAt = at + record.extras * 8
	while (at < blockAt) {
		const end = at + 2 + bytes[at + 1]
		const next = end + ((at - end) & 7)
		// Others may not be ignored.
		checkForm(bytes[at] > 127 && next <= blockAt, bytes.subarray(end, next))
		at = next
	}
	const end = bytes.length - padding
	const { length } = bytes.subarray(at, end)
	const fits = codec ? length < rawSize && rawSize <= length * 255 : length === rawSize
	// Logs may hold more than their broker takes now.
	checkForm(fits && codec < 2 && count && count <= rawSize && rawSize <= 8 << 20 && padding < 8, bytes.subarray(end))
	check(crc32c(bytes.slice(0, 48).fill(0, 20, 24)) === record.headerCrc, 6)
	const timestampMs = record.timeLow + record.timeHigh * 2 ** 32
	return { ...record, kind: 'record', topic, timestampMs, block: bytes.subarray(at, end) }
}
