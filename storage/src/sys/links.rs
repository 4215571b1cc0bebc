//! Finds the links between a write and its sync that the kernel has severed. Bookkeeping only.
//!
//! The kernel takes submissions one by one, and stops early if it has no memory for one. If it stops between a write and the
//! sync that is linked to it, it starts the write as if there were no link. The sync is taken with the next submission, as an
//! operation of its own: it may run before the write has ended, and its success proves nothing about the written bytes.

use std::collections::VecDeque;

/// The entries in the submission slots.
#[derive(Debug, Default)]
pub(super) struct Links {
    slots: VecDeque<Slot>,
}

#[derive(Debug)]
struct Slot {
    key: u64,
    /// Linked to the entry before it.
    follows: bool,
}

impl Links {
    /// Notes that an entry has gone into the slots.
    pub(super) fn push(&mut self, key: u64, follows: bool) {
        self.slots.push_back(Slot { key, follows });
    }

    /// The kernel was called and has left so many entries. Returns the key of the sync whose write it took without it: that
    /// link is severed.
    pub(super) fn left(&mut self, left: usize) -> Option<u64> {
        let taken = self.slots.len().saturating_sub(left);
        self.slots.drain(..taken);
        let first = self.slots.front_mut().filter(|_| taken > 0)?;
        std::mem::take(&mut first.follows).then_some(first.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lone entry, two links, and another lone entry.
    fn links() -> Links {
        let mut links = Links::default();
        let follows = [false, false, true, false, true, false];
        for (key, follows) in (10..).zip(follows) {
            links.push(key, follows);
        }
        links
    }

    #[test]
    fn a_link_is_severed_where_the_kernel_stops_inside_it() {
        for (left, severed) in [
            (6, None),
            (5, None),
            (4, Some(12)),
            (3, None),
            (2, Some(14)),
            (1, None),
            (0, None),
        ] {
            assert_eq!(links().left(left), severed, "{left} left");
        }
    }

    #[test]
    fn every_severed_link_is_reported_once() {
        let mut links = links();
        let told: Vec<_> = [6, 4, 4, 3, 2, 2, 0].map(|left| links.left(left)).into();
        let severed = [None, Some(12), None, None, Some(14), None, None];
        assert_eq!(told, severed);
        links.push(20, false);
        links.push(21, true);
        assert_eq!(links.left(1), Some(21));
        assert_eq!(links.left(0), None);
    }
}
