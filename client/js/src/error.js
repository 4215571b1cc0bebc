const CLASSES = [, 'refused', 'not_now', 'not_allowed', 'not_supported']

export class OyezError extends Error {
	name = 'OyezError'

	constructor(code, detail, more) {
		super(`${code}: ${detail}`)
		Object.assign(this, { code, retryable: false, ...more })
	}
}

export function refusal(topic, outcome, retryAfterMs) {
	const code = CLASSES[outcome >> 8] ?? 'refused'
	return new OyezError(code, topic, { outcome, retryAfterMs, retryable: code === 'not_now' })
}

export function demand(isRight, code, detail, more) {
	if (!isRight) throw new OyezError(code, detail, more)
}

/** Ends the connection with this code. */
export const check = (isRight, complaint = 256) => demand(isRight, 'broken', complaint, { complaint })
