//! The naive model: what was published to each topic, what became of it, and what each subscriber must see next. It is told
//! everything and believes nothing; what it cannot explain is a failure.
//!
//! What it holds a broker to: a place of a topic (epoch and offset) holds one message for ever. What was acknowledged or
//! delivered stays, as far as the topic's durability goes: `synced` through everything but harm to the disk, `written` as
//! long as the machine has power, `memory` as long as the process lives. Messages come once and in order, byte for byte.
//! What is missing is told, with a cause that something has given.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

use oyez_client::{Delivery, GapCause, Message, Outcome};
use oyez_protocol::LogId;
use oyez_storage::{DataDir, Durability};

use super::machine::Fall;
use super::message::{Hit, MessageId, NAME_SIZE, read};
use super::plan::{Plan, StrangerKind};
use super::publisher::Told;

/// What a log has room for beside records: pads, marks and headers of each block, and the end of a segment when the
/// broker was started again.
const SLACK_BYTES: u64 = 4 << 20;
/// Bytes of a record beside its messages, at most.
const RECORD_BYTES: u64 = 200;

/// Bytes of messages that are too large for a stream together.
const REFERENCE_BYTES: usize = 256 << 10;

/// A verdict on something that happened.
pub(super) type Verdict = Result<(), String>;

/// The model.
#[derive(Debug)]
pub(super) struct Oracle {
    topics: Vec<Topic>,
    logs: BTreeMap<LogId, Log>,
    followers: Vec<Follower>,
    /// Subscribers to which nobody tells keys and headers.
    keyless: BTreeSet<usize>,
    /// Subscribers from this number on audit.
    first_auditor: usize,
    /// How many times everything was read from its beginning.
    audits: u64,
    /// Connections that each publisher has begun.
    pub(super) dials: Vec<u64>,
    /// A connection or a broker may have come to its end in the middle of something.
    pub(super) is_rough: bool,
    /// Something was wrong with a disk, so that publishing may be refused.
    pub(super) disk_trouble: bool,
    /// Syncs may have failed, so that records which are only to be written may never have come to the medium.
    pub(super) syncs_failed: bool,
    /// Bytes have changed while a broker ran, which may have looked at them before.
    pub(super) bytes_have_changed: bool,
    /// Publishers whose messages all travel one by one, in their order.
    in_order: Vec<bool>,
    retention_bytes: u64,
    retention_seconds: u64,
    memory_bytes: u64,
}

#[derive(Debug)]
struct Topic {
    name: String,
    log: LogId,
    sent: BTreeMap<MessageId, Sent>,
    /// By epoch and offset.
    places: BTreeMap<(u64, u64), Placed>,
}

#[derive(Debug)]
struct Sent {
    size: usize,
    fate: Fate,
    /// Connections that its publisher had begun by then.
    dials: u64,
    /// It was acknowledged before there was another connection to send it again.
    once: bool,
    /// Places that hold it, by epoch.
    copies: BTreeMap<u64, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waiting,
    Acknowledged,
    Refused,
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    id: MessageId,
    /// It must stay.
    required: bool,
    /// The last audit that has found it.
    audited: u64,
}

#[derive(Debug)]
struct Log {
    durability: Durability,
    /// Its disk was harmed where it lies, so that less is promised.
    harmed: bool,
    /// Its state was put back to an earlier one, which does not know which places are taken.
    was_put_back: bool,
    /// So many starts had been tried when that was.
    put_back_at: Option<u64>,
    /// Messages that lay where harm has met everything at rest.
    hit: BTreeSet<MessageId>,
    /// Harm has met everything at rest.
    was_hit: bool,
    /// Blocks of segments that it has met: how often, and whether their headers are gone.
    blocks: BTreeMap<(PathBuf, usize), (u64, bool)>,
    /// All that were seen.
    epochs: Vec<u64>,
    /// What may have begun a new one, so often.
    reasons: u64,
    /// The last run of the broker after which what its durability promises was lost.
    lossy_run: u64,
    starts: u64,
    bytes: u64,
}

/// What one subscriber has seen.
#[derive(Clone, Debug, Default)]
struct Follower {
    topic: usize,
    from_earliest: bool,
    /// Epoch and offset of what comes next; not known before the first delivery.
    place: Option<(u64, u64)>,
    /// Where it has begun.
    first: Option<(u64, u64)>,
    /// Up to here gaps were told before the first delivery.
    told_front: u64,
    /// Up to here retention has dropped what it was to get.
    dropped_to: u64,
    delivered: u64,
}

