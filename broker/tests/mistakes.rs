//! Slips of whoever starts `oyez-server`: what it says to a misspelt setting, a number that cannot be, a place that cannot be had or
//! an output that cannot be written, and that it says so at once.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use oyez_broker::config::{Kind, settings};

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(20);

fn server(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oyez-server"));
    command.args(arguments).env("OYEZ_OPERATOR", "");
    command
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the program was built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Fails if a word is missing, or the program panicked.
fn says(said: &str, words: &[&str]) {
    for words in words {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// A server that is killed when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("the program was built"))
    }

    /// Waits until it has ended. Gives its exit status, if it was not ended by a signal.
    fn end(&mut self, what: &str) -> Option<i32> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(begin.elapsed() < PATIENCE, "{what}: it does not end");
            std::thread::yield_now();
        }
    }

    fn ask_to_stop(&self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
    }
}

#[test]
fn an_unknown_variable_is_a_warning_that_names_the_setting_it_is_close_to() {
    let mut check = server(&["--check-config"]);
    let checked = run(check.env("OYEZ_MAX_CONECTIONS", "5"));
    let said = text(&checked.stderr);
    assert!(checked.status.success(), "{said}");
    let warning =
        "OYEZ_MAX_CONECTIONS names no setting and is ignored; did you mean OYEZ_MAX_CONNECTIONS?";
    says(&said, &[warning]);

    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut start = server(&["--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
    start.env("OYEZ_MAX_CONECTIONS", "5");
    let mut running = Running::start(start.stdout(Stdio::null()).stderr(Stdio::piped()));
    let mut lines = BufReader::new(running.0.stderr.take().unwrap()).lines();
    let warned = lines.find(|line| line.as_ref().unwrap().contains("OYEZ_MAX"));
    let warned = warned.unwrap().unwrap();
    says(&warned, &["WARN", warning]);
}

#[test]
fn the_variables_of_a_kubernetes_service_named_oyez_are_no_setting_and_no_mistake() {
    let mut check = server(&["--check-config"]);
    for (name, value) in [
        ("OYEZ_SERVICE_HOST", "10.0.0.1"),
        ("OYEZ_SERVICE_PORT_NATIVE", "7450"),
        ("OYEZ_PORT", "tcp://10.0.0.1:7450"),
        ("OYEZ_PORT_7450_TCP", "tcp://10.0.0.1:7450"),
        ("OYEZ_PORT_7450_TCP_PROTO", "tcp"),
        ("OYEZ_PUSH_SERVICE_HOST", "10.0.0.2"),
        ("OYEZ_PUSH_PORT_7450_TCP_ADDR", "10.0.0.2"),
        ("OYEZ_SERVER", "10.0.0.2:7450"),
    ] {
        check.env(name, value);
    }
    let checked = run(&mut check);
    assert!(checked.status.success());
    assert_eq!(text(&checked.stderr), "");
}

#[test]
fn a_variable_that_is_no_text_is_no_reason_to_panic() {
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"\xff");
    let checked = run(server(&["--check-config"]).env("SOMEBODY_ELSES", odd));
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    for setting in ["OYEZ_SHARDS", "OYEZ_DATA", "OYEZ_LISTEN"] {
        let checked = run(server(&["--check-config"]).env(setting, odd));
        assert_eq!(checked.status.code(), Some(2));
        says(&text(&checked.stderr), &[setting, "no UTF-8"]);
    }
}

#[test]
fn an_unknown_key_or_flag_is_an_error_that_names_the_setting_it_is_close_to() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("oyez.toml");
    std::fs::write(&file, "shards = 2\nmax_conections = 5\n").unwrap();
    let checked = run(&mut server(&[
        "--check-config",
        "--config",
        file.to_str().unwrap(),
    ]));
    assert_eq!(checked.status.code(), Some(2));
    says(
        &text(&checked.stderr),
        &[
            "line 2",
            "`max_conections`",
            "did you mean `max_connections`?",
        ],
    );
    let checked = run(&mut server(&["--check-config", "--retention-byte", "5GB"]));
    assert_eq!(checked.status.code(), Some(2));
    says(&text(&checked.stderr), &["--retention-bytes"]);
}

