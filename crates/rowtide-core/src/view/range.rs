//! Ranges of keys, as somebody writes them and as two databases understand them alike.
//!
//! Only keys of types whose order is the same everywhere have ranges: numbers, instants, UUIDs,
//! bytes, and text by its bytes. Each value is read here, whole and strictly, and stands in a
//! statement as a quoted literal of its column's type: what somebody wrote is never SQL.

mod value;

use std::str::FromStr;

use crate::{Error, Result, TableSchema};

/// How ranges are written.
const GRAMMAR: &str = "write FROM..TO (without TO itself), FROM..=TO, FROM.. or ..TO; the columns \
                       of a composite key are separated by commas; a value with a comma, a \
                       bracket, two dots or spaces around it stands in single quotes";

/// A range as it is written: of no table yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeText {
    from: Option<Vec<String>>,
    to: Option<Vec<String>>,
    closed: bool,
}

/// Which keys of a table to look at: from a bound on, and up to another. A bound of fewer columns
/// than the key has is one of the first of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    from: Option<Vec<String>>,
    to: Option<Vec<String>>,
    /// Whether keys that are equal to the upper bound are within.
    closed: bool,
}

impl FromStr for RangeText {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong =
            |why: &str| Error::config(format!("--key-range: {why}")).with_hint(GRAMMAR.to_owned());
        let Some(at) = dots(text) else { return Err(wrong("there are no two dots in it")) };
        let rest = &text[at + 2..];
        let (closed, rest) = rest.strip_prefix('=').map_or((false, rest), |rest| (true, rest));
        let from = bound(&text[..at]).ok_or_else(|| wrong("its lower bound is not understood"))?;
        let to = bound(rest).ok_or_else(|| wrong("its upper bound is not understood"))?;
        if from.is_none() && to.is_none() {
            return Err(wrong("it is open at both ends"));
        }
        if closed && to.is_none() {
            return Err(wrong("nothing stands behind the ="));
        }
        Ok(Self { from, to, closed })
    }
}

impl RangeText {
    /// The range of keys of `table` that it means.
    ///
    /// # Errors
    /// `Config` if the table has no key, or one of another form.
    pub fn of(&self, table: &TableSchema) -> Result<KeyRange> {
        if !table.is_keyed() {
            return Err(wrong(table, "it has no key")
                .with_hint("take keyed tables only (--table), or choose rows with --where"));
        }
        let typed = |bound: &Option<Vec<String>>| {
            bound.as_ref().map(|values| of_key(values, table)).transpose()
        };
        Ok(KeyRange { from: typed(&self.from)?, to: typed(&self.to)?, closed: self.closed })
    }
}

impl KeyRange {
    /// The range as a condition in SQL. `column` makes an expression of the key's column with this
    /// index within the key, in the order that the range means, and `literal` one of a value of it.
    pub fn condition(
        &self,
        column: impl Fn(usize) -> String,
        literal: impl Fn(usize, &str) -> String,
    ) -> String {
        let beyond = |values: &[String], (strict, last): (&str, &str)| {
            let mut condition = String::new();
            for (at, value) in values.iter().enumerate().rev() {
                let (column, value) = (column(at), literal(at, value));
                condition = match condition.is_empty() {
                    true => format!("{column} {last} {value}"),
                    false => format!(
                        "{column} {strict}= {value} AND \
                         ({column} {strict} {value} OR ({column} = {value} AND {condition}))"
                    ),
                };
            }
            format!("({condition})")
        };
        let from = self.from.as_deref().map(|values| beyond(values, (">", ">=")));
        let last = if self.closed { "<=" } else { "<" };
        let to = self.to.as_deref().map(|values| beyond(values, ("<", last)));
        let both: Vec<String> = from.into_iter().chain(to).collect();
        both.join(" AND ")
    }
}

fn wrong(table: &TableSchema, why: &str) -> Error {
    Error::config(format!("--key-range and table {}: {why}", table.name))
}

/// `values` in the form of their columns.
fn of_key(values: &[String], table: &TableSchema) -> Result<Vec<String>> {
    if values.len() > table.key.len() {
        let why = format!("{} values for a key of {} columns", values.len(), table.key.len());
        return Err(wrong(table, &why).with_hint(GRAMMAR.to_owned()));
    }
    let columns = table.key.iter().map(|&at| &table.columns[at]);
    let one = |(text, column): (&String, &crate::Column)| {
        let Some(kind) = value::Kind::of(column) else {
            let why = format!(
                "keys of type {} (column {:?}) are not in the same order everywhere",
                column.native_type,
                column.name()
            );
            return Err(wrong(table, &why).with_hint("choose rows with --where"));
        };
        kind.read(text).ok_or_else(|| {
            let why = format!("a bound is no value of the column {:?}", column.name());
            wrong(table, &why).with_hint(format!("write it as {}", kind.example()))
        })
    };
    values.iter().zip(columns).map(one).collect()
}

/// Where the two dots stand that are in no quotes.
fn dots(text: &str) -> Option<usize> {
    let mut quoted = false;
    let bytes = text.as_bytes();
    (0..bytes.len()).find(|&at| {
        quoted ^= bytes[at] == b'\'';
        !quoted && bytes[at..].starts_with(b"..")
    })
}

/// The values of a bound; `Some(None)` for an open end, `None` if it is not understood.
fn bound(text: &str) -> Option<Option<Vec<String>>> {
    let mut text = text.trim();
    if text.is_empty() {
        return Some(None);
    }
    let row = text.get(..3).filter(|word| word.eq_ignore_ascii_case("row"));
    let behind = row.and_then(|_| text.get(3..)).map(str::trim_start);
    text = behind.filter(|rest| rest.starts_with('(')).unwrap_or(text);
    if let Some(inner) = text.strip_prefix('(') {
        text = inner.strip_suffix(')')?;
    }
    let mut values = Vec::new();
    loop {
        let (value, rest) = first(text.trim_start())?;
        values.push(value);
        match rest {
            Some(rest) => text = rest,
            None => return Some(Some(values)),
        }
    }
}

/// The first value of a list, and what stands behind the comma after it.
fn first(text: &str) -> Option<(String, Option<&str>)> {
    let Some(quoted) = text.strip_prefix('\'') else {
        let end = text.find(',').unwrap_or(text.len());
        let value = text[..end].trim();
        let plain = !value.is_empty() && !value.contains(['\'', '(', ')']);
        return plain.then(|| (value.to_owned(), text.get(end + 1..)));
    };
    let mut value = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find('\'')?;
        value.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None => break,
        }
    }
    match rest.trim_start() {
        "" => Some((value, None)),
        rest => Some((value, Some(rest.strip_prefix(',')?))),
    }
}

#[cfg(test)]
mod tests;