impl Oracle {
    pub(super) fn new(plan: &Plan, dir: &DataDir) -> Self {
        let floods = plan.strangers.iter().any(|kind| {
            !matches!(
                kind,
                StrangerKind::Silent
                    | StrangerKind::Deaf
                    | StrangerKind::Pinger
                    | StrangerKind::Asker
                    | StrangerKind::Reader
            )
        });
        let log = |durability| Log {
            durability,
            harmed: false,
            was_put_back: false,
            put_back_at: None,
            hit: BTreeSet::new(),
            was_hit: false,
            blocks: BTreeMap::new(),
            epochs: Vec::new(),
            reasons: 0,
            lossy_run: 0,
            starts: 0,
            // What strangers publish is not counted: it may be anything.
            bytes: if floods { u64::MAX / 2 } else { 0 },
        };
        let topics = plan.topics.iter();
        Self {
            topics: topics
                .map(|topic| Topic {
                    name: topic.name.clone(),
                    log: dir.log_of(&topic.name, topic.durability),
                    sent: BTreeMap::new(),
                    places: BTreeMap::new(),
                })
                .collect(),
            logs: dir
                .logs()
                .map(|spec| (spec.id, log(spec.durability)))
                .collect(),
            followers: Vec::new(),
            keyless: (0..plan.subscribers.len())
                .filter(|number| {
                    let stream = plan.subscribers[*number].stream.as_ref();
                    stream.is_some_and(|stream| stream.topics.is_empty())
                })
                .collect(),
            first_auditor: usize::MAX,
            audits: 0,
            dials: vec![0; plan.publishers.len()],
            is_rough: false,
            disk_trouble: false,
            syncs_failed: false,
            bytes_have_changed: false,
            in_order: plan.publishers.iter().map(|one| !one.batches).collect(),
            retention_bytes: plan.config.retention_bytes,
            retention_seconds: plan.config.retention_seconds,
            memory_bytes: plan.config.memory_log_bytes,
        }
    }

    /// Another subscriber; gives its number.
    pub(super) fn follow(&mut self, topic: usize, from_earliest: bool) -> usize {
        self.followers.push(Follower {
            topic,
            from_earliest,
            ..Follower::default()
        });
        self.followers.len() - 1
    }

    /// Another audit begins: subscribers from this number on are forgotten, and those to come audit.
    pub(super) fn begin_audit(&mut self, first: usize) {
        self.followers.truncate(first);
        self.first_auditor = first;
        self.audits += 1;
    }

    /// Where a subscriber goes on; none before its first delivery.
    pub(super) fn place(&self, follower: usize) -> Option<(u64, u64)> {
        self.followers[follower].place
    }

    /// A subscriber has been told where it begins.
    pub(super) fn joined(&mut self, follower: usize, place: (u64, u64)) -> Verdict {
        let known = &mut self.followers[follower];
        let (topic, from_earliest) = (known.topic, known.from_earliest);
        (known.place, known.first) = (Some(place), Some(place));
        if from_earliest && place.1 != known.told_front {
            self.explain_late_start(topic)
                .map_err(|why| format!("the topic begins at offset {}: {why}", place.1))?;
        }
        let log = self.logs.get_mut(&self.topics[topic].log).expect("a log");
        see_epoch(log, place.0)
    }

    /// A subscriber begins anew, with nothing that it knows.
    pub(super) fn forget_place(&mut self, follower: usize) {
        let known = &mut self.followers[follower];
        (known.place, known.first, known.from_earliest) = (None, None, true);
        known.told_front = 0;
    }

    /// The broker was started, or it was tried.
    pub(super) fn started(&mut self) {
        for log in self.logs.values_mut() {
            log.starts += 1;
        }
    }

    /// Run `run` of the broker has come to its end.
    /// After a clean stop, power is no loss to what lies on a disk.
    pub(super) fn fell(&mut self, fall: Fall, run: u64, was_clean: bool) {
        for (id, log) in &mut self.logs {
            let loses = match log.durability {
                Durability::Memory => true,
                // Pages whose sync has failed count as clean: what a later sync says of them is nothing.
                Durability::Written => fall == Fall::Power && (!was_clean || self.syncs_failed),
                Durability::Synced => false,
            };
            if loses {
                log.reasons += 1;
                log.lossy_run = run;
                release(&mut self.topics, *id);
            }
        }
    }

