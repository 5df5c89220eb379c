//! Dates, times and intervals.

use rowtide_sandbox::Major;

use super::Case;

/// Beyond what 64 bits of microseconds since 1970 can count.
const LATEST: &[&str] = &["'294276-12-31 23:59:59.999999'", "'294248-01-01'"];

/// The same with milliseconds: what rounds to the next year is printed, but cannot be read.
const LATEST_OF_3: &[&str] = &["'294276-12-31 23:59:59.999'"];

pub(super) fn cases() -> Vec<Case> {
    [dates(), moments(), intervals()].concat()
}

fn dates() -> Vec<Case> {
    vec![
        Case::new(
            "date",
            "date",
            &[
                "'1970-01-01'",
                "'0001-01-01'",
                "'4713-01-01 BC'",
                "'4714-11-24 BC'",
                "'0044-03-15 BC'",
                "'0001-12-31 BC'",
                "'infinity'",
                "'-infinity'",
                "'5874897-12-31'",
                "'2024-02-29'",
                "'1969-12-31'",
                "'10000-01-01'",
            ],
        ),
        Case::new(
            "time",
            "time without time zone",
            &[
                "'00:00'",
                "'24:00:00'",
                "'12:34:56.789012'",
                "'23:59:59.999999'",
                "'00:00:00.000001'",
            ],
        ),
        Case::new("time3", "time(3) without time zone", &["'12:34:56.789'", "'24:00:00'"]),
        Case::new(
            "timetz",
            "time with time zone",
            &[
                "'12:00:00+02'",
                "'00:00:00+15:59'",
                "'24:00:00-15:59'",
                "'23:59:59.999999+15:59:59'",
                "'12:00:00-00:00:01'",
                "'00:00+00'",
            ],
        ),
    ]
}

fn moments() -> Vec<Case> {
    vec![
        Case::new(
            "timestamp",
            "timestamp without time zone",
            &[
                "'1970-01-01'",
                "'4714-11-24 00:00:00 BC'",
                "'0044-03-15 12:00:00.25 BC'",
                "'infinity'",
                "'-infinity'",
                "'1999-12-31 23:59:59.999999'",
                "'1969-12-31 23:59:59.999999'",
                "'294246-12-31 23:59:59.999999'",
                "'0001-01-01 00:00:00.000001'",
            ],
        )
        .beyond(LATEST),
        Case::new("timestamp3", "timestamp(3) without time zone", &["'2000-01-01 00:00:00.123'"])
            .beyond(LATEST_OF_3),
        Case::new(
            "timestamptz",
            "timestamp with time zone",
            &[
                "'1970-01-01 00:00+05:30'",
                "'0044-03-15 12:00:00.25+00 BC'",
                "'4714-11-24 00:00:00+00 BC'",
                "'infinity'",
                "'-infinity'",
                "'2038-01-19 03:14:08.123456+00'",
                "'294246-12-31 23:59:59.999999+00'",
                "'2024-03-31 02:30:00 Europe/Berlin'",
                "'1883-11-18 12:03:57-04:56:02'",
            ],
        )
        .beyond(LATEST),
        Case::new("timestamptz3", "timestamp(3) with time zone", &["'2000-01-01 00:00:00.123+00'"])
            .beyond(LATEST_OF_3),
    ]
}

fn intervals() -> Vec<Case> {
    vec![
        Case::new(
            "interval",
            "interval",
            &[
                "'0'",
                "'1 year 2 mons -3 days 04:05:06.7'",
                "'-1 mon +2 days -00:00:00.5'",
                "'1 mon'",
                "'30 days'",
                "'720 hours'",
                "'24:00:00'",
                "'1 day'",
                "'-00:00:00.000001'",
                "'178000000 years'",
                "'-178000000 years'",
                "'2147483647 days'",
                "'-2147483648 days'",
                "'2562047:47:16.854775'",
                "'-2562047:47:16.854775'",
            ],
        )
        .beyond_duckdb(&["'2562048 hours'", "'-2000000000 hours'"]),
        Case::new("interval_infinite", "interval", &["'1 day'"])
            .beyond_duckdb(&["'infinity'", "'-infinity'"])
            .since(Major::V17),
    ]
}
