//! What the reference of types says, asked of the binary that prints it.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use rowtide_testkit::Result;

use super::corpus::{Case, Told};
use crate::stage::End;

/// What is said of a type at a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    /// The type there.
    pub(super) becomes: String,
    /// The class of its values.
    pub(super) class: String,
    /// Whether tables with it can be followed in the log's binary form; `None` if nothing says so.
    pub(super) binary: Option<bool>,
}

/// The reference.
#[derive(Debug, Clone)]
pub(super) struct Facts(HashMap<(End, String), Fact>);

impl Facts {
    /// Has `binary` print it.
    pub(super) fn of(binary: &Path) -> Result<Self> {
        let printed = Command::new(binary)
            .args(["config", "types", "--lines"])
            .output()
            .map_err(|e| format!("run {}: {e}", binary.display()))?;
        if !printed.status.success() {
            return Err(String::from_utf8_lossy(&printed.stderr).into_owned());
        }
        let mut facts = HashMap::new();
        for line in String::from_utf8_lossy(&printed.stdout).lines() {
            let [end, name, becomes, class, form] = line.split('\t').collect::<Vec<_>>()[..] else {
                return Err(format!("not a fact: {line}"));
            };
            let end = if end == "duckdb" { End::Duckdb } else { End::Postgres };
            let (becomes, class) = (becomes.to_owned(), class.to_owned());
            let fact = Fact { becomes, class, binary: Some(form == "binary") };
            facts.insert((end, name.to_owned()), fact);
        }
        Ok(Self(facts))
    }

    /// What it says of a case whose column type `format_type` prints as `printed`.
    pub(super) fn tell(&self, end: End, case: &Case, printed: &str) -> Result<Fact> {
        let name = match case.told_as {
            Told::ByName => printed,
            Told::As(name) => name,
            Told::Nowhere => {
                let (becomes, class) = (String::new(), String::new());
                return Ok(Fact { becomes, class, binary: None });
            }
            Told::InWords(said) => {
                let (becomes, class) = said[usize::from(end == End::Postgres)];
                return Ok(Fact { becomes: becomes.into(), class: class.into(), binary: None });
            }
        };
        let fact = self.0.get(&(end, name.to_owned())).cloned();
        fact.ok_or_else(|| format!("the reference of types does not tell of {name}"))
    }

    /// The names it tells of.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().filter(|(end, _)| *end == End::Duckdb).map(|(_, name)| name.as_str())
    }
}