    /// Bytes of a log have changed where they lay still.
    pub(super) fn harmed(&mut self, log: LogId) {
        let known = self.logs.get_mut(&log).expect("a log");
        known.harmed = true;
        self.bytes_have_changed = true;
        release(&mut self.topics, log);
    }

    /// The same, while all of it was vouched for and nobody wrote: these messages may be lost.
    pub(super) fn harmed_at_rest(&mut self, log: LogId, hit: Hit) {
        let known = self.logs.get_mut(&log).expect("a log");
        if known.put_back_at == Some(known.starts) {
            // What a state that is too old does not tell, nothing else tells any more.
            return self.harmed(log);
        }
        known.reasons += 1;
        known.was_hit = true;
        let Hit::Segment {
            messages,
            block,
            has_header,
        } = hit
        else {
            return;
        };
        known.hit.extend(messages);
        let (hits, lost_header) = known.blocks.entry(block).or_default();
        *hits += 1;
        *lost_header |= has_header;
        let is_alone = *lost_header && *hits > 1;
        let headers = known.blocks.values().filter(|block| block.1).count();
        if is_alone || headers > 1 {
            // Without its header, nothing tells what belongs to a block where something else is wrong in it, or beside it.
            self.harmed(log);
        }
    }

    /// Whether something of a topic behind a place was acknowledged or delivered, in the same epoch.
    pub(super) fn goes_on(&self, topic: usize, (epoch, offset): (u64, u64)) -> bool {
        let log = &self.logs[&self.topics[topic].log];
        if log.harmed || log.was_put_back {
            // It may have been there, and be gone.
            return false;
        }
        let mut places = self.topics[topic].places.range((epoch, offset)..);
        places.next().is_some_and(|(place, _)| place.0 == epoch)
    }

    /// The state of a log was put back to an earlier one. Nothing is lost with it.
    pub(super) fn put_back(&mut self, log: LogId) {
        let log = self.logs.get_mut(&log).expect("a log");
        log.reasons += 1;
        log.was_put_back = true;
        log.put_back_at = Some(log.starts);
    }

    /// Whether the log of a topic has been harmed.
    pub(super) fn is_harmed(&self, topic: usize) -> bool {
        let log = &self.logs[&self.topics[topic].log];
        log.harmed || log.was_hit
    }

    pub(super) fn published(&mut self, id: MessageId, size: usize) {
        let dials = self.dials[usize::from(id.publisher)];
        let topic = &mut self.topics[usize::from(id.topic)];
        let sent = Sent {
            size,
            fate: Fate::Waiting,
            dials,
            once: false,
            copies: BTreeMap::new(),
        };
        topic.sent.insert(id, sent);
        let log = self.logs.get_mut(&topic.log).expect("a log");
        log.bytes = log.bytes.saturating_add(size as u64 + RECORD_BYTES);
    }

    /// A publisher has heard of a message, from run `run` of the broker.
    pub(super) fn told(&mut self, id: MessageId, told: &Told, run: u64) -> Verdict {
        let topic = usize::from(id.topic);
        let sent = self.topics[topic]
            .sent
            .get_mut(&id)
            .ok_or("never published")?;
        match told {
            Told::Acknowledged { epoch, offset } => {
                sent.fate = Fate::Acknowledged;
                sent.once = self.dials[usize::from(id.publisher)] == sent.dials;
                let placed = self.put(topic, (*epoch, *offset), id, run);
                placed.map_err(|why| format!("message {id} is acknowledged, but {why}"))
            }
            Told::Refused(outcome) => {
                let again = self.dials[usize::from(id.publisher)] > sent.dials;
                sent.fate = Fate::Refused;
                if !sent.copies.is_empty() && !again {
                    return Err(format!("message {id} is refused, and is there"));
                }
                let explained = match outcome {
                    Outcome::DiskFull | Outcome::LogFailed => self.disk_trouble,
                    _ => false,
                };
                match explained {
                    true => Ok(()),
                    false => Err(format!(
                        "message {id} is refused without a reason: {outcome:?}"
                    )),
                }
            }
            Told::Unknown => {
                sent.fate = Fate::Unknown;
                Ok(())
            }
        }
    }

