//! What one hostile client does: bytes, pauses and ends, in an order of its own, whatever it is answered.

use std::sync::Arc;
use std::time::Duration;

use testkit::random::Random;

/// The next step of a client, once the kernel has all of its bytes.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(Arc<[u8]>),
    Wait(Duration),
    /// Does nothing more; the connection stays.
    Rest,
    /// Closes, and comes back as a new client.
    Close,
    /// Resets the connection, and comes back as a new client.
    Reset,
}

/// How a client reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reading {
    All,
    Nothing,
    /// So many bytes each time that the pause is over.
    Slow {
        bytes: usize,
        pause: Duration,
    },
}

/// Gives step after step.
pub(crate) type Script = Box<dyn FnMut(&mut Random) -> Step + Send>;

/// One client, from its connection to its end.
pub(crate) struct Client {
    pub(crate) reading: Reading,
    pub(crate) script: Script,
}

impl Client {
    pub(crate) fn new(
        reading: Reading,
        script: impl FnMut(&mut Random) -> Step + Send + 'static,
    ) -> Self {
        Self {
            reading,
            script: Box::new(script),
        }
    }

    /// Sends `opening`, then goes on as told.
    pub(crate) fn after(
        opening: Vec<u8>,
        reading: Reading,
        mut script: impl FnMut(&mut Random) -> Step + Send + 'static,
    ) -> Self {
        let mut opening = Some(opening);
        Self::new(reading, move |random| match opening.take() {
            Some(bytes) => Step::Send(bytes.into()),
            None => script(random),
        })
    }

    /// Sends `opening`, then `bytes` over and over.
    pub(crate) fn endless(opening: Vec<u8>, reading: Reading, bytes: &Arc<[u8]>) -> Self {
        let bytes = Arc::clone(bytes);
        Self::after(opening, reading, move |_| Step::Send(Arc::clone(&bytes)))
    }

    /// Sends `opening` and is silent.
    pub(crate) fn resting(opening: Vec<u8>, reading: Reading) -> Self {
        Self::after(opening, reading, |_| Step::Rest)
    }
}

/// How many clients of a kind there are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    /// As many as the size of the run says.
    Many,
    /// This many, whatever the size.
    Exactly(usize),
}

/// Makes the client of a number.
pub(crate) type Maker = Box<dyn FnMut(usize, &mut Random) -> Client + Send>;

/// Clients of one kind.
pub(crate) struct Kind {
    pub(crate) count: Count,
    pub(crate) maker: Maker,
}

impl Kind {
    pub(crate) fn many(maker: impl FnMut(usize, &mut Random) -> Client + Send + 'static) -> Self {
        Self::counted(Count::Many, maker)
    }

    pub(crate) fn counted(
        count: Count,
        maker: impl FnMut(usize, &mut Random) -> Client + Send + 'static,
    ) -> Self {
        Self {
            count,
            maker: Box::new(maker),
        }
    }
}
