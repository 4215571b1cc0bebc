//! Asking the kernel how long its cores may take to wake up: a request through `/dev/cpu_dma_latency`, in force while
//! it stands and the device is open. The kernel keeps to the strictest request of all processes, and forgets ours when
//! the process ends, however it ends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};

pub(crate) const DEVICE: &str = "/dev/cpu_dma_latency";
/// Names who chooses how an idle core sleeps.
pub(crate) const DRIVER: &str = "/sys/devices/system/cpu/cpuidle/current_driver";
/// The driver for guests, whose one way to sleep hands the core back to the host.
const GUEST_DRIVER: &str = "haltpoll";
/// What the kernel takes for no request.
const NONE_US: i32 = 2_000_000_000;

/// A request that stands or not.
#[derive(Debug)]
pub(crate) struct WakeLatency {
    device: File,
    strict_us: i32,
}

impl WakeLatency {
    /// Opens the device, with no request yet.
    ///
    /// # Errors
    /// When the device is not there or not for this user, or when the kernel has only one way to sleep, so that no
    /// request would change anything.
    pub(crate) fn open() -> io::Result<Self> {
        let driver = fs::read_to_string(DRIVER).unwrap_or_default();
        let Some(strict_us) = strict_us(&driver) else {
            return Err(io::Error::other("the kernel has no cpuidle driver"));
        };
        let device = OpenOptions::new().write(true).open(DEVICE)?;
        let mut latency = Self { device, strict_us };
        // An open device is a request of the same value; said anyway, so that a refusal shows now.
        latency.ask(false)?;
        Ok(latency)
    }

    /// Makes the request, or takes it back.
    pub(crate) fn ask(&mut self, strict: bool) -> io::Result<()> {
        let us = if strict { self.strict_us } else { NONE_US };
        self.device.write_all(&us.to_ne_bytes())
    }
}

/// The longest time to wake up that still counts as awake, by the name of the driver; `None` where there is no choice.
///
/// On bare metal the lightest sleep takes a microsecond or two, and saves most of the power. A guest's says so too, but
/// its core has to be given back by the host, which takes ten times as long: only a core that never sleeps is awake
/// there.
pub(crate) fn strict_us(driver: &str) -> Option<i32> {
    match driver.trim() {
        "" | "none" => None,
        GUEST_DRIVER => Some(0),
        _ => Some(2),
    }
}
