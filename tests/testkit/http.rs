//! A client that speaks HTTP/1.1 as it likes: any bytes are sent, and what comes back is read strictly.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::deadline::PATIENCE;

/// Longer than any head of an answer.
const HEAD_SIZE_MAX: usize = 4096;

/// A request without a body.
#[must_use]
pub fn get(target: &str) -> String {
    ask("GET", target, "", "")
}

/// A request that publishes `body`.
#[must_use]
pub fn post(target: &str, body: &str) -> String {
    let length = format!("Content-Length: {}\r\n", body.len());
    ask("POST", target, &length, body)
}

/// A request with these lines in its head, each with its end.
#[must_use]
pub fn ask(method: &str, target: &str, fields: &str, body: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n{body}")
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The first line, without the version.
    pub status: u16,
    /// The lines of its head, names in lower case.
    pub fields: Vec<(String, String)>,
    /// What it says.
    pub body: String,
}

impl Answer {
    /// The value of a field, by its name in lower case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut named = self.fields.iter().filter(|(known, _)| known == name);
        named.next().map(|(_, value)| &**value)
    }

    /// Whether it says that the connection ends with it.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.field("connection") == Some("close")
    }

    /// Where a message stands that was published.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        let json: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        json["offset"].as_u64()
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The broker has shut its side.
    Closed,
    /// The kernel has thrown away what was under way.
    Reset,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
}

impl Connection {
    /// Connects without a word.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        stream.set_nodelay(true).expect("a TCP socket");
        let patience = stream.set_read_timeout(Some(PATIENCE));
        patience.expect("a TCP socket");
        Self {
            stream,
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// The socket.
    #[must_use]
    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// When the connection is broken.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.try_send(bytes)
            .unwrap_or_else(|error| panic!("cannot send {} bytes: {error}", bytes.len()));
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Shuts this side.
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn shut(&self) {
        let shut = self.stream.shutdown(Shutdown::Write);
        shut.expect("the connection is there");
    }

    /// Sends a request and waits for its answer.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request);
        self.answer()
    }

    /// The next answer.
    ///
    /// # Panics
    /// When none comes.
    pub fn answer(&mut self) -> Answer {
        self.try_answer()
            .unwrap_or_else(|end| panic!("no answer: {end:?}"))
    }

    /// The next answer, to a request that asked for the head alone.
    ///
    /// # Panics
    /// When none comes.
    pub fn answer_to_head(&mut self) -> Answer {
        self.head()
            .unwrap_or_else(|end| panic!("no answer: {end:?}"))
    }

    /// The next answer.
    ///
    /// # Errors
    /// How the connection ended before it.
    fn try_answer(&mut self) -> Result<Answer, End> {
        let mut answer = self.head()?;
        let length = answer.field("content-length");
        let length = length.map_or(0, |length| length.parse().expect("a length is a number"));
        while self.buffer.len() - self.start < length {
            self.fill()?;
        }
        answer.body = self.take(length);
        Ok(answer)
    }

    /// The next answer without its body.
    ///
    /// # Errors
    /// How the connection ended before it.
    pub fn head(&mut self) -> Result<Answer, End> {
        let size = loop {
            let rest = &self.buffer[self.start..];
            let searched = text_of(&rest[..rest.len().min(HEAD_SIZE_MAX)]);
            if let Some(at) = searched.find("\r\n\r\n") {
                break at + 4;
            }
            assert!(rest.len() < HEAD_SIZE_MAX, "a head without an end");
            self.fill()?;
        };
        let text = self.take(size);
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let first = lines.next().expect("splitting gives something");
        let words: Vec<&str> = first.splitn(3, ' ').collect();
        assert!(words.len() == 3 && words[0] == "HTTP/1.1", "{text:?}");
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(": ").expect("a field");
            (name.to_lowercase(), value.to_owned())
        });
        Ok(Answer {
            status: words[1].parse().expect("a status is a number"),
            fields: fields.collect(),
            body: String::new(),
        })
    }

    /// So many bytes, as they come.
    ///
    /// # Errors
    /// How the connection ended before them.
    pub fn bytes(&mut self, size: usize) -> Result<Vec<u8>, End> {
        while self.buffer.len() - self.start < size {
            self.fill()?;
        }
        let bytes = self.buffer[self.start..self.start + size].to_vec();
        self.start += size;
        Ok(bytes)
    }

    /// Reads to the end. Gives what was left, and how it ended.
    pub fn end(&mut self) -> (Vec<u8>, End) {
        let end = loop {
            if let Err(end) = self.fill() {
                break end;
            }
        };
        (self.buffer.split_off(self.start), end)
    }

    /// What has come by now and is not looked at, or within a moment.
    ///
    /// # Errors
    /// How the connection ended.
    pub fn glance(&mut self, moment: Duration) -> Result<&[u8], End> {
        let set = |time| self.stream.set_read_timeout(Some(time));
        set(moment).expect("a TCP socket");
        let mut buffer = [0; 4096];
        let result = (&self.stream).read(&mut buffer);
        set(PATIENCE).expect("a TCP socket");
        match result {
            Ok(0) => Err(End::Closed),
            Ok(size) => {
                self.buffer.extend_from_slice(&buffer[..size]);
                Ok(&self.buffer[self.start..])
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(&self.buffer[self.start..]),
            Err(_) => Err(End::Reset),
        }
    }

    /// A line without its end.
    fn line(&mut self) -> Result<String, End> {
        loop {
            let rest = &self.buffer[self.start..];
            let searched = &rest[..rest.len().min(256)];
            if let Some(at) = searched.windows(2).position(|two| two == b"\r\n") {
                let mut line = self.take(at + 2);
                line.truncate(at);
                return Ok(line);
            }
            assert!(searched.len() < 256, "an endless line");
            self.fill()?;
        }
    }

    fn take(&mut self, size: usize) -> String {
        let bytes = self.buffer[self.start..self.start + size].to_vec();
        self.start += size;
        String::from_utf8(bytes).expect("what the broker says is text")
    }

    fn fill(&mut self) -> Result<(), End> {
        const STEP: usize = 128 << 10;
        self.buffer.drain(..std::mem::take(&mut self.start));
        let kept = self.buffer.len();
        self.buffer.resize(kept + STEP, 0);
        let result = self.stream.read(&mut self.buffer[kept..]);
        self.buffer.truncate(kept + *result.as_ref().unwrap_or(&0));
        match result {
            Ok(0) => Err(End::Closed),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(End::Reset),
            Err(error) => panic!("nothing comes: {error}"),
        }
    }
}

