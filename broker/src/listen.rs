//! Where the broker listens and what it speaks there, as operators write it: an address, and behind `=` the dialects.
//!
//! | written | means |
//! |---|---|
//! | `127.0.0.1:7450`, `[::1]:7450` | this address |
//! | `localhost:7450` | every address of this name |
//! | `:7450` | every address of this machine |
//! | `unix:/run/oyez.sock` | this socket file, which the broker makes and removes |
//! | `0.0.0.0:7450=native` | for native clients only |
//! | `unix:/run/oyez.sock=native+http` | for both, as without it |

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize as DeriveDeserialize, Serialize};

use crate::dialect::command::Dialect;

/// Longest path of a socket file, in bytes: what the kernel has room for.
const PATH_SIZE_MAX: usize = 107;

/// An address to listen on, and the dialects spoken there.
#[derive(Clone, Debug, PartialEq, Eq, DeriveDeserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Listen {
    pub(crate) place: Place,
    pub(crate) speaks: Speaks,
}

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A name or an address; none is every address of this machine.
    Tcp { host: String, port: u16 },
    /// A file.
    Unix(PathBuf),
}

/// Why an address cannot be listened on.
#[derive(Debug)]
pub(crate) struct NoPort {
    pub(crate) place: Place,
    /// Which of the configured addresses it is.
    pub(crate) door: u8,
    pub(crate) source: io::Error,
}

/// The dialects spoken at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Speaks {
    pub(crate) native: bool,
    pub(crate) http: bool,
}

impl Speaks {
    /// Everything that this broker speaks.
    pub(crate) const ALL: Self = Self {
        native: true,
        http: true,
    };

    /// Whether a dialect is spoken here. Dialects that the broker does not speak at all are turned away elsewhere.
    pub(crate) const fn allows(self, dialect: Dialect) -> bool {
        match dialect {
            Dialect::Native => self.native,
            Dialect::Http | Dialect::WebSocket | Dialect::Json => self.http,
            Dialect::Unknown | Dialect::Tls | Dialect::Mqtt | Dialect::Proxy => true,
        }
    }
}

/// Why an address to listen on is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` {why}")]
pub struct BadListen {
    text: String,
    why: &'static str,
}

const FORM: &str = "is no address to listen on: expected ADDRESS:PORT, NAME:PORT, :PORT or unix:/PATH, and perhaps \
                    =native, =http or =native+http behind it";

impl FromStr for Listen {
    type Err = BadListen;

    fn from_str(text: &str) -> Result<Self, BadListen> {
        let bad = |why| BadListen {
            text: text.to_owned(),
            why,
        };
        let (address, speaks) = match text.rsplit_once('=') {
            Some((address, words)) => (address, read_dialects(words).ok_or_else(|| bad(FORM))?),
            None => (text, Speaks::ALL),
        };
        let place = match address.strip_prefix("unix:") {
            Some(path) if !path.starts_with('/') => {
                return Err(bad(
                    "names a socket file without its whole path: unix:/PATH",
                ));
            }
            Some(path) if path.len() > PATH_SIZE_MAX || path.contains('\0') => {
                return Err(bad(
                    "names a socket file whose path is longer than 107 bytes",
                ));
            }
            Some(path) => Place::Unix(path.into()),
            None => read_tcp(address).ok_or_else(|| bad(FORM))?,
        };
        Ok(Self { place, speaks })
    }
}

fn read_dialects(words: &str) -> Option<Speaks> {
    let mut speaks = Speaks {
        native: false,
        http: false,
    };
    for word in words.split('+') {
        match word {
            "native" => speaks.native = true,
            "http" => speaks.http = true,
            _ => return None,
        }
    }
    Some(speaks)
}

