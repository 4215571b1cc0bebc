//! A command that has been started, in a process group of its own, with what it prints in a file.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use testkit::deadline::found_within;
use testkit::stop_with_parent;

/// How long a command of a page may take. They take milliseconds on a machine that is not busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long one that is asked to stop may take before it is killed.
const STOP: Duration = Duration::from_secs(10);

/// A running command, which is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    output: PathBuf,
    status: Option<ExitStatus>,
}

impl Running {
    /// Starts it; both its outputs go to a file.
    ///
    /// # Panics
    /// When it cannot be started.
    pub(crate) fn start(command: &mut Command, output: PathBuf) -> Self {
        let file = File::create(&output).expect("the directory of a page is writable");
        let both = file.try_clone().expect("a descriptor");
        command.stdin(Stdio::null()).stdout(file).stderr(both);
        command.process_group(0);
        let child = stop_with_parent(command).spawn();
        Self {
            child: child.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")),
            output,
            status: None,
        }
    }

    /// What it has printed so far.
    pub(crate) fn printed(&self) -> String {
        let bytes = std::fs::read(&self.output).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its end, if that has come.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("it can be waited for");
        }
        self.status
    }

    /// Its end, if it comes in time.
    pub(crate) fn end(&mut self) -> Option<ExitStatus> {
        found_within(PATIENCE, || self.ended())
    }

    /// Asks it and its children to stop, and ends them if they do not.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        if found_within(STOP, || self.ended()).is_none() {
            self.signal("KILL");
            self.status = self.child.wait().ok();
        }
    }

    fn signal(&self, name: &str) {
        let script = format!("kill -{name} -- -{}", self.child.id());
        // All of them may have ended.
        let _ = testkit::process::run(Command::new("bash").args(["-c", &script]));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}
