//! Types that users and extensions make.

use super::Case;

const MOOD: &str = "CREATE TYPE public.mood AS ENUM ('sad', 'it''s ok', 'größe 🦀', '', 'a,b\"c')";
const POSITIVE: &str = "CREATE DOMAIN public.positive AS integer CHECK (value > 0)";
const PRICE: &str = "CREATE DOMAIN public.amount AS numeric(10,2); CREATE DOMAIN public.price AS public.amount CHECK (value > -1)";
const NUMBERS: &str = "CREATE DOMAIN public.numbers AS integer[]";
const PAIR: &str = "CREATE TYPE public.pair AS (a integer, gone text, b text); ALTER TYPE public.pair DROP ATTRIBUTE gone";
const DEEP: &str = "CREATE TYPE public.flat AS (x numeric(10,2), t timestamptz, d bytea, j jsonb, e boolean[]); \
                    CREATE TYPE public.deep AS (f public.flat, m public.flat[], \"odd \"\"name\" text)";

const PAIRS: &[&str] = &[
    "ROW(1, 'x,\"y)')",
    "ROW(NULL, NULL)",
    "ROW(-2, '')",
    "ROW(NULL, 'NULL')",
    r"ROW(3, E'back\\slash\n(')",
    "ROW(4, 'é🦀')",
];

pub(super) fn cases() -> Vec<Case> {
    let mut all = own();
    all.extend(elsewhere());
    all.extend(extensions());
    all
}

/// Types that stand at both ends.
fn own() -> Vec<Case> {
    let labels = &["'sad'", "'it''s ok'", "'größe 🦀'", "''", "'a,b\"c'"];
    let deep = "ROW(ROW(1.10, 'infinity', '\\x00ff', '{\"a\": [1.0]}', '{t,f,NULL}'), \
                ARRAY[ROW(-0.01, '0044-03-15 00:00+00 BC', '', 'null', '{}')::public.flat, NULL], 'é, \"')";
    vec![
        Case::new("enum", "public.mood", labels).made_by(MOOD).told_as("an enum"),
        Case::new(
            "enum_array",
            "public.mood[]",
            &["'{}'", "'{sad,\"\",NULL,\"a,b\\\"c\",\"it''s ok\"}'"],
        )
        .beyond_lists(&["'{{sad}}'"])
        .made_by(MOOD)
        .told_as("an enum[]"),
        Case::new("domain", "public.positive", &["1", "2147483647"])
            .made_by(POSITIVE)
            .told_as("a domain over integer"),
        Case::new("domain_array", "public.positive[]", &["'{}'", "'{1,NULL,2}'"])
            .made_by(POSITIVE)
            .told_as("a domain over integer[]")
            .beyond_lists(&["'[0:0]={1}'"]),
        Case::new("domain_twice", "public.price", &["1.25", "-0.5", "0"])
            .made_by(PRICE)
            .in_words(("DECIMAL(10,2)", "policy"), ("public.price", "exact"))
            .beyond_duckdb(&["'NaN'"]),
        Case::new("domain_of_array", "public.numbers", &["'{}'", "'{1,NULL,-3}'"])
            .made_by(NUMBERS)
            .in_words(("INTEGER[]", "policy"), ("public.numbers", "exact"))
            .beyond_lists(&["'{{1}}'"]),
        Case::new("composite", "public.pair", PAIRS).made_by(PAIR).told_as("a composite type"),
        Case::new(
            "composite_array",
            "public.pair[]",
            &[
                "'{}'",
                "ARRAY[ROW(1, 'x,\"y)'), NULL, ROW(NULL, NULL), ROW(2, '{}')]::public.pair[]",
            ],
        )
        .beyond_lists(&["ARRAY[[ROW(1, 'x')]]::public.pair[]"])
        .made_by(PAIR)
        .told_as("a composite type[]"),
        Case::new(
            "composite_deep",
            "public.deep",
            &[deep, "ROW(NULL, NULL, NULL)", "ROW(NULL, '{}', '')"],
        )
        .made_by(DEEP)
        .told_as("a composite type"),
    ]
}

/// Types that the destination does not have.
fn elsewhere() -> Vec<Case> {
    let labels = &["'red'", "''"];
    vec![
        Case::new("enum_unknown", "public.colour", labels)
            .made_by("CREATE TYPE public.colour AS ENUM ('red', '')")
            .only_there()
            .in_words(("VARCHAR", "widened"), ("text", "widened")),
        Case::new("domain_unknown", "public.small", &["1", "-32768"])
            .made_by("CREATE DOMAIN public.small AS smallint")
            .only_there()
            .in_words(("SMALLINT", "widened"), ("smallint", "widened")),
        Case::new("composite_unknown", "public.spot", PAIRS)
            .made_by("CREATE TYPE public.spot AS (a integer, b text)")
            .only_there()
            .in_words(("STRUCT(a INTEGER, b VARCHAR)", "exact"), ("text", "text")),
        Case::new("range_made", "public.floats", &["'empty'", "'[0.1,NaN]'", "'(,)'"])
            .made_by("CREATE TYPE public.floats AS RANGE (subtype = float8)")
            .only_there()
            .in_words(("VARCHAR", "text"), ("text", "text")),
    ]
}

fn extensions() -> Vec<Case> {
    vec![
        Case::new(
            "hstore",
            "hstore",
            &["''", "'a=>1, b=>NULL, \"\"=>\"\"'", "'\"é🦀\"=>\"x\\\"y\"'"],
        )
        .made_by("CREATE EXTENSION hstore")
        .told_as("hstore"),
        Case::new("ltree", "ltree", &["''", "'a.b.c'"])
            .made_by("CREATE EXTENSION ltree")
            .told_as("ltree"),
        Case::new("vector", "vector", &["'[1,-0,0.1]'"])
            .made_by("CREATE EXTENSION vector")
            .told_as("vector"),
        Case::new("cube", "cube", &["'(1,2),(3,4)'", "'(NaN,-0)'"])
            .made_by("CREATE EXTENSION cube")
            .told_as("any other type of an extension"),
        Case::new("isbn", "isbn13", &["'978-0-393-04002-9'"])
            .made_by("CREATE EXTENSION isn")
            .told_as("any other type of an extension"),
    ]
}
