//! The messages between shards. Each shard has bounded inboxes: two lanes for publishes and one for everything else.
//!
//! A full lane for publishes stops the reading of the publisher; nothing else is held up, and no shard waits for another. Records
//! of sessions that say little have a lane of their own, so that they do not wait behind floods. Other messages that do not fit
//! stay in the sender's overflow and leave in a later turn. The overflow is bounded, because each question counts until it is
//! answered: for its session ([`crate::parts::session::Session::requests`]), and for its shard. Records, and likewise their
//! outcomes, go from one shard to another together for a whole turn.

use std::collections::VecDeque;
use std::sync::Arc;

use oyez_protocol::event::PublishedEntry;
use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::{Epoch, LogId, Offset, Position};
use oyez_storage::{Located, Place, StartAt, TopicPage};

use crate::parts::budget::{DESCRIBE_STEPS, LAG_STEPS, LOCATE_STEPS, RESOLVE_STEPS, TOPICS_STEPS};
use crate::parts::due::Due;
use crate::parts::inquiries::KnownTopic;
use crate::parts::lag::Lag;
use crate::parts::lane::Lane;
use crate::parts::parcel::{Handed, Parcel, Waiting};
use crate::parts::session::SessionId;
use crate::parts::spares::{Reused, Spares};
use crate::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};

/// Parcels of publishes that may wait for one shard; beyond that, each sender fills up its open one.
const PARCELS_MAX: usize = 256;
/// Other messages that may wait for one shard.
const MESSAGES_MAX: usize = 1024;
/// How soon a shard tries again to send what another shard had no room for, in milliseconds.
const RETRY_MS: u64 = 1;
/// Questions of one shard that may wait for the answer of another: some MiB with their topics' names.
const QUESTIONS_MAX: usize = 16_384;

/// The outcome of a publish, on its way to the publisher.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ack {
    pub(crate) session: SessionId,
    pub(crate) entry: PublishedEntry,
    /// Bytes of the record.
    pub(crate) size: u32,
}

impl Reused for Vec<Ack> {
    fn bytes(&self) -> usize {
        self.capacity() * size_of::<Ack>()
    }
}

/// A subscription whose beginning has to be found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) session: SessionId,
    /// Number of the topic in the registry of the session's shard.
    pub(crate) topic: u32,
    /// Distinguishes this request from others of the same session and topic.
    pub(crate) nonce: u32,
    /// The client's request id.
    pub(crate) request: u32,
    pub(crate) start: StartAt,
    pub(crate) epoch: Option<Epoch>,
}

/// Asks the owner of a log where a subscription begins.
#[derive(Debug)]
pub(crate) struct Locate {
    pub(crate) from: usize,
    pub(crate) wish: Wish,
    pub(crate) log: LogId,
    pub(crate) name: Arc<str>,
    /// The place up to which the asking shard has walked the log.
    pub(crate) walked: Position,
}

/// The answer to [`Locate`].
#[derive(Debug)]
pub(crate) struct LocateAnswer {
    pub(crate) wish: Wish,
    pub(crate) located: Located,
    pub(crate) epoch_changed: bool,
    pub(crate) dropped: bool,
    /// Oldest place that the log kept then: the answer about the topic's oldest message holds as long as this place does.
    pub(crate) log_start: Position,
}

/// Asks the owner of a log for the places of a topic's records.
#[derive(Debug)]
pub(crate) struct Resolve {
    pub(crate) from: usize,
    pub(crate) catchup: u64,
    pub(crate) log: LogId,
    pub(crate) name: Arc<str>,
    pub(crate) cursor: Offset,
    /// An empty buffer for the answer; it travels there and back.
    pub(crate) places: Vec<Place>,
}

/// The answer to [`Resolve`].
#[derive(Debug)]
pub(crate) struct ResolveAnswer {
    pub(crate) catchup: u64,
    pub(crate) places: Vec<Place>,
    /// Oldest offset kept.
    pub(crate) earliest: Offset,
    /// First offset that is not visible.
    pub(crate) head: Offset,
}

