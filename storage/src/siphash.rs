//! SipHash-1-3: the keyed hash that assigns topics to logs. It is part of the format, so it is not taken from a library
//! that may change it.

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

/// SipHash-1-3 of `bytes` under a 128-bit key.
pub(crate) fn siphash13(key: [u64; 2], bytes: &[u8]) -> u64 {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let absorb = |word: u64, v: &mut [u64; 4]| {
        v[3] ^= word;
        round(v);
        v[0] ^= word;
    };
    let chunks = bytes.chunks_exact(8);
    let rest = chunks.remainder();
    for chunk in chunks {
        absorb(crate::format::u64_at(chunk, 0), &mut v);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    // The low byte of the length, as the algorithm has it.
    last[7] = (bytes.len() & 0xff) as u8;
    absorb(u64::from_le_bytes(last), &mut v);
    v[2] ^= 0xff;
    for _ in 0..3 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[cfg(test)]
mod tests {
    use super::siphash13;

    #[test]
    fn equals_the_standard_library() {
        use std::hash::Hasher;
        // `DefaultHasher` is SipHash-1-3 with a zero key today.
        for len in 0..40u8 {
            let bytes: Vec<u8> = (0..len).collect();
            let mut standard = std::hash::DefaultHasher::new();
            standard.write(&bytes);
            assert_eq!(siphash13([0, 0], &bytes), standard.finish(), "{len} bytes");
        }
    }
}
