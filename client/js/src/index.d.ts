/** A number that counts the messages of a topic from 0. A bigint only where a number would not be exact, from 2^53 on. */
export type Offset = number | bigint

/** A history of offsets: while it is the same, an offset means the same message. */
export type Epoch = bigint

/** Where something stands in a topic. */
export interface Place {
	offset: Offset
	epoch: Epoch
}

/**
 * Where a subscription begins: with the next message to come (`latest`, unless told otherwise), with the oldest kept
 * (`earliest`), with an offset, or where a token says: that of a message, or the id of an event of the broker's
 * event streams. With an epoch (as a token has one) a history that changed meanwhile is noticed.
 */
export type From = 'latest' | 'earliest' | Offset | { offset: Offset; epoch?: Epoch } | (string & {})

/** Bytes, or text that is sent as UTF-8. */
export type Bytes = string | ArrayBuffer | ArrayBufferView

/** Names and values: an object, or pairs where a name comes twice. */
export type Headers = Record<string, Bytes> | [name: string, value: Bytes][]

/** A message that was delivered. */
export interface Message {
	readonly topic: string
	readonly offset: Offset
	/** When the broker took it, in milliseconds since the Unix epoch. */
	readonly timestampMs: number
	/** What its publisher calls the thing that it is about. */
	readonly key: Uint8Array | null
	/** Names and values as text, in the order of the publisher. Bytes that are no UTF-8 become U+FFFD. */
	readonly headers: [name: string, value: string][]
	/** The content: bytes of its own, which nobody else holds. */
	readonly payload: Uint8Array
	/** Where to go on behind this message: keep it, and give it as `from`. */
	readonly token: string
	/** The content as UTF-8. */
	text(): string
	/** The content as JSON; throws when it is none. */
	json(): any
}

/** What a WebSocket is made with, as that of browsers and of the package `ws`. */
export type WebSocketClass = new (url: any, protocols?: any) => any

export interface OyezOptions {
	/** What the client proves itself with, or a function that gives it, which is asked for each connection. */
	token?: string | Uint8Array | (() => string | Uint8Array | Promise<string | Uint8Array>)
	/** What the client calls itself in the log of the broker. */
	name?: string
	/** The class to use where there is none, as in Node.js 20. */
	WebSocket?: WebSocketClass
	/** First bound of the random delay before another attempt, which doubles with each: 500. */
	minDelayMs?: number
	/** Bound that no delay exceeds, unless the broker asks for it: 30,000. */
	maxDelayMs?: number
	/** Time without a connection after which it is over: never. */
	giveUpAfterMs?: number
	/** Longest silence to ask the broker for, which grants one second or more. */
	heartbeatMs?: number
	/** Bytes that may wait: those published and not answered, and those of each subscription: 4 MiB. */
	bufferBytes?: number
}

export interface SubscribeOptions {
	from?: From
	/**
	 * Bytes that may wait for the handler or the loop. Beyond that the broker is asked to stop, and asked to go on when half
	 * of them are left; one record more may come. 4 MiB, or what the client was made with.
	 */
	bufferBytes?: number
}

export interface PublishOptions {
	key?: Bytes
	headers?: Headers
}

/** A topic that is received. As an iterator it gives each message once; a loop that ends closes it. */
export interface Subscription extends AsyncIterable<Message> {
	readonly topic: string
	/** Where it begins, once the broker has said so; nothing when it was closed before. Rejected when it is refused. */
	readonly ready: Promise<Place | undefined>
	/** Ends it at once; what waits is dropped. */
	close(): void
	[Symbol.asyncIterator](): AsyncGenerator<Message, void, undefined>
}

/**
 * - `connecting`: an attempt is under way
 * - `open`: the broker has welcomed this client
 * - `waiting`: for the next attempt, or for the network
 * - `closed`: for good
 */
export type State = 'connecting' | 'open' | 'waiting' | 'closed'

export interface StateEvent extends Event {
	readonly state: State
	/** Why, when it is `waiting`, or `closed` without `close()` having been called. */
	readonly error?: Error | OyezError
	/** When it is `waiting`: until the next attempt. */
	readonly waitMs?: number
}

/** It is over. The error says why, if it was not `close()`. */
export interface CloseEvent extends Event {
	readonly error?: Error | OyezError
}

/** Messages from `from` to before `to` will not come. */
export interface GapEvent extends Event {
	readonly topic: string
	readonly from: Offset
	readonly to: Offset
	/**
	 * Dropped by the retention of the broker before they were delivered, damaged on its disk, not to be read by this client,
	 * or lost without a reason that is known.
	 */
	readonly cause: 'retention' | 'damage' | 'unreadable' | 'other'
}

