//! Every type, through the copy and through the log, in binary and in text: one Arrow value.

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int32Type};
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_select::take::take_record_batch;
use rowtide_core::ErrorKind;
use rowtide_postgres::{NumericWithoutScale, Unrepresentable};

use crate::follower::{Follower, copy};
use crate::harness::{Db, attach, discover};

/// A column's type and values worth trying, as SQL expressions.
const COLUMNS: &[(&str, &[&str])] = &[
    ("bool", &["true", "false"]),
    ("int2", &["-32768", "0", "32767"]),
    ("int4", &["-2147483648", "0", "2147483647"]),
    ("int8", &["-9223372036854775808", "0", "9223372036854775807"]),
    (
        "float4",
        &["'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "1.1754944e-38", "3.4028235e38", "0.1"],
    ),
    (
        "float8",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "'-0'",
            "5e-324",
            "1.7976931348623157e308",
            "0.1",
            "random()",
            "exp(random() * 600 - 300)",
        ],
    ),
    (
        "numeric",
        &[
            "0",
            "0.00",
            "'NaN'",
            "-1.500",
            "12345678901234567890123456789012345678901234567890.5",
            "1e-100",
            "1e100",
            "10000",
            "0.0001",
            "random()::numeric * 1000000",
        ],
    ),
    ("numeric(10,2)", &["0", "-12345678.91", "99999999.99", "0.01", "1"]),
    ("numeric(38,10)", &["9999999999999999999999999999.9999999999", "-0.0000000001", "1234567.5"]),
    ("numeric(38,0)", &["99999999999999999999999999999999999999", "-1"]),
    ("numeric(50,5)", &["99999999999999999999999999999999999999999999.12345", "7"]),
    (
        "text",
        &[
            "''",
            "'NULL'",
            "'it''s'",
            "E'tab\\tline\\nback\\\\slash\\r'",
            "'é🦀'",
            "'\\N'",
            "repeat('x', 5000)",
        ],
    ),
    ("varchar(20)", &["''", "'abc'"]),
    ("char(5)", &["'a'", "'abcde'", "''"]),
    ("name", &["'a_name'"]),
    ("bytea", &["''", "'\\x00ff5c'", "decode(md5(random()::text), 'hex')", "'\\x5c4e'"]),
    ("interval", &["'1 year 2 mons -3 days 04:05:06.7'", "'0'", "'-1 mon +2 days -00:00:00.5'"]),
    (
        "date",
        &[
            "'1970-01-01'",
            "'0001-01-01'",
            "'4713-01-01 BC'",
            "'0044-03-15 BC'",
            "'infinity'",
            "'-infinity'",
            "'5874897-12-31'",
            "'2024-02-29'",
        ],
    ),
    ("time", &["'00:00'", "'24:00:00'", "'12:34:56.789012'", "'23:59:59.999999'"]),
    (
        "timestamp",
        &[
            "'1970-01-01'",
            "'4713-01-02 03:04:05.000001 BC'",
            "'infinity'",
            "'-infinity'",
            "'1999-12-31 23:59:59.5'",
            "'294246-01-01'",
        ],
    ),
    (
        "timestamptz",
        &[
            "'1970-01-01 00:00+05:30'",
            "'0044-03-15 12:00:00.25+00 BC'",
            "'infinity'",
            "'-infinity'",
            "'2038-01-19 03:14:08.123456+00'",
        ],
    ),
    ("uuid", &["'00000000-0000-0000-0000-000000000000'", "md5(random()::text)::uuid"]),
    ("json", &["'{\"a\": [1, 2.50, null], \"a\": 1}'", "'null'", "'\"\\u0000\"'", "'[]'"]),
    (
        "jsonb",
        &["'{\"b\":1,  \"a\":[1, 2.50, null]}'", "'null'", "'123456789012345678901234567890.10'"],
    ),
    ("mood", &["'sad'", "'it''s ok'"]),
    ("positive", &["1", "2147483647"]),
    ("price", &["1.25", "-0.5"]),
    ("document", &["'{\"x\":1}'"]),
    ("int4[]", &["'{}'", "'{1,NULL,-3}'", "array_fill(7, array[300])"]),
    ("text[]", &["'{}'", "array['', 'NULL', NULL, 'a,b', '{}', E'q\"\\\\', 'é', ' x ']"]),
    ("numeric[]", &["'{1.50,NaN,NULL,0.001}'"]),
    ("numeric(8,3)[]", &["'{1.5,NULL,-99999.999}'"]),
    ("bool[]", &["'{t,f,NULL}'"]),
    ("float8[]", &["'{NaN,-0,Infinity,0.1}'"]),
    ("bytea[]", &["array['\\x00'::bytea, '\\x', NULL]"]),
    ("date[]", &["'{infinity,2024-02-29,NULL}'"]),
    ("timestamptz[]", &["'{\"2024-02-29 12:00:00+00\",infinity}'"]),
    ("uuid[]", &["array[md5('x')::uuid, NULL]"]),
    ("jsonb[]", &["array['{\"a\": \"b,c\"}'::jsonb, NULL, 'null']"]),
    ("mood[]", &["'{sad,\"it''s ok\",NULL}'::text::mood[]"]),
    ("positive[]", &["'{1,2}'"]),
    ("oid", &["0", "4294967295"]),
    ("xid8", &["'0'", "'18446744073709551615'"]),
    (
        "timetz",
        &["'24:00:00-15:59:59'", "'00:00+15:59:59'", "'12:34:56.789012+05:30'", "'12:00-00:00:01'"],
    ),
    ("bit(3)", &["B'101'", "B'000'"]),
    ("bit(16)", &["B'1000000000000001'"]),
    ("\"bit\"", &["B''", "B'1'"]),
    ("varbit", &["B''", "B'1'", "B'101010101'"]),
    ("bit(9)[]", &["'{101010101,NULL}'"]),
    ("varbit[]", &["array[B'', B'10', NULL]::varbit[]"]),
    ("timetz[]", &["'{12:00+02,NULL}'"]),
    ("oid[]", &["'{1,4294967295}'"]),
    (
        "pair",
        &["row(1, 'x,\"y')", "row(null, null)", "row(-1, '')", "row(7, E' (a) \\\\ \"\"\\n')"],
    ),
    (
        "nest",
        &[
            "row(row(1, 'a'), array[row(2, null)::pair, null, row(null, '')::pair], 'sad', '{\"a\": 1}', 1.50, '\\x00ff', '-1 mon', B'101', '{1,NULL}', '12:00+01', null)",
            "row(null, '{}', null, 'null', 'NaN', '', '0', B'000', null, null, '{}')",
        ],
    ),
    (
        "nest[]",
        &[
            "array[row(row(1, '{(\"\\'), null, null, null, null, null, null, null, null, null, null)::nest, null]",
        ],
    ),
    ("held", &["row(3, 'in a domain')"]),
];

