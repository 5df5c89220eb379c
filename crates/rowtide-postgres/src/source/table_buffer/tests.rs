//! What the policies make of rows of the log.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use rowtide_core::{Identity, Offset, Replaced, TableName, ValuePolicy, ValueRule};

use super::*;
use crate::protocol::pgoutput::{RelationColumn, read_tuple};
use crate::source::fuzzing::column;
use crate::source::policy::with_text_columns;
use crate::types::Kind;

const UNCHANGED: &str = "\0";

/// `(id, amount, list)`, and the texts of those that may have them.
fn buffer(identity: Identity, rules: &[(&str, ValuePolicy)]) -> TableBuffer {
    let decimal = || Kind::Decimal { precision: 5, scale: 2 };
    let list = Kind::List(Box::new(decimal()));
    let columns = vec![
        column("id", &decimal(), "numeric(5,2)", 1),
        column("amount", &decimal(), "numeric(5,2)", 2),
        column("list", &list, "numeric(5,2)[]", 3),
    ];
    let key = if identity == Identity::Key { vec![0] } else { vec![] };
    let name = TableName::new("public", "t");
    let table = Arc::new(TableSchema::new((1, name), 1, columns, key, identity));
    let rule = ValueRule {
        pattern: "public.t".parse().unwrap(),
        all: None,
        columns: rules.iter().map(|(name, policy)| ((*name).to_owned(), *policy)).collect(),
    };
    let policies = ValuePolicies { default: ValuePolicy::Fail, rules: vec![rule] };
    let table = with_text_columns(table, &policies).unwrap();
    let announced = |name: &str| RelationColumn {
        key: name == "id",
        name: name.to_owned(),
        type_oid: 1700,
        type_modifier: -1,
    };
    let relation = Relation {
        id: 1,
        schema: "public".to_owned(),
        name: "t".to_owned(),
        identity: b'd',
        columns: ["id", "amount", "list"].map(announced).to_vec(),
    };
    TableBuffer::new(table, &relation, &policies).unwrap()
}

/// A row in the form of a message.
fn tuple(values: [&str; 3]) -> (Vec<u8>, TupleCells) {
    let mut bytes = 3_u16.to_be_bytes().to_vec();
    for value in values {
        match value {
            "" => bytes.push(b'n'),
            UNCHANGED => bytes.push(b'u'),
            text => {
                bytes.push(b't');
                bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                bytes.extend(text.as_bytes());
            }
        }
    }
    let mut cells = TupleCells::default();
    read_tuple(&bytes, 0, &mut cells).unwrap();
    (bytes, cells)
}

fn append(buffer: &mut TableBuffer, (op, ordinal): (Op, u32), values: [&str; 3]) -> Appended {
    let (bytes, cells) = tuple(values);
    let commit = Commit { position: Offset(7), xid: 1, committed_at: 0 };
    let key_only = matches!(op, Op::Delete | Op::MoveOut) && buffer.schema.is_keyed();
    let image = if key_only { Image::Key } else { Image::Whole };
    let row = Tuple { bytes: &bytes, cells: &cells };
    buffer.append((op, commit, ordinal), (row, image), None).unwrap()
}

fn taken(buffer: &mut TableBuffer, changes: &[(Op, [&str; 3])]) -> ChangeBatch {
    for (ordinal, (op, values)) in (0..).zip(changes) {
        let appended = append(buffer, (*op, ordinal), *values);
        assert!(matches!(appended, Appended::Taken(_)), "{appended:?}");
    }
    let batch = buffer.take().unwrap().unwrap();
    batch.validate().unwrap();
    batch
}

fn numbers(batch: &ChangeBatch, column: usize) -> Vec<Option<i128>> {
    batch.rows.column(column).as_primitive::<Decimal128Type>().iter().collect()
}

fn told(batch: &ChangeBatch) -> Vec<(u32, Op, String)> {
    let refused = batch.exceptions.refused.iter();
    refused.map(|(row, told)| (*row, told.change, told.column.clone())).collect()
}

const QUARANTINE: [(&str, ValuePolicy); 3] = [
    ("id", ValuePolicy::Quarantine),
    ("amount", ValuePolicy::Quarantine),
    ("list", ValuePolicy::Quarantine),
];

