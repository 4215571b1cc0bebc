/** Random numbers of a seed (mulberry32), so that a test that fails can be run again. */
export function random(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (bound) => Math.floor(next() * bound);
  const bytes = (size, alphabet = 256) => Buffer.from(Array.from({ length: size }, () => below(alphabet)));
  return { next, below, bytes, pick: (list) => list[below(list.length)] };
}

/** Runs `test` with many seeds; a failure names its seed. `SEED` in the environment repeats that one. */
export function forSeeds(count, test) {
  const first = process.env.SEED ? Number(process.env.SEED) : Date.now() % 1e9;
  for (let seed = first; seed < first + (process.env.SEED ? 1 : count); seed++) {
    try {
      test(random(seed));
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
}