/// Everything that prints what it was asked for.
const PRINTS: [&[&str]; 9] = [
    &["--print-config"],
    &["--check-config"],
    &["--help"],
    &["--version"],
    &["help", "doctor"],
    &["doctor", "--help"],
    &["doctor"],
    &["completions", "bash"],
    &["man"],
];

#[test]
fn an_output_that_cannot_be_written_is_an_error_and_no_panic() {
    for arguments in PRINTS {
        let full = File::create("/dev/full").unwrap();
        let mut print = server(arguments);
        let child = print.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let printed = child.wait_with_output().unwrap();
        let said = text(&printed.stderr);
        assert_eq!(printed.status.code(), Some(1), "{arguments:?}: {said}");
        says(&said, &["cannot write to standard output", "No space left"]);
    }
}

#[test]
fn a_reader_that_has_left_ends_the_output_quietly() {
    for arguments in PRINTS {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut print = server(arguments);
        let child = print.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let printed = child.wait_with_output().unwrap();
        assert_eq!(text(&printed.stderr), "", "{arguments:?}");
        assert!(printed.status.success(), "{arguments:?}");
    }
}

#[test]
fn errors_that_cannot_be_written_keep_their_exit_status() {
    for arguments in [&["--no-such-flag"][..], &["--max-connections", "0"]] {
        let full = File::create("/dev/full").unwrap();
        let status = server(arguments).stderr(full).status().unwrap();
        assert_eq!(status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn every_number_at_its_ends_is_served_with_or_refused_by_its_key() {
    let numbers = settings().into_iter();
    let numbers = numbers.filter(|setting| matches!(setting.kind, Kind::Number(_)));
    for setting in numbers {
        for value in [0, u64::from(u32::MAX), i64::MAX as u64, u64::MAX] {
            let what = format!("{}={value}", setting.variable());
            let dir = tempfile::tempdir().unwrap();
            let data = dir.path().join("data");
            let mut start = server(&["--listen", "127.0.0.1:0", "--data"]);
            // Two of them are small where they are not what is tried.
            start
                .arg(data)
                .envs([("OYEZ_SHARDS", "2"), ("OYEZ_SEGMENT_BYTES", "4194304")]);
            start.env(setting.variable(), value.to_string());
            let log = dir.path().join("log");
            start.stderr(File::create(&log).unwrap());
            let mut running = Running::start(start.stdout(Stdio::piped()));
            let mut line = String::new();
            let stdout = running.0.stdout.take().unwrap();
            // A watch, because a server that does nothing says nothing either.
            let (ready_in, ready) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let _ = BufReader::new(stdout).read_line(&mut line);
                let _ = ready_in.send(line);
            });
            let line = ready.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("{what}: neither ready nor refused"));
            let is_ready = line.starts_with("ready");
            if is_ready {
                running.ask_to_stop();
            }
            let code = running.end(&what);
            let said = std::fs::read_to_string(&log).unwrap();
            if is_ready {
                // With no time to stop in, it may have to give up.
                let may_give_up = setting.key == "drain_timeout_ms";
                assert!(
                    code == Some(0) || may_give_up && code == Some(1),
                    "{what}: {said}"
                );
            } else {
                assert!(matches!(code, Some(1 | 2)), "{what}: {code:?}: {said}");
                let is_named = said.contains(setting.key) || said.contains(&setting.variable());
                assert!(is_named, "{what}: {said}");
            }
            says(&said, &[]);
        }
    }
}

