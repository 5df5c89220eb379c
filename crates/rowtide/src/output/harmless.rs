//! What a terminal is told: names come from databases, and a terminal obeys some characters.

use std::borrow::Cow;
use std::fmt::Write;

/// The colours that this program itself writes.
const COLOURS: [&str; 8] = ["0m", "1m", "1;31m", "1;36m", "31m", "32m", "33m", "36m"];

/// `text` with every character escaped that a terminal would obey or that turns the order of
/// others around; line feeds and this program's own colours stay. In JSON the escape is JSON's.
pub(super) fn harmless(text: &str, json: bool) -> Cow<'_, str> {
    if !text.contains(does_harm) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for (at, c) in text.char_indices() {
        let colour = || {
            let rest = text.get(at + 1..).and_then(|rest| rest.strip_prefix('['));
            rest.is_some_and(|rest| COLOURS.iter().any(|colour| rest.starts_with(colour)))
        };
        if !does_harm(c) || (c == '\x1b' && !json && colour()) {
            out.push(c);
        } else {
            let code = u32::from(c);
            // Writing into a string never fails.
            let _ = match json {
                true => write!(out, "\\u{code:04x}"),
                false => write!(out, "\\u{{{code:x}}}"),
            };
        }
    }
    Cow::Owned(out)
}

fn does_harm(c: char) -> bool {
    match c {
        '\n' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' => true,
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_colours_reach_a_terminal() {
        assert_eq!(harmless("a\nb é", false), "a\nb é");
        assert_eq!(harmless("\x1b[1;31merror:\x1b[0m a", false), "\x1b[1;31merror:\x1b[0m a");
        assert_eq!(harmless("\x1b[2Ja\x07\u{9b}1m", false), "\\u{1b}[2Ja\\u{7}\\u{9b}1m");
        assert_eq!(harmless("a\u{202e}b\r", false), "a\\u{202e}b\\u{d}");
        assert_eq!(harmless("\"a\u{202e}\u{7f}\"", true), "\"a\\u202e\\u007f\"");
        assert_eq!(harmless("\x1b[0m", true), "\\u001b[0m");
    }
}
