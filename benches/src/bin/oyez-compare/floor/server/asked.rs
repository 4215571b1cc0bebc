//! Reads the requests of subscribers over HTTP.

/// The topic that a whole request asks for, for its events or its WebSocket, of so many that have numbers at the end of
/// their names; none for what is no such request.
pub(super) fn asked(request: &[u8], groups: usize) -> Option<usize> {
    let request = std::str::from_utf8(request).ok()?;
    let (line, _) = request.strip_suffix("\r\n\r\n")?.split_once("\r\n")?;
    let target = line.strip_prefix("GET /")?.strip_suffix(" HTTP/1.1")?;
    let path = target.split('?').next()?;
    let path = path.strip_suffix("/sse").or(path.strip_suffix("/ws"))?;
    if groups == 1 {
        return Some(0);
    }
    let number = path.rsplit('/').next()?.parse().ok()?;
    (number < groups).then_some(number)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use oyez_cli::bench::{Greeting, Place, Plan, Via, websocket};

    use super::*;

    const HOST: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 7450);

    /// The request of a subscriber of topic `group`.
    fn request(via: Via, groups: usize, group: usize, from: Option<Place>) -> Vec<u8> {
        let plan = Plan {
            connections: 1,
            topic: "bench".to_owned(),
            groups,
            greeting: Greeting::Subscribe,
            via,
            compress: false,
            pid: None,
        };
        let (mut out, host) = (Vec::new(), SocketAddr::from(HOST));
        if via == Via::Ws {
            let name = &plan.topic_of(group);
            let path = websocket::Path::Topic { name, from: None };
            websocket::ask(path, host, Some(websocket::SUBPROTOCOL), &mut out);
        } else {
            plan.ask(host, group, from, &mut out);
        }
        out
    }

    #[test]
    fn the_number_of_the_topic_is_found_in_a_whole_request() {
        let from = Some(Place { next: 2, epoch: 1 });
        for via in [Via::Sse, Via::Ws, Via::WsJson] {
            for from in [None, from] {
                let whole = request(via, 4, 3, from);
                assert_eq!(asked(&whole, 4), Some(3));
                assert_eq!(asked(&whole, 3), None);
                for cut in 0..whole.len() {
                    assert_eq!(asked(&whole[..cut], 4), None, "{cut}");
                }
            }
            let only = request(via, 1, 0, None);
            assert_eq!((asked(&only, 1), asked(&only, 2)), (Some(0), None));
        }
    }
}
