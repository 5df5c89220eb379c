//! What is to become of values that the destination's column types cannot hold.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Pattern, TableName};

/// What happens to a value that its column's type cannot hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValuePolicy {
    /// Its table stops with an error that names the table, the column and the position.
    #[default]
    Fail,
    /// NULL takes its place.
    Null,
    /// NULL takes its place, and a column beside it holds its text.
    Text,
    /// Its whole row is kept out of the destination, and told of in `_rowtide.quarantine`.
    Quarantine,
}

impl ValuePolicy {
    /// All of them, as the configuration spells them.
    pub const WORDS: &'static [&'static str] = &["fail", "null", "text", "quarantine"];

    /// Whether it needs the text that the source itself gives a value.
    pub const fn needs_text(self) -> bool {
        matches!(self, Self::Text | Self::Quarantine)
    }

    /// The same for a column of the key: rows whose keys became NULL could not be told apart.
    #[must_use]
    pub const fn of_key(self) -> Self {
        match self {
            Self::Quarantine => Self::Quarantine,
            Self::Fail | Self::Null | Self::Text => Self::Fail,
        }
    }
}

impl FromStr for ValuePolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "fail" => Ok(Self::Fail),
            "null" => Ok(Self::Null),
            "text" => Ok(Self::Text),
            "quarantine" => Ok(Self::Quarantine),
            _ => Err(Error::config(format!("`{text}` is no policy for values"))
                .with_hint("use fail, null, text or quarantine")),
        }
    }
}

/// What is said of the tables that match a pattern.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueRule {
    /// The tables it is about.
    pub pattern: Pattern,
    /// The policy of their columns.
    pub all: Option<ValuePolicy>,
    /// The policy of single columns, by name.
    pub columns: BTreeMap<String, ValuePolicy>,
}

/// The policy of every column of every table. Of the rules that match, the last that says
/// something wins; what is said of one column wins over what is said of all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ValuePolicies {
    /// Where no rule says anything.
    pub default: ValuePolicy,
    /// In the order in which they were written.
    pub rules: Vec<ValueRule>,
}

impl From<ValuePolicy> for ValuePolicies {
    fn from(default: ValuePolicy) -> Self {
        Self { default, rules: Vec::new() }
    }
}

impl ValuePolicies {
    /// What happens to a value of `column`.
    pub fn of(&self, table: &TableName, column: &str) -> ValuePolicy {
        let rules = || self.rules.iter().rev().filter(|rule| rule.pattern.matches(table));
        let own = rules().find_map(|rule| rule.columns.get(column));
        let all = || rules().find_map(|rule| rule.all);
        own.copied().or_else(all).unwrap_or(self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_wins_and_a_columns_own_wins_over_its_tables() {
        let rule = |pattern: &str, all, columns: &[(&str, ValuePolicy)]| ValueRule {
            pattern: pattern.parse().unwrap(),
            all,
            columns: columns.iter().map(|(name, policy)| ((*name).to_owned(), *policy)).collect(),
        };
        let policies = ValuePolicies {
            default: ValuePolicy::Null,
            rules: vec![
                rule("public.t", None, &[("amount", ValuePolicy::Text)]),
                rule("public.*", Some(ValuePolicy::Quarantine), &[]),
            ],
        };
        let of = |table: &str, column: &str| policies.of(&TableName::new("public", table), column);
        assert_eq!(of("t", "amount"), ValuePolicy::Text);
        assert_eq!(of("t", "other"), ValuePolicy::Quarantine);
        assert_eq!(policies.of(&TableName::new("x", "t"), "amount"), ValuePolicy::Null);
    }

    #[test]
    fn every_word_is_a_policy() {
        for word in ValuePolicy::WORDS {
            let read: ValuePolicy = word.parse().unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), serde_json::json!(word));
        }
        assert!("ignore".parse::<ValuePolicy>().is_err());
    }
}
