//! The metrics of Rowtide: their names, units and labels, in one place.
//!
//! Who records one takes its name from here, who serves them takes their descriptions, and the
//! page of docs/metrics.md is printed from the same table. A name, its unit and its labels are a
//! promise to dashboards and alerts: they are added to, and not changed.
//!
//! Labels hold the pipeline's name, a table's name, or one of a few fixed words; never a value, a
//! key, or an error's text.

/// What is measured, and how it is to be read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Its name, which ends with its unit; that of a counter with `_total` behind it.
    pub name: &'static str,
    /// How its values go on.
    pub kind: Kind,
    /// What it counts or measures in.
    pub unit: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells: whole sentences.
    pub about: &'static str,
}

/// How the values of a metric go on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// It only grows, from 0 at the start of the process.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Single measurements, counted in buckets up to these.
    Histogram(&'static [f64]),
}

impl Kind {
    /// The kind as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// The label that holds the pipeline's name.
pub const PIPELINE: &str = "pipeline";
/// The label that holds a table's name, as it is called at the source.
pub const TABLE: &str = "table";
/// The label that holds how far a table has come ([`Phase`](crate::Phase)).
pub const STATE: &str = "state";
/// The label that holds an error's kind ([`ErrorKind`](crate::ErrorKind)).
pub const KIND: &str = "kind";
/// The label that holds what a verification found.
pub const VERDICT: &str = "verdict";

const OF_A_PIPELINE: &[&str] = &[PIPELINE];
const OF_A_TABLE: &[&str] = &[PIPELINE, TABLE];

/// From a millisecond to a minute.
const SHORT: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// From a tenth of a second to an hour.
const LONG: &[f64] = &[0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];

impl Metric {
    const fn counter(
        (name, unit): (&'static str, &'static str),
        labels: &'static [&'static str],
        about: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Counter, unit, labels, about }
    }

    const fn gauge(
        (name, unit): (&'static str, &'static str),
        labels: &'static [&'static str],
        about: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Gauge, unit, labels, about }
    }

    const fn seconds(name: &'static str, buckets: &'static [f64], about: &'static str) -> Self {
        let kind = Kind::Histogram(buckets);
        Self { name, kind, unit: "seconds", labels: OF_A_PIPELINE, about }
    }
}

/// Changes applied.
pub const CHANGES: Metric = Metric::counter(
    ("rowtide_changes_total", "changes"),
    OF_A_PIPELINE,
    "Changes of rows that are durable in the destination; what a copy brought is not among them.",
);

/// Bytes of those changes.
pub const CHANGE_BYTES: Metric = Metric::counter(
    ("rowtide_change_bytes_total", "bytes"),
    OF_A_PIPELINE,
    "Bytes of the changes of committed epochs, as they lay in memory.",
);

/// Transactions applied.
pub const TRANSACTIONS: Metric = Metric::counter(
    ("rowtide_transactions_total", "transactions"),
    OF_A_PIPELINE,
    "Transactions of the source that are durable in the destination.",
);

/// Epochs committed.
pub const EPOCHS: Metric = Metric::counter(
    ("rowtide_epochs_total", "epochs"),
    OF_A_PIPELINE,
    "Commits at the destination that moved the checkpoint, those of an idle log among them.",
);

/// How long epochs took.
pub const EPOCH_DURATION: Metric = Metric::seconds(
    "rowtide_epoch_duration_seconds",
    SHORT,
    "How long an epoch took, from the arrival of its first part until it was durable.",
);

/// How late epochs were.
pub const DELAY: Metric = Metric::seconds(
    "rowtide_delay_seconds",
    SHORT,
    "How late an epoch was: from the commit of its oldest transaction at the source until it was \
     durable. It compares the clocks of two machines.",
);

/// How far behind, as time.
pub const LAG_SECONDS: Metric = Metric::gauge(
    ("rowtide_lag_seconds", "seconds"),
    OF_A_PIPELINE,
    "For how long at most the destination has been behind: 0 while it holds all that is known of \
     the log. It grows while the source cannot be reached.",
);

/// How far behind, as bytes.
pub const LAG_BYTES: Metric = Metric::gauge(
    ("rowtide_lag_bytes", "bytes"),
    OF_A_PIPELINE,
    "Bytes of the source's log, up to its end as last heard of, that are not durable here yet.",
);

/// When the newest applied transaction committed.
pub const LAST_COMMIT: Metric = Metric::gauge(
    ("rowtide_last_commit_timestamp_seconds", "seconds"),
    OF_A_PIPELINE,
    "When the newest transaction that was applied in this run committed at the source, as seconds \
     since 1970 UTC.",
);

/// Bytes kept aside.
pub const SPOOLED: Metric = Metric::gauge(
    ("rowtide_spooled_bytes", "bytes"),
    OF_A_PIPELINE,
    "Bytes of changes that are kept aside for tables which are still being copied.",
);

/// Rows copied.
pub const COPIED_ROWS: Metric = Metric::counter(
    ("rowtide_copied_rows_total", "rows"),
    OF_A_PIPELINE,
    "Rows read by copies; a copy that starts again counts again.",
);

/// Bytes copied.
pub const COPIED_BYTES: Metric = Metric::counter(
    ("rowtide_copied_bytes_total", "bytes"),
    OF_A_PIPELINE,
    "Bytes read by copies, as they came over the wire.",
);

