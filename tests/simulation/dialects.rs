//! Which clients of a run speak something else than frames of Oyez over TCP, and how.

use super::dice::Dice;
use super::plan::{PublisherPlan, StrangerKind, SubscriberPlan};

/// How a publisher over HTTP asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PostPlan {
    /// Requests that are under way at the same time at most.
    pub(super) depth: usize,
    /// One request a connection.
    pub(super) is_1_0: bool,
    /// Some bodies come in chunks.
    pub(super) chunks: bool,
    /// Of some messages it does not ask what becomes of them.
    pub(super) forgets: bool,
}

/// How an event stream is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamPlan {
    /// The topics of a stream of several; that of the subscriber is among them.
    pub(super) topics: Vec<usize>,
    pub(super) is_1_0: bool,
    pub(super) base64: bool,
    /// It says where it goes on with a parameter, not with a field.
    pub(super) by_parameter: bool,
}

/// What a client over WebSocket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// Frames of Oyez, `oyez.v2`.
    Frames,
    /// JSON; it subscribes with a command.
    Commands,
    /// JSON; the path says what it subscribes to.
    Path,
}

/// How a client speaks WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SocketPlan {
    pub(super) speaks: Speaks,
    /// It answers pings.
    pub(super) answers: bool,
    /// It pings.
    pub(super) pings: bool,
    /// It says that it closes.
    pub(super) closes: bool,
    /// Bytes of a fragment, at most.
    pub(super) fragment_max: u64,
    /// Messages in JSON that are under way at the same time at most.
    pub(super) depth: usize,
    /// Of some of these it does not ask what becomes of them.
    pub(super) forgets: bool,
    /// Other topics that a subscriber in JSON has over the same connection.
    pub(super) beside: Vec<usize>,
}

impl SocketPlan {
    fn drawn(dice: &mut Dice, speaks: Speaks) -> Self {
        Self {
            speaks,
            answers: dice.below(4) > 0,
            pings: dice.one_in(2),
            closes: dice.below(4) > 0,
            fragment_max: *dice.pick(&[3, 40, 1_000, 1 << 20]),
            depth: *dice.pick(&[1, 4, 16]),
            forgets: dice.one_in(4),
            beside: Vec::new(),
        }
    }

    pub(super) fn is_native(&self) -> bool {
        self.speaks == Speaks::Frames
    }
}

/// In half of the seeds some clients speak HTTP, and in half of these some WebSocket. Gives the strangers among them.
pub(super) fn speak_others(
    seed: u64,
    topics: usize,
    publishers: &mut [PublisherPlan],
    subscribers: &mut [SubscriberPlan],
) -> Vec<StrangerKind> {
    let dice = &mut Dice::new(seed, "http", 0);
    if !dice.one_in(2) {
        return Vec::new();
    }
    streams(dice, topics, subscribers);
    posters(dice, publishers);
    let readers = vec![StrangerKind::Reader; *dice.pick(&[0, 0, 1, 3])];
    let dice = &mut Dice::new(seed, "websocket", 0);
    if !dice.one_in(2) {
        return readers;
    }
    sockets(dice, topics, publishers, subscribers);
    let wild = vec![StrangerKind::Wild; *dice.pick(&[0, 0, 1, 4])];
    [readers, wild].concat()
}

/// In some seeds strangers go whose records have no outcome yet.
pub(super) fn leavers(seed: u64) -> Vec<StrangerKind> {
    let dice = &mut Dice::new(seed, "leavers", 0);
    vec![StrangerKind::Leaver; *dice.pick(&[0, 0, 0, 0, 1, 3])]
}

/// Makes some clients speak WebSocket, whatever they spoke before.
fn sockets(
    dice: &mut Dice,
    topics: usize,
    publishers: &mut [PublisherPlan],
    subscribers: &mut [SubscriberPlan],
) {
    for subscriber in subscribers {
        let speaks = *dice.pick(&[
            Speaks::Frames,
            Speaks::Frames,
            Speaks::Commands,
            Speaks::Path,
        ]);
        let mut socket = SocketPlan::drawn(dice, speaks);
        if dice.one_in(3) {
            let others = (0..topics).filter(|topic| *topic != subscriber.topic);
            // A session may have at least four.
            socket.beside = others.filter(|_| dice.one_in(2)).take(3).collect();
        }
        if dice.below(3) > 0 {
            (subscriber.socket, subscriber.stream) = (Some(socket), None);
        }
    }
    for publisher in publishers {
        let speaks = *dice.pick(&[Speaks::Frames, Speaks::Commands]);
        let socket = SocketPlan::drawn(dice, speaks);
        if dice.one_in(2) {
            (publisher.socket, publisher.posts) = (Some(socket), None);
            publisher.batches &= speaks == Speaks::Frames;
        }
    }
}

/// Makes some publishers ask over HTTP.
fn posters(dice: &mut Dice, publishers: &mut [PublisherPlan]) {
    for publisher in publishers {
        let posts = PostPlan {
            depth: *dice.pick(&[1, 1, 2, 16]),
            is_1_0: dice.one_in(6),
            chunks: dice.one_in(2),
            forgets: dice.one_in(4),
        };
        if dice.one_in(3) {
            (publisher.posts, publisher.batches) = (Some(posts), false);
        }
    }
}

/// Makes some subscribers streams over HTTP.
fn streams(dice: &mut Dice, topics: usize, subscribers: &mut [SubscriberPlan]) {
    for subscriber in subscribers {
        let mut several: Vec<usize> = Vec::new();
        if dice.one_in(3) {
            let others = (0..topics).filter(|topic| *topic != subscriber.topic);
            let others: Vec<usize> = others.filter(|_| dice.one_in(2)).collect();
            // A session may have at least four.
            several = others.into_iter().take(3).collect();
            several.push(subscriber.topic);
            let first = dice.index(several.len());
            several.rotate_left(first);
        }
        let stream = StreamPlan {
            topics: several,
            is_1_0: dice.one_in(3),
            base64: dice.one_in(3),
            by_parameter: dice.one_in(3),
        };
        subscriber.stream = dice.one_in(2).then_some(stream);
    }
}
