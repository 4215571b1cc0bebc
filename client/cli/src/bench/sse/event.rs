//! The events of a chunk.

use oyez_protocol::checksum::{crc32c, crc32c_append};

use super::shown;

/// One event. What has none of its parts is a comment, or says when to come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    pub(crate) id: Option<&'a [u8]>,
    pub(crate) name: Option<&'a [u8]>,
    pub(crate) data: Option<Data<'a>>,
}

/// Lines of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Data<'a> {
    /// The last of them.
    pub(crate) line: &'a [u8],
    /// The checksum of all, with a line feed between two.
    pub(crate) sum: u32,
}

/// The events of a chunk, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Events<'a> {
    rest: &'a [u8],
}

impl<'a> Events<'a> {
    pub(crate) const fn new(chunk: &'a [u8]) -> Self {
        Self { rest: chunk }
    }

    /// The next event; none behind the last one.
    ///
    /// # Errors
    /// When there is something that is no part of an event, or half an event, in words.
    pub(crate) fn next(&mut self) -> Result<Option<Event<'a>>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (begin, mut event) = (self.rest, Event::default());
        loop {
            let Some(end) = line_end(self.rest) else {
                return Err(format!("a chunk ends within an event: {}", shown(begin)));
            };
            let line = &self.rest[..end];
            self.rest = &self.rest[end + 1..];
            if line.is_empty() {
                return Ok(Some(event));
            }
            event.take(line)?;
        }
    }
}

/// Where the first line ends. Blocks without an end are passed over with the processor's vectors, for the lines of data are
/// most of what is read.
fn line_end(bytes: &[u8]) -> Option<usize> {
    const BLOCK: usize = 32;
    let is_end = |byte: &u8| *byte == b'\n';
    let has_no_end = |block: &&[u8]| !block.iter().fold(false, |has, byte| has | is_end(byte));
    let blocks = bytes.chunks_exact(BLOCK).take_while(has_no_end).count();
    let passed = blocks * BLOCK;
    let end = bytes[passed..].iter().position(is_end)?;
    Some(passed + end)
}

impl<'a> Event<'a> {
    fn take(&mut self, line: &'a [u8]) -> Result<(), String> {
        if let Some(line) = line.strip_prefix(b"data: ") {
            self.data = Some(match self.data {
                None => Data::first(line),
                Some(data) => data.followed_by(line),
            });
            return Ok(());
        }
        if let Some(id) = line.strip_prefix(b"id: ") {
            self.id = Some(id);
        } else if let Some(name) = line.strip_prefix(b"event: ") {
            self.name = Some(name);
        } else if !(line.starts_with(b":") || line.starts_with(b"retry: ")) {
            return Err(format!("a line came that no event has: {}", shown(line)));
        }
        Ok(())
    }
}

impl<'a> Data<'a> {
    /// The first line.
    pub(crate) fn first(line: &'a [u8]) -> Self {
        let sum = crc32c(line);
        Self { line, sum }
    }

    /// With one more line.
    pub(crate) fn followed_by(self, line: &'a [u8]) -> Self {
        let sum = crc32c_append(crc32c_append(self.sum, b"\n"), line);
        Self { line, sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunk: &[u8]) -> Result<Vec<Event<'_>>, String> {
        let (mut events, mut read) = (Events::new(chunk), Vec::new());
        while let Some(event) = events.next()? {
            read.push(event);
        }
        Ok(read)
    }

    #[test]
    fn events_are_read_one_after_the_other() {
        let chunk = b"id: 1\ndata: one\n\nid: 2\nevent: $binary\ndata: AA==\n\n:\n\nretry: 5\n\n";
        let message = Event {
            id: Some(b"1"),
            data: Some(Data::first(b"one")),
            name: None,
        };
        let binary = Event {
            id: Some(b"2"),
            name: Some(b"$binary"),
            data: Some(Data::first(b"AA==")),
        };
        let nothing = Event::default();
        assert_eq!(read(chunk), Ok(vec![message, binary, nothing, nothing]));
        assert_eq!(read(b""), Ok(vec![]));
    }

    #[test]
    fn a_line_of_any_length_ends_at_its_first_line_feed() {
        for size in 0..100 {
            let line = vec![b'x'; size];
            assert_eq!(line_end(&line), None);
            let lines = [&line[..], b"\n", &line, b"\n\n"].concat();
            assert_eq!(line_end(&lines), Some(size));
        }
    }

    #[test]
    fn lines_of_data_are_one_text() {
        let events = read(b"data: a\ndata: \ndata:  b\n\n").unwrap();
        let data = events[0].data.unwrap();
        assert_eq!((data.line, data.sum), (&b" b"[..], crc32c(b"a\n\n b")));
    }

    #[test]
    fn what_is_no_event_is_told() {
        for (chunk, told) in [
            (
                &b"id: 1\ndata: one\n"[..],
                "ends within an event: \"id: 1\\ndata: one\\n\"",
            ),
            (b"id: 1", "ends within an event"),
            (b"\n\ndata: x", "ends within an event: \"data: x\""),
            (b"data\n\n", "no event has: \"data\""),
            (b"DATA: x\n\n", "no event has"),
            (b"\xff\n\n", "no event has: \"\\xff\""),
        ] {
            let error = read(chunk).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
