/** LZ4 blocks at random: sequences of literals and matches, and what they decompress to by the plainest of means. */
export function lz4Block(random, sequences) {
  const [block, raw] = [[], []];
  const length = (size) => {
    for (size -= 15; size >= 255; size -= 255) block.push(255);
    if (size >= 0) block.push(size);
  };
  for (let left = sequences; left >= 0; left--) {
    const literals = random.pick([0, 1, 3, 14, 15, 16, 270, 600].slice(raw.length ? 0 : 1));
    const copied = left ? random.pick([4, 5, 18, 19, 20, 274, 700]) : 4;
    block.push((Math.min(literals, 15) << 4) | (left ? Math.min(copied - 4, 15) : 0));
    length(literals);
    const bytes = [...random.bytes(literals, 4)];
    block.push(...bytes);
    raw.push(...bytes);
    if (!left) break;
    const distance = 1 + random.below(Math.min(raw.length, random.pick([1, 2, 8, 65_535])));
    block.push(distance & 255, distance >> 8);
    length(copied - 4);
    for (let index = 0; index < copied; index++) raw.push(raw[raw.length - distance]);
  }
  return { block: Buffer.from(block), raw: Buffer.from(raw) };
}
