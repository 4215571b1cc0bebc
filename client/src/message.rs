//! A message on its way out ([`NewMessage`]) and one that was delivered ([`Message`]).

use std::sync::Arc;

use bytes::Bytes;
use oyez_protocol::message::{Headers, MessageRef, write_headers};
use oyez_protocol::{Epoch, Offset};

/// A message to publish: a payload, and optionally a key and headers. Borrows all of them.
///
/// Bytes and text convert into a message without key and headers:
///
/// ```
/// use oyez_client::NewMessage;
///
/// let plain: NewMessage<'_> = "hello".into();
/// let rich = NewMessage::new(b"21.5")
///     .key("sensor-7")
///     .header("unit", "celsius");
/// assert_eq!(plain.payload(), b"hello");
/// assert_eq!(rich.payload(), b"21.5");
/// ```
#[derive(Clone, Debug, Default)]
pub struct NewMessage<'a> {
    payload: &'a [u8],
    key: Option<&'a [u8]>,
    headers: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> NewMessage<'a> {
    /// A message without key and headers.
    #[must_use]
    pub fn new(payload: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self {
            payload: payload.as_ref(),
            key: None,
            headers: Vec::new(),
        }
    }

    /// Sets the key, which names what the message is about.
    #[must_use]
    pub fn key(mut self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// Adds a header. Names may repeat; the order is kept.
    #[must_use]
    pub fn header(
        mut self,
        name: &'a (impl AsRef<[u8]> + ?Sized),
        value: &'a (impl AsRef<[u8]> + ?Sized),
    ) -> Self {
        self.headers.push((name.as_ref(), value.as_ref()));
        self
    }

    /// Returns a message with the same key and headers and another payload.
    #[must_use]
    pub fn with_payload<'b>(&self, payload: &'b (impl AsRef<[u8]> + ?Sized)) -> NewMessage<'b>
    where
        'a: 'b,
    {
        NewMessage {
            payload: payload.as_ref(),
            key: self.key,
            headers: self.headers.clone(),
        }
    }

    /// The content.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Returns the message in the form of the wire. It borrows from `encoded`, which receives the headers.
    pub(crate) fn lend<'b>(&self, encoded: &'b mut Vec<u8>) -> MessageRef<'b>
    where
        'a: 'b,
    {
        let mut message = MessageRef::new(self.payload);
        message.key = self.key;
        if !self.headers.is_empty() {
            write_headers(&self.headers, encoded);
            message.headers =
                Headers::parse(encoded).expect("the headers were encoded one line above");
        }
        message
    }
}

impl<'a> From<&'a [u8]> for NewMessage<'a> {
    fn from(payload: &'a [u8]) -> Self {
        Self::new(payload)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for NewMessage<'a> {
    fn from(payload: &'a [u8; N]) -> Self {
        Self::new(payload)
    }
}

impl<'a> From<&'a str> for NewMessage<'a> {
    fn from(payload: &'a str) -> Self {
        Self::new(payload)
    }
}

impl<'a> From<&'a String> for NewMessage<'a> {
    fn from(payload: &'a String) -> Self {
        Self::new(payload)
    }
}

impl<'a> From<&'a Vec<u8>> for NewMessage<'a> {
    fn from(payload: &'a Vec<u8>) -> Self {
        Self::new(payload)
    }
}

impl<'a> From<&'a Bytes> for NewMessage<'a> {
    fn from(payload: &'a Bytes) -> Self {
        Self::new(payload)
    }
}

/// A delivered message. Its bytes are slices of the block it came in: cloning one is cheap, and keeping one keeps its
/// block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The topic.
    pub topic: Arc<str>,
    /// Number of the message in its topic.
    pub offset: Offset,
    /// The topic's epoch when the message was delivered.
    pub epoch: Epoch,
    /// When the broker took the message, in milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// The key, by which the publisher names what the message is about.
    pub key: Option<Bytes>,
    /// The headers: names and values, in the publisher's order.
    pub headers: Vec<(Bytes, Bytes)>,
    /// The content.
    pub payload: Bytes,
}

/// The acknowledgement that messages are in their topic, as durable as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The topic.
    pub topic: Arc<str>,
    /// Offset of the first message.
    pub offset: Offset,
    /// Number of messages; their offsets are consecutive.
    pub messages: u16,
    /// The topic's epoch.
    pub epoch: Epoch,
}
