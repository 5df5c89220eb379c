//! Arrays of shapes that are rare.

use super::Case;

pub(super) fn cases() -> Vec<Case> {
    let shapes = &[
        "'{{1,2},{3,4}}'",
        "'[0:1]={1,2}'",
        "'[2:2]={NULL}'",
        "'{{{{{{1}}}}}}'",
        "'[-1:0][5:5]={{1},{2}}'",
    ];
    vec![
        Case::new(
            "int4_array",
            "integer[]",
            &["'{}'", "'{NULL}'", "'{NULL,NULL}'", "'{1,NULL,-3}'", "array_fill(7, ARRAY[1000])", "ARRAY(SELECT i * 2654435 % 2147483647 FROM generate_series(1, 800) i)"],
        )
        .beyond_lists(shapes),
        Case::new(
            "text_array",
            "text[]",
            &[
                "'{}'",
                "ARRAY['', 'NULL', NULL, 'a,b', '{}', '{', '\"', ' x ', 'é🦀', E'q\"\\\\\\n\\t', 'null']",
                "ARRAY[NULL]::text[]",
                "(SELECT array_agg(repeat(md5(i::text), 10)) FROM generate_series(1, 300) i)",
            ],
        )
        .beyond_lists(&["'{{a,b},{NULL,d}}'", "'[2:3]={x,y}'"]),
        Case::new("inet_array", "inet[]", &["'{}'", "'{10.0.0.1/8,NULL,::1}'"])
            .beyond_lists(&["'{{10.0.0.1},{::1}}'", "'[3:3]={::1}'"]),
    ]
}