/// All messages between shards except parcels of publishes.
#[derive(Debug)]
pub(crate) enum Message {
    Published {
        from: usize,
        acks: Vec<Ack>,
    },
    Locate(Locate),
    Located {
        from: usize,
        answer: LocateAnswer,
    },
    Resolve(Resolve),
    Resolved(ResolveAnswer),
    ListTopics {
        from: usize,
        listing: usize,
        after: Box<str>,
    },
    Topics {
        listing: usize,
        page: TopicPage,
    },
    DescribeTopic {
        from: usize,
        inquiry: usize,
        log: LogId,
        name: Box<str>,
    },
    Topic {
        inquiry: usize,
        known: Box<KnownTopic>,
    },
    MeasureLag {
        from: usize,
        survey: usize,
    },
    Lag {
        survey: usize,
        lag: Box<Lag>,
    },
    /// An empty parcel, or list of outcomes, goes back where it came from, to be filled again.
    EmptyParcel(Parcel),
    EmptyAcks(Vec<Ack>),
}

impl Message {
    /// The cost of handling it, in steps of a turn's budget.
    pub(crate) fn steps(&self) -> usize {
        match self {
            Self::Published { acks, .. } => acks.len(),
            Self::Locate(_) | Self::Located { .. } => LOCATE_STEPS,
            Self::DescribeTopic { .. } | Self::Topic { .. } => DESCRIBE_STEPS,
            Self::Resolve(_) | Self::Resolved(_) => RESOLVE_STEPS,
            Self::ListTopics { .. } | Self::Topics { .. } => TOPICS_STEPS,
            Self::MeasureLag { .. } | Self::Lag { .. } => LAG_STEPS,
            Self::EmptyParcel(_) | Self::EmptyAcks(_) => 1,
        }
    }

    /// Whether it is worth a wake-up.
    const fn is_news(&self) -> bool {
        !matches!(self, Self::EmptyParcel(_) | Self::EmptyAcks(_))
    }
}

/// The receiving ends of one shard.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// Parcels to receive, by lane.
    parcels: [Receiver<Parcel>; 2],
    /// Parcels that were begun, by lane.
    begun: [Option<Parcel>; 2],
    /// Parcels of the lane of little that were received before a parcel of much and were not begun.
    little: VecDeque<Parcel>,
    /// How many parcels of little have come; below, how many of them are taken.
    came: u64,
    taken: u64,
    /// A parcel of much, and how many of little have to be taken before it.
    much: Option<(Parcel, u64)>,
    messages: Receiver<Message>,
    messages_left: bool,
    waiting: Arc<Waiting>,
}

impl Inbox {
    /// Takes the next parcel of a lane; the caller gives what is left of it to [`Self::put_back`]. A parcel of much comes once
    /// all parcels of little that were sent before it are taken.
    pub(crate) fn next_parcel(&mut self, lane: Lane) -> Option<Parcel> {
        if let Some(begun) = self.begun[lane as usize].take() {
            return Some(begun);
        }
        let parcel = match lane {
            Lane::Little => self.next_of_little(),
            Lane::Much => self.next_of_much(),
        }?;
        self.waiting.remove(parcel.weight());
        Some(parcel)
    }

    fn next_of_little(&mut self) -> Option<Parcel> {
        if let Some(earlier) = self.little.pop_front() {
            return Some(earlier);
        }
        let parcel = received(self.parcels[Lane::Little as usize].try_recv())?;
        self.came += 1;
        Some(parcel)
    }

    fn next_of_much(&mut self) -> Option<Parcel> {
        if self.much.is_none() {
            let parcel = received(self.parcels[Lane::Much as usize].try_recv())?;
            // Parcels of little that were sent before it have come by now.
            let before = self.little.len();
            self.little
                .extend(self.parcels[Lane::Little as usize].try_iter());
            self.came += (self.little.len() - before) as u64;
            self.much = Some((parcel, self.came));
        }
        let taken = self.taken;
        let (parcel, _) = self
            .much
            .take_if(|(_, before)| *before <= taken || planted(Bug::SwapsLanes))?;
        Some(parcel)
    }

