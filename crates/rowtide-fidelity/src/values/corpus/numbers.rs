//! Numbers.

use rowtide_sandbox::Major;

use super::Case;

pub(super) fn cases() -> Vec<Case> {
    let mut all = integers();
    all.extend(numerics());
    all
}

/// No zero follows a negative one: DuckDB's compression takes them for one number when it writes
/// them side by side, whoever wrote them.
fn integers() -> Vec<Case> {
    vec![
        Case::new("bool", "boolean", &["true", "false"]),
        Case::new("int2", "smallint", &["-32768", "-1", "0", "32767"]),
        Case::new("int4", "integer", &["-2147483648", "-1", "0", "2147483647"]),
        Case::new(
            "int8",
            "bigint",
            &["-9223372036854775808", "0", "9007199254740993", "9223372036854775807"],
        ),
        Case::new(
            "float4",
            "real",
            &[
                "'NaN'",
                "'Infinity'",
                "'-Infinity'",
                "'-0'",
                "1e-45",
                "0",
                "1.1754944e-38",
                "3.4028235e38",
                "0.1",
                "16777217",
            ],
        ),
        Case::new(
            "float8",
            "double precision",
            &[
                "'NaN'",
                "'Infinity'",
                "'-Infinity'",
                "'-0'",
                "5e-324",
                "0",
                "2.2250738585072014e-308",
                "1.7976931348623157e308",
                "0.1",
                "0.30000000000000004",
                "9007199254740993",
                "1e22",
                "1e23",
            ],
        ),
        Case::new(
            "money",
            "money",
            &["'0'", "'-92233720368547758.08'", "'92233720368547758.07'", "'1234.50'"],
        ),
    ]
}

fn numerics() -> Vec<Case> {
    vec![
        Case::new(
            "numeric",
            "numeric",
            &[
                "0",
                "0.00",
                "-0.0",
                "'NaN'",
                "'Infinity'",
                "'-Infinity'",
                "-1.500",
                "100",
                "10000",
                "0.0001",
                "1e-100",
                "1e100",
                "12345678901234567890123456789012345678901234567890.50",
                "repeat('9', 131072)",
                "'-' || repeat('9', 131072) || '.' || repeat('9', 16383)",
                "'0.' || repeat('0', 16382) || '1'",
                "'1.' || repeat('0', 16383)",
            ],
        ),
        Case::new(
            "numeric10_2",
            "numeric(10,2)",
            &["0", "-12345678.91", "99999999.99", "-99999999.99", "0.01", "-0.01", "1", "1.10"],
        )
        .beyond_duckdb(&["'NaN'"]),
        Case::new(
            "numeric38_10",
            "numeric(38,10)",
            &[
                "9999999999999999999999999999.9999999999",
                "-9999999999999999999999999999.9999999999",
                "-0.0000000001",
                "1234567.5",
            ],
        )
        .beyond_duckdb(&["'NaN'"]),
        Case::new(
            "numeric50_5",
            "numeric(50,5)",
            &["999999999999999999999999999999999999999999999.12345", "7", "'NaN'", "-0.00001"],
        ),
        Case::new("numeric_rounded", "numeric(5,-2)", &["1234567", "-9999900", "0", "'NaN'"])
            .since(Major::V15),
        Case::new("numeric_small", "numeric(3,5)", &["0.00123", "-0.00999", "0", "'NaN'"])
            .since(Major::V15),
    ]
}
