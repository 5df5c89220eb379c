//! A TOML document as a tree whose every node knows where it was written.
//!
//! Flags of the command line become nodes too, and are laid over the file's, so that whatever is
//! wrong is found and reported the same way wherever it came from.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::problems::{Origin, Problems};

/// A value and where it was written.
#[derive(Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) origin: Origin,
    /// Whether (part of) the value came from a secret place and must not be shown.
    pub(crate) substituted: bool,
    pub(crate) value: Value,
}

/// What TOML can hold. There is no `Debug`: a value may be a secret.
#[derive(Clone, PartialEq)]
pub(crate) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// A date or time, which no option takes.
    Datetime,
    Array(Vec<Node>),
    Table(Vec<(String, Node)>),
}

impl Value {
    /// The type in words, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Datetime => "a date or time",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl Node {
    pub(crate) fn table(origin: Origin) -> Self {
        Self::new(origin, Value::Table(Vec::new()))
    }

    pub(crate) fn new(origin: Origin, value: Value) -> Self {
        Self { origin, substituted: false, value }
    }

    pub(crate) fn entries(&self) -> &[(String, Self)] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The node at the dotted `path`.
    pub(crate) fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, key| {
            let mut entries = node.entries().iter();
            entries.find(|(name, _)| name == key).map(|(_, node)| node)
        })
    }

    /// Puts `node` at the dotted `path`, making tables on the way and replacing what stood there.
    pub(crate) fn set(&mut self, path: &str, node: Self) {
        let (key, rest) = match path.split_once('.') {
            Some((key, rest)) => (key, Some(rest)),
            None => (path, None),
        };
        if !matches!(self.value, Value::Table(_)) {
            self.value = Value::Table(Vec::new());
        }
        let Value::Table(entries) = &mut self.value else {
            return;
        };
        let index = match entries.iter().position(|(name, _)| name == key) {
            Some(index) => index,
            None => {
                entries.push((key.to_owned(), Self::table(node.origin.clone())));
                entries.len() - 1
            }
        };
        match rest {
            Some(rest) => entries[index].1.set(rest, node),
            None => entries[index].1 = node,
        }
    }

    /// Adds `node` to the list at the dotted `path`.
    pub(crate) fn append(&mut self, path: &str, node: Self) {
        let mut items = self.at(path).map(|list| list.items().to_vec());
        let origin = node.origin.clone();
        items.get_or_insert_default().push(node);
        self.set(path, Self::new(origin, Value::Array(items.unwrap_or_default())));
    }

    /// The plain TOML value; dates are left out, no option takes one.
    pub(crate) fn to_toml(&self) -> Option<toml::Value> {
        Some(match &self.value {
            Value::String(text) => toml::Value::String(text.clone()),
            Value::Integer(number) => toml::Value::Integer(*number),
            Value::Float(number) => toml::Value::Float(*number),
            Value::Boolean(flag) => toml::Value::Boolean(*flag),
            Value::Datetime => return None,
            Value::Array(items) => {
                toml::Value::Array(items.iter().filter_map(Self::to_toml).collect())
            }
            Value::Table(_) => toml::Value::Table(self.to_toml_table()),
        })
    }

    pub(crate) fn to_toml_table(&self) -> toml::Table {
        let entries = self.entries().iter();
        entries.filter_map(|(key, node)| Some((key.clone(), node.to_toml()?))).collect()
    }
}

/// Reads a document; whatever is not TOML is added to `problems`, and what can be read is kept.
pub(crate) fn parse(text: &str, problems: &mut Problems) -> Node {
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors.iter().take(MAX_SYNTAX_ERRORS) {
        let origin = match error.span() {
            Some(span) => Origin::Line(lines.line_of(span.start)),
            None => Origin::Line(1),
        };
        problems.add("", &origin, format!("not TOML: {}", error.message().trim()));
    }
    convert_table(table.get_ref(), Origin::Line(1), &lines)
}

/// After so many the rest is noise.
const MAX_SYNTAX_ERRORS: usize = 10;

