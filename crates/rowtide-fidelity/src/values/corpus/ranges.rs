//! Ranges and multiranges.

use super::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "int4range",
            "int4range",
            &["'empty'", "'(,)'", "'[1,5)'", "'(,5]'", "'[-2147483648,2147483646]'"],
        ),
        Case::new(
            "int8range",
            "int8range",
            &["'empty'", "'(,)'", "'[1,5)'", "'[-9223372036854775808,)'"],
        ),
        Case::new(
            "numrange",
            "numrange",
            &["'empty'", "'[1.50,2.00)'", "'(,NaN]'", "'(-Infinity,Infinity]'", "'[1e100,1e101]'"],
        ),
        Case::new(
            "tsrange",
            "tsrange",
            &[
                "'empty'",
                "'[-infinity,infinity]'",
                "'[\"0044-03-15 12:00:00 BC\",294276-12-31)'",
                "'(,2000-01-01)'",
            ],
        ),
        Case::new(
            "tstzrange",
            "tstzrange",
            &[
                "'empty'",
                "'[-infinity,infinity]'",
                "'[2000-01-01 00:00+05:30,294276-12-31)'",
                "'(,)'",
            ],
        ),
        Case::new(
            "daterange",
            "daterange",
            &["'empty'", "'[-infinity,infinity]'", "'[4713-01-01 BC,2000-01-01)'", "'(,)'"],
        ),
        Case::new(
            "int4multirange",
            "int4multirange",
            &["'{}'", "'{(,)}'", "'{[1,3),[5,9),(20,)}'"],
        ),
        Case::new("int8multirange", "int8multirange", &["'{}'", "'{(,)}'", "'{[1,3),[5,9)}'"]),
        Case::new(
            "nummultirange",
            "nummultirange",
            &["'{}'", "'{(,)}'", "'{[1.50,2.00),(3,NaN]}'"],
        ),
        Case::new(
            "tsmultirange",
            "tsmultirange",
            &["'{}'", "'{(,)}'", "'{[2000-01-01,2000-01-02),[2001-01-01,infinity]}'"],
        ),
        Case::new(
            "tstzmultirange",
            "tstzmultirange",
            &["'{}'", "'{(,)}'", "'{[2000-01-01 00:00+01,2000-01-02 00:00+01)}'"],
        ),
        Case::new(
            "datemultirange",
            "datemultirange",
            &["'{}'", "'{(,)}'", "'{[2000-01-01,2000-01-02),[2001-01-01,infinity)}'"],
        ),
    ]
}
