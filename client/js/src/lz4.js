export function decompress(block, rawSize) {
	const raw = new Uint8Array(rawSize)
	let [at, end] = [0, 0]
	// Behind the block sums are NaN, which passes no check.
	const sizeOf = (size) => {
		for (let byte = size < 15 ? 0 : 255; byte === 255; size += byte) byte = block[at++]
		return size
	}
	while (at < block.length) {
		const token = block[at++]
		const literals = sizeOf(token >> 4)
		if (!(literals <= block.length - at && literals <= rawSize - end)) return
		raw.set(block.subarray(at, (at += literals)), end)
		end += literals
		if (at === block.length) return end === rawSize ? raw : undefined
		const distance = block[at++] + block[at++] * 256
		const copied = sizeOf(token & 15) + 4
		if (!(distance && distance <= end && copied <= rawSize - end)) return
		// What overlaps repeats.
		for (const last = end + copied; end < last; end++) raw[end] = raw[end - distance]
	}
}
