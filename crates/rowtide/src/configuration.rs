//! From flags and files to a checked configuration.

use std::path::{Path, PathBuf};

use rowtide_core::{Error, Pattern, Result};
use rowtide_engine::config::{Configuration, Draft, Substitution};

use crate::cli::Pipeline;
use crate::registry::CONNECTORS;

/// The file that is read when no other is named.
const DEFAULT_FILE: &str = "rowtide.toml";
/// What stands in for a destination where a command needs none.
const NO_DESTINATION: &str = "duckdb:unused.duckdb";

/// An environment variable; one that is not text counts as not set.
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A configuration that is not checked yet.
pub(crate) struct Unchecked {
    pub(crate) draft: Draft,
    directory: PathBuf,
    has_destination: bool,
}

impl Unchecked {
    /// Puts file, environment and flags together; later ones win.
    ///
    /// # Errors
    /// `Config` if a file cannot be read or a flag is malformed.
    pub(crate) fn gather(flags: &Pipeline) -> Result<Self> {
        let file = file_of(flags);
        let mut draft = match &file {
            Some(path) => Draft::read(path)?,
            None => Draft::default(),
        };
        let mut has_destination = file.is_some();
        let ends = [
            ("source.url", &flags.from, "--from", "ROWTIDE_FROM"),
            ("destination.url", &flags.to, "--to", "ROWTIDE_TO"),
        ];
        for (path, flag, flag_name, variable) in ends {
            let given = match (flag, environment(variable)) {
                (Some(url), _) => Some((url.clone(), flag_name)),
                (None, Some(url)) => Some((url, variable)),
                (None, None) => None,
            };
            if let Some((url, origin)) = given {
                draft.set_text(path, &url, origin);
                has_destination |= path == "destination.url";
            }
        }
        if let Some(name) = &flags.name {
            draft.set_text("pipeline", name, "--pipeline");
        }
        if !flags.tables.is_empty() {
            let tables = flags.tables.iter().flat_map(|list| Pattern::split(list));
            let tables: Vec<String> = tables.map(str::to_owned).collect();
            draft.set_list("tables.include", &tables, "--tables");
            draft.set_list("tables.exclude", &[], "--tables");
        }
        for rule in &flags.rule {
            add_rule(&mut draft, rule)?;
        }
        for pair in &flags.set {
            let (path, value) = pair.split_once('=').ok_or_else(|| {
                Error::config(format!("--set {pair} is not of the form OPTION=VALUE"))
                    .with_hint("for example --set stream.buffer_bytes=64MiB")
            })?;
            draft.set_value(path.trim(), value.trim(), "--set");
        }
        let directory = file.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
        Ok(Self { draft, directory: directory.to_owned(), has_destination })
    }

    /// For commands that only use the source: a missing destination is no mistake.
    #[must_use]
    pub(crate) fn for_source_only(mut self) -> Self {
        if !self.has_destination {
            self.draft.set_text("destination.url", NO_DESTINATION, "default");
        }
        self
    }

    /// Checks it.
    ///
    /// # Errors
    /// `Config` with all problems.
    pub(crate) fn finish(self) -> Result<Configuration> {
        self.draft.finish(CONNECTORS, substitution(&self.directory))
    }

    /// Checks it and prints what is in effect.
    ///
    /// # Errors
    /// `Config` with all problems.
    pub(crate) fn show(self) -> Result<String> {
        self.draft.show(CONNECTORS, substitution(&self.directory))
    }
}

fn substitution(directory: &Path) -> Substitution<'_> {
    Substitution { environment: &environment, directory }
}

fn file_of(flags: &Pipeline) -> Option<PathBuf> {
    let default = || {
        let path = PathBuf::from(DEFAULT_FILE);
        (flags.from.is_none() && path.exists()).then_some(path)
    };
    let named = flags.config.clone();
    named.or_else(|| environment("ROWTIDE_CONFIG").map(PathBuf::from)).or_else(default)
}

/// Reads `PATTERN:FIELD=VALUE,…`.
fn add_rule(draft: &mut Draft, text: &str) -> Result<()> {
    let malformed = || {
        Error::config(format!("--rule {text} is not of the form PATTERN:FIELD=VALUE,…"))
            .with_hint("for example --rule 'public.events:mode=append'")
    };
    let (pattern, fields) = text.rsplit_once(':').ok_or_else(malformed)?;
    let mut pairs = vec![("match", pattern.trim())];
    for field in fields.split(',').filter(|field| !field.trim().is_empty()) {
        let (name, value) = field.split_once('=').ok_or_else(malformed)?;
        pairs.push((name.trim(), value.trim()));
    }
    draft.add_rule(&pairs, "--rule");
    Ok(())
}

/// Reads and checks the whole configuration.
///
/// # Errors
/// `Config` with all problems.
pub(crate) fn load(flags: &Pipeline) -> Result<Configuration> {
    Unchecked::gather(flags)?.finish()
}

/// The same where only the source matters.
///
/// # Errors
/// `Config` with all problems.
pub(crate) fn load_source(flags: &Pipeline) -> Result<Configuration> {
    Unchecked::gather(flags)?.for_source_only().finish()
}
