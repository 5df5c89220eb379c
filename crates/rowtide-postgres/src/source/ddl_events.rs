//! Event triggers at the source that tell of schema changes in the log, at their place.
//!
//! Without them a table's new layout is known only from its next row, and that its rows were
//! written anew only from the catalog, a while later. With them the log says so in the transaction
//! that does it: the layout as it was at that moment, a rewrite, a drop. They change nothing else:
//! whatever is lost or never said is still noticed as without them.

use rowtide_core::{Error, Remedy, Result, TableSchema};
use serde::Deserialize;

use super::PostgresSource;
use super::identity::Names;
use crate::catalog::{CatalogColumn, CatalogTable};
use crate::client::{Sql, get};
use crate::protocol::pgoutput::{Relation, RelationColumn};
use crate::quote::{identifier, literal, shortened};

/// The prefix of the messages.
pub(super) const PREFIX: &[u8] = b"rowtide.ddl";

/// The events, by the names' ends, and which commands they are about.
const EVENTS: [(&str, &str); 3] =
    [("end", "ddl_command_end"), ("rewrite", "table_rewrite"), ("drop", "sql_drop")];

/// What a message says of a table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Told {
    slot: String,
    pub(super) oid: u32,
    #[serde(default)]
    dropped: bool,
    #[serde(default)]
    rewritten: bool,
    layout: Option<Layout>,
}

/// How the rows of a table are laid out from here on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Layout {
    schema: String,
    name: String,
    identity: String,
    /// The file its rows are in; zero without one.
    file: u64,
    columns: Vec<Column>,
}

/// A column as the catalog had it, dropped ones included.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Column {
    number: i32,
    name: String,
    #[serde(rename = "type")]
    type_oid: u32,
    modifier: i32,
    dropped: bool,
    generated: bool,
    stored: bool,
    identity: bool,
    has_default: bool,
    not_null: bool,
    missing: Option<String>,
    /// It identifies rows.
    key: bool,
}

impl Told {
    /// Reads a message of the prefix; `None` if it is none of the slot's, or nothing that was
    /// written by a trigger: anybody may write messages.
    pub(super) fn read(content: &[u8], slot: &str) -> Option<Self> {
        serde_json::from_slice::<Self>(content).ok().filter(|told| told.slot == slot)
    }

    /// What became of the table, if the log alone no longer leads to its rows.
    pub(super) fn untold(&self) -> Option<(&'static str, Remedy)> {
        if self.dropped {
            return Some(("it was dropped at the source", Remedy::Copy));
        }
        let why = "a schema change wrote its rows anew: existing rows may have other values";
        self.rewritten.then_some((why, Remedy::Copy))
    }

    /// The layout as the log itself would announce it before the next row.
    pub(super) fn relation(&self, known: &TableSchema) -> Option<Relation> {
        let layout = self.layout.as_ref()?;
        let column = |column: &Column| RelationColumn {
            key: column.key,
            name: column.name.clone(),
            type_oid: column.type_oid,
            type_modifier: column.modifier,
        };
        // Whether generated columns are published is not for the triggers to know: those that are
        // known are, and new ones are announced with the next row.
        let known = |number| known.columns.iter().any(|column| column.number == number);
        let logged =
            |column: &&Column| !column.dropped && (!column.generated || known(column.number));
        let logged = layout.columns.iter().filter(logged);
        Some(Relation {
            id: self.oid,
            schema: layout.schema.clone(),
            name: layout.name.clone(),
            identity: layout.identity.bytes().next().unwrap_or(b'd'),
            columns: logged.map(column).collect(),
        })
    }
}

impl Told {
    /// Gives `catalog`, which was read later, the columns that the table had.
    pub(super) fn correct(&self, catalog: &mut CatalogTable) {
        let Some(layout) = &self.layout else { return };
        let column = |column: &Column| CatalogColumn {
            number: column.number,
            name: column.name.clone(),
            type_oid: column.type_oid,
            modifier: column.modifier,
            printed: String::new(),
            dropped: column.dropped,
            generated: column.generated,
            stored: column.stored,
            identity: column.identity,
            has_default: column.has_default,
            not_null: column.not_null,
            missing: column.missing.clone(),
        };
        catalog.storage = Some(layout.file).filter(|file| *file != 0);
        catalog.columns = layout.columns.iter().map(column).collect();
    }
}

