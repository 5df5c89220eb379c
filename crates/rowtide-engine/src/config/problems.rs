//! Everything that is wrong with a configuration, collected so that it is reported in one go.

use std::fmt;

use rowtide_core::Error;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In the file, on this line (counted from 1).
    Line(usize),
    /// On the command line, by this flag.
    Flag(String),
    /// Nowhere: it is the default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The dotted path of the option, for example `stream.buffer_bytes`; empty for the document.
    pub path: String,
    /// Where it was written; [`Origin::Default`] for something that is missing.
    pub origin: Origin,
    /// What is wrong with it.
    pub message: String,
    /// What to do, where there is something to say.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin != Origin::Default {
            write!(f, "{}: ", self.origin)?;
        }
        if !self.path.is_empty() {
            write!(f, "`{}`: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

/// A growing list of mistakes.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Problem>,
}

impl Problems {
    pub(crate) fn add(&mut self, path: &str, origin: &Origin, message: impl Into<String>) {
        self.push(path, origin, message.into(), None);
    }

    pub(crate) fn add_with_hint(
        &mut self,
        path: &str,
        origin: &Origin,
        (message, hint): (String, String),
    ) {
        self.push(path, origin, message, Some(hint));
    }

    /// Takes over an error that a value's own parser made.
    pub(crate) fn add_error(&mut self, path: &str, origin: &Origin, error: &Error) {
        self.push(path, origin, error.chain(), error.hint().map(ToOwned::to_owned));
    }

    fn push(&mut self, path: &str, origin: &Origin, message: String, hint: Option<String>) {
        let problem = Problem { path: path.to_owned(), origin: origin.clone(), message, hint };
        if !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Keeps only the problems that `keep` wants.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Problem) -> bool) {
        self.found.retain(keep);
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.found.extend(other.found);
    }

    pub(crate) fn lines(&self) -> Vec<usize> {
        let line = |problem: &Problem| match problem.origin {
            Origin::Line(line) => Some(line),
            _ => None,
        };
        self.found.iter().filter_map(line).collect()
    }

    /// One error for all of them, in the order of the file; `name` is the file's, if there is one.
    pub(crate) fn into_error(mut self, name: Option<&str>) -> Error {
        self.found.sort_by(|a, b| a.origin.cmp(&b.origin));
        let subject = match name {
            Some(name) => format!("the configuration file {name}"),
            None => "the configuration".to_owned(),
        };
        let count = match self.found.len() {
            1 => "one problem".to_owned(),
            n => format!("{n} problems"),
        };
        let mut message = format!("{subject} has {count}:");
        for problem in &self.found {
            message.push_str(&format!("\n  - {problem}"));
        }
        Error::config(message)
            .with_hint("`rowtide config reference` explains every option, `rowtide init` writes a commented file")
    }
}
