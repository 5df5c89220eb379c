//! How names are written for people, so that they show what they are and can be given back.
//!
//! A name of ordinary characters is written as it is. One that a pattern would take for something
//! else stands in double quotes. One with characters that do not show, that a terminal would obey,
//! or that would end a shell's single quotes is written with escapes, as PostgreSQL reads them:
//! `U&"a\001bb"`.

use std::fmt::{self, Write as _};

/// A name as it is written for people. A pattern reads it back.
pub(crate) struct Spelled<'a>(pub(crate) &'a str);

/// How a name with escapes begins.
pub(crate) const ESCAPED: &str = "U&\"";

impl fmt::Display for Spelled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0;
        if is_plain(name) {
            return f.write_str(name);
        }
        if (0..).zip(name.chars()).all(shows) {
            return write!(f, "\"{}\"", name.replace('"', "\"\""));
        }
        f.write_str(ESCAPED)?;
        for (at, c) in (0..).zip(name.chars()) {
            match c {
                '"' => f.write_str("\"\"")?,
                '\\' => f.write_str("\\\\")?,
                c if shows((at, c)) => f.write_char(c)?,
                c if u32::from(c) > 0xffff => write!(f, "\\+{:06x}", u32::from(c))?,
                c => write!(f, "\\{:04x}", u32::from(c))?,
            }
        }
        f.write_char('"')
    }
}

/// Whether `name` means itself in a pattern, and shows as what it is.
fn is_plain(name: &str) -> bool {
    let ordinary = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.chars().all(ordinary) {
        return !name.is_empty();
    }
    name.trim() == name
        && !name.starts_with(['!', '-'])
        && !name.contains(['.', '"', '*', '?'])
        && (0..).zip(name.chars()).all(shows)
}

/// Whether the character at this place can be seen, and does no harm where it is shown: neither
/// in a terminal nor between a shell's single quotes.
fn shows((at, c): (usize, char)) -> bool {
    match c {
        '\'' => false,
        '"' | '\\' => true,
        // What joins the character before it is seen; at the beginning it has none to join.
        c if at > 0 => ['a', c].iter().collect::<String>().escape_debug().eq(['a', c]),
        c => c.escape_debug().eq([c]),
    }
}

/// Reads what follows [`ESCAPED`] up to the closing quote, doubled quotes being single ones
/// already.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn unescaped(text: &str) -> Result<String, &'static str> {
    let mut name = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            name.push(c);
            continue;
        }
        let digits = match rest.clone().next() {
            Some('\\') => {
                rest.next();
                name.push('\\');
                continue;
            }
            Some('+') => {
                rest.next();
                6
            }
            _ => 4,
        };
        let number: String = rest.by_ref().take(digits).collect();
        let code = (number.len() == digits).then(|| u32::from_str_radix(&number, 16).ok());
        let c = code.flatten().and_then(char::from_u32);
        name.push(c.ok_or("an escape in it is not \\XXXX or \\+XXXXXX")?);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_show_what_they_are() {
        for (name, spelled) in [
            ("orders", "orders"),
            ("Order items", "Order items"),
            ("Größe", "Größe"),
            ("हिन्दी", "हिन्दी"),
            ("a.b", "\"a.b\""),
            ("a\"b", "\"a\"\"b\""),
            ("odd*", "\"odd*\""),
            ("!a", "\"!a\""),
            (" a", "\" a\""),
            ("", "\"\""),
            ("a\\b", "a\\b"),
            ("\u{1b}[31m\\\"", "U&\"\\001b[31m\\\\\"\"\""),
            ("x'; rm -rf ~; '", "U&\"x\\0027; rm -rf ~; \\0027\""),
            ("a\u{202e}b", "U&\"a\\202eb\""),
            ("a\nb", "U&\"a\\000ab\""),
            ("\u{301}a", "U&\"\\0301a\""),
            ("a\u{e0061}", "U&\"a\\+0e0061\""),
        ] {
            assert_eq!(Spelled(name).to_string(), spelled);
        }
    }

    #[test]
    fn escapes_are_read_or_refused() {
        assert_eq!(unescaped("d\\0061t\\+000061\\\\").unwrap(), "data\\");
        for text in ["\\", "\\12", "\\zzzz", "\\d800", "\\+110000"] {
            assert!(unescaped(text).is_err(), "{text}");
        }
    }
}
