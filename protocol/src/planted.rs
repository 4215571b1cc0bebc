//! Bugs that can be planted into the broker, its storage and its client, to see whether tests find them. **Nothing of
//! this is in a usual build**: there [`planted`] is a constant `false`, and its branches are gone.
//!
//! `RUSTFLAGS="--cfg oyez_planted"` builds them in. Then [`choose`] says which one a process has, and the program
//! `planted` of `oyez-tests` tries the simulator on all of them. Each is a slip that somebody could make, at one place of
//! the code, which names it.

use std::fmt;
#[cfg(oyez_planted)]
use std::sync::atomic::{AtomicU16, Ordering};

/// Whether this build has the bugs in it.
pub const BUILT_IN: bool = cfg!(oyez_planted);

macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $bug:ident = $number:literal,)+) => {
        /// A bug. Its number stays what it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum Bug {
            $($(#[doc = $doc])+ $bug = $number,)+
        }

        impl Bug {
            /// All of them, by their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$bug,)+];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$bug => stringify!($bug),)+
                }
            }

            /// What is wrong with it.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$bug => concat!($($doc),+),)+
                }
            }
        }
    };
}

bugs! {
    /// Storage: a write that is to sync its own range does not, and counts as durable.
    SkipsASync = 1,
    /// Storage: a synced log acknowledges what is written.
    AcknowledgesAtWritten = 2,
    /// Storage: a write that was cut short counts as whole.
    ShortWriteIsWhole = 3,
    /// Storage: a write that syncs its own range is taken to sync the blocks before it, too.
    SyncsTooLittle = 4,
    /// Storage: a sync that fails counts as done.
    IgnoresASyncError = 5,
    /// Storage: a sync that fails is tried again, and the second one is believed.
    SyncsAgainAfterAnError = 6,
    /// Storage: a mark names one record more than is acknowledged.
    MarksOneTooMany = 7,
    /// Storage: a log on disk shows records before they are written.
    ShowsUnwritten = 8,
    /// Storage: a drain closes the log without waiting for its writes and syncs.
    ClosesBeforeFlushed = 9,
    /// Storage: the state names the next segment before that is made.
    NamesTheUnmade = 10,
    /// Storage: files of dropped segments go before the state says that the log begins behind them.
    UnlinksBeforeTheFloor = 11,
    /// Storage: retention drops a segment that has no footer yet.
    DropsTheUnsealed = 12,
    /// Storage: retention drops segments that nothing asks it to drop.
    DropsTooMuch = 13,
    /// Storage: a memory log gives up its oldest block while it may keep one more.
    DropsABlockTooEarly = 14,
    /// Storage: a segment gets its footer before it is durable.
    SealsTooEarly = 15,
    /// Storage: a start believes records that nothing proves to be durable, and does not write them again.
    ForgetsToRewrite = 16,
    /// Storage: a log goes on with the sequence of its last record.
    SequenceOffByOne = 17,
    /// Storage: topics whose records retention has removed begin anew at a start.
    ForgetsCarriedTopics = 18,
    /// Storage: a topic goes on with the offset of its last message after a start.
    ReusesAnOffset = 19,
    /// Storage: a start accepts a record whose body does not match its checksum.
    AcceptsBadChecksums = 20,
    /// Storage: the first block header that can be read decides where a segment belongs.
    BelievesTheFirstHeader = 21,
    /// Storage: a block header is believed that is of another place or another log.
    BelievesAnyHeader = 22,
    /// Storage: messages that are lost at the front of a log are said to be dropped by retention.
    FrontLossIsRetention = 23,
    /// Storage: a segment that the state takes for unused is removed without a look at it.
    UnlinksAUsedSegment = 24,
    /// Storage: what follows a place that cannot be read is not read either, up to the end of its block.
    UnreadableHidesTheRest = 25,
    /// Storage: a footer is believed whose checksum is wrong.
    BelievesAnyFooter = 26,
    /// Storage: records of a doubtful block are served without a look at them.
    ServesTheDoubtful = 27,
    /// Storage: a log that has lost records keeps its epoch.
    KeepsTheEpoch = 28,
    /// Storage: a start leaves out the last record before each block that begins with a sequence.
    CutsTooEarly = 29,
    /// Storage: look-ups find records that are not visible.
    LooksBeyondVisible = 30,
    /// Broker: a send that was cut short counts as one to a full socket.
    ShortCountIsFull = 31,
    /// Broker: a file that ends early is tried again and again.
    RetriesTheEndOfAFile = 32,
    /// Broker: a send that was interrupted counts as whole.
    InterruptedIsSent = 33,
    /// Broker: to try again in vain counts as progress of a peer that takes nothing.
    RetryIsProgress = 34,
    /// Broker: a record overtakes the rest of one that is half out.
    OvertakesATail = 35,
    /// Broker: records that wait for a log are tried again without a bound.
    NoBudgetForRetries = 36,
    /// Broker: a record overtakes those of its log that wait for room.
    OvertakesStalled = 37,
    /// Broker: outcomes for a session whose socket is full are dropped.
    DropsAnswersToTheFull = 38,
    /// Broker: outcomes for publishers of other shards go to own sessions.
    AnswersTheWrongSession = 39,
    /// Broker: a session whose next frame waits for its answers to leave is not read again when they have left.
    ForgetsToResume = 40,
    /// Broker: records are acknowledged that are not visible.
    AcknowledgesTheInvisible = 41,
    /// Broker: sessions are read without a bound.
    NoBudgetInReading = 42,
    /// Broker: a session is not read again whose frames the budget did not suffice for.
    ForgetsTheUnfinished = 43,
    /// Broker: the memory of kept input is counted for ever.
    NeverFreesInput = 44,
    /// Broker: readiness without anything to read counts as the end of the connection.
    SpuriousIsTheEnd = 45,
    /// Broker: the end of a stream is not read that came along with bytes.
    MissesTheEnd = 46,
    /// Broker: behind a record that is half out a cursor is one message too far.
    CursorOffAtACut = 47,
    /// Broker: the window serves the record before a cursor once more.
    ServesTwice = 48,
    /// Broker: a topic is taken to end before its last record.
    EndsBeforeTheLast = 49,
    /// Broker: a catch-up passes over a record behind each chain.
    CatchupSkips = 50,
    /// Broker: a subscriber is not told of a gap.
    GapNotTold = 51,
    /// Broker: a gap is told that is one message too long.
    GapTooLong = 52,
    /// Broker: an answer for a catch-up that has ended goes to the one that has its number now.
    BelievesStaleCatchups = 53,
    /// Broker: what is meant for a session that has ended reaches the one that has its slot now.
    BelievesStaleSessions = 54,
    /// Broker: the memory of answers that have left is counted for ever.
    NeverFreesOutput = 55,
    /// Broker: a session is not sent to again that has a part of a record out, and whose socket is not full.
    ForgetsATail = 56,
    /// Broker: records of much go ahead of those of little that were handed over before.
    SwapsLanes = 57,
    /// Broker: questions to another shard count for ever.
    LeaksQuestions = 58,
    /// Broker: a session may ask other shards as much as it likes before it is answered.
    QuestionsUnbounded = 59,
    /// Broker: a subscriber is not told that its topic has a new epoch.
    EpochNotTold = 60,
    /// Broker: a subscriber is not told that retention has dropped what it asks for.
    DroppedNotTold = 61,
    /// Broker: other shards are not woken when a log has news for them.
    LosesAWakeUp = 62,
    /// Broker: a shard does not say that it subscribes to a topic of a log.
    ForgetsInterest = 63,
    /// Broker: a session does not hear that its subscription has moved into another slot.
    ForgetsAMove = 64,
    /// Broker: a peer that takes bytes and says nothing counts as silent.
    ReadersAreSilent = 65,
    /// Broker: a session is closed for silence that was not asked for a sign of life.
    ClosesUnasked = 66,
    /// Broker: no session is closed for silence.
    NeverLooksForSilence = 67,
    /// Broker: a shard that shuts down says Goodbye while others close logs that its publishers wait for.
    DrainForgetsAnswers = 68,
    /// Broker: a shutdown says no Goodbye.
    SaysNoGoodbye = 69,
    /// Broker: the answers of a batch are taken in the order of its sends.
    MixesUpAnswers = 70,
    /// Broker: a walk is over although a subscriber has got a whole chain and could take more.
    WalksOnce = 71,
    /// Broker: of readiness to read and to write that comes together only one is taken.
    TakesOneOfTwo = 72,
    /// Storage: the log that a topic lies in changes with each start.
    MovesTopics = 73,
    /// Client: of the records that are to be sent again after a loss the first is dropped.
    DropsAResend = 74,
    /// Client: what is sent again after a loss is sent behind what was not sent yet, the last first.
    ResendsOutOfOrder = 75,
    /// Client: a subscription asks for one message too few after a loss.
    ResumesOneTooFar = 76,
    /// Client: a subscriber is not told of a gap that the broker tells.
    AcceptsGapsSilently = 77,
    /// Protocol: a checksum that does not match ends a session for good.
    DamageIsFinal = 78,
    /// Protocol: the checksum of a record's body is not looked at.
    IgnoresTheBody = 79,
    /// Broker: an event that was cut goes on one byte too far.
    RenditionOffAtACut = 80,
    /// Broker: a chunk of more than 4 KiB is said to be one byte shorter than it is.
    ChunkTooShort = 81,
    /// Broker: a stream goes on one message behind the last event that its client has.
    LastEventOffByOne = 82,
    /// Broker: a request is taken while the one before it waits for its answer.
    AnswersTooEarly = 83,
    /// Broker: a client that asks for events is sent those of a record that were made first, in whatever form.
    MixesUpForms = 84,
    /// Broker: only the first message of a record has an id.
    OneIdForARecord = 85,
    /// Broker: a stream that begins inside a record is sent all of it.
    BeginsWithTheRecord = 86,
    /// Broker: a stream hears a comment before the head of its response.
    SpeaksBeforeTheHead = 87,
    /// Broker: of a body in chunks only the first is taken.
    TakesOneChunk = 88,
    /// Broker: the id of a gap is that of its beginning.
    GapIdIsItsBeginning = 89,
    /// Broker: the end of a stream is not told.
    EndsAStreamSilently = 90,
    /// Broker: a stream of several topics is said to stand one message ahead of where it does.
    PlaceIsAhead = 91,
    /// Broker: of a place in several topics only that in the first counts.
    FirstPlaceOnly = 92,
    /// Broker: a stream of several topics is sent messages of some before it has begun.
    BeginsBeforeItsHead = 93,
    /// Broker: a stream of several topics that is about to end passes over a gap that it was not told of.
    PassesAGapAtTheEnd = 94,
    /// Broker: a reader that cannot be told of a gap, and is ended, is served further.
    ServesWhoIsGone = 95,
    /// Broker: of a run that was cut over WebSocket as much is sent as if its header were not sent.
    HeaderUncounted = 96,
    /// Broker: of a message over WebSocket only the first frame is taken.
    LosesAFragment = 97,
    /// Broker: a control frame of WebSocket is sent within a run that is half out.
    SpeaksWithinARun = 98,
    /// Broker: the mask of what comes over WebSocket is not taken off.
    LeavesTheMask = 99,
    /// Broker: a Close over WebSocket is not answered with one.
    ClosesUnechoed = 100,
    /// Broker: where the rest of a frame of WebSocket comes later, its mask begins anew.
    MaskBeginsAnew = 101,
    /// Broker: the end of a line within a message in JSON ends the command.
    LinesEndCommands = 102,
    /// Broker: a subscription in JSON goes on in whatever epoch there is.
    IgnoresTheEpoch = 103,
    /// Broker: an Unsubscribe is taken before the Subscribe that it ends is answered.
    UnsubscribesTooEarly = 104,
    /// Broker: a client that goes is not told what has become of its publishes.
    LeavesUnanswered = 105,
}

