//! The role, and the SQL for one that may do what is needed and nothing else.

use std::collections::BTreeSet;

use rowtide_core::{Identity, Mode, Result, Severity};

use super::Check;
use super::server::Facts;
use crate::catalog::CatalogTable;
use crate::client::get;
use crate::quote::{identifier, table_name};
use crate::source::attach::FIRST_THAT_FORGETS;
use crate::source::ddl_events;

const ROLE: &str = "\
SELECT r.rolname::text, r.rolsuper,
       r.rolreplication OR EXISTS (
           SELECT FROM pg_catalog.pg_roles m WHERE m.rolname = 'rds_replication'
           AND pg_catalog.pg_has_role(r.oid, m.oid, 'member')),
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'),
       pg_catalog.current_database()::text
FROM pg_catalog.pg_roles r WHERE r.rolname = CURRENT_USER";

impl Check<'_> {
    pub(super) async fn role(&mut self, facts: &Facts) -> Result<()> {
        let row = self.sql.row("reading the role", ROLE, &[]).await?;
        let (role, superuser): (String, bool) = (get(&row, 0)?, get(&row, 1)?);
        let (replication, create): (bool, bool) = (get(&row, 2)?, get(&row, 3)?);
        let database: String = get(&row, 4)?;
        let quoted = identifier(&role);
        if !replication && !superuser {
            self.say_fix(
                Severity::Error,
                "role",
                format!("{role} may not read the log"),
                format!("ALTER ROLE {quoted} REPLICATION;"),
            );
        }
        if !create && let Some(why) = self.must_create(facts) {
            self.say_fix(
                Severity::Error,
                "role",
                format!("{role} may not make a publication in {database}{why}"),
                format!("GRANT CREATE ON DATABASE {} TO {quoted};", identifier(&database)),
            );
        }
        if self.source.options.ddl_events
            && !superuser
            && !ddl_events::stand(&self.sql, &self.source.names).await?
        {
            self.say_fix(
                Severity::Error,
                "ddl_events",
                format!("{role} may not make event triggers"),
                format!("as a superuser: {}", ddl_events::setup(&self.source.names)),
            );
        }
        match self.least_privilege(&database, facts) {
            Some(fix) if superuser => {
                let message = format!("{role} is a superuser; a role with fewer rights is enough");
                self.say_fix(Severity::Ok, "role", message, fix);
            }
            _ => self.ok("role", format!("connected as {role}")),
        }
        Ok(())
    }

    pub(super) fn follows_anything(&self) -> bool {
        self.followed().next().is_some()
    }

    fn followed(&self) -> impl Iterator<Item = &CatalogTable> {
        self.tables
            .iter()
            .filter(|table| table.is_candidate() && (self.modes)(&table.name) != Mode::Replace)
    }

    /// Whether publications are made, and what is to be said of why.
    fn must_create(&self, facts: &Facts) -> Option<&'static str> {
        let given = self.source.options.publication.is_some();
        if !given && self.follows_anything() {
            return Some("");
        }
        self.makes_forget(facts).then_some(
            ", as each start does for a moment: without that, PostgreSQL 14 goes on publishing the \
             rows of detached partitions as their former table's",
        )
    }

    /// Whether the server must be made to forget what belonged to a partitioned table.
    fn makes_forget(&self, facts: &Facts) -> bool {
        facts.version < FIRST_THAT_FORGETS && self.followed().any(|table| table.kind == b'p')
    }

    /// Everything a new role needs, with a publication that the tables' owner makes for it. A
    /// table without identity stays out of it: publishing its updates would make them fail.
    fn least_privilege(&self, database: &str, facts: &Facts) -> Option<String> {
        let names = &self.source.names;
        let fit: Vec<_> = self.tables.iter().filter(|table| table.is_candidate()).collect();
        let schemas: BTreeSet<_> = fit.iter().map(|table| identifier(&table.name.schema)).collect();
        if schemas.is_empty() {
            return None;
        }
        let schemas: Vec<_> = schemas.into_iter().collect();
        let list = |tables: Vec<String>| tables.join(", ");
        let published = fit.iter().filter(|table| {
            table.key().1 != Identity::None && (self.modes)(&table.name) != Mode::Replace
        });
        let published = list(published.map(|table| table_name(&table.name)).collect());
        let mut sql = format!(
            "CREATE ROLE rowtide LOGIN REPLICATION PASSWORD '…'; \
             GRANT CONNECT ON DATABASE {} TO rowtide; \
             GRANT USAGE ON SCHEMA {} TO rowtide; \
             GRANT SELECT ON {} TO rowtide;",
            identifier(database),
            schemas.join(", "),
            list(fit.iter().map(|table| table_name(&table.name)).collect()),
        );
        if self.makes_forget(facts) {
            sql.push_str(&format!(
                " GRANT CREATE ON DATABASE {} TO rowtide;",
                identifier(database)
            ));
        }
        if !published.is_empty() {
            sql.push_str(&format!(
                " CREATE PUBLICATION {} FOR TABLE {published} \
                 WITH (publish_via_partition_root = true); \
                 -- and set publication = \"{}\"; tables with row level security need BYPASSRLS",
                identifier(&names.publication),
                names.publication,
            ));
        }
        Some(sql)
    }
}
