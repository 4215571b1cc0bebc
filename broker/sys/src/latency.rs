//! Bounds how long the kernel's cores may take to wake up: a request through `/dev/cpu_dma_latency`, in force until it is taken
//! back or the device is closed. The kernel keeps to the strictest request of all processes, and drops a process's own when that
//! ends, however it ends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};

/// The device that takes requests.
pub const DEVICE: &str = "/dev/cpu_dma_latency";
/// The file that names the driver that chooses how an idle core sleeps.
pub const DRIVER: &str = "/sys/devices/system/cpu/cpuidle/current_driver";
/// The file that lists the features of the processors, and in a guest that they are a guest's.
pub const PROCESSORS: &str = "/proc/cpuinfo";
/// The driver for guests, whose one way to sleep hands the core back to the host.
const GUEST_DRIVER: &str = "haltpoll";
/// The value that the kernel takes for no request, in microseconds.
const NONE_US: i32 = 2_000_000_000;

/// The open device, with or without a request.
#[derive(Debug)]
pub struct WakeLatency {
    device: File,
    strict_us: i32,
}

impl WakeLatency {
    /// Opens the device, with no request yet.
    ///
    /// # Errors
    /// When the kernel has only one way to sleep, so that no request would change anything, or when the device is missing or this
    /// user may not open it.
    pub fn open() -> io::Result<Self> {
        let told =
            |path: &str, error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"));
        let driver = fs::read_to_string(DRIVER).map_err(|error| told(DRIVER, error))?;
        let processors = fs::read_to_string(PROCESSORS).unwrap_or_default();
        let Some(strict_us) = strict_us(&driver, is_guest(&processors)) else {
            return Err(io::Error::other(format!(
                "{DRIVER}: the kernel has no choice of how cores sleep"
            )));
        };
        let device = OpenOptions::new().write(true).open(DEVICE);
        let mut latency = Self {
            device: device.map_err(|error| told(DEVICE, error))?,
            strict_us,
        };
        // An open device already counts as this request; made anyway, so that a refusal shows now.
        latency.ask(false)?;
        Ok(latency)
    }

    /// Makes the request, or takes it back.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn ask(&mut self, strict: bool) -> io::Result<()> {
        let us = if strict { self.strict_us } else { NONE_US };
        self.device.write_all(&us.to_ne_bytes())
    }
}

/// Whether the processors are those of a guest, by what `/proc/cpuinfo` says.
#[must_use]
pub fn is_guest(processors: &str) -> bool {
    processors
        .split_whitespace()
        .any(|flag| flag == "hypervisor")
}

/// The longest time to wake up that still counts as awake, in microseconds, by the name of the driver; `None` where the kernel
/// has no choice of sleeps.
///
/// On bare metal the lightest sleep takes a microsecond or two, and saves most of the power. A guest's says so too, but
/// its core has to be given back by the host, which takes ten times as long: only a core that never sleeps is awake
/// there.
#[must_use]
pub fn strict_us(driver: &str, guest: bool) -> Option<i32> {
    match driver.trim() {
        "" | "none" => None,
        driver if guest || driver == GUEST_DRIVER => Some(0),
        _ => Some(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cores_of_a_guest_may_not_sleep_at_all() {
        assert_eq!(strict_us("intel_idle\n", false), Some(2));
        assert_eq!(strict_us("acpi_idle\n", true), Some(0));
        assert_eq!(strict_us("haltpoll\n", false), Some(0));
        assert_eq!(strict_us("none\n", true), None);
    }

    #[test]
    fn a_guest_is_recognised_by_a_flag() {
        assert!(is_guest("flags\t: fpu hypervisor lahf_lm\n"));
        assert!(!is_guest("flags\t: fpu lahf_lm\n"));
    }
}
