//! `rowtide check`: everything that would be in the way, with the statement that fixes it.

use std::process::ExitCode;

use rowtide_core::{Error, ErrorKind, Finding, Result, Severity, TableName, TablePlan};
use rowtide_engine::config::Configuration;
use serde_json::json;

use crate::cli::Check;
use crate::output::{self, Output};
use crate::{configuration, registry};

/// What was found at one end.
struct Side {
    name: &'static str,
    findings: Vec<Finding>,
    error: Option<Error>,
}

impl Side {
    fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}

/// Looks at both ends and tells.
pub(super) async fn execute(arguments: Check, output: &Output) -> Result<ExitCode> {
    let configuration = configuration::load(&arguments.pipeline)?;
    let sides = look(&configuration).await?;
    if arguments.json {
        output::print_json(&as_json(&configuration, &sides))?;
    } else {
        for side in &sides {
            output::print(&as_text(side, output))?;
        }
        output::print_line(&verdict(&sides))?;
    }
    Ok(ExitCode::from(code(&sides)))
}

async fn look(configuration: &Configuration) -> Result<[Side; 2]> {
    let name = &configuration.pipeline;
    let settings = &configuration.settings;
    let (source, destination) = registry::ends(configuration)?;
    let mode_of = |table: &TableName| settings.mode_of(table);
    let found = source.preflight(&settings.selection, &mode_of).await;
    let mut plans: Vec<TablePlan> = Vec::new();
    let mut from = Side::new("source", found);
    if from.error.is_none() {
        // Without its state the destination is looked at as if it were new.
        let state = destination.peek(name).await.ok().flatten().unwrap_or_default();
        let planned = match source.discover(&settings.selection).await {
            Ok(discovered) => configuration.plans(&discovered, &state, destination.capabilities()),
            Err(error) => Err(error),
        };
        match planned {
            Ok((planned, refused)) => {
                plans = planned;
                from.findings.extend(refused);
            }
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Access) => {
                from.error = Some(error);
            }
            Err(error) if from.worst() < Some(Severity::Error) => {
                from.findings.push(as_finding(&error));
            }
            Err(_) => {}
        }
    }
    let to = Side::new("destination", destination.preflight(&plans).await);
    Ok([from, to])
}

fn as_finding(error: &Error) -> Finding {
    let finding = Finding::new(Severity::Error, "tables", error.chain());
    match error.hint() {
        Some(hint) => finding.with_fix(hint),
        None => finding,
    }
}

impl Side {
    fn new(name: &'static str, found: Result<Vec<Finding>>) -> Self {
        match found {
            Ok(findings) => Self { name, findings, error: None },
            Err(error) => Self { name, findings: Vec::new(), error: Some(error) },
        }
    }
}

fn code(sides: &[Side]) -> u8 {
    if let Some(error) = sides.iter().find_map(|side| side.error.as_ref()) {
        return error.kind().exit_code();
    }
    match sides.iter().filter_map(Side::worst).max() {
        Some(Severity::Error) => ErrorKind::Config.exit_code(),
        _ => 0,
    }
}

fn verdict(sides: &[Side]) -> String {
    let count = |severity| {
        let findings = sides.iter().flat_map(|side| &side.findings);
        findings.filter(|finding| finding.severity == severity).count()
    };
    let unreachable = sides.iter().filter(|side| side.error.is_some()).count();
    match (count(Severity::Error) + unreachable, count(Severity::Warning)) {
        (0, 0) => "Nothing is in the way: `rowtide run` can start.".into(),
        (0, warnings) => format!("`rowtide run` can start; {warnings} warning(s) above."),
        (errors, _) => format!("{errors} error(s) must be fixed before `rowtide run` can start."),
    }
}

/// The findings of one end, as text.
fn as_text(side: &Side, output: &Output) -> String {
    let mut text = format!("{}\n", output.paint("1", side.name));
    if let Some(error) = &side.error {
        text.push_str(&format!(
            "  {} {}: {}\n",
            output.paint("31", "✗"),
            error.kind().as_str(),
            error.chain()
        ));
        if let Some(hint) = error.hint() {
            text.push_str(&format!("      hint: {hint}\n"));
        }
    }
    for finding in &side.findings {
        text.push_str(&finding_text(finding, output));
    }
    if side.error.is_none() && side.findings.is_empty() {
        text.push_str(&format!("  {} nothing to report\n", output.paint("32", "✓")));
    }
    text
}

/// One finding as text, with its fix below.
pub(super) fn finding_text(finding: &Finding, output: &Output) -> String {
    let mark = match finding.severity {
        Severity::Ok => output.paint("32", "✓"),
        Severity::Warning => output.paint("33", "!"),
        Severity::Error => output.paint("31", "✗"),
    };
    let mut text = format!("  {mark} {}: {}\n", finding.subject, finding.message);
    if let Some(fix) = &finding.fix {
        for (index, line) in fix.lines().enumerate() {
            let label = if index == 0 { "fix: " } else { "     " };
            text.push_str(&format!("      {}{line}\n", output.paint("36", label)));
        }
    }
    text
}

fn as_json(configuration: &Configuration, sides: &[Side]) -> serde_json::Value {
    let side = |side: &Side| {
        let mut value = json!({ "findings": side.findings });
        if let Some(error) = &side.error {
            value["error"] = json!({
                "kind": error.kind().as_str(),
                "message": error.chain(),
                "hint": error.hint(),
            });
        }
        value
    };
    let mut value = json!({ "pipeline": configuration.pipeline, "ok": code(sides) == 0 });
    for found in sides {
        value[found.name] = side(found);
    }
    value
}
