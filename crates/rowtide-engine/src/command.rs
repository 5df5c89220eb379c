//! What an operator asks of one table: of a pipeline that runs, or of one that does not.

use rowtide_core::traits::Progress;
use rowtide_core::{Destination, Error, Phase, Result, TableName, TableState};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::hold::Hold;

/// Why a table stands still that an operator paused.
pub(crate) const PAUSED: &str = "paused by an operator";

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableCommand {
    /// Look the source's tables up again: a new one that is selected is copied and followed.
    Add,
    /// Copy the table again; the standing copy stays readable until the new one takes its place.
    Resync,
    /// The same, for a table that has rows in quarantine: those that can be represented by now are
    /// in the new copy, and the others in quarantine anew.
    Replay,
    /// Stop applying its changes.
    Pause,
    /// Go on with a stopped table, by a new copy.
    Resume,
    /// Leave a stopped table as it is for good, without calling it a failure.
    Skip,
}

/// What is asked of a running pipeline.
#[derive(Debug)]
pub enum Request {
    /// To do something with one table.
    Table(TableRequest),
    /// To stand still, and to write what is handed in.
    Hold(Hold),
    /// To come to the end of an idle log soon, because somebody waits for it.
    Hurry,
}

/// What is asked of one table.
#[derive(Debug)]
pub struct TableRequest {
    /// Which table, by its name at the source.
    pub table: TableName,
    /// What is asked.
    pub command: TableCommand,
    /// Where the answer goes: what will happen, or why not.
    pub reply: oneshot::Sender<Result<String>>,
}

/// Where a running pipeline hears requests. By default nobody can send any.
#[derive(Debug, Default)]
pub struct Requests(Mutex<Option<mpsc::Receiver<Request>>>);

impl Requests {
    /// Hears what is sent to `receiver`'s other end.
    pub fn from(receiver: mpsc::Receiver<Request>) -> Self {
        Self(Mutex::new(Some(receiver)))
    }

    /// The next request; waits for ever if nobody can send any. Cancel safe.
    pub(crate) async fn next(&self) -> Request {
        let mut receiver = self.0.lock().await;
        if let Some(open) = receiver.as_mut() {
            if let Some(request) = open.recv().await {
                return request;
            }
            *receiver = None;
        }
        std::future::pending().await
    }
}

/// What a table's state becomes, and what to say of it.
///
/// # Errors
/// `Config` if the command makes no sense for a table in its state.
pub(crate) fn decide(
    known: Option<&TableState>,
    (table, command): (&TableName, TableCommand),
) -> Result<(Option<TableState>, String)> {
    if command == TableCommand::Add {
        return Ok((None, format!("{table}: the source's tables are looked up again")));
    }
    let known = known.ok_or_else(|| {
        Error::config(format!("the pipeline knows no table {table}"))
            .with_hint("`rowtide status` lists its tables; `rowtide table add` takes a new one")
    })?;
    let refuse = |why: &str| Err(Error::config(format!("{table} {why}")));
    let stopped = matches!(known.phase, Phase::Stopped | Phase::Skipped);
    let (phase, reason, said) = match (command, known.phase) {
        (_, Phase::Copying) => {
            return refuse("is being copied; try again when its copy is in place");
        }
        (TableCommand::Replay, _) if known.values.open() == 0 => {
            return refuse("has no rows in quarantine");
        }
        (TableCommand::Pause, _) if stopped => return refuse("is stopped already"),
        (TableCommand::Resume, _) if !stopped => return refuse("is not stopped"),
        (TableCommand::Skip, phase) if phase != Phase::Stopped => {
            return refuse("is not stopped; only a stopped table can be skipped");
        }
        (TableCommand::Pause, _) => (Phase::Stopped, Some(PAUSED.to_owned()), "is paused"),
        (TableCommand::Skip, _) => (Phase::Skipped, known.reason.clone(), "is left as it is"),
        (TableCommand::Replay, _) => {
            (Phase::Pending, None, "is copied again, with what is in quarantine")
        }
        (TableCommand::Resync | TableCommand::Resume | TableCommand::Add, _) => {
            (Phase::Pending, None, "is copied again")
        }
    };
    let next = TableState { phase, reason, awaits: None, ..known.clone() };
    Ok((Some(next), format!("{table} {said}")))
}

