//! Status codes and their names.

/// A status code with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) code: u16,
    pub(crate) name: &'static str,
    /// The word by which programs tell errors apart.
    pub(crate) error: &'static str,
}

const fn status(code: u16, name: &'static str, error: &'static str) -> Status {
    Status { code, name, error }
}

pub(crate) const OK: Status = status(200, "OK", "");
pub(crate) const ACCEPTED: Status = status(202, "Accepted", "");
pub(crate) const NO_CONTENT: Status = status(204, "No Content", "");
pub(crate) const BAD_REQUEST: Status = status(400, "Bad Request", "bad_request");
pub(crate) const FORBIDDEN: Status = status(403, "Forbidden", "forbidden");
pub(crate) const NOT_FOUND: Status = status(404, "Not Found", "not_found");
pub(crate) const METHOD_NOT_ALLOWED: Status =
    status(405, "Method Not Allowed", "method_not_allowed");
pub(crate) const TIMEOUT: Status = status(408, "Request Timeout", "timeout");
pub(crate) const CONFLICT: Status = status(409, "Conflict", "offset_ahead");
pub(crate) const GONE: Status = status(410, "Gone", "gone");
pub(crate) const TOO_LARGE: Status = status(413, "Content Too Large", "too_large");
pub(crate) const TARGET_TOO_LONG: Status = status(414, "URI Too Long", "target_too_long");
pub(crate) const EXPECTATION_FAILED: Status =
    status(417, "Expectation Failed", "expectation_failed");
pub(crate) const MISDIRECTED: Status = status(421, "Misdirected Request", "unknown_host");
pub(crate) const TOO_MANY: Status = status(429, "Too Many Requests", "too_many_requests");
pub(crate) const UPGRADE_REQUIRED: Status = status(426, "Upgrade Required", "upgrade_required");
pub(crate) const HEAD_TOO_LARGE: Status =
    status(431, "Request Header Fields Too Large", "head_too_large");
pub(crate) const INTERNAL: Status = status(500, "Internal Server Error", "log_failed");
pub(crate) const NOT_IMPLEMENTED: Status = status(501, "Not Implemented", "not_implemented");
pub(crate) const UNAVAILABLE: Status = status(503, "Service Unavailable", "unavailable");
pub(crate) const VERSION_NOT_SUPPORTED: Status =
    status(505, "HTTP Version Not Supported", "version_not_supported");
pub(crate) const NO_STORAGE: Status = status(507, "Insufficient Storage", "disk_full");