/// How many tables are in which state.
pub const TABLES: Metric = Metric::gauge(
    ("rowtide_tables", "tables"),
    &[PIPELINE, STATE],
    "Tables by how far they have come: `pending`, `copying`, `streaming`, `loaded`, `skipped` or \
     `stopped`. A stopped table needs somebody.",
);

/// Attempts after the first.
pub const RETRIES: Metric = Metric::counter(
    ("rowtide_retries_total", "retries"),
    OF_A_PIPELINE,
    "How often the pipeline, or the copy of a table, was tried again after an error that may pass, \
     such as a lost connection.",
);

/// Errors by kind.
pub const ERRORS: Metric = Metric::counter(
    ("rowtide_errors_total", "errors"),
    &[PIPELINE, KIND],
    "Errors that ended an attempt at the pipeline, or at the copy of a table: `config`, `access`, \
     `unavailable`, `position_lost`, `schema_drift`, `data`, `fenced` or `internal`.",
);

/// Tables verified.
pub const VERIFIED_TABLES: Metric = Metric::counter(
    ("rowtide_verify_tables_total", "tables"),
    &[PIPELINE, VERDICT],
    "Verdicts on tables: `equal`, `differs`, `unsettled`, `not_compared` or `failed`.",
);

/// Rows compared.
pub const VERIFIED_ROWS: Metric = Metric::counter(
    ("rowtide_verify_rows_total", "rows"),
    OF_A_PIPELINE,
    "Rows of the source that were compared.",
);

/// Rows that differ.
pub const DIFFERING_ROWS: Metric = Metric::counter(
    ("rowtide_verify_differing_rows_total", "rows"),
    OF_A_PIPELINE,
    "Rows that were proved to differ; with a repair, those that are left.",
);

/// Rows made right.
pub const REPAIRED_ROWS: Metric = Metric::counter(
    ("rowtide_verify_repaired_rows_total", "rows"),
    OF_A_PIPELINE,
    "Rows that a repair made right.",
);

/// Keys that could not be settled.
pub const UNSETTLED_KEYS: Metric = Metric::counter(
    ("rowtide_verify_unsettled_keys_total", "keys"),
    OF_A_PIPELINE,
    "Hot keys, which kept changing until the verification ended.",
);

/// How long a table's verification took.
pub const VERIFY_DURATION: Metric = Metric::seconds(
    "rowtide_verify_duration_seconds",
    LONG,
    "How long a table took to come to its verdict.",
);

/// Rows of a table that differ.
pub const TABLE_DIFFERING: Metric = Metric::gauge(
    ("rowtide_verify_table_differing_rows", "rows"),
    OF_A_TABLE,
    "Rows that the last verification of the table left different.",
);

/// Keys of a table that could not be settled.
pub const TABLE_UNSETTLED: Metric = Metric::gauge(
    ("rowtide_verify_table_unsettled_keys", "keys"),
    OF_A_TABLE,
    "Hot keys that the last verification of the table could not settle.",
);

/// When a table was last found equal.
pub const LAST_EQUAL: Metric = Metric::gauge(
    ("rowtide_verify_last_equal_timestamp_seconds", "seconds"),
    OF_A_TABLE,
    "When a verification of the whole table last found both sides equal, as seconds since 1970 \
     UTC. `time() - rowtide_verify_last_equal_timestamp_seconds` is how long ago that is.",
);

/// Every metric, in the order of the page about them.
pub const ALL: &[Metric] = &[
    CHANGES,
    CHANGE_BYTES,
    TRANSACTIONS,
    EPOCHS,
    EPOCH_DURATION,
    DELAY,
    LAG_SECONDS,
    LAG_BYTES,
    LAST_COMMIT,
    SPOOLED,
    COPIED_ROWS,
    COPIED_BYTES,
    TABLES,
    RETRIES,
    ERRORS,
    VERIFIED_TABLES,
    VERIFIED_ROWS,
    DIFFERING_ROWS,
    REPAIRED_ROWS,
    UNSETTLED_KEYS,
    VERIFY_DURATION,
    TABLE_DIFFERING,
    TABLE_UNSETTLED,
    LAST_EQUAL,
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_say_their_unit() {
        let names: HashSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        let snake = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        for Metric { name, kind, unit, labels, .. } in ALL {
            assert!(snake(name) && name.starts_with("rowtide_"), "{name}");
            let total = name.strip_suffix("_total");
            assert_eq!(total.is_some(), *kind == Kind::Counter, "{name}");
            assert!(total.unwrap_or(name).ends_with(&format!("_{unit}")), "{name} in {unit}");
            assert!(labels.contains(&PIPELINE) && labels.iter().all(|label| snake(label)));
        }
    }

    #[test]
    fn each_is_described_in_whole_sentences() {
        for Metric { name, about, kind, .. } in ALL {
            assert!(about.starts_with(char::is_uppercase) && about.len() > 20, "{name}: {about}");
            assert!(about.ends_with('.'), "{name}: {about}");
            if let Kind::Histogram(buckets) = kind {
                assert!(buckets.is_sorted() && !buckets.is_empty(), "{name}");
            }
        }
    }
}
