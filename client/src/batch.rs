//! Gathers messages into records, one topic each, bounded in number, size and time. Pure: the clock is an argument, and
//! finished records are handed back.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use oyez_protocol::checksum::crc32c;
use oyez_protocol::limits::{Limits, MESSAGES_MAX};
use oyez_protocol::lz4::Scratch;
use oyez_protocol::message::{MessageRef, message_size};
use oyez_protocol::record::RecordBuilder;

use crate::error::PublishError;

/// Most topics whose empty builders are kept for their next batch.
const TOPICS_KEPT: usize = 1024;

/// The limits of a batch: it is finished by the first that it reaches.
///
/// ```
/// use std::time::Duration;
/// use oyez_client::PublisherOptions;
///
/// let options = PublisherOptions {
///     batch_messages: 256,
///     linger: Duration::from_millis(20),
///     ..PublisherOptions::default()
/// };
/// assert!(options.compress);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublisherOptions {
    /// Most messages of a batch, from 1 to 65,535.
    pub batch_messages: usize,
    /// Most bytes of a batch before compression. A larger message travels alone. The broker's limit holds as well.
    pub batch_bytes: usize,
    /// Longest time that a batch waits for more; zero sends each message by itself. While the broker lags behind,
    /// batches wait longer and become larger.
    pub linger: Duration,
    /// Whether to compress batches with LZ4. A batch that would not become smaller is sent uncompressed.
    pub compress: bool,
    /// Whether to keep each batch's [`Ack`](crate::Ack) for [`Publisher::take_acks`](crate::Publisher::take_acks).
    pub keep_acks: bool,
}

impl Default for PublisherOptions {
    /// 64 messages, 64 KiB, 5 ms, compressed, acknowledgements not kept.
    fn default() -> Self {
        Self {
            batch_messages: 64,
            batch_bytes: 64 << 10,
            linger: Duration::from_millis(5),
            compress: true,
            keep_acks: false,
        }
    }
}

impl PublisherOptions {
    /// Options that make each message a record of its own, sent at once.
    pub(crate) fn alone() -> Self {
        Self {
            batch_messages: 1,
            linger: Duration::ZERO,
            ..Self::default()
        }
    }
}

/// A record that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) correlation: u64,
    pub(crate) topic: Arc<str>,
    pub(crate) record: Vec<u8>,
    pub(crate) raw_size: usize,
    pub(crate) messages: u16,
    pub(crate) payload_bytes: u64,
}

/// The batches of one publisher.
#[derive(Debug)]
pub(crate) struct Batcher {
    options: PublisherOptions,
    limits: Limits,
    correlations: Arc<AtomicU64>,
    topics: HashMap<Arc<str>, Batch>,
    scratch: Scratch,
}

#[derive(Debug)]
struct Batch {
    builder: RecordBuilder,
    payload_bytes: u64,
    due: Duration,
}

impl Batcher {
    /// `correlations` is shared by all batchers of a session, so that ids are unique on its connection.
    pub(crate) fn new(
        options: PublisherOptions,
        limits: Limits,
        correlations: Arc<AtomicU64>,
    ) -> Self {
        Self {
            options,
            limits,
            correlations,
            topics: HashMap::new(),
            scratch: Scratch::new(),
        }
    }

    /// Adopts the limits of the broker. If they differ from those before, all open batches are finished first.
    pub(crate) fn agree(&mut self, limits: Limits, done: &mut Vec<Finished>) {
        if limits != self.limits {
            self.finish_all(done);
            self.topics.clear();
            self.limits = limits;
        }
    }

