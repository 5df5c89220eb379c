//! The report as a page of Markdown.

use super::{Figure, Line, Machine, Section};
use crate::rounds::Spread;
use crate::targets::{self, Bound};

const SMOKE: &str = "\n\n**A smoke run: its sizes are tiny, and its figures mean nothing.**";

/// The whole page.
pub(crate) fn page(machine: &Machine, sections: &[Section], plots: &[String]) -> String {
    let mut page = format!(
        "# Measurements\n\nWritten by `{}` on {}, commit {}. {} cores ({}), shared by the servers \
         and the program; PostgreSQL {} ({}), DuckDB {}. Every result was compared with its source row \
         by row before its figure was taken down; the limits' in the first round, since they do \
         the same in each. Times of different runs cannot be compared: the ratios can.{}\n\n\
         ## Targets\n\n",
        machine.command,
        machine.date,
        machine.commit,
        machine.cores,
        machine.processor,
        machine.postgres,
        if machine.fsync { "waiting for the disk" } else { "not waiting for the disk" },
        machine.duckdb,
        if machine.smoke { SMOKE } else { "" }
    );
    page.push_str(&judgement(sections));
    for section in sections {
        page.push_str(&format!("\n## {}\n\n", section.title));
        page.push_str(&table(&section.outcome.lines));
    }
    if !plots.is_empty() {
        page.push_str("\n## Plots\n");
    }
    for plot in plots {
        let name = plot.trim_end_matches(".svg").replace('-', " ");
        page.push_str(&format!("\n![{name}]({plot})\n"));
    }
    page
}

/// Every target, with what was measured.
fn judgement(sections: &[Section]) -> String {
    let lines = || sections.iter().flat_map(|section| &section.outcome.lines);
    let mut text = row(["", "into", "target", "measured", "of", ""].map(str::to_owned));
    text.push_str("|---|---|---|--:|---|---|\n");
    for target in targets::ALL {
        let bound = match target.bound {
            Bound::AtLeast(bound) => format!("≥ {bound}"),
            Bound::AtMost(bound) => format!("≤ {bound}"),
        };
        let demand =
            [target.workload.to_owned(), target.to.to_string(), format!("{bound} {}", target.what)];
        let found = |line: &Line| {
            let value = line.judged().find(|(known, _)| *known == target)?.1;
            let word = if target.is_met(value) { "met" } else { "**missed**" };
            Some([number(value), line.what.clone(), word.to_owned()])
        };
        let mut found: Vec<[String; 3]> = lines().filter_map(found).collect();
        if found.is_empty() {
            found.push(["", "", "not measured"].map(str::to_owned));
        }
        found.into_iter().for_each(|found| {
            let [workload, into, what] = demand.clone();
            let [value, of, word] = found;
            text.push_str(&row([workload, into, what, value, of, word]));
        });
    }
    text
}

/// A row of a table.
fn row<const COLUMNS: usize>(cells: [String; COLUMNS]) -> String {
    let cells = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
    format!("| {} |\n", cells.join(" | "))
}

fn table(lines: &[Line]) -> String {
    let head = ["what", "figure", "wall s", "CPU s", "server CPU s", "peak MiB", "ratio", ""];
    let mut text = row(head.map(str::to_owned));
    text.push_str("|---|--:|--:|--:|--:|--:|---|---|\n");
    for line in lines {
        let figure = line.figure.map(shown).unwrap_or_default();
        let [wall, cpu, server, peak] = match line.taken {
            None => Default::default(),
            Some(taken) => [
                wall(taken.wall, line.spread),
                measured(taken.cpu),
                measured(taken.server_cpu),
                match taken.peak_bytes >> 20 {
                    0 => String::new(),
                    mebibytes => mebibytes.to_string(),
                },
            ],
        };
        let ratio = line.ratio.map(|ratio| format!("{} × {}", number(ratio.value), ratio.to));
        let (what, note) = (line.what.clone(), line.note.clone());
        text.push_str(&row([
            what,
            figure,
            wall,
            cpu,
            server,
            peak,
            ratio.unwrap_or_default(),
            note,
        ]));
    }
    text
}

fn wall(median: f64, spread: Option<Spread>) -> String {
    match spread {
        Some(spread) if spread.slowest > spread.fastest => {
            format!("{median:.2} ({:.2}–{:.2})", spread.fastest, spread.slowest)
        }
        _ => format!("{median:.2}"),
    }
}

/// Seconds, empty where none were measured.
fn measured(seconds: f64) -> String {
    if seconds > 0.0 { format!("{seconds:.2}") } else { String::new() }
}

fn shown(figure: Figure) -> String {
    format!("{} {}", number(figure.value), figure.unit).trim_end().to_owned()
}

/// Three digits that matter, and groups of three in what is large.
pub(crate) fn number(value: f64) -> String {
    let plain = match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    let (sign, digits) = plain.strip_prefix('-').map_or(("", plain.as_str()), |rest| ("-", rest));
    if digits.contains('.') || digits.len() < 5 {
        return plain;
    }
    let mut grouped = String::from(sign);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
