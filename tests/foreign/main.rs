//! The broker beside programs that know nothing of it: curl, browsers, libraries of other languages, and proxies with
//! their defaults.
//!
//! `.ci/run` installs what is needed. A test whose tools are missing says so and passes; with CI=true it fails, so that
//! nothing is left out silently there.

mod browser;
mod client;
mod curl;
mod languages;
mod pieces;
mod proxies;
mod proxy;
mod websockets;

use std::path::PathBuf;

use testkit::programs::workspace;

/// A file beside this one.
fn beside(name: &str) -> PathBuf {
    workspace().join("tests/foreign").join(name)
}
