//! Texts.

use rowtide_sandbox::Major;

use super::Case;

/// Four bytes in UTF-8, right to left, combining marks, a byte order mark, the last code point,
/// what `COPY` and arrays quote, and the words that mean NULL there.
const HOSTILE: &[&str] = &[
    "''",
    "' '",
    "'NULL'",
    "'\\N'",
    "'\\.'",
    "'it''s'",
    "'{}'",
    "'\"'",
    "','",
    r"E'tab\tline\nback\\slash\rend'",
    r"E'\x01\x02\x1f\x7f'",
    "'é🦀𝒳'",
    "'שלום مرحبا'",
    r"U&'e\0301a\0308\200D\200F'",
    r"U&'\FEFFx\+10FFFF'",
    r"U&'\00A0\2028\3000'",
];

pub(super) fn cases() -> Vec<Case> {
    let long = [
        "repeat('x', 1048576)",
        "repeat('é', 10000)",
        "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 2000) i)",
    ];
    let with = |more: &[&'static str]| [HOSTILE, more].concat();
    vec![
        Case::new("text", "text", &with(&long)),
        Case::new("varchar", "character varying", &with(&long)),
        Case::new("varchar20", "character varying(20)", &with(&["repeat('🦀', 20)"])),
        Case::new("char5", "character(5)", &["'a'", "'abcde'", "''", "'  a'", "'é🦀'", r"E'\\\n'"]),
        Case::new("bpchar", "bpchar", &["'a'", "'a  '", "''", "'é🦀 '"]),
        Case::new("name", "name", &["'a_name'", "''", "repeat('é', 31)", "'a b\"c'"]),
        Case::new("char", "\"char\"", &["'x'", "''", "'\"'", "'\\'", "' '"]),
        Case::new("char_high", "\"char\"", &["'\\200'", "'\\377'"]).since(Major::V16),
        Case::new("refcursor", "refcursor", &["'c'", "''", "'é🦀 \"'"]),
        Case::new("citext", "citext", HOSTILE).made_by("CREATE EXTENSION citext").told_as("citext"),
        Case::new("citext_array", "citext[]", &["'{}'", "'{A,a,NULL,\"NULL\",\"\",\"x y\"}'"])
            .beyond_lists(&["'{{a}}'", "'[0:0]={a}'"])
            .made_by("CREATE EXTENSION citext")
            .told_as("citext[]"),
    ]
}
