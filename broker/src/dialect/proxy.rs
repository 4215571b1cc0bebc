//! The header of a PROXY protocol, version 1 or 2, which a load balancer puts in front of a connection to name its client
//! (haproxy.org/download/1.8/doc/proxy-protocol.txt).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The first bytes of version 1.
const BEGIN_1: &[u8] = b"PROXY ";
/// The first bytes of version 2.
const BEGIN_2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest header of version 1, with its line end.
const SIZE_MAX_1: usize = 107;
/// Bytes of a header of version 2 before its addresses, and most bytes of these and what may follow them.
const HEAD_SIZE_2: usize = 16;
const REST_SIZE_MAX_2: usize = 2 << 10;

/// The result of reading a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// The header is not whole: the input has to be this long at least.
    Need(usize),
    /// The header is whole.
    Whole {
        /// Bytes of the header.
        size: usize,
        /// The client's address; `None` where the proxy does not name it, or connects for itself.
        client: Option<SocketAddr>,
    },
}

/// Bytes that are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadHeader;

/// Whether `first` begins a header, as far as it goes.
pub(crate) fn begins(first: &[u8]) -> bool {
    let is_front = |whole: &[u8]| first.iter().zip(whole).all(|(a, b)| a == b);
    is_front(BEGIN_1) || is_front(BEGIN_2)
}

