//! Flags, logging, signals and exit codes of `oyez-server`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use clap::Parser;
use oyez_broker::config::{self, ConfigError, Disk, KeepAwake, LogFormat, Sending};
use oyez_broker::{Config, Listen, Server, StartError, Stopper, doctor};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use tracing::{error, info};
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};

use crate::stop::{Requests, Verdict};

const FAILED: u8 = 1;
const USAGE: u8 = 2;

/// Lines of log that may wait for a slow stderr; what comes on top is dropped and counted, because logging never
/// stalls a shard.
const LOG_LINES_MAX: usize = 16_384;

/// Push broker: keeps a connection open to every subscriber and reaches all of them the moment something happens.
#[derive(Debug, Parser)]
#[command(name = "oyez-server", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    /// Address to listen on, also a name, `:PORT` for all of this machine, or `unix:/PATH`; `=native` or `=http` behind it limits
    /// what is spoken there; may be given several times [default: 127.0.0.1:7450]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<Listen>,

    /// Address for the operator: metrics, health, statistics; an empty one switches it off [default: 127.0.0.1:7451]
    #[arg(long, value_name = "ADDR")]
    operator: Option<String>,

    /// Let whoever reaches the address publish and subscribe to everything: addresses that other machines reach need it
    #[arg(long)]
    open: bool,

    /// Data directory; created with mode 0700, locked against a second server [default: ./oyez-data]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Threads [default: one per core, more when --max-connections needs more descriptor tables]
    #[arg(long, global = true, value_name = "N")]
    shards: Option<usize>,

    /// How the disk is driven [default: auto, which is uring where the kernel allows it]
    #[arg(long, global = true, value_enum)]
    disk: Option<Disk>,

    /// How small records leave for many [default: auto, which is ring where the kernel allows io_uring, else loop]
    #[arg(long, global = true, value_enum)]
    sending: Option<Sending>,

    /// Keep the machine's cores from sleeping [default: auto, which is while publishers wait for every record]
    #[arg(long, global = true, value_enum, value_name = "WHEN")]
    keep_awake: Option<KeepAwake>,

    /// Most connections at once [default: 10000]
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,

    /// Configuration file; see --print-config
    #[arg(long, global = true, value_name = "FILE", env = "OYEZ_CONFIG")]
    config: Option<PathBuf>,

    /// Say that the data directory was put back from a backup: every log gets a new epoch, so that subscribers begin at
    /// the oldest message kept instead of missing what was published after the backup was made. For one start
    #[arg(long)]
    restored: bool,

    /// Check the configuration and exit: 0 when it is fine, 2 when it is not
    #[arg(long)]
    check_config: bool,

    /// Print a commented configuration file with every setting and its default, and exit
    #[arg(long)]
    print_config: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say what stands between this host and so many connections, and how to fix it
    Doctor(doctor::Arguments),
}

const EXAMPLES: &str = "\
Every setting can stand in the file, in a variable (OYEZ_LISTEN, OYEZ_MAX_CONNECTIONS, ...) and the first few in a
flag; flags win over variables, variables over the file.

Examples:
  oyez-server                                    serve on 127.0.0.1:7450, data in ./oyez-data
  oyez-server --listen :7450 --listen unix:/run/oyez.sock --open --data /var/lib/oyez
                                                 serve whoever reaches any address of this machine
  oyez-server --print-config > oyez.toml         then edit it, and:
  oyez-server --config oyez.toml --check-config
  OYEZ_MEMORY_TOPICS='live/#' oyez-server        keep live/... in memory only
  oyez-server doctor --connections 1000000       what this host needs for a million

When it serves it prints one line on stdout: ready tcp=ADDR operator=ADDR pid=PID data=DIR, with a tcp= or a unix= for each
address that it listens on. SIGTERM and SIGINT stop it within
drain_timeout_ms: what is acknowledged is on disk, and clients are told when to come back. One of them that comes more
than a second after the first ends it at once; sooner, it is the same request. SIGHUP, SIGUSR1 and SIGUSR2 are logged and
change nothing. Exit status: 0 stopped, 1 failed, or stopped before all that was published was on disk, 2 usage.";

/// Runs the program.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    if cli.print_config {
        print!("{}", config::TEMPLATE);
        return ExitCode::SUCCESS;
    }
    let config = match settings(&cli) {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error),
    };
    if cli.check_config {
        println!("the configuration is fine");
        return ExitCode::SUCCESS;
    }
    if let Some(Command::Doctor(arguments)) = &cli.command {
        return examine(&config, arguments);
    }
    let _log = match start_log(&config) {
        Ok(guard) => guard,
        Err(why) => return fail(USAGE, &why),
    };
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, &error),
    }
}

/// A signal ends a proof early, with its report.
fn examine(config: &Config, arguments: &doctor::Arguments) -> ExitCode {
    let stop = Arc::new(AtomicBool::new(false));
    if arguments.prove.is_some() {
        for signal in [SIGTERM, SIGINT] {
            if let Err(error) = flag::register(signal, stop.clone()) {
                return fail(FAILED, &RunError::Signals(error));
            }
        }
    }
    match doctor::run(config, arguments, &stop) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => fail(FAILED, &error),
    }
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("oyez-server: {error}");
    ExitCode::from(code)
}

