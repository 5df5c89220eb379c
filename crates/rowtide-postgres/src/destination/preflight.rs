//! What could keep tables from being written, found without changing anything.

use std::collections::{HashMap, HashSet};

use rowtide_core::{DeleteMode, Finding, Mode, Result, Severity, TableName, TablePlan};
use tokio_postgres::Row;

use super::link::Link;
use super::standing::{Standing, standings};
use super::target::{Target, check_plan};
use super::{OriginUse, Place, load, origin, state};
use crate::client::get;
use crate::quote::identifier;

/// What is asked of the server at once.
const FACTS: &str = "\
SELECT pg_catalog.current_setting('server_version_num')::int4,
       pg_catalog.current_setting('server_version'),
       pg_catalog.pg_is_in_recovery(),
       pg_catalog.current_setting('server_encoding'),
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'),
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY'),
       current_user::text, pg_catalog.current_database()::text,
       (SELECT s.reset_val FROM pg_catalog.pg_settings s WHERE s.name = 'synchronous_commit')";

/// How many tables the server is asked about at once: what is known of them stays bounded.
const AT_ONCE: usize = 1_000;

struct Check<'a> {
    place: &'a Place,
    link: Link,
    findings: Vec<Finding>,
    role: String,
    database: String,
    may_make_schemas: bool,
}

/// Looks at the server, and at how `tables` would fit into it.
pub(super) async fn look(place: &Place, tables: &[TablePlan]) -> Result<Vec<Finding>> {
    let link = Link::connect(place, "preflight").await?;
    let mut check = Check {
        place,
        link,
        findings: Vec::new(),
        role: String::new(),
        database: String::new(),
        may_make_schemas: false,
    };
    if check.server().await? {
        check.origin().await?;
        check.schemas(tables).await?;
        check.collisions(tables);
        check.tables(tables).await?;
    }
    place.spare.keep(check.link);
    Ok(check.findings)
}

