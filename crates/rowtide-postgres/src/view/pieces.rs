//! A table in pieces of pages, so that no statement runs long.

use std::time::Duration;

/// How many pages the first piece has.
const FIRST: u64 = 512;
/// What a piece has at least, however slow it is.
const LEAST: u64 = 8;
/// How much more the next piece may have.
const GROWTH: f64 = 4.0;
/// What of the time allowed a piece is to take.
const SHARE: f64 = 0.6;

/// A part of a table's storage: the table, or a partition of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// What stands behind FROM.
    pub(crate) name: String,
    /// How many pages it has; `None` if it cannot be read page by page.
    pub(crate) pages: Option<u64>,
}

/// What one statement reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// What stands behind FROM.
    pub(crate) name: String,
    /// What chooses its rows, if that are not all.
    pub(crate) condition: Option<String>,
}

/// The pieces of a table, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Pieces {
    parts: std::vec::IntoIter<Part>,
    /// The part being read, and from which page on.
    open: Option<(Part, u64)>,
    step: u64,
    limit: Duration,
}

impl Pieces {
    /// The pieces of `parts`, each to take less than `limit`.
    pub(crate) fn new(parts: Vec<Part>, limit: Duration) -> Self {
        Self { parts: parts.into_iter(), open: None, step: FIRST, limit }
    }

    /// The next piece.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        let (part, from) = match self.open.take() {
            Some(open) => open,
            None => (self.parts.next()?, 0),
        };
        let Some(pages) = part.pages else {
            return Some(Piece { name: part.name, condition: None });
        };
        let to = from.saturating_add(self.step);
        let name = part.name.clone();
        // The last piece is open: pages that came since hold nothing that the view shows, but how
        // many there were was asked without its snapshot.
        let condition = match (from, to >= pages) {
            (0, true) => None,
            (from, true) => Some(format!("ctid >= '({from},0)'")),
            (from, false) => {
                self.open = Some((part, to));
                Some(format!("ctid >= '({from},0)' AND ctid < '({to},0)'"))
            }
        };
        Some(Piece { name, condition })
    }

    /// How many pages are left, as far as is known.
    pub(crate) fn left(&self) -> u64 {
        let open = self.open.as_ref().and_then(|(part, from)| Some(part.pages? - from));
        let rest = self.parts.as_slice().iter().filter_map(|part| part.pages);
        open.unwrap_or(0).saturating_add(rest.sum())
    }

    /// Learns how long the last piece took.
    pub(crate) fn took(&mut self, time: Duration) {
        let wanted = self.limit.as_secs_f64() * SHARE;
        let factor = wanted / time.as_secs_f64().max(1e-4);
        let factor = factor.min(GROWTH);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a number of pages, about"
        )]
        let step = (self.step as f64 * factor) as u64;
        self.step = step.clamp(LEAST, u64::from(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages_of(piece: &Piece) -> (u64, Option<u64>) {
        let Some(condition) = &piece.condition else { return (0, None) };
        let mut numbers = condition.split(['(', ',']).filter_map(|part| part.parse().ok());
        let from = numbers.next().unwrap();
        (from, numbers.next())
    }

    #[test]
    fn pieces_cover_every_part_once_however_long_they_take() {
        let part = |name: &str, pages| Part { name: name.to_owned(), pages };
        for times in [[1, 1], [400, 2], [5000, 5000], [20, 900]] {
            let parts = vec![part("a", Some(100_000)), part("b", None), part("c", Some(3))];
            let mut pieces = Pieces::new(parts, Duration::from_millis(100));
            let mut next = 0;
            let mut seen = Vec::new();
            let mut times = times.into_iter().cycle();
            while let Some(piece) = pieces.next() {
                pieces.took(Duration::from_millis(times.next().unwrap()));
                let (from, to) = pages_of(&piece);
                assert_eq!(from, next, "{piece:?}");
                next = to.unwrap_or(0);
                if to.is_none() {
                    seen.push(piece.name);
                }
            }
            assert_eq!(seen, ["a", "b", "c"]);
        }
    }

    #[test]
    fn no_piece_takes_longer_than_allowed_however_fast_the_server_is() {
        let limit = Duration::from_secs(1);
        // Pages a second, which change by half from piece to piece.
        for speed in [600_u32, 5_000, 40_000, 900_000] {
            let part = Part { name: "a".into(), pages: Some(u64::from(speed) * 40) };
            let mut pieces = Pieces::new(vec![part], limit);
            let (mut number, mut longest) = (0, Duration::ZERO);
            while let Some(piece) = pieces.next() {
                let (from, to) = pages_of(&piece);
                let pages = to.unwrap_or(u64::from(speed) * 40) - from;
                let speed = if number % 2 == 0 { speed } else { speed - speed / 3 };
                let time = Duration::from_secs_f64(pages as f64 / f64::from(speed));
                longest = longest.max(time);
                pieces.took(time);
                number += 1;
            }
            assert!(longest <= limit, "{longest:?} at {speed} pages a second");
            assert!((40..200).contains(&number), "{number} pieces at {speed} pages a second");
        }
    }

    #[test]
    fn pieces_shrink_to_what_fits_and_grow_again() {
        let parts = vec![Part { name: "a".into(), pages: Some(u64::MAX / 2) }];
        let mut pieces = Pieces::new(parts, Duration::from_secs(1));
        for _ in 0..20 {
            pieces.took(Duration::from_secs(10));
        }
        assert_eq!(pieces.step, LEAST);
        pieces.took(Duration::from_millis(1));
        assert_eq!(pieces.step, LEAST * 4);
        pieces.took(Duration::ZERO);
        assert_eq!(pieces.step, LEAST * 16);
    }
}
