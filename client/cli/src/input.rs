//! Where published bytes come from, kept exactly as they are.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, IsTerminal, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::failure::Failure;
use crate::say::say;

/// Bytes read at once.
const BUFFER_SIZE: usize = 256 << 10;

/// An open input.
pub(crate) struct Input {
    reader: Box<dyn BufRead>,
    name: String,
    /// Its length in bytes, where that is known beforehand.
    pub(crate) size: Option<u64>,
}

impl Input {
    /// The message on the command line, the file, or standard input, which `-` and nothing at all stand for.
    pub(crate) fn open(message: Option<OsString>, file: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = file {
            return Self::open_file(path);
        }
        match message.filter(|message| message != "-") {
            Some(message) => Ok(Self {
                reader: Box::new(Cursor::new(message.into_vec())),
                name: "the message".to_owned(),
                size: None,
            }),
            None => Ok(Self::standard()),
        }
    }

    fn open_file(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let failed = |error| Failure::io(&format!("cannot read {name}"), &error);
        let file = File::open(path).map_err(failed)?;
        let facts = file.metadata().map_err(failed)?;
        Ok(Self {
            size: facts.is_file().then_some(facts.len()),
            reader: Box::new(BufReader::with_capacity(BUFFER_SIZE, file)),
            name,
        })
    }

    fn standard() -> Self {
        if io::stdin().is_terminal() {
            say("oyez: reading from the terminal; end with Ctrl-D");
        }
        Self {
            reader: Box::new(BufReader::with_capacity(BUFFER_SIZE, io::stdin())),
            name: "standard input".to_owned(),
            size: None,
        }
    }

    /// Everything, at most `size_max` bytes.
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

    /// The next line into `line`, without its `\n`; a `\r` before it stays. False at the end. A last line without `\n`
    /// counts if it is not empty. A line of more than `size_max` bytes is an error.
    pub(crate) fn read_line(
        &mut self,
        line: &mut Vec<u8>,
        size_max: usize,
    ) -> Result<bool, Failure> {
        line.clear();
        let mut limited = (&mut self.reader).take(size_max as u64 + 1);
        let size = limited
            .read_until(b'\n', line)
            .map_err(|error| Failure::io(&format!("cannot read {}", self.name), &error))?;
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if size > size_max {
            return Err(Failure::Failed(format!(
                "a line of {} is longer than {size_max} bytes, too much for one message",
                self.name
            )));
        }
        Ok(size > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut input = Input::open(Some(OsString::from_vec(bytes.to_vec())), None).unwrap();
        let (mut lines, mut line) = (Vec::new(), Vec::new());
        while input.read_line(&mut line, 100).unwrap() {
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
        let mut input = Input {
            reader: Box::new(BufReader::new(io::repeat(b'x'))),
            name: "an endless line".to_owned(),
            size: None,
        };
        assert!(input.read_line(&mut Vec::new(), 1000).is_err());
        assert!(input.read_whole(1000).is_err());
        let mut exact = Input::open(Some("xxxx\n".into()), None).unwrap();
        assert!(exact.read_line(&mut Vec::new(), 4).unwrap());
    }
}
