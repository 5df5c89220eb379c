//! Real captures with the expected decode, and everything that is not a capture.

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int32Type};
use arrow_array::{Array, ArrayRef};
use proptest::prelude::*;
use rowtide_core::{Column, Identity, TableName};

use super::*;
use crate::catalog::{CatalogColumn, CatalogTable, Published};
use crate::options::{NumericWithoutScale, Unrepresentable};
use crate::source::schema_change::{Policies, View, compare};
use crate::types::{Kind, Mapping, TypeMap, TypeRow};

const BINARY: &str = include_str!("../../../tests/testdata/pgoutput-binary.hex");
const TEXT: &str = include_str!("../../../tests/testdata/pgoutput-text.hex");
const T: u32 = 16_384;
const F: u32 = 16_391;

fn messages(capture: &str) -> Vec<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let lines = capture.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.as_bytes().chunks(2).map(byte).collect()).collect()
}

fn column(name: &str, kind: &Kind, native_type: &str, number: i32) -> Column {
    Column { field: Arc::new(kind.field(name)), native_type: native_type.into(), number }
}

fn tables() -> Vec<Arc<TableSchema>> {
    let decimal = Kind::Decimal { precision: 8, scale: 2 };
    let t = vec![
        column("id", &Kind::Int32, "integer", 1),
        column("v", &Kind::Text, "text", 2),
        column("big", &Kind::Text, "text", 3),
        column("d", &decimal, "numeric(8,2)", 4),
    ];
    let f = vec![column("a", &Kind::Int32, "integer", 1), column("b", &Kind::Text, "text", 2)];
    let id = |id: u32, name: &str| (u64::from(id), TableName::new("public", name));
    vec![
        Arc::new(TableSchema::new(id(T, "t"), 1, t, vec![0], Identity::Key)),
        Arc::new(TableSchema::new(id(F, "f"), 1, f, vec![], Identity::FullRow)),
    ]
}

/// What the catalog said when the captures were made.
fn view(relation: &Relation) -> View {
    let row = |name: &str| TypeRow {
        class: b'b',
        name: name.into(),
        base_modifier: -1,
        ..TypeRow::default()
    };
    let types = [(23, row("int4")), (25, row("text")), (1700, row("numeric"))];
    let printed = relation.columns.iter().map(|column| match column.type_oid {
        23 => "integer".to_owned(),
        25 => "text".to_owned(),
        _ => "numeric(8,2)".to_owned(),
    });
    let columns = relation.columns.iter().zip(1..).map(|(column, number)| CatalogColumn {
        number,
        name: column.name.clone(),
        type_oid: column.type_oid,
        modifier: column.type_modifier,
        printed: String::new(),
        dropped: false,
        generated: false,
        stored: false,
        identity: false,
        has_default: column.name == "n",
        not_null: false,
        missing: (column.name == "n").then(|| "7".to_owned()),
    });
    let catalog = CatalogTable {
        oid: relation.id,
        name: TableName::new("public", relation.name.as_str()),
        kind: b'r',
        persistence: b'p',
        is_partition: false,
        replica_identity: relation.identity,
        heap: true,
        primary_key: vec![],
        identity_index: vec![],
        leaf_identities: String::new(),
        estimated_rows: None,
        storage: None,
        columns: columns.collect(),
        published: Published::default(),
    };
    View {
        catalog: Some(catalog),
        types: TypeMap { rows: types.into_iter().collect() },
        printed: printed.collect(),
    }
}

const MAPPING: Mapping = Mapping { numeric: NumericWithoutScale::Text, native: false };
static POLICIES: Policies = Policies {
    mapping: MAPPING,
    values: ValuePolicies { default: Unrepresentable::Fail, rules: Vec::new() },
};

fn show(array: &ArrayRef, row: usize) -> String {
    use arrow_schema::DataType;
    if array.is_null(row) {
        return "NULL".to_owned();
    }
    match array.data_type() {
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Decimal128(_, _) => array.as_primitive::<Decimal128Type>().value_as_string(row),
        _ => match array.as_string::<i32>().value(row) {
            long if long.len() > 100 => format!("{}*{}", &long[..1], long.len()),
            short => short.to_owned(),
        },
    }
}