    /// A place holds a message: from an acknowledgement, or from a delivery.
    fn put(&mut self, topic: usize, place: (u64, u64), id: MessageId, run: u64) -> Verdict {
        let known = &mut self.topics[topic];
        let log = self.logs.get_mut(&known.log).expect("a log");
        see_epoch(log, place.0)?;
        let required = !log.harmed && run > log.lossy_run;
        let sent = known.sent.get_mut(&id).ok_or("it was never published")?;
        let copies = sent.copies.entry(place.0).or_default();
        let found = known.places.entry(place).or_insert_with(|| {
            *copies += 1;
            Placed {
                id,
                required: false,
                audited: 0,
            }
        });
        if found.id != id && (log.harmed || log.was_put_back) {
            // What was harmed before a mark vouched for it looks like a write that was never acknowledged.
            found.id = id;
        }
        if found.id != id {
            let ((epoch, offset), other) = (place, found.id);
            return Err(format!(
                "offset {offset} of epoch {epoch:x} holds message {other} already"
            ));
        }
        found.required |= required;
        // Where nothing was cut short, a publisher that comes back knows what is there.
        let again = match self.is_rough || self.disk_trouble {
            true => self.dials[usize::from(id.publisher)] - sent.dials,
            false => 0,
        };
        if *copies > 1 + again {
            return Err(format!("message {id} is there {copies} times"));
        }
        if sent.fate == Fate::Refused && again == 0 {
            return Err(format!("message {id} was refused, and is there"));
        }
        Ok(())
    }

    /// A subscriber is delivered something, by run `run` of the broker.
    pub(super) fn delivered(&mut self, follower: usize, delivery: &Delivery, run: u64) -> Verdict {
        match delivery {
            Delivery::Message(message) => self.message(follower, message, run),
            Delivery::Gap(gap) => {
                let (from, to) = (gap.from.get(), gap.to.get());
                self.expects(follower, None, from)?;
                if to <= from {
                    return Err(format!("a gap from {from} to {to}"));
                }
                self.explain_gap(self.followers[follower].topic, gap.cause)
                    .and_then(|()| self.check_gap(follower, from..to))
                    .map_err(|why| format!("a gap from {from} to {to}: {why}"))?;
                let known = &mut self.followers[follower];
                if gap.cause == GapCause::Retention {
                    known.dropped_to = to;
                }
                match &mut known.place {
                    Some(place) => place.1 = to,
                    None if from == known.told_front => known.told_front = to,
                    None => {}
                }
                Ok(())
            }
            Delivery::NewEpoch(change) => {
                let (old, new) = (change.old.get(), change.new.get());
                self.expects(follower, Some(old), change.expected.get())?;
                let topic = self.followers[follower].topic;
                let log = self.logs.get_mut(&self.topics[topic].log).expect("a log");
                see_epoch(log, new)?;
                let place = Some((new, change.next.get()));
                let known = &mut self.followers[follower];
                (known.place, known.first) = (place, place);
                Ok(())
            }
            other => Err(format!("an unknown delivery: {other:?}")),
        }
    }

    /// A subscriber is told that it can read messages elsewhere, which are too large for it together.
    pub(super) fn referred(&mut self, follower: usize, (from, to): (u64, u64)) -> Verdict {
        self.expects(follower, None, from)?;
        let known = &mut self.followers[follower];
        let (epoch, _) = known.place.ok_or("nobody knows where it is")?;
        let topic = &self.topics[known.topic];
        let places = topic.places.range((epoch, from)..(epoch, to));
        let sizes: Vec<usize> = places
            .map(|(_, placed)| topic.sent[&placed.id].size)
            .collect();
        let bytes = sizes.iter().sum::<usize>() + sizes.len() * RECORD_BYTES as usize;
        if sizes.len() as u64 == to - from && bytes < REFERENCE_BYTES {
            return Err(format!("a reference to {bytes} bytes, from {from} to {to}"));
        }
        known.place = Some((epoch, to));
        known.delivered += to - from;
        Ok(())
    }

