//! Starts and stops a broker: from a configuration to running shards, and back.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use oyez_protocol::LogId;
use oyez_storage::{
    ArenaPool, DataDir, DirLock, DirOptions, Durability, LogReader, Store, open_disk,
};
use oyez_sys::waker::Waker;
use oyez_sys::{cpu, fdtable, signals};
use tracing::{debug, warn};

use crate::clock::{Clock, SystemClock};
use crate::config::{Config, KeepAwake, Sending};
use crate::ends::{self, EndGuard, Ended, ShardEnd, ShardEnds};
use crate::error::{ShardError, StartError};
use crate::lend::ShardInit;
use crate::memory_trim::MemoryTrim;
use crate::net::kernel::KernelNet;
use crate::net::port::{At, Files, Port, Ports, Spot};
use crate::parts::awake::{Awake, WakeHold};
use crate::parts::mail::{Inbox, InboxSender, Outbox, inbox};
use crate::parts::phase::Phase;
use crate::parts::room::MemoryCaps;
use crate::parts::shared::{Shared, SharedParts};
use crate::plan::{self, Tables};
use crate::recovered;
use crate::shard::Shard;
use crate::sizes::{arena_options, log_options};
use crate::sys::memory;
use crate::sys::ring::SendRing;
use crate::watch::DirectoryWatch;

/// Scheduler slices of a shard while other threads want its core, too, in microseconds. The kernel's default is 1.4 ms on two
/// cores and more on more: a message that passes through two shards, a publisher and a subscriber waits for several slices.
const SLICE_US: u64 = 500;

/// A running broker.
pub struct Server {
    places: Places,
    shared: Arc<Shared>,
    shards: Vec<JoinHandle<()>>,
    ends: ShardEnds,
    /// Held until the shards are gone.
    lock: DirLock,
    /// Held until the shards are gone.
    _files: Files,
}

/// Where a broker listens, with the real ports where the configuration said 0.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Addresses for clients.
    pub tcp: Vec<SocketAddr>,
    /// Socket files.
    pub unix: Vec<PathBuf>,
    /// The operator's address, or addresses where its name has several.
    pub operator: Vec<SocketAddr>,
}

/// Asks a running broker to stop, from any thread.
#[derive(Clone)]
pub struct Stopper {
    shared: Arc<Shared>,
    ends: Sender<ShardEnd>,
}

impl Stopper {
    /// Begins the shutdown; [`Server::wait`] returns when it is complete. A second call changes nothing.
    pub fn stop(&self) {
        self.shared.stop(SystemClock.now().monotonic_ms);
        // The receiver is gone when the broker is.
        let _ = self.ends.send(ShardEnd::Asked);
    }
}

