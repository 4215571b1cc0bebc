//! The address of a broker: `oyez://host:port`, or `host:port`, or a host alone.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

/// The port that a broker listens on unless it is configured otherwise.
const DEFAULT_PORT: u16 = 7450;

const SCHEME: &str = "oyez://";

/// Host and port of a broker.
///
/// ```
/// use oyez_client::Address;
///
/// let address: Address = "oyez://broker.example".parse()?;
/// assert_eq!(address.to_string(), "broker.example:7450");
/// let address: Address = "[::1]:9000".parse()?;
/// assert_eq!(address.to_string(), "[::1]:9000");
/// # Ok::<(), oyez_client::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

/// Why a text is not the address of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// No host is named.
    Host {
        /// The text given.
        text: String,
    },
    /// The port is not a number from 1 to 65535.
    Port {
        /// The text given.
        text: String,
    },
    /// The text has another scheme, a path, or user information.
    Form {
        /// The text given.
        text: String,
    },
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { text } => write!(
                f,
                "the address `{text}` names no host; write it as host:port, such as 127.0.0.1:7450"
            ),
            Self::Port { text } => write!(
                f,
                "the address `{text}` has no port from 1 to 65535 after its last colon"
            ),
            Self::Form { text } => write!(
                f,
                "the address `{text}` is not of the form oyez://host:port or host:port"
            ),
        }
    }
}

impl Error for AddressError {}

impl Address {
    /// Host and port, as arguments of a name lookup.
    pub(crate) const fn parts(&self) -> (&str, u16) {
        (self.host.as_str(), self.port)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bare = text.strip_prefix(SCHEME).unwrap_or(text);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        if bare.contains(['/', '@', '?', ' ']) {
            return Err(AddressError::Form {
                text: text.to_owned(),
            });
        }
        let (host, port) = split(bare);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(AddressError::Host {
                text: text.to_owned(),
            });
        }
        let port = match port.map(str::parse) {
            None => DEFAULT_PORT,
            Some(Ok(port)) if port > 0 => port,
            Some(_) => {
                return Err(AddressError::Port {
                    text: text.to_owned(),
                });
            }
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// Splits host and port. A bare IPv6 address has no port; one in brackets may have one.
fn split(bare: &str) -> (&str, Option<&str>) {
    if bare.ends_with(']') || (!bare.starts_with('[') && bare.matches(':').count() > 1) {
        return (bare, None);
    }
    match bare.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (bare, None),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_common_spelling_is_understood() {
        for (text, shown) in [
            ("oyez://a.example:1", "a.example:1"),
            ("oyez://a.example:1/", "a.example:1"),
            ("127.0.0.1:7450", "127.0.0.1:7450"),
            ("localhost", "localhost:7450"),
            ("::1", "[::1]:7450"),
            ("[::1]", "[::1]:7450"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn an_invalid_address_is_an_error_that_names_the_wrong_part() {
        for (text, part) in [
            ("", "host"),
            (":7450", "host"),
            ("a:0", "port"),
            ("a:70000", "port"),
            ("a:b", "port"),
            ("http://a:1", "form"),
            ("oyez://u@a:1", "form"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
}
