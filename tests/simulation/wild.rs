//! A stranger over WebSocket that breaks its rules: handshakes that are none, frames without masks, sizes that cannot be, messages that
//! never end. What the broker says to it is held to the letter all the same.

use oyez_protocol::command::{Hello, Start, Subscribe, Subscription, VERSION};
use oyez_protocol::limits::Limits;
use oyez_protocol::message::MessageRef;
use oyez_protocol::record::RecordBuilder;

use super::dice::Dice;
use super::http;
use super::websocket::{
    BINARY, CLOSE, CONTINUATION, FIN, Hearing, PING, PONG, Said, TEXT, frame, handshake,
};

/// A connection of it.
#[derive(Debug)]
pub(super) struct Wild {
    is_native: bool,
    /// It does not read.
    is_deaf: bool,
    /// Its handshake is one.
    is_sound: bool,
    said: u64,
    /// The answer to the handshake, as far as it has come.
    head: Vec<u8>,
    hearing: Option<Hearing>,
    is_closed: bool,
    pub(super) is_over: bool,
    /// What was met, a word each.
    pub(super) told: Vec<String>,
}

impl Wild {
    /// Makes up a handshake.
    pub(super) fn ask(dice: &mut Dice) -> (Self, Vec<u8>) {
        let is_native = dice.one_in(2);
        let target = match dice.below(3) {
            0 if !is_native => "/m/flood/ws?from=earliest",
            _ => "/api/v1/ws",
        };
        let (mut request, _) = handshake(target, is_native, dice);
        let is_sound = !dice.one_in(8);
        if !is_sound {
            let text = String::from_utf8(request).expect("a request is text");
            let (what, with) = *dice.pick(&[
                ("Version: 13", "Version: 8"),
                ("-Key: ", "-Key: AAAA"),
                ("Upgrade: websocket", "Upgrade: h2c"),
                ("oyez.v2", "mqtt"),
                ("/ws", "/nowhere/at/all"),
            ]);
            request = text.replace(what, with).into_bytes();
        }
        let wild = Self {
            is_native,
            is_deaf: dice.one_in(5),
            is_sound,
            said: 0,
            head: Vec::new(),
            hearing: None,
            is_closed: false,
            is_over: false,
            told: Vec::new(),
        };
        (wild, request)
    }

    pub(super) const fn is_deaf(&self) -> bool {
        self.is_deaf
    }

    /// Makes up what to say next. Now and then that does not wait for the answer to the handshake.
    pub(super) fn think(&mut self, dice: &mut Dice, out: &mut Vec<u8>) {
        if self.hearing.is_none() && !self.is_deaf && !dice.one_in(20) {
            return;
        }
        // Nothing may follow the request before its answer.
        self.is_sound &= self.hearing.is_some();
        self.said += 1;
        if self.said == 1 && dice.below(4) > 0 {
            return self.behave(dice, out);
        }
        match dice.below(4) {
            0 => self.behave(dice, out),
            _ => self.break_a_rule(dice, out),
        }
    }

    /// Says something that may be said, in a message or a part of one.
    fn behave(&self, dice: &mut Dice, out: &mut Vec<u8>) {
        let mut bytes = Vec::new();
        match (self.is_native, self.said) {
            (true, 1) => Hello {
                version_min: VERSION,
                version_max: VERSION,
                features: 0,
                heartbeat_ms: 0,
                name: "wild",
                credentials: b"",
            }
            .encode(&mut bytes),
            (true, _) if dice.one_in(3) => {
                let topic = Subscription::new("m/flood", Start::Earliest, None);
                Subscribe::encode(self.said as u32, &[topic], &mut bytes);
            }
            (true, _) => {
                let mut builder = RecordBuilder::new("m/flood", Limits::HARD).expect("a topic");
                let size = *dice.pick(&[10, 3_000]);
                builder
                    .push(&MessageRef::new(&vec![b'x'; size]))
                    .expect("it fits");
                builder.finish_stored(self.said, &mut bytes);
            }
            (false, _) => {
                let command = *dice.pick(&[
                    r#"{"command":"publish","topic":"m/flood","payload":"x","id":1}"#,
                    r#"{"command":"subscribe","topic":"m/flood","from":"earliest"}"#,
                    r#"{"command":"unsubscribe","topic":"m/flood","id":2}"#,
                    r#"{"command":"dance"}"#,
                    "[[[[[[[[",
                ]);
                bytes.extend_from_slice(command.as_bytes());
            }
        }
        let opcode = if self.is_native { BINARY } else { TEXT };
        let fin = if dice.one_in(12) { 0 } else { FIN };
        frame(fin | opcode, &bytes, dice, out);
    }