    /// Adds a message at `now`. Appends the batches that this finishes to `done`, in the order in which they must be
    /// sent. Returns when the message's batch is due, if this message opened it and it is still open.
    ///
    /// # Errors
    /// When the topic's name is invalid, or no record can hold the message. Nothing was added then.
    pub(crate) fn push(
        &mut self,
        topic: &str,
        message: &MessageRef<'_>,
        now: Duration,
        done: &mut Vec<Finished>,
    ) -> Result<Option<Duration>, PublishError> {
        self.make_room(topic, message, done)?;
        let (options, due) = (self.options, now.saturating_add(self.options.linger));
        let (name, batch) = self.batch(topic)?;
        let opens = batch.builder.is_empty();
        batch
            .builder
            .push(message)
            .expect("room was made for the message");
        batch.payload_bytes += message.payload.len() as u64;
        if opens {
            batch.due = due;
        }
        let full = usize::from(batch.builder.count()) >= options.messages()
            || batch.builder.raw().len() >= options.batch_bytes;
        if full || options.linger.is_zero() {
            self.finish(&name, done);
            return Ok(None);
        }
        Ok(opens.then_some(due))
    }

    /// Finishes the topic's batch when `message` would make it too large.
    fn make_room(
        &mut self,
        topic: &str,
        message: &MessageRef<'_>,
        done: &mut Vec<Finished>,
    ) -> Result<(), PublishError> {
        let options = self.options;
        let (name, batch) = self.batch(topic)?;
        let builder = &batch.builder;
        let (size, max) = (message_size(message), builder.raw_capacity());
        if size > max {
            return Err(PublishError::TooLarge { size, max });
        }
        let overflows = builder.raw().len() + size > max.min(options.batch_bytes);
        if !builder.is_empty() && overflows {
            self.finish(&name, done);
        }
        Ok(())
    }

    fn batch(&mut self, topic: &str) -> Result<(Arc<str>, &mut Batch), PublishError> {
        if !self.topics.contains_key(topic) && self.topics.len() >= TOPICS_KEPT {
            self.topics.retain(|_, batch| !batch.builder.is_empty());
        }
        let name = match self.topics.get_key_value(topic) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(topic),
        };
        let batch = match self.topics.entry(Arc::clone(&name)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Batch {
                builder: RecordBuilder::new(topic, self.limits)?,
                payload_bytes: 0,
                due: Duration::ZERO,
            }),
        };
        Ok((name, batch))
    }

    /// Finishes the batches that are due at `now`, and returns when the next one will be.
    pub(crate) fn finish_due(
        &mut self,
        now: Duration,
        done: &mut Vec<Finished>,
    ) -> Option<Duration> {
        self.finish_where(|batch| batch.due <= now, done);
        let open = self
            .topics
            .values()
            .filter(|batch| !batch.builder.is_empty());
        open.map(|batch| batch.due).min()
    }

    /// Finishes all batches.
    pub(crate) fn finish_all(&mut self, done: &mut Vec<Finished>) {
        self.finish_where(|_| true, done);
    }

    /// Finishes the wanted batches in the order in which they are due, then by name: the map has no order of its own.
    fn finish_where(&mut self, wanted: impl Fn(&Batch) -> bool, done: &mut Vec<Finished>) {
        let open = self.topics.iter();
        let mut names: Vec<(Duration, Arc<str>)> = open
            .filter(|(_, batch)| !batch.builder.is_empty() && wanted(batch))
            .map(|(name, batch)| (batch.due, Arc::clone(name)))
            .collect();
        names.sort_unstable();
        for (_, name) in names {
            self.finish(&name, done);
        }
    }

    fn finish(&mut self, name: &Arc<str>, done: &mut Vec<Finished>) {
        let Some(batch) = self.topics.get_mut(name) else {
            return;
        };
        let correlation = correlation(self.correlations.fetch_add(1, Ordering::Relaxed));
        let (messages, raw_size) = (batch.builder.count(), batch.builder.raw().len());
        let mut record = Vec::new();
        if self.options.compress {
            let _codec = self
                .scratch
                .finish(&mut batch.builder, correlation, &mut record);
        } else {
            batch.builder.finish_stored(correlation, &mut record);
        }
        done.push(Finished {
            correlation,
            topic: Arc::clone(name),
            record,
            raw_size,
            messages,
            payload_bytes: std::mem::take(&mut batch.payload_bytes),
        });
    }
}

