//! The Oyez wire, version 2: records, control frames, checksums, limits and the block codec.
//!
//! This page is the specification; a client can be written from it alone. The crate implements it for both sides: from
//! bytes to borrowed views ([`decode`]) and from values to bytes (the `encode` of each frame, [`record::RecordBuilder`]).
//! It does no I/O, reads no clock, and allocates nothing when it decodes. Feature `lz4` adds the block codec (module
//! `lz4`), which the broker never needs: it passes blocks on as they are.
//!
//! - [Conventions](#conventions), [frames](#frames), [kinds](#kinds), [the session](#the-session),
//!   [over WebSocket](#over-websocket)
//! - [Control frames](#control-frames), [codes](#codes)
//! - [Records](#records), [extras](#extras), [blocks and messages](#blocks-and-messages)
//! - [Limits](#limits), [rules for receivers](#rules-for-receivers), [worked example](#worked-example)
//! - [The JSON of answers][answer], [resume tokens][token]
//!
//! **What is reserved.** No broker does all of this page yet. Missing are filters, several topics in one `Subscribe`, starts
//! by time, by number and by token, cursors with `Ack`, and `Renew`, and the frames `Ended`, `Skip`, `Notice` and `Reached`,
//! which no broker sends. The layout of all of it is fixed, so that clients and brokers of version 2 understand each other
//! when it comes. A broker answers a request that it cannot do with outcome 0x400, *not supported*, and the session goes on.
//! `Welcome` says what a broker can do: a client sends only what its features name, above all no record whose codec or extras
//! are not in this page.
//!
//! # Conventions
//!
//! A connection is one TCP stream each way; the default port is 7450. All numbers are unsigned and little-endian: `u8`,
//! `u16`, `u32`, `u48` (six bytes), `u64`. Offsets in the tables count bytes from the start of the frame. Text is UTF-8
//! without a terminator. *Reserved* bytes are written as zero and refused if they are not. *Checksum* is CRC-32C
//! (Castagnoli: reflected polynomial `0x82F63B78`, start and final exclusive-or `0xFFFFFFFF`; that of `"123456789"` is
//! `0xE3069283`).
//!
//! A *topic* is 1 to 255 bytes of UTF-8 without NUL, `+` and `#`; `/` separates its levels. Topics that begin with `$` are the
//! broker's own: clients neither publish there nor subscribe to them. A *filter* is written like a topic; in it a level that
//! is `+` stands for any one level, and a last level that is `#` for any number of them, also none; it has at least one of the
//! two, and in the first level they stand for none of the broker's own topics. A *sequence* numbers the records of
//! a log, in which many topics lie, from 0 without holes. An *offset* numbers the messages
//! of a topic from 0 without holes. An *epoch* names a history of offsets: while it is the same, an offset means the same
//! message; 0 means "not known".
//!
//! # Frames
//!
//! The stream is a sequence of frames without anything between them. Every frame begins with the same head:
//!
//! | at | type | field | meaning |
//! |---|---|---|---|
//! | 0 | u32 | size | bytes of the whole frame, this head included; a multiple of 8 |
//! | 4 | u8 | kind | see [kinds](#kinds) |
//! | 5 | u8 | flags | by kind; a bit without a meaning is reserved |
//! | 6 | u16 | aux | a count or a code, by kind; reserved where the kind gives it no meaning |
//!
//! In all kinds but 1 the head goes on like this:
//!
//! | at | type | field | meaning |
//! |---|---|---|---|
//! | 8 | u32 | checksum | over all other bytes of the frame: [0, 8) and [12, size) |
//! | 12 | u32 | id | request id, chosen by the client, repeated in the answer; reserved where the kind has none |
//! | 16 | | fields | by kind, without alignment, then 0 to 7 reserved bytes up to `size` |
//!
//! So the smallest of them has 16 bytes. They may have at most 65,536 bytes. A record (kind 1) has a head of its own, of
//! 48 bytes; see [records](#records).
//!
//! # Kinds
//!
//! | kind | frame | from | aux | id | flags |
//! |---|---|---|---|---|---|
//! | 1 | [Record](#records) | both | messages | | codec |
//! | 2 | [Hello](#hello) | client | features | | |
//! | 3 | [Welcome](#welcome) | broker | version | | |
//! | 4 | [Subscribe](#subscribe) | client | topics | yes | |
//! | 5 | [Subscribed](#subscribed) | broker | outcome | yes | 1 epoch changed, 2 dropped, 4 of a log, 8 more logs |
//! | 6 | [Unsubscribe](#unsubscribe-unsubscribed) | client | | yes | 1 filter |
//! | 7 | [Unsubscribed](#unsubscribe-unsubscribed) | broker | outcome | yes | |
//! | 8 | [Published](#published) | broker | entries | | |
//! | 9 | [Ping](#ping-pong) | both | | | |
//! | 10 | [Pong](#ping-pong) | both | | | |
//! | 11 | [Goodbye](#goodbye) | both | code | | |
//! | 12 | [Query](#query-answer) | client | question | yes | |
//! | 13 | [Answer](#query-answer) | broker | outcome | yes | 1 more |
//! | 14 | [Gap](#gap-skip) | broker | cause | | 1 sequences |
//! | 15 | [Skip](#gap-skip) | broker | cause | | 1 sequences |
//! | 16 | [Renew](#renew-renewed) | client | | yes | |
//! | 17 | [Renewed](#renew-renewed) | broker | outcome | yes | |
//! | 18 | [Ack](#ack-acked) | client | | yes | 1 sequences |
//! | 19 | [Acked](#ack-acked) | broker | outcome | yes | |
//! | 20 | [Notice](#notice) | broker | code | | |
//! | 21 | [Ended](#ended) | broker | outcome | | 1 filter |
//! | 22 | [Reached](#reached) | broker | | | |
//! | 0x80-0xff | to be skipped | both | any | any | any |
//!
//! **Skip rule.** A kind with its high bit set (128 and up) that a receiver does not know is passed over: `size` bytes, once
//! their checksum was found right. (An unchecked skip would let one flipped bit turn a record into nothing.) Such a frame
//! is at most as large as the receiver's largest frame. The marks of the broker's logs are such kinds (0x80 pad, 0x81 sync
//! mark, 0x82 block header); where records are delivered together, marks may stand between them, pads never. Any other
//! unknown kind ends the connection, as does 0.
//!
//! # The session
//!
//! 1. The client connects and sends `Hello`, at once and before anything else. It need not wait for the answer to send more,
//!    but then it does not know the limits yet; waiting is the rule. A client that comes back sends its `Subscribe` together
//!    with `Hello`, and gets both answers in one packet. (On Linux `TCP_QUICKACK` 0 before `connect` lets `Hello` carry the
//!    last packet of TCP's handshake.)
//! 2. The broker answers with `Welcome`, or with `Goodbye` and closes. The version in `Welcome` is the highest that both
//!    speak; the layouts of frame heads, `Hello` and `Goodbye` are the same in all versions. Version 1 was that of 0.1.0 and
//!    is spoken no more.
//! 3. From then on either side sends what it likes in any order.
//!    - **Publish**: the client sends a record with a *correlation id* of its choice. The broker answers each record with one
//!      entry of some `Published` frame, once the record is as durable as its topic's log promises. Records of one session
//!      and topic get their offsets in the order of publishing. No more than `inflight_records_max` records and
//!      `inflight_bytes_max` bytes may be without an answer: the broker reads no more of the session until one has left.
//!    - **Subscribe**: answered by one `Subscribed` with the same id for each topic. If its outcome is 0, records of the
//!      topic follow: first those that are kept, then each as it becomes visible, in the order of offsets. A record goes
//!      out whole: the first one may begin before the offset asked for.
//!    - **Unsubscribe**: answered by `Unsubscribed`; no record of that topic comes after it.
//!    - **Query**: answered by an `Answer` with the same id.
//!    - **Order.** Frames of a client are taken in their order, and each request has exactly one answer, but answers need not
//!      come in that order. Two things hold. Outcomes of class 0 of one topic come in the order of publishing; a
//!      refusal may come before the outcomes of records that were sent earlier, to the same topic too. And
//!      `Unsubscribed` comes after the `Subscribed` of the same topic, also if both were asked for at once. Everything
//!      else is told apart by its ids.
//!    - **Ids.** Request ids and correlation ids may have any value, 0 included. The broker repeats them and does not
//!      compare them: two requests with the same id get two answers with that id, and which is which is up to the client.
//!      So a client uses an id again only when its answer has come.
//!    - `Gap` takes the place of records that cannot be delivered any more, `Skip` that of records that are not to be
//!      delivered any more. Delivery goes on behind them. `Ended` says that a subscription gets nothing more.
//!    - Subscriptions of one session do not overlap: a record comes once, and what comes next is known for each topic.
//!    - **Renew**: other credentials take the place of those of `Hello`, while the session goes on. Answered by `Renewed`.
//!    - **Ack**: what a named cursor's subscriber is done with. Answered by `Acked`.
//!    - `Notice` tells a client something useful. A client that does not know its code ignores it.
//! 4. A side that has heard nothing for `heartbeat_ms` (that of `Welcome`) sends `Ping`. A side that gets a `Ping` sends
//!    `Pong` with its token at once; a `Pong` may also be sent unasked. After twice that time without a sign of life the
//!    connection is dead. Signs of life are bytes that come, and progress: the peer's TCP has acknowledged more of what was
//!    sent to it than one `Ping`. So a peer that reads slowly lives, and need not answer a `Ping` while the sender still has
//!    bytes ahead of it. An answer to TCP's own probes is no progress: a peer that never reads is dead, however well its
//!    kernel is. The sender cannot see what waits unread in the peer's kernel: a peer that reads such a buffer for longer
//!    than two heartbeats sends `Pong` meanwhile.
//! 5. A frame that has begun comes to its end: a receiver may end the connection when nothing of the rest has come for ten
//!    seconds or two heartbeats, whichever is shorter, or when the whole takes longer than ten seconds and one more for
//!    each KiB of it. Before `Welcome` the broker gives the rest half of the time that it gives the hello. A size that was
//!    damaged on its way ends like this.
//! 6. `Goodbye` is the last frame of the side that sends it. Its code says whether to come back and how soon. A connection
//!    that ends without it broke: come back.
//!    - After a `Goodbye` of the broker the client sends nothing more, and closes. Before code 0 everything that the broker had
//!      read of the session was answered, and before code 1 every record, but for what a disk did not do in time. After
//!      other codes a record without an outcome may be in its log or not.
//!    - A client that is done sends `Goodbye` 0, or shuts its side of the stream (a *half-close*): both mean the same. The
//!      broker has taken all whole frames before it, and throws away what comes after a `Goodbye`. Subscriptions of the
//!      session end, and nothing more is delivered. The broker sends what the client still waits for: the outcome of each
//!      record and the answer to each request. Then it sends `Goodbye` 0 and closes. If the client waits for nothing, the
//!      broker closes at once, and sends nothing.
//!    - The broker waits for these outcomes until ten seconds have passed without one. Then it closes without a
//!      `Goodbye`, and what has become of the rest is not known. A client that does not want to wait closes both sides: its
//!      records are stored all the same.
//!
//! After a break a client reconnects and subscribes with `start` 2, the offset behind the last message it has, and the epoch
//! that `Subscribed` told it. A publisher that saw no answer for a record sends it again; if the first copy had arrived,
//! the messages are there twice. When `Goodbye` 6 comes three times in a row and no record was answered in between, the
//! damage does not happen on the way: the publisher gives up with an error.
//!
//! # Over WebSocket
//!
//! The same frames can travel in binary messages of a WebSocket (RFC 6455): at the path `/api/v1/ws` of the same port, with the
//! subprotocol `oyez.v2`. A message of the broker holds one whole frame or several, such as a run of records that lie
//! together in the log: up to 128 KiB, or one record that is larger. The messages of a client are a stream: they are put one
//! behind the other, and it does not matter where they begin and end. Text is refused, and no extension is agreed on.
//!
//! The session is the one above, but for this: the broker grants a heartbeat of 45 seconds at most, and asks with a Ping of
//! WebSocket instead of kind 9, at each heartbeat. A Pong of WebSocket is a sign of life. After `Goodbye` the broker sends a
//! Close, whose code is 1000 for `Goodbye` 0, 1012 for 1, 1013 for 2 and 8, and 4000 + code for others. A client that is done
//! sends a Close, or a `Goodbye`, or shuts its side. The broker takes all that came before, sends what the client still
//! waits for as in point 6, and then its own Close. In answer to a Close, or to a `Goodbye`, there is no `Goodbye` before it,
//! and its code is that of the Close, or 1000. A client that has shut its side and waits for nothing gets neither. What is
//! wrong with the messages themselves is told by the Close alone: 1002, 1003, 1007, 1009.
//!
//! # Control frames
//!
//! ## Hello
//! Kind 2. aux = what the client can do beyond what all clients can, as a sum of bits. None is defined, and a broker passes
//! over those that it does not know.
//!
//! | at | type | field | meaning |
//! |---|---|---|---|
//! | 16 | 4 bytes | magic | `OYEZ` |
//! | 20 | u16 | version min | lowest version that the client speaks |
//! | 22 | u16 | version max | highest version, not below the lowest |
//! | 24 | u32 | heartbeat | longest silence that the client wants, in ms; 0 leaves it to the broker |
//! | 28 | u16 | name size | n, at most 1,024 |
//! | 30 | u16 | credentials size | c, at most 4,096 |
//! | 32 | n bytes | name | what the client calls itself, for the broker's log |
//! | 32 + n | c bytes | credentials | what the client proves itself with; a broker that cannot check them refuses (code 263) |
//!
//! The broker has a heartbeat of its own (`heartbeat_ms`, 300 s unless it is configured otherwise). It grants the one that is
//! asked for, but no more than its own, and no less than one second, or than its own where that is shorter. `Welcome` says
//! what it grants.
//!
//! A connection has ten seconds for its `Hello` (`hello_timeout_ms`, unless it is configured otherwise; a client can neither
//! ask for another time nor is it told). Then `Goodbye` 3 ends it. The broker looks at a connection for the first time when
//! that time is over: a shorter heartbeat begins to count then.
//!
//! ## Welcome
//! Kind 3, aux = the version that the connection speaks.
//!
//! | at | type | field | meaning |
//! |---|---|---|---|
//! | 16 | u32 | heartbeat | of this connection, in ms |
//! | 20 | u32 | record size max | largest record taken and delivered: a multiple of 8, 56 to 1,048,576 |
//! | 24 | u32 | raw size max | largest decompressed block: 1 to 8,388,608 |
//! | 28 | u32 | inflight records max | published records that may be without an answer |
//! | 32 | u32 | inflight bytes max | and their bytes |
//! | 36 | u32 | features | what the broker can do beyond what all brokers can, as a sum; pass over bits that you do not know |
//! | 40 | u64 | instance | random number of this run of the broker |
//! | 48 | u64 | expires | when the credentials end, in ms since the Unix epoch; 0 is never |
//! | 56 | u32 | subscriptions max | topics and filters that the session may be subscribed to |
//! | 60 | u16 | name size | n, at most 1,024 |
//! | 62 | u16 | reserved | |
//! | 64 | n bytes | name | what the broker calls itself |
//!
//! One more subscription than `subscriptions max` is refused with outcome 0x104. It is `max_subscriptions` of the broker,
//! 1,024 unless it is configured otherwise.
//!
//! Features ([`event::feature`]): 1 several topics in one `Subscribe`, 2 filters, 4 starts by time, 8 by number, 16 by
//! token, 32 cursors, 64 `Renew`.
//!
//! ## Subscribe
//! Kind 4, with id. aux = topics, 1 to 32. Each is, one behind the other from 16 on:
//!
//! | at | type | field | meaning |
//! |---|---|---|---|
//! | +0 | u8 | start | where to begin, see below |
//! | +1 | u8 | flags | 1: the name is a filter |
//! | +2 | u8 | name size | n |
//! | +3 | u8 | reserved | |
//! | +4 | u16 | extra size | e; of starts 0 to 4 it is 0 |
//! | +6 | u16 | reserved | |
//! | +8 | u64 | value | of starts 0, 1, 5 and 6 it is 0 |
//! | +16 | u64 | epoch | that an offset belongs to; 0 takes the offset as it is |
//! | +24 | n bytes | name | the topic, or the filter |
//! | +24 + n | e bytes | extra | |
//!
//! | start | begins | value | extra |
//! |---|---|---|---|
//! | 0 | with the next message that becomes visible | | |
//! | 1 | with the oldest kept | | |
//! | 2 | with an offset | the offset | |
//! | 3 | with the first that became visible at a time or later; if there is none, with the next | ms since the Unix epoch | |
//! | 4 | so many offsets before the next, of each topic, but not before the oldest kept | their number | |
//! | 5 | where a token says | | the [token], at most 16,384 bytes |
//! | 6 | where a cursor stands, or with the oldest kept if there is no such cursor | | its name, 1 to 64 bytes of UTF-8 |
//!
//! Another start is answered with *not supported*. When the epoch is not 0 and not the topic's, the offset means nothing any
//! more: delivery begins with the oldest message kept and `Subscribed` has flag 1. When the offset is older than what is
//! kept, delivery begins with the oldest kept and `Subscribed` has flag 2. One beyond the newest visible message is
//! refused (outcome 0x105). Tokens are answered in the same way; of one with several places that of the topic counts. Flag 2
//! tells of retention and damage only: messages that were stepped over meanwhile are told by a `Skip`.
//!
//! A cursor belongs to the client that the credentials name, and to the topic or filter that it is used with. The last
//! subscription that names it has it; the one that had it before ends. A name that is no topic, or no filter, ends the
//! connection (code 262).
//!
//! ## Subscribed
//! Kind 5, with id, aux = [outcome](#codes). Flags: 1 = the epoch asked for is over, 2 = the offset asked for is kept no
//! more. Unless the outcome is of class 0 there is no subscription, and offsets and epoch mean nothing.
//!
//! | at | type | field | meaning |
//! |---|---|---|---|
//! | 16 | u64 | next | first offset that is wanted; the record that it lies in may begin before it |
//! | 24 | u64 | earliest | oldest offset kept |
//! | 32 | u64 | head | first offset that is not visible yet |
//! | 40 | u64 | epoch | of the topic, or of the log |
//! | 48 | u16 | entry | which of the request's topics, from 0; 65,535, with a refusal only, for all of them |
//! | 50 | u16 | log | with flag 4; else reserved |
//! | 52 | u32 | retry after | with an outcome of class 2: when to ask again, in ms; 0 leaves it to the client |
//!
//! A filter is answered once for each log that its topics may lie in: with flag 4 the numbers are sequences of that log, and
//! with flag 8 another answer for the same entry follows.
//!
//! ## Unsubscribe, Unsubscribed
//! Kind 6, with id: `u8` name size at 16, the topic at 17, or with flag 1 the filter. Kind 7, with id, aux =
//! [outcome](#codes), without fields.
//!
//! ## Published
//! Kind 8, aux = number of entries, 1 to 2,047, each of 32 bytes from 16 on:
//!
//! | at | type | field | meaning |
//! |---|---|---|---|
//! | +0 | u64 | correlation | the record's correlation id |
//! | +8 | u64 | offset | of the record's first message |
//! | +16 | u64 | epoch | of the topic |
//! | +24 | u16 | outcome | of class 0: the record is in the log; else it is not, and offset and epoch mean nothing |
//! | +26 | u16 | reserved | |
//! | +28 | u32 | retry after | with an outcome of class 2: when to publish it again, in ms; 0 leaves it to the client |
//!
//! ## Ping, Pong
//! Kinds 9 and 10: `u64` token at 16, chosen by the side that pings.
//!
//! ## Goodbye
//! Kind 11, aux = [code](#codes).
//!
//! | at | type | field | meaning |
//! |---|---|---|---|
//! | 16 | u32 | retry after | when to come back, in ms, at the earliest; 0 leaves it to the client |
//! | 20 | u16 | reason size | n, at most 1,024 |
//! | 22 | u16 | reserved | |
//! | 24 | n bytes | reason | a sentence for people |
//!
//! With code 1 the broker tells each client another time, so that not all come back at once: a client comes back just then.
//! The times of few clients lie close together, and one alone comes back at once. With other codes a client adds a delay by
//! chance.
//!
//! ## Query, Answer
//! Kind 12, with id, aux = question: 1 statistics, 2 topics, 3 lag. `u8` size n at 16, n bytes of text at 17: for topics
//! the name after which to begin (empty: with the first), for 1 and 3 empty. Another question is answered with *not
//! supported*.
//!
//! A session has one question for topics and one for lag under way at a time: what it sends behind a second one is read when
//! the first is answered.
//!
//! Kind 13, with the query's id, aux = [outcome](#codes). Unless it is of class 0 the text is empty. Flag 1 = there are more
//! topics: ask again with the last name of this answer. [The JSON of answers][answer] says what the text holds.
//!
//! | at | type | field | meaning |
//! |---|---|---|---|
//! | 16 | u32 | size | n, at most 65,512 |
//! | 20 | u32 | retry after | with an outcome of class 2: when to ask again, in ms; 0 leaves it to the client |
//! | 24 | n bytes | text | a JSON object |
//!
//! ## Gap, Skip
//! Kinds 14 and 15, aux = cause. Of a `Gap`: 1 retention dropped the messages before they were delivered, 2 they were damaged
//! on disk, 3 they are of a kind that this client does not take; any other, lost for a reason that is not known. Of a `Skip`:
//! 1 their time is over, 2 newer ones have taken their place, 3 they were deleted; any other, not wanted any more. With flag
//! 1 the numbers are sequences of a log, and the name is the filter that was subscribed to; else they are offsets of a topic.
//!
//! | at | type | field | meaning |
//! |---|---|---|---|
//! | 16 | u64 | from | first number missing |
//! | 24 | u64 | to | first number that will come; greater than `from` |
//! | 32 | u64 | epoch | that `to` belongs to. If it is another one than before, a new history begins there |
//! | 40 | u16 | log | with flag 1; else reserved |
//! | 42 | u8 | name size | n |
//! | 43 | n bytes | name | |
//!
//! Neighbours of different causes may be told as one, with cause 0. With sequences a hole excuses a jump of the offsets of any
//! topic of that log, once, in the first record whose sequence is `to` or more.
//!
//! ## Renew, Renewed
//! Kind 16, with id: `u16` size at 16, at most 4,096, `u16` reserved, the credentials at 20. Kind 17, with id, aux =
//! [outcome](#codes): `u64` at 16 when the new ones end, as in `Welcome`, `u32` at 24 when to ask again, in ms, `u32`
//! reserved. Unless the outcome is of class 0 the old ones hold on.
//!
//! ## Ack, Acked
//! Kind 18, with id: a cursor's subscriber is done with everything before a number. Flag 1 as in `Gap`.
//!
//! | at | type | field | meaning |
//! |---|---|---|---|
//! | 16 | u64 | number | the first that it is not done with |
//! | 24 | u64 | epoch | that the number belongs to |
//! | 32 | u16 | log | with flag 1; else reserved |
//! | 34 | u8 | cursor size | c, 1 to 64 |
//! | 35 | u8 | name size | n |
//! | 36 | c bytes | cursor | its name |
//! | 36 + c | n bytes | name | the topic, or the filter |
//!
//! Kind 19, with id, aux = [outcome](#codes), without fields.
//!
//! ## Notice
//! Kind 20, aux = code: 1 = the credentials end at `value` (ms since the Unix epoch). Others are passed over.
//!
//! | at | type | field | meaning |
//! |---|---|---|---|
//! | 16 | u64 | value | |
//! | 24 | u16 | text size | n, at most 1,024 |
//! | 26 | n bytes | text | a sentence for people |
//!
//! ## Ended
//! Kind 21, aux = [outcome](#codes), never of class 0: a subscription has ended without the client's doing, because its
//! topic, its grant or its cursor is gone. Flag 1: the name is a filter.
//!
//! | at | type | field | meaning |
//! |---|---|---|---|
//! | 16 | u32 | retry after | with an outcome of class 2: when to subscribe again, in ms; 0 leaves it to the client |
//! | 20 | u8 | name size | n |
//! | 21 | n bytes | name | |
//!
//! ## Reached
//! Kind 22: how far a filter's subscription has come in a log. Everything before `sequence` was delivered, told as a hole, or
//! not for the filter; between records of a filter other sequences are no holes.
//!
//! | at | type | field | meaning |
//! |---|---|---|---|
//! | 16 | u64 | sequence | what comes next |
//! | 24 | u64 | epoch | of the log |
//! | 32 | u16 | log | |
//! | 34 | u8 | filter size | n |
//! | 35 | n bytes | filter | |
//!
//! # Codes
//!
//! Outcomes ([`event::Outcome`]). The high byte is the class, and says enough to act on: 0 done; 1 refused, and the same would
//! be refused again; 2 not now, it may be done later; 3 not allowed, other credentials may help; 4 not supported. A receiver
//! takes an outcome that it does not know for the plainest of its class, and one of an unknown class for 0x100.
//!
//! | code | meaning | | code | meaning |
//! |---|---|---|---|---|
//! | 0x000 | done | | 0x201 | the disk is full; publishing is refused, reading goes on |
//! | 0x100 | refused | | 0x202 | the broker is shutting down |
//! | 0x101 | not a topic | | 0x203 | the topic's log cannot store it |
//! | 0x102 | subscribed already | | 0x204 | a new topic, and its log has as many topics as it may |
//! | 0x103 | not subscribed | | 0x205 | faster than the session may go |
//! | 0x104 | too many subscriptions | | 0x300 | not allowed |
//! | 0x105 | the offset lies beyond the newest visible message | | 0x301 | a topic of the broker's own |
//! | 0x106 | the token cannot be read | | 0x302 | the credentials have ended |
//! | 0x107 | subscribed to some of that by another name | | 0x400 | not supported |
//! | 0x200 | not now | | | |
//!
//! Codes of `Goodbye` ([`event::GoodbyeCode`]). Below 256: come back after `retry after`. From 256 on: do not come back, the
//! same would happen again, because a checksum has proved that the sender meant what it sent. A receiver takes a code that it
//! does not know for 1 below 256, and else for 256.
//!
//! | code | meaning | | code | meaning |
//! |---|---|---|---|---|
//! | 0 | done | | 256 | malformed frame |
//! | 1 | shutting down | | 257 | wrong checksum |
//! | 2 | too many connections | | 258 | over a limit |
//! | 3 | silent for too long | | 259 | not an Oyez hello |
//! | 6 | damaged on its way: a wrong checksum, or a head that cannot be | | 260 | no common version |
//! | 7 | the credentials have ended: come back with new ones | | 261 | a frame that may not come here |
//! | 8 | faster than the peer may go | | 262 | not a topic |
//! | | | | 263 | credentials that cannot be checked |
//! | | | | 264 | credentials that are not right, or were revoked |
//! | | | | 265 | another protocol, which is not spoken here |
//!
//! 4 and 5 are not used. 257 is reserved: a wrong checksum is answered with 6. A broker that cannot go on within a record
//! that is half out (retention has dropped it), or at all (a log has failed), ends the connection without a `Goodbye`.
//!
//! # Records
//!
//! Kind 1: messages of one topic, compressed and checked together. The same bytes are what a publisher sends, what lies in
//! the log, and what a subscriber gets; the broker writes the marked fields in place and touches nothing else.
//!
//! | at | type | field | meaning |
//! |---|---|---|---|
//! | 0 | u32 | size | the whole record, a multiple of 8, at most `record size max` |
//! | 4 | u8 | kind | 1 |
//! | 5 | u8 | flags | the codec: 0 stored, 1 LZ4; anything else is refused |
//! | 6 | u16 | count | messages in the block, at least 1 |
//! | 8 | u32 | body checksum | over all that the publisher writes: [0, 8), [12, 20) and [48, size) |
//! | 12 | u32 | raw size | bytes of the decompressed block: at least `count`, at most `raw size max` |
//! | 16 | u8 | topic size | t, 1 to 255 |
//! | 17 | u8 | extras units | e, in units of 8 bytes |
//! | 18 | u8 | padding | p, 0 to 7 |
//! | 19 | u8 | reserved | |
//! | 20 | u32 | header checksum | **broker**: over [0, 48) with this field as zero |
//! | 24 | u64 | offset | **broker**: of the first message. From the publisher: its correlation id |
//! | 32 | u48 | sequence | **broker**: number of the record in its log |
//! | 38 | u16 | log | **broker** |
//! | 40 | u48 | timestamp | **broker**: ms since the Unix epoch; within a log it goes back only where the broker's clock had been over an hour ahead |
//! | 46 | u16 | incarnation | **broker** |
//! | 48 | t bytes | topic | |
//! | 48 + t | 8e bytes | extras | |
//! | 48 + t + 8e | b bytes | block | b = size - 48 - t - 8e - p |
//! | size - p | p bytes | reserved | |
//!
//! The publisher writes zero into the broker's fields, except the correlation id. No checksum covers that id on its way
//! in; an answer for an id that was never sent means that the connection is broken. So choose ids that no flipped bit turns
//! into one another, such as a number followed by 16 bits of its checksum: else one record takes the other's answer.
//!
//! ## Extras
//!
//! What is said of the record as a whole: one after the other, each `u8` type, `u8` length, as many bytes, and zeros up to a
//! multiple of 8 (counted from its own start). A receiver may ignore types of 128 and up that it does not know; a record
//! with any other unknown type is refused. None is defined yet; what a broker decides on, such as when a message expires and
//! which it supersedes, will be of 128 and up. The publisher begins a new record when extras differ.
//!
//! ## Blocks and messages
//!
//! The raw block is `count` messages, one after the other, without anything between or behind them:
//!
//! ```text
//! message := varint(payload_size * 4 + has_headers * 2 + has_key)
//!            has_key:     varint(key_size) key
//!            has_headers: varint(n) n * ( varint(name_size) name varint(value_size) value ),  n >= 1
//!            payload
//! ```
//!
//! A varint is base 128, seven bits a byte from the lowest up, the high bit set in all bytes but the last, in its shortest
//! form, and below 2^32. Keys, names, values and payloads are bytes. Message number i of a record has the offset
//! `offset + i`.
//!
//! Codec 0: the block is the raw block, b = raw size. Codec 1: the block is one raw LZ4 block (the [LZ4 block format];
//! no frame around it, no size before it, no dictionary). It is exactly b bytes long and must decompress to exactly `raw
//! size` bytes; b < raw size <= 255 b, which holds for every true LZ4 block. A sender sends the block stored when LZ4 does not
//! make it smaller.
//!
//! [LZ4 block format]: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
//!
//! # Limits
//!
//! | what | default | never above | constant |
//! |---|---|---|---|
//! | record, bytes | 262,144 | 1,048,576 | [`limits::RECORD_SIZE_HARD_MAX`] |
//! | decompressed block, bytes | 1,048,576 | 8,388,608 | [`limits::RAW_SIZE_HARD_MAX`] |
//! | messages in a record | | 65,535 | [`limits::MESSAGES_MAX`] |
//! | topic, bytes | | 255 | [`limits::TOPIC_SIZE_MAX`] |
//! | extras of a record, bytes | | 2,040 | [`limits::EXTRAS_SIZE_MAX`] |
//! | control frame, bytes | | 65,536 | [`limits::CONTROL_SIZE_MAX`] |
//! | a name or a reason, bytes | | 1,024 | [`limits::TEXT_SIZE_MAX`] |
//! | credentials, bytes | | 4,096 | [`limits::CREDENTIALS_SIZE_MAX`] |
//!
//! The broker's own limits for records and blocks are in `Welcome`; a client takes the greatest that the protocol knows until
//! it has them. A publisher that batches up to [`record::RecordBuilder::raw_capacity`] keeps within them whether the
//! messages compress or not.
//!
//! # Rules for receivers
//!
//! - **Need more is not an error.** With fewer than 8 bytes a head is missing; with fewer than `size`, the rest of the frame.
//!   [`decode`] then returns how many bytes there must be in all. Refuse a bad kind or size from the head alone, before
//!   making room for the frame.
//! - **Any error ends the connection**, since the place of the next frame is not known: say `Goodbye` with the code, close. A
//!   client whose broker sends nonsense comes back and resumes.
//! - **Only a right checksum proves a fault.** What is refused before its checksum was found right, such as a head with a
//!   size or a kind that cannot be, may have been damaged: code 6. From 256 on are faults of frames whose checksum is
//!   right; so look at the checksum of a bad record before anything else in it.
//! - **Check both checksums of a delivery**: [`decode`] checks that over the body, [`record::Record::check_header`] that over
//!   what the broker wrote ([`record::Record::verify_stamped`] does both). A broker checks that over the body; nothing
//!   else is there yet.
//! - **Believe no length.** Cap `raw size` before making room, decompress into exactly that much, require exactly that much.
//!   Lengths inside the block end at the block; after `count` messages nothing is left.
//! - **Reserved bytes are zero**, in frames, between fields, in paddings. Refuse others, so that they can get a meaning.
//! - **Trim.** Of a delivered record pass on only messages at and after the offset wanted.
//! - **Drop repeats** by topic and offset: a record can come again after a reconnect, and when two subscriptions of a session
//!   match it. What lies below the offset that comes next was seen already.
//! - **Holes are announced.** An offset greater than the one that comes next, without a `Gap` or a `Skip` before it, is a
//!   broken broker.
//! - **Codes grow.** Outcomes, causes, notices, features, starts and questions that a receiver does not know have a meaning
//!   that it can act on; they end no connection.
//!
//! # Worked example
//!
//! A client says hello (protocol 2 to 2, heartbeat left to the broker, name `demo`, no credentials), publishes `hello` to the
//! topic `demo` with correlation id 9, and gets what a subscriber gets:
//!
//! ```
//! # use oyez_protocol::{checksum::crc32c, command::Hello, limits::Limits, message::{MessageRef, Messages}};
//! # use oyez_protocol::{decode, Decoded, Frame, LogId, Offset, Sequence, record::{RecordBuilder, Stamp, stamp}};
//! let hello = [
//!     0x28, 0, 0, 0,  2, 0,  0, 0,              // size 40, kind 2 (Hello), flags, aux
//!     0xbc, 0x8f, 0xd0, 0x76,  0, 0, 0, 0, // checksum of the 36 other bytes, no id
//!     b'O', b'Y', b'E', b'Z',  2, 0,  2, 0,     // magic, versions 2 to 2
//!     0, 0, 0, 0,  4, 0,  0, 0,                 // heartbeat, sizes of name and credentials
//!     b'd', b'e', b'm', b'o',  0, 0, 0, 0,      // name, reserved up to a multiple of 8
//! ];
//! let mut covered = hello[..8].to_vec();
//! covered.extend_from_slice(&hello[12..]);
//! assert_eq!(crc32c(&covered).to_le_bytes(), hello[8..12]);
//! let said = Hello { version_min: 2, version_max: 2, features: 0, heartbeat_ms: 0, name: "demo", credentials: b"" };
//! assert_eq!(decode(&hello, &Limits::DEFAULT), Ok(Decoded::Frame { frame: Frame::Hello(said), size: 40 }));
//! assert_eq!(decode(&hello[..39], &Limits::DEFAULT), Ok(Decoded::Need { total: 40 }));
//!
//! let mut record = [
//!     0x40, 0, 0, 0,  1,  0,  1, 0,             // size 64, kind 1, stored, one message
//!     0x82, 0x81, 0x5a, 0x31,  6, 0, 0, 0, // body checksum, raw size 6
//!     4,  0,  6,  0,  0, 0, 0, 0,               // topic size, no extras, padding 6, reserved, header checksum
//!     9, 0, 0, 0, 0, 0, 0, 0,                   // correlation id
//!     0, 0, 0, 0, 0, 0,  0, 0,                  // sequence, log
//!     0, 0, 0, 0, 0, 0,  0, 0,                  // timestamp, incarnation
//!     b'd', b'e', b'm', b'o',                   // topic
//!     0x14, b'h', b'e', b'l', b'l', b'o',       // block: 5 * 4 + no headers + no key, payload
//!     0, 0, 0, 0, 0, 0,                         // padding
//! ];
//! let mut built = Vec::new();
//! let mut builder = RecordBuilder::new("demo", Limits::DEFAULT)?;
//! builder.push(&MessageRef::new(b"hello"))?;
//! builder.finish_stored(9, &mut built);
//! assert_eq!(built, record);
//!
//! // The broker takes it as message 1000 of the topic. Only bytes 20 to 48 change.
//! stamp(&mut record, &Stamp {
//!     offset: Offset::new(1000),
//!     sequence: Sequence::new(77),
//!     log: LogId::new(3),
//!     timestamp_ms: 1_700_000_000_000,
//!     incarnation: 2,
//! });
//! assert_eq!(record[20..48], [
//!     0x54, 0x8b, 0x03, 0xe4,                   // header checksum
//!     0xe8, 3, 0, 0, 0, 0, 0, 0,                // offset 1000
//!     77, 0, 0, 0, 0, 0,  3, 0,                 // sequence, log
//!     0x00, 0x68, 0xe5, 0xcf, 0x8b, 0x01,  2, 0, // timestamp, incarnation
//! ]);
//!
//! let Ok(Decoded::Frame { frame: Frame::Record(delivered), .. }) = decode(&record, &Limits::DEFAULT) else {
//!     panic!("the body was not touched");
//! };
//! delivered.check_header()?;
//! let mut messages = Messages::new(delivered.block(), delivered.count());
//! assert_eq!(messages.next(), Some(Ok(MessageRef::new(b"hello"))));
//! assert_eq!(messages.next(), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod answer;
mod body;
mod builder;
mod bytes;
pub mod checksum;
mod code;
pub mod command;
pub mod error;
pub mod event;
mod extras;
pub mod frame;
pub mod header;
mod id;
pub mod limits;
#[cfg(feature = "lz4")]
pub mod lz4;
pub mod message;
pub mod planted;
pub mod record;
pub mod token;
pub mod topic;

pub use frame::{Decoded, Frame, decode};
pub use id::{Epoch, LogId, Offset, Position, Sequence};