fn lines(segment: &Segment) -> Vec<String> {
    let mut lines = Vec::new();
    for item in &segment.items {
        match item {
            StreamItem::Changes(batch) => {
                batch.validate().unwrap();
                let runs = batch.commit_indices();
                for (row, run) in runs.into_iter().enumerate() {
                    let values = batch.rows.columns().iter().enumerate().map(|(at, column)| {
                        if batch.unchanged.is_set(row, at) {
                            "same".into()
                        } else {
                            show(column, row)
                        }
                    });
                    lines.push(format!(
                        "{} {:?} {} {}#{}",
                        batch.table.name.name,
                        batch.ops[row],
                        values.collect::<Vec<_>>().join("|"),
                        batch.commits[run as usize].commit.xid,
                        batch.ordinals[row],
                    ));
                }
            }
            StreamItem::Schema { change, .. } => match change {
                SchemaChange::AddColumn { table, column, fill } => lines.push(format!(
                    "{} add {} fill {}",
                    table.name.name,
                    table.columns[*column].name(),
                    fill.as_ref().map_or("NULL".into(), |fill| show(fill, 0))
                )),
                other => lines.push(format!("{other:?}")),
            },
            StreamItem::Truncate { tables, commit, ordinal } => {
                for table in tables {
                    lines.push(format!("{} truncate {}#{ordinal}", table.name.name, commit.xid));
                }
            }
        }
    }
    lines
}

fn step(decoder: &mut Decoder, message: &[u8]) -> Result<bool> {
    match decoder.message(message)? {
        Event::Continue | Event::Stranger(_) | Event::Told(_) => Ok(false),
        Event::Committed => Ok(true),
        Event::Relation(relation) => {
            let Some(known) = decoder.schema(relation.id).cloned() else { return Ok(false) };
            let changes = compare(&known, &relation, &view(&relation), &POLICIES);
            decoder.relation(&relation, changes)?;
            Ok(false)
        }
    }
}

/// Decodes a capture; a segment is taken after each message that `cut` names.
fn decode(capture: &str, start: u64, cut: impl Fn(usize) -> bool) -> Vec<String> {
    let mut decoder = Decoder::new(tables(), start, Unrepresentable::Fail);
    let mut all = Vec::new();
    let mut at = start;
    let mut take = |decoder: &mut Decoder| {
        let whole = decoder.open().is_none();
        let segment = decoder.take().unwrap();
        all.extend(lines(&segment));
        assert_eq!(segment.watermark.is_some(), whole);
        if let Some(watermark) = segment.watermark {
            let position = watermark.checkpoint.position().0;
            assert!(position >= at, "a watermark never goes back");
            at = position;
        }
    };
    for (index, message) in messages(capture).iter().enumerate() {
        step(&mut decoder, message).unwrap();
        if cut(index) {
            take(&mut decoder);
        }
    }
    take(&mut decoder);
    all
}

const T_EXPECTED: [&str; 11] = [
    "t Insert 1|one|x*2100|1.25 730#0",
    "t Insert 2|NULL||-0.01 730#1",
    "t Update 1|uno|same|1.25 731#0",
    "t MoveOut 1|NULL|NULL|NULL 732#0",
    "t MoveIn 3|uno|same|1.25 732#1",
    "t Delete 2|NULL|NULL|NULL 733#3",
    "t truncate 734#0",
    "t Insert 9|a\tb|b|0.00 734#1",
    "t add n fill 7",
    "t Insert 10|x|y|1.00|8 736#0",
    "",
];
const F_EXPECTED: [&str; 5] = [
    "f Insert 1|é 730#3",
    "f MoveOut 1|é 733#0",
    "f MoveIn 1|z 733#1",
    "f Delete 1|z 733#2",
    "f truncate 734#0",
];

fn of<'a>(lines: &'a [String], table: &str) -> Vec<&'a str> {
    lines.iter().map(String::as_str).filter(|line| line.starts_with(table)).collect()
}

#[test]
fn captures_decode_as_expected_in_both_forms() {
    for capture in [BINARY, TEXT] {
        let lines = decode(capture, 0, |_| false);
        assert_eq!(of(&lines, "t "), T_EXPECTED[..10]);
        assert_eq!(of(&lines, "f "), F_EXPECTED);
    }
}

#[test]
fn what_is_durable_is_skipped() {
    // The start of the fourth commit record in the binary capture.
    let commits: Vec<u64> = messages(BINARY)
        .iter()
        .filter_map(|message| match Message::parse(message).unwrap() {
            Message::Begin { commit_lsn, .. } => Some(commit_lsn),
            _ => None,
        })
        .collect();
    let lines = decode(BINARY, commits[3], |_| false);
    assert_eq!(of(&lines, "t "), T_EXPECTED[5..10]);
    let lines = decode(BINARY, commits[3] + 1, |_| false);
    assert_eq!(of(&lines, "t "), T_EXPECTED[6..10]);
}

