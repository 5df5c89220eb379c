//! Compares a document with the table of options: unknown keys, wrong types, missing values.

use rowtide_core::ValuePolicy;

use super::document::{Node, Value, join};
use super::options::{Kind, OptionSpec};
use super::problems::{Origin, Problems};
use super::values::{parse_duration, parse_size};

/// Checks the options of the section `node`, which stands at `path`.
pub(crate) fn section(
    node: &Node,
    path: &str,
    (options, subsections): (&[OptionSpec], &[&str]),
    problems: &mut Problems,
) {
    if !matches!(node.value, Value::Table(_)) {
        let message = format!("expected a section, found {}", node.value.kind());
        problems.add_with_hint(
            path,
            &node.origin,
            (message, format!("write [{path}] and its options below")),
        );
        return;
    }
    for (key, entry) in node.entries() {
        if subsections.contains(&key.as_str()) {
            continue;
        }
        match options.iter().find(|option| option.key == key) {
            Some(option) => check_value(entry, &join(path, key), option, problems),
            None => {
                let known = options.iter().map(|option| option.key);
                let known: Vec<_> = known.chain(subsections.iter().copied()).collect();
                unknown(key, entry, (path, &known), problems);
            }
        }
    }
    let missing = options.iter().filter(|option| option.required);
    for option in missing.filter(|option| node.at(option.key).is_none()) {
        let message = format!("is missing; write for example {} = {}", option.key, option.example);
        let origin = match (&node.origin, path) {
            (_, "") => &Origin::Default,
            (origin, _) => origin,
        };
        problems.add(&join(path, option.key), origin, message);
    }
}

fn unknown(key: &str, entry: &Node, (path, known): (&str, &[&str]), problems: &mut Problems) {
    let message = match &entry.value {
        Value::Table(_) => "unknown section".to_owned(),
        _ => "unknown option".to_owned(),
    };
    let hint = match nearest(key, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", known.join(", ")),
    };
    problems.add_with_hint(&join(path, key), &entry.origin, (message, hint));
}

fn check_value(node: &Node, path: &str, option: &OptionSpec, problems: &mut Problems) {
    if let Err(expected) = matches_kind(node, option.kind) {
        // The value itself is shown only where it cannot be a secret.
        let found = match &node.value {
            Value::String(text) if !node.substituted && !option.secret => format!("\"{text}\""),
            Value::Integer(number) if !node.substituted => number.to_string(),
            value => value.kind().to_owned(),
        };
        let message = format!("{expected}, found {found}");
        match suggestion(node, option.kind) {
            Some(hint) => problems.add_with_hint(path, &node.origin, (message, hint)),
            None => problems.add(path, &node.origin, message),
        }
    }
}

fn suggestion(node: &Node, kind: Kind) -> Option<String> {
    let Kind::Choice(words) = kind else {
        return None;
    };
    nearest(node.text()?, words).map(|near| format!("did you mean \"{near}\"?"))
}

fn matches_kind(node: &Node, kind: Kind) -> Result<(), String> {
    let ok = match (kind, &node.value) {
        (Kind::Text | Kind::Path, Value::String(text)) => !text.is_empty(),
        (Kind::Boolean, Value::Boolean(_)) => true,
        (Kind::Integer(low, high), Value::Integer(number)) => (low..=high).contains(number),
        (Kind::Size(least), _) => return size(node, least).map(drop),
        (Kind::Duration, Value::String(text)) => return parse_duration(text).map(drop),
        (Kind::Choice(words), Value::String(text)) => words.contains(&text.as_str()),
        (Kind::Patterns, Value::Array(items)) => items.iter().all(|item| item.text().is_some()),
        (Kind::Metadata, Value::Boolean(_) | Value::Table(_)) => true,
        (Kind::Policies, Value::Table(entries)) => {
            let known = |text: &str| ValuePolicy::WORDS.contains(&text);
            entries.iter().all(|(_, node)| node.text().is_some_and(known))
        }
        (Kind::TextMap, Value::Table(entries)) => {
            entries.iter().all(|(_, node)| node.text().is_some())
        }
        _ => false,
    };
    if ok { Ok(()) } else { Err(expectation(kind)) }
}

fn expectation(kind: Kind) -> String {
    match kind {
        Kind::Text => "expected some text in quotes".into(),
        Kind::Path => "expected a path in quotes".into(),
        Kind::Boolean => "expected true or false".into(),
        Kind::Integer(low, i64::MAX) => format!("expected an integer of at least {low}"),
        Kind::Integer(low, high) if low == high => format!("expected {low}"),
        Kind::Integer(low, high) => format!("expected an integer from {low} to {high}"),
        Kind::Size(_) => "expected a size such as \"64MiB\"".into(),
        Kind::Duration => "expected a duration such as \"10s\"".into(),
        Kind::Choice(words) => format!("expected one of \"{}\"", words.join("\", \"")),
        Kind::Patterns => "expected a list of patterns such as [\"public.*\"]".into(),
        Kind::Metadata => "expected true, false, or a table such as { op = \"__op\" }".into(),
        Kind::Policies => format!(
            "expected a table such as {{ amount = \"text\" }} whose values are of \"{}\"",
            ValuePolicy::WORDS.join("\", \"")
        ),
        Kind::TextMap => "expected a table of texts".into(),
    }
}

/// Reads a size, which may be written as text or as a number of bytes.
pub(crate) fn size(node: &Node, least: u64) -> Result<u64, String> {
    let bytes = match &node.value {
        Value::String(text) => parse_size(text)?,
        Value::Integer(number) => {
            u64::try_from(*number).map_err(|_| expectation(Kind::Size(least)))?
        }
        _ => return Err(expectation(Kind::Size(least))),
    };
    if bytes < least {
        let least = super::format_size(least);
        return Err(format!("expected a size of at least \"{least}\""));
    }
    Ok(bytes)
}

/// The word of `known` that was probably meant by `word`.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let scored = known.iter().map(|&candidate| {
        let inside = word.len() >= 3 && (candidate.contains(&word) || word.contains(candidate));
        (if inside { 1 } else { distance(&word, candidate) }, candidate)
    });
    let (score, candidate) = scored.min_by_key(|(score, _)| *score)?;
    (score <= 1 + word.len() / 4).then_some(candidate)
}

/// The Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested() {
        assert_eq!(nearest("bufer_bytes", &["buffer_bytes", "spool_bytes"]), Some("buffer_bytes"));
        assert_eq!(nearest("apend", &["merge", "append", "replace"]), Some("append"));
        assert_eq!(nearest("zebra", &["merge", "append", "replace"]), None);
    }
}