/// Carries a command out for a pipeline that does not run: becomes its writer for a moment.
///
/// # Errors
/// `Config` if the command makes no sense; whatever opening the destination meets.
pub async fn operate(
    destination: &dyn Destination,
    pipeline: &str,
    (table, command): (&TableName, TableCommand),
) -> Result<String> {
    if destination.peek(pipeline).await?.is_none() {
        return Err(Error::config(format!("the destination knows no pipeline {pipeline}"))
            .with_hint("name it as `rowtide run` does, with the same destination"));
    }
    let mut writer = destination.open(pipeline).await?;
    let state = writer.state().await?;
    let (next, said) = decide(state.table(table), (table, command))?;
    if let Some(next) = next {
        writer.remember(&next).await?;
        writer.commit(Progress::default()).await?;
    }
    Ok(format!("{said} when the pipeline runs next"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rowtide_core::{DeleteMode, Identity, MetadataColumns, Mode, TablePlan, TableSchema};

    use super::*;

    fn in_phase(phase: Phase) -> TableState {
        let name = TableName::new("public", "t");
        let schema = TableSchema::new((1, name.clone()), 1, Vec::new(), Vec::new(), Identity::None);
        let plan = TablePlan {
            source: Arc::new(schema),
            target: name,
            mode: Mode::Merge,
            delete: DeleteMode::Hard,
            metadata: MetadataColumns::default(),
        };
        TableState { reason: Some("why".into()), ..plan.state(phase) }
    }

    fn becomes(phase: Phase, command: TableCommand) -> Option<Phase> {
        let name = TableName::new("public", "t");
        let decided = decide(Some(&in_phase(phase)), (&name, command)).ok()?;
        decided.0.map(|state| state.phase)
    }

    #[test]
    fn a_command_makes_sense_only_in_some_phases() {
        use TableCommand::{Pause, Resume, Resync, Skip};
        assert_eq!(becomes(Phase::Streaming, Resync), Some(Phase::Pending));
        assert_eq!(becomes(Phase::Stopped, Resync), Some(Phase::Pending));
        assert_eq!(becomes(Phase::Streaming, Pause), Some(Phase::Stopped));
        assert_eq!(becomes(Phase::Stopped, Pause), None);
        assert_eq!(becomes(Phase::Stopped, Resume), Some(Phase::Pending));
        assert_eq!(becomes(Phase::Skipped, Resume), Some(Phase::Pending));
        assert_eq!(becomes(Phase::Streaming, Resume), None);
        assert_eq!(becomes(Phase::Stopped, Skip), Some(Phase::Skipped));
        assert_eq!(becomes(Phase::Streaming, Skip), None);
        for command in [Pause, Resume, Resync, Skip] {
            assert_eq!(becomes(Phase::Copying, command), None);
        }
    }

    #[test]
    fn only_rows_in_quarantine_can_be_replayed() {
        let name = TableName::new("public", "t");
        let replay = |state: &TableState| decide(Some(state), (&name, TableCommand::Replay));
        let mut state = in_phase(Phase::Streaming);
        assert!(replay(&state).is_err());
        state.values.held.insert("1:7".to_owned(), rowtide_core::Held::default());
        let next = replay(&state).unwrap().0.unwrap();
        assert_eq!(next.phase, Phase::Pending);
        // What is told of it, the new copy needs.
        assert_eq!(next.values, state.values);
    }

    #[test]
    fn an_unknown_table_is_refused() {
        let name = TableName::new("public", "nowhere");
        assert!(decide(None, (&name, TableCommand::Resync)).is_err());
        assert!(decide(None, (&name, TableCommand::Add)).is_ok());
    }
}