#[test]
fn a_refused_value_stops_its_table_alone() {
    for capture in [BINARY, TEXT] {
        let mut tables = tables();
        let narrow = Kind::Decimal { precision: 2, scale: 2 };
        Arc::make_mut(&mut tables[0]).columns[3] = column("d", &narrow, "numeric(2,2)", 4);
        let mut decoder = Decoder::new(tables, 0, Unrepresentable::Fail);
        for message in messages(capture) {
            if let Event::Relation(relation) = decoder.message(&message).unwrap() {
                decoder.relation(&relation, Vec::new()).unwrap();
            }
        }
        let segment = decoder.take().unwrap();
        let stopped: Vec<_> = segment
            .items
            .iter()
            .filter_map(|item| match item {
                StreamItem::Schema {
                    change: SchemaChange::Unsupported { table, reason, remedy },
                    ..
                } => Some((table.name.to_string(), reason.clone(), *remedy)),
                _ => None,
            })
            .collect();
        let [(table, reason, remedy)] = &stopped[..] else { panic!("{stopped:?}") };
        assert_eq!((table.as_str(), *remedy), ("public.t", Remedy::Operator));
        assert!(reason.contains("column d") && !reason.contains("1.25"), "{reason}");
        let lines = lines(&segment);
        assert_eq!(of(&lines, "f "), F_EXPECTED);
        // 1.25 is the first value: nothing of the table came before it.
        assert_eq!(of(&lines, "t "), Vec::<&str>::new());
    }
}

#[test]
fn a_refused_value_that_the_copy_has_in_another_form_is_left_out() {
    let mut tables = tables();
    let narrow = Kind::Decimal { precision: 2, scale: 2 };
    Arc::make_mut(&mut tables[0]).columns[3] = column("d", &narrow, "numeric(2,2)", 4);
    let id = tables[0].id;
    // A copy in place that has everything the capture tells.
    let all =
        XidSnapshot { xmin: 1 << 31, xmax: 1 << 31, xip: Vec::new(), wal_end: Offset(u64::MAX) };
    let decoder = Decoder::new(tables, 0, Unrepresentable::Fail);
    let mut decoder = decoder.in_place(vec![(id, Fence::Xids(all))]);
    for message in messages(BINARY) {
        if let Event::Relation(relation) = decoder.message(&message).unwrap() {
            decoder.relation(&relation, Vec::new()).unwrap();
        }
    }
    let segment = decoder.take().unwrap();
    let schema = |item: &&StreamItem| matches!(item, StreamItem::Schema { .. });
    assert!(segment.items.iter().find(schema).is_none(), "{:?}", segment.items);
    assert_eq!(of(&lines(&segment), "f "), F_EXPECTED);
}

proptest! {
    #[test]
    fn segments_may_end_anywhere(cuts in proptest::collection::hash_set(0_usize..32, 0..16)) {
        for capture in [BINARY, TEXT] {
            let lines = decode(capture, 0, |index| cuts.contains(&index));
            prop_assert_eq!(of(&lines, "t "), &T_EXPECTED[..10]);
            prop_assert_eq!(of(&lines, "f "), F_EXPECTED);
        }
    }

    #[test]
    fn damaged_messages_are_errors_not_panics(
        which in 0_usize..30, at in 0_usize..200, value in 0_u8.., cut in 0_usize..2000
    ) {
        let mut all = messages(BINARY);
        let message = all.get_mut(which).unwrap();
        let len = message.len();
        message[at % len] = value;
        message.truncate(len - cut % len);
        let mut decoder = Decoder::new(tables(), 0, Unrepresentable::Fail);
        for message in &all {
            if step(&mut decoder, message).is_err() {
                break;
            }
        }
        let _ = decoder.take();
    }

    #[test]
    fn noise_is_an_error_not_a_panic(message in proptest::collection::vec(0_u8.., 0..80)) {
        let mut decoder = Decoder::new(tables(), 0, Unrepresentable::Fail);
        for known in messages(TEXT).iter().take(3) {
            step(&mut decoder, known).unwrap();
        }
        let _ = step(&mut decoder, &message);
        let mut change = vec![b'U', 0, 0, 0x40, 0];
        change.extend(&message);
        let _ = step(&mut decoder, &change);
    }
}
