//! The programs that the tests use, and whether they are here.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::figures::skipped;
use crate::process::run;
use crate::programs::{target, workspace};

/// Where the system's servers are, which are not in everybody's path.
const SERVERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// The Python that has the packages, where `.ci/run` puts it.
pub const PYTHON_OF_PACKAGES: &str = "python/bin/python3";

/// What a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// A program.
    Program(&'static str),
    /// A package from npm.
    Module(&'static str),
    /// What the tests of the browser client have from npm, beside it.
    Client(&'static str),
    /// A package from PyPI.
    Package(&'static str),
    /// An extension of PHP.
    PhpExtension(&'static str),
}

impl Tool {
    fn is_here(self) -> bool {
        match self {
            Self::Program(name) => find(name).is_some(),
            Self::Module(name) => modules().join(name).is_dir(),
            Self::Client(name) => workspace()
                .join("client/js/node_modules")
                .join(name)
                .is_dir(),
            Self::Package(name) => find(PYTHON_OF_PACKAGES).is_some_and(|python| {
                let code = format!("import {name}");
                run(Command::new(python).args(["-c", &code]))
                    .status
                    .success()
            }),
            Self::PhpExtension(name) => {
                let code = format!("exit(extension_loaded('{name}') ? 0 : 1);");
                find("php")
                    .is_some_and(|php| run(Command::new(php).args(["-r", &code])).status.success())
            }
        }
    }
}

/// Whether all tools are here; if not, says that the test is left out.
///
/// # Panics
/// When one is missing in continuous integration.
pub fn are_here(test: &str, tools: &[Tool]) -> bool {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| !tool.is_here()).collect();
    if missing.is_empty() {
        return true;
    }
    let is_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!is_ci, "{test} needs {missing:?}, which .ci/run installs");
    skipped(test, &format!("{missing:?} is not installed"));
    false
}

/// A program, without the variables that tell this test something, and with no proxy between it and loopback.
///
/// # Panics
/// When it is not here.
pub fn command(name: &str) -> Command {
    let program = find(name).unwrap_or_else(|| panic!("{name} is not installed"));
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).env("NODE_PATH", modules());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().to_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command
}

fn find(name: &str) -> Option<PathBuf> {
    if name == PYTHON_OF_PACKAGES {
        return Some(target().join("foreign").join(name)).filter(|file| is_file(file));
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let servers = SERVERS.iter().map(PathBuf::from);
    let files = std::env::split_paths(&paths)
        .chain(servers)
        .map(|path| path.join(name));
    files.into_iter().find(|file| is_file(file))
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file())
}

/// Where `.ci/run` puts what comes from npm.
fn modules() -> PathBuf {
    target().join("foreign/node_modules")
}
