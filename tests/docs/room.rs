//! The place in which the test works through a page: a directory that looks like the sources after an installation of Oyez,
//! and ports of its own.
//!
//! The page is written for one broker at the usual ports. These parts of a command, and of what it prints, are
//! replaced, so that nothing needs root or meets another test:
//!
//! | the page says | it becomes | because |
//! |---|---|---|
//! | 7450, 7451, 8000 | free ports | others use these |
//! | `/home/you/oyez` | the directory | that is where somebody would be |
//! | `/var/lib/oyez` | `oyez-data` in the directory | it belongs to root, and there is the broker's data |
//! | `/etc/oyez`, `/run/oyez`, `/srv/backup` | the same below the directory | these belong to root |
//! | `push.example.org`, `wss:` | the broker, `ws:` | that name leads nowhere |
//!
//! First on the path are scripts of these names:
//!
//! | name | does |
//! |---|---|
//! | `oyez-server`, `oyez` | start the built programs, which think that the replaced ports are the usual ones |
//! | `cargo run --release` | starts `oyez-server` |
//! | `cargo install --path DIR` | looks whether there is a package in `DIR` |
//! | `systemctl start oyez` | starts `oyez-server`, as a page does that starts none itself |
//! | `systemctl stop oyez` | stops it |
//!
//! curl shows no progress, as on a terminal.

use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;
use testkit::programs;
use testkit::tools::command;

/// Directories that belong to root, and are made below that of the page.
const DIRECTORIES: [&str; 3] = ["/etc/oyez", "/run/oyez", "/srv/backup"];
/// Data directories: that of an installed broker, and the default in the current directory.
const DATA: [&str; 2] = ["/var/lib/oyez", "oyez-data"];
/// Directories of the sources that the page's directory links to.
const SOURCES: [&str; 4] = ["broker", "client", "benches", "protocol"];
/// Ports outside the range from which the kernel picks one when a program asks for any.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Programs, as scripts. Segments and the arena are small, so that many brokers start at once on a slow disk.
const SCRIPTS: [(&str, &str); 4] = [
    (
        "oyez-server",
        r#"
: "${OYEZ_LISTEN=127.0.0.1:PORT}" "${OYEZ_OPERATOR=127.0.0.1:OPERATORS}"
: "${OYEZ_SEGMENT_BYTES=4194304}" "${OYEZ_ARENA_BYTES=33554432}"
export OYEZ_LISTEN OYEZ_OPERATOR OYEZ_SEGMENT_BYTES OYEZ_ARENA_BYTES
exec 'SERVER_PROGRAM' "$@"
"#,
    ),
    (
        "oyez",
        r#"
: "${OYEZ_SERVER=127.0.0.1:PORT}"
export OYEZ_SERVER
exec 'CLIENT_PROGRAM' "$@"
"#,
    ),
    (
        "cargo",
        r#"
case "$*" in
'run --release') exec oyez-server ;;
'run --release -- '*) shift 3; exec oyez-server "$@" ;;
'install --path '*) test -f "$3/Cargo.toml" ;;
*) echo "cargo $*: this script knows nothing of it" >&2; exit 1 ;;
esac
"#,
    ),
    (
        "systemctl",
        r#"
test "$1" = start && exec oyez-server
kill "$(cat oyez-data/LOCK)" && exec flock oyez-data/LOCK true
"#,
    ),
];

/// A directory and its ports.
#[derive(Debug)]
pub(crate) struct Room {
    home: TempDir,
    /// The broker's port, the operator's, that of a server of pages.
    ports: [u16; 3],
}

