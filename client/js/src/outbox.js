import { OyezError, check, refusal } from './error.js'
import { crc32c, join, toBytes, toNumber, topicBytes } from './wire.js'

const DRAINING = 0x202

export class Outbox {
	bytes = 0
	#waiting = new Map()
	#sent = new Map()
	#sentBytes = 0
	#count = 0n

	async add(topic, raw) {
		const size = raw.length + 256
		this.bytes += size
		try {
			return await new Promise((resolve, reject) => {
				const message = { raw, resolve, reject }
				if (!this.#waiting.get(topic)?.push(message)) this.#waiting.set(topic, [message])
			})
		} finally {
			this.bytes -= size
		}
	}

	*records({ recordSizeMax, rawSizeMax, recordsMax, bytesMax }) {
		for (const [topic, messages] of this.#waiting) {
			const name = topicBytes(topic)
			const sizeMax = Math.min(recordSizeMax - 48 - name.length, rawSizeMax)
			let [count, rawSize] = [0, 0]
			for (const { raw } of messages) {
				if (rawSize + raw.length > sizeMax || count === 65_535) break
				rawSize += raw.length
				count++
			}
			if (this.#sent.size && (this.#sent.size >= recordsMax || this.#sentBytes + rawSize > bytesMax)) return
			if (count) yield this.#send({ topic, name, rawSize, messages: messages.splice(0, count) })
			else messages.shift().reject(new OyezError('too_large', sizeMax))
			// Topics take turns.
			this.#waiting.delete(topic)
			if (messages.length) this.#waiting.set(topic, messages)
		}
	}

	#send({ topic, name, rawSize, messages }) {
		// No checksum covers an id, so that it carries one.
		const id = ++this.#count
		const offset = (id << 16n) | BigInt(crc32c(toBytes(new BigUint64Array([id]))) & 0xffff)
		this.#sent.set(offset, { topic, messages, rawSize })
		this.#sentBytes += rawSize
		return [{ count: messages.length, rawSize, offset }, name, join(messages.map(({ raw }) => raw))]
	}

	answered(entry) {
		const { id, outcome, offset, epoch } = entry
		const record = this.#sent.get(id)
		check(record, 261)
		if (outcome === DRAINING) return
		this.#sent.delete(id)
		this.#sentBytes -= record.rawSize
		record.messages.forEach(({ resolve, reject }, index) => {
			if (outcome >> 8) reject(refusal(record.topic, outcome, entry.retryAfterMs))
			else resolve({ offset: toNumber(offset + BigInt(index)), epoch })
		})
	}

	/** It goes again, and first. */
	lost() {
		const records = [...this.#sent.values()].reverse()
		this.#sent.clear()
		this.#sentBytes = 0
		for (const { topic, messages } of records) {
			this.#waiting.set(topic, [...messages, ...(this.#waiting.get(topic) ?? [])])
		}
	}

	end(error) {
		this.lost()
		const waiting = [...this.#waiting.values()].flat()
		this.#waiting.clear()
		for (const { reject } of waiting) reject(error)
	}
}
