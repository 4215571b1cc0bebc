//! `oyez-server` as whoever starts it sees it: exit codes, the ready line, what it says when it cannot start. What
//! it says to slips is in `mistakes`.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn server(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oyez-server"));
    // The operator's port is one for all.
    let settings = [("OYEZ_SEGMENT_BYTES", "4194304"), ("OYEZ_OPERATOR", "")];
    command.args(arguments).envs(settings);
    command
}

fn run(arguments: &[&str]) -> Output {
    server(arguments).output().expect("the program was built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server that is killed when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(data: &Path) -> (Running, String) {
    let data = data.to_str().unwrap();
    let mut child = server(&["--listen", "127.0.0.1:0", "--data", data])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program was built");
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    (Running(child), line)
}

#[test]
fn the_printed_configuration_is_accepted_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("oyez.toml");
    let printed = run(&["--print-config"]);
    assert!(printed.status.success());
    std::fs::write(&file, printed.stdout).unwrap();
    let checked = run(&["--check-config", "--config", file.to_str().unwrap()]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
}

#[test]
fn the_ready_line_names_address_pid_and_directory() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (running, line) = start(&data);
    let fields: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(fields[0], "ready");
    let port = fields[1].strip_prefix("tcp=127.0.0.1:").unwrap();
    assert_ne!(port.parse::<u16>().unwrap(), 0);
    assert_eq!(fields[2], format!("pid={}", running.0.id()));
    let real = std::fs::canonicalize(&data).unwrap();
    assert_eq!(fields[3], format!("data={}", real.display()));
}

#[test]
fn a_second_server_on_the_same_directory_is_told_who_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (running, _) = start(&data);
    let second = run(&["--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
    let said = text(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains(&running.0.id().to_string()), "{said}");
}

#[test]
fn a_server_that_does_not_get_ready_stops_when_it_is_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    // Whoever opens this waits until somebody writes to it.
    let made = Command::new("mkfifo").arg(data.join("meta")).status();
    assert!(made.unwrap().success());
    let child = server(&["--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()])
        .stderr(Stdio::null())
        .spawn();
    let mut running = Running(child.expect("the program was built"));
    let begin = Instant::now();
    let patience = Duration::from_secs(20);
    let holder = || std::fs::read_to_string(data.join("LOCK")).unwrap_or_default();
    while holder().is_empty() {
        assert!(begin.elapsed() < patience, "it does not begin");
        std::thread::yield_now();
    }
    let pid = running.0.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    let status = loop {
        if let Some(status) = running.0.try_wait().unwrap() {
            break status;
        }
        assert!(begin.elapsed() < patience, "it does not stop");
        std::thread::yield_now();
    };
    assert_eq!(status.code(), Some(0));
}

#[test]
fn an_address_that_cannot_be_had_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = dir.path().join("data");
    let output = run(&["--listen", &address, "--data", data.to_str().unwrap()]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&address) && said.contains("--listen"),
        "{said}"
    );
}

#[test]
fn an_address_that_other_machines_reach_is_a_usage_error_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let start = ["--listen", "0.0.0.0:0", "--data", data.to_str().unwrap()];
    for arguments in [&start[..], &["--listen", "[::]:7450", "--check-config"]] {
        let output = run(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        for words in [arguments[1], "open = true", "--open", "OYEZ_OPEN"] {
            assert!(said.contains(words), "{words:?} is not in: {said}");
        }
    }
    assert!(!data.exists(), "nothing was made");
    let checked = run(&["--listen", "0.0.0.0:7450", "--open", "--check-config"]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let by_variable = server(&["--listen", "0.0.0.0:7450", "--check-config"])
        .env("OYEZ_OPEN", "true")
        .output();
    assert!(by_variable.unwrap().status.success());
}

#[test]
fn a_broker_that_is_open_warns() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    let child = server(&["--listen", "0.0.0.0:0", "--open", "--data", data])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut running = Running(child.expect("the program was built"));
    let lines = BufReader::new(running.0.stderr.take().unwrap()).lines();
    let warned = lines
        .map_while(Result::ok)
        .find(|line| line.contains("open = true"));
    assert!(warned.unwrap().contains("WARN"));
}

