//! The committed length of a block: one thread appends, and any number of others read below the length.
//!
//! This is all of the ordering between the writer of a block and its readers. The bytes are not here, so that a model can
//! use its own.

use std::ops::Range;

use crate::sync::atomic::{AtomicU32, Ordering};

/// The committed length of a block.
#[derive(Debug, Default)]
pub(super) struct Committed(AtomicU32);

impl Committed {
    /// Bytes that may be read, and never change again.
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Acquire) as usize
    }

    /// Lets `fill` write the next `size` bytes, then commits them. Only one thread may call it.
    pub(super) fn append(&self, size: usize, fill: impl FnOnce(Range<usize>)) {
        let from = self.0.load(Ordering::Relaxed) as usize;
        fill(from..from + size);
        let to = u32::try_from(from + size).expect("a block is 2 MiB");
        self.0.store(to, Ordering::Release);
    }
}

#[cfg(all(test, loom))]
mod tests {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// A block of three bytes. Loom ends the model where one is read and nothing orders that behind its writing.
    #[derive(Default)]
    struct Bytes {
        committed: Committed,
        bytes: [UnsafeCell<u8>; 3],
    }

    // SAFETY: `append` is called by one thread, and reaches only what `read` does not: what the model is there to show.
    unsafe impl Send for Bytes {}
    // SAFETY: as above.
    unsafe impl Sync for Bytes {}

    impl Bytes {
        fn append(&self, bytes: &[u8]) {
            self.committed.append(bytes.len(), |range| {
                for (cell, byte) in self.bytes[range].iter().zip(bytes) {
                    // SAFETY: see `Sync`.
                    cell.with_mut(|at| unsafe { *at = *byte });
                }
            });
        }

        fn read(&self) -> Vec<u8> {
            let cells = &self.bytes[..self.committed.bytes()];
            // SAFETY: see `Sync`.
            let byte = |cell: &UnsafeCell<u8>| cell.with(|at| unsafe { *at });
            cells.iter().map(byte).collect()
        }
    }

    #[test]
    fn loom_readers_see_bytes_that_were_committed_and_no_others() {
        loom::model(|| {
            let block = Arc::new(Bytes::default());
            let readers = [(); 2].map(|()| {
                let block = block.clone();
                thread::spawn(move || {
                    let [earlier, later] = [(); 2].map(|()| block.read());
                    assert!(later.starts_with(&earlier), "{earlier:?}, then {later:?}");
                    assert!([&b""[..], b"ab", b"abc"].contains(&&*later), "{later:?}");
                })
            });
            block.append(b"ab");
            block.append(b"c");
            for reader in readers {
                reader.join().unwrap();
            }
            assert_eq!(block.read(), b"abc");
        });
    }
}