fn settings(cli: &Cli) -> Result<Config, ConfigError> {
    let variables = std::env::vars().filter(|(name, _)| name != "OYEZ_CONFIG");
    let mut config = Config::load(cli.config.as_deref(), variables)?;
    if !cli.listen.is_empty() {
        config.listen.clone_from(&cli.listen);
    }
    if let Some(operator) = &cli.operator {
        config.operator = match &**operator {
            "" => Vec::new(),
            address => vec![address.parse().map_err(ConfigError::Operator)?],
        };
    }
    config.open |= cli.open;
    if let Some(data) = &cli.data {
        config.data.clone_from(data);
    }
    if let Some(shards) = cli.shards {
        config.shards = shards;
    }
    if let Some(disk) = cli.disk {
        config.disk = disk;
    }
    if let Some(sending) = cli.sending {
        config.sending = sending;
    }
    if let Some(keep_awake) = cli.keep_awake {
        config.keep_awake = keep_awake;
    }
    if let Some(max_connections) = cli.max_connections {
        config.max_connections = max_connections;
    }
    config.restored = cli.restored;
    config.check()?;
    Ok(config)
}

/// Sends the log to stderr through a thread of its own. The guard flushes it when it is dropped.
fn start_log(config: &Config) -> Result<WorkerGuard, String> {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log)
        .map_err(|error| format!("`log` is {:?}: {error}", config.log))?;
    let (writer, guard): (NonBlocking, WorkerGuard) =
        tracing_appender::non_blocking::NonBlockingBuilder::default()
            .buffered_lines_limit(LOG_LINES_MAX)
            .lossy(true)
            .finish(std::io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(guard)
}

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    #[error(
        "{0}; the broker has stopped, acknowledged records are as safe as their durability says"
    )]
    Shard(#[from] oyez_broker::ShardError),
}

fn serve(config: Config) -> Result<(), RunError> {
    // Before any thread is started, so that none takes the signals in its default way.
    let taken = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2];
    let signals = Signals::new(taken).map_err(RunError::Signals)?;
    let data = config.data.clone();
    let stopper = Arc::new(OnceLock::new());
    obey_signals(signals, stopper.clone());
    let server = Server::start(config)?;
    // Nobody else sets it.
    let _ = stopper.set(server.stopper());
    announce(&server, &data);
    server
        .wait()
        .inspect_err(|error| error!(%error, "stopping"))?;
    info!("stopped");
    Ok(())
}

/// The line that scripts wait for; people on a terminal are told what to type next.
fn announce(server: &Server, data: &std::path::Path) {
    let places = server.places();
    let tcp = places.tcp.iter().map(|address| format!(" tcp={address}"));
    let unix = places
        .unix
        .iter()
        .map(|path| format!(" unix={}", path.display()));
    let operator = places
        .operator
        .iter()
        .map(|address| format!(" operator={address}"));
    let places: String = tcp.chain(unix).chain(operator).collect();
    let data = std::fs::canonicalize(data).unwrap_or_else(|_| data.to_owned());
    let mut stdout = std::io::stdout().lock();
    // A closed stdout is no reason to stop serving.
    let _ = writeln!(
        stdout,
        "ready{places} pid={} data={}",
        std::process::id(),
        data.display()
    );
    let _ = stdout.flush();
    let first = server.places().tcp.first();
    if let Some(address) = first.filter(|_| stdout.is_terminal()) {
        let server = match address.port() {
            7450 => String::new(),
            _ => format!(" --server {address}"),
        };
        eprintln!(
            "\nNow, from another terminal:\n\n    oyez{server} sub demo\n\nand from a third one:\n\n    oyez{server} pub demo \"hello\"\n\n(`cargo install --path client/cli` puts `oyez` on your path.) Ctrl-C stops the broker.\n"
        );
    }
}

/// The first signal to stop begins the shutdown, a later one ends the process at once (see `stop`); so does the first while
/// the broker starts, which may take as long as its disk does. What is stored is safe, as it is at any moment.
fn obey_signals(mut signals: Signals, stopper: Arc<OnceLock<Stopper>>) {
    let thread = std::thread::Builder::new().name("signals".to_owned());
    let spawned = thread.spawn(move || {
        let (begin, mut requests) = (Instant::now(), Requests::default());
        for signal in signals.forever() {
            if let Some(why) = nothing_to_do(signal) {
                info!("{why}; nothing changes");
                continue;
            }
            let Some(stopper) = stopper.get() else {
                end_at_once("while starting", 0);
            };
            match requests.take(begin.elapsed()) {
                Verdict::Begin => {
                    info!("signal received, shutting down");
                    stopper.stop();
                }
                Verdict::Repeated => info!("asked to stop again at once, which is one request"),
                Verdict::AtOnce => end_at_once("again", FAILED),
            }
        }
    });
    if let Err(error) = spawned {
        error!(%error, "cannot start the signal thread; only SIGKILL stops this broker");
    }
}

/// What the log says of a signal that the broker does not end for.
fn nothing_to_do(signal: i32) -> Option<&'static str> {
    match signal {
        SIGHUP => Some("SIGHUP: settings are read at the start only"),
        SIGUSR1 => Some("SIGUSR1: the log goes to stderr, and there is no file to open again"),
        SIGUSR2 => Some("SIGUSR2 has no meaning here"),
        _ => None,
    }
}

fn end_at_once(when: &str, code: u8) -> ! {
    eprintln!("oyez-server: asked to stop {when}, stopping at once");
    std::process::exit(i32::from(code));
}
