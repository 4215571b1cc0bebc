//! What a seed means: settings, topics, clients, and the kinds of faults that a run may meet.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use oyez_broker::Config;
use oyez_broker::simulation::Narrow;
use oyez_storage::Durability;

pub(super) use super::dialects::{PostPlan, SocketPlan, Speaks, StreamPlan};
use super::dialects::{leavers, speak_others};
use super::dice::Dice;

/// What is left out of a plan, to make a failure smaller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Without {
    /// Kinds of faults.
    pub faults: BTreeSet<FaultKind>,
    /// Clients, by their numbers.
    pub clients: BTreeSet<usize>,
}

macro_rules! fault_kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident => $name:literal,)+) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FaultKind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl FaultKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

fault_kinds! {
    /// The process is killed.
    Kill => "kill",
    /// The machine loses power.
    Power => "power",
    /// The broker is asked to stop, and is started again.
    Stop => "stop",
    /// Operations of a disk fail, or fall short, by chance.
    DiskErrors => "disk-errors",
    /// Syncs of a disk fail by chance.
    DiskSyncs => "disk-syncs",
    /// Reads of a disk fail by chance, those of its opening among them.
    DiskReads => "disk-reads",
    /// A disk does not come to an end with one kind of operation.
    DiskHangs => "disk-hangs",
    /// A disk takes nothing, as a kernel that is short of memory.
    DiskRefuses => "disk-refuses",
    /// A disk has no room for more segments.
    DiskFull => "disk-full",
    /// A bit of a file changes.
    Rot => "rot",
    /// A write has gone to another place.
    Misdirect => "misdirect",
    /// A range of a file reads as zeroes.
    Lose => "lose",
    /// A range of a file cannot be read.
    Unreadable => "unreadable",
    /// A connection is reset.
    Reset => "reset",
    /// A client shuts its side and goes on to read.
    HalfClose => "half-close",
    /// A socket takes a few bytes at a time.
    DribbleOut => "dribble-out",
    /// A socket gives a few bytes at a time.
    DribbleIn => "dribble-in",
    /// A socket has little room.
    SmallRoom => "small-room",
    /// A socket takes nothing for a while.
    Stall => "stall",
    /// Calls are interrupted.
    Interrupt => "interrupt",
    /// A send fails.
    SendError => "send-error",
    /// Readiness is told that is none.
    Spurious => "spurious",
    /// Readiness is told again with other news.
    Merged => "merged",
    /// A connection finds no room.
    NoRoom => "no-room",
    /// The system is short of something when a connection is accepted.
    AcceptShort => "accept-short",
    /// The sends of a batch run in another order, or some are not tried.
    Batches => "batches",
    /// A file ends where it is to be sent from.
    FileEnds => "file-ends",
    /// A bit changes on its way to a client or from it.
    Flip => "flip",
    /// A client does nothing for a while.
    Asleep => "asleep",
    /// The clock is set forward or back.
    Clock => "clock",
    /// Nothing runs for a while.
    Pause => "pause",
    /// A shard gets no time for a while.
    Starve => "starve",
    /// Both copies of a log's state are those of an earlier stop.
    PutBack => "put-back",
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|kind| kind.name() == name);
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|kind| kind.name()).collect();
            format!(
                "`{name}` is no kind of fault; there are {}",
                names.join(", ")
            )
        })
    }
}

/// A topic of a run.
#[derive(Clone, Debug)]
pub(super) struct TopicPlan {
    pub(super) name: String,
    pub(super) durability: Durability,
}

/// A publisher of a run.
#[derive(Clone, Debug)]
pub(super) struct PublisherPlan {
    /// The topics that it publishes to.
    pub(super) topics: Vec<usize>,
    pub(super) messages: u32,
    pub(super) size_min: u64,
    pub(super) size_max: u64,
    /// Whether messages travel together.
    pub(super) batches: bool,
    /// It publishes fewer than so many in one go.
    pub(super) burst: u64,
    /// Milliseconds that it takes after that at most, before it publishes more.
    pub(super) pause_ms: u64,
    /// It publishes over HTTP.
    pub(super) posts: Option<PostPlan>,
    /// It publishes over WebSocket.
    pub(super) socket: Option<SocketPlan>,
}

/// Where a subscriber begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    Latest,
    Earliest,
}

