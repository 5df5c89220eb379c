//! Pictures of a measurement: a curve over time, or how delays are spread.
//!
//! Plain SVG, so that a picture is a small text that differs only where its figures do.

mod scale;
mod svg;

use crate::delays::Delays;
use crate::report::{Kind, Series};

use scale::{Scale, short};
use svg::{Anchor, BAR, BOTTOM, CURVE, LEFT, Picture, RIGHT, TOP, WIDTH};

/// The picture of a series. The points of a histogram are values, each with how often it was seen.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "how often something was seen is a whole number"
)]
pub(crate) fn svg(series: &Series) -> String {
    let (x, y) = (named(series.x_unit, &series.kind), series.y_unit);
    let labels = Labels { title: &series.name.replace('-', " "), x, y };
    match series.kind {
        Kind::Line => line(labels, &series.points),
        Kind::Histogram => {
            let counted = series.points.iter().map(|(value, count)| (*value, *count as u64));
            let delays = Delays::new(counted);
            let marks = [("p50", 0.5), ("p99", 0.99)];
            let marks: Vec<(&str, f64)> = marks
                .into_iter()
                .filter_map(|(name, q)| Some((name, delays.quantile(q)?)))
                .collect();
            histogram(labels, &delays.bars(), &marks)
        }
    }
}

/// A lone `s` or `ms` beside an axis would not say of what.
fn named<'a>(unit: &'a str, kind: &Kind) -> &'a str {
    match (unit, kind) {
        ("s", Kind::Line) => "time (s)",
        ("ms", Kind::Histogram) => "delay (ms)",
        _ => unit,
    }
}

/// What is written around a picture; units belong into the axes' labels.
#[derive(Debug, Clone, Copy)]
struct Labels<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
}

/// One bar of a histogram: how much lies above `from` and not above `to`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bar {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) height: f64,
}

/// A curve over even axes, both from zero. What is not a number is left out.
fn line(labels: Labels<'_>, points: &[(f64, f64)]) -> String {
    let known = points.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
    let known: Vec<(f64, f64)> = known.copied().collect();
    let x = Scale::even(0.0, known.iter().map(|(x, _)| *x).fold(0.0, f64::max), 8);
    let y = Scale::even(0.0, known.iter().map(|(_, y)| *y).fold(0.0, f64::max), 5);
    let mut picture = axes(labels, (&x, &y));
    let place = |(at, value): (f64, f64)| (across(x.place(at)), up(y.place(value)));
    let placed: Vec<(f64, f64)> = known.into_iter().map(place).collect();
    if !placed.is_empty() {
        picture.curve(&placed, CURVE);
    }
    picture.finish()
}

/// Bars over an axis on which ten times as much is always the same distance; `marks` are named
/// values on it, drawn as upright lines.
fn histogram(labels: Labels<'_>, bars: &[Bar], marks: &[(&str, f64)]) -> String {
    let low = bars.iter().map(|bar| bar.from).fold(f64::INFINITY, f64::min);
    let high = bars.iter().map(|bar| bar.to).fold(0.0, f64::max);
    let x = match bars.is_empty() {
        true => Scale::logarithmic(1.0, 100.0),
        false => Scale::logarithmic(low, high),
    };
    let y = Scale::even(0.0, bars.iter().map(|bar| bar.height).fold(0.0, f64::max), 5);
    let mut picture = axes(labels, (&x, &y));
    for bar in bars.iter().filter(|bar| bar.height > 0.0) {
        let (left, right) = (across(x.place(bar.from)) + 0.5, across(x.place(bar.to)) - 0.5);
        picture.bar((left, up(y.place(bar.height))), (right, BOTTOM), BAR);
    }
    for (row, (name, value)) in (0_u8..).zip(marks) {
        let (at, height) = (across(x.place(*value)), TOP + 12.0 + 14.0 * f64::from(row));
        picture.line((at, TOP), (at, BOTTOM), 0.9);
        let (side, anchor) = match at > WIDTH / 2.0 {
            true => (at - 5.0, Anchor::End),
            false => (at + 5.0, Anchor::Start),
        };
        picture.text((side, height), anchor, &format!("{name} {}", short(*value)));
    }
    picture.finish()
}

