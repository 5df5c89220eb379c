//! Which tables a pipeline takes: patterns over `schema.table`, with exclusion.

use std::fmt;
use std::str::FromStr;

use crate::spelling::{ESCAPED, Spelled, unescaped};
use crate::{Error, Result, TableName};

/// `schema.table` with `*` (any run of characters) and `?` (any one) in both parts.
///
/// A part may stand in double quotes (a quote inside is doubled): then it is taken literally.
/// `U&"…"` is the same with escapes as in PostgreSQL: `\XXXX` or `\+XXXXXX` for a character by its
/// number, `\\` for a backslash. A pattern without a dot means the schema `public`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    schema: Part,
    table: Part,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    text: String,
    literal: bool,
}

impl Part {
    fn matches(&self, name: &str) -> bool {
        if self.literal { self.text == name } else { glob(&self.text, name) }
    }

    fn exact(&self) -> Option<&str> {
        (self.literal || !self.text.contains(['*', '?'])).then_some(self.text.as_str())
    }
}

impl Pattern {
    /// Whether `table` is meant.
    pub fn matches(&self, table: &TableName) -> bool {
        self.schema.matches(&table.schema) && self.table.matches(&table.name)
    }

    /// The patterns of a list with commas between them, which may also stand in quoted parts.
    pub fn split(list: &str) -> impl Iterator<Item = &str> {
        let mut quoted = false;
        list.split(move |c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        })
    }

    /// The one table this pattern names, if it has no wildcard.
    pub fn exact(&self) -> Option<TableName> {
        Some(TableName::new(self.schema.exact()?, self.table.exact()?))
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (first, rest) = part(text)?;
        let pattern = match rest {
            None => Self { schema: Part { text: "public".into(), literal: true }, table: first },
            Some(rest) => match part(rest)? {
                (table, None) => Self { schema: first, table },
                _ => return Err(malformed(text, "it has more than two parts")),
            },
        };
        if pattern.schema.text.is_empty() || pattern.table.text.is_empty() {
            return Err(malformed(text, "a part is empty"));
        }
        Ok(pattern)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |part: &Part| match (part.literal, Spelled(&part.text).to_string()) {
            (true, plain) if plain == part.text => format!("\"{plain}\""),
            (true, quoted) => quoted,
            (false, _) => part.text.clone(),
        };
        write!(f, "{}.{}", quoted(&self.schema), quoted(&self.table))
    }
}

fn malformed(text: &str, why: &str) -> Error {
    Error::config(format!("`{text}` is not a table pattern: {why}"))
        .with_hint("write schema.table, for example public.orders, public.* or \"My.Table\"")
}

/// Reads one part; returns what follows the dot, if there is one.
fn part(text: &str) -> Result<(Part, Option<&str>)> {
    let escaped = text.strip_prefix(ESCAPED).or_else(|| text.strip_prefix("u&\""));
    let Some(quoted) = escaped.or_else(|| text.strip_prefix('"')) else {
        let (name, rest) = match text.split_once('.') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        return Ok((Part { text: name.to_owned(), literal: false }, rest));
    };
    let mut name = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != '"' {
            name.push(c);
        } else if chars.next_if(|(_, next)| *next == '"').is_some() {
            name.push('"');
        } else {
            let rest = quoted.get(at + 1..).unwrap_or_default();
            let rest = match rest.strip_prefix('.') {
                Some(rest) => Some(rest),
                None if rest.is_empty() => None,
                None => return Err(malformed(text, "a closing quote is followed by text")),
            };
            let name = match escaped {
                Some(_) => unescaped(&name).map_err(|why| malformed(text, why))?,
                None => name,
            };
            return Ok((Part { text: name, literal: true }, rest));
        }
    }
    Err(malformed(text, "a quote is not closed"))
}

/// Matches `*` and `?`, in time proportional to the product of the lengths at worst.
fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    p = star + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// The tables a pipeline takes: those matched by an include and by no exclude.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableSelection {
    /// At least one must match.
    pub include: Vec<Pattern>,
    /// None may match.
    pub exclude: Vec<Pattern>,
}

impl TableSelection {
    /// Reads patterns; one that starts with `!` excludes.
    ///
    /// # Errors
    /// `Config` for the first malformed pattern.
    pub fn parse<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut selection = Self::default();
        for text in patterns {
            match text.trim().strip_prefix('!') {
                Some(text) => selection.exclude.push(text.parse()?),
                None => selection.include.push(text.trim().parse()?),
            }
        }
        Ok(selection)
    }

    /// Whether `table` belongs to the pipeline.
    pub fn contains(&self, table: &TableName) -> bool {
        self.include.iter().any(|pattern| pattern.matches(table))
            && !self.exclude.iter().any(|pattern| pattern.matches(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, schema: &str, name: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(&TableName::new(schema, name))
    }

    #[test]
    fn patterns_match_as_written() {
        assert!(matches("public.*", "public", "orders"));
        assert!(matches("orders", "public", "orders"));
        assert!(!matches("orders", "sales", "orders"));
        assert!(matches("*.order?", "sales", "orders"));
        assert!(!matches("*.order?", "sales", "order"));
        assert!(matches("a*b*c.t", "aXbYbZc", "t"));
        assert!(matches(r#""My.Schema"."odd*""#, "My.Schema", "odd*"));
        assert!(!matches(r#"public."odd*""#, "public", "oddly"));
        assert!(matches(r#""a""b".t"#, "a\"b", "t"));
    }

    #[test]
    fn what_is_shown_of_a_table_is_read_back() {
        for (schema, name) in [
            ("public", "orders"),
            ("a.b", "c"),
            ("a", "b.c"),
            ("!a", "*"),
            (" ", "U&\"a\""),
            ("u&", "\\0041"),
            ("\u{1b}]0;x\u{7}", "'; DROP TABLE x; --"),
            ("a\nb", "\u{202e}c\\"),
        ] {
            let table = TableName::new(schema, name);
            let pattern: Pattern = table.to_string().parse().unwrap();
            assert_eq!(pattern.exact(), Some(table.clone()), "{table}");
            assert!(pattern.matches(&table));
            let again: Pattern = pattern.to_string().parse().unwrap();
            assert_eq!(again.exact(), Some(table));
            let trimmed = TableSelection::parse([pattern.to_string().as_str()]).unwrap();
            assert_eq!(trimmed.include.len(), 1);
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for text in ["U&\"\\12\".a", "", ".", "a.", ".b", "a.b.c", "\"a", "\"a\"b.c"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_is_split_at_commas_outside_of_quotes() {
        let split = |list| Pattern::split(list).collect::<Vec<_>>();
        assert_eq!(split("a.*,b.c"), ["a.*", "b.c"]);
        assert_eq!(split(r#""a,b".c,"d"",e".f"#), [r#""a,b".c"#, r#""d"",e".f"#]);
    }

    #[test]
    fn exclusion_wins() {
        let selection = TableSelection::parse(["public.*", "!public.tmp_*"]).unwrap();
        assert!(selection.contains(&TableName::new("public", "orders")));
        assert!(!selection.contains(&TableName::new("public", "tmp_1")));
        assert!(!selection.contains(&TableName::new("other", "orders")));
    }
}
