//! The topics of a log in the order of their names, for listings.
//!
//! Publishing does not pay for it: new topics are added when topics are listed, as many in a step as its budget allows. Adding
//! only assigns a topic to a chunk, which holds the names between two bounds; a chunk is sorted when a listing reaches it. So
//! no step sorts, moves or visits more than a few chunks, however many topics there are. It takes 4 to 8 bytes a topic.

/// Most topics in a chunk; a chunk that would have more is halved. *Sorting so many takes 0.2 ms.*
const CHUNK_MAX: usize = 1024;
/// Cost of halving a chunk, in added topics: so many of them pay for one.
const HALVING: usize = CHUNK_MAX / 2;

#[derive(Debug)]
struct Chunk {
    /// No name in the chunk is smaller than that of this topic. Not used for the first chunk.
    low: u32,
    sorted: bool,
    ids: Vec<u32>,
}

/// The topics below a number, sorted by name.
#[derive(Debug, Default)]
pub(crate) struct TopicOrder {
    /// No chunk is empty.
    chunks: Vec<Chunk>,
    len: usize,
}

impl TopicOrder {
    /// Adds the missing topics below `end`, as far as `budget` goes, and subtracts the cost from it. Returns whether all of
    /// them are in. `name` returns the name of a topic; no two names are equal.
    pub(crate) fn add<'a>(
        &mut self,
        end: usize,
        budget: &mut usize,
        name: impl Fn(u32) -> &'a str,
    ) -> bool {
        while self.len < end && *budget > 0 {
            let id = u32::try_from(self.len).expect("numbers of topics are 32 bits");
            let halved = self.insert(id, &name);
            *budget = budget.saturating_sub(if halved { HALVING } else { 1 });
            self.len += 1;
        }
        self.len >= end
    }

    /// Puts a topic into the chunk of its name. Returns whether the chunk was halved.
    fn insert<'a>(&mut self, id: u32, name: impl Fn(u32) -> &'a str) -> bool {
        let at = self.find(|chunk| name(chunk.low) <= name(id));
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(Chunk {
                low: id,
                sorted: true,
                ids: vec![id],
            });
            return false;
        };
        chunk.ids.push(id);
        chunk.sorted = false;
        if chunk.ids.len() <= CHUNK_MAX {
            return false;
        }
        let ids = &mut chunk.ids;
        let half = ids.len() / 2;
        ids.select_nth_unstable_by(half, |left, right| name(*left).cmp(name(*right)));
        let upper = Chunk {
            low: ids[half],
            sorted: false,
            ids: ids.split_off(half),
        };
        ids.shrink_to_fit();
        self.chunks.insert(at + 1, upper);
        true
    }

    /// The last chunk for which `begins_before` holds, or the first one.
    fn find(&self, begins_before: impl Fn(&Chunk) -> bool) -> usize {
        let later = self.chunks.get(1..).unwrap_or_default();
        later.partition_point(begins_before)
    }

    /// The topics with names greater than `after`, in order, at most `max`.
    pub(crate) fn after<'a>(
        &mut self,
        after: Option<&str>,
        max: usize,
        name: impl Fn(u32) -> &'a str,
    ) -> Vec<u32> {
        let passed = |id: u32| after.is_some_and(|after| name(id) <= after);
        let first = self.find(|chunk| passed(chunk.low));
        let mut out = Vec::new();
        for chunk in &mut self.chunks[first..] {
            if out.len() >= max {
                break;
            }
            if !chunk.sorted {
                // Sorting is fast for a chunk that was sorted and got a few new topics.
                chunk
                    .ids
                    .sort_by(|left, right| name(*left).cmp(name(*right)));
                chunk.sorted = true;
            }
            let from = chunk.ids.partition_point(|id| passed(*id));
            out.extend(chunk.ids[from..].iter().take(max - out.len()));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    /// Names whose order is unrelated to that of their numbers.
    fn scattered(count: u32) -> Vec<String> {
        let name = |number: u32| format!("topic/{:08x}", number.wrapping_mul(0x9e37_79b1));
        (0..count).map(name).collect()
    }

    /// The first `len` of the names in order, by their numbers.
    fn naive(names: &[String], len: usize) -> Vec<u32> {
        let mut sorted: Vec<u32> = (0..len).map(|number| number as u32).collect();
        sorted.sort_by_key(|number| &names[*number as usize]);
        sorted
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn listings_are_pages_of_the_sorted_list_whatever_is_added_between_them(
            names in prop::collection::hash_set("[a-c]{1,9}", 1..5000),
            steps in prop::collection::vec((1..2000usize, "[a-c]{0,9}", 1..2000usize), 1..10),
        ) {
            let names: Vec<String> = names.into_iter().collect();
            let name = |id: u32| &*names[id as usize];
            let mut order = TopicOrder::default();
            for (mut budget, after, max) in steps {
                order.add(names.len(), &mut budget, name);
                let sorted = naive(&names, order.len);
                let mut behind = sorted.clone();
                behind.retain(|number| *name(*number) > *after);
                behind.truncate(max);
                prop_assert_eq!(order.after(Some(&after), max, name), behind);
                let first = &sorted[..max.min(order.len)];
                prop_assert_eq!(order.after(None, max, name), first);
            }
            let mut unlimited = usize::MAX;
            let all = order.add(names.len(), &mut unlimited, name);
            prop_assert!(all);
            prop_assert_eq!(order.after(None, usize::MAX, name), naive(&names, names.len()));
            let sizes: Vec<usize> = order.chunks.iter().map(|chunk| chunk.ids.len()).collect();
            let halves = CHUNK_MAX / 2..=CHUNK_MAX;
            prop_assert!(sizes.len() == 1 || sizes.iter().all(|size| halves.contains(size)));
        }
    }

    #[test]
    fn no_step_looks_at_more_names_however_many_topics_there_are() {
        const STEP: usize = 1024;
        for names in [
            scattered(300_000),
            (0..300_000).map(|number| format!("{number:06}")).collect(),
        ] {
            let (looks, mut most_taking, mut most_listing) = (Cell::new(0), 0, 0);
            let name = |id: u32| {
                looks.set(looks.get() + 1);
                &*names[id as usize]
            };
            let mut order = TopicOrder::default();
            let mut all = false;
            while !all {
                all = order.add(names.len(), &mut { STEP }, name);
                most_taking = most_taking.max(looks.replace(0));
                order.after(Some(&names[order.len / 2]), 256, name);
                most_listing = most_listing.max(looks.replace(0));
            }
            assert_eq!(
                order.after(None, usize::MAX, name),
                naive(&names, names.len())
            );
            // Ten steps of a search for each new topic, and for halving eight comparisons of each number in a chunk.
            let halvings = STEP / HALVING + 1;
            let bound = 2 * (10 * STEP + halvings * 8 * CHUNK_MAX);
            assert!(most_taking < bound, "{most_taking} of {bound}");
            // Two chunks, sorted with a dozen comparisons for each number.
            let bound = 2 * (2 * 12 * CHUNK_MAX) + 100;
            assert!(most_listing < bound, "{most_listing} of {bound}");
        }
    }
}
