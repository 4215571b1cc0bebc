//! What is asked of each turn of a shard, and of each connection that a client loses.

use oyez_broker::simulation::{Calls, Held};
use oyez_client::{ConnectionError, GoodbyeCode};

use oyez_protocol::limits::CONTROL_HEADER_SIZE;

use super::oracle::Verdict;
use super::plan::{FaultKind, StrangerKind};
use super::publisher::Losses;
use super::stranger::StrangerSeat;
use super::world::World;

/// Calls for bytes in one turn of a shard, at most.
const CALLS_MAX: usize = 6_000;
/// Bytes that a shard reads in one turn, at most: half a mebibyte, and what the last visit of each kind adds.
const BYTES_IN_MAX: usize = 768 << 10;
/// Bytes of a ping.
const PING_BYTES: usize = CONTROL_HEADER_SIZE + 8;
/// Pings that it takes, at most: half of the steps of its budget, and of the last visits of each kind.
const PINGS_MAX: usize = 6_000;
/// Bytes of records of other shards that come into their logs in a turn after they have waited, at most: half a mebibyte,
/// and the last one.
const RETRIED_BYTES_MAX: usize = 768 << 10;
/// Files that a turn finds at their ends, for each session.
const FILE_ENDS_MAX: usize = 4;
/// How long a session may take none of its answers, while its shard is short of room for them: after a second it has to go,
/// when the shard looks next, unless it has just been told to be writable.
const SHORT_MS: u64 = 1_800;
/// What of the time since the last turn counts for that at most.
const SHORT_STEP_MS: u64 = 50;
/// A session that holds more has to make way for others.
const MUCH_BYTES: usize = 4_096;
/// Turns in a row in which a shard says that it has more to do, and moves nothing, for each step that a block of the arena
/// is waited for: a log that waits for one asks again in each turn.
const IDLE_TURNS_MAX: u64 = 15;
/// Questions to other shards, and others that take several turns, which one session may have open.
const QUESTIONS_MAX: usize = 32;

/// What a step takes at most where clients come to their turns in time.
const STEP_MS_USUAL: u64 = 4;
/// Time that a shutdown needs where many clients want their turns.
const SHUTDOWN_MS: u32 = 1_000;

/// Faults of sockets, of the time that clients have, and of what stands between: with one of them a connection may be lost
/// in any way.
const ROUGH: &[FaultKind] = &[
    FaultKind::Reset,
    FaultKind::HalfClose,
    FaultKind::DribbleOut,
    FaultKind::DribbleIn,
    FaultKind::SmallRoom,
    FaultKind::Stall,
    FaultKind::Interrupt,
    FaultKind::SendError,
    FaultKind::Merged,
    FaultKind::Flip,
    FaultKind::Asleep,
    FaultKind::Pause,
];

/// What can be seen of a shard before a turn and after it.
struct Look {
    calls: Calls,
    held: Held,
    /// Bytes that no shard has read, of each stranger that pings.
    pings: Vec<usize>,
}

impl Look {
    fn calls_since(&self, before: &Self) -> usize {
        let all = |calls: &Calls| calls.reads + calls.sends + calls.batches + calls.files;
        all(&self.calls) - all(&before.calls)
    }

    fn bytes_since(&self, before: &Self) -> usize {
        let all = |calls: &Calls| calls.bytes_in + calls.bytes_out;
        all(&self.calls) - all(&before.calls)
    }
}

/// A socket that has many bytes to take, while its shard is short of room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behind {
    /// Bytes that it has taken.
    taken: u64,
    /// How long it takes none, as far as the shard has had its turns.
    ms: u64,
    /// When that was looked at.
    looked_ms: u64,
}

impl World {
    /// Whether connections may be lost in any way, whatever the broker does.
    pub(super) fn is_rough(&self) -> bool {
        self.may_be_cut_short() || self.may_meet(&[FaultKind::Kill, FaultKind::Power])
    }

    /// Whether a record may be lost of which somebody has a part, whose connection ends then.
    pub(super) fn loses_records(&self) -> bool {
        self.oracle.disk_trouble || self.may_meet(&[FaultKind::FileEnds])
    }

    /// Whether shards come late to their turns.
    pub(super) fn is_slow(&self) -> bool {
        let slow = self.plan.step_ms > STEP_MS_USUAL || self.plan.slow_shard.is_some();
        slow || self.comes_last || self.may_meet(&[FaultKind::Starve])
    }

    /// The same, but for ends of the broker. A shutdown that has no time cuts short what is left.
    fn may_be_cut_short(&self) -> bool {
        self.may_meet(ROUGH)
            || self.plan.step_ms > STEP_MS_USUAL
            || self.plan.slow_shard.is_some()
            || self.comes_last
            || self.plan.config.drain_timeout_ms < SHUTDOWN_MS
    }

    fn may_meet(&self, kinds: &[FaultKind]) -> bool {
        kinds.iter().any(|kind| self.plan.faults.contains(kind))
    }

