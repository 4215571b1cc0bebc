//! Publishing: from a body to a record.

use oyez_protocol::message::{Headers, MessageRef, write_headers};
use oyez_protocol::record::{PushError, RecordBuilder};

use crate::dialect::exchange::Wants;
use crate::dialect::http::asked::{
    Asked, BAD_ESCAPE, Refused, Scratch, check_last, read_topic, refused, topic_of,
};
use crate::dialect::http::head::Head;
use crate::dialect::http::target::{BadTarget, Target};
use crate::dialect::rules::Rules;
use crate::dialect::status;

/// The prefix of fields that become headers of the message.
const HEADER_PREFIX: &str = "x-header-";

/// Reads from the target what a request to publish asks.
pub(super) fn ask(target: Target<'_>, scratch: &mut Scratch) -> Result<Asked, Refused> {
    let is_batch = target.path == "/api/v1/publish";
    if !is_batch {
        read_topic(target.path, scratch)?;
        check_last(topic_of(&scratch.topic))?;
    }
    let mut waits = Some(true);
    let read = target.each_parameter(|name, value| {
        match (name, value) {
            ("ack", b"none") => waits = Some(false),
            ("ack", b"durable") => waits = Some(true),
            ("ack", _) => waits = None,
            _ => return false,
        }
        true
    });
    match (read, waits) {
        (Ok(()), Some(waits)) if is_batch => Ok(Asked::PublishAll { waits }),
        (Ok(()), Some(waits)) => Ok(Asked::Publish { waits }),
        (Ok(()), None) => Err(refused(status::BAD_REQUEST, "`ack` is durable or none")),
        (Err(BadTarget::Parameter), _) => Err(refused(
            status::BAD_REQUEST,
            "publishing takes one parameter, `ack`",
        )),
        (Err(BadTarget::Escape), _) => Err(refused(status::BAD_REQUEST, BAD_ESCAPE)),
    }
}

/// Builds a record from the body in the scratch memory. Returns what the answer is to hold.
pub(super) fn build(
    head: &Head<'_, '_>,
    (waits, rules): (bool, &Rules),
    number: u64,
    scratch: &mut Scratch,
) -> Result<Wants, Refused> {
    build_record(head, (rules, number), scratch)?;
    Ok(match waits {
        true => Wants::Place(topic_of(&scratch.topic).into()),
        false => Wants::Nothing,
    })
}

/// Builds the record of a message, and compresses it if that makes it smaller.
fn build_record(
    head: &Head<'_, '_>,
    (rules, number): (&Rules, u64),
    scratch: &mut Scratch,
) -> Result<(), Refused> {
    let names = head.fields.iter().filter_map(|field| {
        let (prefix, name) = field.name.split_at_checked(HEADER_PREFIX.len())?;
        let is_header = prefix.eq_ignore_ascii_case(HEADER_PREFIX) && !name.is_empty();
        is_header.then(|| (name.as_bytes(), field.value.trim_ascii()))
    });
    let names: Vec<(&[u8], &[u8])> = names.collect();
    scratch.headers.clear();
    if !names.is_empty() {
        write_headers(&names, &mut scratch.headers);
    }
    let message = MessageRef {
        key: head.field("x-key").map(<[u8]>::trim_ascii),
        headers: Headers::parse(&scratch.headers).unwrap_or_default(),
        payload: &scratch.body,
    };
    let mut builder =
        RecordBuilder::new(topic_of(&scratch.topic), rules.limits).expect("it was read just now");
    if let Err(PushError::TooLarge { size, max }) = builder.push(&message) {
        scratch.say(format_args!(
            "the message takes {size} bytes; a record of this broker has room for {max}"
        ));
        return Err(Refused {
            status: status::TOO_LARGE,
            message: None,
        });
    }
    scratch.record.clear();
    let begin = scratch.record.len();
    scratch
        .codec
        .finish(&mut builder, number << 16, &mut scratch.record);
    scratch.places.clear();
    scratch.places.push((begin, scratch.record.len()));
    Ok(())
}
