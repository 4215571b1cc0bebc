//! Renders records in the form of their subscriptions. A record that is not sent as it is gets its bytes once, for as long as
//! they are kept, for all sessions of that form. It is verified before, because clients cannot verify what was rendered.

use bytes::Bytes;
use oyez_protocol::Offset;
use oyez_protocol::limits::{FRAME_HEAD_SIZE, Limits};
use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::record::Record;
use oyez_storage::{Place, Read, ReadError};

use crate::dialect::form::{Form, Part};
use crate::dialect::render::{Renderer, size_of_record};
use crate::measure::metrics::ShardMetrics;
use crate::parts::budget::ENCODED_BYTES;
use crate::parts::chain::{Broken, Chain};
use crate::parts::feed::Topic;
use crate::parts::logs::Logs;
use crate::parts::renditions::{Key, Renditions};
use crate::parts::tail::RecordTail;

/// Bytes of records that are rendered for one chain. The record that reaches this is the last one.
const CHAIN_RAW_BYTES: usize = 256 << 10;

/// Messages that are rendered at once: tiny ones take hundreds of times as many bytes as in their record, and a record has up to
/// 65,535 of them.
const PART_MESSAGES_MAX: u16 = 512;

/// Renders records, and keeps what was rendered.
#[derive(Debug)]
pub(crate) struct Rendering {
    kept: Renditions,
    renderer: Renderer,
    /// Rendered bytes that were not charged to a budget yet.
    rendered: usize,
}

/// A rendition that is wanted.
struct Wanted<'a> {
    key: Key,
    size: u32,
    /// Whether a record is the one that is wanted.
    is_it: &'a dyn Fn(&Record<'_>) -> bool,
}

/// Where a chain of rendered messages begins and ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Messages before this one are left out.
    pub(crate) from: Offset,
    /// This message and those behind it are left out.
    pub(crate) until: Option<Offset>,
}

