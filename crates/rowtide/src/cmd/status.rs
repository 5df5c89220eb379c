//! `rowtide status`: where a pipeline stands, read from both of its ends.

use std::process::ExitCode;

use rowtide_core::traits::SourceStatus;
use rowtide_core::{Error, ErrorKind, Offset, PipelineState, Result, ValueTally};
use serde_json::{Value, json};

use crate::cli::Status;
use crate::output::{self, Align, Output, Table, bytes, count, seconds};
use crate::{configuration, registry};

/// Reads both ends and tells.
pub(super) async fn execute(arguments: Status, output: &Output) -> Result<ExitCode> {
    let configuration = configuration::load(&arguments.pipeline)?;
    let name = configuration.pipeline.clone();
    let (source, destination) = registry::ends(&configuration)?;
    let (state, status) = tokio::join!(destination.peek(&name), source.operations().status());
    if arguments.json {
        output::print_json(&as_json(&name, &state, &status))?;
    } else {
        output::print(&as_text(&name, (&state, &status), output))?;
    }
    Ok(ExitCode::from(code(&state, &status)))
}

/// A destination that is busy is what a running pipeline looks like, and no failure.
fn code(state: &Result<Option<PipelineState>>, status: &Result<SourceStatus>) -> u8 {
    let of = |error: &Error| error.kind().exit_code();
    match (status, state) {
        (Err(error), _) => of(error),
        (Ok(_), Err(error)) if error.kind() != ErrorKind::Unavailable => of(error),
        _ => 0,
    }
}

fn as_text(
    name: &str,
    (state, status): (&Result<Option<PipelineState>>, &Result<SourceStatus>),
    output: &Output,
) -> String {
    let mut text = format!(
        "{}\n\n{}\n",
        output.paint("1", &format!("pipeline {name}")),
        output.paint("1", "source")
    );
    match status {
        Ok(status) => source_text(&mut text, status),
        Err(error) => error_text(&mut text, error),
    }
    text.push_str(&format!("\n{}\n", output.paint("1", "destination")));
    match state {
        Ok(Some(state)) => state_text(&mut text, state),
        Ok(None) => line(&mut text, "state", "nothing yet: this pipeline never ran"),
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            line(&mut text, "state", "in use by a running pipeline, which cannot be looked into");
            line(&mut text, "", &error.chain());
        }
        Err(error) => error_text(&mut text, error),
    }
    text
}

fn line(text: &mut String, label: &str, value: &str) {
    text.push_str(&format!("  {label:<14}{value}\n"));
}

fn error_text(text: &mut String, error: &Error) {
    line(text, error.kind().as_str(), &error.chain());
    if let Some(hint) = error.hint() {
        line(text, "hint", hint);
    }
}

fn source_text(text: &mut String, status: &SourceStatus) {
    line(text, "server", &status.server);
    line(text, "log ends at", &Offset(status.head).to_string());
    match status.acknowledged {
        Some(position) => line(text, "acknowledged", &Offset(position).to_string()),
        None => line(text, "slot", "there is none"),
    }
    if let Some(lag) = status.lag_bytes {
        line(text, "lag", &bytes(lag));
    }
    if let Some(retained) = status.retained_bytes {
        line(text, "retained log", &bytes(retained));
    }
    if let Some(retention) = &status.retention {
        let active = if status.active { "being read" } else { "nobody reads it" };
        line(text, "slot", &format!("{retention}, {active}"));
    }
}