/// Types that are read as text: they force the text form.
const OPAQUE: &[(&str, &[&str])] = &[
    ("inet", &["'10.0.0.1'", "'::1/64'"]),
    ("money", &["12.34"]),
    ("int4range", &["'[1,5)'", "'empty'"]),
    ("point", &["'(1.5,-2)'"]),
    ("xml", &["'<a/>'"]),
    ("tsvector", &["'a b:1'"]),
    ("\"char\"", &["'x'", "''"]),
    ("hosted", &["row(1, '10.0.0.1')"]),
    ("inet[]", &["'{10.0.0.1,NULL}'"]),
];

const ROWS: usize = 60;

fn make(db: &Db<'_>, table: &str, columns: &[(&str, &[&str])]) {
    let list: Vec<_> =
        columns.iter().enumerate().map(|(n, (native, _))| format!("c{n} {native}")).collect();
    db.sql(&format!("create table {table} (id int primary key, {})", list.join(", ")));
}

/// One row per combination: each column cycles through its values, and NULL.
fn row(id: usize, columns: &[(&str, &[&str])]) -> String {
    let values: Vec<_> = columns
        .iter()
        .map(|(native, values)| match id % (values.len() + 1) {
            0 => "NULL".to_owned(),
            n => format!("({})::{native}", values[n - 1]),
        })
        .collect();
    format!("({id}, {})", values.join(", "))
}

