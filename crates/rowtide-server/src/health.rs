//! Whether a pipeline does its work, for those who restart or page.

use rowtide_core::Phase;
use rowtide_engine::{Activity, Snapshot};
use serde_json::{Value, json};

/// Whether the pipeline works, and what to say of it.
pub(crate) fn health(pipeline: &str, snapshot: &Snapshot) -> (bool, Value) {
    let tables = &snapshot.tables;
    let stopped = tables.iter().filter(|table| table.phase == Phase::Stopped).count();
    let (status, reason) = match &snapshot.activity {
        Activity::Starting => ("starting", Some("it has not begun yet".to_owned())),
        Activity::Retrying { error, attempt } => {
            ("retrying", Some(format!("attempt {attempt} comes after: {error}")))
        }
        Activity::Stopping => ("stopping", Some("it was asked to stop, or is done".to_owned())),
        Activity::Copying | Activity::Streaming if stopped > 0 && stopped == tables.len() => {
            ("stopped", Some("every table is stopped: see `rowtide status`".to_owned()))
        }
        Activity::Copying => ("copying", None),
        Activity::Streaming if snapshot.stream.lag_bytes() == 0 => ("idle", None),
        Activity::Streaming => ("streaming", None),
    };
    let mut said = json!({
        "pipeline": pipeline,
        "status": status,
        "tables": tables.len(),
        "stopped_tables": stopped,
    });
    let works = reason.is_none();
    if let Some(reason) = reason {
        said["reason"] = reason.into();
    }
    (works, said)
}

#[cfg(test)]
mod tests {
    use rowtide_core::TableName;
    use rowtide_engine::TableProgress;

    use super::*;

    fn table(name: &str, phase: Phase) -> TableProgress {
        TableProgress::new(TableName::new("public", name), phase, None)
    }

    fn told(snapshot: &Snapshot) -> (bool, String) {
        let (works, said) = health("shop", snapshot);
        assert_eq!(said.get("reason").is_some(), !works, "{said}");
        (works, said["status"].as_str().unwrap().to_owned())
    }

    #[test]
    fn a_pipeline_is_well_while_it_copies_or_follows() {
        let mut snapshot = Snapshot::default();
        assert_eq!(told(&snapshot), (false, "starting".to_owned()));
        snapshot.activity = Activity::Copying;
        assert_eq!(told(&snapshot), (true, "copying".to_owned()));
        snapshot.activity = Activity::Streaming;
        assert_eq!(told(&snapshot), (true, "idle".to_owned()));
        snapshot.stream.head = 5;
        assert_eq!(told(&snapshot), (true, "streaming".to_owned()));
        snapshot.activity = Activity::Retrying { error: "no route".to_owned(), attempt: 2 };
        assert_eq!(told(&snapshot), (false, "retrying".to_owned()));
    }

    #[test]
    fn one_stopped_table_does_not_make_the_others_ill() {
        let mut snapshot = Snapshot { activity: Activity::Streaming, ..Snapshot::default() };
        snapshot.tables = vec![table("a", Phase::Streaming), table("b", Phase::Stopped)];
        let (works, said) = health("shop", &snapshot);
        assert!(works && said["stopped_tables"] == 1, "{said}");
        snapshot.tables.remove(0);
        assert_eq!(told(&snapshot), (false, "stopped".to_owned()));
    }
}