/// A picture with its title, both axes and the marks on them.
fn axes(labels: Labels<'_>, (x, y): (&Scale, &Scale)) -> Picture {
    let mut picture = Picture::new(labels.title);
    picture.heading((LEFT, 20.0), labels.title);
    picture.text((LEFT, TOP - 12.0), Anchor::Start, labels.y);
    picture.text(((LEFT + RIGHT) / 2.0, BOTTOM + 40.0), Anchor::Middle, labels.x);
    for tick in &y.ticks {
        let height = up(y.place(*tick));
        picture.line((LEFT, height), (RIGHT, height), 0.25);
        picture.text((LEFT - 8.0, height + 4.0), Anchor::End, &short(*tick));
    }
    for tick in &x.ticks {
        let at = across(x.place(*tick));
        picture.line((at, BOTTOM), (at, BOTTOM + 5.0), 1.0);
        picture.text((at, BOTTOM + 20.0), Anchor::Middle, &short(*tick));
    }
    picture.line((LEFT, BOTTOM), (RIGHT, BOTTOM), 1.0);
    picture.line((LEFT, TOP), (LEFT, BOTTOM), 1.0);
    picture
}

fn across(place: f64) -> f64 {
    LEFT + place * (RIGHT - LEFT)
}

fn up(place: f64) -> f64 {
    BOTTOM - place * (BOTTOM - TOP)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: Labels<'_> = Labels { title: "Drain", x: "time (s)", y: "changes/s" };

    #[test]
    fn the_highest_point_reaches_its_place() {
        let text = line(LABELS, &[(0.0, 0.0), (10.0, 200.0)]);
        // The axes end at round numbers: 10 and 200.
        assert!(text.contains(&format!("points=\"{LEFT:.1},{BOTTOM:.1} {RIGHT:.1},{TOP:.1}\"")));
        for label in ["Drain", "time (s)", "changes/s", ">200<", ">10<"] {
            assert!(text.contains(label), "{label}: {text}");
        }
    }

    #[test]
    fn what_is_not_a_number_is_left_out() {
        let points = [(0.0, 1.0), (1.0, f64::NAN), (f64::INFINITY, 2.0), (2.0, 1.0)];
        let text = line(LABELS, &points);
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        let nothing = line(LABELS, &[]);
        assert!(nothing.ends_with("</svg>\n") && !nothing.contains("polyline"));
        assert!(histogram(LABELS, &[], &[]).ends_with("</svg>\n"));
    }

    #[test]
    fn bars_stand_side_by_side() {
        let bar = |from, to, height| Bar { from, to, height };
        let bars = [bar(1.0, 10.0, 5.0), bar(10.0, 100.0, 10.0)];
        let text = histogram(LABELS, &bars, &[("p99", 90.0)]);
        let half = (RIGHT - LEFT) / 2.0;
        assert!(text.contains(&format!("<rect x=\"{:.1}\" y=\"{TOP:.1}\"", LEFT + half + 0.5)));
        assert!(text.contains(">p99 90<"));
        assert_eq!(text.matches("<rect").count(), 2);
    }

    #[test]
    fn a_series_is_drawn_as_its_kind_says() {
        let series = |kind, x_unit| Series {
            name: "latency-duckdb".to_owned(),
            x_unit,
            y_unit: "transactions",
            points: vec![(10.0, 98.0), (50.0, 2.0)],
            kind,
        };
        let spread = svg(&series(Kind::Histogram, "ms"));
        for text in ["latency duckdb", "delay (ms)", ">p50 10<", ">p99 50<", "transactions"] {
            assert!(spread.contains(text), "{text}: {spread}");
        }
        assert!(svg(&series(Kind::Line, "s")).contains("<polyline"));
    }

    #[test]
    fn the_same_figures_give_the_same_file() {
        let points: Vec<(f64, f64)> = (0..50).map(|i| (f64::from(i) * 0.1, 1.0 / 3.0)).collect();
        let draw = || line(LABELS, &points);
        assert_eq!(draw(), draw());
    }
}