    /// Notes that all of a parcel was taken.
    pub(crate) fn finish(&mut self, lane: Lane) {
        self.taken += u64::from(lane == Lane::Little);
    }

    pub(crate) fn put_back(&mut self, lane: Lane, parcel: Parcel) {
        self.begun[lane as usize] = Some(parcel);
    }

    /// Whether there are parcels that were received from their lanes and not taken whole.
    pub(crate) fn has_begun(&self) -> bool {
        let begun = self.begun.iter().any(Option::is_some);
        begun || self.much.is_some() || !self.little.is_empty()
    }

    pub(crate) fn next_message(&self) -> Option<Message> {
        received(self.messages.try_recv())
    }

    /// Notes whether there may be messages that this turn had no time for.
    pub(crate) fn note_messages_left(&mut self, left: bool) {
        self.messages_left = left;
    }

    pub(crate) const fn has_messages_left(&self) -> bool {
        self.messages_left
    }
}

/// A shard whose senders are all gone is the last one alive; its inbox is empty then.
fn received<T>(result: Result<T, TryRecvError>) -> Option<T> {
    result.ok()
}

/// The sending ends of one shard's inboxes.
#[derive(Clone, Debug)]
pub(crate) struct InboxSender {
    /// Senders of parcels, by lane.
    parcels: [SyncSender<Parcel>; 2],
    messages: SyncSender<Message>,
    waiting: Arc<Waiting>,
}

/// The inboxes of a shard.
pub(crate) fn inbox() -> (InboxSender, Inbox) {
    let [(little, little_out), (much, much_out)] = Lane::ALL.map(|_| sync_channel(PARCELS_MAX));
    let (messages, messages_out) = sync_channel(MESSAGES_MAX);
    let waiting = Arc::new(Waiting::default());
    let sender = InboxSender {
        parcels: [little, much],
        messages,
        waiting: waiting.clone(),
    };
    let inbox = Inbox {
        parcels: [little_out, much_out],
        begun: [None, None],
        little: VecDeque::new(),
        came: 0,
        taken: 0,
        much: None,
        messages: messages_out,
        messages_left: false,
        waiting,
    };
    (sender, inbox)
}

/// One shard's messages to all others: gathered during a turn, with one wake-up for each receiver at its end.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// The shard whose outbox it is.
    own: usize,
    targets: Vec<Target>,
    /// Parcels that have come back empty.
    parcels_spare: Spares<Parcel>,
    acks_spare: Spares<Vec<Ack>>,
    /// Other shards had no room for something when the last turn ended.
    unsaid: bool,
}

#[derive(Debug)]
struct Target {
    sender: InboxSender,
    /// Records that are not sent, by lane.
    open: [Parcel; 2],
    acks: Vec<Ack>,
    overflow: VecDeque<Message>,
    wake: bool,
    /// Questions that the shard has not answered.
    questions: usize,
    /// The smallest record of each lane for which the shard had no room.
    refused: [Option<usize>; 2],
}

impl Target {
    /// Sends the open parcels of all lanes up to `last`, that of little before that of much. A parcel that finds no room stays
    /// open. Returns whether all are sent.
    fn send_parcels(&mut self, last: Lane) -> bool {
        let mut lanes = Lane::ALL[..=last as usize].iter();
        lanes.all(|lane| self.open[*lane as usize].is_empty() || self.send_parcel(*lane))
    }

