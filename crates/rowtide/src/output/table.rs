//! A plain table for results.

/// On which side a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of text under headings.
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table, each line behind two blanks, with a newline at the end.
    pub(crate) fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let cells = self.rows.iter().filter_map(|row| row.get(at));
                let longest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
                longest.max(self.columns[at].0.chars().count())
            })
            .collect();
        let headings: Vec<String> =
            self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        let mut out = String::new();
        for row in [&headings, &rule].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for (at, cell) in row.iter().enumerate().take(widths.len()) {
                let padding = " ".repeat(widths[at].saturating_sub(cell.chars().count()));
                line.push_str("  ");
                match self.columns[at].1 {
                    Align::Left => line.extend([cell.as_str(), &padding]),
                    Align::Right => line.extend([padding.as_str(), cell]),
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("table", Align::Left), ("rows", Align::Right)]);
        table.row(["a".into(), "1,000".into()]);
        table.row(["longer".into(), "1".into()]);
        let expected = "  table    rows\n  ──────  ─────\n  a       1,000\n  longer      1\n";
        assert_eq!(table.render(), expected);
    }
}