/// A subscriber of a run.
#[derive(Clone, Debug)]
pub(super) struct SubscriberPlan {
    pub(super) topic: usize,
    pub(super) begin: Begin,
    /// Bytes that it reads in one go.
    pub(super) read_max: usize,
    /// It leaves after so many deliveries, and comes back as another one at the same place.
    pub(super) leaves_after: Option<u64>,
    /// It is an event stream over HTTP.
    pub(super) stream: Option<StreamPlan>,
    /// It subscribes over WebSocket.
    pub(super) socket: Option<SocketPlan>,
}

/// A client that does not do what a client should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StrangerKind {
    /// Says nothing.
    Silent,
    /// Says what is no frame.
    Babbler,
    /// Pings and does not read.
    Pinger,
    /// Subscribes and unsubscribes without end.
    Fickle,
    /// Publishes beyond its window and does not read.
    Pusher,
    /// Publishes a little at a time.
    Trickler,
    /// Begins a record and stops.
    Halfway,
    /// Sends byte by byte.
    Dripper,
    /// Subscribes and never reads.
    Deaf,
    /// Subscribes, reads a little at a time, and says nothing more.
    Sipper,
    /// Asks question after question.
    Asker,
    /// Connects and goes, again and again.
    Visitor,
    /// Reads what is kept over HTTP, again and again.
    Reader,
    /// Speaks WebSocket, and breaks its rules.
    Wild,
    /// Publishes, subscribes and goes in one breath, and reads what it is told.
    Leaver,
}

impl StrangerKind {
    const ALL: [Self; 12] = [
        Self::Silent,
        Self::Babbler,
        Self::Pinger,
        Self::Fickle,
        Self::Pusher,
        Self::Trickler,
        Self::Halfway,
        Self::Dripper,
        Self::Deaf,
        Self::Sipper,
        Self::Asker,
        Self::Visitor,
    ];
}

/// What a seed means.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) shards: usize,
    pub(super) logs_per_durability: u16,
    pub(super) config: Config,
    pub(super) topics: Vec<TopicPlan>,
    pub(super) publishers: Vec<PublisherPlan>,
    pub(super) subscribers: Vec<SubscriberPlan>,
    pub(super) strangers: Vec<StrangerKind>,
    pub(super) faults: Vec<FaultKind>,
    /// Disks are harmed only where they lie still, after a clean stop.
    pub(super) harms_at_rest_only: bool,
    /// Disks that hang do so where segments are made, as often as not.
    pub(super) hangs_making: bool,
    /// Events also say what was so before, as those of the kernel do.
    pub(super) tells_all: bool,
    pub(super) narrow: Narrow,
    /// Steps from one fault to the next, about.
    pub(super) fault_every: u64,
    /// Steps until the faults end.
    pub(super) steps: u64,
    /// Milliseconds that a step takes at most, if it takes any.
    pub(super) step_ms: u64,
    /// Steps that a shard gets no time for, at most.
    pub(super) starved_steps: u64,
    /// A shard that hardly comes to its turns.
    pub(super) slow_shard: Option<usize>,
    /// A disk that takes a while for each operation.
    pub(super) slow_disk: Option<usize>,
    /// Of so many steps, one makes a block of the arena ready.
    pub(super) touch_every: u64,
    /// A disk's operations complete in any order, one by one.
    pub(super) paced_disks: bool,
}

impl Plan {
    /// The plan of a seed, for so many steps.
    pub(super) fn new(seed: u64, steps: u64) -> Self {
        let mut dice = Dice::new(seed, "plan", 0);
        let theme = *dice.pick(Theme::ALL);
        let shards = match theme {
            Theme::Crowd => 2,
            _ => dice.among(1, 4) as usize,
        };
        let topics = topics(&mut dice, theme);
        let sizes = sizes(&mut dice, theme);
        let mut publishers = publishers(&mut dice, topics.len(), &sizes, steps, theme);
        let mut subscribers = subscribers(&mut dice, topics.len(), sizes.end);
        let guests = speak_others(seed, topics.len(), &mut publishers, &mut subscribers);
        let logs = [1, shards as u16, shards as u16, 3];
        Self {
            seed,
            shards,
            logs_per_durability: *dice.pick(if theme.is_of_disks() {
                &[1, 1, 1, 2]
            } else {
                &logs
            }),
            config: config(&mut dice, theme),
            topics,
            publishers,
            subscribers,
            strangers: [strangers(&mut dice, theme), guests, leavers(seed)].concat(),
            faults: faults(&mut dice, theme),
            harms_at_rest_only: theme == Theme::Rest,
            hangs_making: theme == Theme::Segments,
            tells_all: dice.one_in(2),
            narrow: Narrow {
                output_bytes: match theme {
                    Theme::Flood => Some(512 << 10),
                    _ => dice.one_in(2).then(|| *dice.pick(&[128 << 10, 512 << 10])),
                },
                warm_ms: dice.one_in(2).then(|| *dice.pick(&[500, 2_000])),
            },
            fault_every: fault_every(&mut dice, theme),
            steps: match theme {
                Theme::Crowd => 3 * steps,
                _ => steps,
            },
            touch_every: match theme {
                Theme::Segments => *dice.pick(&[4, 400]),
                _ => *dice.pick(&[4, 4, 100]),
            },
            slow_disk: dice.one_in(4).then(|| dice.index(shards)),
            starved_steps: match theme {
                Theme::Crowd => 2_500,
                _ => 1_000,
            },
            slow_shard: dice.one_in(6).then(|| dice.index(shards)),
            step_ms: match theme {
                Theme::Flood => *dice.pick(&[4, 12, 12]),
                _ => 4,
            },
            paced_disks: !dice.one_in(4),
        }
    }

