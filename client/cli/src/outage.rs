//! Composes the lines about a lost connection while the client tries to reconnect, at a limited rate. Pure.

use std::time::Duration;

use oyez_client::ConnectionEvent;

/// Shortest time between two lines about the same outage.
const INTERVAL: Duration = Duration::from_secs(10);

/// The current outage, and when it was last mentioned.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    lost_at: Option<Duration>,
    attempts: u32,
    said_at: Option<Duration>,
    /// Whether the current outage was mentioned.
    is_told: bool,
}

impl Outage {
    /// Returns the line to print about an event at `now`, if any.
    pub(crate) fn meet(&mut self, event: &ConnectionEvent, now: Duration) -> Option<String> {
        match event {
            ConnectionEvent::Lost { error, delay } => {
                let since = now.saturating_sub(*self.lost_at.get_or_insert(now));
                let attempts = self.attempts;
                self.attempts += 1;
                if self.said_at.is_some_and(|at| now < at + INTERVAL) {
                    return None;
                }
                self.said_at = Some(now);
                self.is_told = true;
                let waits = match attempts {
                    0 => String::new(),
                    _ => format!(
                        "no connection for {} s, {attempts} attempts; ",
                        since.as_secs()
                    ),
                };
                let delay = delay.as_secs_f64();
                Some(format!(
                    "oyez: {waits}{error}; trying again in {delay:.1} s"
                ))
            }
            ConnectionEvent::Restored => {
                let lost_at = self.lost_at.take();
                self.attempts = 0;
                let since = now.saturating_sub(lost_at.unwrap_or(now)).as_secs_f64();
                std::mem::take(&mut self.is_told)
                    .then(|| format!("oyez: connected again after {since:.1} s"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oyez_client::ConnectionError;

    fn lost() -> ConnectionEvent {
        ConnectionEvent::Lost {
            error: ConnectionError::Closed,
            delay: Duration::from_millis(1500),
        }
    }

    #[test]
    fn a_long_outage_is_told_at_once_then_every_ten_seconds_and_its_end() {
        let mut outage = Outage::default();
        let told: Vec<String> = (0..25)
            .filter_map(|second| outage.meet(&lost(), Duration::from_secs(100 + second)))
            .collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].ends_with("trying again in 1.5 s"), "{told:?}");
        let shown = "oyez: no connection for 20 s, 20 attempts; ";
        assert!(told[2].starts_with(shown), "{told:?}");
        let end = outage.meet(&ConnectionEvent::Restored, Duration::from_secs(130));
        assert_eq!(end.as_deref(), Some("oyez: connected again after 30.0 s"));
    }

    #[test]
    fn a_connection_that_comes_and_goes_is_not_told_each_time() {
        let mut outage = Outage::default();
        let mut told = 0;
        for tenth in 0..200 {
            let now = Duration::from_millis(100 * tenth);
            told += usize::from(outage.meet(&lost(), now).is_some());
            told += usize::from(outage.meet(&ConnectionEvent::Restored, now).is_some());
        }
        assert_eq!(told, 4, "two losses and two ends in 20 seconds");
    }
}
