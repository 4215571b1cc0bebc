//! The programs under test, built once per test process so that they are never stale, in the profile of the tests, or
//! optimised (`OYEZ_RELEASE=1`) under tests that are not.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The broker, `oyez-server`.
#[must_use]
pub fn server() -> PathBuf {
    directory().join("oyez-server")
}

/// The command line, `oyez`.
#[must_use]
pub fn oyez() -> PathBuf {
    directory().join("oyez")
}

/// The root of the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package is a directory of the workspace")
}

/// The directory of all that is built.
///
/// # Panics
/// When the test was not built by cargo.
#[must_use]
pub fn target() -> PathBuf {
    let target = profile().parent().map(Path::to_owned);
    target.expect("a profile lies in the target directory")
}

/// Cargo, the one that runs the tests.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Whether the programs are optimised, so that the time which they take says something.
#[must_use]
pub fn optimised() -> bool {
    !cfg!(debug_assertions) || std::env::var_os("OYEZ_RELEASE").is_some_and(|value| value != "0")
}

/// The directory of the built programs.
fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let profile = profile();
        let target = target();
        let mut build = cargo();
        build
            .args(["build", "--quiet", "--bins"])
            .args(["--package", "oyez-broker", "--package", "oyez-cli"])
            .arg("--target-dir")
            .arg(&target);
        if optimised() {
            build.arg("--release");
        }
        crate::process::succeed(&mut build);
        if optimised() {
            target.join("release")
        } else {
            profile
        }
    })
}

/// Where this test was built: target/PROFILE/deps/test-HASH.
fn profile() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own path");
    let profile = own.ancestors().nth(2);
    profile
        .expect("cargo puts tests into target/PROFILE/deps")
        .to_owned()
}
