//! Starting and stopping: from a configuration to running shards, and back.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use oyez_protocol::LogId;
use oyez_storage::{
    ArenaOptions, ArenaPool, BLOCK_BYTES, DataDir, DirLock, DirOptions, Durability, LogOptions,
    LogReader, LogSpec, RecoveryReport, Store, open_disk,
};
use tracing::{info, warn};

use crate::awake::{Awake, Vigil};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, KeepAwake, Sending};
use crate::ends::{self, End, Ended, Ending, Ends};
use crate::error::{ShardError, StartError};
use crate::inbox::{Inbox, InboxSender, Outbox, inbox};
use crate::listener::Listener;
use crate::plan;
use crate::recovered;
use crate::shard::{Shard, ShardParts};
use crate::shared::{Shared, SharedParts};
use crate::sys::ring::SendRing;
use crate::sys::waker::Waker;
use crate::sys::{cpu, fdtable, signals, socket};
use crate::watch::Watch;

/// Blocks of the tail arena that each log on disk has at least, however many logs share it.
const TAIL_BLOCKS_MIN: usize = 4;

/// A running broker.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    shards: Vec<JoinHandle<()>>,
    ends: Ends,
    /// Held until the shards are gone.
    lock: DirLock,
}

/// Asks a running broker to stop, from any thread.
#[derive(Clone)]
pub struct Stopper {
    shared: Arc<Shared>,
    ends: Sender<End>,
}

impl Stopper {
    /// Begins the shutdown; [`Server::wait`] returns when it is complete. Asking twice is asking once.
    pub fn stop(&self) {
        self.shared.stop(SystemClock.now().monotonic_ms);
        // Nobody waits for a broker that is gone.
        let _ = self.ends.send(End::Asked);
    }
}

impl Server {
    /// Opens the data directory, recovers the logs and starts to serve.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing keeps running then.
    pub fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let system = |what| move |source| StartError::System { what, source };
        let cores = cpu::allowed().map_err(system("find the cores of this machine"))?;
        let descriptors = fdtable::limit().map_err(system("read the descriptor limit"))?;
        let plan = plan::shards(&config, cores.len(), descriptors);
        if plan.shards > plan::SHARDS_MAX {
            return Err(StartError::Shards {
                wanted: plan.shards,
                max: plan::SHARDS_MAX,
                connections: config.max_connections,
                descriptors,
            });
        }
        info!("{plan}");
        let entropy = entropy().map_err(system("read random bytes from /dev/urandom"))?;
        let (dir, lock) = open_dir(&config, cores.len(), entropy)?;
        let arena = ArenaPool::new(&arena_options(&config, &dir)).map_err(StartError::Arena)?;
        let held = socket::reserve(config.listen).and_then(|held| Ok((held.local_addr()?, held)));
        let (address, held) = held.map_err(|source| StartError::Listen {
            address: config.listen,
            source,
        })?;
        let wakers = (0..plan.shards)
            .map(|_| Waker::new())
            .collect::<io::Result<Vec<_>>>()
            .map_err(system("create a wake-up descriptor"))?;
        let shared = Arc::new(Shared::new(SharedParts {
            config,
            dir,
            pool: arena,
            instance: u64::from_le_bytes(entropy[..8].try_into().expect("8 of 16 bytes")),
            connections_per_shard: plan.connections_per_shard,
            wakers: wakers.clone(),
        }));
        let launch = Launch {
            shared: &shared,
            wakers: &wakers,
            cores: &cores,
            address,
            lock: lock.fd(),
        };
        let ends = Ends::default();
        let shards = launch.start(&ends)?;
        drop(held);
        Ok(Self {
            address,
            shared,
            shards,
            ends,
            lock,
        })
    }

    /// The address that it listens on; the real port where the configuration said 0.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many shards serve.
    #[must_use]
    pub const fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// The handle with which to stop it.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper {
            shared: self.shared.clone(),
            ends: self.ends.sender(),
        }
    }

    /// Waits until the broker has stopped. That takes `drain_timeout_ms` from when it was asked to, and a moment.
    ///
    /// # Errors
    /// Why a shard could not go on, or that the store was not closed in time. What was acknowledged is as safe as its
    /// durability says; whatever still runs then ends with the process, which keeps the data directory locked.
    pub fn wait(self) -> Result<(), ShardError> {
        let watch = Watch::begin(&self.shared.dir, self.ends.sender());
        if let Err(error) = &watch {
            warn!("nobody will notice if the data directory vanishes: {error}");
        }
        let timeout_ms = self.shared.config.drain_timeout_ms;
        let timeout = Duration::from_millis(timeout_ms.into());
        let enter = |phase| self.shared.enter(phase);
        let Ended { left, outcome } = self.ends.wait(self.shards.len(), timeout, enter);
        let at_work = outcome.as_ref().is_err_and(ShardError::leaves_work_behind);
        if at_work || left > 0 || !ends::join(self.shards) {
            std::mem::forget(self.lock);
        }
        outcome
    }
}