impl Bug {
    /// Its number, from 1 on.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The bug that has a number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.number() == number)
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The number of the bug that this process has; 0 is none.
#[cfg(oyez_planted)]
static CHOSEN: AtomicU16 = AtomicU16::new(0);

/// The number of the bug whose place is a trap; 0 is none.
#[cfg(oyez_planted)]
static TRAPPED: AtomicU16 = AtomicU16::new(0);

/// Whether the process has this bug: the question at the place where it is.
#[cfg(oyez_planted)]
#[must_use]
pub fn planted(bug: Bug) -> bool {
    let is_trap = TRAPPED.load(Ordering::Relaxed) == bug.number();
    assert!(!is_trap, "the place of {bug} is reached");
    CHOSEN.load(Ordering::Relaxed) == bug.number()
}

/// Whether the process has this bug: no, since this build has none.
#[cfg(not(oyez_planted))]
#[must_use]
#[inline(always)]
pub const fn planted(_bug: Bug) -> bool {
    false
}

/// The process has this bug from here on, or none. Does nothing where the bugs are not built in.
pub fn choose(bug: Option<Bug>) {
    #[cfg(oyez_planted)]
    CHOSEN.store(bug.map_or(0, Bug::number), Ordering::Relaxed);
    #[cfg(not(oyez_planted))]
    let _ = bug;
}

/// The process panics from here on where this bug would make a difference, to see whether anything comes there. Does
/// nothing where the bugs are not built in.
pub fn trap(bug: Option<Bug>) {
    #[cfg(oyez_planted)]
    TRAPPED.store(bug.map_or(0, Bug::number), Ordering::Relaxed);
    #[cfg(not(oyez_planted))]
    let _ = bug;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bugs_are_numbered_from_one_on_and_found_by_their_numbers() {
        for (number, bug) in (1..).zip(Bug::ALL) {
            assert_eq!(bug.number(), number);
            assert_eq!(Bug::from_number(number), Some(*bug));
        }
        assert_eq!(Bug::from_number(0), None);
    }

    #[test]
    fn a_build_has_the_bug_that_was_chosen_or_none() {
        choose(Some(Bug::SkipsASync));
        assert_eq!(planted(Bug::SkipsASync), BUILT_IN);
        assert!(!planted(Bug::ShortWriteIsWhole));
        choose(None);
        assert!(!planted(Bug::SkipsASync));
    }
}
