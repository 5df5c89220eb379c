//! A table's verdict in a sentence, and all of them in one.

use super::{Report, TableReport};
use crate::Verdict;

/// The verdict with what belongs to it: `equal as of 0/1A2B3C`, `3 rows differ`.
pub fn sentence(table: &TableReport) -> String {
    let rows = |count: u64, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    };
    let least = if table.at_least { "at least " } else { "" };
    let mut said = match table.verdict {
        Verdict::Equal => match &table.position {
            Some(position) => format!("equal as of {}", position.position()),
            None => "equal".to_owned(),
        },
        Verdict::Differs => {
            format!("{least}{}", rows(table.differing, "row differs", "rows differ"))
        }
        Verdict::Unsettled => {
            format!("could not settle: {least}{}", rows(table.unsettled, "hot key", "hot keys"))
        }
        Verdict::NotCompared => "not compared".to_owned(),
        Verdict::Failed => match &table.trouble {
            Some(trouble) => format!("could not be verified: {}", trouble.message),
            None => "could not be verified".to_owned(),
        },
    };
    if table.verdict == Verdict::Differs && table.unsettled > 0 {
        said.push_str(&format!(", {} not settled", table.unsettled));
    }
    if let Some(repaired) = &table.repair {
        let done = if repaired.planned { "to be repaired" } else { "repaired" };
        let rows = rows(repaired.rows(), "row", "rows");
        said.push_str(&format!("; {rows} {done}"));
    }
    if let Some(note) = &table.note {
        said.push_str(&format!(" ({note})"));
    }
    said
}

/// A value among other words: in quotes where it could be taken for something else, or is seen badly.
pub fn shown(value: Option<&str>) -> String {
    let Some(text) = value else { return "NULL".to_owned() };
    let is_plain = !text.is_empty()
        && text != "NULL"
        && text.trim() == text
        && !text.starts_with('"')
        && !text.contains(char::is_control);
    if is_plain { text.to_owned() } else { format!("{text:?}") }
}

/// All tables in one sentence.
pub fn summary(report: &Report) -> String {
    let count =
        |verdict: Verdict| report.tables.iter().filter(|table| table.verdict == verdict).count();
    let all = [
        (count(Verdict::Equal), "equal"),
        (count(Verdict::Differs), "different"),
        (count(Verdict::Unsettled), "not settled"),
        (count(Verdict::NotCompared), "not compared"),
        (count(Verdict::Failed), "could not be verified"),
    ];
    let told = all.iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> = told.map(|(count, what)| format!("{count} {what}")).collect();
    match report.tables.len() {
        0 => "no table to verify".to_owned(),
        1 => format!("1 table: {}", told.join(", ")),
        many => format!("{many} tables: {}", told.join(", ")),
    }
}
