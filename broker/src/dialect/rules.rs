//! What the operator allows over HTTP, as values: by which names the broker may be asked, whose pages may ask, and how much.

use oyez_protocol::limits::Limits;

/// The rules that requests are checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Names that the broker may be asked by, beside addresses and the names of loopback; one that begins with a dot stands
    /// for all names below it, and `*` for every name.
    pub(crate) hosts: Vec<String>,
    /// Origins whose pages may publish, be sent streams, and read answers, beside the broker's own; `*` is every origin.
    pub(crate) origins: Vec<String>,
    pub(crate) limits: Limits,
}

impl Rules {
    /// Most bytes of a body: twice what a record holds, as JSON and base64 make it longer.
    pub(crate) const fn body_size_max(&self) -> usize {
        let raw = self.limits.raw_size_max as usize;
        let record = self.limits.record_size_max as usize;
        2 * if raw > record { raw } else { record }
    }

    /// Whether the broker may be asked as `host`, a name or an address with or without a port.
    ///
    /// A page can make its own name lead to this machine, and then ask it what only this machine may ask. The browser sends that
    /// name as the host, and no page can have the name of another site, nor an address for a name.
    pub(crate) fn allow_host(&self, host: &str) -> bool {
        let name = without_port(host);
        let is_address = name.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok();
        let is_local = name.eq_ignore_ascii_case("localhost") || ends_with(name, ".localhost");
        is_address || is_local || self.hosts.iter().any(|known| is_host(known, name))
    }

    /// Whether pages of `origin` may publish, be sent messages, or ask at the operator's address, when they ask the broker as
    /// `host`. At the operator's address only the broker's own pages may (`others` is false).
    pub(crate) fn allow_origin(&self, origin: &str, (host, others): (&str, bool)) -> bool {
        is_same(origin, host) || (others && self.is_known(origin))
    }

    /// Whether pages of `origin`, another site's, may read answers.
    pub(crate) fn is_known(&self, origin: &str) -> bool {
        let is_it = |known: &String| known == "*" || known.eq_ignore_ascii_case(origin);
        self.origins.iter().any(is_it)
    }
}

fn is_host(known: &str, name: &str) -> bool {
    match known.as_bytes().first() {
        Some(b'*') if known.len() == 1 => true,
        Some(b'.') => ends_with(name, known),
        _ => known.eq_ignore_ascii_case(name),
    }
}

fn ends_with(name: &str, suffix: &str) -> bool {
    let split = name.len().checked_sub(suffix.len());
    let end = split.and_then(|split| name.get(split..));
    end.is_some_and(|end| end.eq_ignore_ascii_case(suffix)) && name.len() > suffix.len()
}

/// A host's name, without its port, and without the dot at the end that names may have.
fn without_port(host: &str) -> &str {
    let name = match host.rfind(']') {
        Some(end) => &host[..=end],
        None => host.split(':').next().unwrap_or_default(),
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether an origin is the site that is asked. The scheme is not compared: behind a proxy it is another one.
fn is_same(origin: &str, host: &str) -> bool {
    let (scheme, site) = origin.split_once("://").unwrap_or_default();
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let without = |host: &str| host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase();
    !site.is_empty() && without(site) == without(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(hosts: &[&str], origins: &[&str]) -> Rules {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Rules {
            hosts: owned(hosts),
            origins: owned(origins),
            limits: Limits::DEFAULT,
        }
    }

    #[test]
    fn the_broker_is_asked_by_addresses_by_loopback_names_and_by_names_that_it_was_told() {
        let rules = rules(&["push.example.com", ".example.org"], &[]);
        for host in [
            "localhost",
            "LOCALHOST:7450",
            "localhost.:7450",
            "a.localhost",
            "127.0.0.1:7450",
            "203.0.113.9",
            "[::1]:7450",
            "[2001:db8::1]",
            "push.example.com",
            "Push.Example.com:443",
            "a.example.org",
            "a.b.example.org:80",
        ] {
            assert!(rules.allow_host(host), "{host}");
        }
        for host in [
            "",
            ":7450",
            "evil.example",
            "example.org",
            "evilexample.org",
            "push.example.com.evil.example",
            "127.0.0.1.evil.example",
            "1.2.3",
            "localhost.evil.example",
            "notlocalhost",
        ] {
            assert!(!rules.allow_host(host), "{host}");
        }
        assert!(self::rules(&["*"], &[]).allow_host("evil.example"));
    }

    #[test]
    fn pages_of_the_broker_itself_and_of_known_origins_may_ask() {
        let rules = rules(&[], &["https://app.example.com"]);
        for (origin, host) in [
            ("http://localhost:7450", "localhost:7450"),
            ("http://localhost", "localhost:80"),
            ("https://push.example.com", "push.example.com"),
            ("https://push.example.com", "push.example.com:443"),
            ("https://app.example.com", "push.example.com"),
            ("HTTPS://APP.example.com", "push.example.com"),
        ] {
            assert!(
                rules.allow_origin(origin, (host, true)),
                "{origin} asks {host}"
            );
        }
        for (origin, host) in [
            ("null", "localhost:7450"),
            ("", ""),
            ("http://", ""),
            ("file://", ""),
            ("http://localhost:3000", "localhost:7450"),
            ("http://localhost", "localhost:7450"),
            ("https://localhost", "localhost:80"),
            ("http://app.example.com", "push.example.com"),
            ("https://app.example.com.evil.example", "push.example.com"),
        ] {
            assert!(
                !rules.allow_origin(origin, (host, true)),
                "{origin} asks {host}"
            );
        }
        let any = self::rules(&[], &["*"]);
        assert!(any.allow_origin("null", ("localhost", true)));
        assert!(
            !any.allow_origin("null", ("localhost", false)),
            "at the operator's address"
        );
    }
}