#[test]
fn more_connections_than_can_be_are_refused_with_the_bound_and_why() {
    for connections in ["18446744073709551615", "469762049"] {
        let mut running = Running::start(
            server(&["--max-connections", connections, "--listen", "127.0.0.1:0"])
                .stderr(Stdio::piped()),
        );
        assert_eq!(running.end(connections), Some(2));
        let mut said = String::new();
        let mut stderr = running.0.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        says(
            &said,
            &[
                "`max_connections`",
                connections,
                "at most 469762048",
                "because",
                "448 shards",
            ],
        );
    }
}

/// What a server says that starts with a lower descriptor limit.
fn refused_under(limit: u32, data: &Path) -> String {
    let start = format!(
        "ulimit -n {limit}; exec {} --listen 127.0.0.1:0 --operator '' --data {}",
        env!("CARGO_BIN_EXE_oyez-server"),
        data.display()
    );
    let output = run(Command::new("sh").args(["-c", &start]));
    assert_eq!(output.status.code(), Some(1));
    text(&output.stderr)
}

#[test]
fn a_descriptor_limit_that_holds_no_connection_is_refused_with_the_one_that_does() {
    let dir = tempfile::tempdir().unwrap();
    for limit in [100, 576] {
        let said = refused_under(limit, &dir.path().join("data"));
        let limit = limit.to_string();
        says(
            &said,
            &["RLIMIT_NOFILE", &limit, "576", "ulimit -n", "LimitNOFILE="],
        );
        assert!(!said.contains("shards of"), "{said}");
    }
    let said = refused_under(584, &dir.path().join("data"));
    says(
        &said,
        &[
            "10000 connections",
            "448 shards",
            "ulimit -n",
            "`max_connections`",
        ],
    );
}

#[test]
fn a_log_level_that_is_none_is_refused_with_the_one_that_was_meant() {
    let checked = run(&mut server(&["--check-config", "--log", "debu"]));
    assert_eq!(checked.status.code(), Some(2));
    says(
        &text(&checked.stderr),
        &["`log`", "`debu`", "did you mean `debug`?"],
    );
    let checked = run(server(&["--check-config"]).env("OYEZ_LOG", "debu"));
    assert_eq!(checked.status.code(), Some(2));
    let parts = "oyez_broker=debug,no_such_part=trace,warn";
    let checked = run(&mut server(&["--check-config", "--log", parts]));
    assert!(checked.status.success(), "{}", text(&checked.stderr));
}

#[test]
fn sizes_and_durations_have_units_in_the_file_in_variables_and_in_flags() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("oyez.toml");
    let check = |file: &Path| server(&["--check-config", "--config", file.to_str().unwrap()]);
    // A size that is too small shows what was read.
    for (written, read) in [
        ("5MB", "is 5MB"),
        ("5MiB", "is 5MiB"),
        ("5000001", "is 5000001"),
    ] {
        std::fs::write(&file, format!("retention_bytes = \"{written}\"\n")).unwrap();
        let of_file = run(&mut check(&file));
        let of_variable = run(server(&["--check-config"]).env("OYEZ_RETENTION_BYTES", written));
        let of_flag = run(&mut server(&[
            "--check-config",
            "--retention-bytes",
            written,
        ]));
        for checked in [of_file, of_variable, of_flag] {
            let said = text(&checked.stderr);
            assert_eq!(checked.status.code(), Some(2), "{said}");
            says(&said, &["`retention_bytes`", read, "two segments (128MiB)"]);
        }
    }
    let fine = "retention_bytes = \"5GB\"\nheartbeat_ms = \"10s\"\nretention_seconds = \"7d\"\narena_bytes = 16777216\n";
    std::fs::write(&file, fine).unwrap();
    let checked = run(&mut check(&file));
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    for (wrong, words) in [
        (
            "retention_bytes = \"5G\"",
            "5GB (powers of 1000) or 5GiB (powers of 1024)",
        ),
        ("heartbeat_ms = \"5 minutes\"", "250ms, 10s, 5m, 2h or 7d"),
        (
            "heartbeat_ms = \"0.5ms\"",
            "no whole number of milliseconds",
        ),
        ("heartbeat_ms = \"60d\"", "too large"),
        ("shards = \"2k\"", "a whole number"),
    ] {
        std::fs::write(&file, format!("open = true\n{wrong}\n")).unwrap();
        let checked = run(&mut check(&file));
        assert_eq!(checked.status.code(), Some(2), "{wrong}");
        says(&text(&checked.stderr), &["line 2", words]);
    }
}

