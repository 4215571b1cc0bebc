//! Reads the bytes to publish, and keeps them exactly as they are.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::Arc;

use crate::failure::Failure;
use crate::interrupt::{Interrupt, Interruptible};
use crate::say::say;

/// Most bytes of one read.
const BUFFER_SIZE: usize = 256 << 10;

/// An open input.
pub(crate) struct Input {
    reader: Box<dyn BufRead>,
    name: String,
    /// Number of lines begun so far.
    line: u64,
    /// Length of the input in bytes, where it is known beforehand.
    pub(crate) size: Option<u64>,
}

/// The result of reading a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line.
    Whole,
    /// A line longer than any message; the rest of it is still to be read.
    TooLong,
    /// The end of the input.
    End,
}

impl Input {
    /// Opens the message on the command line, the file, or standard input; `-` and no message stand for standard input.
    pub(crate) fn open(
        message: Option<OsString>,
        file: Option<&Path>,
        interrupt: Arc<Interrupt>,
    ) -> Result<Self, Failure> {
        if let Some(path) = file {
            return Self::open_file(path, interrupt);
        }
        match message.filter(|message| message != "-") {
            Some(message) => Ok(Self::of(Cursor::new(message.into_vec()), "the message")),
            None => Self::standard(interrupt),
        }
    }

    fn of(reader: impl BufRead + 'static, name: &str) -> Self {
        Self {
            reader: Box::new(reader),
            name: name.to_owned(),
            line: 0,
            size: None,
        }
    }

    fn open_file(path: &Path, interrupt: Arc<Interrupt>) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let failed = |error| Failure::io(&format!("cannot read {name}"), &error);
        let file = File::open(path).map_err(failed)?;
        let facts = file.metadata().map_err(failed)?;
        let file = Interruptible { file, interrupt };
        Ok(Self {
            size: facts.is_file().then_some(facts.len()),
            ..Self::of(BufReader::with_capacity(BUFFER_SIZE, file), &name)
        })
    }

    fn standard(interrupt: Arc<Interrupt>) -> Result<Self, Failure> {
        let name = "standard input";
        // Not through the standard library's own buffer: `poll` does not see the bytes in it.
        let file = io::stdin().as_fd().try_clone_to_owned();
        let file =
            File::from(file.map_err(|error| Failure::io(&format!("cannot read {name}"), &error))?);
        if io::stdin().is_terminal() {
            say("oyez: reading from the terminal; end with Ctrl-D");
        }
        let file = Interruptible { file, interrupt };
        Ok(Self::of(BufReader::with_capacity(BUFFER_SIZE, file), name))
    }

    /// Names the line that was read last, for people.
    pub(crate) fn place(&self) -> String {
        format!("line {} of {}", self.line, self.name)
    }

    /// Reads everything, at most `size_max` bytes.
    pub(crate) fn read_whole(&mut self, size_max: usize) -> Result<Vec<u8>, Failure> {
        let mut whole = Vec::new();
        let mut limited = (&mut self.reader).take(size_max as u64 + 1);
        limited
            .read_to_end(&mut whole)
            .map_err(|error| Failure::io(&format!("cannot read {}", self.name), &error))?;
        if whole.len() > size_max {
            return Err(Failure::Failed(format!(
                "{} is more than {size_max} bytes, too much for one message; publish it line by line with -l",
                self.name
            )));
        }
        Ok(whole)
    }

    /// Reads the next line into `line`, without its `\n`; a `\r` before it stays. A last line without `\n` counts if it
    /// is not empty. Of a line with more than `size_max` bytes no more is read. After an error `line` holds what was
    /// read of it.
    pub(crate) fn read_line(
        &mut self,
        line: &mut Vec<u8>,
        size_max: usize,
    ) -> Result<Line, Failure> {
        line.clear();
        self.line += 1;
        let mut limited = (&mut self.reader).take(size_max as u64 + 1);
        let size = limited
            .read_until(b'\n', line)
            .map_err(|error| Failure::io(&format!("cannot read {}", self.name), &error))?;
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if size > size_max {
            return Ok(Line::TooLong);
        }
        Ok(if size > 0 { Line::Whole } else { Line::End })
    }

    /// Skips the rest of a line. Returns its size in bytes, without the `\n`.
    pub(crate) fn skip_line(&mut self) -> Result<usize, Failure> {
        let mut size = 0;
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(Failure::io(&format!("cannot read {}", self.name), &error));
                }
            };
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(chunk.len());
            let is_over = end.is_some() || chunk.is_empty();
            self.reader.consume(taken + usize::from(end.is_some()));
            size += taken;
            if is_over {
                return Ok(size);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut input = Input::of(Cursor::new(bytes.to_vec()), "a test");
        let (mut lines, mut line) = (Vec::new(), Vec::new());
        while input.read_line(&mut line, 100).unwrap() == Line::Whole {
            lines.push(line.clone());
        }
        lines
    }

    #[test]
    fn lines_are_exact_to_the_byte() {
        assert!(lines(b"").is_empty());
        assert_eq!(lines(b"\n"), [b""]);
        assert_eq!(lines(b"a\n\nb"), [&b"a"[..], b"", b"b"]);
        assert_eq!(lines(b"a\r\n\r\n"), [&b"a\r"[..], b"\r"]);
        assert_eq!(lines(b"\xff\0 \n\xc3"), [&b"\xff\0 "[..], b"\xc3"]);
    }

    #[test]
    fn a_line_that_no_message_can_be_is_refused_without_reading_it_whole() {
        let mut input = Input::of(BufReader::new(io::repeat(b'x')), "an endless line");
        let read = input.read_line(&mut Vec::new(), 1000).unwrap();
        assert_eq!(read, Line::TooLong);
        assert!(input.read_whole(1000).is_err());
        let mut exact = Input::of(Cursor::new("xxxx\n"), "a line");
        assert_eq!(exact.read_line(&mut Vec::new(), 4).unwrap(), Line::Whole);
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_to_its_end() {
        let mut input = Input::of(
            BufReader::with_capacity(3, &b"1\nxxxxxxxx\n3\n"[..]),
            "a test",
        );
        let mut line = Vec::new();
        let mut read = || input.read_line(&mut line, 4).unwrap();
        assert_eq!((read(), read()), (Line::Whole, Line::TooLong));
        assert_eq!(input.skip_line().unwrap(), 3);
        assert_eq!(input.place(), "line 2 of a test");
        assert_eq!(input.read_line(&mut line, 4).unwrap(), Line::Whole);
        assert_eq!(line, b"3");
    }
}
