import { OyezError, check, demand } from './error.js'
import { encodeMessage } from './message.js'
import { Outbox } from './outbox.js'
import { Subscription } from './subscription.js'
import { encode, frames, join, toBytes, topicBytes } from './wire.js'

export { OyezError }

const ANSWER_MS = 10_000
const WAKE_MS = 4000
const STOOD_MS = 1000

export class Oyez extends EventTarget {
	state
	#options
	#url
	#socket
	#timer
	#attempts = 0
	#lostAt = Date.now()
	#openedAt = Infinity
	#terms
	#listening = new AbortController()
	#subscriptions = new Map()
	ids = 0
	#out = []
	#outbox = new Outbox()

	constructor(url, options) {
		super()
		this.#options = {
			WebSocket: globalThis.WebSocket,
			name: 'oyez-js',
			token: '',
			from: 'latest',
			minDelayMs: 500,
			maxDelayMs: 30_000,
			giveUpAfterMs: Infinity,
			bufferBytes: 4 << 20,
			...options,
		}
		demand(this.#options.WebSocket, 'no_websocket', url)
		this.#url = new URL(url, globalThis.location?.href)
		this.#url.protocol = this.#url.protocol.replace('http', 'ws')
		if (this.#url.pathname === '/') this.#url.pathname = '/api/v1/ws'
		for (const type of ['online', 'offline', 'pageshow', 'resume', 'visibilitychange']) {
			globalThis.addEventListener?.(type, () => this.#wake(), { capture: true, signal: this.#listening.signal })
		}
		this.#dial()
	}

	subscribe(topic, options = {}, handler) {
		if (options.call) [options, handler] = [{}, options]
		demand(this.state !== 'closed', 'closed', topic)
		demand(!this.#subscriptions.get(topic), 'already_subscribed', topic)
		const subscription = new Subscription(this, topic, { ...this.#options, ...options })
		this.#subscriptions.set(topic, subscription)
		subscription.ask()
		if (handler) this.#drive(subscription, handler).catch((error) => this.tell('end', { topic, error }))
		else subscription.ready.catch(() => {})
		return subscription
	}

	async #drive(subscription, handler) {
		for await (const message of subscription) {
			await Promise.resolve(message).then(handler).catch((error) => void Promise.reject(error))
		}
	}

	async publish(topic, payload, options) {
		topicBytes(topic)
		const raw = encodeMessage(payload, options)
		demand(this.state !== 'closed', 'closed', topic)
		demand(this.#outbox.bytes < this.#options.bufferBytes, 'buffer_full', topic, { retryable: true })
		queueMicrotask(() => this.#flush())
		return this.#outbox.add(topic, raw)
	}

	close() {
		this.#flush()
		this.#end()
	}

	tell(type, more) {
		this.dispatchEvent(Object.assign(new Event(type), more))
	}

	#become(state, more) {
		this.state = state
		this.tell('state', { state, ...more })
	}

	#after(ms, act) {
		clearTimeout(this.#timer)
		this.#timer = setTimeout(act, Math.min(ms, 2e9))
	}

	async #dial() {
		const attempt = (this.#socket = {})
		this.#after(ANSWER_MS, () => this.#drop(new OyezError('silent', this.#url)))
		this.#become('connecting')
		const { token, WebSocket } = this.#options
		try {
			const proof = toBytes(await (token.call?.() ?? token))
			if (attempt === this.#socket) this.#open(new WebSocket(this.#url, 'oyez.v2'), proof)
		} catch (error) {
			if (attempt === this.#socket) this.#drop(error)
		}
	}

	#open(socket, proof) {
		this.#socket = socket
		const hello = { ...this.#options, magic: 0x5a45594f, version: 2, proofSize: proof.length }
		// One that was given up has no say.
		const on = (act) => (event) => socket === this.#socket && act(event)
		socket.binaryType = 'arraybuffer'
		socket.onopen = on(() => {
			this.send('hello', hello, toBytes(this.#options.name), proof)
			for (const subscription of this.#subscriptions.values()) {
				subscription.stage = 0
				subscription.ask()
			}
		})
		socket.onmessage = on(({ data }) => this.#hear(data, socket))
		socket.onclose = on(({ code }) => this.#drop(new OyezError('lost', code, { goodbye: Math.max(0, code - 4000) })))
		socket.onerror = () => {}
	}

	#hear(data, socket) {
		if (this.state === 'open') this.#watch()
		try {
			for (const frame of frames(data)) {
				this.#take(frame)
				if (socket !== this.#socket) return
			}
		} catch (error) {
			this.#drop(Object.assign(error, { complaint: error.complaint ?? 256 }))
		}
	}

	#take(frame) {
		const { kind, aux, id, token, text, topic = text, retryAfterMs } = frame
		if (kind === 'welcome') this.#welcome(frame)
		else if (kind === 'ping') this.send('pong', { token })
		else if (kind === 'goodbye') this.#drop(new OyezError(kind, text, { goodbye: aux, retryAfterMs }))
		else if (kind === 'published') {
			this.#outbox.answered(frame)
			this.#flush()
		} else if (kind === 'subscribed') {
			for (const subscription of this.#subscriptions.values()) if (subscription.id === id) subscription.answered(frame)
		} else this.#subscriptions.get(topic)?.take(frame)
	}

	#welcome(welcome) {
		check(this.state === 'connecting' && welcome.aux === 2, 261)
		this.#terms = welcome
		this.#openedAt = Date.now()
		this.#watch()
		this.#become('open')
		this.tell('open')
		this.#flush()
	}

	#watch() {
		this.#after(this.#terms.heartbeatMs || ANSWER_MS, () => this.#probe(ANSWER_MS))
	}

	#probe(ms) {
		const askedAt = Date.now()
		this.send('ping', { token: 0n })
		this.#after(ms, () => {
			// Late timers come before late answers.
			if (Date.now() - askedAt > 2 * ms) this.#probe(ms)
			else this.#drop(new OyezError('silent', this.#url))
		})
	}

	#wake() {
		if (this.state === 'open') this.#probe(WAKE_MS)
		if (this.state === 'waiting') this.#dialIn(0)
	}

	#dialIn(ms) {
		this.#after(ms, () => this.#dial())
		if (globalThis.navigator?.onLine === false) clearTimeout(this.#timer)
	}

	send(...frame) {
		if (this.#socket?.readyState !== 1) return
		queueMicrotask(() => this.#flushAll())
		this.#out.push(encode(...frame))
	}

	#flushAll() {
		const out = this.#out.splice(0)
		if (out.length) this.#socket?.send(join(out))
	}

	#flush() {
		if (this.state === 'open') for (const record of this.#outbox.records(this.#terms)) this.send('record', ...record)
	}

	#hangUp(error) {
		if (error?.goodbye === undefined) this.send('goodbye', { aux: error?.complaint }, toBytes(error?.message))
		this.#flushAll()
		this.#socket?.close?.(1000)
		this.#socket = undefined
	}

	#drop(error) {
		this.#hangUp(error)
		const { minDelayMs, maxDelayMs, giveUpAfterMs } = this.#options
		const now = Date.now()
		if (now - this.#openedAt > STOOD_MS) {
			this.#attempts = 0
			this.#lostAt = now
		}
		this.#openedAt = Infinity
		const { goodbye, retryAfterMs = 0 } = error
		this.#outbox.lost()
		// Not the way does the damage.
		if (goodbye === 6 && this.#attempts > 1) this.#outbox.end(error)
		const leftMs = this.#lostAt + giveUpAfterMs - now - retryAfterMs
		if (goodbye > 255 || leftMs <= 0) return this.#end(error)
		const waitMs = retryAfterMs + Math.random() * Math.min(maxDelayMs, minDelayMs * 2 ** this.#attempts++, leftMs)
		this.#dialIn(waitMs)
		this.#become('waiting', { error, waitMs })
	}

	#end(error) {
		if (this.state === 'closed') return
		this.#hangUp(error)
		clearTimeout(this.#timer)
		this.#listening.abort()
		this.#become('closed', { error })
		this.tell('close', { error })
		for (const subscription of this.#subscriptions.values()) subscription.end(error)
		this.#outbox.end(error ?? new OyezError('closed', this.#url))
	}

	forget({ topic }) {
		this.#subscriptions.delete(topic)
	}
}