/** Messages from `from` to before `to` are not wanted any more. */
export interface SkipEvent extends Event {
	readonly topic: string
	readonly from: Offset
	readonly to: Offset
	readonly cause: 'expired' | 'superseded' | 'deleted' | 'other'
}

/**
 * The history of a topic is not what it was: messages that were delivered may be missing in it, and offsets count anew.
 * `from` was to come next, `to` does.
 */
export interface EpochEvent extends Event {
	readonly topic: string
	readonly old: Epoch
	readonly epoch: Epoch
	readonly from: Offset
	readonly to: Offset
}

/** A subscription with a handler is over without having been closed. An iterator throws the error instead. */
export interface EndEvent extends Event {
	readonly topic: string
	readonly error: OyezError
}

export interface OyezEvents {
	state: StateEvent
	open: Event
	close: CloseEvent
	gap: GapEvent
	skip: SkipEvent
	epoch: EpochEvent
	end: EndEvent
}

/** A client of a broker: one connection, which is made again whenever it is lost. */
export class Oyez extends EventTarget {
	/**
	 * Connects at once.
	 *
	 * @param url `wss://`, `ws://`, `https://` or `http://`, or a path on the host of the page. `/` stands for `/api/v1/ws`.
	 * @throws OyezError `no_websocket`, when there is none here; TypeError when the URL is none.
	 */
	constructor(url: string | URL, options?: OyezOptions)

	readonly state: State

	/**
	 * Receives a topic. A handler that gives a promise is waited for before the next message; one that throws is reported as
	 * an unhandled rejection, and gets the next message.
	 *
	 * @throws OyezError `bad_topic`, `bad_token`, `closed`, or `already_subscribed`: a topic is subscribed to once at a time.
	 */
	subscribe(topic: string, handler: (message: Message) => unknown): Subscription
	subscribe(topic: string, options: SubscribeOptions, handler: (message: Message) => unknown): Subscription
	/** Receives a topic as an async iterator. */
	subscribe(topic: string, options?: SubscribeOptions): Subscription

	/**
	 * Publishes a message. Strings and bytes are sent as they are, anything else as JSON. It waits for a connection, and is
	 * sent again when one breaks before the answer: then the message may be there twice.
	 *
	 * @returns Where it stands, once it is as safe as its topic promises.
	 */
	publish(topic: string, payload: unknown, options?: PublishOptions): Promise<Place>

	/** Says goodbye. Subscriptions end, and what has no answer yet is rejected (`closed`): await `publish` before. */
	close(): void

	addEventListener<K extends keyof OyezEvents>(
		type: K,
		listener: ((event: OyezEvents[K]) => unknown) | { handleEvent(event: OyezEvents[K]): unknown },
		options?: boolean | AddEventListenerOptions,
	): void
	addEventListener(
		type: string,
		listener: EventListenerOrEventListenerObject | null,
		options?: boolean | AddEventListenerOptions,
	): void
}

/**
 * Of the broker: it refuses the same again (`refused`), may do it later (`not_now`), other credentials may help
 * (`not_allowed`), it cannot do that (`not_supported`); `outcome` says more. It ended the connection (`goodbye`).
 *
 * Of the client: the name or the token is none (`bad_topic`, `bad_token`), `already_subscribed`, the message is larger
 * than the broker takes (`too_large`), as much waits as may (`buffer_full`), it is over (`closed`), `no_websocket`.
 *
 * Of a connection: it was lost (`lost`), the broker does not answer (`silent`), what it sent cannot be (`broken`).
 */
export type ErrorCode =
	| 'refused'
	| 'not_now'
	| 'not_allowed'
	| 'not_supported'
	| 'goodbye'
	| 'bad_topic'
	| 'bad_token'
	| 'already_subscribed'
	| 'too_large'
	| 'buffer_full'
	| 'closed'
	| 'no_websocket'
	| 'lost'
	| 'silent'
	| 'broken'

export class OyezError extends Error {
	constructor(code: ErrorCode, detail: unknown, more?: Partial<OyezError>)
	readonly name: 'OyezError'
	readonly code: ErrorCode
	/** Whether the same may be done later: after `retryAfterMs`, if the broker has said so. */
	readonly retryable: boolean
	/** The broker's outcome, such as 0x201 (its disk is full) or 0x301 (a topic of its own). */
	readonly outcome?: number
	/** The code of the broker's goodbye, such as 1 (it shuts down) or 263 (it cannot check credentials). */
	readonly goodbye?: number
	readonly retryAfterMs?: number
}
