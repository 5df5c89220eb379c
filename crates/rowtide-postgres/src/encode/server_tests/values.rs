//! Types and values worth trying, as SQL expressions.

/// How many rows: every value of every column at least once.
pub(super) const ROWS: usize = 40;

type Columns = &'static [(&'static str, &'static [&'static str])];

pub(super) const EXTENSIONS: &[&str] = &["citext", "hstore"];

pub(super) const TYPES: &str = "create schema ext; create schema \"Odd: s\"; \
    create type public.mood as enum ('sad', 'it''s ok', E'back\\\\slash\\ttab', 'NULL', '🦀'); \
    create type \"Odd: s\".\"It's \"\"x\"\"\" as enum ('a: b'); \
    create domain public.positive as int check (value > 0); \
    create domain public.price as numeric(10,2); \
    create domain public.document as jsonb; \
    create domain public.feeling as public.mood; \
    create domain public.numbers as int[]; \
    create domain public.never_null as int not null; \
    create type public.pair as (a int, b text); \
    create type public.spread as range (subtype = float8)";

/// What has a binary form, as the source hands it over.
pub(super) const PLAIN: Columns = &[
    ("bool", &["true", "false"]),
    ("int2", &["-32768", "0", "32767"]),
    ("int4", &["-2147483648", "0", "2147483647"]),
    ("int8", &["-9223372036854775808", "0", "9223372036854775807"]),
    (
        "float4",
        &["'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "1e-45", "3.4028235e38", "0.1", "16777217"],
    ),
    (
        "float8",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "'-0'",
            "5e-324",
            "2.2250738585072011e-308",
            "1.7976931348623157e308",
            "0.1",
            "9007199254740993",
            "exp(random() * 600 - 300)",
        ],
    ),
    (
        "numeric",
        &[
            "0",
            "0.00",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "-1.500",
            "12345678901234567890123456789012345678901234567890.5",
            "1e-100",
            "1e100",
            "10000",
            "0.0001",
            "0.00001234",
            "-99999999",
            "random()::numeric * 1000000",
            "repeat('9', 131072)::numeric",
            "('0.' || repeat('0', 16382) || '7')::numeric",
            "(repeat('8', 131072) || '.' || repeat('5', 16383))::numeric",
            "1.0000000000000000",
        ],
    ),
    ("numeric(10,2)", &["0", "-12345678.91", "99999999.99", "0.01", "1", "'NaN'"]),
    ("numeric(1000,5)", &["repeat('9', 995)::numeric", "-7"]),
    (
        "text",
        &[
            "''",
            "'NULL'",
            "'it''s'",
            "E'tab\\tline\\nback\\\\slash\\r\\b\\f\\v'",
            "'é🦀'",
            "'\\N'",
            "'\\.'",
            "E'\\n\\\\.\\n'",
            "E'\\x01\\x7f'",
            "'{\"a\"}'",
            "repeat(E'x\\t', 5000)",
        ],
    ),
    ("varchar", &["''", "'abc'"]),
    ("varchar(20)", &["''", "'abc  '"]),
    ("char(5)", &["'a'", "'abcde'", "''", "'é🦀'"]),
    ("name", &["'a_name'", "repeat('n', 63)"]),
    ("bytea", &["''", "'\\x00ff5c'", "decode(md5(random()::text), 'hex')", "'\\x5c4e0a09'"]),
    (
        "date",
        &[
            "'1970-01-01'",
            "'0001-01-01'",
            "'0001-12-31 BC'",
            "'4714-11-24 BC'",
            "'infinity'",
            "'-infinity'",
            "'5874897-12-31'",
            "'2024-02-29'",
            "'10000-01-01'",
        ],
    ),
    (
        "time",
        &["'00:00'", "'24:00:00'", "'12:34:56.789012'", "'23:59:59.999999'", "'0:0:0.000001'"],
    ),
    ("time(2)", &["'12:34:56.78'"]),
    (
        "timestamp",
        &[
            "'1970-01-01'",
            "'4714-11-24 00:00:00 BC'",
            "'infinity'",
            "'-infinity'",
            "'1999-12-31 23:59:59.999999'",
            "'1969-12-31 23:59:59.999999'",
            "'0001-12-31 23:59:59.5 BC'",
            "'294247-01-10 04:00:54.775806'",
        ],
    ),
    ("timestamp(3)", &["'2024-02-29 01:02:03.456'"]),
    (
        "timestamptz",
        &[
            "'1970-01-01 00:00+05:30'",
            "'4714-11-24 00:00:00+00 BC'",
            "'infinity'",
            "'-infinity'",
            "'2038-01-19 03:14:08.123456+00'",
            "'294247-01-10 04:00:54.775806+00'",
        ],
    ),
    ("uuid", &["'00000000-0000-0000-0000-000000000000'", "md5(random()::text)::uuid"]),
    ("json", &["E'{\"a\": [1, 2.50,\\n null], \"a\": 1}'", "'null'", "'\"\\u0000\"'", "'[]'"]),
    (
        "jsonb",
        &[
            "'{\"b\":1,  \"a\":[1, 2.50, null], \"c\\t\": \"\\\\\"}'",
            "'null'",
            "'123456789012345678901234567890.10'",
            "'\"\"'",
        ],
    ),
    ("mood", &["'sad'", "'it''s ok'", "E'back\\\\slash\\ttab'", "'NULL'", "'🦀'"]),
    ("\"Odd: s\".\"It's \"\"x\"\"\"", &["'a: b'"]),
    ("positive", &["1", "2147483647"]),
    ("price", &["1.25", "-0.5", "'NaN'"]),
    ("document", &["'{\"x\":1}'"]),
    ("feeling", &["'sad'"]),
    ("ext.citext", &["'Ab'", "''", "E'\\t'"]),
];

