import { refusal } from './error.js'
import { decompress } from './lz4.js'
import { Message, decodeMessages, decodeToken } from './message.js'
import { toNumber, topicBytes } from './wire.js'

const STARTS = ['latest', 'earliest']
const CAUSES = {
	gap: ['other', 'retention', 'damage', 'unreadable'],
	skip: ['other', 'expired', 'superseded', 'deleted'],
}

export class Subscription {
	/** 1 is asked, 2 answered. What comes before is not meant. */
	stage = 0
	#client
	#name
	#options
	#next
	#epoch = 0n
	#queue = []
	#bytes = 0
	#end
	#settle
	#wake

	constructor(client, topic, options) {
		this.topic = topic
		this.#client = client
		this.#options = options
		this.#name = topicBytes(topic)
		if (!STARTS.includes(options.from)) this.#goTo(options.from)
		this.ready = new Promise((resolve, reject) => (this.#settle = { resolve, reject }))
	}

	#goTo(from) {
		const place = typeof from === 'string' ? decodeToken(from, this.topic) : from
		this.#next = BigInt(place.next ?? place.offset ?? place)
		this.#epoch = place.epoch ?? 0n
	}

	ask() {
		if (this.stage || this.#end || this.#bytes > this.#options.bufferBytes / 2) return
		this.stage = 1
		this.id = ++this.#client.ids
		const start = this.#next === undefined ? STARTS.indexOf(this.#options.from) : 2
		const place = { start, value: this.#next ?? 0n, epoch: this.#epoch }
		this.#client.send('subscribe', { aux: 1, id: this.id, ...place }, this.#name)
	}

	#leave() {
		if (this.stage) this.#client.send('unsubscribe', { id: ++this.#client.ids }, this.#name)
		this.stage = 0
	}

	answered(answer) {
		const { aux, next, epoch, flags } = answer
		if (aux >> 8) return this.refused(answer)
		this.stage = 2
		if (!this.#enter(epoch, next)) this.#skipTo(next, 'gap', flags & 2 && 1)
		this.#next ??= next
		this.#settle.resolve({ offset: toNumber(this.#next), epoch })
	}

	refused({ aux, retryAfterMs }) {
		const error = refusal(this.topic, aux, retryAfterMs)
		this.stage = 0
		if (error.retryable) setTimeout(() => this.ask(), retryAfterMs || this.#options.minDelayMs)
		else this.end(error)
	}

	take(frame) {
		if (this.stage < 2) return
		const { kind, epoch, from, to, aux } = frame
		if (kind === 'ended') return this.refused(frame)
		if (kind === 'record') this.#takeRecord(frame)
		else if (CAUSES[kind] && !this.#enter(epoch, to)) {
			this.#skipTo(from, 'gap')
			this.#skipTo(to, kind, aux)
		}
		// The broker keeps the rest.
		if (this.#bytes > this.#options.bufferBytes) this.#leave()
	}

	#takeRecord({ topic, offset, timestampMs, codec, block, rawSize, count }) {
		this.#skipTo(offset, 'gap')
		const end = offset + BigInt(count)
		const skip = Number(this.#next - offset)
		try {
			for (const parts of decodeMessages(codec ? decompress(block, rawSize) : block, count).slice(skip)) {
				const fields = { topic, offset: toNumber(this.#next), timestampMs, ...parts }
				this.#push(new Message(fields, { epoch: this.#epoch, next: ++this.#next }), rawSize / count + 256)
			}
		} catch {
			// It would come again.
			this.#skipTo(end, 'gap', 3)
		}
	}

	/** Whether another history begins. */
	#enter(epoch, to) {
		const old = this.#epoch
		this.#epoch = epoch
		const isNew = old && old !== epoch
		if (isNew) this.#goOn(to, 'epoch', { old, epoch })
		return isNew
	}

	#skipTo(to, type, cause) {
		if (this.#next < to) this.#goOn(to, type, { cause: CAUSES[type][cause] ?? 'other' })
	}

	#goOn(to, type, more) {
		const event = { topic: this.topic, from: toNumber(this.#next), to: toNumber(to), ...more }
		this.#next = to
		this.#push(() => this.#client.tell(type, event), 256)
	}

	#push(item, size) {
		this.#queue.push([item, size])
		this.#bytes += size
		this.#wake?.()
	}

	end(error) {
		this.#leave()
		this.#client.forget(this)
		this.#end = { error }
		this.#settle[error ? 'reject' : 'resolve'](error)
		this.#wake?.()
	}

	close() {
		this.#queue = []
		if (!this.#end) this.end()
	}

	async *[Symbol.asyncIterator]() {
		try {
			while (this.#queue.length || !this.#end) {
				if (!this.#queue.length) await new Promise((resolve) => (this.#wake = resolve))
				const [item, size] = this.#queue.shift() ?? [() => {}, 0]
				this.#bytes -= size
				this.ask()
				if (item instanceof Message) yield item
				else item()
			}
			if (this.#end.error) throw this.#end.error
		} finally {
			this.close()
		}
	}
}
