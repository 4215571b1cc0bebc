//! Records in forms other than their own: a function of the record, its epoch, the form and the part that is wanted, and of
//! nothing else.

use oyez_protocol::Epoch;
use oyez_protocol::error::BlockError;
use oyez_protocol::header::FrameHead;
use oyez_protocol::lz4;
use oyez_protocol::message::{MessageRef, Messages};
use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::record::Record;

use crate::dialect::chunk::in_chunk;
use crate::dialect::form::{Form, Kind, Part, Style};
use crate::dialect::{lines, sse};

/// Memory that records are rendered in, used again and again.
#[derive(Debug, Default)]
pub(crate) struct Renderer {
    codec: lz4::Scratch,
}

impl Renderer {
    /// Adds a part of a record, which was verified, to `out`.
    ///
    /// # Errors
    /// When the record's block cannot be decompressed.
    pub(crate) fn render(
        &mut self,
        (record, epoch): (&Record<'_>, Epoch),
        form: Form,
        part: Part,
        out: &mut Vec<u8>,
    ) -> Result<(), BlockError> {
        let style = form.style;
        if form.refers() && record.raw_size() > sse::RAW_SIZE_MAX {
            in_chunk(style, out, |out| {
                sse::refer(record, epoch, (part, form), out);
            });
            return Ok(());
        }
        let raw = self.codec.open(record)?;
        let messages = Messages::new(raw, record.count());
        in_chunk(style, out, |out| {
            for (index, message) in (0_u16..).zip(messages) {
                let message = message?;
                if (part.first..part.end).contains(&index) {
                    write(record, (index, epoch), &message, form, out);
                }
            }
            Ok(())
        })
    }
}

/// Bytes of the record that begins with `head`; `None` if that is not the head of a record.
pub(crate) fn size_of_record(head: &[u8]) -> Option<u32> {
    FrameHead::parse(head)?.ok().map(|head| head.size)
}

/// Adds one message of a record.
fn write(
    record: &Record<'_>,
    (index, epoch): (u16, Epoch),
    message: &MessageRef<'_>,
    form: Form,
    out: &mut Vec<u8>,
) {
    let offset = record.offset().plus(index.into());
    let place = (record.topic(), offset.get(), record.timestamp_ms());
    match form.kind {
        Kind::Native => {}
        Kind::Events if form.style.is_of_several() => {
            sse::write_row(place, message, form.style, out);
        }
        Kind::Events if index > 0 && planted(Bug::OneIdForARecord) => {
            sse::write_payload(message.payload, form.style, out);
        }
        Kind::Events => sse::write_message((offset, epoch), message.payload, form.style, out),
        Kind::Lines => lines::write_message(place, message, form.style, out),
        Kind::Raw => write_raw(message.payload, form.style, out),
    }
}

fn write_raw(payload: &[u8], style: Style, out: &mut Vec<u8>) {
    out.extend_from_slice(payload);
    if !style.is_alone() {
        out.push(b'\n');
    }
}
