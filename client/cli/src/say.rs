//! Prints notes for people on standard error, and makes foreign text safe to show.

use std::io::{self, Write};

/// Prints lines on standard error. Invisible characters are escaped, because names and reasons come from elsewhere. A
/// closed standard error is no failure.
pub(crate) fn say(text: &str) {
    let lines: Vec<String> = text.lines().map(shown).collect();
    let _unheard = writeln!(io::stderr(), "{}", lines.join("\n"));
}

/// Makes a name safe to show: escapes control characters, and invisible characters that turn, join or part the text
/// around them.
pub(crate) fn shown(name: &str) -> String {
    escaped(name, |c| c.is_control() || is_format(c))
}

/// Makes a payload safe for a terminal: escapes it like a name, but keeps its lines.
pub(crate) fn shown_payload(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    let is_layout = |c| matches!(c, '\n' | '\t');
    escaped(&text, |c| !is_layout(c) && (c.is_control() || is_format(c)))
}

/// Ranges of characters of the categories format (Cf), line separator (Zl) and paragraph separator (Zp) of Unicode 16.
const FORMATS: [(u32, u32); 22] = [
    (0xad, 0xad),
    (0x600, 0x605),
    (0x61c, 0x61c),
    (0x6dd, 0x6dd),
    (0x70f, 0x70f),
    (0x890, 0x891),
    (0x8e2, 0x8e2),
    (0x180e, 0x180e),
    (0x200b, 0x200f),
    (0x2028, 0x2029),
    (0x202a, 0x202e),
    (0x2060, 0x2064),
    (0x2066, 0x206f),
    (0xfeff, 0xfeff),
    (0xfff9, 0xfffb),
    (0x1_10bd, 0x1_10bd),
    (0x1_10cd, 0x1_10cd),
    (0x1_3430, 0x1_343f),
    (0x1_bca0, 0x1_bca3),
    (0x1_d173, 0x1_d17a),
    (0xe_0001, 0xe_0001),
    (0xe_0020, 0xe_007f),
];

fn is_format(c: char) -> bool {
    let c = u32::from(c);
    FORMATS
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&c))
}

fn escaped(text: &str, is_hidden: impl Fn(char) -> bool) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if is_hidden(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_command_the_terminal() {
        assert_eq!(shown("a\x1b[2J/ü"), "a\\u{1b}[2J/ü");
    }

    #[test]
    fn a_name_cannot_turn_the_text_around_it() {
        assert_eq!(shown("a\u{202e}cod"), "a\\u{202e}cod");
        assert_eq!(shown("日本 é ❤"), "日本 é ❤", "what is seen stays");
    }

    #[test]
    fn a_payload_keeps_its_lines_and_commands_nothing() {
        let payload = b"a\tb\nc\x1b[2J\xff";
        assert_eq!(shown_payload(payload), "a\tb\nc\\u{1b}[2J\u{fffd}");
    }
}
