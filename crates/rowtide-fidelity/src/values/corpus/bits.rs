//! Bytes, bits and identifiers made of them.

use super::Case;

/// MiB.
const LARGEST_PIECE: u32 = 180;

pub(super) fn cases() -> Vec<Case> {
    let every_byte = "(SELECT string_agg(decode(lpad(to_hex(i), 2, '0'), 'hex'), '' ORDER BY i) FROM generate_series(0, 255) i)";
    // Not compressible, so that it lies outside of its row.
    let toasted =
        "(SELECT string_agg(decode(md5(i::text), 'hex'), '') FROM generate_series(1, 5000) i)";
    // A text has at most a GiB, and this has two digits for each byte.
    let of_size = |mebibytes: u32| {
        let piece =
            |mebibytes: u32| format!("decode(repeat('00ff5c4e', {}), 'hex')", mebibytes << 18);
        let whole = (0..mebibytes / LARGEST_PIECE).map(|_| piece(LARGEST_PIECE));
        let rest =
            (!mebibytes.is_multiple_of(LARGEST_PIECE)).then(|| piece(mebibytes % LARGEST_PIECE));
        whole.chain(rest).collect::<Vec<_>>().join(" || ")
    };
    let alone =
        |name: &str, mebibytes: u32| Case::new(name, "bytea", &[&of_size(mebibytes)]).large();
    vec![
        Case::new(
            "bytea",
            "bytea",
            &["''", "'\\x00'", "'\\x5c4e'", "'\\x5c78'", every_byte, toasted, &of_size(1)],
        ),
        alone("bytea_64", 64),
        alone("bytea_256", 256),
        // More than a field can have in text: two digits for each byte, of at most a GiB.
        alone("bytea_540", 540),
        Case::new("bit1", "bit(1)", &["B'0'", "B'1'"]).told_as("bit(8)"),
        Case::new("bit8", "bit(8)", &["B'00000000'", "B'10000001'", "B'11111111'"]),
        Case::new("bit9", "bit(9)", &["B'000000001'", "B'111111111'"]).told_as("bit(8)"),
        Case::new(
            "varbit",
            "bit varying",
            &["B'1'", "B'0'", "B'10101010101'", "repeat('10', 4000)", "repeat('0', 64)"],
        ),
        Case::new("varbit_empty", "bit varying", &["B''"]),
        Case::new("varbit20", "bit varying(20)", &["B'1'", "repeat('01', 10)"]),
        Case::new(
            "uuid",
            "uuid",
            &[
                "'00000000-0000-0000-0000-000000000000'",
                "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
                "'80000000-0000-0000-0000-000000000001'",
                "md5('x')",
            ],
        ),
    ]
}
