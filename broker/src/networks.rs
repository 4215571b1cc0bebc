//! Networks, as operators write them: `10.0.0.0/8`, `2001:db8::/32`, one address, or `unix` for socket files.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A network, or all peers at a socket file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Network {
    /// Addresses whose first `prefix` bits are those of `ip`.
    Ip {
        /// The first address.
        ip: IpAddr,
        /// Bits that all addresses share.
        prefix: u8,
    },
    /// Every peer that connects to a socket file.
    Unix,
}

/// Why a network is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no network: expected ADDRESS, ADDRESS/BITS or unix")]
pub struct BadNetwork(String);

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let bad = || BadNetwork(text.to_owned());
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| bad())?;
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|prefix| *prefix <= bits)
                .ok_or_else(bad)?,
        };
        // Bits behind the prefix are most likely a mistake.
        let network = Self::Ip { ip, prefix };
        let is_first = prefix == bits || number(ip).0 << prefix << (128 - u32::from(bits)) == 0;
        is_first.then_some(network).ok_or_else(bad)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip { ip, prefix } => write!(formatter, "{ip}/{prefix}"),
            Self::Unix => formatter.write_str("unix"),
        }
    }
}

impl TryFrom<String> for Network {
    type Error = BadNetwork;

    fn try_from(text: String) -> Result<Self, BadNetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

/// An address as a number, with its bits.
fn number(ip: IpAddr) -> (u128, u32) {
    match ip {
        IpAddr::V4(ip) => (u32::from(ip).into(), 32),
        IpAddr::V6(ip) => (ip.into(), 128),
    }
}

impl Network {
    /// Whether a peer is in the network; `None` is a peer at a socket file.
    pub(crate) fn has(self, peer: Option<SocketAddr>) -> bool {
        match (self, peer) {
            (Self::Unix, None) => true,
            (Self::Ip { ip, prefix }, Some(peer)) => {
                let ((own, bits), (other, others)) = (number(ip), number(peer.ip().to_canonical()));
                let behind = bits - u32::from(prefix);
                bits == others && own.checked_shr(behind) == other.checked_shr(behind)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_in_networks_whose_bits_they_share() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1:5", "11.0.0.1:5"),
            ("192.0.2.7", "192.0.2.7:1", "192.0.2.8:1"),
            ("192.0.2.7/32", "[::ffff:192.0.2.7]:1", "[::1]:1"),
            ("0.0.0.0/0", "1.2.3.4:1", "[::1]:1"),
            ("2001:db8::/32", "[2001:db8:1::9]:1", "[2001:db9::]:1"),
            ("::/0", "[2001:db8::]:1", "1.2.3.4:1"),
        ] {
            let network: Network = network.parse().unwrap_or_else(|error| panic!("{error}"));
            let peer = |text: &str| Some(text.parse().expect("an address"));
            assert!(network.has(peer(inside)), "{network} has {inside}");
            assert!(!network.has(peer(outside)), "{network} has {outside}");
            assert!(!network.has(None));
            assert_eq!(network.to_string().parse(), Ok(network));
        }
        let unix: Network = "unix".parse().expect("socket files");
        assert!(unix.has(None) && !unix.has(Some(SocketAddr::from(([127, 0, 0, 1], 1)))));
    }

    #[test]
    fn a_text_that_is_no_network_is_refused() {
        for text in [
            "",
            "10",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.1/8",
            "2001:db8::1/32",
            "a/8",
            "10.0.0.0/",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