    /// Clients, by their numbers: publishers, then subscribers, then strangers.
    pub(super) fn clients(&self) -> usize {
        self.publishers.len() + self.subscribers.len() + self.strangers.len()
    }
}

/// Steps from one fault to the next, about.
fn fault_every(dice: &mut Dice, theme: Theme) -> u64 {
    match theme {
        Theme::Flood => 20,
        Theme::Crowd => 100,
        // So long that there is much to be harmed.
        Theme::Rest => *dice.pick(&[100, 300, 600]),
        _ => *dice.pick(&[20, 50, 100, 300]),
    }
}

fn topics(dice: &mut Dice, theme: Theme) -> Vec<TopicPlan> {
    let kinds = [
        ("m", Durability::Memory),
        ("w", Durability::Written),
        ("s", Durability::Synced),
        ("s", Durability::Synced),
    ];
    let kinds = &kinds[usize::from(theme.is_of_disks())..];
    let mut topics = Vec::new();
    for number in 0..dice.among(1, 6) {
        let (prefix, durability) = *dice.pick(kinds);
        topics.push(TopicPlan {
            name: format!("{prefix}/{number}"),
            durability,
        });
    }
    topics
}

/// Bytes of payloads. A few seeds push megabytes, so that segments are sealed and dropped.
fn sizes(dice: &mut Dice, theme: Theme) -> Range<u64> {
    if theme == Theme::Segments && dice.one_in(2) {
        return 8..240_000;
    }
    if theme.is_of_disks() && dice.below(4) > 0 {
        // So large that few records lie where harm hits.
        let most = *dice.pick(&[4_000, 30_000, 240_000, 240_000]);
        return most / 2..most;
    }
    if theme == Theme::Crowd {
        return 8..2_000;
    }
    let most = *dice.pick(&[24, 200, 200, 2_000, 2_000, 4_000, 30_000, 240_000]);
    if most == 4_000 {
        most / 2..most
    } else {
        8..most
    }
}

fn publishers(
    dice: &mut Dice,
    topics: usize,
    sizes: &Range<u64>,
    steps: u64,
    theme: Theme,
) -> Vec<PublisherPlan> {
    let count = dice.among(1, 4);
    // So many bytes in all that a run stays short.
    let usual = match theme {
        Theme::Segments if sizes.start < sizes.end / 2 => sizes.end / 4,
        _ => sizes.end,
    };
    let most = ((24 << 20) / usual / count).min(steps / count / 2).max(1);
    let least = if theme.is_of_disks() { most / 2 } else { 1 };
    let publisher = |_| {
        let picked: BTreeSet<usize> = (0..dice.among(1, 3)).map(|_| dice.index(topics)).collect();
        PublisherPlan {
            topics: picked.into_iter().collect(),
            messages: dice.among(least.max(1), most) as u32,
            size_min: sizes.start,
            size_max: sizes.end,
            batches: !matches!(theme, Theme::Rest | Theme::Crowd) && dice.one_in(3),
            burst: match theme {
                Theme::Rest => 4,
                Theme::Crowd => 150,
                _ => *dice.pick(&[4, 4, 4, 150]),
            },
            pause_ms: match theme {
                Theme::Crowd => 400,
                _ => 0,
            },
            posts: None,
            socket: None,
        }
    };
    (0..count).map(publisher).collect()
}