    fn message(&mut self, follower: usize, message: &Message, run: u64) -> Verdict {
        let (epoch, offset) = (message.epoch.get(), message.offset.get());
        let topic = self.followers[follower].topic;
        let id = read(&message.payload).ok_or_else(|| {
            let size = message.payload.len();
            format!("offset {offset} holds {size} bytes that nobody published")
        })?;
        if usize::from(id.topic) != topic || *message.topic != *self.topics[topic].name {
            return Err(format!("message {id} of topic {} is delivered", id.topic));
        }
        self.check_content(id, message, self.keyless.contains(&follower))?;
        self.expects(follower, Some(epoch), offset)?;
        let at_start = self.followers[follower].first.is_none();
        if at_start && self.followers[follower].from_earliest && offset > 0 {
            let is_told = self.followers[follower].told_front == offset;
            let explained = if is_told {
                Ok(())
            } else {
                self.explain_late_start(topic)
            };
            explained.map_err(|why| format!("the first message is at offset {offset}: {why}"))?;
        }
        self.put(topic, (epoch, offset), id, run)
            .map_err(|why| format!("message {id} is delivered, but {why}"))?;
        if follower >= self.first_auditor
            && let Some(placed) = self.topics[topic].places.get_mut(&(epoch, offset))
        {
            placed.audited = self.audits;
        }
        let known = &mut self.followers[follower];
        known.first.get_or_insert((epoch, offset));
        known.place = Some((epoch, offset + 1));
        known.delivered += 1;
        Ok(())
    }

    fn check_content(&self, id: MessageId, message: &Message, is_keyless: bool) -> Verdict {
        let topic = &self.topics[usize::from(id.topic)];
        let sent = topic
            .sent
            .get(&id)
            .ok_or("a message that was never published")?;
        if message.payload.len() != sent.size.max(NAME_SIZE) {
            return Err(format!("message {id} is not as long as it was"));
        }
        let number = id.number.to_string();
        let key = (id.number % 5 == 1).then_some(number.as_bytes());
        let headers = usize::from(id.number % 7 == 2);
        if is_keyless {
            return Ok(());
        }
        if message.key.as_deref() != key || message.headers.len() != headers {
            return Err(format!("message {id} has another key or other headers"));
        }
        Ok(())
    }

    fn expects(&self, follower: usize, epoch: Option<u64>, offset: u64) -> Verdict {
        let Some((known, next)) = self.followers[follower].place else {
            return Ok(());
        };
        // An epoch that is not known is asked for as 0.
        if epoch.is_some_and(|epoch| epoch != known && known != 0) {
            let epoch = epoch.unwrap_or_default();
            return Err(format!("epoch {epoch:x} follows {known:x} without a word"));
        }
        match offset == next {
            true => Ok(()),
            false => Err(format!("offset {offset} comes, where {next} was to come")),
        }
    }

    fn explain_gap(&self, topic: usize, cause: GapCause) -> Verdict {
        let log = &self.logs[&self.topics[topic].log];
        let explained = match cause {
            GapCause::Retention => self.may_drop(log),
            // Of what was written and not synced, a power cut keeps some and tears the rest.
            GapCause::Damage => {
                let is_written = log.durability == Durability::Written;
                log.harmed || log.was_hit || is_written && log.reasons > 0
            }
            // Bytes that change after they were read and checked are sent as they are; the client sees what they are not.
            _ => log.harmed,
        };
        match explained {
            true => Ok(()),
            false => Err(format!("nothing explains {cause:?}")),
        }
    }

    /// A gap holds no message that must be there.
    fn check_gap(&self, follower: usize, range: Range<u64>) -> Verdict {
        let known = &self.followers[follower];
        let topic = &self.topics[known.topic];
        let log = &self.logs[&topic.log];
        let (Some((epoch, _)), false) = (known.place, log.harmed || self.may_drop(log)) else {
            return Ok(());
        };
        let places = topic.places.range((epoch, range.start)..(epoch, range.end));
        let mut required = places
            .map(|(_, placed)| placed)
            .filter(|placed| placed.required && !log.hit.contains(&placed.id));
        match required.next() {
            Some(placed) => Err(format!("message {} must be there", placed.id)),
            None => Ok(()),
        }
    }

    /// Of what retention has dropped nobody is told who begins with what is there; of what was lost, everybody is.
    fn explain_late_start(&self, topic: usize) -> Verdict {
        let log = &self.logs[&self.topics[topic].log];
        match self.may_drop(log) || log.harmed {
            true => Ok(()),
            false => Err("nothing explains what is missing before it".to_owned()),
        }
    }

