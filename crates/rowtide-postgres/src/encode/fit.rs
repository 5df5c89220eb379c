//! Whether a column that already stands holds what is to come, without losing anything.

use super::native::modifier;
use super::target::TargetColumn;
use crate::types::Kind;

/// Whether a column of `standing_type` (by `format_type`) holds every value of `wanted` exactly:
/// the same type, a wider one of the same sort, or text for what is text anyhow.
///
/// Rows are still encoded for [`TargetColumn::staging_type`] and must be cast on their way.
pub(crate) fn accepts(standing_type: &str, wanted: &TargetColumn) -> bool {
    if standing_type == wanted.sql_type || standing_type == wanted.staging_type {
        return true;
    }
    let from = wanted.staging_type.as_str();
    if let (Some(standing), Some(from)) =
        (standing_type.strip_suffix("[]"), from.strip_suffix("[]"))
    {
        return wanted.is_array() && is_wider(standing, from);
    }
    if wanted.is_array() {
        return standing_type == "text";
    }
    is_wider(standing_type, from) || (standing_type == "text" && is_textual(wanted))
}

/// Whether the cast to text changes nothing. Padding is lost by it.
fn is_textual(wanted: &TargetColumn) -> bool {
    let textual = matches!(
        wanted.kind(),
        Kind::Text | Kind::Json | Kind::Jsonb | Kind::BitText | Kind::Opaque
    );
    textual && !matches!(modifier(&wanted.staging_type).0.as_str(), "character" | "bpchar")
}

/// Whether built-in type `to` holds every value of `from`.
fn is_wider(to: &str, from: &str) -> bool {
    let ((to, to_numbers), (from, from_numbers)) = (modifier(to), modifier(from));
    let (to_numbers, from_numbers) = (to_numbers.as_deref(), from_numbers.as_deref());
    match (from.as_str(), to.as_str()) {
        ("smallint", "integer" | "bigint" | "real" | "double precision") => true,
        ("integer", "bigint" | "double precision") | ("real", "double precision") => true,
        ("smallint", "numeric") => has_digits(to_numbers, 5, 0),
        ("integer", "numeric") => has_digits(to_numbers, 10, 0),
        ("bigint", "numeric") => has_digits(to_numbers, 19, 0),
        ("numeric", "numeric") => match from_numbers {
            Some([precision, scale]) => has_digits(to_numbers, precision - scale, *scale),
            _ => to_numbers.is_none(),
        },
        ("character varying" | "name", "text") => true,
        ("name", "character varying") => to_numbers.is_none(),
        ("text", "character varying") => to_numbers.is_none(),
        ("character varying", "character varying")
        | ("bit varying", "bit varying")
        | ("time without time zone", "time without time zone")
        | ("time with time zone", "time with time zone")
        | ("timestamp without time zone", "timestamp without time zone")
        | ("timestamp with time zone", "timestamp with time zone")
        | ("interval", "interval") => is_longer(to_numbers, from_numbers),
        _ => false,
    }
}

/// Whether a numeric's modifier leaves room for `whole` digits before and `scale` after the point.
fn has_digits(modifier: Option<&[i32]>, whole: i32, scale: i32) -> bool {
    match modifier {
        Some([precision, room]) => *room >= scale && precision - room >= whole,
        Some(_) => false,
        None => true,
    }
}

/// Whether there is no limit, or one that is not lower.
fn is_longer(to: Option<&[i32]>, from: Option<&[i32]>) -> bool {
    match (to, from) {
        (None, _) => true,
        (Some([to]), Some([from])) => to >= from,
        _ => false,
    }
}