    fn send_parcel(&mut self, lane: Lane) -> bool {
        let parcel = std::mem::take(&mut self.open[lane as usize]);
        let weight = parcel.weight();
        self.sender.waiting.add(weight);
        match self.sender.parcels[lane as usize].try_send(parcel) {
            Ok(()) => {
                self.wake = true;
                true
            }
            Err(TrySendError::Full(parcel)) => {
                self.sender.waiting.remove(weight);
                self.open[lane as usize] = parcel;
                false
            }
            // When a shard is gone, the process ends.
            Err(TrySendError::Disconnected(_)) => true,
        }
    }

    fn has_records(&self) -> bool {
        self.open.iter().any(|parcel| !parcel.is_empty())
    }

    /// Whether the shard has room again for a record for which it had none.
    fn has_room(&self) -> bool {
        Lane::ALL.into_iter().any(|lane| {
            let (open, refused) = (&self.open[lane as usize], self.refused[lane as usize]);
            refused.is_some_and(|size| self.has_room_for(size, lane)) && !open.is_full()
        })
    }

    /// Whether a record of so many bytes may wait at the shard.
    fn has_room_for(&self, size: usize, lane: Lane) -> bool {
        let weight = self.open[lane as usize].weight() + size;
        self.sender.waiting.has_room(weight, lane)
    }

    /// Notes that there was no room for a record of so many bytes.
    fn refuse(&mut self, size: usize, lane: Lane) {
        let least = &mut self.refused[lane as usize];
        *least = Some(least.map_or(size, |least| least.min(size)));
    }

    fn is_refused(&self) -> bool {
        self.refused.iter().any(Option::is_some)
    }

    fn send_messages(&mut self) -> bool {
        while let Some(message) = self.overflow.pop_front() {
            let is_news = message.is_news();
            match self.sender.messages.try_send(message) {
                // A message that had to wait for room is news, too.
                Ok(()) => self.wake |= is_news,
                Err(TrySendError::Full(message)) if is_news => {
                    self.overflow.push_front(message);
                    return false;
                }
                // An empty container is not worth a second attempt.
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
            }
        }
        true
    }
}

impl Outbox {
    pub(crate) fn new(own: usize, senders: Vec<InboxSender>) -> Self {
        let target = |sender| Target {
            sender,
            open: Lane::ALL.map(|_| Parcel::default()),
            acks: Vec::new(),
            overflow: VecDeque::new(),
            wake: false,
            questions: 0,
            refused: [None; 2],
        };
        Self {
            own,
            targets: senders.into_iter().map(target).collect(),
            parcels_spare: Spares::default(),
            acks_spare: Spares::default(),
            unsaid: false,
        }
    }

    /// Takes a record for another shard, if there is room for it. Returns whether there is.
    pub(crate) fn hand_over(&mut self, shard: usize, handed: Handed, record: &[u8]) -> bool {
        let target = &mut self.targets[shard];
        let (lane, number) = (handed.origin.lane, handed.origin.lane as usize);
        if !target.has_room_for(record.len(), lane)
            || (target.open[number].is_full() && !target.send_parcels(lane))
        {
            target.refuse(record.len(), lane);
            return false;
        }
        let open = &mut target.open[number];
        if open.is_empty() {
            *open = self.parcels_spare.take();
        }
        open.push(handed, record);
        if open.is_full() {
            target.send_parcels(lane);
        }
        true
    }

    /// Takes an outcome for a publisher of another shard.
    pub(crate) fn answer(&mut self, shard: usize, ack: Ack) {
        let target = &mut self.targets[shard];
        if target.acks.is_empty() {
            target.acks = self.acks_spare.take();
        }
        target.acks.push(ack);
    }

    /// Gives an emptied container back, at the next opportunity.
    pub(crate) fn give_back(&mut self, shard: usize, empty: Message) {
        self.targets[shard].overflow.push_back(empty);
    }

    /// Keeps a parcel that has come back.
    pub(crate) fn keep_parcel(&mut self, parcel: Parcel) {
        self.parcels_spare.keep(parcel);
    }

    /// Keeps a list of outcomes that has come back.
    pub(crate) fn keep_acks(&mut self, acks: Vec<Ack>) {
        self.acks_spare.keep(acks);
    }