/// Copied rows lie where there was room for them.
pub(crate) fn by_id(batch: &RecordBatch) -> RecordBatch {
    let ids = batch.column(0).as_primitive::<Int32Type>().values();
    let mut order: Vec<u32> = (0..).take(ids.len()).collect();
    order.sort_by_key(|row| ids[*row as usize]);
    take_record_batch(batch, &UInt32Array::from(order)).unwrap()
}

/// What the columns' own types are.
const TYPES: &str = "create type mood as enum ('sad', 'it''s ok'); \
    create domain positive as int check (value > 0); \
    create domain price as numeric(10,2); create domain document as jsonb; \
    create type pair as (a int, b text); create type hosted as (a int, i inet); \
    create type nest as (p pair, ps pair[], m mood, d document, n numeric, raw bytea, \
    i interval, b bit(3), ns int[], t timetz, ts text[]); create domain held as pair";

pub(crate) async fn copy_and_stream_agree_in_both_forms(db: &Db<'_>) {
    db.sql(TYPES);
    make(db, "plain", COLUMNS);
    let mixed: Vec<_> = COLUMNS.iter().chain(OPAQUE).copied().collect();
    make(db, "mixed", &mixed);

    let (binary, text) = (db.source("binary"), db.source("text"));
    let plain = discover(&binary, &["plain"]).await;
    let mixed_schema = discover(&text, &["mixed"]).await;
    let from_binary = attach(&binary, &plain).await;
    let from_text = attach(&text, &mixed_schema).await;

    // The second table takes the first one's rows, so that random values are the same.
    let rows: Vec<_> = (0..ROWS).map(|id| row(id, COLUMNS)).collect();
    db.sql(&format!("insert into plain values {}", rows.join(", ")));
    let opaque: Vec<_> = (0..ROWS).map(|id| row(id, OPAQUE)).collect();
    let names: Vec<_> = (0..OPAQUE.len()).map(|n| format!("o.c{n}")).collect();
    let aliases: Vec<_> = (0..OPAQUE.len()).map(|n| format!("c{n}")).collect();
    db.sql(&format!(
        "insert into mixed select plain.*, {} from plain join (values {}) o (id, {}) using (id) \
         order by id",
        names.join(", "),
        opaque.join(", "),
        aliases.join(", ")
    ));

    let mut forms: Vec<(&str, Vec<ArrayRef>)> = Vec::new();
    for (name, source, schema) in
        [("binary copy", &binary, &plain[0]), ("text copy", &text, &mixed_schema[0])]
    {
        let (_, batches) = copy(source, schema, 2).await.unwrap();
        assert_eq!(batches.len(), 1);
        forms.push((name, by_id(&batches[0]).columns().to_vec()));
    }
    for (name, source, schema, from) in [
        ("binary stream", &binary, &plain, &from_binary),
        ("text stream", &text, &mixed_schema, &from_text),
    ] {
        let mut follower = Follower::start(source, &from.checkpoint, schema).await;
        follower.catch_up(source).await;
        assert_eq!(follower.batches.len(), 1, "{name}");
        forms.push((name, follower.batches[0].rows.columns().to_vec()));
    }
    let (first, expected) = &forms[0];
    for (name, found) in &forms[1..] {
        for (n, expected) in expected.iter().enumerate() {
            let native = n.checked_sub(1).map_or("key", |n| COLUMNS[n].0);
            assert_eq!(&found[n], expected, "{native}: {name} against {first}");
            assert_eq!(found[n].len(), ROWS);
        }
    }
    // What is read as text is what the server prints under its usual settings.
    for (n, (native, _)) in OPAQUE.iter().enumerate() {
        let column = COLUMNS.len() + 1 + n;
        assert_eq!(&forms[1].1[column], &forms[3].1[column], "{native}");
        let printed = db.sql(&format!(
            "set datestyle = iso; set timezone = utc; set intervalstyle = postgres; \
             set lc_monetary = 'C'; select string_agg(coalesce(c{}::text, '-'), ';' order by id) \
             from mixed",
            COLUMNS.len() + n
        ));
        let values = forms[1].1[column].as_string::<i32>();
        let read: Vec<_> = (0..ROWS)
            .map(|row| if values.is_null(row) { "-" } else { values.value(row) })
            .collect();
        // A cast of "char" is a copy of its one byte, like its output; inet prints its mask.
        if *native != "inet" {
            assert_eq!(read.join(";"), printed, "{native}");
        }
    }
}

