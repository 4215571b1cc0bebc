//! Takes records in: a reading and an answering thread for each publisher.

use std::io::{self, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, Sender, channel};

use oyez_cli::bench::sse::Next;
use oyez_cli::bench::websocket::Opcode;
use oyez_cli::bench::{Via, sse, websocket};
use oyez_protocol::event::{Outcome, Published, PublishedEntry};
use oyez_protocol::limits::{Limits, RECORD_HEADER_SIZE};
use oyez_protocol::lz4::Scratch;
use oyez_protocol::message::Messages;
use oyez_protocol::record::Record;
use oyez_protocol::{Epoch, Offset};

use super::{EPOCH, Floor, Publication};

/// Takes in publishers for ever.
pub(super) fn listen(listener: &TcpListener, floor: &Arc<Floor>) {
    for stream in listener.incoming().flatten() {
        let floor = floor.clone();
        std::thread::spawn(move || {
            // The bench notices a publisher that breaks off.
            let _ = attend(&stream, &floor);
        });
    }
}

fn attend(stream: &TcpStream, floor: &Floor) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (answer, answers) = channel();
    let out = stream.try_clone()?;
    std::thread::spawn(move || reply(out, &answers));
    let mut reader = BufReader::with_capacity(256 << 10, stream);
    loop {
        let publication = read(&mut reader, floor, &answer)?;
        if let Some(file) = &floor.sync_file {
            file.keep(&publication.bytes)?;
        }
        if floor.echo {
            echo(stream, publication.slot)?;
        } else {
            floor.publish(&Arc::new(publication));
        }
    }
}

fn read(reader: &mut impl Read, floor: &Floor, answer: &Sender<u32>) -> io::Result<Publication> {
    let mut bytes = vec![0; RECORD_HEADER_SIZE];
    reader.read_exact(&mut bytes)?;
    let size = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    if size as usize <= RECORD_HEADER_SIZE || size > Limits::HARD.record_size_max {
        return Err(io::Error::other("not a record"));
    }
    bytes.resize(size as usize, 0);
    reader.read_exact(&mut bytes[RECORD_HEADER_SIZE..])?;
    let record = Record::trusted(&bytes).ok_or_else(|| io::Error::other("not a record"))?;
    Ok(Publication {
        group: usize::from(record.log().get()) % floor.groups,
        slot: u32::try_from(record.sequence().get()).map_err(io::Error::other)?,
        left: AtomicUsize::new(floor.inboxes.len()),
        answer: answer.clone(),
        bytes: match floor.via {
            Via::Native => bytes,
            Via::Ws => framed(&bytes),
            Via::Sse => chunk(&record)?,
            Via::WsJson => texts(&record)?,
        },
    })
}

/// A record as a message.
fn framed(record: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    websocket::answer::message(Opcode::Binary, record, &mut out);
    out
}

/// The events of a record.
fn chunk(record: &Record<'_>) -> io::Result<Vec<u8>> {
    let first = Next {
        epoch: EPOCH,
        offset: record.offset().get(),
    };
    let mut out = Vec::new();
    with_payloads(record, |payloads| {
        sse::answer::record(first, payloads.iter().copied(), &mut out);
    })?;
    Ok(out)
}

/// The messages of a record as JSON.
fn texts(record: &Record<'_>) -> io::Result<Vec<u8>> {
    let (topic, first) = (record.topic(), record.offset().get());
    let mut out = Vec::new();
    with_payloads(record, |payloads| {
        websocket::answer::record(topic, first, payloads.iter().copied(), &mut out);
    })?;
    Ok(out)
}

fn with_payloads(record: &Record<'_>, write: impl FnOnce(&[&[u8]])) -> io::Result<()> {
    let mut scratch = Scratch::new();
    let raw = scratch.open(record).map_err(io::Error::other)?;
    let messages = Messages::new(raw, record.count());
    let payloads = messages.map(|message| message.map(|message| message.payload));
    let payloads: Vec<&[u8]> = payloads
        .collect::<Result<_, _>>()
        .map_err(io::Error::other)?;
    write(&payloads);
    Ok(())
}

fn echo(mut stream: &TcpStream, slot: u32) -> io::Result<()> {
    let mut frame = Vec::new();
    Published::encode(&[entry(slot)], &mut frame);
    stream.write_all(&frame)
}

fn reply(mut stream: TcpStream, answers: &Receiver<u32>) {
    let mut frames = Vec::new();
    while let Ok(first) = answers.recv() {
        let entries: Vec<PublishedEntry> = std::iter::once(first)
            .chain(answers.try_iter())
            .map(entry)
            .collect();
        frames.clear();
        Published::encode(&entries, &mut frames);
        if stream.write_all(&frames).is_err() {
            return;
        }
    }
}

fn entry(slot: u32) -> PublishedEntry {
    PublishedEntry {
        correlation: u64::from(slot),
        offset: Offset::new(0),
        epoch: Epoch::new(0),
        outcome: Outcome::Ok,
        retry_after_ms: 0,
    }
}