fn trigger(names: &Names, event: &str) -> String {
    format!("{}_{event}", shortened(&names.slot, 50))
}

/// Everything that makes the triggers, to be run as a superuser.
pub(super) fn setup(names: &Names) -> String {
    let (function, slot) = (identifier(&names.slot), literal(&names.slot));
    let mut sql = format!(
        "CREATE SCHEMA IF NOT EXISTS rowtide; \
         CREATE OR REPLACE FUNCTION rowtide.{function}() RETURNS event_trigger LANGUAGE plpgsql \
         SET search_path = pg_catalog SET datestyle = 'ISO' SET intervalstyle = 'postgres' \
         SET extra_float_digits = 1 SET bytea_output = 'hex' SET timezone = 'UTC' \
         SET lc_monetary = 'C' SET xmlbinary = 'base64' AS $rowtide$ \
DECLARE told jsonb; \
BEGIN \
  IF TG_EVENT = 'ddl_command_end' THEN FOR told IN \
    SELECT jsonb_build_object('oid', c.oid::int8, 'layout', jsonb_build_object( \
      'schema', n.nspname, 'name', c.relname, 'identity', c.relreplident, \
      'file', c.relfilenode::int8, \
      'columns', (SELECT coalesce(jsonb_agg(jsonb_build_object('number', a.attnum, \
          'name', a.attname, 'type', a.atttypid::int8, 'modifier', a.atttypmod, \
          'dropped', a.attisdropped, 'generated', a.attgenerated <> '', 'stored', a.attgenerated = 's', \
          'identity', a.attidentity <> '', 'has_default', a.atthasdef, \
          'not_null', a.attnotnull, 'missing', \
          CASE WHEN a.atthasmissing THEN (a.attmissingval::text::text[])[1] END, \
          'key', c.relreplident = 'f' OR EXISTS (SELECT FROM pg_index i \
            WHERE i.indrelid = c.oid AND a.attnum = ANY (i.indkey::int2[]) \
            AND CASE c.relreplident WHEN 'd' THEN i.indisprimary \
                WHEN 'i' THEN i.indisreplident ELSE false END)) ORDER BY a.attnum), '[]') \
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0))) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' \
      AND TG_TAG LIKE 'ALTER %' AND c.oid IN (SELECT d.objid FROM pg_event_trigger_ddl_commands() d \
        WHERE d.classid = 'pg_class'::regclass) \
  LOOP \
    PERFORM pg_logical_emit_message(true, 'rowtide.ddl', \
      (told || jsonb_build_object('slot', {slot}))::text); \
  END LOOP; \
  ELSIF TG_EVENT = 'table_rewrite' THEN \
    IF pg_event_trigger_table_rewrite_reason() & 6 <> 0 THEN \
      PERFORM pg_logical_emit_message(true, 'rowtide.ddl', jsonb_build_object('slot', {slot}, \
        'oid', pg_event_trigger_table_rewrite_oid()::int8, 'rewritten', true)::text); \
    END IF; \
  ELSIF TG_EVENT = 'sql_drop' THEN \
    PERFORM pg_logical_emit_message(true, 'rowtide.ddl', jsonb_build_object('slot', {slot}, \
        'oid', d.objid::int8, 'dropped', true)::text) \
    FROM pg_event_trigger_dropped_objects() d \
    WHERE d.object_type = 'table' AND NOT d.is_temporary; \
  END IF; \
EXCEPTION WHEN OTHERS THEN \
  RAISE WARNING 'rowtide: a schema change is not told in the log: %', SQLERRM; \
END $rowtide$;"
    );
    for (end, event) in EVENTS {
        let name = identifier(&trigger(names, end));
        sql.push_str(&format!(
            " CREATE EVENT TRIGGER {name} ON {event} EXECUTE FUNCTION rowtide.{function}();"
        ));
    }
    sql
}

/// The triggers that call our function, whatever they are called, and whether each of them fires.
async fn standing(sql: &Sql, names: &Names) -> Result<Vec<(String, bool)>> {
    let query = "SELECT e.evtname::text, e.evtenabled IN ('O', 'A') \
         FROM pg_catalog.pg_event_trigger e JOIN pg_catalog.pg_proc p ON p.oid = e.evtfoid \
         JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
         WHERE n.nspname = 'rowtide' AND p.proname = $1::text::name ORDER BY 1";
    let rows = sql.rows("looking for event triggers", query, &[&names.slot]).await?;
    rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
}