/// The correlation id of a session's record number `number`; ids ascend with the numbers. No checksum covers an id on
/// its way, so it carries one: a flipped bit cannot turn it into the id of another record, whose answer would then be
/// taken for this one's.
fn correlation(number: u64) -> u64 {
    number << 16 | u64::from(crc32c(&number.to_le_bytes()) & 0xffff)
}

impl PublisherOptions {
    fn messages(&self) -> usize {
        self.batch_messages.clamp(1, MESSAGES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oyez_protocol::record::{Codec, Record};

    fn batcher(options: PublisherOptions) -> Batcher {
        Batcher::new(options, Limits::DEFAULT, Arc::new(AtomicU64::new(1)))
    }

    fn push(batcher: &mut Batcher, topic: &str, payload: &[u8], now_ms: u64) -> Vec<Finished> {
        let (mut done, message) = (Vec::new(), MessageRef::new(payload));
        batcher
            .push(topic, &message, Duration::from_millis(now_ms), &mut done)
            .unwrap();
        done
    }

    #[test]
    fn no_flipped_bit_makes_the_id_of_another_record() {
        for number in [1, 2, 3, 1000, 0xffff_ffff] {
            for bit in 0..48 {
                let (one, other) = (correlation(number), correlation(number ^ 1 << bit));
                assert!((one ^ other).count_ones() > 1, "bit {bit} of {number}");
            }
            assert!(correlation(number) < correlation(number + 1));
        }
    }

    #[test]
    fn a_batch_is_finished_by_its_number_of_messages() {
        let mut batcher = batcher(PublisherOptions {
            batch_messages: 3,
            ..Default::default()
        });
        assert!(push(&mut batcher, "a", b"1", 0).is_empty());
        assert!(push(&mut batcher, "b", b"1", 0).is_empty());
        assert!(push(&mut batcher, "a", b"2", 0).is_empty());
        let done = push(&mut batcher, "a", b"3", 0);
        assert_eq!((done.len(), done[0].messages, &*done[0].topic), (1, 3, "a"));
        assert_eq!(done[0].payload_bytes, 3);
    }

    #[test]
    fn a_batch_is_finished_before_it_exceeds_its_bytes() {
        let mut batcher = batcher(PublisherOptions {
            batch_bytes: 1000,
            ..Default::default()
        });
        assert!(push(&mut batcher, "a", &[0; 600], 0).is_empty());
        let done = push(&mut batcher, "a", &[0; 600], 0);
        assert_eq!((done.len(), done[0].messages), (1, 1));
        let done = push(&mut batcher, "a", &[0; 5000], 0);
        let counts: Vec<u16> = done.iter().map(|finished| finished.messages).collect();
        assert_eq!(
            counts,
            [1, 1],
            "the small one first, then the large one alone"
        );
        assert!(done[0].correlation < done[1].correlation);
    }

    #[test]
    fn a_batch_is_finished_when_it_has_lingered_long_enough() {
        let mut batcher = batcher(PublisherOptions {
            linger: Duration::from_millis(10),
            ..Default::default()
        });
        push(&mut batcher, "a", b"1", 100);
        push(&mut batcher, "b", b"1", 105);
        push(&mut batcher, "a", b"2", 109);
        let mut done = Vec::new();
        let at = Duration::from_millis;
        assert_eq!(batcher.finish_due(at(109), &mut done), Some(at(110)));
        assert!(done.is_empty());
        assert_eq!(batcher.finish_due(at(110), &mut done), Some(at(115)));
        assert_eq!((done.len(), done[0].messages), (1, 2));
        assert_eq!(batcher.finish_due(at(115), &mut done), None);
        assert_eq!(done.len(), 2);
    }

    #[test]
    fn the_deadline_of_a_new_batch_is_returned_once() {
        let mut batcher = batcher(PublisherOptions::default());
        let (mut done, message) = (Vec::new(), MessageRef::new(b"x"));
        let at = Duration::from_millis;
        let mut push = |now| batcher.push("a", &message, at(now), &mut done).unwrap();
        assert_eq!(push(1), Some(at(6)));
        assert_eq!(push(2), None);
    }

    #[test]
    fn a_batch_may_linger_for_ever() {
        let mut batcher = batcher(PublisherOptions {
            linger: Duration::MAX,
            ..Default::default()
        });
        assert!(push(&mut batcher, "a", b"1", 100).is_empty());
        let mut done = Vec::new();
        let due = batcher.finish_due(Duration::from_secs(1), &mut done);
        assert_eq!((due, done.len()), (Some(Duration::MAX), 0));
    }

    #[test]
    fn without_linger_every_message_travels_at_once() {
        let mut batcher = batcher(PublisherOptions {
            linger: Duration::ZERO,
            ..Default::default()
        });
        assert_eq!(push(&mut batcher, "a", b"1", 0).len(), 1);
        assert_eq!(push(&mut batcher, "a", b"", 0).len(), 1);
    }

    #[test]
    fn a_message_that_no_record_holds_is_refused_and_disturbs_nothing() {
        let mut batcher = batcher(PublisherOptions::default());
        push(&mut batcher, "a", b"kept", 0);
        let (mut done, payload) = (Vec::new(), vec![0; 300 << 10]);
        let error = batcher
            .push("a", &MessageRef::new(&payload), Duration::ZERO, &mut done)
            .unwrap_err();
        assert!(matches!(error, PublishError::TooLarge { .. }), "{error}");
        assert!(done.is_empty());
        batcher.finish_all(&mut done);
        assert_eq!(done[0].messages, 1);
    }

    #[test]
    fn compression_is_used_where_it_helps_and_only_when_wanted() {
        for (compress, payload, codec) in [
            (true, &[b'a'; 500][..], Codec::Lz4),
            (true, b"x", Codec::Stored),
            (false, &[b'a'; 500], Codec::Stored),
        ] {
            let mut batcher = batcher(PublisherOptions {
                compress,
                linger: Duration::ZERO,
                ..Default::default()
            });
            let done = push(&mut batcher, "a", payload, 0);
            let record = Record::verify(&done[0].record, &Limits::DEFAULT).unwrap();
            assert_eq!(record.codec(), codec);
            assert_eq!(record.correlation(), done[0].correlation);
        }
    }

    #[test]
    fn new_limits_bind_the_next_message() {
        let mut batcher = batcher(PublisherOptions::default());
        let (mut done, payload) = (Vec::new(), vec![0; 100 << 10]);
        push(&mut batcher, "a", b"x", 0);
        let narrow = Limits {
            record_size_max: 64 << 10,
            ..Limits::DEFAULT
        };
        batcher.agree(Limits::DEFAULT, &mut done);
        assert!(done.is_empty(), "nothing changed");
        batcher.agree(narrow, &mut done);
        assert_eq!(done.len(), 1);
        let refused = batcher.push("a", &MessageRef::new(&payload), Duration::ZERO, &mut done);
        assert!(
            matches!(refused, Err(PublishError::TooLarge { .. })),
            "{refused:?}"
        );
        batcher.agree(Limits::DEFAULT, &mut done);
        assert_eq!(push(&mut batcher, "a", &payload, 0).len(), 1);
    }

    #[test]
    fn builders_of_many_topics_are_not_kept_for_ever() {
        let mut batcher = batcher(PublisherOptions {
            linger: Duration::ZERO,
            ..Default::default()
        });
        for topic in 0..3000 {
            push(&mut batcher, &topic.to_string(), b"x", 0);
        }
        assert!(batcher.topics.len() <= TOPICS_KEPT);
    }
}