#[test]
fn the_doctor_opens_as_many_connections_as_it_is_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let output = server(&["doctor", "--prove", "500", "-o", "json"])
        .env("TMPDIR", dir.path())
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let proof = &report["proof"];
    assert_eq!(proof["reached"], 500, "{proof}");
    assert_eq!(proof["alive"], 500, "{proof}");
    assert!(proof["obstacle"].is_null(), "{proof}");
    assert_eq!(report["connections"], 500);
    let possible = report["possible"].as_bool().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(!possible)));
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_descriptor_limit_that_is_too_low_is_refused_with_the_one_that_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let below = |limit: u32, arguments: &str| {
        let program = env!("CARGO_BIN_EXE_oyez-server");
        let line = format!("ulimit -n {limit}; exec {program} {arguments}");
        let mut command = Command::new("sh");
        command.args(["-c", &line]).env("OYEZ_OPERATOR", "");
        command.env("OYEZ_DATA", dir.path()).output().unwrap()
    };
    for limit in [64, 256, 500] {
        let refused = below(limit, "--listen 127.0.0.1:0");
        assert_eq!(refused.status.code(), Some(1));
        let said = text(&refused.stderr);
        assert!(said.contains("raise it to "), "{said}");
        assert!(!said.contains("shards"), "{said}");

        let report = below(limit, "doctor -o json").stdout;
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        let findings = report["findings"].as_array().unwrap();
        let of_limit = |finding: &&serde_json::Value| finding["name"] == "descriptor limit";
        let finding = findings.iter().find(of_limit).unwrap();
        assert_eq!(finding["verdict"], "fail", "{finding}");
        assert!(
            !finding["why"].as_str().unwrap().contains("379,736"),
            "{finding}"
        );
        let fix = finding["fix"].as_str().unwrap();
        assert!(fix.contains("LimitNOFILE="), "{finding}");
    }
}

#[test]
fn the_doctor_says_its_verdict_first_and_what_is_fine_only_when_asked() {
    let report = run(&["doctor", "--connections", "10"]);
    let said = text(&report.stdout);
    let verdict = said.lines().next().unwrap_or_default();
    let can = match report.status.success() {
        true => "This host can hold 10 connections",
        false => "This host cannot hold 10 connections",
    };
    assert!(verdict.starts_with(can), "{said}");
    assert!(!said.contains("\nFine\n"), "{said}");
    let all = run(&["doctor", "--connections", "10", "-v"]);
    let said = text(&all.stdout);
    assert!(said.starts_with(verdict), "{said}");
    assert!(said.contains("\nFine\n"), "{said}");
    assert_eq!(all.status.code(), report.status.code());
}

#[test]
fn the_doctor_names_every_check_and_prints_a_script_without_running_it() {
    let report = run(&["doctor", "--connections", "1000000", "-v"]);
    let said = text(&report.stdout);
    for name in ["descriptor limit", "net.core.somaxconn", "io_uring", "swap"] {
        assert!(said.contains(name), "{name} is not in:\n{said}");
    }
    let script = run(&["doctor", "--connections", "1000000", "--script"]);
    let said = text(&script.stdout);
    assert!(said.starts_with("#!/bin/sh\n"), "{said}");
    assert_eq!(script.status.code(), report.status.code());
}

#[test]
fn the_doctor_says_which_limit_stopped_it() {
    let dir = tempfile::tempdir().unwrap();
    let bounded = format!(
        "ulimit -n 700; exec {} doctor --prove 2000 --shards 1 -o json",
        env!("CARGO_BIN_EXE_oyez-server")
    );
    let output = Command::new("sh")
        .args(["-c", &bounded])
        .env("TMPDIR", dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let obstacle = &report["proof"]["obstacle"];
    let limit = obstacle["limit"].as_str().unwrap_or_default();
    assert!(limit.contains("descriptor limit"), "{report}");
}