impl Check<'_> {
    fn ok(&mut self, subject: &str, message: impl Into<String>) {
        self.findings.push(Finding::new(Severity::Ok, subject, message));
    }

    fn error(&mut self, subject: &str, message: impl Into<String>, fix: impl Into<String>) {
        let finding = Finding::new(Severity::Error, subject, message);
        self.findings.push(finding.with_fix(fix));
    }

    fn wrong(&mut self, plan: &TablePlan, message: impl Into<String>, fix: impl Into<String>) {
        let finding = Finding::new(Severity::Error, format!("table {}", plan.target), message);
        self.findings.push(finding.with_fix(fix).about(&plan.source.name));
    }

    /// Tells whether it makes sense to look further.
    async fn server(&mut self) -> Result<bool> {
        let row = self.link.sql.row("reading the server's settings", FACTS, &[]).await?;
        let version: i32 = get(&row, 0)?;
        let printed: String = get(&row, 1)?;
        self.may_make_schemas = get(&row, 4)?;
        self.role = get(&row, 6)?;
        self.database = get(&row, 7)?;
        if version < 140_000 {
            let message =
                format!("PostgreSQL {printed} is too old: 14 is the oldest that is supported");
            self.error("version", message, "upgrade the server");
            return Ok(false);
        }
        let address = self.place.connection.address();
        self.ok("version", format!("PostgreSQL {printed} at {address}"));
        if get(&row, 2)? {
            self.error(
                "recovery",
                "the server is a standby, where nothing can be written",
                "connect to the primary",
            );
            return Ok(false);
        }
        let encoding: String = get(&row, 3)?;
        if encoding != "UTF8" {
            let message = format!(
                "the database's encoding is {encoding}, which lacks characters that a source may \
                 have: such a row stops the pipeline"
            );
            self.findings.push(Finding::new(Severity::Warning, "encoding", message));
        }
        if !get::<bool>(&row, 5)? {
            let fix = self.grant("TEMPORARY ON DATABASE", &self.database);
            self.error("temporary tables", "the role may not make any", fix);
        }
        let waits: String = get(&row, 8)?;
        if matches!(waits.as_str(), "on" | "remote_apply") {
            self.ok("synchronous_commit", format!("is {waits}"));
        } else {
            let message =
                format!("is {waits}; Rowtide's own commits wait for the disk all the same");
            self.ok("synchronous_commit", message);
        }
        Ok(true)
    }

    fn grant(&self, what: &str, name: &str) -> String {
        format!("GRANT {what} {} TO {};", identifier(name), identifier(&self.role))
    }

    async fn origin(&mut self) -> Result<()> {
        let used = self.place.options.origin;
        if used == OriginUse::Off {
            return Ok(());
        }
        match (origin::is_allowed(&self.link.sql).await?, used) {
            (true, _) => self.ok("origin", "what is written bears a replication origin"),
            (false, OriginUse::Required) => {
                let functions = origin::FUNCTIONS.join(", ");
                let fix =
                    format!("GRANT EXECUTE ON FUNCTION {functions} TO {};", identifier(&self.role));
                self.error("origin", "the role may not use replication origins", fix);
            }
            (false, _) => self.ok(
                "origin",
                "what is written bears no replication origin, for the role may not use any; it \
                 only matters if this database is itself replicated back",
            ),
        }
        Ok(())
    }

    /// The schemas to write to, and Rowtide's own: the role must be able to make tables there.
    async fn schemas(&mut self, tables: &[TablePlan]) -> Result<()> {
        let mut names: Vec<&str> = tables.iter().map(|plan| &*plan.target.schema).collect();
        names.push(state::SCHEMA);
        names.sort_unstable();
        names.dedup();
        let query = "SELECT n.nspname::text, pg_catalog.has_schema_privilege(n.oid, 'CREATE') \
             FROM pg_catalog.pg_namespace n WHERE n.nspname = ANY ($1::text[])";
        let rows = self.link.sql.rows("looking at the schemas", query, &[&names]).await?;
        let may = |row: &Row| Ok((get::<String>(row, 0)?, get::<bool>(row, 1)?));
        let found: HashMap<String, bool> = rows.iter().map(may).collect::<Result<_>>()?;
        for name in names {
            let subject = format!("schema {name}");
            match found.get(name) {
                Some(true) => {}
                Some(false) => {
                    let fix = self.grant("CREATE, USAGE ON SCHEMA", name);
                    self.error(&subject, "the role may not make tables there", fix);
                }
                None if self.may_make_schemas => {}
                None => {
                    let fix = self.grant("CREATE ON DATABASE", &self.database);
                    self.error(&subject, "does not exist, and the role may not make it", fix);
                }
            }
        }
        Ok(())
    }

    fn collisions(&mut self, tables: &[TablePlan]) {
        let mut seen: HashMap<&TableName, &TableName> = HashMap::new();
        for plan in tables {
            if let Some(other) = seen.insert(&plan.target, &plan.source.name) {
                let message =
                    format!("{other} and {} would both be written there", plan.source.name);
                self.wrong(plan, message, "give one of them another target");
            }
        }
    }

    async fn tables(&mut self, tables: &[TablePlan]) -> Result<()> {
        let owners = state::owners(&self.link.sql).await?;
        let made = owners.iter().filter(|owner| owner.made.is_some());
        let owned: HashSet<_> = made.map(|owner| (&owner.target, &owner.source)).collect();
        // The server is asked about many at once: a question for each would take a round trip of
        // its own.
        for some in tables.chunks(AT_ONCE) {
            let fit: Vec<&TablePlan> = some.iter().filter(|plan| self.fits(plan)).collect();
            let targets = Target::look_up_all(&self.link.sql, &fit).await?;
            let names: Vec<&TableName> = fit.iter().map(|plan| &plan.target).collect();
            let found = standings(&self.link.sql, &names).await?;
            for (plan, target) in fit.into_iter().zip(targets) {
                let is_owned = owned.contains(&(&plan.target, &plan.source.name));
                self.standing(plan, target, (found.get(&plan.target), is_owned));
            }
        }
        Ok(())
    }

    /// Whether the server takes the names of `plan`; says what else is wrong with it.
    fn fits(&mut self, plan: &TablePlan) -> bool {
        if let Err(error) = check_plan(plan) {
            let fix = error.hint().unwrap_or_default();
            self.wrong(plan, error.message(), fix);
            return false;
        }
        if &*plan.target.schema == state::SCHEMA {
            let fix = "give the table another target";
            self.wrong(plan, "the schema _rowtide is Rowtide's own", fix);
        }
        let soft = plan.mode == Mode::Merge && plan.delete == DeleteMode::Soft;
        if soft && plan.metadata.deleted.is_none() {
            let message = "soft delete needs a metadata column for the mark";
            self.wrong(plan, message, "name it in the table's metadata (deleted)");
        }
        true
    }

    /// What stands under the target's name must be ours, and hold the rows.
    fn standing(
        &mut self,
        plan: &TablePlan,
        target: Result<Target>,
        (found, is_owned): (Option<&Standing>, bool),
    ) {
        let checked = target.and_then(|target| match found {
            Some(found) if is_owned => found.check(plan, &target.columns),
            _ => Ok(()),
        });
        if let Err(error) = checked {
            let fix = error.hint().unwrap_or_default().to_owned();
            self.wrong(plan, error.message(), fix);
        } else if found.is_some() && !is_owned {
            let message = "a table stands there that Rowtide did not make for this one";
            let fix = load::stranger_fix(&plan.source.name, &plan.target);
            self.wrong(plan, message, fix);
        }
    }
}
