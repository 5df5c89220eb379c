//! Which types hold every value of another one, as it is and with the same meaning.

use arrow_schema::DataType;

/// Whether a column of the type `to` holds what one of `from` held: the same text with a longer
/// limit, the same number with more digits before the point. Both by their Arrow type and by their
/// name at the server.
pub(super) fn holds_more((old, from): (&DataType, &str), (new, to): (&DataType, &str)) -> bool {
    match (old, new) {
        (DataType::Decimal128(before, scale), DataType::Decimal128(after, same)) => {
            scale == same && after >= before
        }
        (old, new) if old != new => false,
        _ => match (text_limit(from), text_limit(to), digits(from)) {
            (Some(_), Some(None), _) => true,
            (Some(Some(before)), Some(Some(after)), _) => after >= before,
            (_, _, Some((before, scale))) => match digits(to) {
                Some((after, same)) => same == scale && after >= before,
                None => to == "numeric",
            },
            _ => false,
        },
    }
}

/// How many characters a text of this type has at most, if it is one.
fn text_limit(name: &str) -> Option<Option<u32>> {
    match name {
        "text" | "character varying" => Some(None),
        _ => {
            let limit = name.strip_prefix("character varying(")?.strip_suffix(')')?;
            Some(Some(limit.parse().ok()?))
        }
    }
}

/// Precision and scale of a number of this type, if it has any.
fn digits(name: &str) -> Option<(u32, i32)> {
    let (precision, scale) = name.strip_prefix("numeric(")?.strip_suffix(')')?.split_once(',')?;
    Some((precision.parse().ok()?, scale.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_keeps_every_value_is_wider() {
        let text = DataType::Utf8;
        for (from, to, wider) in [
            ("character varying(5)", "character varying(9)", true),
            ("character varying(5)", "character varying", true),
            ("character varying(5)", "text", true),
            ("character varying", "text", true),
            ("text", "character varying", true),
            ("character varying(9)", "character varying(5)", false),
            ("text", "character varying(5)", false),
            ("character(5)", "character(9)", false),
            ("character(5)", "text", false),
            ("numeric(50,2)", "numeric(60,2)", true),
            ("numeric(50,2)", "numeric", true),
            ("numeric(50,2)", "numeric(60,3)", false),
            ("numeric", "numeric(60,3)", false),
            ("cidr", "inet", false),
            ("mood", "text", false),
        ] {
            assert_eq!(holds_more((&text, from), (&text, to)), wider, "{from} to {to}");
        }
        let number = |precision, scale| DataType::Decimal128(precision, scale);
        let wider = |from: DataType, to: DataType| holds_more((&from, "numeric"), (&to, "numeric"));
        assert!(wider(number(8, 2), number(10, 2)));
        assert!(!wider(number(10, 2), number(8, 2)));
        assert!(!wider(number(8, 2), number(10, 3)));
        assert!(!wider(DataType::Int32, DataType::Int64), "such a change rewrites the rows");
        assert!(!wider(number(38, 2), DataType::Utf8));
    }
}
