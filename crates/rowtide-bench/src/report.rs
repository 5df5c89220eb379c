//! What a measurement found: lines of a table, and series of points for a plot.

mod machine;
mod markdown;
#[cfg(test)]
mod tests;
mod write;

use serde::Serialize;

use crate::rounds::Spread;
use crate::stopwatch::Taken;
use crate::targets::Target;

pub(crate) use machine::Machine;
pub(crate) use write::{Section, write};

/// What one measurement found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Outcome {
    pub(crate) lines: Vec<Line>,
    pub(crate) series: Vec<Series>,
}

impl Outcome {
    /// Adds a line.
    pub(crate) fn line(&mut self, line: Line) {
        self.lines.push(line);
    }
}

/// A row of the report: what was measured, and its figures, as far as there are any.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) figure: Option<Figure>,
    /// What the issue asks of the figure itself.
    pub(crate) target: Option<Target>,
    /// What it took; of several rounds, the median one.
    pub(crate) taken: Option<Taken>,
    /// The fastest and the slowest round.
    pub(crate) spread: Option<Spread>,
    pub(crate) ratio: Option<Ratio>,
    pub(crate) note: String,
}

impl Line {
    /// A line with a figure.
    pub(crate) fn of(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        let figure = Some(Figure { value, unit });
        Self { what: what.into(), figure, ..Self::default() }
    }

    /// A line of words: the size of the load, or why there is no figure.
    pub(crate) fn said(what: impl Into<String>, note: impl Into<String>) -> Self {
        Self { what: what.into(), note: note.into(), ..Self::default() }
    }

    pub(crate) fn target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    pub(crate) fn taken(mut self, taken: Taken) -> Self {
        self.taken = Some(taken);
        self
    }

    pub(crate) fn spread(mut self, spread: Spread) -> Self {
        self.spread = Some(spread);
        self
    }

    /// How many times as good it is as another line of the same run.
    pub(crate) fn ratio(mut self, to: &'static str, value: f64, target: Option<Target>) -> Self {
        self.ratio = Some(Ratio { to, value, target });
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// What the issue asks of this line, with what was measured.
    pub(crate) fn judged(&self) -> impl Iterator<Item = (Target, f64)> {
        let figure = self.target.zip(self.figure.map(|figure| figure.value));
        let ratio = self.ratio.and_then(|ratio| ratio.target.zip(Some(ratio.value)));
        figure.into_iter().chain(ratio)
    }
}

/// A number and its unit.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Figure {
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
}

/// A comparison inside one run.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Ratio {
    pub(crate) to: &'static str,
    pub(crate) value: f64,
    pub(crate) target: Option<Target>,
}

/// Points for a plot.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Series {
    /// Names the file as well: `name.svg`, in small letters and hyphens.
    pub(crate) name: String,
    pub(crate) x_unit: &'static str,
    pub(crate) y_unit: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
    pub(crate) kind: Kind,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Kind {
    Line,
    Histogram,
}
