//! The reference page of the metrics.

use std::fmt::Write as _;

use rowtide_core::metric::{ALL, Kind, Metric};

const HEAD: &str = include_str!("page.md");

/// The page in Markdown.
pub(crate) fn reference() -> String {
    let mut out = HEAD.to_owned();
    let of_verify = |metric: &&Metric| metric.name.starts_with("rowtide_verify_");
    let (verify, run): (Vec<_>, Vec<_>) = ALL.iter().partition(of_verify);
    table(&mut out, "Of a running pipeline", &run);
    table(&mut out, "Of verifications", &verify);
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn table(out: &mut String, title: &str, metrics: &[&Metric]) {
    let _ = writeln!(out, "## {title}\n\n| metric | kind | labels | what it tells |");
    out.push_str("|---|---|---|---|\n");
    for metric in metrics {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let buckets = match metric.kind {
            Kind::Histogram(buckets) => {
                let buckets: Vec<_> = buckets.iter().map(ToString::to_string).collect();
                format!(" Buckets up to {} s.", buckets.join(", "))
            }
            Kind::Counter | Kind::Gauge => String::new(),
        };
        let Metric { name, kind, about, .. } = metric;
        let (kind, labels) = (kind.as_str(), labels.join(", "));
        let _ = writeln!(out, "| `{name}` | {kind} | {labels} | {about}{buckets} |");
    }
    out.push('\n');
}