impl Rendering {
    /// Keeps this many bytes of what it renders.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            kept: Renditions::new(bytes_max),
            renderer: Renderer::default(),
            rendered: 0,
        }
    }

    /// Steps that rendering has taken since this was asked last.
    pub(crate) fn take_steps(&mut self) -> usize {
        std::mem::take(&mut self.rendered) / ENCODED_BYTES
    }

    /// Whether this many bytes were rendered since steps were asked for last.
    pub(crate) const fn has_rendered(&self, bytes: usize) -> bool {
        self.rendered >= bytes
    }

    /// Bytes that are kept of renditions.
    pub(crate) const fn bytes(&self) -> usize {
        self.kept.bytes()
    }

    /// Builds the chain of as many of `places` as are at hand, at least one, in the form of a topic's subscriptions here. In a form
    /// other than the records' own, it has only the messages of `span`.
    ///
    /// # Errors
    /// Why not even the first record is at hand.
    pub(crate) fn build(
        &mut self,
        (logs, metrics): (&mut Logs, &ShardMetrics),
        chain: &mut Chain,
        (topic, span): (&Topic, Span),
        places: impl Iterator<Item = Place>,
    ) -> Result<(), Broken> {
        if topic.form.is_native() {
            return logs.build(chain, (topic.log, topic.form), &topic.name, places);
        }
        chain.begin(topic.log);
        let before = self.rendered;
        for place in places {
            let is_next = chain.next().is_none_or(|next| next == place.first);
            if !is_next || chain.is_full() || self.rendered - before >= CHAIN_RAW_BYTES {
                break;
            }
            let Some(part) = part_of(&place, span) else {
                break; // The span ends before it.
            };
            // The record has to be of this topic, and to begin with this message.
            let is_it = |record: &Record<'_>| {
                (record.topic(), record.offset()) == (&topic.name, place.first)
            };
            let wanted = Wanted {
                key: Key {
                    log: topic.log,
                    position: place.position,
                    form: topic.form,
                    part,
                },
                size: place.size,
                is_it: &is_it,
            };
            match self.get((&mut *logs, metrics), &wanted) {
                Ok(bytes) => chain.push(place, part, bytes),
                Err(broken) if chain.next().is_none() => return Err(broken),
                Err(_) => break,
            }
        }
        chain.finish();
        // No subscription gets a span that ends before the first place.
        chain.next().map(|_| ()).ok_or(Broken::Dropped)
    }

    /// Renders again what was sent of a record of which a part of the bytes is out.
    ///
    /// # Errors
    /// Why the record is not at hand.
    pub(crate) fn again(
        &mut self,
        (logs, metrics): (&mut Logs, &ShardMetrics),
        tail: &RecordTail,
        (form, is_it): (Form, &dyn Fn(&Record<'_>) -> bool),
    ) -> Result<Bytes, Broken> {
        let (log, position) = (tail.log(), tail.position());
        let key = Key {
            log,
            position,
            form,
            part: tail.part(),
        };
        if let Some(kept) = self.kept.get(&key) {
            return kept.ok_or(Broken::Damaged);
        }
        let head = ready(logs.read_front(log, position, FRAME_HEAD_SIZE as u32))?;
        let wanted = Wanted {
            key,
            size: size_of_record(&head).ok_or(Broken::Damaged)?,
            is_it,
        };
        self.get((logs, metrics), &wanted)
    }

    fn get(
        &mut self,
        (logs, metrics): (&mut Logs, &ShardMetrics),
        wanted: &Wanted<'_>,
    ) -> Result<Bytes, Broken> {
        let mut key = wanted.key;
        if planted(Bug::MixesUpForms) {
            key.form = Form::NATIVE;
        }
        if let Some(kept) = self.kept.get(&key) {
            return kept.ok_or(Broken::Damaged);
        }
        let bytes = ready(logs.read(key.log, key.position, wanted.size))?;
        // A map's file may turn out to be too short while it is read, also after the record was verified.
        let is_mapped = logs.reader(key.log).is_mapped(key.position);
        let bytes = match is_mapped {
            true => Bytes::copy_from_slice(&bytes),
            false => bytes,
        };
        let record = Record::verify(&bytes, &Limits::HARD).map_err(|_| Broken::Damaged)?;
        if !(wanted.is_it)(&record) {
            return Err(Broken::Damaged);
        }
        let raw_size = record.raw_size() as usize;
        let count = usize::from(key.part.end - key.part.first);
        let mut out = Vec::with_capacity(raw_size + 64 * count);
        let record = (&record, logs.known(key.log).epoch);
        let rendered = self
            .renderer
            .render(record, wanted.key.form, key.part, &mut out);
        self.rendered += raw_size + out.len();
        metrics.renditions.add(1);
        metrics.codec_decodes.add(1);
        out.shrink_to_fit();
        // A record that cannot be rendered is not tried again for every session.
        let rendition = rendered.is_ok().then(|| Bytes::from(out));
        self.kept.keep(key, rendition.as_ref());
        rendition.ok_or(Broken::Damaged)
    }
}

/// Which messages of a record are in a span; `None` if it ends before them.
fn part_of(place: &Place, span: Span) -> Option<Part> {
    let (begin, end) = (place.first.get(), place.next.get());
    let count = u16::try_from(end - begin).expect("a record counts its messages in 16 bits");
    let (mut from, until) = (span.from.get(), span.until.map(Offset::get));
    if from > begin && planted(Bug::BeginsWithTheRecord) {
        from = begin;
    }
    let part = Part::of(begin, count, from, until)?;
    Some(Part {
        end: part.end.min(part.first.saturating_add(PART_MESSAGES_MAX)),
        ..part
    })
}

fn ready(read: Result<Read, ReadError>) -> Result<Bytes, Broken> {
    match read {
        Ok(Read::Ready(bytes)) => Ok(bytes),
        Ok(Read::Cold(cold)) => Err(Broken::Cold(cold)),
        Err(ReadError::Dropped) => Err(Broken::Dropped),
        Err(ReadError::Damaged | ReadError::Unreadable) => Err(Broken::Damaged),
    }
}

#[cfg(test)]
mod tests;