/// Reads the header at the front of `input`.
///
/// # Errors
/// When `input` does not begin with a header.
pub(crate) fn read(input: &[u8]) -> Result<Header, BadHeader> {
    let is_front = |whole: &[u8]| input.len() >= whole.len() && input.starts_with(whole);
    if is_front(BEGIN_1) {
        return read_1(input);
    }
    if is_front(BEGIN_2) {
        return read_2(input);
    }
    match begins(input) {
        true => Ok(Header::Need(input.len() + 1)),
        false => Err(BadHeader),
    }
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 40000 443`, or `PROXY UNKNOWN` and anything.
fn read_1(input: &[u8]) -> Result<Header, BadHeader> {
    let searched = &input[..input.len().min(SIZE_MAX_1)];
    let Some(end) = searched.iter().position(|byte| *byte == b'\n') else {
        return match searched.len() {
            SIZE_MAX_1 => Err(BadHeader),
            size => Ok(Header::Need(size + 1)),
        };
    };
    let line = searched[..end].strip_suffix(b"\r").ok_or(BadHeader)?;
    let line = std::str::from_utf8(line).map_err(|_| BadHeader)?;
    let words: Vec<&str> = line.split(' ').collect();
    let client = match words[1..] {
        ["UNKNOWN", ..] => None,
        ["TCP4", client, proxy, client_port, proxy_port] => {
            let (client, _) = (read_ip::<Ipv4Addr>(client)?, read_ip::<Ipv4Addr>(proxy)?);
            Some(with_port(client, client_port, proxy_port)?)
        }
        ["TCP6", client, proxy, client_port, proxy_port] => {
            let (client, _) = (read_ip::<Ipv6Addr>(client)?, read_ip::<Ipv6Addr>(proxy)?);
            Some(with_port(client, client_port, proxy_port)?)
        }
        _ => return Err(BadHeader),
    };
    let size = end + 1;
    Ok(Header::Whole { size, client })
}

fn read_ip<T: std::str::FromStr + Into<IpAddr>>(text: &str) -> Result<IpAddr, BadHeader> {
    text.parse::<T>().map(Into::into).map_err(|_| BadHeader)
}

fn with_port(client: IpAddr, port: &str, other: &str) -> Result<SocketAddr, BadHeader> {
    let read = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_number).ok_or(BadHeader)
    };
    let (port, _): (u16, u16) = (read(port)?, read(other)?);
    Ok(SocketAddr::new(client, port))
}

fn read_2(input: &[u8]) -> Result<Header, BadHeader> {
    let Some(head) = input.first_chunk::<HEAD_SIZE_2>() else {
        return Ok(Header::Need(HEAD_SIZE_2));
    };
    let (version, family) = (head[12], head[13]);
    let rest = usize::from(u16::from_be_bytes([head[14], head[15]]));
    // Version 2 with one of its commands: 0 for a health check of the proxy's own, 1 for a connection that it passes on.
    if !matches!(version, 0x20 | 0x21) || rest > REST_SIZE_MAX_2 {
        return Err(BadHeader);
    }
    let size = HEAD_SIZE_2 + rest;
    if input.len() < size {
        return Ok(Header::Need(size));
    }
    let rest = &input[HEAD_SIZE_2..size];
    let client = match (version, family) {
        (0x21, 0x11) => {
            let block: &[u8; 12] = rest.first_chunk().ok_or(BadHeader)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *block;
            let port = u16::from_be_bytes([high, low]);
            Some(SocketAddr::from((Ipv4Addr::new(a, b, c, d), port)))
        }
        (0x21, 0x21) => {
            let block: &[u8; 36] = rest.first_chunk().ok_or(BadHeader)?;
            let (ip, ports) = block.split_first_chunk::<16>().ok_or(BadHeader)?;
            let port = u16::from_be_bytes([ports[16], ports[17]]);
            Some(SocketAddr::from((Ipv6Addr::from(*ip), port)))
        }
        // Datagrams, Unix sockets and unspecified addresses: the address of the proxy serves instead.
        _ => None,
    };
    Ok(Header::Whole { size, client })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(size: usize, client: Option<&str>) -> Result<Header, BadHeader> {
        let client = client.map(|client| client.parse().expect("an address"));
        Ok(Header::Whole { size, client })
    }

    #[test]
    fn a_line_of_version_1_names_the_client() {
        for (line, client) in [
            (
                "PROXY TCP4 192.0.2.7 192.0.2.2 40000 443\r\n",
                Some("192.0.2.7:40000"),
            ),
            (
                "PROXY TCP6 2001:db8::7 ::1 0 65535\r\n",
                Some("[2001:db8::7]:0"),
            ),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        ] {
            let input = format!("{line}GET / HTTP/1.1\r\n");
            assert_eq!(read(input.as_bytes()), whole(line.len(), client), "{line}");
            for cut in 0..line.len() {
                let read = read(&line.as_bytes()[..cut]);
                assert!(
                    matches!(read, Ok(Header::Need(need)) if need == cut + 1),
                    "{cut}: {read:?}"
                );
            }
        }
    }

    #[test]
    fn a_malformed_line_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "a".repeat(100));
        for line in [
            "PROXY TCP4 192.0.2.7 192.0.2.2 40000 443\n",
            "PROXY TCP4 192.0.2.7 192.0.2.2 40000\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.2 40000 443 1\r\n",
            "PROXY TCP4 ::1 ::2 40000 443\r\n",
            "PROXY TCP6 192.0.2.7 192.0.2.2 40000 443\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.2 70000 443\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.2 +1 443\r\n",
            "PROXY TCP4  192.0.2.7 192.0.2.2 1 443\r\n",
            "PROXY UDP4 192.0.2.7 192.0.2.2 1 443\r\n",
            "PROXY \r\n",
            &long,
            "PROXX TCP4",
            "GET / HTTP/1.1\r\n",
        ] {
            assert_eq!(read(line.as_bytes()), Err(BadHeader), "{line}");
        }
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let size = u16::try_from(rest.len())
            .expect("it is short")
            .to_be_bytes();
        [&BEGIN_2[..], &[command, family], &size, rest].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 192, 0, 2, 2, 0x9c, 0x40, 1, 0xbb];

    #[test]
    fn a_block_of_version_2_names_the_client() {
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(
            &"2001:db8::7"
                .parse::<Ipv6Addr>()
                .expect("an address")
                .octets(),
        );
        v6[33] = 9;
        let with_more = [&V4[..], &[0x20, 0, 3, 1, 2, 3]].concat();
        for (command, family, rest, client) in [
            (0x21, 0x11, &V4[..], Some("192.0.2.7:40000")),
            (0x21, 0x11, &with_more, Some("192.0.2.7:40000")),
            (0x21, 0x21, &v6, Some("[2001:db8::7]:9")),
            (0x20, 0x11, &V4, None),
            (0x20, 0, &[], None),
            (0x21, 0, &[], None),
            (0x21, 0x31, &[0; 216], None),
        ] {
            let header = version_2(command, family, rest);
            let input = [&header[..], b"GET /"].concat();
            assert_eq!(read(&input), whole(header.len(), client), "{header:?}");
            for cut in 0..header.len() {
                let read = read(&header[..cut]);
                let is_it = |need| (cut + 1..=header.len().max(HEAD_SIZE_2)).contains(&need);
                assert!(
                    matches!(read, Ok(Header::Need(need)) if is_it(need)),
                    "{cut}: {read:?}"
                );
            }
        }
    }

    #[test]
    fn a_malformed_block_is_refused() {
        for header in [
            version_2(0x11, 0x11, &V4),
            version_2(0x22, 0x11, &V4),
            version_2(0x21, 0x11, &V4[..11]),
            version_2(0x21, 0x21, &[0; 35]),
            version_2(0x21, 0x11, &[0; 2_049]),
            b"\r\n\r\n\0\r\nQUIX".to_vec(),
        ] {
            assert_eq!(read(&header), Err(BadHeader), "{header:?}");
        }
    }

    #[test]
    fn first_bytes_tell_whether_a_header_begins() {
        for (first, is_one) in [
            (&b"PROXY TC"[..], true),
            (b"\r\n\r\n\0\r\nQ", true),
            (b"PROXYS a", false),
            (b"\r\n\r\nGET ", false),
            (b"GET / HT", false),
        ] {
            assert_eq!(begins(first), is_one, "{first:?}");
        }
    }
}