    /// Returns whether a shard that had no room for a record has room again; true once.
    pub(crate) fn has_room_again(&mut self) -> bool {
        let mut again = false;
        for target in self.targets.iter_mut() {
            if target.has_room() {
                target.refused = [None; 2];
                again = true;
            }
        }
        again
    }

    /// Whether a record waits for room with another shard.
    fn is_refused(&self) -> bool {
        self.targets.iter().any(Target::is_refused)
    }

    /// Asks where a subscription begins, unless too many such questions wait already.
    pub(crate) fn ask(&mut self, shard: usize, question: Locate) -> bool {
        if !self.may_ask(shard) {
            return false;
        }
        self.targets[shard].questions += 1;
        self.say(shard, Message::Locate(question));
        true
    }

    /// Whether a shard may be asked one more question.
    pub(crate) fn may_ask(&self, shard: usize) -> bool {
        self.targets[shard].questions < QUESTIONS_MAX
    }

    /// Notes that a shard has answered a question. Returns whether a session may have waited for that.
    pub(crate) fn answered(&mut self, shard: usize) -> bool {
        let target = &mut self.targets[shard];
        target.questions -= usize::from(!planted(Bug::LeaksQuestions));
        target.questions + 1 == QUESTIONS_MAX
    }

    /// Questions that wait for answers, of all shards.
    pub(crate) fn questions(&self) -> usize {
        self.targets.iter().map(|target| target.questions).sum()
    }

    /// How many questions may wait for answers, of all shards.
    pub(crate) fn questions_max(&self) -> usize {
        self.targets.len().saturating_sub(1) * QUESTIONS_MAX
    }

    /// Sends any other message.
    pub(crate) fn say(&mut self, shard: usize, message: Message) {
        let target = &mut self.targets[shard];
        target.wake = true;
        target.overflow.push_back(message);
    }

    /// Marks a shard to be woken at the end of the turn.
    pub(crate) fn wake(&mut self, shard: usize) {
        self.targets[shard].wake = true;
    }

    /// Sends the records that were read, so that a shard that is awake need not wait for the end of this one's turn.
    pub(crate) fn send_parcels(&mut self) {
        for target in &mut self.targets {
            // A parcel without room is tried again at the turn's end.
            target.send_parcels(Lane::Much);
        }
    }

    /// Whether records wait here for room with another shard.
    pub(crate) fn has_records(&self) -> bool {
        self.targets.iter().any(Target::has_records)
    }

    /// Ends the turn: sends what fits, and wakes the shards that got something.
    pub(crate) fn finish_turn(&mut self, mut wake: impl FnMut(usize)) {
        let mut left = false;
        for (shard, target) in self.targets.iter_mut().enumerate() {
            if !target.acks.is_empty() {
                let acks = std::mem::take(&mut target.acks);
                let from = self.own;
                target.wake = true;
                target.overflow.push_back(Message::Published { from, acks });
            }
            left |= !target.send_parcels(Lane::Much);
            left |= !target.send_messages();
            if std::mem::take(&mut target.wake) {
                wake(shard);
            }
        }
        self.unsaid = left;
    }

    /// Whether messages or records wait for which other shards had no room.
    pub(crate) const fn has_unsaid(&self) -> bool {
        self.unsaid
    }

    /// When to try again to send what others had no room for.
    pub(crate) fn due(&self, now_ms: u64) -> Due {
        let waits = self.unsaid || self.is_refused();
        Due::after(now_ms, waits.then_some(RETRY_MS))
    }
}

#[cfg(all(test, loom))]
mod models;

#[cfg(test)]
mod tests {
    use oyez_protocol::LogId;

    use super::*;
    use crate::parts::parcel::Origin;
    use crate::parts::parcel::PARCEL_BYTES;

    /// A shard's outbox towards one other, and that one's inbox.
    fn pair() -> (Outbox, Inbox) {
        let (sender, inbox) = inbox();
        (Outbox::new(1, vec![sender]), inbox)
    }