pub(crate) async fn values_that_do_not_fit_follow_the_policy(db: &Db<'_>) {
    db.sql(
        "create table t (id int primary key, d numeric(5,2), n numeric, ts timestamp, a int[]); \
         insert into t values (1, 'NaN', 1.5, '294276-12-31', '{{1,2},{3,4}}'), \
         (2, 1.25, 'NaN', '2000-01-01', '[2:3]={1,2}')",
    );
    let strict = db.source("strict");
    let schema = discover(&strict, &["t"]).await;
    let error = copy(&strict, &schema[0], 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.message().contains("column d (numeric(5,2)) of public.t"), "{error}");

    let lenient = db.source_with("lenient", |options| {
        options.unrepresentable = Unrepresentable::Null;
        options.numeric_without_scale = NumericWithoutScale::Decimal { precision: 38, scale: 9 };
    });
    let schema = discover(&lenient, &["t"]).await;
    let from = attach(&lenient, &schema).await;
    let (_, batches) = copy(&lenient, &schema[0], 1).await.unwrap();
    db.sql("update t set id = id + 10");
    let mut follower = Follower::start(&lenient, &from.checkpoint, &schema).await;
    follower.catch_up(&lenient).await;
    for (rows, [first, second]) in [(&batches[0], [0, 1]), (&follower.batches[0].rows, [1, 3])] {
        let nulls = |row: usize| {
            rows.columns().iter().map(|column| column.is_null(row)).collect::<Vec<_>>()
        };
        assert_eq!(nulls(first), [false, true, false, true, true]);
        assert_eq!(nulls(second), [false, false, true, false, true]);
        assert_eq!(rows.column(2).as_primitive::<Decimal128Type>().value(first), 1_500_000_000);
    }
    assert_eq!(batches[0].column(0).as_primitive::<Int32Type>().value(0), 1);
}

/// Whatever the policy: rows whose keys became NULL could not be told apart.
pub(crate) async fn a_key_is_never_null(db: &Db<'_>) {
    db.sql(
        "create table k (id numeric(5,2) primary key); \
         create table n (id int primary key, v int); alter table n replica identity full",
    );
    let source = db.source_with("p", |options| {
        options.unrepresentable = Unrepresentable::Null;
    });
    let schema = discover(&source, &["k", "n"]).await;
    let from = attach(&source, &schema).await;
    // The log has a NULL in what was a key before, and is one again when it is read.
    db.sql("alter table n drop constraint n_pkey; alter table n alter id drop not null");
    db.sql("insert into n values (null, 1)");
    db.sql("delete from n");
    db.sql("alter table n add primary key (id)");
    db.sql("insert into k values ('NaN')");
    let error = copy(&source, &schema[0], 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    assert!(error.message().contains("column id (numeric(5,2)) of public.k"), "{error}");
    assert!(error.hint().unwrap().contains("belongs to the key"), "{error:?}");
    for (table, column) in [
        (&schema[..1], "column id (numeric(5,2)) of public.k"),
        (&schema[1..], "column id (integer) of public.n"),
    ] {
        // The slot is free a moment after the stream before was dropped.
        let mut follower = loop {
            match Follower::start_with(&source, &from.checkpoint, table, 1 << 20).await {
                Ok(follower) => break follower,
                Err(error) => assert!(error.kind().is_transient(), "{error}"),
            }
        };
        follower.catch_up(&source).await;
        let [stop] = &follower.take_log()[..] else { panic!("one table stops, no row comes") };
        assert!(stop.starts_with("stop ") && stop.contains(column), "{stop}");
        assert!(stop.contains("belongs to the key"), "{stop}");
    }
}
