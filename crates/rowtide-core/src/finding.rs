//! What a preflight found: one result, how bad it is, and how to fix it.

use serde::Serialize;

use crate::TableName;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// All is well; worth showing.
    Ok,
    /// It works, but something should be known.
    Warning,
    /// The pipeline would not start, or would not be right.
    Error,
}

/// One result of a check made before anything runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What was looked at: a setting, a role, a table.
    pub subject: String,
    /// What was found, and why it matters.
    pub message: String,
    /// The exact statement or command that fixes it.
    pub fix: Option<String>,
    /// The table it is about, by its name at the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<TableName>,
    /// Whether a pipeline that runs already goes on without that table until it is fixed.
    pub alone: bool,
}

impl Finding {
    /// A finding of `severity` about `subject`.
    pub fn new(severity: Severity, subject: impl Into<String>, message: impl Into<String>) -> Self {
        let (subject, message) = (subject.into(), message.into());
        Self { severity, subject, message, fix: None, table: None, alone: false }
    }

    /// Names the table it is about.
    #[must_use]
    pub fn about(self, table: &TableName) -> Self {
        Self { table: Some(table.clone()), ..self }
    }

    /// Names the one table that it keeps from being followed: the others can go on.
    #[must_use]
    pub fn of_one_table(self, table: &TableName) -> Self {
        Self { alone: true, ..self.about(table) }
    }

    /// Adds the statement or command that fixes it.
    #[must_use]
    pub fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}