impl Room {
    /// Makes one.
    pub(crate) fn new() -> Self {
        let home = TempDir::with_prefix("oyez-docs-").expect("a directory for temporary files");
        let room = Self {
            home,
            ports: [port(), port(), port()],
        };
        for directory in DIRECTORIES {
            let path = room.path().join(&directory[1..]);
            std::fs::create_dir_all(&path).expect("a directory");
        }
        for source in SOURCES {
            symlink(programs::workspace().join(source), room.path().join(source)).expect("a link");
        }
        let modules = room.path().join("node_modules");
        std::fs::create_dir(&modules).expect("a directory");
        symlink(
            programs::workspace().join("client/js"),
            modules.join("oyez-client"),
        )
        .expect("a link");
        std::fs::write(room.path().join(".curlrc"), "silent\nshow-error\n").expect("a file");
        room.install();
        room
    }

    fn install(&self) {
        let bin = self.bin();
        std::fs::create_dir(&bin).expect("a directory");
        for (name, text) in SCRIPTS {
            let text = text
                .replace("PORT", &self.ports[0].to_string())
                .replace("OPERATORS", &self.ports[1].to_string())
                .replace("SERVER_PROGRAM", &programs::server().to_string_lossy())
                .replace("CLIENT_PROGRAM", &programs::oyez().to_string_lossy());
            let file = bin.join(name);
            std::fs::write(&file, format!("#!/bin/sh\n{text}")).expect("a file");
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).expect("its mode");
        }
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        self.home.path()
    }

    fn bin(&self) -> PathBuf {
        self.path().join("bin")
    }

    /// Where a server of pages listens.
    pub(crate) const fn pages(&self) -> u16 {
        self.ports[2]
    }

    /// What the page says, with what holds here.
    pub(crate) fn here(&self, text: &str) -> String {
        let home = self.path().to_str().expect("a plain name");
        let mut here = text.replace("/home/you/oyez", home);
        here = here.replace(DATA[0], &format!("{home}/{}", DATA[1]));
        for directory in DIRECTORIES {
            here = here.replace(directory, &format!("{home}{directory}"));
        }
        let broker = format!("localhost:{}", self.ports[0]);
        here = here.replace("wss://push.example.org", &format!("ws://{broker}"));
        let usual = [7450, 7451, 8000].map(|port: u16| port.to_string());
        for (usual, port) in usual.iter().zip(self.ports) {
            here = replaced(&here, usual, &port.to_string());
        }
        here
    }

    /// A program that runs in the directory and finds Oyez.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut run = command(program);
        let path = std::env::var("PATH").unwrap_or_default();
        let python = crate::python();
        let python = python.parent().expect("it lies in a directory").display();
        run.env("PATH", format!("{}:{python}:{path}", self.bin().display()));
        run.current_dir(self.path()).env("HOME", self.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OYEZ_") {
                run.env_remove(name);
            }
        }
        run
    }

    /// The subscriptions that the broker has, and the messages that it has taken; nothing if it does not answer.
    pub(crate) fn heard(&self) -> Option<(u64, u64)> {
        let output = testkit::process::run(self.command("bash").args(["-c", "oyez stats -o json"]));
        let stats: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let counter = |name: &str| stats[name].as_u64();
        Some((counter("subscriptions")?, counter("messages_in")?))
    }
}

/// A port that is free and that no other page of this process gets.
fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let size = PORTS.end - PORTS.start;
    let first = std::process::id().wrapping_mul(7919) % u32::from(size);
    let first = u16::try_from(first).expect("less than the ports");
    let mut ports = std::iter::repeat_with(|| {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        PORTS.start + (first + next) % size
    });
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(free).expect("it goes on until one is free")
}

/// Replaces a number where it is not a part of another one.
fn replaced(text: &str, number: &str, by: &str) -> String {
    let is_digit = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_digit());
    let mut parts = text.split(number);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let inside = is_digit(out.chars().last()) || is_digit(part.chars().next());
        out.push_str(if inside { number } else { by });
        out.push_str(part);
    }
    out
}

#[test]
fn numbers_are_replaced_as_a_whole() {
    assert_eq!(replaced(":7450 17450 7450", "7450", "1"), ":1 17450 1");
}
