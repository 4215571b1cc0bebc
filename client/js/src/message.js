import { OyezError, check } from './error.js'
import { crc32c, join, read, toBytes, write } from './wire.js'

const decoder = new TextDecoder()

const PLACE = 'version1 kind1 count2 epoch8 next8 size1'

export function encodeToken(topic, { epoch, next }) {
	const name = toBytes(topic)
	const bytes = new Uint8Array(25 + name.length)
	bytes.set(name, write(bytes, PLACE, { version: 1, count: 1, epoch, next, size: name.length }))
	write(bytes, 'crc4', { crc: crc32c(bytes.subarray(0, -4)) }, bytes.length - 4)
	return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

export function decodeToken(token, topic) {
	try {
		const text = atob(token.replaceAll('-', '+').replaceAll('_', '/'))
		const place = read(Uint8Array.from(text, (char) => char.charCodeAt(0)), PLACE)
		// All else follows from its place.
		if ([topic, ''].some((name) => encodeToken(name, place) === token)) return place
	} catch {}
	throw new OyezError('bad_token', topic)
}

export class Message {
	#place

	constructor(fields, place) {
		Object.assign(this, fields)
		this.#place = place
	}

	get token() {
		return encodeToken(this.topic, this.#place)
	}

	text() {
		return decoder.decode(this.payload)
	}

	json() {
		return JSON.parse(this.text())
	}
}

const varint = (value) => (value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)])

function sized(value) {
	const bytes = toBytes(value)
	return [varint(bytes.length), bytes]
}

export function encodeMessage(payload, { key, headers = [] } = {}) {
	const content = toBytes(payload)
	const pairs = headers.map ? headers : Object.entries(headers)
	const parts = [varint(content.length * 4 + (pairs.length && 2) + (key != null))]
	if (key != null) parts.push(...sized(key))
	if (pairs.length) parts.push(varint(pairs.length), ...pairs.flat().flatMap(sized))
	return join([...parts, content])
}

export function decodeMessages(raw, count) {
	let at = 0
	const varint = (unit = 1) => {
		const byte = raw[at++]
		// Only its shortest form.
		check(unit < 2 ** 35 && (byte > 0 || (byte === 0 && unit === 1)))
		const value = (byte & 127) * unit + (byte > 127 ? varint(unit * 128) : 0)
		check(value < 2 ** 32)
		return value
	}
	const bytes = (size = varint()) => raw.slice(at, (at += size))
	const text = () => decoder.decode(bytes())
	const message = () => {
		const first = varint()
		const key = first & 1 ? bytes() : null
		const headers = []
		let left = first & 2 && varint()
		check(left || !(first & 2))
		while (left--) headers.push([text(), text()])
		return { key, headers, payload: bytes(first >>> 2) }
	}
	const messages = Array.from({ length: count }, message)
	check(at === raw.length)
	return messages
}
