//! A report of made-up outcomes.

use super::{Kind, Line, Machine, Outcome, Section, Series, markdown, write};
use crate::rounds::Spread;
use crate::stopwatch::Taken;
use crate::targets;

fn machine() -> Machine {
    Machine {
        commit: "abc".to_owned(),
        date: "2026-01-02".to_owned(),
        cores: 2,
        processor: "a processor".to_owned(),
        postgres: "15.1".to_owned(),
        duckdb: "v1".to_owned(),
        command: "cargo xtask bench".to_owned(),
        fsync: false,
        smoke: false,
    }
}

fn sections() -> Vec<Section> {
    let taken = Taken { wall: 2.0, cpu: 1.5, server_cpu: 0.5, peak_bytes: 300 << 20 };
    let spread = Spread { fastest: 1.0, slowest: 4.0 };
    let copy = Outcome {
        lines: vec![
            Line::said("table", "1 | 2 rows"),
            Line::of("fast enough", 1_234_567.0, "rows/s").taken(taken).spread(spread).ratio(
                "the limit",
                0.9,
                Some(targets::W1_LIMIT),
            ),
            Line::of("too slow", 10.0, "rows/s").ratio("the limit", 0.8, Some(targets::W1_LIMIT)),
        ],
        series: vec![Series {
            name: "copy-memory".to_owned(),
            x_unit: "s",
            y_unit: "MiB",
            points: vec![(0.0, 1.0), (1.0, 2.0)],
            kind: Kind::Line,
        }],
    };
    let idle = Line::of("idle", 0.75, "% of a core").target(targets::IDLE_DUCKDB);
    let idle = Outcome { lines: vec![idle], ..Outcome::default() };
    vec![
        Section { name: "copy", title: "W1: copying", outcome: copy },
        Section { name: "idle", title: "Idle", outcome: idle },
    ]
}

#[test]
fn every_target_is_listed_as_met_missed_or_not_measured() {
    let page = markdown::page(&machine(), &sections(), &[]);
    for target in targets::ALL {
        let start = format!("| {} | {} | ", target.workload, target.to);
        let stands = |line: &&str| line.starts_with(&start) && line.contains(target.what);
        assert!(page.lines().any(|line| stands(&line)), "{target:?}: {page}");
    }
    let lines = |word: &str| page.lines().filter(|line| line.ends_with(word)).collect::<Vec<_>>();
    let met =
        "| W1 | DuckDB | ≥ 0.85 of the limit of two shared cores | 0.90 | fast enough | met |";
    assert_eq!(lines("| met |"), [met]);
    let missed = lines("| **missed** |");
    assert_eq!(missed.len(), 2, "{missed:?}");
    assert!(missed[0].contains("| 0.80 | too slow |") && missed[1].contains("| 0.75 | idle |"));
    // The rest of them.
    assert_eq!(lines("| not measured |").len(), targets::ALL.len() - 2);
}

#[test]
fn figures_stand_in_their_columns() {
    let page = markdown::page(&machine(), &sections(), &["copy-memory.svg".to_owned()]);
    let row = "| fast enough | 1,234,567 rows/s | 2.00 (1.00–4.00) | 1.50 | 0.50 | 300 \
               | 0.90 × the limit |  |";
    assert!(page.lines().any(|line| line == row), "{page}");
    assert!(page.contains("| table |  |  |  |  |  |  | 1 \\| 2 rows |"), "{page}");
    assert!(page.contains("![copy memory](copy-memory.svg)"), "{page}");
    assert!(page.contains("commit abc. 2 cores (a processor)"), "{page}");
    assert!(!page.contains("smoke"), "{page}");
    let smoke = markdown::page(&Machine { smoke: true, ..machine() }, &[], &[]);
    assert!(smoke.contains("its figures mean nothing"), "{smoke}");
}

#[test]
fn numbers_keep_three_digits_that_matter() {
    let shown = [0.0, 0.123, 12.34, 123.4, 9_999.4, 12_345.0, 1_234_567.8, -12_345.0];
    let shown: Vec<String> = shown.into_iter().map(markdown::number).collect();
    let wanted = ["0.00", "0.12", "12.3", "123", "9999", "12,345", "1,234,568", "-12,345"];
    assert_eq!(shown, wanted);
}

#[test]
fn a_report_is_written_with_its_pictures() {
    let directory = tempfile::tempdir().unwrap();
    let page = write(directory.path(), &machine(), &sections()).unwrap();
    assert_eq!(page, directory.path().join("results.md"));
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    assert!(read("copy-memory.svg").starts_with("<svg"));
    let all: serde_json::Value = serde_json::from_str(&read("results.json")).unwrap();
    assert_eq!(all["machine"]["commit"], "abc");
    assert_eq!(all["measurements"][0]["outcome"]["lines"][1]["ratio"]["value"], 0.9);
    assert_eq!(all["measurements"][0]["outcome"]["lines"][1]["taken"]["wall"], 2.0);
}
