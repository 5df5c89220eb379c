//! What of the selected tables is followed, and what is not, each with its reason.

use rowtide_core::{Finding, Pattern, Severity, TableName};

use super::Check;
use crate::catalog::CatalogTable;
use crate::source::unfit;

impl Check<'_> {
    /// Whatever is selected and is no table to follow.
    pub(super) fn unfit(&mut self, tables: &[CatalogTable]) {
        let mut sequences = Vec::new();
        for table in tables.iter().filter(|table| !table.is_candidate()) {
            let subject = table.name.to_string();
            if self.is_named(&table.name) {
                let fix = "take it out of the list of tables";
                let finding = Finding::new(Severity::Error, subject, unfit(table));
                self.findings.push(finding.with_fix(fix).about(&table.name));
            } else if table.kind == b'S' {
                sequences.push(subject);
            } else if !table.is_partition {
                self.say(Severity::Warning, subject, format!("{}; it is left out", unfit(table)));
            }
        }
        if !sequences.is_empty() {
            let list = sequences.join(", ");
            let message = format!("are left out, their values are not in the log: {list}");
            self.ok("sequences", message);
        }
        let partitions = tables.iter().filter(|table| table.is_partition);
        let any_root = tables.iter().any(|table| table.kind == b'p' && !table.is_partition);
        let partitions: Vec<_> = partitions.map(|table| table.name.to_string()).collect();
        if !partitions.is_empty() && !any_root {
            let message =
                "are selected, but not the table they are partitions of: they are left out";
            let fix = "select the partitioned table";
            let list = partitions.join(", ");
            self.say_fix(Severity::Warning, "partitions", format!("{list} {message}"), fix);
        }
    }

    fn is_named(&self, name: &TableName) -> bool {
        self.selection.include.iter().filter_map(Pattern::exact).any(|named| named == *name)
    }

    /// The columns and rows of a table that are left out.
    pub(super) fn extent(&mut self, table: &CatalogTable) {
        let subject = table.name.to_string();
        let listed = table.published.columns.is_some();
        let names = |generated: bool| -> Vec<&str> {
            let left_out = table.left_out().filter(|column| column.generated == generated);
            left_out.map(|column| column.name.as_str()).collect()
        };
        let generated = names(true).join(", ");
        if !generated.is_empty() {
            let why = match table.left_out().any(|column| column.stored) {
                true if listed || table.published.generated => "are not published",
                true => "are not in the log",
                false => "are virtual, and not in the log",
            };
            let message = format!("generated columns {why} and are left out: {generated}");
            self.say(Severity::Warning, &subject, message);
        }
        let other = names(false).join(", ");
        if !other.is_empty() {
            let message = format!("the publication leaves out the columns {other}");
            self.say(Severity::Warning, &subject, message);
        }
        if let Some(filter) = &table.published.filter {
            let message = format!("the publication publishes only rows WHERE {filter}");
            self.say(Severity::Warning, subject, message);
        }
    }
}
