//! The machine that the broker runs on: its disks, which outlive it, and the broker, which comes and goes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oyez_broker::simulation::{Broker, SetClock, Setup};
use oyez_broker::{ShardError, StartError};
use oyez_protocol::LogId;
use oyez_storage::{DataDir, DirOptions, Durability, MemoryDisk};

use super::coverage::Coverage;
use super::dice::Dice;
use super::plan::Plan;

/// How long a broker that was killed stays away at most, in milliseconds.
const AWAY_MS: u64 = 3_000;
/// Connections that a shard has room for.
const CONNECTIONS: usize = 1_000;

/// The machine.
pub(super) struct Machine {
    pub(super) dir: DataDir,
    pub(super) disks: Vec<MemoryDisk>,
    pub(super) clock: SetClock,
    pub(super) broker: Option<Broker>,
    /// When a broker that is away is started.
    pub(super) starts_at_ms: u64,
    /// When the broker was asked to stop.
    pub(super) stopping_since_ms: Option<u64>,
    /// How often a broker was started.
    pub(super) runs: u64,
    /// The last broker has closed its logs: nothing that it has acknowledged is left to chance.
    pub(super) stopped_cleanly: bool,
    /// A shard has failed: the process ends soon.
    pub(super) failed: Option<String>,
    /// What the states of logs were when the broker stopped last, by disk and path.
    states: BTreeMap<(usize, PathBuf), Vec<u8>>,
    dice: Dice,
}

/// How a broker came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fall {
    /// The process is gone; the kernel keeps what it was given.
    Process,
    /// The machine has lost power.
    Power,
}

impl Machine {
    pub(super) fn new(plan: &Plan, clock: &SetClock) -> Self {
        let mut dice = Dice::new(plan.seed, "machine", 0);
        let options = DirOptions {
            logs_per_durability: plan.logs_per_durability,
            entropy: entropy(&mut dice),
            restored: false,
        };
        let disks = (0..plan.shards).map(|_| MemoryDisk::new()).collect();
        let machine = Self {
            dir: DataDir::imagined(&options).expect("a few logs"),
            disks,
            clock: clock.clone(),
            broker: None,
            starts_at_ms: 0,
            stopping_since_ms: None,
            runs: 0,
            stopped_cleanly: false,
            failed: None,
            states: BTreeMap::new(),
            dice,
        };
        machine.set_up_disks(plan.paced_disks);
        machine
    }

    fn set_up_disks(&self, paced: bool) {
        for disk in &self.disks {
            disk.set_paced(paced);
            disk.set_recording(false);
        }
    }

    /// Starts the broker.
    pub(super) fn start(&mut self, plan: &Plan) -> Result<(), StartError> {
        self.runs += 1;
        self.stopped_cleanly = false;
        self.dir = self.dir.opened_again(&entropy(&mut self.dice));
        // Opening reads and writes as it comes.
        self.set_up_disks(false);
        let broker = Broker::start(Setup {
            config: plan.config.clone(),
            dir: self.dir.clone(),
            disks: self.disks.clone(),
            clock: self.clock.clone(),
            connections_per_shard: CONNECTIONS,
            instance: self.dice.next(),
            narrow: plan.narrow,
        });
        self.set_up_disks(plan.paced_disks);
        let broker = broker?;
        for shard in 0..broker.shards() {
            broker.net(shard).tell_all(plan.tells_all);
        }
        self.broker = Some(broker);
        Ok(())
    }

    /// The broker is gone, with what was on its way to the disks. It is started again after a while.
    pub(super) fn fall(&mut self, fall: Fall, plan: &Plan, coverage: &mut Coverage) {
        if let Some(broker) = self.broker.take() {
            for shard in 0..broker.shards() {
                for (what, times) in broker.net(shard).met() {
                    coverage.add(&format!("net {what}"), times);
                }
            }
        }
        for disk in &mut self.disks {
            let seed = self.dice.next();
            *disk = match fall {
                Fall::Process => disk.kill(seed),
                Fall::Power => disk.crash(seed),
            };
        }
        self.set_up_disks(plan.paced_disks);
        self.failed = None;
        self.stopping_since_ms = None;
        self.starts_at_ms = self.clock.now_ms() + self.dice.below(AWAY_MS);
    }

    /// Keeps the states of all logs, which say that they were closed.
    pub(super) fn keep_states(&mut self) {
        for (number, disk) in self.disks.iter().enumerate() {
            for (path, _) in disk.files() {
                if path.ends_with("state")
                    && let Some(content) = disk.content(&path)
                {
                    self.states.insert((number, path), content);
                }
            }
        }
    }

    /// Puts both copies of some log's state back to what was kept, if it is another one now.
    pub(super) fn put_back(&self, choice: u64) -> Option<(LogId, String)> {
        let is_other = |((number, path), old): &(&(usize, PathBuf), &Vec<u8>)| {
            let now = self.disks[*number].content(path);
            now.is_some_and(|now| now != **old)
        };
        let others: Vec<_> = self.states.iter().filter(is_other).collect();
        let place = usize::try_from(choice).unwrap_or_default();
        let ((number, path), old) = others.get(place.checked_rem(others.len())?)?;
        let log = self.log_of_path(path)?;
        self.disks[*number].replace(path, old);
        self.disks[*number].replace(&path.with_file_name("state.copy"), old);
        Some((
            log,
            format!("disk {number}: {} is an earlier one", path.display()),
        ))
    }

    /// One turn of a shard.
    pub(super) fn turn(&mut self, shard: usize) -> Result<(), ShardError> {
        let broker = self.broker.as_mut().expect("a broker runs");
        broker.turn(shard)
    }

    /// The log that a path lies in.
    pub(super) fn log_of_path(&self, path: &std::path::Path) -> Option<LogId> {
        let in_it = |durability: Durability, ordinal: u16| {
            let name = format!("{durability}-{ordinal}");
            path.components().any(|part| part.as_os_str() == &*name)
        };
        let mut logs = self.dir.logs();
        logs.find(|spec| in_it(spec.durability, spec.ordinal))
            .map(|spec| spec.id)
    }
}

fn entropy(dice: &mut Dice) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&dice.next().to_le_bytes());
    bytes[8..].copy_from_slice(&dice.next().to_le_bytes());
    bytes
}
