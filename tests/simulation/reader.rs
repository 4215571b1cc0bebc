//! Answers to a stranger that reads what is kept over HTTP, as JSON or as payloads: what the broker says is whole and in order, or
//! breaks off.

use serde_json::Value;

use super::dice::Dice;
use super::http::{self, Chunks};
use super::plan::TopicPlan;

/// The answer to a request.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// It is read as JSON.
    is_lines: bool,
    /// The head, as far as it has come.
    input: Vec<u8>,
    /// What follows a head that is well.
    chunks: Option<Chunks>,
    /// The line that has begun.
    line: Vec<u8>,
    /// The message that comes next.
    next: Option<u64>,
    pub(super) is_over: bool,
    /// What was met, a word each.
    pub(super) told: Vec<String>,
}

impl Reading {
    /// Makes up a request, and waits for its answer.
    pub(super) fn ask(topics: &[TopicPlan], dice: &mut Dice) -> (Self, Vec<u8>) {
        let is_lines = dice.one_in(2);
        let mut target = format!("/{}/", dice.pick(topics).name);
        target += if is_lines { "json" } else { "raw" };
        target += *dice.pick(&["?from=earliest", "?from=latest", "?from=offset:5"]);
        // An answer with `follow` and `limit` goes on for a client that has shut its side. Only the kernel's probes would tell
        // the broker that this client is gone, and there are none here.
        if dice.one_in(2) {
            target += "&follow=true";
        } else if dice.one_in(3) {
            target += &format!("&limit={}", dice.among(1, 40));
        }
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let reading = Self {
            is_lines,
            ..Self::default()
        };
        (reading, request.into_bytes())
    }

    /// Takes what has come.
    ///
    /// # Errors
    /// What the broker should not have said.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.chunks.is_some() {
            return self.take_body(bytes);
        }
        self.input.extend_from_slice(bytes);
        let Some((head, size)) = http::head(&self.input)? else {
            return Ok(()); // It is not whole, or a goodbye.
        };
        self.told.push(head.class());
        match head.status {
            200 if head.field("transfer-encoding") == Some("chunked") => {
                self.chunks = Some(Chunks::default());
                let rest = self.input.split_off(size);
                self.take_body(&rest)
            }
            408 | 409 | 410 | 503 => {
                self.is_over = true;
                Ok(())
            }
            _ => Err(format!("an answer begins with {head:?}")),
        }
    }

    fn take_body(&mut self, bytes: &[u8]) -> Result<(), String> {
        let Some(chunks) = &mut self.chunks else {
            return Ok(());
        };
        let content = chunks.take(bytes)?;
        self.is_over |= chunks.is_over;
        if !self.is_lines {
            return Ok(());
        }
        for byte in content {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            self.take_line(&line)?;
        }
        match self.is_over && !self.line.is_empty() {
            true => Err("the last line has no end".to_owned()),
            false => Ok(()),
        }
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), String> {
        let wrong = |why| format!("{why}: {}", String::from_utf8_lossy(line));
        let row: Value = serde_json::from_slice(line).map_err(|_| wrong("a line is no JSON"))?;
        let number = |name: &str| {
            row[name]
                .as_u64()
                .ok_or_else(|| wrong("a line lacks something"))
        };
        match row.get("event").and_then(Value::as_str) {
            None => self.expect(number("offset")?).map_err(wrong)?,
            Some("$gap") => {
                self.expect(number("from")?).map_err(wrong)?;
                self.next = Some(number("to")?);
            }
            Some("$keepalive") => {}
            // No id was brought along.
            Some(_) => return Err(wrong("an event that has no place here")),
        }
        Ok(())
    }

    /// A message comes, or a gap begins.
    fn expect(&mut self, offset: u64) -> Result<(), &'static str> {
        let expected = self.next.replace(offset + 1);
        match expected.is_none_or(|expected| expected == offset) {
            true => Ok(()),
            false => Err("a hole"),
        }
    }
}