    fn break_a_rule(&self, dice: &mut Dice, out: &mut Vec<u8>) {
        match dice.below(12) {
            // Without a mask.
            0 => out.extend_from_slice(b"\x82\x05hello"),
            // Bits and kinds that there are not.
            1 => frame(dice.next() as u8, b"what", dice, out),
            // Sizes in more bytes than they take.
            2 => out.extend_from_slice(b"\x82\xfe\0\x02maskhi"),
            3 => out.extend_from_slice(b"\x82\xff\0\0\0\0\0\0\0\x02maskhi"),
            // Sizes that never come.
            4 => {
                let size = *dice.pick(&[u64::MAX, 1 << 62, 1 << 32, 5 << 20, 70_000]);
                out.extend_from_slice(&[FIN | BINARY, 0xff]);
                out.extend_from_slice(&size.to_be_bytes());
                out.extend_from_slice(b"mask and a beginning");
            }
            // The rest of nothing, a message within another.
            5 => frame(FIN | CONTINUATION, b"rest", dice, out),
            6 => {
                frame(TEXT, b"{", dice, out);
                frame(FIN | TEXT, b"{", dice, out);
            }
            // Control frames that are too long, or in parts.
            7 => frame(FIN | PING, &[7; 126], dice, out),
            8 => frame(PING, b"part", dice, out),
            9 => {
                let code = *dice.pick(&[0_u16, 999, 1000, 1005, 1006, 4999, 5000]);
                let payload = [
                    &code.to_be_bytes()[..],
                    *dice.pick(&[&b""[..], b"\xff", b"why"]),
                ];
                frame(FIN | CLOSE, &payload.concat(), dice, out);
            }
            // Many questions.
            10 => {
                for number in 0..dice.among(1, 300) {
                    let payload = [number as u8; 100];
                    frame(FIN | *dice.pick(&[PING, PONG]), &payload, dice, out);
                }
            }
            // No text.
            _ => {
                frame(TEXT, b"{\"command\":\"\xe2", dice, out);
                frame(FIN | CONTINUATION, b"\x82\"\xff}", dice, out);
            }
        }
        if dice.one_in(6) && out.len() > 1 {
            let keep = dice.index(out.len() - 1) + 1;
            out.truncate(keep);
        }
    }

    /// Takes what has come.
    ///
    /// # Errors
    /// What the broker should not have said.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        let rest;
        let mut input = bytes;
        if self.hearing.is_none() {
            self.head.extend_from_slice(bytes);
            if http::goodbye(&self.head).is_some() {
                self.is_over = true;
                return Ok(());
            }
            let Some((head, size)) = http::head(&self.head)? else {
                return Ok(());
            };
            self.told.push(head.class());
            match head.status {
                101 if self.is_sound || head.field("sec-websocket-accept").is_some() => {}
                408 | 503 => self.is_over = true,
                400 | 404 | 405 | 426 if !self.is_sound => self.is_over = true,
                status => {
                    let body = String::from_utf8_lossy(&self.head[size..]);
                    return Err(format!("a handshake is answered with {status}: {body}"));
                }
            }
            if self.is_over {
                return Ok(());
            }
            self.hearing = Some(Hearing::new(self.is_native));
            rest = self.head.split_off(size);
            input = &rest;
        }
        let Some(hearing) = &mut self.hearing else {
            return Ok(());
        };
        if self.is_closed && !input.is_empty() {
            return Err("something follows a Close".to_owned());
        }
        while let Some(said) = hearing.next(&mut input)? {
            if self.is_closed {
                return Err(format!("behind a Close comes {said:?}"));
            }
            if let Said::Close(code, _) = said {
                self.told.push(format!("websocket close {code}"));
                self.is_closed = true;
            }
        }
        Ok(())
    }
}
