//! The report as one HTML file that needs nothing else.

use std::fmt::Write as _;

use super::csv::key_text;
use super::{Report, TableReport, sentence, shown, summary};
use crate::Verdict;
use crate::compare::Difference;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;\
padding:0 1rem;color:#1b1f24;background:#fff}h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;\
padding:.3rem .7rem;border-bottom:1px solid #d8dee4}th{font-weight:600}td.n{text-align:right}\
code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}.equal{color:#116329}.differs,.failed\
{color:#a40e26}.unsettled,.not_compared{color:#7d4e00}.quiet{color:#57606a}\
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}th,td{border-color:#30363d}\
.equal{color:#56d364}.differs,.failed{color:#ff7b72}.unsettled,.not_compared{color:#e3b341}\
.quiet{color:#8b949e}}";

/// The whole report; `when` says in words when it began.
pub fn html(report: &Report, when: &str) -> String {
    let pipeline = escaped(&report.pipeline);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{pipeline} verified</title><style>{STYLE}</style></head><body>\n\
         <h1>Pipeline {pipeline}: {}</h1>\n<p class=\"quiet\">{}</p>\n",
        escaped(&summary(report)),
        escaped(when),
    );
    if let Some(condition) = &report.condition {
        let _ = writeln!(out, "<p>Only rows where <code>{}</code></p>", escaped(condition));
    }
    out.push_str(
        "<table><thead><tr><th>Table</th><th>Rows at the source</th><th>Rows at the \
         destination</th><th>Verdict</th><th>Seconds</th></tr></thead><tbody>\n",
    );
    for table in &report.tables {
        let _ = writeln!(
            out,
            "<tr><td><code>{}</code></td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"{}\">{}</td><td class=\"n\">{:.1}</td></tr>",
            escaped(&table.table.to_string()),
            table.source_rows,
            table.destination_rows,
            table.verdict.as_str(),
            escaped(&sentence(table)),
            table.seconds(),
        );
    }
    out.push_str("</tbody></table>\n");
    let differs = |table: &&TableReport| table.verdict == Verdict::Differs && table.differing > 0;
    report.tables.iter().filter(differs).for_each(|table| rows(&mut out, table));
    out.push_str("</body></html>\n");
    out
}

fn rows(out: &mut String, table: &TableReport) {
    let _ = writeln!(
        out,
        "<h2><code>{}</code></h2>\n<p class=\"quiet\">{} of {} differing rows are listed.</p>\n\
         <table><thead><tr><th>Row</th><th>Difference</th><th>Column</th><th>How</th>\
         <th>Source</th><th>Destination</th></tr></thead><tbody>",
        escaped(&table.table.to_string()),
        table.differences.len(),
        table.differing,
    );
    for difference in &table.differences {
        row(out, difference);
    }
    out.push_str("</tbody></table>\n");
}

fn row(out: &mut String, difference: &Difference) {
    let name = match difference.key.as_slice() {
        [] => difference.row.clone(),
        key => key_text(key),
    };
    let counted = match (difference.at_source, difference.at_destination) {
        (0 | 1, 0 | 1) => String::new(),
        (ours, theirs) => format!(" ({ours} and {theirs} times)"),
    };
    let head = format!(
        "<tr><td><code>{}</code></td><td>{}{counted}</td>",
        escaped(&name),
        escaped(&difference.kind.to_string())
    );
    if difference.columns.is_empty() {
        let _ = writeln!(out, "{head}<td></td><td></td><td></td><td></td></tr>");
    }
    // Without values no key is told either; rows without a key tell no columns.
    let shows = !difference.key.is_empty();
    for column in &difference.columns {
        let value = |value: &Option<String>| match shows {
            true => escaped(&shown(value.as_deref())),
            false => String::new(),
        };
        let _ = writeln!(
            out,
            "{head}<td><code>{}</code></td><td>{}</td><td><code>{}</code></td>\
             <td><code>{}</code></td></tr>",
            escaped(&column.column),
            escaped(&column.nature.to_string()),
            value(&column.source),
            value(&column.destination),
        );
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() && c != '\n' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
