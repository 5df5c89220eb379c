//! What is shown of a report, and what is not.

use rowtide_core::{Checkpoint, Offset, TableName};

use super::{ColumnGap, Report, Side, TableReport, Trouble, csv, html, sentence, shown, summary};
use crate::compare::{ColumnDifference, Difference, Kind, Nature, Shown};
use crate::report::Disagreement;
use crate::{Extent, Verdict};

fn table(name: &str, verdict: Verdict) -> TableReport {
    TableReport {
        table: TableName::new("public", name),
        target: TableName::new("public", name),
        verdict,
        position: None,
        as_of: None,
        columns: Vec::new(),
        mark: None,
        source_rows: 1,
        destination_rows: 1,
        differing: 0,
        at_least: false,
        unsettled: 0,
        rounds: 0,
        differences: Vec::new(),
        note: None,
        trouble: None,
        started_at: 0,
        ended_at: 1,
        repair: None,
        disagreement: Disagreement::default(),
    }
}

fn report(tables: Vec<TableReport>) -> Report {
    Report {
        pipeline: "p".into(),
        extent: Extent::Full,
        condition: None,
        key_range: None,
        started_at: 0,
        ended_at: 1,
        tables,
    }
}

fn differing() -> TableReport {
    let column = ColumnDifference {
        column: "<b>".into(),
        nature: Nature::Value,
        source: Some("=1+1, \"x\"".into()),
        destination: Some("-5".into()),
    };
    let difference = Difference {
        row: "00ff".into(),
        kind: Kind::Changed,
        key: vec![Shown { column: "id".into(), value: Some("<script>".into()) }],
        at_source: 1,
        at_destination: 1,
        columns: vec![column],
    };
    TableReport { differing: 1, differences: vec![difference], ..table("t", Verdict::Differs) }
}

#[test]
fn values_cannot_break_out_of_the_html() {
    let page = html(&report(vec![differing()]), "begun <now>");
    assert!(page.contains("id=&lt;script&gt;") && page.contains("&lt;b&gt;"), "{page}");
    assert!(!page.contains("<script>") && !page.contains("<now>"), "{page}");
}

#[test]
fn values_cannot_become_formulas_in_a_spreadsheet() {
    let text = csv(&report(vec![differing(), table("u", Verdict::Equal)]));
    let lines: Vec<&str> = text.lines().collect();
    let expected =
        "public.t,differs,00ff,id=<script>,changed,1,1,<b>,value differs,\"'=1+1, \"\"x\"\"\",-5";
    assert_eq!(lines[1], expected);
    assert_eq!(lines[2], "public.u,equal,,,,,,,,,");
    let columns = lines[0].split(',').count();
    assert_eq!(lines[2].split(',').count(), columns);
}

#[test]
fn null_empty_and_blanks_stay_apart() {
    let words: Vec<String> =
        [None, Some(""), Some("NULL"), Some("a "), Some("\u{1b}[2J"), Some("a b"), Some("'x'")]
            .into_iter()
            .map(shown)
            .collect();
    let expected = ["NULL", "\"\"", "\"NULL\"", "\"a \"", "\"\\u{1b}[2J\"", "a b", "'x'"];
    assert_eq!(words, expected);
    let mut one = differing();
    let column = &mut one.differences[0].columns[0];
    (column.source, column.destination) = (Some(String::new()), None);
    let told = report(vec![one]);
    assert!(csv(&told).ends_with(",value differs,\"\",\n"), "{}", csv(&told));
    let page = html(&told, "");
    assert!(
        page.contains("<code>&quot;&quot;</code>") && page.contains("<code>NULL</code>"),
        "{page}"
    );
}

#[test]
fn the_exit_code_tells_the_worst() {
    let equal = || table("e", Verdict::Equal);
    assert_eq!(report(vec![equal()]).exit_code(), 0);
    assert_eq!(report(vec![equal(), differing()]).exit_code(), 1);
    assert_eq!(report(vec![table("u", Verdict::Unsettled)]).exit_code(), 1);
    let trouble = Trouble::from(&rowtide_core::Error::new(
        rowtide_core::ErrorKind::Access,
        "row security applies",
    ));
    let failed = TableReport { trouble: Some(trouble), ..table("f", Verdict::Failed) };
    assert!(sentence(&failed).contains("row security applies"));
    assert_eq!(report(vec![differing(), failed]).exit_code(), 3);
}

#[test]
fn verdicts_are_told_in_words() {
    assert_eq!(sentence(&differing()), "1 row differs");
    let least = TableReport { differing: 12, at_least: true, unsettled: 2, ..differing() };
    assert_eq!(sentence(&least), "at least 12 rows differ, 2 not settled");
    let hot = TableReport { unsettled: 2, ..table("h", Verdict::Unsettled) };
    assert_eq!(sentence(&hot), "could not settle: 2 hot keys");
    let all = report(vec![differing(), hot, table("e", Verdict::Equal)]);
    assert_eq!(summary(&all), "3 tables: 1 equal, 1 different, 1 not settled");
}

#[test]
fn a_report_survives_its_way_to_the_client() {
    let sent = report(vec![differing()]);
    let text = serde_json::to_string(&sent).unwrap();
    let read: Report = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
}

#[test]
fn a_column_of_one_side_is_told_in_every_form() {
    let gap = |column: &str, only_at| ColumnGap { column: column.into(), only_at };
    let extra = TableReport {
        columns: vec![gap("x,<i>", Side::Destination)],
        position: Some(Checkpoint::single("p".into(), Offset(0x12_3456))),
        ..table("t", Verdict::Differs)
    };
    let said = "the destination has a column `x,<i>` that the source does not have; \
        equal in the others as of 0/123456";
    assert_eq!(sentence(&extra), said);
    let lacking =
        TableReport { columns: vec![gap("y", Side::Source)], ..table("u", Verdict::Differs) };
    let said = "the source has a column `y` that the destination does not have; \
        its rows were not compared";
    assert_eq!(sentence(&lacking), said);
    let both = TableReport { differing: 2, ..extra.clone() };
    assert!(sentence(&both).starts_with("2 rows differ as of 0/123456; the destination has"));
    let told = report(vec![extra, lacking]);
    assert_eq!(told.exit_code(), 1);
    let text = csv(&told);
    let lines: Vec<&str> = text.lines().collect();
    let expected = "public.t,differs,,,extra column,,,\"x,<i>\",only at the destination,,";
    assert_eq!(lines[1], expected);
    assert_eq!(lines[2], "public.u,differs,,,missing column,,,y,only at the source,,");
    let page = html(&told, "");
    assert!(page.contains("has a column `x,&lt;i&gt;` that"), "{page}");
    let json = serde_json::to_value(&told).unwrap();
    assert_eq!(json["tables"][0]["columns"][0]["only_at"], "destination");
}