#[test]
fn a_file_or_a_directory_that_cannot_be_had_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (file, missing, socket) = (path("file"), path("no/data"), path("no/oyez.sock"));
    std::fs::write(&file, "").unwrap();
    let unix = format!("unix:{socket}");
    let (home, data) = (path(""), path("data"));
    let cases: [(&[&str], i32, &[&str]); 8] = [
        (
            &["--data", &file],
            1,
            &[&file, "not a directory", "name a directory"],
        ),
        (
            &["--data", &missing],
            1,
            &[&missing, "does not exist", "make that first"],
        ),
        (&["--data", "/sys/oyez"], 1, &["/sys/oyez", "cannot be"]),
        (&["--data", ""], 2, &["`data`", "is empty"]),
        (
            &["--config", &home],
            2,
            &[&home, "directory", "--print-config"],
        ),
        (
            &["--config", &missing],
            2,
            &[&missing, "No such file", "--print-config"],
        ),
        (
            &["--config", &file, "--config", &file],
            2,
            &["--config", "multiple times"],
        ),
        (
            &["--data", &data, "--listen", &unix],
            1,
            &[&socket, "its directory must exist", "--listen"],
        ),
    ];
    for (arguments, code, words) in cases {
        let mut start = server(&["--listen", "127.0.0.1:0"]);
        let refused = run(start.args(arguments));
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}: {said}");
        says(&said, words);
    }
}

/// The lines that come to a terminal's stderr, up to the one with `last`.
fn lines_on_a_terminal(last: &str) -> Vec<String> {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let terminal = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut start = server(&["--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
    start.stdout(terminal.try_clone().unwrap()).stderr(terminal);
    let _running = Running::start(&mut start);
    // It keeps the terminal open here.
    drop(start);
    let mut lines = Vec::new();
    // It cannot be read any more when the server has ended.
    for line in BufReader::new(File::from(master))
        .lines()
        .map_while(Result::ok)
    {
        let is_last = line.contains(last);
        lines.push(line);
        if is_last {
            return lines;
        }
    }
    panic!("{last:?} does not come: {lines:?}");
}

#[test]
fn on_a_terminal_the_first_lines_say_what_runs_where_and_that_it_is_ready() {
    let lines = lines_on_a_terminal("ready ");
    says(
        &lines[0],
        &[
            "oyez-server starts",
            "version=",
            "listen=\"127.0.0.1:0\"",
            "data=",
        ],
    );
    let all = lines.join("\n");
    for chatter in ["ansi", "cores", "shards on"] {
        assert!(!all.contains(chatter), "{chatter:?} is in: {all}");
    }
    assert!(lines.len() <= 2, "{all}");
}

#[test]
fn completions_and_manual_pages_know_every_setting() {
    for arguments in [
        &["completions", "bash"][..],
        &["completions", "zsh"],
        &["completions", "fish"],
        &["man"],
    ] {
        let printed = run(&mut server(arguments));
        assert!(printed.status.success(), "{arguments:?}");
        let printed = text(&printed.stdout).replace('\\', "");
        for setting in settings() {
            assert!(
                printed.contains(&setting.flag()),
                "{arguments:?}: {}",
                setting.key
            );
        }
    }
    let page = run(&mut server(&["man", "doctor"]));
    says(&text(&page.stdout), &[".TH", "doctor", "prove"]);
    let refused = run(&mut server(&["man", "docter"]));
    assert_eq!(refused.status.code(), Some(2));
    says(&text(&refused.stderr), &["docter", "doctor"]);
}
