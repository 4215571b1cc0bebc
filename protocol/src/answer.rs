//! The JSON of answers: what the text of an `Answer` holds, for each question.
//!
//! This page belongs to the [specification][crate] and holds no code. The text is one JSON object. Members may be added
//! in later versions; a client passes over those that it does not know. Numbers are whole, unless the tables say
//! otherwise, and may be as large as 2^64 - 1: a JSON reader that keeps numbers as doubles loses their low bits. An epoch is
//! text for that reason: 16 hexadecimal digits. Counters begin with 0 when the broker starts.
//!
//! # Question 1: statistics
//!
//! `Query` with aux 1. The same object is the answer of `GET /api/v1/stats` over HTTP.
//!
//! ```json
//! {
//!   "version": "0.2.0", "uptime_ms": 2401, "shards": 2,
//!   "disk": "uring", "sending": "ring", "descriptor_tables": "private",
//!   "connections": 1, "sessions": 1, "subscriptions": 0, "topics": 2,
//!   "connections_accepted": 3, "connections_refused": 0, "accepts_failed": 0,
//!   "sessions_refused": 0, "sessions_evicted": 0,
//!   "records_in": 5, "messages_in": 9, "bytes_in_raw": 310, "bytes_in_wire": 420, "publishes_refused": 0,
//!   "requests": 0, "codec_encodes": 0, "renditions": 0, "codec_decodes": 0, "rendition_bytes": 0,
//!   "deliveries": 5, "messages_out": 9, "bytes_out": 420, "sends": 4, "gaps": 0, "catchups": 0,
//!   "turns": 61, "ring_submissions": 12,
//!   "writes": 4, "bytes_written": 16384, "syncs": 4, "records_synced": 5, "records_per_sync": 1.25,
//!   "segments": 2, "segment_bytes": 134217728,
//!   "damaged_files": 0, "losses": 0, "damaged_blocks": 0, "subscribers_ahead": 0,
//!   "storage_failures": 0, "storage_failing": 0,
//!   "turn_us": {"count": 61, "p50": 31, "p99": 511, "p999": 1023, "max": 1023, "total": 4096},
//!   "storage_us": {"count": 61, "p50": 1, "p99": 255, "p999": 511, "max": 511, "total": 1000},
//!   "sync_us": {"count": 4, "p50": 511, "p99": 1023, "p999": 1023, "max": 1023, "total": 2500},
//!   "visible_us": {"count": 5, "p50": 511, "p99": 1023, "p999": 1023, "max": 1023, "total": 3000},
//!   "connections_max": 10000, "topics_refused": 0, "turn_cpu_us_max": 900,
//!   "input_bytes": 0, "input_bytes_max": 67108864, "output_bytes": 0, "output_bytes_max": 67108864,
//!   "questions": 0, "questions_max": 32768,
//!   "oldest_unacknowledged_ms": 0, "awake_ms": 0, "arena_bytes": 16777216, "rss_anon_bytes": 23068672,
//!   "per_shard": [{"connections": 1, "deliveries": 5, "turns": 40, "bytes_out": 420}]
//! }
//! ```
//!
//! | member | what it is |
//! |---|---|
//! | `version` | text: the version of the broker |
//! | `uptime_ms` | ms since the start |
//! | `shards` | threads that serve |
//! | `disk` | text: `uring` or `thread`, how the disk is driven |
//! | `sending` | text: `ring` or `loop`, how small records leave for many |
//! | `descriptor_tables` | text: `private` if each shard has a table of descriptors of its own, else `shared` |
//! | `connections`, `sessions` | open connections, and those of them that were welcomed |
//! | `subscriptions` | subscriptions, streams over HTTP included |
//! | `topics` | topics that are kept |
//! | `connections_accepted` | connections accepted |
//! | `connections_refused` | connections refused because there were as many as may be |
//! | `accepts_failed` | connections that the kernel could not hand over |
//! | `sessions_refused` | sessions that the broker has ended for a reason of theirs |
//! | `sessions_evicted` | sessions ended because others needed the memory that they held |
//! | `records_in`, `messages_in` | records published, and messages in them |
//! | `bytes_in_raw`, `bytes_in_wire` | bytes of these records decompressed, and as they came |
//! | `publishes_refused` | records that were refused with an outcome |
//! | `requests` | requests over HTTP |
//! | `codec_encodes`, `codec_decodes` | blocks that the broker has compressed and decompressed, for HTTP and JSON |
//! | `renditions`, `rendition_bytes` | records put into another form, such as server-sent events, and bytes kept of these now |
//! | `deliveries`, `messages_out`, `bytes_out` | records delivered, messages in them, and their bytes |
//! | `sends` | calls that have sent something |
//! | `gaps` | gaps told to subscribers |
//! | `catchups` | times that a subscription was fed from the log because it was behind |
//! | `turns` | turns of the event loops |
//! | `ring_submissions` | submissions to io_uring |
//! | `writes`, `bytes_written` | writes to the disk, and their bytes |
//! | `syncs`, `records_synced` | syncs of the disk, and records that they have made durable |
//! | `records_per_sync` | the mean of that, with a fraction |
//! | `segments`, `segment_bytes` | files of the logs, and their bytes |
//! | `damaged_files` | files that recovery has set aside |
//! | `losses` | ranges of records that the start has found to be lost |
//! | `damaged_blocks` | blocks that were read and are not what was written |
//! | `subscribers_ahead` | subscribers that had seen more than the broker holds |
//! | `storage_failures`, `storage_failing` | attempts of the store that have failed and are made again, and what fails now |
//! | `turn_us` | how long turns took, in us: see below |
//! | `storage_us` | how long turns spent in calls of the store, in us |
//! | `sync_us` | how long syncs took, in us |
//! | `visible_us` | how long records took from their append until they were visible, in us |
//! | `connections_max` | connections that there may be at once |
//! | `topics_refused` | of the records that were refused, those that would have begun a topic: there were too many, or they came too fast |
//! | `turn_cpu_us_max` | most processor time of one turn, in us |
//! | `input_bytes`, `input_bytes_max` | bytes kept of input that cannot be taken yet, and how many may be |
//! | `output_bytes`, `output_bytes_max` | bytes kept of answers that clients do not take, and how many may be |
//! | `questions`, `questions_max` | questions between shards that wait for an answer, and how many may |
//! | `oldest_unacknowledged_ms` | how long the record waits that waits longest for its outcome |
//! | `awake_ms` | how long processors were kept awake |
//! | `arena_bytes` | bytes of the tail arena in memory |
//! | `rss_anon_bytes` | anonymous memory of the process, the arena included |
//! | `per_shard` | an object for each shard, with its own `connections`, `deliveries`, `turns` and `bytes_out` |
//!
//! Times are objects: `count` how many were measured, `p50`, `p99` and `p999` the time that 50 %, 99 % and 99.9 % of them
//! did not exceed, `max` the longest, `total` their sum.
//!
//! # Question 2: topics
//!
//! `Query` with aux 2. Topics come in the order of the bytes of their names. An answer holds as many as fit; with flag 1
//! there are more behind the last of them.
//!
//! ```json
//! {
//!   "topics": [
//!     {
//!       "name": "orders/eu", "durability": "synced", "earliest": 0, "next": 9,
//!       "records": 5, "bytes": 420, "epoch": "24a5049d340b6432"
//!     }
//!   ]
//! }
//! ```
//!
//! | member | what it is |
//! |---|---|
//! | `topics` | an object for each topic |
//! | `name` | text: the topic |
//! | `durability` | text: `memory`, `written` or `synced` |
//! | `earliest` | offset of the oldest message kept |
//! | `next` | offset that the next message gets |
//! | `records`, `bytes` | records kept, and their bytes |
//! | `epoch` | text: the history that the offsets belong to |
//!
//! # Question 3: lag
//!
//! `Query` with aux 3. Subscriptions of all sessions are counted while they go on: one may be missed or counted twice.
//!
//! ```json
//! {
//!   "subscriptions": 2, "max": 3, "by_digits": [1, 1, 0, 0, 0, 0, 0, 0],
//!   "slowest": [
//!     {
//!       "peer": "127.0.0.1:40112", "topic": "orders/eu", "lag": 3,
//!       "unacknowledged_bytes": 0, "blocked_ms": null
//!     }
//!   ]
//! }
//! ```
//!
//! | member | what it is |
//! |---|---|
//! | `subscriptions` | subscriptions that were counted |
//! | `max` | messages that the one furthest behind has not got |
//! | `by_digits` | how many are behind by 0 messages, by a number of 1 digit, of 2, ... 6 digits, and of 7 or more |
//! | `slowest` | the 10 that are furthest behind, the furthest first; those that have everything are not among them |
//! | `peer` | text: the address of the subscriber |
//! | `topic` | text: the topic |
//! | `lag` | messages of the topic that it has not got |
//! | `unacknowledged_bytes` | bytes sent to it that its host has not acknowledged |
//! | `blocked_ms` | for how long its socket has taken nothing, in ms; `null` if it takes something |