    /// Hands over a record whose bytes hold its `number`.
    fn hand_over(outbox: &mut Outbox, number: usize, size: usize) -> bool {
        hand_over_in(Lane::Little, outbox, number, size)
    }

    fn hand_over_in(lane: Lane, outbox: &mut Outbox, number: usize, size: usize) -> bool {
        let record = vec![number as u8; size];
        let origin = Origin {
            shard: 1,
            session: SessionId::new(7, 7),
            correlation: number as u64,
            size: u32::try_from(size).unwrap(),
            lane,
            may_begin: true,
        };
        let log = LogId::new(2);
        outbox.hand_over(0, Handed { origin, log }, &record)
    }

    /// Takes everything out, checks it against the size that each number should have, and returns the numbers.
    fn take_all(inbox: &mut Inbox, size_of: impl Fn(usize) -> usize) -> Vec<usize> {
        let [mut little, much] = Lane::ALL.map(|lane| take_lane(lane, inbox, &size_of));
        little.extend(much);
        little
    }

    fn take_lane(lane: Lane, inbox: &mut Inbox, size_of: impl Fn(usize) -> usize) -> Vec<usize> {
        let mut numbers = Vec::new();
        while let Some(mut parcel) = inbox.next_parcel(lane) {
            while let Some((handed, record)) = parcel.next() {
                let number = usize::try_from(handed.origin.correlation).unwrap();
                assert_eq!(record, vec![number as u8; size_of(number)]);
                numbers.push(number);
                parcel.advance();
            }
            inbox.finish(lane);
        }
        numbers
    }

    #[test]
    fn records_of_sessions_that_say_much_wait_for_those_of_little_that_went_before_them() {
        let (mut outbox, mut inbox) = pair();
        let take = |lane, inbox: &mut Inbox| take_lane(lane, inbox, |_| 64);
        for (number, lane) in [(0, Lane::Much), (1, Lane::Little), (2, Lane::Much)] {
            assert!(hand_over_in(lane, &mut outbox, number, 64));
        }
        outbox.finish_turn(|_| ());
        assert!(take(Lane::Much, &mut inbox).is_empty());
        // What comes later in the lane of little goes ahead, but is not waited for.
        assert!(hand_over(&mut outbox, 3, 64));
        outbox.finish_turn(|_| ());
        let first = inbox.next_parcel(Lane::Little).unwrap();
        assert_eq!(first.next().unwrap().0.origin.correlation, 1);
        assert!(take(Lane::Much, &mut inbox).is_empty());
        inbox.put_back(Lane::Little, first);
        assert!(inbox.has_begun());
        let first = inbox.next_parcel(Lane::Little).unwrap();
        inbox.finish(Lane::Little);
        drop(first);
        assert_eq!(take(Lane::Much, &mut inbox), [0, 2]);
        assert_eq!(take(Lane::Little, &mut inbox), [3]);
        assert!(!inbox.has_begun());
    }

    #[test]
    fn a_full_parcel_of_much_does_not_leave_before_those_of_little() {
        let (mut outbox, mut inbox) = pair();
        assert!(hand_over(&mut outbox, 0, 64));
        assert!(hand_over_in(Lane::Much, &mut outbox, 1, PARCEL_BYTES));
        let much = inbox.next_parcel(Lane::Much);
        assert!(much.is_none(), "it has left, and waits");
        assert_eq!(
            take_all(&mut inbox, |number| [64, PARCEL_BYTES][number]),
            [0, 1]
        );
    }

    #[test]
    fn records_come_out_whole_and_in_the_order_in_which_they_went_in() {
        let (mut outbox, mut inbox) = pair();
        let size_of = |number: usize| 56 + 8 * number;
        for number in 0..500 {
            assert!(hand_over(&mut outbox, number, size_of(number)));
        }
        outbox.finish_turn(|_| ());
        assert!(!outbox.has_unsaid());
        assert!(!outbox.has_records());
        let numbers = take_all(&mut inbox, size_of);
        assert_eq!(numbers, Vec::from_iter(0..500));
    }