fn read_tcp(address: &str) -> Option<Place> {
    if let Ok(address) = address.parse::<SocketAddr>() {
        return Some(address.into());
    }
    let (host, port) = address.rsplit_once(':')?;
    let is_of_a_name =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    // A malformed address would be looked up as a name.
    let is_number = host
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !host.bytes().all(is_of_a_name) || (is_number && !host.is_empty()) {
        return None;
    }
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| is_port)?;
    let host = host.to_owned();
    Some(Place::Tcp { host, port })
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => {
                // With the scope of a link-local address, which is a part of it.
                let text = SocketAddr::V6(address).to_string();
                let end = text.rfind(']').unwrap_or(text.len());
                text[1..end].to_owned()
            }
        };
        Self::Tcp {
            host,
            port: address.port(),
        }
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self {
            place: address.into(),
            speaks: Speaks::ALL,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.place)?;
        match self.speaks {
            Speaks::ALL => Ok(()),
            Speaks { native: true, .. } => write!(formatter, "=native"),
            Speaks { .. } => write!(formatter, "=http"),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = BadListen;

    fn try_from(text: String) -> Result<Self, BadListen> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

impl Place {
    /// Whether only this machine reaches it.
    pub(crate) fn is_private(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => match host.parse::<IpAddr>() {
                Ok(address) => address.to_canonical().is_loopback(),
                Err(_) => {
                    let name = host.to_ascii_lowercase();
                    name == "localhost" || name.ends_with(".localhost")
                }
            },
        }
    }

    /// The addresses that it stands for; none for a file.
    ///
    /// # Errors
    /// When its name has none.
    pub(crate) fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Unix(_) => Ok(Vec::new()),
            Self::Tcp { host, port } if host.is_empty() => {
                Ok(vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port))])
            }
            Self::Tcp { .. } => {
                let mut addresses: Vec<SocketAddr> = self.to_string().to_socket_addrs()?.collect();
                addresses.sort();
                addresses.dedup();
                Ok(addresses)
            }
        }
    }
}

/// One address, several, or, by an empty text, none.
pub(crate) fn one_or_many<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Listen>, D::Error> {
    struct OneOrMany;

    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Vec<Listen>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an address, or a list of them")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<Listen>, E> {
            if text.is_empty() {
                return Ok(Vec::new());
            }
            text.parse().map(|listen| vec![listen]).map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Vec<Listen>, A::Error> {
            Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(sequence))
        }
    }

    deserializer.deserialize_any(OneOrMany)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Listen {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn addresses_are_written_as_they_were_read() {
        for text in [
            "127.0.0.1:7450",
            "[::1]:7450",
            "[fe80::1%2]:7450",
            "0.0.0.0:0",
            "localhost:7450",
            "push.example.com:80",
            ":7450",
            "unix:/run/oyez.sock",
            "unix:/a=b=native",
            "127.0.0.1:7450=native",
            ":7450=http",
            "unix:/run/oyez.sock=http",
        ] {
            assert_eq!(read(text).to_string(), text);
        }
        assert_eq!(read(":1=http+native"), read(":1"));
    }

    #[test]
    fn a_text_that_is_no_address_is_refused_with_the_forms_that_are() {
        for text in [
            "",
            "7450",
            "localhost",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:70000",
            "127.0.0.1:+1",
            "300.0.0.1:7450",
            "1.2.3:7450",
            "::1:7450",
            "a b:7450",
            "a:b:7450",
            ":7450=",
            ":7450=mqtt",
            ":7450=native+",
            "unix:",
            "unix:run.sock",
            "unix:/a=b",
        ] {
            let error = text.parse::<Listen>().expect_err(text).to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
            assert!(error.contains("unix:/PATH"), "{error}");
        }
        let long = format!("unix:/{}", "a".repeat(107));
        assert!(long.parse::<Listen>().is_err());
    }

    #[test]
    fn addresses_that_other_machines_reach_are_not_private() {
        for (text, is_private) in [
            ("127.7.7.7:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("localhost:1", true),
            ("a.LocalHost:1", true),
            ("unix:/a", true),
            (":1", false),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("10.1.2.3:1", false),
            ("push.example.com:1", false),
            ("localhost.example.com:1", false),
        ] {
            assert_eq!(read(text).place.is_private(), is_private, "{text}");
        }
    }

    #[test]
    fn names_become_their_addresses() {
        let addresses = |text: &str| read(text).place.resolve().expect("it has some");
        assert_eq!(
            addresses("127.0.0.1:5"),
            [SocketAddr::from(([127, 0, 0, 1], 5))]
        );
        assert_eq!(
            addresses(":5"),
            [SocketAddr::from((Ipv6Addr::UNSPECIFIED, 5))]
        );
        assert_eq!(addresses("unix:/a"), []);
        let local = addresses("localhost:5");
        assert!(!local.is_empty() && local.iter().all(|address| address.ip().is_loopback()));
    }

    #[test]
    fn an_address_speaks_the_dialects_that_it_names() {
        let native = read(":1=native").speaks;
        assert!(native.allows(Dialect::Native) && !native.allows(Dialect::Http));
        let http = read(":1=http").speaks;
        assert!(!http.allows(Dialect::Native) && http.allows(Dialect::Http));
        assert!(Speaks::ALL.allows(Dialect::Native) && Speaks::ALL.allows(Dialect::Http));
        assert!(http.allows(Dialect::Unknown));
    }
}
