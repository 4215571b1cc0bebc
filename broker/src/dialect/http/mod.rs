//! HTTP/1.1 and HTTP/1.0: requests are commands, and replies are responses. Every input is a request, a wish for more bytes,
//! or is answered with the reason why it is not served.
//!
//! | request | what it does |
//! |---|---|
//! | `POST` or `PUT /TOPIC` | publishes the body as a message; `X-Key` is its key, `X-Header-NAME` a header of it |
//! | `POST /api/v1/publish` | publishes messages in JSON: one, a list, or one after the other ([`batch`]) |
//! | `GET /TOPIC/sse` | streams messages as server-sent events ([`crate::dialect::sse`]): `from` is `latest`, `earliest` or `offset:N`; `Last-Event-ID`, or the parameter `last_event_id`, goes on behind an event; `encoding` is `text` or `base64` |
//! | `GET /api/v1/sse?topic=A&topic=B` | the messages of several topics as one stream, which says where it stands now and then |
//! | `GET /TOPIC/json` | the same messages as JSON, a line each ([`crate::dialect::lines`]): from the earliest to the newest there is, unless `from` says otherwise, or `follow=true` that it goes on; `limit` is the most of them |
//! | `GET /TOPIC/raw` | the same as payloads, a line feed behind each but where `limit=1` asks for one alone |
//! | `GET /api/v1/topics` | lists topics, those behind the name `after` |
//! | `GET /api/v1/topics/TOPIC` | describes a topic: what is kept of it, and how many subscribe to it |
//! | `GET /api/v1/stats`, `/metrics`, `/livez`, `/readyz` | at the operator's address: counters as JSON and for Prometheus, whether the broker lives, and whether it is ready, with reasons |
//! | `GET /api/v1/ws` | becomes a WebSocket ([`crate::dialect::websocket`]): frames under the subprotocol `oyez.v2`, JSON without one |
//! | `GET /TOPIC/ws` | the same with JSON, subscribed to a topic from the start: `from` is `latest`, `earliest` or `offset:N`, `epoch` that of the offset |
//! | `OPTIONS` | lists for browsers what pages of other origins may ask |
//! | `GET /` | lists what the broker serves |
//!
//! A topic is the path, with `%` escapes. The last part of a topic's path may not be `json`, `raw`, `sse` or `ws`, which name the
//! form to read, and the first may not be `api`, `console`, `livez`, `metrics` or `readyz`.
//!
//! **Hostile pages.** A browser on this machine asks in the name of whatever page it shows. A request is served only under a name
//! that the broker knows ([`allow_host`](crate::dialect::rules::Rules::allow_host)); pages of other sites are served only
//! requests that change nothing, unless their origin is known.
//!
//! **Hostile peers.** Input that two programs could read in two ways is refused, and the connection is closed: two lengths, lines
//! that end without a carriage return, folded fields. Heads, bodies and lines have bounds.

mod answer;
mod ask;
mod asked;
mod batch;
mod body;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
mod head;
mod inquiry;
mod publish;
mod stream;
mod target;
mod upgrade;

pub(crate) use self::answer::{answer, answers, begins, conclude, respond_continue, switch, wrong};
pub(crate) use self::ask::{Commands, Front, decode};
pub(crate) use self::asked::{Refused, Scratch, Upgrade, refused, topic_of};
pub(crate) use self::batch::{Row, build_one};
pub(crate) use self::stream::read_start;

#[cfg(test)]
mod tests;
