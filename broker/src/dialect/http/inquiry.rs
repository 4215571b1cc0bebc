//! Questions about the broker.

use crate::dialect::http::asked::{Asked, BAD_ESCAPE, Refused, Scratch, refused};
use crate::dialect::http::target::{BadTarget, Target, unescape};
use crate::dialect::status;

/// Whether a path asks about the broker.
pub(super) fn is_one(path: &str) -> bool {
    let first = path.split('/').nth(1);
    matches!(first, Some("api" | "livez" | "metrics" | "readyz"))
}

/// Reads what a request about the broker asks.
pub(super) fn ask(
    target: Target<'_>,
    is_operators: bool,
    scratch: &mut Scratch,
) -> Result<Asked, Refused> {
    if let Some(topic) = target.path.strip_prefix("/api/v1/topics/") {
        return ask_for_topic(target, topic, scratch);
    }
    let asked = match target.path {
        "/api/v1/topics" => return ask_for_topics(target, scratch),
        "/api/v1/stats" => Asked::Stats,
        "/metrics" => Asked::Metrics,
        "/livez" => Asked::Health { ready: false },
        "/readyz" => Asked::Health { ready: true },
        _ => return Err(refused(status::NOT_FOUND, "there is no such question")),
    };
    if !is_operators {
        return Err(refused(
            status::NOT_FOUND,
            "this is served at the operator's address only (`operator`, 127.0.0.1:7451 unless configured otherwise)",
        ));
    }
    check_no_parameters(target)?;
    Ok(asked)
}

fn check_no_parameters(target: Target<'_>) -> Result<(), Refused> {
    target
        .each_parameter(|_, _| false)
        .map_err(|bad| match bad {
            BadTarget::Escape => refused(status::BAD_REQUEST, BAD_ESCAPE),
            BadTarget::Parameter => {
                refused(status::BAD_REQUEST, "this question takes no parameters")
            }
        })
}

fn ask_for_topic(target: Target<'_>, topic: &str, scratch: &mut Scratch) -> Result<Asked, Refused> {
    check_no_parameters(target)?;
    scratch.topic.clear();
    if unescape(topic, false, &mut scratch.topic).is_err() {
        return Err(refused(status::BAD_REQUEST, BAD_ESCAPE));
    }
    match oyez_protocol::topic::parse(&scratch.topic) {
        Ok(_) => Ok(Asked::Topic),
        Err(_) => Err(refused(status::BAD_REQUEST, "the path names no topic")),
    }
}

fn ask_for_topics(target: Target<'_>, scratch: &mut Scratch) -> Result<Asked, Refused> {
    scratch.topic.clear();
    let read = target.each_parameter(|name, value| {
        scratch.topic.clear();
        scratch.topic.extend_from_slice(value);
        name == "after"
    });
    let is_name = scratch.topic.is_empty() || oyez_protocol::topic::parse(&scratch.topic).is_ok();
    match read {
        Ok(()) if is_name => Ok(Asked::Topics),
        Ok(()) => Err(refused(status::BAD_REQUEST, "`after` is not a topic")),
        Err(BadTarget::Escape) => Err(refused(status::BAD_REQUEST, BAD_ESCAPE)),
        Err(BadTarget::Parameter) => Err(refused(
            status::BAD_REQUEST,
            "topics are listed with one parameter, `after`",
        )),
    }
}
