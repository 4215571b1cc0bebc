//! What is said to people on standard error.

use std::io::{self, Write};

/// Says something on standard error. Control characters in it are escaped, for names and reasons come from elsewhere;
/// nobody listening there is no failure.
pub(crate) fn say(text: &str) {
    let lines: Vec<String> = text.lines().map(shown).collect();
    let _unheard = writeln!(io::stderr(), "{}", lines.join("\n"));
}

/// A name as a terminal may be shown it: control characters are escaped.
pub(crate) fn shown(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_command_the_terminal() {
        assert_eq!(shown("a\x1b[2J/ü"), "a\\u{1b}[2J/ü");
    }
}
