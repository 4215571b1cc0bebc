//! A disk that can lose power: a file system of its own on a loop device, whose backing file is copied in one moment.
//!
//! ```text
//! test's directory / outer.img  <- loop <- outer xfs / disk-N.img  <- loop, direct I/O <- inner xfs <- data directory
//! ```
//!
//! A power cut is a reflink copy of `disk-N.img`. The outer file system makes it in one moment between two writes, so
//! that it holds what the inner device had been told until then and nothing else: what the inner file system still has
//! in the page cache is lost, since direct I/O leaves nothing of the device itself in there. The copy is mounted in place
//! of the original, which replays the journal.
//!
//! The device keeps what it was told without being asked to flush; a disk that forgets that as well is what the memory
//! disk of the storage tests is for.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use testkit::process::{is_installed, run};

/// Sizes of the images, which are sparse. The outer one holds two of the inner ones.
const OUTER_BYTES: u64 = 3 << 30;
const INNER_BYTES: u64 = 1 << 30;
/// Programs that are needed.
const PROGRAMS: [&str; 5] = ["losetup", "mkfs.xfs", "mount", "umount", "cp"];

/// Runs a command; what it says on stderr is the error.
fn tried(command: &mut Command) -> Result<String, String> {
    let output = run(command);
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{command:?}: {said}"))
}

/// A loop device, detached when it is dropped.
#[derive(Debug)]
struct LoopDevice {
    path: String,
    /// What its largest request was, if that was changed. The device keeps it when it is detached.
    largest_kib: Option<String>,
}

impl LoopDevice {
    /// Blocks of 4 KiB are what direct I/O to shared extents takes.
    fn attach(file: &Path) -> Result<Self, String> {
        let options = [
            "--find",
            "--show",
            "--direct-io=on",
            "--sector-size",
            "4096",
        ];
        let path = tried(Command::new("losetup").args(options).arg(file))?;
        Ok(Self {
            path,
            largest_kib: None,
        })
    }

    /// Gives the device no more than a page at a time, so that the power can fail in the middle of any write.
    fn take_pages(&mut self) -> Result<(), String> {
        let failed = |error| format!("{}: {error}", self.largest_request());
        let before = std::fs::read_to_string(self.largest_request()).map_err(failed)?;
        std::fs::write(self.largest_request(), "4").map_err(failed)?;
        self.largest_kib = Some(before);
        Ok(())
    }

    fn largest_request(&self) -> String {
        let name = self.path.trim_start_matches("/dev/");
        format!("/sys/block/{name}/queue/max_sectors_kb")
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let reset = self.largest_kib.as_ref().map_or(Ok(()), |largest| {
            std::fs::write(self.largest_request(), largest).map_err(|error| error.to_string())
        });
        let detached = tried(Command::new("losetup").args(["--detach", &self.path]));
        for why in reset.err().into_iter().chain(detached.err()) {
            eprintln!("left behind: {} {why}", self.path);
        }
    }
}

/// A mounted file system, unmounted when it is dropped.
#[derive(Debug)]
struct Mount(PathBuf);

impl Mount {
    fn new(device: &LoopDevice, at: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
        // A copy has the identity of the original, which somebody's mount namespace may still hold.
        let options = ["-t", "xfs", "-o", "nouuid", &device.path];
        tried(Command::new("mount").args(options).arg(at)).map(|_| Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A process that was just killed may hold files for a moment longer; they go, and the mount with them.
        if let Err(why) = tried(Command::new("umount").arg("--lazy").arg(&self.0)) {
            eprintln!("left behind: {why}");
        }
    }
}

/// A file system in a file. Its fields go in this order.
#[derive(Debug)]
struct Volume {
    _mount: Mount,
    device: LoopDevice,
}

impl Volume {
    fn mount(image: &Path, at: &Path) -> Result<Self, String> {
        let device = LoopDevice::attach(image)?;
        let mount = Mount::new(&device, at)?;
        Ok(Self {
            _mount: mount,
            device,
        })
    }

    fn format(image: &Path, bytes: u64) -> Result<(), String> {
        let file = std::fs::File::create(image).map_err(|error| error.to_string())?;
        file.set_len(bytes).map_err(|error| error.to_string())?;
        let options = ["-q", "-s", "size=4096", "-m", "reflink=1"];
        tried(Command::new("mkfs.xfs").args(options).arg(image)).map(drop)
    }
}

/// The machine whose power fails. Its fields go in this order.
#[derive(Debug)]
pub(crate) struct Machine {
    inner: Option<Volume>,
    _outer: Volume,
    home: TempDir,
    cuts: u32,
}

impl Machine {
    /// Builds it.
    ///
    /// # Errors
    /// Why it cannot be had here.
    pub(crate) fn build() -> Result<Self, String> {
        if let Some(missing) = PROGRAMS.iter().find(|program| !is_installed(program)) {
            return Err(format!("{missing} is not installed"));
        }
        let home = TempDir::with_prefix("oyez-test-").map_err(|error| error.to_string())?;
        let image = home.path().join("outer.img");
        Volume::format(&image, OUTER_BYTES)?;
        let outer = Volume::mount(&image, &home.path().join("outer"))?;
        let mut machine = Self {
            inner: None,
            _outer: outer,
            home,
            cuts: 0,
        };
        Volume::format(&machine.image(0), INNER_BYTES)?;
        machine.mount()?;
        machine.cut()?;
        machine.come_back()?;
        Ok(machine)
    }

    fn image(&self, number: u32) -> PathBuf {
        self.home.path().join(format!("outer/disk-{number}.img"))
    }

    /// Where its disk is mounted.
    pub(crate) fn disk(&self) -> PathBuf {
        self.home.path().join("disk")
    }

    /// The file with its boot id, which is another one after each power cut.
    pub(crate) fn boot_id(&self) -> PathBuf {
        self.home.path().join("boot_id")
    }

    /// Cuts the power: the disk keeps what was written to it until now, and nothing else.
    ///
    /// # Errors
    /// When the outer file system cannot copy in one moment.
    pub(crate) fn cut(&self) -> Result<(), String> {
        let (from, to) = (self.image(self.cuts), self.image(self.cuts + 1));
        tried(Command::new("cp").arg("--reflink=always").args([from, to])).map(drop)
    }

    /// Comes back from the power cut, after everything that used the disk has ended.
    ///
    /// # Errors
    /// When the disk cannot be mounted again.
    pub(crate) fn come_back(&mut self) -> Result<(), String> {
        self.inner = None;
        std::fs::remove_file(self.image(self.cuts)).map_err(|error| error.to_string())?;
        self.cuts += 1;
        let boot_id = format!("00000000-0000-4000-8000-{:012x}\n", self.cuts);
        std::fs::write(self.boot_id(), boot_id).map_err(|error| error.to_string())?;
        self.mount()
    }

    fn mount(&mut self) -> Result<(), String> {
        let mut volume = Volume::mount(&self.image(self.cuts), &self.disk())?;
        volume.device.take_pages()?;
        self.inner = Some(volume);
        Ok(())
    }
}
