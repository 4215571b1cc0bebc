//! The browser client in Node.js: its own tests, and a session with a broker.

use testkit::Broker;
use testkit::process::succeed;
use testkit::programs::workspace;
use testkit::tools::{Tool, are_here, command};

const TEST: &str = "the browser client in Node.js";

#[test]
fn the_clients_own_tests_pass() {
    if !are_here(
        TEST,
        &[
            Tool::Program("node"),
            Tool::Program("npm"),
            Tool::Client("ws"),
        ],
    ) {
        return;
    }
    let mut tests = command("npm");
    succeed(tests.arg("test").current_dir(workspace().join("client/js")));
}

#[test]
fn a_session_with_a_broker_does_what_the_client_promises() {
    if !are_here(TEST, &[Tool::Program("node"), Tool::Client("ws")]) {
        return;
    }
    let broker = Broker::start();
    let script = workspace().join("client/js/test/live.mjs");
    let url = format!("ws://{}", broker.address());
    succeed(command("node").arg(script).arg(url));
}
