//! Reads text messages, and computes a sum over the payloads of a record as such messages carry them.
//!
//! A message is read by the order of its members, as brokers write them, and a payload is compared as it stands in the
//! JSON: nothing is unescaped, so that reading costs the bench little.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oyez_protocol::checksum::crc32c;
use serde::Deserialize;

use crate::bench::sse::shown;
use crate::bench::sse::sum::Sum;
use crate::bench::sse::token::Next;

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The subscription stands, and its messages begin here.
    Subscribed(Next),
    /// A message, and the checksum of its payload.
    Message { offset: u64, sum: u32 },
}

/// What a broker says of itself.
#[derive(Debug, Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    next: Option<u64>,
    #[serde(borrow)]
    epoch: Option<Cow<'a, str>>,
}

/// Reads a text message.
///
/// # Errors
/// When it reports a loss or has no place here, in words.
pub(crate) fn read(text: &[u8]) -> Result<Told, String> {
    if let Some((offset, payload)) = message(text) {
        let sum = crc32c(payload);
        return Ok(Told::Message { offset, sum });
    }
    let shown = shown(text);
    let Ok(event) = serde_json::from_slice::<Event<'_>>(text) else {
        return Err(format!("the broker sends what is no message: {shown}"));
    };
    match &*event.event {
        "$subscribed" => subscribed(&event)
            .ok_or_else(|| format!("the broker does not say where a subscription begins: {shown}")),
        "$gap" => Err(format!("records are lost: {shown}")),
        "$epoch" => Err(format!(
            "records are lost: the broker no longer keeps what a subscriber came back for: {shown}"
        )),
        "$error" => Err(format!("the broker refuses a subscription: {shown}")),
        "$goodbye" => Err(format!("the broker says goodbye: {shown}")),
        _ => Err(format!(
            "the broker sends an event that has no place here: {shown}"
        )),
    }
}

fn subscribed(event: &Event<'_>) -> Option<Told> {
    let epoch = event.epoch.as_deref()?;
    let epoch = u64::from_str_radix(epoch, 16).ok()?;
    let offset = event.next?;
    Some(Told::Subscribed(Next { epoch, offset }))
}

/// The offset of a message, and the member that its payload is.
fn message(text: &[u8]) -> Option<(u64, &[u8])> {
    let rest = text.strip_prefix(b"{\"topic\":\"")?;
    let offset = b"\",\"offset\":";
    let end = rest.windows(offset.len()).position(|at| at == offset)?;
    let (offset, rest) = number(&rest[end + offset.len()..])?;
    let (_, rest) = number(rest.strip_prefix(b",\"timestamp_ms\":")?)?;
    let payload = rest.strip_prefix(b",")?.strip_suffix(b"}")?;
    payload
        .starts_with(b"\"payload")
        .then_some((offset, payload))
}

/// The number at the start of `text`, and what is behind it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at(end);
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((number, rest))
}

/// The sum of what a record's messages tell of these payloads.
pub(crate) fn of(payloads: &[&[u8]]) -> u32 {
    let mut sum = Sum::default();
    for payload in payloads {
        sum.add(crc32c(member(payload).as_bytes()));
    }
    sum.get()
}

/// The member that a payload is: text, or base64.
pub(crate) fn member(payload: &[u8]) -> String {
    match std::str::from_utf8(payload) {
        Ok(text) => format!("\"payload\":{}", serde_json::Value::from(text)),
        Err(_) => format!("\"payload_base64\":\"{}\"", STANDARD.encode(payload)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read() {
        let begin = "{\"topic\":\"a\\\"/b\",\"offset\":70,\"timestamp_ms\":1234,";
        for (payload, member) in [
            (&b"a\"\nb"[..], "\"payload\":\"a\\\"\\nb\""),
            (b"", "\"payload\":\"\""),
            (b"\xff\xfe\n", "\"payload_base64\":\"//4K\""),
        ] {
            let text = format!("{begin}{member}}}");
            let sum = crc32c(super::member(payload).as_bytes());
            let expected = Told::Message { offset: 70, sum };
            assert_eq!(read(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_subscription_begins_somewhere() {
        let text = br#"{"event":"$subscribed","topic":"bench","next":7,"earliest":0,"head":7,"epoch":"00000000000000ab"}"#;
        let next = Next {
            epoch: 0xab,
            offset: 7,
        };
        assert_eq!(read(text), Ok(Told::Subscribed(next)));
    }

    #[test]
    fn what_has_no_place_here_is_told() {
        for (text, told) in [
            (
                &br#"{"event":"$subscribed","next":7}"#[..],
                "does not say where",
            ),
            (
                br#"{"event":"$subscribed","next":7,"epoch":"x"}"#,
                "does not say where",
            ),
            (br#"{"event":"$gap","from":3}"#, "records are lost: \"{"),
            (br#"{"event":"$epoch","epoch":"0"}"#, "no longer keeps"),
            (
                br#"{"event":"$error","error":"no"}"#,
                "refuses a subscription",
            ),
            (br#"{"event":"$goodbye","reason":"no"}"#, "says goodbye"),
            (br#"{"event":"$what"}"#, "has no place here"),
            (br#"{"topic":"a","offset":1}"#, "no message"),
            (
                br#"{"topic":"a","offset":99999999999999999999,"timestamp_ms":1,"payload":""}"#,
                "no message",
            ),
            (
                br#"{"topic":"a","offset":1,"timestamp_ms":1,"key":""}"#,
                "no message",
            ),
            (b"", "no message"),
            (b"\xff", "no message"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn the_sum_is_of_these_payloads_in_this_order() {
        let sum = of(&[b"a", b"b"]);
        for others in [&[&b"b"[..], b"a"][..], &[b"a"], &[b"ab", b""]] {
            assert_ne!(sum, of(others), "{others:?}");
        }
        assert_ne!(of(&[b"//4K"]), of(&[b"\xff\xfe\n"]));
    }
}
