//! The target of a request: a path, whose parts may be escaped, and its parameters.

use crate::dialect::http::target::BadTarget::{Escape, Parameter};

/// A path and its parameters, as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) path: &'a str,
    query: &'a str,
}

/// Why a target is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadTarget {
    /// A `%` is not followed by two hexadecimal digits.
    Escape,
    /// A parameter is not one that the path takes.
    Parameter,
}

impl<'a> Target<'a> {
    /// Splits a target.
    pub(super) fn new(target: &'a str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self { path, query }
    }

    /// Passes each parameter, its name as it came and its value without escapes, to `take`, which returns whether there is a
    /// parameter of that name.
    ///
    /// # Errors
    /// When there is no parameter of that name, or a value is escaped wrongly.
    pub(super) fn each_parameter(
        &self,
        mut take: impl FnMut(&str, &[u8]) -> bool,
    ) -> Result<(), BadTarget> {
        let mut value = Vec::new();
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, escaped) = pair.split_once('=').unwrap_or((pair, ""));
            value.clear();
            unescape(escaped, true, &mut value)?;
            if !take(name, &value) {
                return Err(Parameter);
            }
        }
        Ok(())
    }
}

/// Adds `escaped` without its escapes to `out`. In parameters a `+` is a blank.
///
/// # Errors
/// When a `%` does not begin an escape.
pub(super) fn unescape(
    escaped: &str,
    is_parameter: bool,
    out: &mut Vec<u8>,
) -> Result<(), BadTarget> {
    let mut bytes = escaped.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next()), digit(bytes.next()));
                match (high, low) {
                    (Some(high), Some(low)) => (high << 4 | low) as u8,
                    _ => return Err(Escape),
                }
            }
            b'+' if is_parameter => b' ',
            byte => byte,
        });
    }
    Ok(())
}