/// What begins `bytes` and is text.
fn text_of(bytes: &[u8]) -> &str {
    let valid = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    std::str::from_utf8(&bytes[..valid]).expect("it was found to be text")
}

/// Where the first empty line of a text begins, by way of its lines: searching for two bytes takes long without optimization.
fn empty_line(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let end = from + text[from..].find('\n')?;
        from = end + 1;
        if text[from..].starts_with('\n') {
            return Some(end);
        }
    }
}

/// An event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Where the stream goes on behind it.
    pub id: String,
    /// What it is called; nothing for a message.
    pub name: String,
    /// What it says, its lines in one.
    pub data: String,
}

/// A stream of events that has begun.
#[derive(Debug)]
pub struct Events {
    connection: Connection,
    /// What has come of a chunk and is not looked at.
    chunk: String,
}

impl Events {
    /// Asks for a stream on a connection, and waits until it has begun.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn begin(mut connection: Connection, target: &str) -> Self {
        connection.send(get(target));
        Self::begun(connection)
    }

    /// Waits until a stream has begun that was asked for.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn begun(mut connection: Connection) -> Self {
        let head = connection.head().expect("an answer");
        assert_eq!(head.status, 200, "{head:?}");
        assert_eq!(head.field("content-type"), Some("text/event-stream"));
        assert_eq!(head.field("transfer-encoding"), Some("chunked"));
        let mut events = Self {
            connection,
            chunk: String::new(),
        };
        let first = events.block().expect("a stream begins with its place");
        assert!(
            first.starts_with("retry: ") && first.contains("\nid: "),
            "{first:?}"
        );
        events
    }

    /// The next event; comments are left out.
    ///
    /// # Errors
    /// How the connection ended before it.
    pub fn event(&mut self) -> Result<Event, End> {
        loop {
            let block = self.block()?;
            let (mut event, mut lines) = (Event::default(), 0);
            for line in block.split('\n').filter(|line| !line.starts_with(':')) {
                match line.split_once(": ") {
                    Some(("id", id)) => id.clone_into(&mut event.id),
                    Some(("event", name)) => name.clone_into(&mut event.name),
                    Some(("data", data)) => {
                        if lines > 0 {
                            event.data.push('\n');
                        }
                        event.data.push_str(data);
                        lines += 1;
                    }
                    _ => assert_eq!(line, "", "no field of an event"),
                }
            }
            if lines > 0 {
                return Ok(event);
            }
        }
    }

    /// Ends it from this side.
    #[must_use]
    pub fn into_connection(self) -> Connection {
        self.connection
    }

    /// The lines up to the next empty one.
    fn block(&mut self) -> Result<String, End> {
        if self.chunk.is_empty() {
            self.chunk = self.next_chunk()?;
        }
        let end = empty_line(&self.chunk).expect("a chunk holds whole events");
        let rest = self.chunk.split_off(end + 2);
        let mut block = std::mem::replace(&mut self.chunk, rest);
        block.truncate(end);
        Ok(block)
    }

    fn next_chunk(&mut self) -> Result<String, End> {
        let connection = &mut self.connection;
        let digits = connection.line()?;
        let size = usize::from_str_radix(&digits, 16).expect("a chunk begins with its size");
        assert!(size > 0, "the stream has ended");
        while connection.buffer.len() - connection.start < size + 2 {
            connection.fill()?;
        }
        let mut chunk = connection.take(size + 2);
        assert!(chunk.ends_with("\r\n"), "a chunk is as long as it says");
        chunk.truncate(size);
        Ok(chunk)
    }
}
