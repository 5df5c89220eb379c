//! The configuration: one TOML file, flags laid over it, all problems reported at once.
//!
//! ```text
//!  text ──► document (values with lines) ◄── flags
//!               │ substitute ${env:…}, ${file:…} in string leaves
//!               │ check against the table of options
//!               ▼
//!         Configuration { pipeline, source, destination, settings }
//! ```
//!
//! Nothing here connects to anything. The connectors a program has are passed in, so that their
//! options are checked and documented with the rest although the engine knows none of them.

mod check;
mod document;
mod options;
mod problems;
mod read;
mod render;
#[cfg(test)]
mod tests;
mod values;

use std::path::Path;
use std::sync::Arc;

use rowtide_core::{
    Capabilities, Error, Finding, PipelineState, Result, Severity, TableName, TablePlan,
    TableSchema,
};

pub use document::Substitution;
pub use options::{
    COPY, ConnectorSpec, Connectors, ENDPOINT, Kind, METRICS, OptionSpec, RETRY, RUN, SECTIONS,
    STREAM, Section, TABLE, TABLES, TOP, VERIFY, VERSION,
};
pub use problems::{Origin, Problem};
pub use render::{example, json_schema, redacted_url, reference};
pub use values::{format_duration, format_size, parse_duration, parse_size};

use crate::Settings;
use document::{Node, Value};
use problems::Problems;

/// One end of a pipeline. It has no `Debug`: the options may hold secrets.
#[derive(Clone)]
pub struct Endpoint {
    /// The type of connector.
    pub kind: &'static str,
    /// Its section of the file without `type`, after substitution.
    pub options: toml::Table,
}

/// A whole configuration, checked. It has no `Debug`: the ends may hold secrets.
#[derive(Clone)]
pub struct Configuration {
    /// The pipeline's name.
    pub pipeline: String,
    /// Where changes come from.
    pub source: Endpoint,
    /// Where they go.
    pub destination: Endpoint,
    /// What to do.
    pub settings: Settings,
}

impl Configuration {
    /// What a run would do with the `discovered` tables, given what the destination remembers.
    ///
    /// # Errors
    /// `Config` listing everything that contradicts: no table, clashing names, a table that was
    /// made with other settings.
    pub fn plans(
        &self,
        discovered: &[Arc<TableSchema>],
        state: &PipelineState,
        capabilities: Capabilities,
    ) -> Result<(Vec<TablePlan>, Vec<Finding>)> {
        let known = (state, capabilities);
        let planned = crate::plan::plan_tables(discovered, &self.settings, known, &[])?;
        let mut plans: Vec<TablePlan> = planned.into_iter().map(|planned| planned.plan).collect();
        let refused = crate::plan::refusals(&plans, &state.by_name(), capabilities);
        plans.retain(|plan| !refused.contains_key(&plan.source.name));
        let finding = |(name, reason): (TableName, String)| {
            let message = format!("{reason} (the table is left out, the others go on)");
            Finding::new(Severity::Warning, name.to_string(), message).of_one_table(&name)
        };
        Ok((plans, refused.into_iter().map(finding).collect()))
    }
}

/// A configuration being put together from a file and flags.
pub struct Draft {
    name: Option<String>,
    root: Node,
    syntax: Problems,
}

impl Default for Draft {
    fn default() -> Self {
        let mut root = Node::table(Origin::Default);
        root.set("version", Node::new(Origin::Default, Value::Integer(VERSION)));
        Self { name: None, root, syntax: Problems::default() }
    }
}

impl Draft {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// `Config` if it cannot be read or is not text. What is wrong inside it is kept, to be
    /// reported with the rest.
    pub fn read(path: &Path) -> Result<Self> {
        const MAX_FILE_BYTES: u64 = 16 << 20;
        let name = path.display().to_string();
        let unreadable = |error: std::io::Error| {
            Error::config(format!("could not read the configuration file {name}"))
                .with_source(error)
                .with_hint(
                    "`rowtide init` writes a commented one; without a file pass --from and --to",
                )
        };
        let length = std::fs::metadata(path).map_err(unreadable)?.len();
        let bytes = match length {
            0..=MAX_FILE_BYTES => std::fs::read(path).map_err(unreadable)?,
            _ => vec![0],
        };
        let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
        let Some(text) = text else {
            return Err(Error::config(format!("the configuration file {name} is not a text file"))
                .with_hint("it must be TOML in UTF-8; `rowtide init` writes one"));
        };
        Ok(Self { name: Some(name), ..Self::parse(&text) })
    }

