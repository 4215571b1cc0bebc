//! `oyez completions` and `oyez man`, as a shell runs them.
#![allow(
    clippy::unwrap_used,
    reason = "a failure here is a failure of the test"
)]

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

fn oyez(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oyez"));
    let output = command.args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    output
}

#[test]
fn every_shell_gets_completions_that_know_the_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = String::from_utf8(oyez(&["completions", shell]).stdout).unwrap();
        for word in ["topics", "give-up", "connect-timeout"] {
            assert!(script.contains(word), "{shell} knows {word}");
        }
    }
}

#[test]
fn bash_completes_an_option_of_a_command() {
    let script = oyez(&["completions", "bash"]).stdout;
    let ask = "\nCOMP_WORDS=(oyez sub t --give); COMP_CWORD=3; COMP_LINE='oyez sub t --give'\n\
               _oyez oyez --give t; echo \"${COMPREPLY[*]}\"\n";
    let mut bash = Command::new("bash")
        .args(["--norc", "--noprofile"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = bash.stdin.take().unwrap();
    stdin.write_all(&script).unwrap();
    stdin.write_all(ask.as_bytes()).unwrap();
    drop(stdin);
    let output = bash.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "--give-up");
}

#[test]
fn every_command_has_a_manual_page_of_its_whole_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("man1");
    oyez(&["man", "--dir", path.to_str().unwrap()]);
    for (page, word) in [
        ("oyez.1", "oyez topics"),
        ("oyez-sub.1", "give\\-up"),
        ("oyez-pub.1", "skip\\-long"),
        ("oyez-bench-fanout.1", "subscribers"),
    ] {
        let text = fs::read_to_string(path.join(page)).unwrap();
        assert!(text.starts_with(".ie"), "{page} is roff");
        assert!(text.contains(word), "{page} knows {word}:\n{text}");
    }
    let alone = oyez(&["man"]).stdout;
    assert!(alone == fs::read(path.join("oyez.1")).unwrap());
}
