//! A stream of bytes cut into frames, without a look into them: for readers that must not be the bottleneck.

use oyez_protocol::header::FrameHead;

/// Puts frames together again where reads have cut them.
#[derive(Clone, Debug, Default)]
pub struct Cutter {
    partial: Vec<u8>,
}

impl Cutter {
    /// Goes on from bytes that were read before.
    #[must_use]
    pub const fn new(partial: Vec<u8>) -> Self {
        Self { partial }
    }

    /// Gives each whole frame, its kind first.
    ///
    /// # Panics
    /// When a size cannot be that of a frame.
    pub fn feed(&mut self, input: &[u8], mut on_frame: impl FnMut(u8, &[u8])) {
        let mut rest = input;
        while !self.partial.is_empty() {
            let total = frame_size(&self.partial).unwrap_or(8);
            let missing = total.saturating_sub(self.partial.len());
            let (taken, left) = rest.split_at(missing.min(rest.len()));
            self.partial.extend_from_slice(taken);
            rest = left;
            match frame_size(&self.partial) {
                Some(size) if size == self.partial.len() => {
                    on_frame(self.partial[4], &self.partial);
                    self.partial.clear();
                }
                Some(size) if size < self.partial.len() => {
                    // Only what was handed over at the start can hold more than one frame.
                    let more = self.partial.split_off(size);
                    on_frame(self.partial[4], &self.partial);
                    self.partial = more;
                }
                _ if rest.is_empty() => return,
                _ => {}
            }
        }
        while let Some(size) = frame_size(rest).filter(|size| *size <= rest.len()) {
            on_frame(rest[4], &rest[..size]);
            rest = &rest[size..];
        }
        self.partial.extend_from_slice(rest);
    }
}

fn frame_size(bytes: &[u8]) -> Option<usize> {
    let head = FrameHead::parse(bytes)?.expect("the broker sends frames");
    Some(head.size as usize)
}