    #[test]
    fn a_parcel_that_was_put_back_goes_on_where_it_was_left() {
        let (mut outbox, mut inbox) = pair();
        for number in 0..3 {
            hand_over(&mut outbox, number, 64);
        }
        outbox.finish_turn(|_| ());
        let mut parcel = inbox.next_parcel(Lane::Little).unwrap();
        parcel.advance();
        inbox.put_back(Lane::Little, parcel);
        assert_eq!(take_all(&mut inbox, |_| 64), [1, 2]);
    }

    #[test]
    fn a_full_inbox_refuses_records_until_some_are_taken() {
        let (mut outbox, mut inbox) = pair();
        let size = 64 << 10;
        let fitted = (0..1_000)
            .take_while(|number| hand_over(&mut outbox, *number, size))
            .count();
        assert!((25..32).contains(&fitted), "{fitted} of 64 KiB");
        outbox.finish_turn(|_| ());
        assert!(!outbox.has_unsaid());
        assert_eq!(take_all(&mut inbox, |_| size).len(), fitted);
        assert!(hand_over(&mut outbox, 0, size));
    }

    #[test]
    fn an_open_parcel_takes_no_more_than_one_that_leaves() {
        let (mut outbox, mut inbox) = pair();
        for number in 0..PARCELS_MAX {
            hand_over(&mut outbox, number, 64);
            outbox.finish_turn(|_| ());
        }
        let size = 16 << 10;
        let first = PARCELS_MAX;
        let fitted = (first..)
            .take_while(|number| hand_over(&mut outbox, *number, size))
            .count();
        assert_eq!(fitted, 4, "64 KiB");
        let size_of = |number| if number < first { 64 } else { size };
        let mut numbers = take_all(&mut inbox, size_of);
        outbox.finish_turn(|_| ());
        assert!(!outbox.has_unsaid());
        numbers.extend(take_all(&mut inbox, size_of));
        assert_eq!(numbers, Vec::from_iter(0..first + fitted));
    }

    #[test]
    fn room_for_a_small_record_is_not_enough_for_the_large_one_that_waits() {
        let (mut outbox, mut inbox) = pair();
        let (small, large) = (PARCEL_BYTES, 4 * PARCEL_BYTES);
        let mut taken = 0;
        while hand_over_in(Lane::Much, &mut outbox, taken, large) {
            taken += 1;
            outbox.finish_turn(|_| ());
        }
        assert!(taken > 1);
        for _ in 0..3 {
            assert!(!outbox.has_room_again(), "nothing has left");
        }
        assert!(hand_over_in(Lane::Much, &mut outbox, taken, small));
        let size_of = |number| if number < taken { large } else { small };
        let numbers = take_all(&mut inbox, size_of);
        assert_eq!(numbers, Vec::from_iter(0..=taken));
        assert!(outbox.has_room_again());
        assert!(!outbox.has_room_again(), "it is reported once");
    }

    #[test]
    fn records_without_room_for_their_parcel_leave_together_later() {
        let (mut outbox, mut inbox) = pair();
        let records = 2 * PARCELS_MAX;
        let left: Vec<bool> = (0..records)
            .map(|number| {
                assert!(hand_over(&mut outbox, number, 64));
                outbox.finish_turn(|_| ());
                outbox.has_unsaid()
            })
            .collect();
        assert_eq!(left.iter().position(|left| *left), Some(PARCELS_MAX));
        assert!(outbox.has_records());
        let mut numbers = take_all(&mut inbox, |_| 64);
        outbox.finish_turn(|_| ());
        assert!(!outbox.has_unsaid());
        numbers.extend(take_all(&mut inbox, |_| 64));
        assert_eq!(numbers, Vec::from_iter(0..records));
    }
}