/// What is read as the text of its output function.
pub(super) const OPAQUE: Columns = &[
    ("int4[]", &["'{}'", "'{1,NULL,-3}'", "'[2:3]={1,2}'", "'{{1,2},{3,NULL}}'", "'{{{1}}}'"]),
    (
        "text[]",
        &[
            "'{}'",
            "array['', 'NULL', NULL, 'a,b', '{}', E'q\"\\\\', 'é🦀', ' x ', E'\\t\\n', '\\.']",
            "'[0:1][-1:0]={{a,b},{c,\"d,\"}}'",
        ],
    ),
    (
        "numeric[]",
        &["'{1.50,NaN,NULL,0.001,Infinity}'", "array[1e100, repeat('9', 131072)::numeric]"],
    ),
    ("numeric(8,3)[]", &["'{1.5,NULL,-99999.999}'"]),
    ("bool[]", &["'{t,f,NULL}'"]),
    ("float8[]", &["'{NaN,-0,Infinity,0.1,5e-324}'"]),
    ("bytea[]", &["array['\\x00'::bytea, '\\x', NULL, '\\x5c']"]),
    ("date[]", &["'{infinity,2024-02-29,NULL,0044-03-15 BC}'"]),
    ("timestamptz[]", &["'{\"2024-02-29 12:00:00+00\",infinity}'"]),
    ("uuid[]", &["array[md5('x')::uuid, NULL]"]),
    ("jsonb[]", &["array['{\"a\": \"b,c\"}'::jsonb, NULL, 'null']"]),
    ("mood[]", &["array['sad', 'NULL', NULL, E'back\\\\slash\\ttab']::mood[]", "'{{sad},{🦀}}'"]),
    ("positive[]", &["'{1,2}'"]),
    ("price[]", &["'{1.25,NULL}'"]),
    ("numbers", &["'{1,2}'", "'{{1},{2}}'"]),
    ("numbers[]", &["array['{1,2}'::numbers, '{}']"]),
    ("never_null", &["7"]),
    ("pair", &["row(1, 'x,\"y')", "row(null, '')", "row(null, null)", "row(2, E'\\\\\\t')"]),
    ("pair[]", &["array[row(1, 'x,\"y'), null, row(2, '{')]::pair[]"]),
    ("spread", &["'[5e-324,0.1)'", "'(,1]'"]),
    ("inet", &["'10.0.0.1'", "'::1/64'", "'10.0.0.1/8'"]),
    ("cidr", &["'10.0.0.0/8'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    (
        "interval",
        &[
            "'1 year 2 mons -3 days 04:05:06.7'",
            "'0'",
            "'-1 mons +1 day -00:00:00.000001'",
            "'178000000 years'",
            "'1 day -24:00:01'",
        ],
    ),
    ("interval day to second(3)", &["'1 day 02:03:04.567'"]),
    ("money", &["12.34", "'-92233720368547758.08'", "'92233720368547758.07'"]),
    ("int4range", &["'[1,5)'", "'empty'", "'(,)'"]),
    ("numrange", &["'[1.10,)'"]),
    ("tstzrange", &["'[\"2024-01-01 00:00+00\",infinity]'"]),
    ("int4multirange", &["'{}'", "'{[1,2),[5,9)}'"]),
    ("point", &["'(1.5,-2)'", "'(NaN,1e-300)'", "'(-0,5e-324)'"]),
    ("line", &["'{1,-2.5,0.1}'"]),
    ("lseg", &["'[(0,0),(0.1,1)]'"]),
    ("box", &["'(1,1),(0,0.1)'"]),
    ("box[]", &["'{(1,1),(0,0);(2,2),(1,1)}'"]),
    ("path", &["'[(0,0),(1,1)]'", "'((0,0),(1,1))'"]),
    ("polygon", &["'((0,0),(1,0),(0.1,1))'"]),
    ("circle", &["'<(1,2),0.1>'"]),
    ("xml", &["'<a b=\"c\">x</a>'", "'plain text'"]),
    ("timetz", &["'12:00:00+02'", "'24:00:00-15:59:59'", "'00:00:00.000001+00'"]),
    ("bit(3)", &["B'101'"]),
    ("bit varying", &["B''", "B'10110'"]),
    ("tsvector", &["'a b:1'", "E'''it''''s'':2A \\\\\\\\x'"]),
    ("tsquery", &["'a & !b <-> c'"]),
    ("jsonpath", &["'$.a[*] ? (@ > 1)'"]),
    ("\"char\"", &["'x'", "''", "'\\'"]),
    ("pair[][]", &["'{}'"]),
    ("inet[]", &["'{10.0.0.1,NULL}'"]),
    ("interval[]", &["'{1 day,\"-1 mons +1 day\"}'"]),
    ("int4range[]", &["array['[1,5)'::int4range, 'empty', null]"]),
    ("oid", &["0", "4294967295"]),
    ("xid8", &["'18446744073709551615'"]),
    ("pg_lsn", &["'16/B374D848'", "'FFFFFFFF/FFFFFFFF'"]),
    ("tid", &["'(4294967295,65535)'"]),
    ("int2vector", &["'1 2 3'"]),
    ("oidvector", &["'1 2'"]),
    ("pg_snapshot", &["'10:20:10,14,15'"]),
    ("refcursor", &["'c'"]),
    ("regclass", &["'pg_class'", "'everything'"]),
    ("regtype[]", &["'{integer,mood}'"]),
    ("ext.hstore", &["'a=>b, \"c d\"=>NULL, \"\\\"\"=>\"\\\\\"'"]),
    ("ext.citext[]", &["'{Ab,NULL,\"NULL\",\"a,b\"}'"]),
];

/// What servers before 15 cannot make.
pub(super) const OF_NEWER: Columns =
    &[("numeric(5,-2)", &["1234500"]), ("numeric(3,5)[]", &["'{0.00123,NULL}'"])];

/// A row: each column cycles through its values, and NULL.
pub(super) fn row(id: usize, columns: &[(&str, &[&str])]) -> String {
    let values: Vec<_> = columns
        .iter()
        .map(|(native, values)| match (id + values.len()) % (values.len() + 1) {
            // Domains that refuse NULLs have none.
            0 if *native != "never_null" => "NULL".to_owned(),
            n => format!("({})::{native}", values[n.max(1) - 1]),
        })
        .collect();
    format!("({id}, {})", values.join(", "))
}