fn convert_table(table: &DeTable<'_>, origin: Origin, lines: &Lines) -> Node {
    let entries = table.iter().map(|(key, value)| {
        let line = lines.line_of(key.span().start);
        let node = convert(value.get_ref(), Origin::Line(line), lines);
        (key.get_ref().to_string(), node)
    });
    Node::new(origin, Value::Table(entries.collect()))
}

fn convert(value: &DeValue<'_>, origin: Origin, lines: &Lines) -> Node {
    let value = match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                // Too large for any option: a float is refused with its place.
                Err(_) => Value::Float(f64::INFINITY),
            }
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| {
                    let line = Origin::Line(lines.line_of(item.span().start));
                    convert(item.get_ref(), line, lines)
                })
                .collect(),
        ),
        DeValue::Table(table) => return convert_table(table, origin, lines),
    };
    Node::new(origin, value)
}

/// Where each line starts.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(newlines.map(|(at, _)| at + 1).collect())
    }

    fn line_of(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset) + 1
    }
}

/// Where `${…}` takes its values from.
#[derive(Clone, Copy)]
pub struct Substitution<'a> {
    /// Looks up an environment variable.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// What a relative path in `${file:…}` is relative to.
    pub directory: &'a Path,
}

/// Replaces `${env:NAME}` and `${file:PATH}` in every string leaf below `node`. Keys stay as they
/// are, and what was put in is not looked at again. Within a longer `url` what is put in is
/// percent-encoded, so that a password may hold any character; a `url` that is one reference is
/// taken as it is.
pub(crate) fn substitute(
    node: &mut Node,
    path: &str,
    from: Substitution<'_>,
    problems: &mut Problems,
) {
    match &mut node.value {
        Value::String(text) if text.contains("${") => {
            match replaced(text, is_url(path, text), from) {
                Ok(new) => {
                    node.substituted = true;
                    *text = new;
                }
                Err((message, hint)) => {
                    problems.add_with_hint(path, &node.origin, (message, hint));
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                substitute(item, &format!("{path}[{index}]"), from, problems);
            }
        }
        Value::Table(entries) => {
            for (key, entry) in entries {
                substitute(entry, &join(path, key), from, problems);
            }
        }
        _ => {}
    }
}

/// `path.key`.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn is_url(path: &str, text: &str) -> bool {
    (path == "url" || path.ends_with(".url")) && text.contains("://")
}

fn replaced(text: &str, in_url: bool, from: Substitution<'_>) -> Result<String, (String, String)> {
    let alone = text.starts_with("${") && text.find('}') == Some(text.len() - 1);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let Some((reference, tail)) = after.split_once('}') else {
            return Err((
                "a `${` is not closed by `}`".into(),
                "write ${env:NAME} or ${file:PATH}".into(),
            ));
        };
        let value = looked_up(reference, from)?;
        if in_url && !alone {
            percent_encode(&value, &mut out);
        } else {
            out.push_str(&value);
        }
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// Everything but what every part of a URL may hold.
fn percent_encode(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

fn looked_up(reference: &str, from: Substitution<'_>) -> Result<String, (String, String)> {
    match reference.split_once(':') {
        Some(("env", name)) => (from.environment)(name).ok_or_else(|| {
            (
                format!("the environment variable {name} is not set"),
                format!("set it before the start: export {name}=…"),
            )
        }),
        Some(("file", path)) => {
            let full = from.directory.join(path);
            let read = std::fs::read_to_string(&full).map_err(|error| {
                (
                    format!("could not read the file {path}: {error}"),
                    "the path is relative to the configuration file".to_owned(),
                )
            })?;
            // The newline at the end of a secret's file is not part of the secret.
            Ok(read.trim_end_matches(['\n', '\r']).to_owned())
        }
        Some(("vault", _)) => Err((
            "${vault:…} is not supported yet".into(),
            "let an agent put the secret in a file or the environment, and use ${file:PATH} or \
             ${env:NAME}"
                .into(),
        )),
        _ => Err((
            format!("`${{{reference}}}` is not a known reference"),
            "write ${env:NAME} or ${file:PATH}".into(),
        )),
    }
}
