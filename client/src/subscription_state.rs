//! What a subscription does next, decided from what arrived, what was lost, and the time. Pure: time and chance are
//! arguments, and bytes to write are handed out.

use std::io::{self, ErrorKind};
use std::time::Duration;

use oyez_protocol::event::Heartbeat;

use crate::backoff::{Backoff, Damages, ReconnectPolicy, Retry};
use crate::cursor::Cursor;
use crate::delivery::Delivery;
use crate::error::{ConnectError, ConnectionError};
use crate::intake::{FrameKind, Intake, IntakeError};
use crate::receive_buffer::{Incomplete, ReceiveBuffer};
use crate::silence::{Silence, Verdict};

/// The connection that stands, as far as decisions need it.
#[derive(Clone, Copy, Debug)]
struct Link {
    silence: Silence,
    began_at: Duration,
}

/// A subscription's place in its topic, and the state of its connection.
#[derive(Debug)]
pub(crate) struct SubscriptionState {
    intake: Intake,
    link: Option<Link>,
    /// When to try to connect, while there is no connection; `None` when there will be no other attempt.
    retry_at: Option<Duration>,
    backoff: Backoff,
    damages: Damages,
    requests: u32,
    /// How long the broker may take to answer a request.
    answer_within: Duration,
}

impl SubscriptionState {
    pub(crate) fn new(cursor: Cursor, policy: ReconnectPolicy, answer_within: Duration) -> Self {
        Self {
            intake: Intake::new(cursor),
            link: None,
            retry_at: None,
            backoff: Backoff::new(policy),
            damages: Damages::default(),
            requests: 0,
            answer_within,
        }
    }

    /// Returns the state of a subscription whose first connection is still to be made, at `first`.
    #[must_use]
    pub(crate) const fn dialing_at(mut self, first: Duration) -> Self {
        self.retry_at = Some(first);
        self
    }

    pub(crate) const fn cursor(&self) -> &Cursor {
        self.intake.cursor()
    }

    /// Whether the broker has answered the last request.
    pub(crate) const fn is_confirmed(&self) -> bool {
        self.intake.is_confirmed()
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.link.is_none() && self.retry_at.is_none()
    }

    /// Whether a delivery is at hand.
    pub(crate) fn is_ready(&self) -> bool {
        !self.intake.ready.is_empty()
    }

    pub(crate) fn next_delivery(&mut self) -> Option<Delivery> {
        self.intake.ready.pop_front()
    }

    /// Notes that a connection stands at `now`, and appends the request for what comes next.
    pub(crate) fn connected(&mut self, heartbeat: Duration, now: Duration, out: &mut Vec<u8>) {
        self.requests = self.requests.wrapping_add(1);
        self.intake.request(self.requests, out);
        self.link = Some(Link {
            silence: Silence::new(heartbeat, now),
            began_at: now,
        });
        self.retry_at = None;
    }

    /// Takes in the next whole frame that has arrived.
    ///
    /// # Errors
    /// When the connection ends there, which the caller then reports to [`SubscriptionState::lost`], or the
    /// subscription ends.
    pub(crate) fn take_in(
        &mut self,
        received: &mut ReceiveBuffer,
    ) -> Result<FrameKind, IntakeError> {
        let taken = self.intake.take_next(received);
        match &taken {
            Ok(FrameKind::Progress | FrameKind::Ping(_)) => self.backoff.progress(),
            Ok(FrameKind::NoFrame | FrameKind::Formality) | Err(IntakeError::Connection(_)) => {}
            Err(IntakeError::Refused(_)) => self.end(),
        }
        taken
    }

    /// How long to listen from `now` on. `incomplete` is the frame that has begun, after everything before it was taken
    /// in.
    pub(crate) fn patience(&mut self, incomplete: Option<Incomplete>, now: Duration) -> Duration {
        let answer_in = self.answer_in(now);
        let Some(link) = &mut self.link else {
            return Duration::ZERO;
        };
        link.silence.awaits(incomplete);
        let patience = link.silence.patience(now);
        answer_in.map_or(patience, |left| left.min(patience))
    }

    /// How long the answer may still take, if one is awaited.
    fn answer_in(&self, now: Duration) -> Option<Duration> {
        let link = self.link.filter(|_| !self.is_confirmed())?;
        let late_at = link.began_at.saturating_add(self.answer_within);
        Some(late_at.saturating_sub(now))
    }

    /// Notes that bytes arrived at `now`.
    pub(crate) const fn heard(&mut self, now: Duration) {
        if let Some(link) = &mut self.link {
            link.silence.heard(now);
        }
    }

    /// Notes that the caller listened from `since` until `now` and nothing arrived. Returns a ping to send, if it is
    /// time for one.
    ///
    /// # Errors
    /// When the connection is dead.
    pub(crate) fn heard_nothing(
        &mut self,
        since: Duration,
        now: Duration,
    ) -> Result<Option<Heartbeat>, ConnectionError> {
        if self.answer_in(since).is_some_and(|left| left.is_zero()) {
            let late = "the subscription was not answered in time";
            return Err(io::Error::new(ErrorKind::TimedOut, late).into());
        }
        let Some(link) = &mut self.link else {
            return Ok(None);
        };
        link.silence.waited(now.saturating_sub(since));
        match link.silence.judge(now) {
            Verdict::Wait(_) => Ok(None),
            Verdict::Ask => Ok(Some(Heartbeat { token: 1 })),
            Verdict::Dead(silence) => Err(ConnectionError::Silent { silence }),
            Verdict::Unfinished => Err(ConnectionError::Unfinished),
        }
    }

    /// Notes that the connection is lost or an attempt to connect has failed. Returns the delay before the next
    /// attempt. `random_below` draws a number.
    ///
    /// # Errors
    /// When the reconnect policy gives up, or asking for the same again would end the same way.
    pub(crate) fn lost(
        &mut self,
        error: &ConnectionError,
        now: Duration,
        random_below: impl FnOnce(u64) -> u64,
    ) -> Result<Duration, ConnectError> {
        self.retry_at = None;
        if let Some(link) = self.link.take() {
            self.backoff.stood(now.saturating_sub(link.began_at));
        }
        if self.is_confirmed() {
            self.damages.progress();
        }
        self.damages.lost(error)?;
        let delay = self.backoff.lost(error, now, random_below)?;
        self.retry_at = Some(now + delay);
        Ok(delay)
    }

    /// What to do at `now` without a connection, if the caller waits for `left` at most.
    pub(crate) fn next_retry(&self, now: Duration, left: Option<Duration>) -> Retry {
        match self.retry_at {
            None => Retry::End,
            Some(retry_at) if now < retry_at => {
                let until = left.map_or(retry_at, |left| retry_at.min(now.saturating_add(left)));
                Retry::PauseUntil(until)
            }
            Some(_) => Retry::Dial,
        }
    }

    /// Ends the subscription.
    pub(crate) const fn end(&mut self) {
        self.link = None;
        self.retry_at = None;
    }
}

#[cfg(test)]
mod tests;