/// What a shard tells when it has opened its logs.
type Opened = Result<Vec<LogReader>, StartError>;

struct Launch<'a> {
    shared: &'a Arc<Shared>,
    wakers: &'a [Waker],
    cores: &'a [usize],
    address: SocketAddr,
    lock: RawFd,
}

impl Launch<'_> {
    /// Starts all shards: each opens its logs, then all get everybody's readers and begin to serve.
    fn start(&self, ends: &Ends) -> Result<Vec<JoinHandle<()>>, StartError> {
        let (senders, inboxes): (Vec<InboxSender>, Vec<Inbox>) =
            self.wakers.iter().map(|waker| inbox(*waker)).unzip();
        let (opened_in, opened) = channel::<Opened>();
        let mut starts = Vec::new();
        let mut shards = Vec::new();
        for (id, inbox) in inboxes.into_iter().enumerate() {
            let (start_in, start) = channel();
            starts.push(start_in);
            let thread = ShardThread {
                id,
                shared: self.shared.clone(),
                wakers: self.wakers.to_vec(),
                core: self
                    .shared
                    .config
                    .pin
                    .then(|| self.cores[id % self.cores.len()]),
                address: self.address,
                lock: self.lock,
                inbox,
                outbox: Outbox::new(id, senders.clone()),
                opened: Some(opened_in.clone()),
                start,
            };
            let ended = ends.sender();
            let handle = std::thread::Builder::new()
                .name(format!("shard-{id}"))
                .spawn(move || thread.run(&ended))
                .map_err(|source| StartError::System {
                    what: "start a thread",
                    source,
                })?;
            shards.push(handle);
        }
        drop(opened_in);
        let mut readers = Vec::new();
        let mut failure = None;
        for _ in 0..shards.len() {
            match opened.recv().unwrap_or(Err(StartError::Elsewhere)) {
                Ok(own) => readers.extend(own),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        if let Some(failure) = failure {
            drop(starts); // Nobody begins to serve.
            for shard in shards {
                let _ = shard.join();
            }
            return Err(failure);
        }
        readers.sort_by_key(LogReader::log);
        for start in starts {
            // A shard that is gone has its error in `ended`.
            let _ = start.send(readers.clone());
        }
        Ok(shards)
    }
}

/// What a shard opens in its thread, in its own descriptor table.
struct ShardKit {
    store: Store,
    send_ring: Option<SendRing>,
    listener: Listener,
    awake: Awake,
}

/// What travels into a shard's thread. Nothing in it holds a descriptor but the wakers and the lock, whose numbers all
/// tables share.
struct ShardThread {
    id: usize,
    shared: Arc<Shared>,
    wakers: Vec<Waker>,
    core: Option<usize>,
    address: SocketAddr,
    /// The data directory's lock, which stays open in the shard's table too: a kernel thread that still writes for a
    /// shard of a killed broker keeps the directory from the next one.
    lock: RawFd,
    inbox: Inbox,
    outbox: Outbox,
    /// Taken when it has told.
    opened: Option<Sender<Opened>>,
    start: Receiver<Vec<LogReader>>,
}

impl ShardThread {
    fn run(mut self, ended: &Sender<End>) {
        let ended = Ending(ended);
        let opened = self.open();
        // Given up before waiting, so that whoever gathers the answers notices a shard that has panicked.
        let Some(answer) = self.opened.take() else {
            return;
        };
        match opened {
            // The receiver lives until every shard has told.
            Err(error) => drop(answer.send(Err(error))),
            Ok(opened) => {
                let readers = self
                    .own_logs()
                    .iter()
                    .map(|log| opened.store.reader(*log))
                    .collect();
                let _ = answer.send(Ok(readers));
                drop(answer);
                if let Ok(readers) = self.start.recv() {
                    ended.tell(self.serve(opened, readers));
                }
            }
        }
    }

    fn own_logs(&self) -> Vec<LogId> {
        let logs = self.shared.dir.logs().map(|spec| spec.id);
        logs.filter(|log| self.shared.owner(*log) == self.id)
            .collect()
    }

    /// The shards that have logs on disk, some of them repeatedly.
    fn disk_log_owners(&self) -> impl Iterator<Item = usize> {
        let logs = self.shared.dir.logs();
        logs.filter(|log| log.durability != Durability::Memory)
            .map(|log| self.shared.owner(log.id))
    }

    fn open(&self) -> Result<ShardKit, StartError> {
        signals::block().map_err(|source| StartError::System {
            what: "keep signals from a shard",
            source,
        })?;
        let wakers = self.wakers.iter().map(|waker| waker.fd());
        let keep: Vec<RawFd> = wakers.chain([self.lock]).collect();
        fdtable::unshare(&keep).map_err(|source| StartError::System {
            what: "get a private descriptor table",
            source,
        })?;
        if let Some(core) = self.core
            && let Err(error) = cpu::pin(core)
        {
            warn!(shard = self.id, core, %error, "cannot stay on one core");
        }
        let disk = open_disk(self.shared.config.disk.into()).map_err(StartError::Disk)?;
        if let Some(why) = disk.fallback.as_ref().filter(|_| self.id == 0) {
            warn!("io_uring cannot be used ({why}); a thread drives the disk");
        }
        let send_ring = self.open_send_ring()?;
        let awake = self.open_awake()?;
        let now = SystemClock.now();
        let (store, reports) = Store::open(
            &self.shared.dir,
            &self.own_logs(),
            disk.disk,
            self.shared.pool.clone(),
            &log_options(&self.shared.config, &self.shared.dir),
            now.into(),
        )?;
        let on_disk = |report: &&RecoveryReport| {
            let mut logs = self.shared.dir.logs();
            logs.any(|log| log.id == report.log && log.durability != Durability::Memory)
        };
        for report in reports.iter().filter(on_disk) {
            recovered::tell(report, &self.shared.metrics[self.id]);
        }
        self.check_durabilities(&store)?;
        let listener = Listener::bind(self.address, self.shared.config.send_buffer_bytes).map_err(
            |source| StartError::Listen {
                address: self.address,
                source,
            },
        )?;
        Ok(ShardKit {
            store,
            send_ring,
            listener,
            awake,
        })
    }

    fn open_send_ring(&self) -> Result<Option<SendRing>, StartError> {
        let sending = self.shared.config.sending;
        if sending == Sending::Loop {
            return Ok(None);
        }
        match SendRing::open() {
            Ok(ring) => Ok(Some(ring)),
            Err(error) if sending == Sending::Ring => Err(StartError::Sending(error)),
            Err(error) => {
                if self.id == 0 {
                    warn!("io_uring cannot be used for sends ({error}); they leave one by one");
                }
                Ok(None)
            }
        }
    }

    /// A request is the whole machine's: who watches over durable logs makes it, or for ever the first shard.
    fn open_awake(&self) -> Result<Awake, StartError> {
        let vigil = match self.shared.config.keep_awake {
            KeepAwake::Auto if self.disk_log_owners().any(|id| id == self.id) => Vigil::default(),
            KeepAwake::Always if self.id == 0 => Vigil::for_ever(),
            KeepAwake::Auto | KeepAwake::Always | KeepAwake::Never => return Ok(Awake::default()),
        };
        match Awake::open(vigil, SystemClock.now().monotonic_ms) {
            Ok(awake) => Ok(awake),
            Err(error) if self.shared.config.keep_awake == KeepAwake::Always => {
                Err(StartError::Awake(error))
            }
            Err(error) => {
                if self.disk_log_owners().min() == Some(self.id) {
                    info!("cores cannot be kept awake while publishers wait: {error}");
                }
                Ok(Awake::default())
            }
        }
    }

    /// A topic that the configuration now sends to another log would begin anew there, and what is stored would be
    /// out of reach.
    fn check_durabilities(&self, store: &Store) -> Result<(), StartError> {
        let mut moved = None;
        store.each_topic(|topic, stored| {
            let configured = self.shared.config.durability_of(topic);
            if configured != stored && moved.is_none() {
                moved = Some(StartError::Durability {
                    topic: topic.to_owned(),
                    stored,
                    configured,
                });
            }
        });
        moved.map_or(Ok(()), Err)
    }

    fn serve(self, kit: ShardKit, readers: Vec<LogReader>) -> Result<(), ShardError> {
        Shard::new(ShardParts {
            id: self.id,
            shared: self.shared,
            clock: Box::new(SystemClock),
            listener: kit.listener,
            store: kit.store,
            send_ring: kit.send_ring,
            readers,
            inbox: self.inbox,
            outbox: self.outbox,
            waker: self.wakers[self.id],
            awake: kit.awake,
        })
        .map_err(ShardError::Poll)?
        .run()
    }
}

fn open_dir(
    config: &Config,
    cores: usize,
    entropy: [u8; 16],
) -> Result<(DataDir, DirLock), StartError> {
    let options = DirOptions {
        logs_per_durability: u16::try_from(cores).unwrap_or(u16::MAX),
        entropy,
        restored: config.restored,
    };
    let (dir, lock) = DataDir::open(&config.data, &options)?;
    recovered::tell_identity(&dir);
    Ok((dir, lock))
}

/// Logs on disk share the tail arena; memory logs have room of their own.
fn log_options(config: &Config, dir: &DataDir) -> LogOptions {
    let blocks = |bytes: u64| usize::try_from(bytes / BLOCK_BYTES).unwrap_or(usize::MAX);
    let tail_blocks = blocks(config.arena_bytes / logs_on_disk(dir)).max(TAIL_BLOCKS_MIN);
    LogOptions {
        segment_bytes: config.segment_bytes,
        retention_bytes: (config.retention_bytes > 0).then_some(config.retention_bytes),
        retention_age_ms: (config.retention_seconds > 0)
            .then_some(config.retention_seconds.saturating_mul(1000)),
        memory_blocks: blocks(config.memory_log_bytes).max(2),
        tail_blocks,
        hot_blocks: tail_blocks / 2,
        limits: config.limits(),
        ..LogOptions::default()
    }
}

fn arena_options(config: &Config, dir: &DataDir) -> ArenaOptions {
    let options = log_options(config, dir);
    let on_disk = logs_on_disk(dir) as usize;
    let in_memory = dir.logs().count() - on_disk;
    ArenaOptions {
        blocks_max: on_disk * options.tail_blocks + in_memory * options.memory_blocks,
        blocks_ready: in_memory + on_disk,
    }
}

fn logs_on_disk(dir: &DataDir) -> u64 {
    let on_disk = |spec: &LogSpec| spec.durability != Durability::Memory;
    dir.logs().filter(on_disk).count() as u64
}

fn entropy() -> io::Result<[u8; 16]> {
    use std::io::Read;
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
