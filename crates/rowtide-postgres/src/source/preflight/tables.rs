//! The tables: rights, identity, and what the log cannot carry.

use rowtide_core::{Finding, Identity, Mode, Pattern, Result, Severity};

use super::Check;
use crate::catalog::CatalogTable;
use crate::quote::identifier;
use crate::source::attach::check_given;
use crate::source::publication::{Publication, Wanted, identity_fixes};
use crate::source::{rights, shape};

impl Check<'_> {
    pub(super) async fn tables(&mut self, publications: &[Publication]) -> Result<()> {
        let tables = std::mem::take(&mut self.tables);
        let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
        let rights = rights::load(&self.sql, &oids).await?;
        let main = &self.source.names.publication;
        let given = publications.iter().find(|found| found.name == *main && !found.ours);
        let mut fit = 0;
        self.unfit(&tables);
        let shapes = shape::load(&self.sql, &oids).await?;
        for table in tables.iter().filter(|table| table.is_candidate()) {
            fit += 1;
            let Some(rights) = rights.get(&table.oid) else { continue };
            let publishing = given.is_none() && (self.modes)(&table.name) != Mode::Replace;
            for missing in rights.missing(self.source, table, publishing) {
                self.waits(table, missing.what, missing.fix);
            }
            self.identity(table, rights);
            self.extent(table);
            let unlogged = shapes.get(&table.oid).and_then(|shape| shape.unlogged.clone());
            if let Some(why) = unlogged.filter(|_| (self.modes)(&table.name) != Mode::Replace) {
                let message = format!("{why}: its changes are not in the log");
                let fix = "make it a logged table of this server, or set mode = \"replace\"";
                self.waits(table, message, fix);
            }
        }
        self.missing(&tables);
        if fit == 0 {
            self.say_fix(
                Severity::Error,
                "tables",
                "no table is selected",
                "correct the list of tables; a pattern without a schema means `public`",
            );
        }
        self.publication(&tables, given);
        self.tables = tables;
        Ok(())
    }

    /// Tables that are named and do not exist.
    fn missing(&mut self, tables: &[CatalogTable]) {
        let named: Vec<_> = self.selection.include.iter().filter_map(Pattern::exact).collect();
        for name in named {
            let exists = tables.iter().any(|table| table.name == name);
            if !exists && self.selection.contains(&name) {
                let message = "does not exist (or the role may not see it)";
                let finding = Finding::new(Severity::Error, name.to_string(), message);
                self.findings.push(finding.with_fix("correct the list of tables").about(&name));
            }
        }
    }

    /// What keeps one table from being followed, and no other.
    fn waits(&mut self, table: &CatalogTable, message: String, fix: impl Into<String>) {
        let finding = Finding::new(Severity::Error, table.name.to_string(), message);
        self.findings.push(finding.with_fix(fix).of_one_table(&table.name));
    }

    fn identity(&mut self, table: &CatalogTable, rights: &rights::Rights) {
        let mode = (self.modes)(&table.name);
        let subject = table.name.to_string();
        if mode == Mode::Replace {
            return self.ok(subject, "is copied whole at each run");
        }
        let why = match table.replica_identity {
            b'n' => "REPLICA IDENTITY is NOTHING",
            b'i' => "the index of its REPLICA IDENTITY is gone",
            _ if rights.deferrable_key => "its primary key is deferrable",
            _ if table.published.columns.is_some() && table.left_out().next().is_some() => {
                "the publication's list of columns does not have its key (or all columns, under \
                 REPLICA IDENTITY FULL)"
            }
            _ => "it has no primary key",
        };
        match (table.key().1, mode) {
            (Identity::Key, _) => self.ok(subject, "rows are identified by key"),
            (Identity::FullRow, _) => self.say(
                Severity::Warning,
                subject,
                "it has no key: rows are matched by all their values, which costs more",
            ),
            (Identity::None, Mode::Append) => self.say(
                Severity::Warning,
                subject,
                format!("{why}: only its inserts and truncates are followed"),
            ),
            (Identity::None, _) => self.waits(
                table,
                format!(
                    "{why}: its updates and deletes cannot be followed, and publishing it would \
                     make the server refuse them"
                ),
                identity_fixes(&table.name),
            ),
        }
    }

    /// A publication that was given must contain the tables.
    fn publication(&mut self, tables: &[CatalogTable], given: Option<&Publication>) {
        let name = self.source.names.publication.clone();
        let Some(given) = given else {
            return self.ok("publication", format!("`{name}` is Rowtide's own"));
        };
        if self.source.options.publication.is_none() {
            let message = format!("`{name}` exists, but was not made by this pipeline");
            let fix = format!(
                "set publication = \"{name}\" to use it, or DROP PUBLICATION {};",
                identifier(&name)
            );
            return self.say_fix(Severity::Error, "publication", message, fix);
        }
        let mapping = self.source.options.mapping();
        let schemas: Vec<_> = tables
            .iter()
            .filter(|table| table.is_candidate())
            .map(|table| table.schema(&self.types, mapping))
            .collect();
        let modes = schemas.iter().map(|schema| (schema.as_ref(), (self.modes)(&schema.name)));
        // Tables without identity have findings of their own.
        let usable = modes
            .filter(|(schema, mode)| schema.identity != Identity::None || *mode == Mode::Append);
        let roots = tables.iter().filter(|table| table.kind == b'p');
        let roots = roots.map(|table| u64::from(table.oid)).collect();
        let checked = Wanted::of(usable).and_then(|wanted| check_given(given, &wanted, &roots));
        match checked {
            Ok(()) => self.ok("publication", format!("`{name}` contains the tables")),
            Err(error) => {
                let fix = error.hint().unwrap_or_default().to_owned();
                self.say_fix(Severity::Error, "publication", error.message(), fix);
            }
        }
    }
}
