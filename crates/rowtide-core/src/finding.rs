//! What a preflight found: one result, how bad it is, and how to fix it.

use serde::Serialize;

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
}

impl Finding {
    /// A finding of `severity` about `subject`.
    pub fn new(severity: Severity, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity, subject: subject.into(), message: message.into(), fix: None }
    }

    /// Adds the statement or command that fixes it.
    #[must_use]
    pub fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}