#[test]
fn of_a_row_that_is_kept_out_the_key_is_left() {
    let mut buffer = buffer(Identity::Key, &QUARANTINE);
    let changes = [
        (Op::Insert, ["1", "2", "{3}"]),
        (Op::Insert, ["2", "2", "{3,NaN}"]),
        (Op::Update, ["3", "NaN", UNCHANGED]),
        (Op::Update, ["4", "5", "{6}"]),
    ];
    let batch = taken(&mut buffer, &changes);
    assert_eq!(batch.ops, [Op::Insert, Op::Refuse, Op::Refuse, Op::Update]);
    assert_eq!(numbers(&batch, 0), [Some(100), Some(200), Some(300), Some(400)]);
    assert_eq!(numbers(&batch, 1), [Some(200), None, None, Some(500)]);
    let lists = batch.rows.column(2).as_list::<i32>();
    assert_eq!(
        lists.iter().map(|list| list.map(|l| l.len())).collect::<Vec<_>>(),
        [Some(1), None, None, Some(1)]
    );
    assert_eq!(lists.value(3).as_primitive::<Decimal128Type>().values()[..], [600]);
    assert!(batch.unchanged.is_empty());
    assert_eq!(told(&batch), [(1, Op::Insert, "list".into()), (2, Op::Update, "amount".into())]);
    let texts: Vec<_> =
        batch.exceptions.refused.iter().map(|(_, one)| one.values.clone().unwrap()).collect();
    let first = r#"{"amount":"2","id":"2","list":"{3,NaN}"}"#;
    assert_eq!(texts, [first, r#"{"amount":"NaN","id":"3"}"#]);
    assert_eq!(batch.exceptions.refused[0].1.key.as_deref(), Some(r#"{"id":"2"}"#));
    // The next batch begins anew.
    let batch = taken(&mut buffer, &[(Op::Insert, ["8", "8", "{}"])]);
    assert!(batch.exceptions.is_empty());
}

#[test]
fn a_move_whose_new_row_is_kept_out_is_a_removal() {
    let mut buffer = buffer(Identity::Key, &QUARANTINE);
    let changes = [(Op::MoveOut, ["1", "", ""]), (Op::MoveIn, ["2", "NaN", UNCHANGED])];
    let batch = taken(&mut buffer, &changes);
    assert_eq!(batch.ops, [Op::Delete, Op::Refuse]);
    assert_eq!(numbers(&batch, 0), [Some(100), Some(200)]);
    assert_eq!(told(&batch), [(1, Op::Update, "amount".into())]);
}

#[test]
fn a_move_from_a_key_that_cannot_be_represented_is_a_new_row_if_it_is_whole() {
    let mut keyed = buffer(Identity::Key, &QUARANTINE);
    let out = (Op::MoveOut, ["NaN", "", ""]);
    let batch = taken(&mut keyed, &[out, (Op::MoveIn, ["2", "1", "{1}"])]);
    assert_eq!(batch.ops, [Op::Refuse, Op::Insert]);
    assert_eq!(numbers(&batch, 0), [None, Some(200)]);
    assert_eq!(told(&batch), [(0, Op::Delete, "id".into())]);
    let batch = taken(&mut keyed, &[out, (Op::MoveIn, ["2", "1", UNCHANGED])]);
    assert_eq!(batch.ops, [Op::Refuse, Op::Refuse]);
    assert_eq!(told(&batch), [(0, Op::Delete, "id".into()), (1, Op::Update, "list".into())]);
    assert!(batch.unchanged.is_empty());
    // Whole rows as well.
    let mut bag = buffer(Identity::FullRow, &QUARANTINE);
    let changes = [(Op::MoveOut, ["1", "NaN", ""]), (Op::MoveIn, ["1", "2", ""])];
    assert_eq!(taken(&mut bag, &changes).ops, [Op::Refuse, Op::Insert]);
}

#[test]
fn text_stands_beside_and_is_not_repeated_either() {
    let rules = [("amount", ValuePolicy::Text), ("list", ValuePolicy::Text)];
    let mut buffer = buffer(Identity::Key, &rules);
    let changes = [
        (Op::Insert, ["1", "NaN", "{1,NaN,2}"]),
        (Op::Update, ["2", UNCHANGED, "{{1},{2}}"]),
        (Op::Insert, ["3", "1", "{5}"]),
    ];
    let batch = taken(&mut buffer, &changes);
    let names: Vec<_> = batch.table.columns.iter().map(Column::name).collect();
    assert_eq!(names, ["id", "amount", "list", "amount_text", "list_text"]);
    let texts = |column: usize| -> Vec<Option<String>> {
        let texts = batch.rows.column(column).as_string::<i32>();
        texts.iter().map(|text| text.map(str::to_owned)).collect()
    };
    assert_eq!(texts(3), [Some("NaN".to_owned()), None, None]);
    assert_eq!(texts(4), [Some("{1,NaN,2}".to_owned()), Some("{{1},{2}}".to_owned()), None]);
    assert_eq!(numbers(&batch, 1), [None, None, Some(100)]);
    let lists = batch.rows.column(2).as_list::<i32>();
    assert!(lists.is_null(0) && lists.is_null(1));
    assert_eq!(lists.value(2).as_primitive::<Decimal128Type>().values()[..], [500]);
    assert!(batch.unchanged.is_set(1, 1) && batch.unchanged.is_set(1, 3));
    assert!(!batch.unchanged.is_set(1, 4));
    let counted = |as_text| Replaced { nulled: 0, as_text };
    assert_eq!(batch.exceptions.replaced, [(0, counted(2)), (1, counted(1))]);
}

#[test]
fn every_value_that_null_takes_the_place_of_is_counted() {
    let rules = [("amount", ValuePolicy::Null), ("list", ValuePolicy::Null)];
    let mut buffer = buffer(Identity::Key, &rules);
    let changes = [
        (Op::Insert, ["1", "1", "{1}"]),
        (Op::Insert, ["2", "NaN", "{NaN,2,NaN}"]),
        (Op::Insert, ["3", "", "[2:3]={1,2}"]),
    ];
    let batch = taken(&mut buffer, &changes);
    let counted = |nulled| Replaced { nulled, as_text: 0 };
    assert_eq!(batch.exceptions.replaced, [(1, counted(3)), (2, counted(1))]);
    let lists = batch.rows.column(2).as_list::<i32>();
    assert_eq!((lists.value(1).null_count(), lists.is_null(2)), (2, true));
}

#[test]
fn a_key_is_refused_under_any_policy_that_would_lose_it() {
    for policy in [ValuePolicy::Fail, ValuePolicy::Null, ValuePolicy::Text] {
        let mut buffer = buffer(Identity::Key, &[("id", policy)]);
        for id in ["NaN", ""] {
            let appended = append(&mut buffer, (Op::Insert, 0), [id, "1", ""]);
            let Appended::Refused(error) = appended else { panic!("{appended:?}") };
            assert!(error.message().contains("column id"), "{error}");
        }
        assert!(buffer.take().unwrap().is_none());
    }
}