/// A few subscribers, or a crowd at one topic, to which one send is many.
fn subscribers(dice: &mut Dice, topics: usize, size_max: u64) -> Vec<SubscriberPlan> {
    let crowd = dice.one_in(8).then(|| dice.index(topics));
    let count = match crowd {
        Some(_) => dice.among(20, 40),
        None => dice.among(1, 8),
    };
    // A subscriber that reads large messages in tiny bites would take all the steps.
    let bite = usize::try_from(size_max / 8)
        .expect("a small number")
        .max(64);
    let subscriber = |_| SubscriberPlan {
        topic: crowd.unwrap_or_else(|| dice.index(topics)),
        begin: *dice.pick(&[Begin::Latest, Begin::Earliest, Begin::Earliest]),
        read_max: *dice.pick(&[bite, bite.max(1_000), 1 << 18, 1 << 18]),
        leaves_after: dice.one_in(3).then(|| dice.among(1, 60)),
        stream: None,
        socket: None,
    };
    (0..count).map(subscriber).collect()
}

fn strangers(dice: &mut Dice, theme: Theme) -> Vec<StrangerKind> {
    match theme {
        Theme::Flood => {
            let kind = *dice.pick(FLOODERS);
            vec![kind; dice.among(10, 40) as usize]
        }
        Theme::Crowd => vec![StrangerKind::Trickler; dice.among(20, 40) as usize],
        Theme::Smooth if dice.one_in(2) => {
            vec![StrangerKind::Sipper; dice.among(1, 3) as usize]
        }
        _ if theme.is_of_disks() || dice.one_in(2) => Vec::new(),
        _ => {
            let count = dice.among(1, 4);
            (0..count).map(|_| *dice.pick(&StrangerKind::ALL)).collect()
        }
    }
}

/// Those that come in crowds.
const FLOODERS: &[StrangerKind] = &[
    StrangerKind::Pinger,
    StrangerKind::Pinger,
    StrangerKind::Pinger,
    StrangerKind::Pusher,
    StrangerKind::Trickler,
    StrangerKind::Trickler,
    StrangerKind::Fickle,
    StrangerKind::Sipper,
    StrangerKind::Asker,
    StrangerKind::Dripper,
    StrangerKind::Visitor,
    StrangerKind::Babbler,
];

/// What a run is about: each seed has some kinds of faults and not others, since with all of them at once few would come
/// to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Theme {
    /// Anything, or nothing.
    Everything,
    /// Disks, and how brokers end.
    Disk,
    /// Disks that are harmed between two runs of the broker, and at no other time.
    Rest,
    /// Syncs that fail, and the power cut that shows what they were worth.
    Syncs,
    /// Segments that come and go, and brokers that end meanwhile.
    Segments,
    /// Connections.
    Network,
    /// What costs nobody a connection in the middle of something.
    Smooth,
    /// A crowd of strangers.
    Flood,
    /// A crowd that publishes a little at a time, beside publishers that have much, to shards that get no time for a while.
    Crowd,
    /// Much to read, and readers that are slow at times.
    Laggards,
}

impl Theme {
    /// All of them, the one or the other more than once.
    const ALL: &'static [Self] = &[
        Self::Everything,
        Self::Everything,
        Self::Everything,
        Self::Disk,
        Self::Disk,
        Self::Rest,
        Self::Rest,
        Self::Syncs,
        Self::Segments,
        Self::Segments,
        Self::Network,
        Self::Network,
        Self::Smooth,
        Self::Smooth,
        Self::Flood,
        Self::Flood,
        Self::Crowd,
        Self::Laggards,
    ];

    /// Much is written to few logs, and strangers stay away.
    const fn is_of_disks(self) -> bool {
        matches!(
            self,
            Self::Rest | Self::Syncs | Self::Segments | Self::Laggards
        )
    }
}

fn faults(dice: &mut Dice, theme: Theme) -> Vec<FaultKind> {
    let (kinds, share) = match theme {
        Theme::Everything => (FaultKind::ALL, *dice.pick(&[0, 1, 3, 6])),
        Theme::Disk => (DISK, *dice.pick(&[3, 5, 8])),
        Theme::Rest => (REST, 8),
        Theme::Syncs => (SYNCS, 8),
        Theme::Segments => (SEGMENTS, 8),
        Theme::Network => (NETWORK, *dice.pick(&[2, 4, 7])),
        Theme::Smooth => (SMOOTH, 7),
        // Who takes nothing is told again and again that he may, or meets many things.
        Theme::Flood if dice.one_in(3) => (&[FaultKind::Spurious][..], 10),
        Theme::Flood => (FLOOD, *dice.pick(&[2, 6])),
        Theme::Crowd => (CROWD, 10),
        Theme::Laggards => (LAGGARDS, 6),
    };
    let kinds = kinds.iter().copied();
    kinds.filter(|_| dice.below(10) < share).collect()
}

