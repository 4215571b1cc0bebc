//! Flags, logging, signals and exit codes of `oyez-server`.

mod flags;
mod print;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, ValueHint};
use oyez_broker::config::{self, ConfigError, LogFormat, Sources, UnknownVariable};
use oyez_broker::{Config, Listen, Server, StartError, Stopper};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use tracing::{error, info, warn};
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};

use self::flags::{given, with_settings};
use self::print::{end_with, fail, note, print, printed};
use crate::stop::{Requests, StopAction};

const FAILED: u8 = 1;
const USAGE: u8 = 2;

/// Lines of log that may wait for a slow stderr; further ones are dropped and counted, so that logging never stalls a shard.
const LOG_LINES_MAX: usize = 16_384;

/// Push broker: keeps a connection open to every subscriber and reaches all of them the moment something happens.
#[derive(Debug, Parser)]
#[command(name = "oyez-server", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    /// Configuration file; see --print-config
    #[arg(long, global = true, value_name = "FILE", env = "OYEZ_CONFIG", value_hint = ValueHint::FilePath)]
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
    Doctor(oyez_doctor::Arguments),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man {
        /// The subcommand that the page is of [default: the program]
        of: Option<String>,
    },
}

const EXAMPLES: &str = "\
Every setting can stand in the file, in a variable (OYEZ_LISTEN, OYEZ_MAX_CONNECTIONS, ...) and in a
flag; flags win over variables, variables over the file. --help shows all flags, --print-config tells
what each setting means. Sizes and durations may have a unit: 512KB (powers of 1000), 64MiB (powers
of 1024), 250ms, 10s, 5m, 7d.

Examples:
  oyez-server                                    serve on 127.0.0.1:7450, data in ./oyez-data
  oyez-server --listen :7450 --listen unix:/run/oyez.sock --open --data /var/lib/oyez
                                                 serve every client that reaches any address of this machine
  oyez-server --retention-bytes 50GB --retention-seconds 7d
  oyez-server --print-config > oyez.toml         then edit it, and:
  oyez-server --config oyez.toml --check-config
  OYEZ_MEMORY_TOPICS='live/#' oyez-server        keep live/... in memory only
  oyez-server doctor --connections 1000000       what this host needs for a million
  oyez-server completions bash > /etc/bash_completion.d/oyez-server
  oyez-server man > oyez-server.1

When it serves it prints one line on stdout: ready tcp=ADDR operator=ADDR pid=PID data=DIR, with a
tcp= or a unix= for each address that it listens on. SIGTERM and SIGINT stop it within
drain_timeout_ms: what is acknowledged is on disk, and clients are told when to come back. One of
them that comes more than a second after the first ends it at once; sooner, it is the same request.
SIGHUP, SIGUSR1 and SIGUSR2 are logged and change nothing.

Exit status: 0 stopped, 1 failed, or stopped before all that was published was on disk, 2 usage.";

/// Runs the program.
pub(crate) fn run() -> ExitCode {
    let parsed = command().try_get_matches().and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((cli, matches))
    });
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return end_with(&error),
    };
    match &cli.command {
        _ if cli.print_config => return print(config::TEMPLATE.as_bytes()),
        Some(Command::Completions { shell }) => return print(&completions(*shell)),
        Some(Command::Man { of }) => return manual(of.as_deref()),
        Some(Command::Doctor(_)) | None => {}
    }
    let (config, warnings) = match settings(&cli, &matches) {
        Ok(loaded) => loaded,
        Err(error) => return fail(USAGE, &error),
    };
    let doctor = match &cli.command {
        Some(Command::Doctor(arguments)) => Some(arguments),
        _ => None,
    };
    if cli.check_config || doctor.is_some() {
        for warning in &warnings {
            note(&format_args!("oyez-server: warning: {warning}"));
        }
    }
    if cli.check_config {
        return print(b"the configuration is fine\n");
    }
    if let Some(arguments) = doctor {
        return examine(&config, arguments);
    }
    let log = match start_log(&config) {
        Ok(guard) => guard,
        Err(why) => return fail(USAGE, &why),
    };
    tell_begin(&config, &warnings);
    let outcome = serve(config);
    // The log comes out before the reason why the broker ends.
    drop(log);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, &error),
    }
}

