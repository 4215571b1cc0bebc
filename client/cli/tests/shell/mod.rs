//! Runs `oyez` as a shell does.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::thread;

use crate::support::PATIENCE;

/// `oyez` with these arguments, at a broker on that port.
pub(crate) fn oyez(port: u16, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oyez"));
    command
        .env("OYEZ_SERVER", format!("127.0.0.1:{port}"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Feeds standard input, and waits for the end.
pub(crate) fn finish(mut child: Child, input: &[u8]) -> Output {
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    thread::spawn(move || stdin.write_all(&input));
    let (sender, output) = channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    output
        .recv_timeout(PATIENCE)
        .expect("the command should end")
        .unwrap()
}

pub(crate) fn run(port: u16, arguments: &[&str], input: &[u8]) -> Output {
    finish(oyez(port, arguments).spawn().unwrap(), input)
}

pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
pub(crate) fn succeeded(output: &Output) -> &[u8] {
    assert!(output.status.success(), "{}", errors(output));
    &output.stdout
}

/// Sends a signal to it.
pub(crate) fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &pid]).status();
    assert!(sent.unwrap().success());
}
