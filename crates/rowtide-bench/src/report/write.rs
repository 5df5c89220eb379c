//! Where the report goes.

use std::fs;
use std::path::{Path, PathBuf};

use rowtide_testkit::Result;
use serde::Serialize;

use super::{Machine, Outcome, markdown};
use crate::plot;

/// The outcome of one measurement under its title.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) outcome: Outcome,
}

/// Writes `results.md`, `results.json` and a picture of each series below `directory`; returns
/// the path of the page.
pub(crate) fn write(directory: &Path, machine: &Machine, sections: &[Section]) -> Result<PathBuf> {
    fs::create_dir_all(directory).map_err(|e| format!("make {}: {e}", directory.display()))?;
    let mut plots = Vec::new();
    for series in sections.iter().flat_map(|section| &section.outcome.series) {
        let name = format!("{}.svg", series.name);
        put(&directory.join(&name), &plot::svg(series))?;
        plots.push(name);
    }
    let all = serde_json::json!({ "machine": machine, "measurements": sections });
    let text = serde_json::to_string_pretty(&all).map_err(|e| e.to_string())?;
    put(&directory.join("results.json"), &format!("{text}\n"))?;
    let page = directory.join("results.md");
    put(&page, &markdown::page(machine, sections, &plots))?;
    Ok(page)
}

fn put(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|e| format!("write {}: {e}", path.display()))
}
