/** What the types promise: this file compiles, and each expected error is one. It is not run. */
import { Oyez, OyezError, type Message, type Offset, type Place } from 'oyez-client'

const oyez = new Oyez('wss://example.org', {
	token: async () => 'secret',
	name: 'types',
	WebSocket,
	minDelayMs: 100,
	giveUpAfterMs: 60_000,
	heartbeatMs: 20_000,
	bufferBytes: 1 << 20,
})
new Oyez(new URL('https://example.org'), { token: 'secret' })

async function receive(): Promise<void> {
	const subscription = oyez.subscribe('news', { from: 'earliest' })
	const begin: Place | undefined = await subscription.ready
	oyez.subscribe('b', { from: begin ?? 7n })
	oyez.subscribe('c', { from: 'AQABAAcAAAAA' }, async (message: Message) => message.json().title)
	oyez.subscribe('d', (message) => message.payload.length)
	for await (const { offset, key, headers, timestampMs, token, topic } of subscription) {
		const place: Offset = offset
		const text: string = topic + token + headers.map(([name, value]) => name + value).join() + timestampMs
		const bytes: Uint8Array | null = key
		console.log(place, text, bytes)
		break
	}
	subscription.close()
}

async function publish(): Promise<void> {
	const { offset, epoch } = await oyez.publish('news', { title: 'hello' }, { key: 'k', headers: { unit: 'celsius' } })
	await oyez.publish('news', new Uint8Array(3), { headers: [['a', 'b'], ['a', new Uint8Array(1)]] })
	console.log(Number(offset) + 1, epoch.toString(16))
	try {
		await oyez.publish('news', 'text')
	} catch (error) {
		if (error instanceof OyezError && error.code === 'not_now') console.log(error.outcome, error.retryable, error.retryAfterMs)
	}
}

oyez.addEventListener('state', ({ state, error, waitMs }) => console.log(state === 'waiting', error?.message, waitMs))
oyez.addEventListener('gap', ({ topic, from, to, cause }) => console.log(topic, from, to, cause === 'retention'))
oyez.addEventListener('skip', ({ cause }) => console.log(cause === 'superseded'))
oyez.addEventListener('epoch', ({ old, epoch }) => console.log(old !== epoch))
oyez.addEventListener('end', ({ error }) => console.log(error.goodbye), { once: true })
oyez.addEventListener('close', ({ error }) => console.log(error))
oyez.addEventListener('open', () => console.log(oyez.state))

// @ts-expect-error: there is no such option
new Oyez('wss://example.org', { minDelay: 1 })
// @ts-expect-error: the state is read only
oyez.state = 'open'
// @ts-expect-error: there is no such cause
oyez.addEventListener('gap', ({ cause }) => cause === 'deleted')
// @ts-expect-error: a name is text
oyez.subscribe(7)

export { publish, receive }
