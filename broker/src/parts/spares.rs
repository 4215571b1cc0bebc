//! Empty containers that wait to be filled again.

/// Bytes of all containers of one kind that a shard keeps: enough for much to a few other shards under load, or for a little to
/// each of many.
const BYTES_MAX: usize = 512 << 10;

/// A container that keeps its memory when it is emptied.
pub(crate) trait Reused: Default {
    /// Bytes of that memory.
    fn bytes(&self) -> usize;
}

/// Empty containers.
#[derive(Debug, Default)]
pub(crate) struct Spares<T> {
    containers: Vec<T>,
    bytes: usize,
}

impl<T: Reused> Spares<T> {
    /// Takes a kept container, or a new one.
    pub(crate) fn take(&mut self) -> T {
        let container = self.containers.pop().unwrap_or_default();
        self.bytes -= container.bytes();
        container
    }

    /// Keeps an empty container, as long as all that are kept stay within their bytes.
    pub(crate) fn keep(&mut self, container: T) {
        let bytes = container.bytes();
        if self.bytes + bytes <= BYTES_MAX {
            self.bytes += bytes;
            self.containers.push(container);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Jar(usize);

    impl Reused for Jar {
        fn bytes(&self) -> usize {
            self.0
        }
    }

    #[test]
    fn containers_are_used_again_and_so_many_bytes_of_them_are_kept() {
        let mut spares = Spares::default();
        assert_eq!(spares.take(), Jar(0), "a new one");
        spares.keep(Jar(BYTES_MAX - 1));
        spares.keep(Jar(1));
        spares.keep(Jar(1));
        assert_eq!(
            [spares.take(), spares.take(), spares.take()],
            [Jar(1), Jar(BYTES_MAX - 1), Jar(0)]
        );
        spares.keep(Jar(BYTES_MAX));
        assert_eq!(spares.take(), Jar(BYTES_MAX), "there is room again");
    }
}