/// Whether all triggers stand and fire.
pub(super) async fn stand(sql: &Sql, names: &Names) -> Result<bool> {
    let standing = standing(sql, names).await?;
    Ok(standing.iter().filter(|(_, fires)| *fires).count() == EVENTS.len())
}

/// Makes the triggers, unless they stand.
///
/// # Errors
/// `Access` with the statements for a superuser, if the role may not.
pub(super) async fn install(source: &PostgresSource, sql: &Sql) -> Result<()> {
    if !source.options.ddl_events || stand(sql, &source.names).await? {
        return Ok(());
    }
    let doing = "making the event triggers of `ddl_events`";
    let drops = drops(&standing(sql, &source.names).await?);
    let make = format!("BEGIN; {drops}{} COMMIT", setup(&source.names));
    match sql.execute(doing, &make).await {
        Ok(()) => Ok(()),
        Err(error) => {
            sql.execute(doing, "ROLLBACK").await?;
            Err(Error::new(error.kind(), error.chain()).with_hint(format!(
                "as a superuser: {} Or leave `ddl_events` out",
                setup(&source.names)
            )))
        }
    }
}

fn drops(standing: &[(String, bool)]) -> String {
    let drop = |(name, _): &(String, bool)| format!("DROP EVENT TRIGGER {}; ", identifier(name));
    standing.iter().map(drop).collect()
}

/// Removes the triggers, if there are any; tells what was removed.
pub(super) async fn remove(sql: &Sql, names: &Names) -> Result<Option<String>> {
    let doing = "removing the event triggers of `ddl_events`";
    let standing = standing(sql, names).await?;
    if standing.is_empty() {
        return Ok(None);
    }
    let function = identifier(&names.slot);
    let drop = format!("{}DROP FUNCTION IF EXISTS rowtide.{function}()", drops(&standing));
    sql.execute(doing, &drop).await?;
    // Another pipeline's may be in there.
    let empty = "SELECT 1 FROM pg_catalog.pg_namespace n WHERE n.nspname = 'rowtide' AND NOT EXISTS \
         (SELECT FROM pg_catalog.pg_depend d WHERE d.refclassid = 'pg_catalog.pg_namespace'::regclass \
          AND d.refobjid = n.oid)";
    if !sql.rows(doing, empty, &[]).await?.is_empty() {
        sql.execute(doing, "DROP SCHEMA rowtide").await?;
    }
    Ok(Some(format!("event triggers of {}", names.slot)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_trigger_wrote_for_this_slot_is_read() {
        let read = |text: &str| Told::read(text.as_bytes(), "rowtide_p");
        let rewritten = read(r#"{"slot":"rowtide_p","oid":7,"rewritten":true}"#).unwrap();
        assert!(rewritten.untold().is_some_and(|(why, _)| why.contains("anew")));
        let layout = r#"{"slot":"rowtide_p","oid":7,"layout":{"schema":"s","name":"t","identity":"d",
            "file":5,
            "columns":[{"number":1,"name":"id","type":23,"modifier":-1,"dropped":false,
            "generated":false,"stored":false,"identity":false,"has_default":false,"not_null":true,"missing":null,
            "key":true},{"number":2,"name":"........pg.dropped.2........","type":0,"modifier":-1,
            "dropped":true,"generated":false,"stored":false,"identity":false,"has_default":false,
            "not_null":false,"missing":null,"key":false}]}}"#;
        let id = (7, rowtide_core::TableName::new("s", "t"));
        let known = TableSchema::new(id, 1, Vec::new(), Vec::new(), rowtide_core::Identity::Key);
        let relation = read(layout).unwrap().relation(&known).unwrap();
        assert_eq!((relation.id, relation.columns.len(), relation.identity), (7, 1, b'd'));
        assert!(relation.columns[0].key);
        for other in
            ["", "{}", "null", r#"{"slot":"rowtide_q","oid":7}"#, r#"{"slot":"rowtide_p"}"#]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
