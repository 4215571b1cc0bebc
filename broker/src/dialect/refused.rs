//! Dialects that this broker does not speak, and how it refuses each, so that clients show their users that and close.

use crate::dialect::command::Dialect;

/// A fatal alert, `handshake_failure`, in a record of TLS 1.0, as servers answer a first message (RFC 8446, 6 and D).
const TLS_ALERT: &[u8] = &[0x15, 3, 1, 0, 2, 2, 40];
/// CONNACK of MQTT 3.1.1: the version is not acceptable. Clients of MQTT 5 read its first byte, and close.
const MQTT_REFUSAL: &[u8] = &[0x20, 2, 0, 1];

/// The last bytes for a peer whose dialect this broker does not speak.
pub(crate) const fn farewell(dialect: Dialect) -> &'static [u8] {
    match dialect {
        Dialect::Tls => TLS_ALERT,
        Dialect::Mqtt => MQTT_REFUSAL,
        Dialect::Unknown
        | Dialect::Native
        | Dialect::Http
        | Dialect::WebSocket
        | Dialect::Json
        | Dialect::Proxy => &[],
    }
}

/// Why a session of such a dialect ends, for the log.
pub(crate) const fn reason(dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::Tls => Some("this broker does not speak TLS"),
        Dialect::Mqtt => Some("this broker does not speak MQTT"),
        Dialect::Proxy => {
            Some("a PROXY header is malformed, is not the first, or is not from `proxy_from`")
        }
        Dialect::Unknown | Dialect::Native | Dialect::Http | Dialect::WebSocket | Dialect::Json => {
            None
        }
    }
}
