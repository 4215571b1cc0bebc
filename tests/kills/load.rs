//! Four publishers with many records under way each, until the broker is gone.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use testkit::random::Random;
use testkit::record::stored;
use testkit::{Broker, Epoch, Event, Outcome, Session};

use crate::message::{Name, PUBLISHERS};

/// Records of a publisher that may be under way.
const WINDOW: usize = 32;
/// Most messages of a publisher in every fourth run, so that the broker has been quiet for a while when it is killed.
const BYTES_OF_FEW: u64 = 100_000;
/// A topic that is used once in so many runs, so that retention drops all that it has in between.
const QUIET_RUNS: u32 = 16;

/// Where the publishers publish.
#[derive(Debug)]
pub(crate) struct Topics {
    /// Their names, without the number in it the same for each durability.
    names: Vec<String>,
}

impl Topics {
    /// One of each durability for each publisher, then one that they share, then one that is rarely used.
    pub(crate) fn new() -> Arc<Self> {
        let kinds = (0..PUBLISHERS).map(|number| format!("own/{number}"));
        let kinds = kinds.chain(["shared".to_owned(), "quiet".to_owned()]);
        let names = kinds.flat_map(|kind| [format!("synced/{kind}"), format!("written/{kind}")]);
        Arc::new(Self {
            names: names.collect(),
        })
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    fn pick(&self, random: &mut Random, run: u32, publisher: usize) -> usize {
        let kind = match random.below(100) {
            0 if run.is_multiple_of(QUIET_RUNS) => PUBLISHERS + 1,
            1..=25 => PUBLISHERS,
            _ => publisher,
        };
        2 * kind + random.below(2) as usize
    }
}

/// An acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    /// The topic's number.
    pub(crate) topic: usize,
    pub(crate) number: u32,
    pub(crate) offset: u64,
    pub(crate) epoch: Epoch,
}

/// A publisher's results of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Diary {
    /// In the order in which the acknowledgements came.
    pub(crate) acknowledged: Vec<Acknowledged>,
    /// Messages sent, or nearly sent, of each topic.
    pub(crate) sent: Vec<u32>,
}

/// The publishers' task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) run: u32,
    pub(crate) seed: u64,
    /// What each sends at most: all together must fit several times into what retention keeps of a log.
    pub(crate) bytes_max: usize,
}

/// A run of the publishers.
#[derive(Debug)]
pub(crate) struct Load {
    run: u32,
    publishers: Vec<(JoinHandle<()>, Arc<Mutex<Diary>>)>,
    ended: Receiver<()>,
}

impl Load {
    /// Connects the publishers and lets them run.
    pub(crate) fn start(broker: &Broker, topics: &Arc<Topics>, plan: Plan) -> Self {
        let (run, mut random) = (plan.run, Random::new(plan.seed));
        let bytes_max = match random.below(4) {
            0 => random.below(BYTES_OF_FEW) as usize,
            _ => plan.bytes_max,
        };
        let (ending, ended) = channel();
        let sessions: Vec<Session> = (0..PUBLISHERS).map(|_| broker.connect()).collect();
        let publisher = |(number, session): (usize, Session)| {
            let diary = Arc::new(Mutex::new(Diary {
                acknowledged: Vec::new(),
                sent: vec![0; topics.names.len()],
            }));
            let publisher = Publisher {
                name: (run, number),
                topics: Arc::clone(topics),
                session,
                random: Random::new(random.next()),
                diary: Arc::clone(&diary),
                underway: VecDeque::new(),
                bytes_left: bytes_max,
                _ending: ending.clone(),
            };
            (std::thread::spawn(move || publisher.run()), diary)
        };
        Self {
            run,
            publishers: sessions.into_iter().enumerate().map(publisher).collect(),
            ended,
        }
    }

    pub(crate) fn run(&self) -> u32 {
        self.run
    }

    /// Lets the publishers go on for a time.
    pub(crate) fn go_on_for(&self, time: Duration) {
        let heard = self.ended.recv_timeout(time);
        assert_eq!(
            heard,
            Err(RecvTimeoutError::Timeout),
            "publishers go on until the broker is killed"
        );
    }

    /// How many acknowledgements each publisher has got.
    pub(crate) fn acknowledged(&self) -> Vec<usize> {
        let diaries = self.publishers.iter().map(|(_, diary)| lock(diary));
        diaries.map(|diary| diary.acknowledged.len()).collect()
    }

    /// The publishers' results, after the broker was killed.
    pub(crate) fn end(self) -> Vec<Diary> {
        let publishers = self.publishers.into_iter().map(|(thread, diary)| {
            thread.join().expect("a publisher sees nothing strange");
            lock(&diary).clone()
        });
        publishers.collect()
    }
}

/// A publisher that panicked is seen when it is joined.
fn lock(diary: &Mutex<Diary>) -> MutexGuard<'_, Diary> {
    diary.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Publisher {
    /// Run and number.
    name: (u32, usize),
    topics: Arc<Topics>,
    session: Session,
    random: Random,
    diary: Arc<Mutex<Diary>>,
    /// Correlation, topic and number of what is not answered yet.
    underway: VecDeque<(u64, usize, u32)>,
    bytes_left: usize,
    /// Its end can be seen.
    _ending: Sender<()>,
}

impl Publisher {
    /// Publishes until the connection ends, and takes every acknowledgement that had left the broker by then.
    fn run(mut self) {
        let mut is_open = true;
        loop {
            while is_open && self.underway.len() < WINDOW && self.bytes_left > 0 {
                is_open = self.send();
            }
            match self.session.event() {
                Event::Published(entries) => {
                    for entry in entries {
                        assert_eq!(entry.outcome, Outcome::Ok);
                        self.take(entry.correlation, entry.offset.get(), entry.epoch);
                    }
                }
                Event::Closed => return,
                event => panic!("a publisher hears of nothing but its records: {event:?}"),
            }
        }
    }

    /// Sends the next message; whether the connection still takes it.
    fn send(&mut self) -> bool {
        let (run, publisher) = self.name;
        let topic = self.topics.pick(&mut self.random, run, publisher);
        let number = {
            let sent = &mut lock(&self.diary).sent[topic];
            *sent += 1;
            *sent - 1
        };
        let name = Name {
            run,
            publisher: publisher as u32,
            number,
        };
        let payload = name.payload(&self.topics.names[topic]);
        self.bytes_left = self.bytes_left.saturating_sub(payload.len());
        let correlation = self.session.correlation();
        self.underway.push_back((correlation, topic, number));
        let record = stored(&self.topics.names[topic], &[payload], correlation);
        self.session.try_send(&record).is_ok()
    }

    fn take(&mut self, correlation: u64, offset: u64, epoch: Epoch) {
        let mut underway = self.underway.iter();
        let at = underway.position(|(sent, ..)| *sent == correlation);
        let at = at.expect("only records that were sent are answered, and once");
        let (_, topic, number) = self.underway.remove(at).expect("it was found there");
        lock(&self.diary).acknowledged.push(Acknowledged {
            topic,
            number,
            offset,
            epoch,
        });
    }
}