const REST: &[FaultKind] = &[
    FaultKind::Stop,
    FaultKind::Stop,
    FaultKind::Rot,
    FaultKind::Misdirect,
    FaultKind::Lose,
    FaultKind::Unreadable,
    FaultKind::PutBack,
];

const SYNCS: &[FaultKind] = &[
    FaultKind::Stop,
    FaultKind::DiskSyncs,
    FaultKind::DiskSyncs,
    FaultKind::Power,
    FaultKind::Kill,
];

const SEGMENTS: &[FaultKind] = &[
    FaultKind::Kill,
    FaultKind::Power,
    FaultKind::Stop,
    FaultKind::DiskHangs,
    FaultKind::DiskHangs,
    FaultKind::DiskFull,
    FaultKind::Starve,
];

const FLOOD: &[FaultKind] = &[
    FaultKind::Stall,
    FaultKind::Spurious,
    FaultKind::Spurious,
    FaultKind::Spurious,
    FaultKind::SmallRoom,
    FaultKind::DiskHangs,
    FaultKind::Stop,
    FaultKind::Starve,
    FaultKind::Starve,
    FaultKind::Pause,
];

const CROWD: &[FaultKind] = &[FaultKind::Starve];

const LAGGARDS: &[FaultKind] = &[
    FaultKind::Stop,
    FaultKind::Stall,
    FaultKind::SmallRoom,
    FaultKind::FileEnds,
    FaultKind::FileEnds,
    FaultKind::Asleep,
    FaultKind::Batches,
    FaultKind::Starve,
];

const SMOOTH: &[FaultKind] = &[
    FaultKind::Stop,
    FaultKind::Stop,
    FaultKind::Spurious,
    FaultKind::Batches,
    FaultKind::FileEnds,
    FaultKind::Clock,
    FaultKind::Starve,
];

const DISK: &[FaultKind] = &[
    FaultKind::Kill,
    FaultKind::Power,
    FaultKind::Stop,
    FaultKind::DiskErrors,
    FaultKind::DiskHangs,
    FaultKind::DiskFull,
    FaultKind::Rot,
    FaultKind::Misdirect,
    FaultKind::Lose,
    FaultKind::Unreadable,
];

const NETWORK: &[FaultKind] = &[
    FaultKind::Reset,
    FaultKind::HalfClose,
    FaultKind::DribbleOut,
    FaultKind::DribbleIn,
    FaultKind::SmallRoom,
    FaultKind::Stall,
    FaultKind::Interrupt,
    FaultKind::Spurious,
    FaultKind::Merged,
    FaultKind::Batches,
    FaultKind::FileEnds,
    FaultKind::Asleep,
];

fn config(dice: &mut Dice, theme: Theme) -> Config {
    let drain_timeout_ms = *dice.pick(&[300, 5_000]);
    let segment_bytes = 4 << 20;
    Config {
        memory_topics: vec!["m/#".to_owned()],
        written_topics: vec!["w/#".to_owned()],
        synced_topics: vec!["s/#".to_owned()],
        segment_bytes,
        retention_bytes: *dice.pick(&[0, 2 * segment_bytes, 3 * segment_bytes]),
        retention_seconds: *dice.pick(&[0, 0, 0, 20]),
        memory_log_bytes: 4 << 20,
        arena_bytes: *dice.pick(&[8 << 20, 32 << 20]),
        record_size_max: 256 << 10,
        raw_size_max: 512 << 10,
        inflight_records_max: match theme {
            Theme::Crowd => 1024,
            _ => *dice.pick(&[2, 16, 1024]),
        },
        inflight_bytes_max: *dice.pick(&[256 << 10, 1 << 20]),
        heartbeat_ms: match theme {
            Theme::Crowd => 30_000,
            _ => *dice.pick(&[1_000, 1_000, 5_000, 30_000]),
        },
        hello_timeout_ms: match theme {
            Theme::Crowd => 10_000,
            _ => *dice.pick(&[500, 10_000]),
        },
        max_connections: *dice.pick(&[64, 1_000]),
        max_subscriptions: *dice.pick(&[4, 1024]),
        drain_timeout_ms: match theme {
            Theme::Smooth | Theme::Rest => 5_000,
            _ => drain_timeout_ms,
        },
        drain_spread_ms: 200,
        ..Config::default()
    }
}
