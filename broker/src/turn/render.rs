//! Records in the form of those that they are for. One that is not sent as it is gets its bytes once, as long as it is kept,
//! for everybody who is sent it in that form; it is verified before, as nobody behind can.

use bytes::Bytes;
use oyez_protocol::limits::Limits;
use oyez_protocol::record::Record;
use oyez_protocol::{LogId, Offset, Position};
use oyez_storage::{Place, Read, ReadError};

use crate::dialect::form::{Events, Form};
use crate::dialect::sse::Renderer;
use crate::measure::metrics::ShardMetrics;
use crate::parts::budget::ENCODED_BYTES;
use crate::parts::chain::{Broken, Chain};
use crate::parts::feed::Topic;
use crate::parts::logs::Logs;
use crate::parts::renditions::{Key, Renditions};

/// Bytes of records that are rendered for one chain. The record that brings it there is the last one.
const CHAIN_RAW_BYTES: usize = 256 << 10;

/// What renders, and what was rendered.
#[derive(Debug)]
pub(crate) struct Rendering {
    kept: Renditions,
    renderer: Renderer,
    /// Bytes rendered that no budget has paid for.
    rendered: usize,
}

/// A record to be rendered.
struct Wanted<'a> {
    log: LogId,
    position: Position,
    size: u32,
    events: Events,
    /// What it has to be, where that is known.
    is: Option<(&'a str, Offset)>,
}

impl Rendering {
    /// Keeps so many bytes of what it renders.
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

    /// Bytes that are kept of renditions.
    pub(crate) const fn bytes(&self) -> usize {
        self.kept.bytes()
    }

    /// Builds the chain of as many of `places` as are at hand, at least one, in the form of a topic's subscriptions here.
    ///
    /// # Errors
    /// Why not even the first is.
    pub(crate) fn build(
        &mut self,
        (logs, metrics): (&mut Logs, &ShardMetrics),
        chain: &mut Chain,
        topic: &Topic,
        places: impl Iterator<Item = Place>,
    ) -> Result<(), Broken> {
        let events = match topic.form {
            Form::Native => return logs.build(chain, topic.log, &topic.name, places),
            Form::Events(events) => events,
        };
        chain.begin(topic.log);
        let before = self.rendered;
        for place in places {
            let is_next = chain.next().is_none_or(|next| next == place.first);
            if !is_next || chain.is_full() || self.rendered - before >= CHAIN_RAW_BYTES {
                break;
            }
            let wanted = Wanted {
                log: topic.log,
                position: place.position,
                size: place.size,
                events,
                is: Some((&topic.name, place.first)),
            };
            match self.get((&mut *logs, metrics), &wanted) {
                Ok(bytes) => chain.push(place, bytes),
                Err(broken) if chain.next().is_none() => return Err(broken),
                Err(_) => break,
            }
        }
        chain.finish();
        Ok(())
    }

    /// A record of which a part is out, in the form that it was sent in.
    ///
    /// # Errors
    /// Why it is not at hand.
    pub(crate) fn again(
        &mut self,
        (logs, metrics): (&mut Logs, &ShardMetrics),
        (log, position, size): (LogId, Position, u32),
        events: Events,
    ) -> Result<Bytes, Broken> {
        let wanted = Wanted {
            log,
            position,
            size,
            events,
            is: None,
        };
        self.get((logs, metrics), &wanted)
    }

    fn get(
        &mut self,
        (logs, metrics): (&mut Logs, &ShardMetrics),
        wanted: &Wanted<'_>,
    ) -> Result<Bytes, Broken> {
        let key = Key {
            log: wanted.log,
            position: wanted.position,
            form: Form::Events(wanted.events),
        };
        if let Some(kept) = self.kept.get(&key) {
            return Ok(kept);
        }
        let read = match logs.read(wanted.log, wanted.position, wanted.size) {
            Ok(Read::Ready(bytes)) => bytes,
            Ok(Read::Cold(cold)) => return Err(Broken::Cold(cold)),
            Err(ReadError::Dropped) => return Err(Broken::Dropped),
            Err(ReadError::Damaged | ReadError::Unreadable) => return Err(Broken::Damaged),
        };
        // Looking at it may find that its bytes are missing, which reads as zeroes.
        let record = Record::verify(&read, &Limits::HARD).map_err(|_| Broken::Damaged)?;
        let is_it = |(topic, first)| record.topic() == topic && record.offset() == first;
        if !wanted.is.is_none_or(is_it) {
            return Err(Broken::Damaged);
        }
        let (raw_size, epoch) = (record.raw_size() as usize, logs.known(wanted.log).epoch);
        let mut out =
            Vec::with_capacity(raw_size + raw_size / 8 + 64 * usize::from(record.count()));
        let rendered = self
            .renderer
            .render(&record, epoch, wanted.events, &mut out);
        self.rendered += raw_size.max(read.len());
        metrics.renditions.add(1);
        metrics.codec_decodes.add(1);
        rendered.map_err(|_| Broken::Damaged)?;
        out.shrink_to_fit();
        let rendition = Bytes::from(out);
        self.kept.keep(key, &rendition);
        Ok(rendition)
    }
}

#[cfg(test)]
mod tests;