fn state_text(text: &mut String, state: &PipelineState) {
    let checkpoint = state.checkpoint.as_ref().map(ToString::to_string);
    line(text, "checkpoint", checkpoint.as_deref().unwrap_or("none yet"));
    if let Some(at) = state.updated_at {
        line(text, "written", &ago(at));
    }
    match &state.last_error {
        Some((at, error)) => line(text, "last error", &format!("{}: {error}", ago(*at))),
        None => line(text, "last error", "none"),
    }
    if state.tables.is_empty() {
        return;
    }
    let mut table = Table::new(&[
        ("table", Align::Left),
        ("phase", Align::Left),
        ("mode", Align::Left),
        ("rows copied", Align::Right),
        ("target", Align::Left),
    ]);
    for known in &state.tables {
        table.row([
            known.schema.name.to_string(),
            known.phase.as_str().to_owned(),
            word(&known.mode),
            count(known.rows_copied),
            known.target.to_string(),
        ]);
    }
    text.push('\n');
    text.push_str(&table.render());
    for known in state.tables.iter().filter(|known| !known.values.is_empty()) {
        text.push_str(&format!("\n  {}: {}\n", known.schema.name, values_text(&known.values)));
    }
    for known in state.tables.iter().filter(|known| known.reason.is_some()) {
        let reason = known.reason.as_deref().unwrap_or_default();
        text.push_str(&format!("\n  {}: {reason}\n", known.schema.name));
    }
}

/// What became of values that the destination's types cannot hold.
fn values_text(values: &ValueTally) -> String {
    let mut parts = Vec::new();
    if values.nulled > 0 {
        parts.push(format!("{} values were replaced by NULL", count(values.nulled)));
    }
    if values.as_text > 0 {
        parts.push(format!("{} values stand as text", count(values.as_text)));
    }
    if values.quarantined > 0 {
        let (all, open) = (count(values.quarantined), count(values.open()));
        parts.push(format!("{all} rows went to quarantine, {open} are there"));
    }
    parts.join("; ")
}

/// An enumeration's word as the configuration spells it.
fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// `2026-01-02T03:04:05Z, 5 s ago`.
fn ago(micros: i64) -> String {
    let Ok(at) = jiff::Timestamp::from_microsecond(micros) else {
        return "at an unknown time".into();
    };
    let age = jiff::Timestamp::now().as_microsecond().saturating_sub(micros).max(0);
    #[expect(clippy::cast_precision_loss, reason = "an age to be looked at")]
    let age = seconds(age as f64 / 1e6);
    let shown = at.strftime("%Y-%m-%d %H:%M:%S UTC");
    format!("{shown}, {age} ago")
}

fn as_json(
    name: &str,
    state: &Result<Option<PipelineState>>,
    status: &Result<SourceStatus>,
) -> Value {
    let failed = |error: &Error| {
        json!({ "error": {
            "kind": error.kind().as_str(),
            "message": error.chain(),
            "hint": error.hint(),
        }})
    };
    let source = match status {
        Ok(status) => json!({
            "server": status.server,
            "head": Offset(status.head).to_string(),
            "acknowledged": status.acknowledged.map(|at| Offset(at).to_string()),
            "lag_bytes": status.lag_bytes,
            "retained_bytes": status.retained_bytes,
            "active": status.active,
            "retention": status.retention,
        }),
        Err(error) => failed(error),
    };
    let destination = match state {
        Ok(Some(state)) => state_json(state),
        Ok(None) => Value::Null,
        Err(error) => failed(error),
    };
    json!({ "pipeline": name, "source": source, "destination": destination })
}

fn state_json(state: &PipelineState) -> Value {
    let time =
        |micros: i64| jiff::Timestamp::from_microsecond(micros).map(|at| at.to_string()).ok();
    let tables: Vec<_> = state
        .tables
        .iter()
        .map(|known| {
            json!({
                "table": known.schema.name.to_string(),
                "target": known.target.to_string(),
                "phase": known.phase.as_str(),
                "mode": known.mode,
                "delete": known.delete,
                "rows_copied": known.rows_copied,
                "values": {
                    "nulled": known.values.nulled,
                    "as_text": known.values.as_text,
                    "quarantined": known.values.quarantined,
                    "in_quarantine": known.values.open(),
                },
                "reason": known.reason,
            })
        })
        .collect();
    json!({
        "checkpoint": state.checkpoint.as_ref().map(|at| at.position().to_string()),
        "checkpoint_partitions": state.checkpoint,
        "updated_at": state.updated_at.and_then(time),
        "last_error": state.last_error.as_ref().map(|(at, error)| {
            json!({ "at": time(*at), "message": error })
        }),
        "tables": tables,
    })
}