    /// One turn of a shard.
    pub(super) fn turn(&mut self, shard: usize) -> Verdict {
        let before = self.look(shard);
        let had_completions = self.machine.disks[shard].has_completions();
        let turned = self.machine.turn(shard);
        let after = self.look(shard);
        let (calls, held) = (after.calls_since(&before), after.held);
        self.tell(
            format_args!("shard {shard}"),
            format_args!("{calls} calls; holds {held}"),
        );
        if let Err(error) = turned {
            self.note_failure(shard, error.to_string())?;
        }
        let moved = after.bytes_since(&before);
        let behind_ms = self.count_shortness(shard, held);
        let idle = u64::from(self.count_idleness(shard, moved > 0 || had_completions));
        // What was read and is kept was not taken, and what those say who leave is not looked at.
        let pings = self
            .ping_bytes_read(&before.pings)
            .saturating_sub(held.input_bytes)
            / PING_BYTES;
        let retried = before.held.stalled_bytes.saturating_sub(held.stalled_bytes);
        let ends = after.calls.file_ends - before.calls.file_ends;
        let ends_max = FILE_ENDS_MAX * (held.sessions + 1);
        let bytes_in = after.calls.bytes_in - before.calls.bytes_in;
        let what = match () {
            () if pings > PINGS_MAX && before.held.leaving + held.leaving == 0 => {
                format!("takes {pings} pings in a turn")
            }
            () if retried > RETRIED_BYTES_MAX => format!("retries {retried} bytes in a turn"),
            () if ends > ends_max => format!("finds {ends} files at their ends in a turn"),
            () if behind_ms > SHORT_MS => {
                format!("is short of room, and keeps who takes nothing for {behind_ms} ms")
            }
            () if calls > CALLS_MAX => format!("makes {calls} calls in a turn"),
            () if bytes_in > BYTES_IN_MAX => format!("reads {bytes_in} bytes in a turn"),
            () if idle > IDLE_TURNS_MAX * self.plan.touch_every => {
                format!("takes {idle} turns in a row for nothing")
            }
            () if held.questions_of_one > QUESTIONS_MAX => format!("holds {held}"),
            () => return Ok(()),
        };
        Err(format!("shard {shard} {what}"))
    }

    fn look(&self, shard: usize) -> Look {
        let broker = self.machine.broker.as_ref().expect("it is there");
        Look {
            calls: broker.net(shard).calls(),
            held: broker.held(shard),
            pings: self.pingers().map(StrangerSeat::unread).collect(),
        }
    }

    fn note_failure(&mut self, shard: usize, error: String) -> Verdict {
        let is_first = self.machine.failed.is_none();
        self.tell(
            format_args!("shard {shard}"),
            format_args!("fails: {error}"),
        );
        if is_first && !self.oracle.disk_trouble {
            return Err(format!("shard {shard} fails: {error}"));
        }
        self.machine.failed.get_or_insert(error);
        self.coverage.meet("shard failed");
        Ok(())
    }

    /// For how long a shard that is short of room for answers keeps a session that takes none.
    fn count_shortness(&mut self, shard: usize, held: Held) -> u64 {
        let broker = self.machine.broker.as_ref().expect("it is there");
        // Nobody has to go who holds little.
        let little = MUCH_BYTES * held.sessions;
        let most = self.plan.narrow.output_bytes;
        let is_short = most.is_some_and(|most| held.output_bytes > little.max(most / 2));
        let behind = match is_short {
            true => broker.behind(shard, MUCH_BYTES),
            false => Vec::new(),
        };
        let now_ms = self.clock.now_ms();
        let before = std::mem::take(&mut self.behind[shard]);
        let next = |(socket, taken)| {
            let known = before.get(&socket).filter(|known| known.taken == taken);
            let ms = known.map_or(0, |known| {
                known.ms + (now_ms - known.looked_ms).min(SHORT_STEP_MS)
            });
            let looked_ms = now_ms;
            (
                socket,
                Behind {
                    taken,
                    ms,
                    looked_ms,
                },
            )
        };
        self.behind[shard] = behind.into_iter().map(next).collect();
        let longest = self.behind[shard].values().map(|known| known.ms).max();
        longest.unwrap_or_default()
    }

    /// Turns in a row in which a shard has said that it has more to do, and has done nothing.
    fn count_idleness(&mut self, shard: usize, has_worked: bool) -> u32 {
        let broker = self.machine.broker.as_ref().expect("it is there");
        let is_idle = !has_worked && broker.has_more_to_do(shard);
        let idle = &mut self.idle_turns[shard];
        *idle = if is_idle { *idle + 1 } else { 0 };
        *idle
    }

    /// Bytes of pings that were read since. What comes from a connection that is over is read without a look at it.
    fn ping_bytes_read(&self, unread_before: &[usize]) -> usize {
        let pingers = self.pingers().zip(unread_before);
        let open = pingers.filter(|(seat, _)| seat.is_open());
        let bytes = open.map(|(seat, before)| before.saturating_sub(seat.unread()));
        bytes.sum()
    }

