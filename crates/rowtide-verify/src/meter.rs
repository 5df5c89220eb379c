//! What a verification counts, for whoever listens: once per table, when its verdict is there.

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use rowtide_core::metric;

use crate::{Extent, Repaired, Report, TableReport, Verdict};

/// So many tables of a verification have series of their own; all are in the pipeline's. Beyond,
/// the series would cost whoever stores them more than they tell.
const LABELLED: usize = 1000;

/// Records a whole report, for a process that had it from another one.
pub fn record(report: &Report) {
    for (at, table) in report.tables.iter().enumerate() {
        record_table(
            &report.pipeline,
            (at, table),
            is_whole(report.extent, &report.condition) && report.key_range.is_none(),
        );
    }
}

/// Whether a table that was found equal is so as a whole.
pub(crate) fn is_whole(extent: Extent, condition: &Option<String>) -> bool {
    condition.is_none() && !matches!(extent, Extent::Sample { .. })
}

/// Records what was found out about the table that is the `at`th of a verification.
pub(crate) fn record_table(pipeline: &str, (at, table): (usize, &TableReport), whole: bool) {
    let add = |name: &'static str, count: u64| {
        counter!(name, metric::PIPELINE => pipeline.to_owned()).increment(count);
    };
    let verdict = [
        (metric::PIPELINE, pipeline.to_owned()),
        (metric::VERDICT, table.verdict.as_str().to_owned()),
    ];
    counter!(metric::VERIFIED_TABLES.name, &verdict).increment(1);
    add(metric::VERIFIED_ROWS.name, table.source_rows);
    add(metric::DIFFERING_ROWS.name, table.differing);
    add(metric::UNSETTLED_KEYS.name, table.unsettled);
    let repaired = table.repair.as_ref().filter(|repaired| !repaired.planned);
    add(metric::REPAIRED_ROWS.name, repaired.map_or(0, Repaired::rows));
    let compared = !matches!(table.verdict, Verdict::NotCompared | Verdict::Failed);
    if !compared {
        return;
    }
    let micros = u64::try_from(table.ended_at - table.started_at).unwrap_or(0);
    histogram!(metric::VERIFY_DURATION.name, metric::PIPELINE => pipeline.to_owned())
        .record(Duration::from_micros(micros));
    if at < LABELLED {
        of_a_table(pipeline, table, whole);
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers to be looked at")]
fn of_a_table(pipeline: &str, table: &TableReport, whole: bool) {
    let labels =
        [(metric::PIPELINE, pipeline.to_owned()), (metric::TABLE, table.table.to_string())];
    let set = |name: &'static str, value: f64| gauge!(name, &labels).set(value);
    set(metric::TABLE_DIFFERING.name, table.differing as f64);
    set(metric::TABLE_UNSETTLED.name, table.unsettled as f64);
    if whole && table.verdict == Verdict::Equal {
        set(metric::LAST_EQUAL.name, table.ended_at as f64 / 1e6);
    }
}