/// The command line, with a flag for every setting.
fn command() -> clap::Command {
    with_settings(Cli::command())
}

fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "oyez-server", &mut script);
    script
}

fn manual(of: Option<&str>) -> ExitCode {
    let mut command = command();
    command.build();
    let page_of = match of {
        None => Some(&command),
        Some(name) => command.find_subcommand(name),
    };
    let Some(page_of) = page_of else {
        let names: Vec<&str> = command
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        let why = format!(
            "there is no subcommand `{}`; there are {}",
            of.unwrap_or_default(),
            names.join(", ")
        );
        return fail(USAGE, &why);
    };
    let mut page = Vec::new();
    match clap_mangen::Man::new(page_of.clone()).render(&mut page) {
        Ok(()) => print(&page),
        Err(error) => printed(Err(error)),
    }
}

/// Logs the first lines: version, addresses, data directory, and warnings about variables.
fn tell_begin(config: &Config, warnings: &[UnknownVariable]) {
    let places = |listen: &[Listen]| {
        let places: Vec<String> = listen.iter().map(ToString::to_string).collect();
        places.join(",")
    };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = places(&config.listen),
        operator = places(&config.operator),
        data = %config.data.display(),
        "oyez-server starts"
    );
    for warning in warnings {
        warn!("{warning}");
    }
}

/// Runs the doctor. A signal ends its proof early, with a report.
fn examine(config: &Config, arguments: &oyez_doctor::Arguments) -> ExitCode {
    let stop = Arc::new(AtomicBool::new(false));
    if arguments.prove.is_some() {
        for signal in [SIGTERM, SIGINT] {
            if let Err(error) = flag::register(signal, stop.clone()) {
                return fail(FAILED, &RunError::Signals(error));
            }
        }
    }
    match oyez_broker::examine(config, arguments, &stop) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(oyez_doctor::Failure::Print(error)) => printed(Err(error)),
        Err(error) => fail(FAILED, &error),
    }
}

fn settings(
    cli: &Cli,
    matches: &ArgMatches,
) -> Result<(Config, Vec<UnknownVariable>), ConfigError> {
    let (mut config, warnings) = Config::load(&Sources {
        file: cli.config.clone(),
        variables: std::env::vars_os().collect(),
        flags: given(matches),
    })?;
    config.restored = cli.restored;
    config.check()?;
    Ok((config, warnings))
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
        .with_target(false);
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
    // Only this line sets it.
    let _ = stopper.set(server.stopper());
    announce(&server, &data);
    server
        .wait()
        .inspect_err(|error| error!(%error, "stopping"))?;
    info!("stopped");
    Ok(())
}

/// Prints the line that scripts wait for, and on a terminal what to type next.
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
        note(&format_args!(
            "\nNow, from another terminal:\n\n    oyez{server} sub demo\n\nand from a third one:\n\n    oyez{server} pub demo \"hello\"\n\n(`cargo install --path client/cli` puts `oyez` on your path.) Ctrl-C stops the broker.\n"
        ));
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
                StopAction::Begin => {
                    info!("signal received, shutting down");
                    stopper.stop();
                }
                StopAction::Repeated => info!("asked to stop again at once, which is one request"),
                StopAction::AtOnce => end_at_once("again", FAILED),
            }
        }
    });
    if let Err(error) = spawned {
        error!(%error, "cannot start the signal thread; only SIGKILL stops this broker");
    }
}

/// What the log says of a signal that does not stop the broker.
fn nothing_to_do(signal: i32) -> Option<&'static str> {
    match signal {
        SIGHUP => Some("SIGHUP: settings are read at the start only"),
        SIGUSR1 => Some("SIGUSR1: the log goes to stderr, and there is no file to open again"),
        SIGUSR2 => Some("SIGUSR2 has no meaning here"),
        _ => None,
    }
}

fn end_at_once(when: &str, code: u8) -> ! {
    note(&format_args!(
        "oyez-server: asked to stop {when}, stopping at once"
    ));
    std::process::exit(i32::from(code));
}