    /// Whether retention may have dropped records of a log.
    fn may_drop(&self, log: &Log) -> bool {
        let slack = SLACK_BYTES.saturating_mul(log.starts);
        let bytes = log.bytes.saturating_mul(2).saturating_add(slack);
        match log.durability {
            Durability::Memory => log.bytes.saturating_add(SLACK_BYTES / 2) >= self.memory_bytes,
            _ => {
                self.retention_seconds > 0
                    || self.retention_bytes > 0 && bytes >= self.retention_bytes
            }
        }
    }

    /// Everything of a topic was read from its beginning: nothing that must be there is missing. `follower` is whoever
    /// has read it, up to `head`.
    pub(super) fn audit(&self, follower: usize, head: (u64, u64)) -> Verdict {
        let known = &self.followers[follower];
        let topic = &self.topics[known.topic];
        let log = &self.logs[&topic.log];
        let first = known.first.unwrap_or(head);
        self.check_order(topic, head.0)?;
        for ((epoch, offset), placed) in &topic.places {
            if !placed.required || log.hit.contains(&placed.id) {
                continue;
            }
            let id = placed.id;
            let what = format!(
                "message {id} of `{}`, offset {offset} of epoch {epoch:x}",
                topic.name
            );
            // After harm at rest there may be a new epoch, which has what the old one had, at the same places.
            let is_there = |place: (u64, u64)| {
                let there = topic.places.get(&place);
                there.is_some_and(|there| there.id == id && there.audited == self.audits)
            };
            let why = match () {
                () if is_there((head.0, *offset)) => continue,
                () if *offset < first.1.max(known.dropped_to) && self.may_drop(log) => continue,
                () if *epoch != head.0 => format!("{what}, is not in epoch {:x}", head.0),
                () if *offset >= head.1 => format!("{what}, lies behind the end at {}", head.1),
                () if *offset < first.1 => format!("{what}, lies before the start at {}", first.1),
                // The gap that it is in has been looked at.
                () => continue,
            };
            return Err(why);
        }
        Ok(())
    }

    /// What one publisher has published to a topic lies there in its order, as far as it was acknowledged: the first
    /// copy of each message behind the first copies of those before it. Where records may be missing, others may look
    /// like first copies, unless there was never more than one.
    fn check_order(&self, topic: &Topic, epoch: u64) -> Verdict {
        let log = &self.logs[&topic.log];
        if log.was_put_back {
            // Places may have been given out twice.
            return Ok(());
        }
        let tears = log.durability == Durability::Written && log.reasons > 0;
        let is_whole = !(log.harmed || log.was_hit || tears || self.may_drop(log));
        let mut last: BTreeMap<u16, MessageId> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for ((_, offset), placed) in topic.places.range((epoch, 0)..=(epoch, u64::MAX)) {
            let id = placed.id;
            let sent = &topic.sent[&id];
            let counts = self.in_order[usize::from(id.publisher)]
                && sent.fate == Fate::Acknowledged
                && (is_whole || sent.once);
            if !counts || !seen.insert(id) {
                continue;
            }
            let before = last.insert(id.publisher, id);
            if let Some(before) = before.filter(|before| *before > id) {
                let name = &topic.name;
                return Err(format!(
                    "message {id} of `{name}`, offset {offset}, lies behind {before}"
                ));
            }
        }
        Ok(())
    }

    /// Messages that were acknowledged, and places that were seen.
    pub(super) fn counts(&self) -> (u64, u64) {
        let sent = self.topics.iter().flat_map(|topic| topic.sent.values());
        let acknowledged = sent.filter(|sent| sent.fate == Fate::Acknowledged).count();
        let delivered = self.followers.iter().map(|follower| follower.delivered);
        (acknowledged as u64, delivered.sum())
    }
}

/// An epoch is seen. There are no more of them than there were reasons to begin one.
fn see_epoch(log: &mut Log, epoch: u64) -> Verdict {
    if epoch == 0 {
        return Err("an epoch is 0".to_owned());
    }
    if log.epochs.contains(&epoch) {
        return Ok(());
    }
    if !log.harmed && !log.epochs.is_empty() && log.epochs.len() as u64 > log.reasons {
        return Err(format!("nothing explains the new epoch {epoch:x}"));
    }
    log.epochs.push(epoch);
    Ok(())
}

/// Nothing of a log must stay that was there until now.
fn release(topics: &mut [Topic], log: LogId) {
    for topic in topics.iter_mut().filter(|topic| topic.log == log) {
        for placed in topic.places.values_mut() {
            placed.required = false;
        }
    }
}
