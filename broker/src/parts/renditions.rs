//! Records in other forms than their own, kept while they are likely to be needed again: all subscriptions of a feed get the same
//! bytes, and a record that a socket has taken a part of is needed again. A rendition that is gone is made anew from the log.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use oyez_protocol::{LogId, Position};

use crate::dialect::form::{Form, Part};

/// Names a part of a record in a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) log: LogId,
    pub(crate) position: Position,
    pub(crate) form: Form,
    pub(crate) part: Part,
}

/// The renditions that a shard keeps: the newest ones.
#[derive(Debug)]
pub(crate) struct Renditions {
    /// `None` for a record that cannot be read.
    by_key: HashMap<Key, Option<Bytes>>,
    /// The keys, oldest first.
    order: VecDeque<Key>,
    bytes: usize,
    bytes_max: usize,
}

/// Bytes that a rendition costs beside its own: its entries in the table and the list.
const ENTRY_BYTES: usize = 2 * size_of::<(Key, Bytes)>() + size_of::<Key>();
/// A rendition of this many bytes leaves in several pieces, and making it again for each takes a millisecond.
const DEAR_BYTES: usize = 256 << 10;

impl Renditions {
    /// An empty cache of at most so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            by_key: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// The rendition that is kept, if one is; within it `None` for a record that cannot be read.
    pub(crate) fn get(&self, key: &Key) -> Option<Option<Bytes>> {
        self.by_key.get(key).cloned()
    }

    /// Keeps a rendition, or the fact that there is none, and drops the oldest ones to make room. A rendition larger than the
    /// cache is not kept, unless it is dear to make: then it is kept alone, since it leaves in pieces.
    pub(crate) fn keep(&mut self, key: Key, rendition: Option<&Bytes>) {
        let bytes = rendition.map_or(0, Bytes::len) + ENTRY_BYTES;
        let is_too_large = bytes > self.bytes_max && bytes < DEAR_BYTES;
        if is_too_large || self.by_key.contains_key(&key) {
            return;
        }
        while self.bytes + bytes > self.bytes_max && !self.order.is_empty() {
            self.drop_oldest();
        }
        self.bytes += bytes;
        self.order.push_back(key);
        self.by_key.insert(key, rendition.cloned());
    }

    fn drop_oldest(&mut self) {
        let oldest = self.order.pop_front().expect("some take up room");
        let gone = self.by_key.remove(&oldest).expect("both have the same");
        self.bytes -= gone.map_or(0, |gone| gone.len()) + ENTRY_BYTES;
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::form::{Kind, Style};

    fn key(position: u64, form: Form) -> Key {
        Key {
            log: LogId::new(1),
            position: Position::new(position),
            form,
            part: Part { first: 0, end: 1 },
        }
    }

    const CHUNKED: Form = Form {
        kind: Kind::Events,
        style: Style::CHUNKED,
    };
    const PLAIN: Form = Form {
        kind: Kind::Events,
        ..Form::NATIVE
    };

    #[test]
    fn the_newest_are_kept_within_so_many_bytes() {
        let mut renditions = Renditions::new(4 * (100 + ENTRY_BYTES));
        let bytes = Bytes::from(vec![7; 100]);
        for position in 0..10 {
            renditions.keep(key(position, CHUNKED), Some(&bytes));
        }
        let kept = |renditions: &Renditions| -> Vec<u64> {
            let is_kept = |position: &u64| renditions.get(&key(*position, CHUNKED)).is_some();
            (0..10).filter(is_kept).collect()
        };
        assert_eq!(kept(&renditions), [6, 7, 8, 9]);
        assert_eq!(renditions.bytes(), 4 * (100 + ENTRY_BYTES));
        // One that is there is not counted twice.
        renditions.keep(key(9, CHUNKED), Some(&bytes));
        assert_eq!(kept(&renditions), [6, 7, 8, 9]);
        renditions.keep(key(3, CHUNKED), Some(&Bytes::from(vec![7; 4_000])));
        assert_eq!(kept(&renditions), [6, 7, 8, 9], "it would be all there is");
    }

    #[test]
    fn one_that_is_dear_is_kept_alone_whatever_its_size() {
        let mut renditions = Renditions::new(1);
        let dear = Bytes::from(vec![7; DEAR_BYTES]);
        renditions.keep(key(1, CHUNKED), Some(&Bytes::from_static(b"cheap")));
        assert_eq!(renditions.bytes(), 0);
        for position in 2..4 {
            renditions.keep(key(position, CHUNKED), Some(&dear));
            assert!(renditions.get(&key(position, CHUNKED)).is_some());
            assert_eq!(renditions.bytes(), DEAR_BYTES + ENTRY_BYTES);
        }
    }

    #[test]
    fn each_form_of_a_record_is_another_rendition() {
        let mut renditions = Renditions::new(10_000);
        renditions.keep(key(1, CHUNKED), Some(&Bytes::from_static(b"chunked")));
        assert_eq!(renditions.get(&key(1, PLAIN)), None);
        renditions.keep(key(1, PLAIN), Some(&Bytes::from_static(b"plain")));
        let kept = renditions.get(&key(1, CHUNKED)).expect("it is kept");
        assert_eq!(kept, Some(Bytes::from_static(b"chunked")));
        renditions.keep(key(2, PLAIN), None);
        assert_eq!(
            renditions.get(&key(2, PLAIN)),
            Some(None),
            "it cannot be read"
        );
    }
}