    fn pingers(&self) -> impl Iterator<Item = &StrangerSeat> {
        let strangers = self.strangers.iter();
        strangers.filter(|seat| seat.kind == StrangerKind::Pinger)
    }

    /// Notes why a client has lost its connections.
    ///
    /// # Errors
    /// When nothing explains it.
    pub(super) fn note_losses(
        &mut self,
        client: usize,
        losses: &Losses,
        was_welcomed: bool,
    ) -> Verdict {
        let left = self
            .link_mut(client)
            .is_some_and(|link| link.was_left_cleanly);
        let was_left = was_welcomed && left;
        let losses = std::mem::take(&mut *losses.lock().expect("one thread"));
        for error in losses {
            let who = self.name_of(client);
            self.tell(format_args!("{who}"), format_args!("is cut off: {error}"));
            if let ConnectionError::Goodbye { code, .. } = &error {
                self.coverage.meet(&format!("goodbye {code:?}"));
            }
            let owes = matches!(error, ConnectionError::Closed)
                && (self.owes_answers(client, left) || was_welcomed && self.owes_an_end(client));
            let is_mute = matches!(error, ConnectionError::Goodbye { code, .. } if code == GoodbyeCode::Silent)
                && self.is_mute(client);
            if owes || !is_mute && !self.is_explained(&error, was_left) {
                return Err(format!("{who} is cut off: {error}"));
            }
        }
        Ok(())
    }

    /// A connection over WebSocket has ended without a Close.
    ///
    /// # Errors
    /// When nothing explains it.
    pub(super) fn note_breach(&mut self, client: usize, breach: Option<&'static str>) -> Verdict {
        let Some(breach) = breach else {
            return Ok(());
        };
        self.coverage.meet("websocket ended without a Close");
        let may_be = self.may_be_cut_short()
            || self.is_slow()
            || self.loses_records()
            || self.may_meet(&[FaultKind::Kill, FaultKind::Power]);
        let who = self.name_of(client);
        self.tell(format_args!("{who}"), format_args!("{breach}"));
        match may_be {
            true => Ok(()),
            false => Err(format!("{who}: {breach}")),
        }
    }

    /// Whether a client gives no sign of life over WebSocket.
    fn is_mute(&self, client: usize) -> bool {
        let number = client.checked_sub(self.publishers.len());
        let seat = number.and_then(|number| self.subscribers.get(number));
        let socket = match seat {
            Some(seat) => &seat.plan.socket,
            None => &self.publishers[client].plan.socket,
        };
        let socket = socket.as_ref();
        socket.is_some_and(|socket| !socket.answers && !socket.is_native())
    }

    /// Whether a connection over HTTP may not be closed before all is answered: nobody has anything to do with it but the broker,
    /// which is not going.
    fn owes_answers(&self, client: usize, left: bool) -> bool {
        let asks = self
            .publishers
            .get(client)
            .is_some_and(|seat| seat.plan.posts.is_some() || seat.channel.is_some());
        let is_going = left || self.machine.stopping_since_ms.is_some();
        asks && !(is_going || self.is_rough() || self.oracle.disk_trouble)
    }

    /// Whether a stream may not just stop: the broker is going, has time to say so, and has said all else whole.
    fn owes_an_end(&self, client: usize) -> bool {
        let number = client.checked_sub(self.publishers.len());
        let seat = number.and_then(|number| self.subscribers.get(number));
        let is_stream = seat.is_some_and(|seat| {
            let socket = seat.plan.socket.as_ref();
            seat.plan.stream.is_some() || socket.is_some_and(|socket| !socket.is_native())
        });
        let has_time = !(self.may_be_cut_short() || self.is_slow() || self.oracle.disk_trouble);
        is_stream && has_time && self.machine.stopping_since_ms.is_some()
    }

    /// What a broker sends is sound unless something has changed it; it is silent to nobody who speaks; and it goes with
    /// a word when it has stopped.
    fn is_explained(&self, error: &ConnectionError, was_left: bool) -> bool {
        let is_rough = self.may_be_cut_short() || self.oracle.disk_trouble;
        match error {
            ConnectionError::Frame(_) | ConnectionError::Unexpected { .. } => {
                self.may_meet(&[FaultKind::Flip]) || self.oracle.bytes_have_changed
            }
            ConnectionError::Unfinished | ConnectionError::Silent { .. } => is_rough,
            ConnectionError::Closed | ConnectionError::Io(_) => is_rough || !was_left,
            ConnectionError::Goodbye { code, .. } => match code {
                GoodbyeCode::Silent => is_rough,
                GoodbyeCode::Damaged => self.may_meet(&[FaultKind::Flip]),
                code => code.may_reconnect(),
            },
            _ => true,
        }
    }
}