    /// Reads a file's text.
    pub fn parse(text: &str) -> Self {
        let mut syntax = Problems::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let root = document::parse(text, &mut syntax);
        Self { name: None, root, syntax }
    }

    /// Lays a text given by `flag` over the option at `path`.
    pub fn set_text(&mut self, path: &str, text: &str, flag: &str) {
        self.set(path, Value::String(text.to_owned()), flag);
    }

    /// Lays a boolean given by `flag` over the option at `path`.
    pub fn set_boolean(&mut self, path: &str, value: bool, flag: &str) {
        self.set(path, Value::Boolean(value), flag);
    }

    /// Lays a list of texts given by `flag` over the option at `path`.
    pub fn set_list(&mut self, path: &str, items: &[String], flag: &str) {
        let items = items
            .iter()
            .map(|text| Node::new(Origin::Flag(flag.to_owned()), Value::String(text.clone())));
        self.set(path, Value::Array(items.collect()), flag);
    }

    /// Removes what the file says at `path`.
    pub fn clear(&mut self, path: &str, flag: &str) {
        self.set_list(path, &[], flag);
    }

    /// Lays a value over the option at `path`: TOML if it is such, else text.
    pub fn set_value(&mut self, path: &str, text: &str, flag: &str) {
        let mut problems = Problems::default();
        let parsed = document::parse(&format!("value = {text}"), &mut problems);
        let parsed = parsed.at("value").filter(|_| problems.is_empty() && !text.contains('\n'));
        match parsed {
            Some(node) => self.set(path, node.value.clone(), flag),
            None => self.set_text(path, text, flag),
        }
    }

    /// Adds a table rule given by `flag`, after those of the file: pairs of field and text.
    pub fn add_rule(&mut self, fields: &[(&str, &str)], flag: &str) {
        let origin = Origin::Flag(flag.to_owned());
        let mut rule = Node::table(origin.clone());
        for (field, text) in fields {
            let value = match *text {
                "true" => Value::Boolean(true),
                "false" => Value::Boolean(false),
                text => Value::String(text.to_owned()),
            };
            rule.set(field, Node::new(origin.clone(), value));
        }
        self.root.append(TABLE.name, rule);
    }

    fn set(&mut self, path: &str, value: Value, flag: &str) {
        let origin = Origin::Flag(flag.to_owned());
        self.root.set(path, Node::new(origin, value));
    }

    /// Checks all of it.
    ///
    /// # Errors
    /// `Config` with every problem in its message.
    pub fn finish(self, connectors: Connectors, from: Substitution<'_>) -> Result<Configuration> {
        let name = self.name.clone();
        let (configuration, problems) = self.evaluate(connectors, from);
        match configuration {
            Some(configuration) if problems.is_empty() => Ok(configuration),
            _ => Err(problems.into_error(name.as_deref())),
        }
    }

    /// The whole configuration as TOML, defaults and origins included, secrets redacted.
    ///
    /// # Errors
    /// `Config` with every problem in its message.
    pub fn show(self, connectors: Connectors, from: Substitution<'_>) -> Result<String> {
        let mut root = self.root.clone();
        let configuration = self.finish(connectors, from)?;
        document::substitute(&mut root, "", from, &mut Problems::default());
        Ok(render::show(&root, &configuration, connectors))
    }

    fn evaluate(
        mut self,
        connectors: Connectors,
        from: Substitution<'_>,
    ) -> (Option<Configuration>, Problems) {
        let mut problems = Problems::default();
        document::substitute(&mut self.root, "", from, &mut problems);
        read::check_document(&self.root, &mut problems);
        let settings = read::settings(&self.root, &mut problems);
        let mut ends = read::all_connectors(connectors)
            .map(|(path, specs)| read::endpoint(&self.root, (path, specs), &mut problems));
        let suggested = ends[0].as_mut().and_then(|(_, name)| name.take());
        let pipeline = read::pipeline_name(&self.root, suggested, &mut problems);
        if !self.syntax.is_empty() {
            // What is missing or odd may be so because of the syntax error.
            let lines = self.syntax.lines();
            problems.retain(|problem| match problem.origin {
                Origin::Line(line) => !lines.contains(&line),
                Origin::Flag(_) => true,
                Origin::Default => false,
            });
            problems.extend(self.syntax);
        }
        let [source, destination] = ends.map(|end| end.map(|(endpoint, _)| endpoint));
        let configuration = source.zip(destination).map(|(source, destination)| Configuration {
            pipeline,
            source,
            destination,
            settings,
        });
        (configuration, problems)
    }
}
