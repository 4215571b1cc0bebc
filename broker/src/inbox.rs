//! What shards say to each other. Each shard has two bounded inboxes, one for publishes and one for everything else.
//!
//! A full inbox for publishes stops the reading of the publisher; nothing else is held up, and nothing waits. Whatever
//! else does not fit stays in the sender's overflow and leaves in a later turn: it answers requests, of which each
//! session has a bounded number.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};

use bytes::Bytes;
use oyez_protocol::event::PublishedEntry;
use oyez_protocol::{Epoch, LogId, Offset, Position};
use oyez_storage::{Located, Place, StartAt, TopicInfo};

use crate::lag::Lag;
use crate::session::SessionId;
use crate::sys::waker::Waker;

/// Publishes that may wait for one shard.
const PUBLISHES_MAX: usize = 1024;
/// Bytes of such publishes.
const PUBLISH_BYTES_MAX: usize = 16 << 20;
/// Other messages that may wait for one shard.
const MESSAGES_MAX: usize = 1024;

/// Who waits for the outcome of a publish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) shard: usize,
    pub(crate) session: SessionId,
    pub(crate) correlation: u64,
    pub(crate) size: u32,
}

/// A record on its way to the shard that owns its log.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) origin: Origin,
    pub(crate) log: LogId,
    pub(crate) record: Bytes,
}

/// A subscription whose beginning has to be found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) session: SessionId,
    /// Number of the topic in the registry of the session's shard.
    pub(crate) topic: u32,
    /// Tells this request from others of the same session and topic.
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
    /// Up to here the asking shard has walked the log.
    pub(crate) walked: Position,
}

/// The answer to [`Locate`].
#[derive(Debug)]
pub(crate) struct LocateAnswer {
    pub(crate) wish: Wish,
    pub(crate) located: Located,
    pub(crate) epoch_changed: bool,
    pub(crate) dropped: bool,
    /// Oldest place that the log kept then: the topic's oldest message is the one told as long as this is.
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

/// Everything that shards say to each other but publishes.
#[derive(Debug)]
pub(crate) enum Message {
    Published {
        session: SessionId,
        entry: PublishedEntry,
        size: u32,
    },
    Locate(Locate),
    Located(LocateAnswer),
    Resolve(Resolve),
    Resolved(ResolveAnswer),
    ListTopics {
        from: usize,
        listing: usize,
        after: Box<str>,
    },
    Topics {
        listing: usize,
        topics: Vec<TopicInfo>,
    },
    MeasureLag {
        from: usize,
        survey: usize,
    },
    Lag {
        survey: usize,
        lag: Box<Lag>,
    },
}

/// The receiving ends of one shard.
#[derive(Debug)]
pub(crate) struct Inbox {
    publishes: Receiver<Publish>,
    messages: Receiver<Message>,
    publish_bytes: Arc<AtomicUsize>,
}

impl Inbox {
    pub(crate) fn next_publish(&self) -> Option<Publish> {
        let publish = received(self.publishes.try_recv())?;
        self.publish_bytes
            .fetch_sub(publish.record.len(), Ordering::Relaxed);
        Some(publish)
    }

    pub(crate) fn next_message(&self) -> Option<Message> {
        received(self.messages.try_recv())
    }
}

/// A shard whose senders are all gone is the last one alive; its inbox is empty then.
fn received<T>(result: Result<T, TryRecvError>) -> Option<T> {
    result.ok()
}

/// One shard's way to another's inboxes.
#[derive(Clone, Debug)]
pub(crate) struct InboxSender {
    publishes: SyncSender<Publish>,
    messages: SyncSender<Message>,
    publish_bytes: Arc<AtomicUsize>,
    waker: Waker,
}

/// The inboxes of a shard that `waker` wakes.
pub(crate) fn inbox(waker: Waker) -> (InboxSender, Inbox) {
    let (publishes, publishes_out) = sync_channel(PUBLISHES_MAX);
    let (messages, messages_out) = sync_channel(MESSAGES_MAX);
    let publish_bytes = Arc::new(AtomicUsize::new(0));
    let sender = InboxSender {
        publishes,
        messages,
        publish_bytes: publish_bytes.clone(),
        waker,
    };
    let inbox = Inbox {
        publishes: publishes_out,
        messages: messages_out,
        publish_bytes,
    };
    (sender, inbox)
}

/// What one shard has to say to all others: gathered during a turn, with one wake-up each at its end.
#[derive(Debug)]
pub(crate) struct Outbox {
    targets: Vec<Target>,
}

#[derive(Debug)]
struct Target {
    sender: InboxSender,
    overflow: VecDeque<Message>,
    wake: bool,
}

impl Outbox {
    pub(crate) fn new(senders: Vec<InboxSender>) -> Self {
        let target = |sender| Target {
            sender,
            overflow: VecDeque::new(),
            wake: false,
        };
        Self {
            targets: senders.into_iter().map(target).collect(),
        }
    }

    /// Whether a record of so many bytes would probably be taken.
    pub(crate) fn has_room(&self, shard: usize, size: usize) -> bool {
        let waiting = self.targets[shard]
            .sender
            .publish_bytes
            .load(Ordering::Relaxed);
        waiting + size <= PUBLISH_BYTES_MAX
    }

    /// Hands a record over; gives it back when the inbox is full.
    pub(crate) fn publish(&mut self, shard: usize, publish: Publish) -> Result<(), Publish> {
        let target = &mut self.targets[shard];
        let size = publish.record.len();
        let waiting = &target.sender.publish_bytes;
        if waiting.fetch_add(size, Ordering::Relaxed) + size > PUBLISH_BYTES_MAX {
            waiting.fetch_sub(size, Ordering::Relaxed);
            return Err(publish);
        }
        target.wake = true;
        match target.sender.publishes.try_send(publish) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(publish) | TrySendError::Disconnected(publish)) => {
                waiting.fetch_sub(size, Ordering::Relaxed);
                Err(publish)
            }
        }
    }

    /// Says anything else.
    pub(crate) fn say(&mut self, shard: usize, message: Message) {
        let target = &mut self.targets[shard];
        target.wake = true;
        target.overflow.push_back(message);
    }

    /// Marks a shard to be woken at the end of the turn.
    pub(crate) fn wake(&mut self, shard: usize) {
        self.targets[shard].wake = true;
    }

    /// Ends the turn: sends what fits, wakes whoever has something. Tells whether something is left.
    pub(crate) fn finish_turn(&mut self) -> bool {
        let mut left = false;
        for target in &mut self.targets {
            while let Some(message) = target.overflow.pop_front() {
                match target.sender.messages.try_send(message) {
                    // Also what had to wait for room is news.
                    Ok(()) => target.wake = true,
                    Err(TrySendError::Full(message)) => {
                        target.overflow.push_front(message);
                        left = true;
                        break;
                    }
                    // A shard that is gone has taken the process with it.
                    Err(TrySendError::Disconnected(_)) => {}
                }
            }
            if std::mem::take(&mut target.wake) {
                target.sender.waker.wake();
            }
        }
        left
    }
}