impl Server {
    /// Opens the data directory, recovers the logs and starts to serve.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing keeps running then.
    pub fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        memory::free_at_once();
        let system = |what| move |source| StartError::System { what, source };
        let cores = cpu::allowed();
        let descriptors = fdtable::limit();
        let plan = plan::shards(&config, cores.len(), descriptors, tables());
        plan.check(&config)?;
        debug!("{plan}");
        warn_of_open(&config);
        let entropy = entropy().map_err(system("read random bytes from /dev/urandom"))?;
        let (dir, lock) = open_dir(&config, cores.len(), entropy)?;
        let arena = ArenaPool::new(&arena_options(&config, &dir)).map_err(StartError::Arena)?;
        let doors = config.doors().map(|(listen, _)| listen);
        let mut ports =
            Ports::reserve(doors).map_err(|no_port| StartError::listen(&config, no_port))?;
        let places = places(&config, &ports);
        let wakers = (0..plan.shards)
            .map(|_| Waker::new())
            .collect::<io::Result<Vec<_>>>()
            .map_err(system("create a wake-up descriptor"))?;
        let shared = Arc::new(Shared::new(SharedParts {
            config,
            dir,
            pool: arena,
            shards: plan.shards,
            instance: u64::from_le_bytes(entropy[..8].try_into().expect("8 of 16 bytes")),
            connections_per_shard: plan.connections_per_shard,
            caps: MemoryCaps::new(plan.shards),
            tables: plan.tables,
            wakers: wakers.clone(),
        }));
        let launch = Launch {
            shared: &shared,
            wakers: &wakers,
            cores: &cores,
            spots: ports.spots(),
            lock: lock.fd(),
        };
        let ends = ShardEnds::default();
        let shards = launch.start(&ends, &mut ports)?;
        Ok(Self {
            places,
            // The shards have descriptors of their own.
            _files: ports.into_files(),
            shared,
            shards,
            ends,
            lock,
        })
    }

    /// The first address that it listens on, with the real port where the configuration said 0.
    ///
    /// # Panics
    /// If it listens on socket files only.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.places.tcp[0]
    }

    /// All places where it listens.
    #[must_use]
    pub const fn places(&self) -> &Places {
        &self.places
    }

    /// How many shards serve.
    #[must_use]
    pub(crate) const fn shard_count(&self) -> usize {
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
        let watch = DirectoryWatch::begin(&self.shared.dir, self.ends.sender());
        if let Err(error) = &watch {
            warn!("the broker will not notice if the data directory vanishes: {error}");
        }
        let memory_trim = MemoryTrim::begin(self.shared.clone());
        if let Err(error) = &memory_trim {
            warn!("the process will keep the memory of connections that have ended: {error}");
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

/// A shard's report when it has opened its logs.
type Opened = Result<Vec<LogReader>, StartError>;
/// A shard's report when it listens.
type Listening = Result<(), StartError>;

/// What a shard needs to begin, when all have opened their logs.
struct Begin {
    readers: Vec<LogReader>,
    listening: Sender<Listening>,
}

/// The threads of all shards, and the channels that let them begin.
struct Threads {
    begins: Vec<Sender<Begin>>,
    shards: Vec<JoinHandle<()>>,
}

struct Launch<'a> {
    shared: &'a Arc<Shared>,
    wakers: &'a [Waker],
    cores: &'a [usize],
    spots: Vec<Spot>,
    lock: RawFd,
}

impl Launch<'_> {
    /// Starts all shards: each opens its logs, then the ports are claimed, then all get the readers of all logs, listen and
    /// serve.
    fn start(
        &self,
        ends: &ShardEnds,
        ports: &mut Ports,
    ) -> Result<Vec<JoinHandle<()>>, StartError> {
        let (opened_in, opened) = channel::<Opened>();
        let Threads { begins, shards } = self.spawn(ends, &opened_in)?;
        drop(opened_in);
        let begun = gather(&opened, shards.len()).and_then(|readers| {
            let mut readers: Vec<LogReader> = readers.into_iter().flatten().collect();
            readers.sort_by_key(LogReader::log);
            self.begin(&begins, &readers, ports)
        });
        if let Err(failure) = begun {
            self.shared.enter(Phase::Failed);
            drop(begins); // Shards that wait to serve end instead.
            for shard in shards {
                let _ = shard.join();
            }
            return Err(failure);
        }
        Ok(shards)
    }

    fn spawn(&self, ends: &ShardEnds, opened: &Sender<Opened>) -> Result<Threads, StartError> {
        let (senders, inboxes): (Vec<InboxSender>, Vec<Inbox>) =
            self.wakers.iter().map(|_| inbox()).unzip();
        let mut begins = Vec::new();
        let mut shards = Vec::new();
        for (id, inbox) in inboxes.into_iter().enumerate() {
            let (begin_in, begin) = channel();
            begins.push(begin_in);
            let pin = self.shared.config.pin;
            let thread = ShardThread {
                id,
                shared: self.shared.clone(),
                wakers: self.wakers.to_vec(),
                core: pin.then(|| self.cores[id % self.cores.len()]),
                spots: self.spots.clone(),
                lock: self.lock,
                inbox,
                outbox: Outbox::new(id, senders.clone()),
                opened: Some(opened.clone()),
                begin,
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
        Ok(Threads { begins, shards })
    }

    /// Lets the shards listen. The ports are claimed only now, so that no client connects before a shard can answer.
    fn begin(
        &self,
        begins: &[Sender<Begin>],
        readers: &[LogReader],
        ports: &mut Ports,
    ) -> Result<(), StartError> {
        let config = &self.shared.config;
        ports
            .claim(config.send_buffer_bytes)
            .map_err(|no_port| StartError::listen(config, no_port))?;
        let (listening_in, listening) = channel();
        for begin in begins {
            // A shard that is gone has its error in `ends`, and reports nothing here.
            let _ = begin.send(Begin {
                readers: readers.to_vec(),
                listening: listening_in.clone(),
            });
        }
        drop(listening_in);
        gather(&listening, begins.len())?;
        Ok(())
    }
}

/// Gathers the reports of so many shards, or the first error.
fn gather<T>(told: &Receiver<Result<T, StartError>>, shards: usize) -> Result<Vec<T>, StartError> {
    let answers: Vec<_> = (0..shards)
        .map(|_| told.recv().unwrap_or(Err(StartError::Elsewhere)))
        .collect();
    answers.into_iter().collect()
}

/// What a shard opens in its thread, in its own descriptor table.
struct ShardKit {
    store: Store,
    send_ring: Option<SendRing>,
    /// The claimed ports whose sockets other shards have, too.
    ports: Vec<Port>,
    awake: Awake,
}

/// What a shard's thread gets at its start. It owns no descriptor: the wakers, the lock and the ports are numbers, the same in
/// all tables while the shard starts.
struct ShardThread {
    id: usize,
    shared: Arc<Shared>,
    wakers: Vec<Waker>,
    core: Option<usize>,
    /// The reserved ports.
    spots: Vec<Spot>,
    /// The data directory's lock, which stays open in the shard's table too: a kernel thread that still writes for a
    /// shard of a killed broker keeps the directory from the next one.
    lock: RawFd,
    inbox: Inbox,
    outbox: Outbox,
    /// Taken when the shard has reported.
    opened: Option<Sender<Opened>>,
    begin: Receiver<Begin>,
}

impl ShardThread {
    fn run(mut self, ended: &Sender<ShardEnd>) {
        let ended = EndGuard(ended);
        let opened = self.open();
        // Dropped before waiting, so that `gather` notices a shard that has panicked.
        let Some(answer) = self.opened.take() else {
            return;
        };
        match opened {
            // The receiver lives until every shard has reported.
            Err(error) => drop(answer.send(Err(error))),
            Ok(opened) => {
                let readers = self
                    .own_logs()
                    .iter()
                    .map(|log| opened.store.reader(*log))
                    .collect();
                let _ = answer.send(Ok(readers));
                drop(answer);
                if let Ok(begin) = self.begin.recv() {
                    self.listen_and_serve(opened, begin, &ended);
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
        let ports = self.enter_table()?;
        if let Some(core) = self.core
            && let Err(error) = cpu::pin(core)
        {
            warn!(shard = self.id, core, %error, "cannot stay on one core");
        }
        if let Err(error) = cpu::set_slice(SLICE_US) {
            debug!(shard = self.id, %error, "the usual slices of a core");
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
        recovered::tell_all(&reports, &self.shared, self.id);
        self.check_durabilities(&store)?;
        Ok(ShardKit {
            store,
            send_ring,
            ports,
            awake,
        })
    }

    /// Leaves the process's descriptor table for a private one, where the system allows that. Returns the ports whose sockets
    /// this shard shares.
    fn enter_table(&self) -> Result<Vec<Port>, StartError> {
        let system = |what| move |source| StartError::System { what, source };
        let tables = self.shared.tables;
        if tables == Tables::Private {
            let wakers = self.wakers.iter().map(|waker| waker.fd());
            let shared = self
                .spots
                .iter()
                .filter_map(|spot| spot.shared_with(self.is_first()));
            let keep: Vec<RawFd> = wakers.chain([self.lock]).chain(shared).collect();
            fdtable::unshare(&keep).map_err(system("get a private descriptor table"))?;
        }
        self.ports(|spot| spot.shared_with(self.is_first()).is_some())
    }

    /// Whether this shard listens with the very sockets that were reserved.
    const fn is_first(&self) -> bool {
        self.id == 0
    }

    /// The ports of the wanted spots, as this thread's own.
    fn ports(&self, is_wanted: impl Fn(&Spot) -> bool) -> Result<Vec<Port>, StartError> {
        let config = &self.shared.config;
        let means = (self.shared.tables, config.send_buffer_bytes);
        let wanted = self.spots.iter().filter(|spot| is_wanted(spot));
        let ports = wanted.map(|spot| Port::of_spot(spot, self.is_first(), means));
        ports
            .collect::<Result<_, _>>()
            .map_err(|no_port| StartError::listen(config, no_port))
    }

    /// Listens. Returns the network by which connections come.
    fn listen(&self, kit: &mut ShardKit) -> Result<KernelNet, StartError> {
        let mut ports = std::mem::take(&mut kit.ports);
        ports.extend(self.ports(|spot| spot.shared_with(self.is_first()).is_none())?);
        let (ring, disk) = (kit.send_ring.take(), kit.store.wake_fd());
        let net = KernelNet::new(self.id, ports, ring, self.wakers.clone(), disk);
        net.map_err(|source| StartError::System {
            what: "make a poll",
            source,
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

    /// Opens the hold on awake cores. A request counts for the whole machine: each shard with logs on disk makes its own, or the
    /// first shard one that never ends.
    fn open_awake(&self) -> Result<Awake, StartError> {
        let hold = match self.shared.config.keep_awake {
            KeepAwake::Auto if self.disk_log_owners().any(|id| id == self.id) => {
                WakeHold::default()
            }
            KeepAwake::Always if self.id == 0 => WakeHold::for_ever(),
            KeepAwake::Auto | KeepAwake::Always | KeepAwake::Never => return Ok(Awake::default()),
        };
        match Awake::open(hold, SystemClock.now().monotonic_ms) {
            Ok(awake) => Ok(awake),
            Err(error) if self.shared.config.keep_awake == KeepAwake::Always => {
                Err(StartError::Awake(error))
            }
            Err(error) => {
                if self.disk_log_owners().min() == Some(self.id) {
                    debug!("cores cannot be kept awake while publishers wait: {error}");
                }
                Ok(Awake::default())
            }
        }
    }

    /// Refuses a topic that the configuration now sends to another log: it would begin anew there, and its stored records would
    /// be out of reach.
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

    fn listen_and_serve(self, mut kit: ShardKit, begin: Begin, ended: &EndGuard<'_>) {
        let Begin { readers, listening } = begin;
        // The receiver lives until every shard has reported.
        match self.listen(&mut kit) {
            Err(error) => drop(listening.send(Err(error))),
            Ok(net) => {
                let _ = listening.send(Ok(()));
                drop(listening);
                ended.tell(self.serve(kit, net, readers));
            }
        }
    }

    fn serve(
        self,
        kit: ShardKit,
        net: KernelNet,
        readers: Vec<LogReader>,
    ) -> Result<(), ShardError> {
        let init = ShardInit {
            id: self.id,
            shared: self.shared,
            storage_clock: Box::new(SystemClock),
            net: Box::new(net),
            store: kit.store,
            readers,
            inbox: self.inbox,
            outbox: self.outbox,
            awake: kit.awake,
        };
        Shard::new(init, Box::new(SystemClock)).run()
    }
}

fn places(config: &Config, ports: &Ports) -> Places {
    let mut places = Places::default();
    let is_operators: Vec<bool> = config
        .doors()
        .map(|(_, is_operators)| is_operators)
        .collect();
    for (at, door) in ports.places() {
        match (at, is_operators[usize::from(door)]) {
            (At::Tcp(address), false) => places.tcp.push(*address),
            (At::Tcp(address), true) => places.operator.push(*address),
            (At::Unix(path), _) => places.unix.push(path.clone()),
        }
    }
    places
}

/// Finds out whether shards can have private descriptor tables.
fn tables() -> Tables {
    match fdtable::probe() {
        Ok(()) => Tables::Private,
        Err(error) => {
            warn!(
                "the shards cannot have descriptor tables of their own ({error}); they share one"
            );
            Tables::Shared
        }
    }
}

fn warn_of_open(config: &Config) {
    for (_, place) in config.public() {
        warn!(
            "open = true: every client that reaches {place} may publish and subscribe to everything"
        );
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

fn entropy() -> io::Result<[u8; 16]> {
    use std::io::Read;
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
