//! Values within rows and lists: in quotes where they could be taken for something else.

/// What a value is part of, which decides when and how it is quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// `(a,,"b c")`: nothing is NULL, and quotes are doubled.
    Row,
    /// `{a,NULL,"b,c"}`: an unquoted NULL is NULL, and quotes are escaped.
    List,
}

/// Asks for quotes around the value.
const QUOTED: u8 = 1;
/// Takes a second byte within quotes.
const LONGER: u8 = 2;

impl Within {
    #[inline]
    fn needs(self, byte: u8) -> u8 {
        // PostgreSQL's white space: space, tab, and the four after it.
        let space = byte == b' ' || byte.wrapping_sub(b'\t') < 5;
        let bracket = match self {
            Self::Row => byte == b'(' || byte == b')',
            Self::List => byte == b'{' || byte == b'}',
        };
        let quoted = space | bracket | (byte == b',');
        (u8::from(quoted) * QUOTED) | (u8::from(is_longer(byte)) * LONGER)
    }

    #[inline]
    fn needs_of(self, value: &[u8]) -> u8 {
        // Without a branch for each byte, so that many are looked at in one step.
        let needs = value.iter().fold(0, |needs, byte| needs | self.needs(*byte));
        let is_odd = value.is_empty() || self == Self::List && value.eq_ignore_ascii_case(b"null");
        if is_odd { needs | QUOTED } else { needs }
    }

    /// What stands before `byte` within quotes, if it takes a second byte.
    fn mark(self, byte: u8) -> u8 {
        if self == Self::Row { byte } else { b'\\' }
    }
}

/// Appends `value`, in quotes if need be.
#[inline]
pub(super) fn text(value: &[u8], within: Within, out: &mut Vec<u8>) {
    let needs = within.needs_of(value);
    if needs == 0 {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    if needs & LONGER == 0 {
        out.extend_from_slice(value);
    } else {
        escape(value, within, out);
    }
    out.push(b'"');
}

/// Appends `value` with what is needed within quotes. Documents are full of such places, so every
/// byte is written alike, after a mark that the next byte takes the place of if it is not needed.
fn escape(value: &[u8], within: Within, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + 2 * value.len(), 0);
    let room = &mut out[start..];
    let mut to = 0;
    for &byte in value {
        room[to] = within.mark(byte);
        to += usize::from(is_longer(byte));
        room[to] = byte;
        to += 1;
    }
    out.truncate(start + to);
}

/// Puts the value that begins at `start` of `out`, and ends where that ends, in quotes if need be.
pub(super) fn quote(out: &mut Vec<u8>, start: usize, within: Within) {
    let needs = within.needs_of(&out[start..]);
    if needs & LONGER != 0 {
        let value = out.split_off(start);
        text(&value, within, out);
    } else if needs != 0 {
        out.insert(start, b'"');
        out.push(b'"');
    }
}

fn is_longer(byte: u8) -> bool {
    byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_as_postgresql_does() {
        for (value, in_row, in_list) in [
            ("", r#""""#, r#""""#),
            ("a", "a", "a"),
            ("Null", "Null", r#""Null""#),
            ("NULLS", "NULLS", "NULLS"),
            ("a b", r#""a b""#, r#""a b""#),
            ("a\u{b}", "\"a\u{b}\"", "\"a\u{b}\""),
            ("a\u{e}", "a\u{e}", "a\u{e}"),
            ("a\u{a0}ü", "a\u{a0}ü", "a\u{a0}ü"),
            (",", r#"",""#, r#"",""#),
            ("(", r#""(""#, "("),
            ("}", "}", r#""}""#),
            (r#"""#, r#""""""#, r#""\"""#),
            (r"\", r#""\\""#, r#""\\""#),
            (r#"{"a": "\n"}"#, r#""{""a"": ""\\n""}""#, r#""{\"a\": \"\\n\"}""#),
        ] {
            for (within, expected) in [(Within::Row, in_row), (Within::List, in_list)] {
                let mut out = format!("before{value}").into_bytes();
                quote(&mut out, 6, within);
                assert_eq!(String::from_utf8(out).unwrap(), format!("before{expected}"));
            }
        }
    }
}
