//! Autobahn's cases of RFC 6455, as kosoku runs them against the [`echo`](super::echo).
//!
//! `.ci/run` installs kosoku. A test that does not find it says so and passes; with CI=true it fails.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::echo::{ACCEPTS, Echo};

/// How long all cases may take. Measured: 15 seconds in a build without optimization.
const PATIENCE: Duration = Duration::from_secs(600);

/// Where `.ci/run` has installed it.
fn kosoku() -> Option<PathBuf> {
    let test = std::env::current_exe().expect("a test knows its own path");
    // The test is target/PROFILE/deps/test-HASH.
    let target = test.ancestors().nth(3)?;
    Some(target.join("foreign/python/bin/kosoku")).filter(|program| program.is_file())
}

/// Runs all cases, and returns the result of each.
fn run(kosoku: PathBuf) -> serde_json::Map<String, Value> {
    let echo = Echo::start();
    let reports = TempDir::with_prefix("oyez-autobahn-").expect("a directory");
    let mut command = Command::new(kosoku);
    command.arg("--outdir").arg(reports.path());
    command.arg(format!("ws://{}/api/v1/ws", echo.address));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("a program");
    let mut stderr = child.stderr.take().expect("stderr is piped");
    let (said_in, said) = channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        // Output that cannot be read is not shown; no test may wait for it any more.
        let _ = stderr.read_to_end(&mut text);
        let _ = said_in.send(text);
    });
    let said = said.recv_timeout(PATIENCE);
    if said.is_err() {
        // The program may have ended by itself.
        let _ = child.kill();
    }
    child.wait().expect("the child was not waited for");
    let said = said.expect("all cases end before patience does");
    // The program fails where a case fails, which its report says.
    let report = std::fs::read(reports.path().join("index.json"));
    let report = report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&said)));
    let report: Value = serde_json::from_slice(&report).expect("a report is JSON");
    let agents = report.as_object().expect("a report of agents");
    let cases = agents.values().next().and_then(Value::as_object);
    cases.expect("a report of cases").clone()
}

/// Groups of cases, how many each has, and their results: framing, pings, reserved bits, opcodes, fragments, UTF-8, closing,
/// large messages, and how they are cut into frames. The last two are of `permessage-deflate`, which is declined.
const GROUPS: [(&str, usize, &[&str]); 11] = [
    ("1", 16, PASSED),
    ("2", 11, PASSED),
    ("3", 7, PASSED),
    ("4", 10, PASSED),
    ("5", 20, PASSED),
    ("6", 145, PASSED),
    ("7", 37, PASSED),
    ("9", 52, PASSED),
    ("10", 1, PASSED),
    ("12", 90, DECLINED),
    ("13", 126, DECLINED),
];
/// `INFORMATIONAL` is where RFC 6455 leaves it open what happens.
const PASSED: &[&str] = &["OK", "INFORMATIONAL"];
const DECLINED: &[&str] = &["UNIMPLEMENTED"];
/// Messages of 16 MiB, as text and binary, where at most 8 MiB are taken: they end with 1009 instead of coming back. No case of
/// group 9 is left out; the others have messages of up to 8 MiB.
const TOO_LARGE: [&str; 2] = ["9.1.6", "9.2.6"];
const _: () = assert!(ACCEPTS.size_max == 8 << 20);

#[test]
fn the_cases_of_autobahn_pass() {
    let Some(kosoku) = kosoku() else {
        let is_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!is_ci, "this needs kosoku, which .ci/run installs");
        let skipped = "skipped: the cases of Autobahn: kosoku is not installed";
        // A closed stderr is no reason to fail a test.
        let _ = writeln!(std::io::stderr(), "{skipped}");
        return;
    };
    let mut results = run(kosoku);
    for id in TOO_LARGE {
        let result = results.remove(id).expect("a case of this number");
        assert_eq!(result["remoteCloseCode"], 1009, "{id}: {result}");
    }
    let count = results.len();
    let mut passed = 0;
    for (group, count, allowed) in GROUPS {
        let is_of = |id: &str| id.split('.').next() == Some(group);
        let is_well = |result: &Value| {
            let (frames, close) = (&result["behavior"], &result["behaviorClose"]);
            let is_in = |known: &[&str], verdict: &Value| known.iter().any(|name| verdict == name);
            is_in(allowed, frames) && is_in(PASSED, close)
        };
        let cases = results.iter().filter(|(id, _)| is_of(id));
        let (well, bad): (Vec<_>, Vec<_>) = cases.partition(|(_, result)| is_well(result));
        assert!(bad.is_empty(), "group {group}: {bad:?}");
        assert_eq!(well.len(), count, "cases of group {group}");
        passed += well.len();
    }
    assert_eq!(passed, count, "there are other groups");
}
