//! The few SVG elements that a chart needs, written as text.
//!
//! No background is painted: the colours stand out from white as well as from a dark page.

use std::fmt::Write;

/// Size of a picture, and of the area inside its axes.
pub(super) const WIDTH: f64 = 760.0;
pub(super) const HEIGHT: f64 = 340.0;
pub(super) const LEFT: f64 = 68.0;
pub(super) const RIGHT: f64 = WIDTH - 20.0;
pub(super) const TOP: f64 = 56.0;
pub(super) const BOTTOM: f64 = HEIGHT - 52.0;

/// Text and axes.
pub(super) const INK: &str = "#78828c";
pub(super) const CURVE: &str = "#2f81f7";
pub(super) const BAR: &str = "#d9730d";

/// A picture being written.
pub(super) struct Picture(String);

/// Where a text lies relative to its point.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Picture {
    /// An empty picture called `title`, which is also read aloud in its place.
    pub(super) fn new(title: &str) -> Self {
        let title = escaped(title);
        Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"{title}\" \
             font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<title>{title}</title>\n"
        ))
    }

    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), opacity: f64) {
        self.push(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" \
             stroke=\"{INK}\" stroke-opacity=\"{opacity}\"/>"
        ));
    }

    /// A curve through all points; a dot where there is one alone.
    pub(super) fn curve(&mut self, points: &[(f64, f64)], colour: &str) {
        if let [(x, y)] = points {
            self.push(format_args!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\"/>"
            ));
            return;
        }
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.push(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" \
             stroke-linejoin=\"round\"/>",
            points.join(" ")
        ));
    }

    /// A filled box between two corners.
    pub(super) fn bar(&mut self, (left, top): (f64, f64), (right, bottom): (f64, f64), fill: &str) {
        self.push(format_args!(
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{fill}\"/>",
            (right - left).max(0.0),
            (bottom - top).max(0.0)
        ));
    }

    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = anchor.as_str();
        let text = escaped(text);
        self.push(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{INK}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    pub(super) fn heading(&mut self, (x, y): (f64, f64), text: &str) {
        let text = escaped(text);
        self.push(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{INK}\" font-size=\"14\" \
             font-weight=\"600\">{text}</text>"
        ));
    }

    /// The whole file.
    pub(super) fn finish(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{element}");
    }
}

impl Anchor {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance as WCAG defines it.
    fn luminance(colour: &str) -> f64 {
        let part = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    }

    #[test]
    fn colours_stand_out_from_white_and_from_a_dark_page() {
        for colour in [CURVE, BAR, INK] {
            for page in ["#ffffff", "#0d1117"] {
                let (a, b) = (luminance(colour), luminance(page));
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(contrast >= 3.0, "{colour} on {page}: {contrast:.2}");
            }
        }
    }

    #[test]
    fn text_cannot_end_an_element() {
        let mut picture = Picture::new("a < b & \"c\"");
        picture.text((0.0, 0.0), Anchor::End, "</svg>");
        let text = picture.finish();
        assert!(text.contains("a &lt; b &amp; &quot;c&quot;") && text.contains("&lt;/svg&gt;"));
        assert_eq!(text.matches("</svg>").count(), 1);
    }
}
