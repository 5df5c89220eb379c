//! A table's verdict in a sentence, and all of them in one.

use super::{ColumnGap, Report, Side, TableReport};
use crate::Verdict;

/// The verdict with what belongs to it: `equal as of 0/1A2B3C`, `3 rows differ`.
pub fn sentence(table: &TableReport) -> String {
    let rows = |count: u64, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    };
    let least = if table.at_least { "at least " } else { "" };
    let as_of = match &table.position {
        Some(position) => format!(" as of {}", position.position()),
        None => String::new(),
    };
    let mut said = match table.verdict {
        Verdict::Equal => format!("equal{as_of}"),
        Verdict::Differs if table.differing > 0 => {
            format!("{least}{}{as_of}", rows(table.differing, "row differs", "rows differ"))
        }
        Verdict::Differs => String::new(),
        Verdict::Unsettled => {
            format!("could not settle: {least}{}", rows(table.unsettled, "hot key", "hot keys"))
        }
        Verdict::NotCompared => "not compared".to_owned(),
        Verdict::Failed => match &table.trouble {
            Some(trouble) => format!("could not be verified: {}", trouble.message),
            None => "could not be verified".to_owned(),
        },
    };
    if table.verdict == Verdict::Differs {
        if table.differing > 0 && table.unsettled > 0 {
            said.push_str(&format!(", {} not settled", table.unsettled));
        }
        let columns = columns(table);
        if !columns.is_empty() && !said.is_empty() {
            said.push_str("; ");
        }
        said.push_str(&columns);
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

/// Which columns only one side has, and what that says of the others.
fn columns(table: &TableReport) -> String {
    let one = |gap: &ColumnGap| match gap.only_at {
        Side::Destination => {
            format!("the destination has a column `{}` that the source does not have", gap.column)
        }
        Side::Source => {
            format!("the source has a column `{}` that the destination does not have", gap.column)
        }
    };
    let mut said: Vec<String> = table.columns.iter().map(one).collect();
    if !said.is_empty() && table.differing == 0 {
        said.push(match &table.position {
            None => "its rows were not compared".to_owned(),
            Some(_) if table.unsettled > 0 || table.at_least => {
                format!("{} hot keys could not settle in the others", table.unsettled)
            }
            Some(position) => format!("equal in the others as of {}", position.position()),
        });
    }
    said.join("; ")
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
