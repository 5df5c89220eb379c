//! A target, ready for SQL: its columns with their types here, its names quoted, its key.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use rowtide_core::{Error, Mode, Result, TablePlan};
use tokio_postgres::Row;

use super::standing::Standing;
use crate::client::{Sql, get};
use crate::encode::{TargetColumn, columns_of};
use crate::quote::{identifier, table_name};

/// What names may have: the server cuts off what is longer, and two names could become one.
const NAME_BYTES: usize = 63;

/// How many columns a table can have.
pub(super) const MOST_COLUMNS: usize = 1_600;

/// What every table has besides its columns, under names that are taken therefore.
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"];

/// What is written to, and how.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Quoted.
    pub(super) name: String,
    /// What the plan says of the rows.
    pub(super) planned: SchemaRef,
    /// The same with room for NULL everywhere: rows that stand for a deleted one hold little.
    pub(super) schema: SchemaRef,
    pub(super) columns: Vec<TargetColumn>,
    /// All columns, quoted, in the plan's order. Where they stand in the table may differ.
    pub(super) names: String,
    /// Indices of the key's columns.
    pub(super) key: Vec<usize>,
    /// The equality of each key column: its own index knows only this one.
    equals: Vec<String>,
    /// Whether the table's columns have exactly the types that rows are encoded for. Otherwise
    /// rows take the way over a stage, from which the server converts them.
    pub(super) is_direct: bool,
    /// Whether a row may be changed where it stands. Not if something besides the key is unique:
    /// then two rows that swap values would meet.
    pub(super) is_changed_in_place: bool,
}

impl Target {
    /// Looks up the types that the columns of `plan` have at this server.
    pub(super) async fn look_up(sql: &Sql, plan: &TablePlan) -> Result<Self> {
        let mut one = Self::look_up_all(sql, &[plan]).await?;
        one.pop().unwrap_or_else(|| Err(Error::internal("a plan got no target")))
    }

    /// The same for each of `plans`, with as many questions as for one.
    ///
    /// # Errors
    /// Of the connection; what is wrong with one plan stands in its place.
    pub(super) async fn look_up_all(sql: &Sql, plans: &[&TablePlan]) -> Result<Vec<Result<Self>>> {
        let mut found = columns_of(sql, plans).await?;
        for (found, plan) in found.iter_mut().zip(plans) {
            if let Err(error) = check_plan(plan) {
                *found = Err(error);
            }
        }
        let mut keys = BTreeSet::new();
        for (found, plan) in found.iter().zip(plans) {
            let Ok(columns) = found else { continue };
            keys.extend(plan.source.key.iter().map(|&at| columns[at].staging_type.as_str()));
        }
        let equalities = equalities(sql, &keys.into_iter().collect::<Vec<_>>()).await?;
        let pairs = plans.iter().zip(found);
        Ok(pairs.map(|(plan, columns)| Ok(Self::of(plan, columns?, &equalities))).collect())
    }

    fn of(plan: &TablePlan, columns: Vec<TargetColumn>, equalities: &Equalities) -> Self {
        let equality = |&at: &usize| {
            let found = equalities.get(&columns[at].staging_type);
            found.map_or_else(|| "=".to_owned(), String::clone)
        };
        let planned = plan.target_arrow();
        let fields = planned.fields().iter();
        let fields: Vec<_> =
            fields.map(|field| field.as_ref().clone().with_nullable(true)).collect();
        Self {
            name: table_name(&plan.target),
            schema: Arc::new(Schema::new(fields)),
            planned,
            names: list(columns.iter().map(|column| identifier(&column.name))),
            key: plan.source.key.clone(),
            equals: plan.source.key.iter().map(equality).collect(),
            columns,
            is_direct: true,
            is_changed_in_place: false,
        }
    }

    /// The same as it is to be written to what stands there, if that makes a difference.
    pub(super) fn fitted(&self, standing: &Standing) -> Option<Self> {
        let exact = |column: &TargetColumn| {
            let kind = standing.type_of(&column.name);
            kind == Some(&*column.sql_type) || kind == Some(&*column.staging_type)
        };
        let is_direct = self.columns.iter().all(exact);
        let is_changed_in_place = !standing.is_constrained;
        let is_known =
            (is_direct, is_changed_in_place) == (self.is_direct, self.is_changed_in_place);
        (!is_known).then(|| Self { is_direct, is_changed_in_place, ..self.clone() })
    }

    /// The key's columns.
    pub(super) fn key_columns(&self) -> Vec<TargetColumn> {
        self.key.iter().map(|&index| self.columns[index].clone()).collect()
    }

    /// The key of `rows`, which have the target's columns.
    pub(super) fn keys_of(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        Ok(self.named(rows)?.project(&self.key)?)
    }

    /// `rows` under the plan's names.
    pub(super) fn named(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let (schema, columns) = (SchemaRef::clone(&self.schema), rows.columns().to_vec());
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }

    /// That `t`'s key is the one in `s`'s columns from `first` on.
    pub(super) fn same_key(&self, first: usize) -> String {
        let pairs = self.key.iter().zip(&self.equals).enumerate();
        let pairs = pairs.map(|(index, (&column, equals))| {
            let name = identifier(&self.columns[column].name);
            format!("t.{name} {equals} s.c{}", first + index)
        });
        pairs.collect::<Vec<_>>().join(" AND ")
    }

    /// Column definitions for a table of this shape. Those of the primary key say what it is going
    /// to say of them, or else a table would be read once more to see whether it is true.
    pub(super) fn definitions(&self, plan: &TablePlan) -> String {
        let key = if is_keyed(plan) { &self.key[..] } else { &[] };
        list(self.columns.iter().enumerate().map(|(at, column)| {
            let not_null = if key.contains(&at) { " NOT NULL" } else { "" };
            format!("{} {}{not_null}", identifier(&column.name), column.sql_type)
        }))
    }

    /// The columns of the primary key, quoted; `None` where there is to be none: history has no
    /// key, and neither has a table whose source has none.
    pub(super) fn primary_key(&self, plan: &TablePlan) -> Option<String> {
        let names = || list(self.key.iter().map(|&at| identifier(&self.columns[at].name)));
        is_keyed(plan).then(names)
    }
}

fn is_keyed(plan: &TablePlan) -> bool {
    plan.source.is_keyed() && plan.mode != Mode::Append
}

/// `items`, with commas between them.
pub(super) fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// By the names of types, their equality as an operator.
type Equalities = HashMap<String, String>;

/// The equality of each of the types called `names` that has one of its own. With an empty search
/// path `=` is found for built-in types only: for `citext` it would be that of text, which citext's
/// index does not know.
async fn equalities(sql: &Sql, names: &[&str]) -> Result<Equalities> {
    if names.is_empty() {
        return Ok(Equalities::new());
    }
    let query = "SELECT u.name, s.nspname::text, o.oprname::text \
         FROM pg_catalog.unnest($1::text[]) AS u (name) \
         JOIN pg_catalog.pg_opclass c ON c.opcintype = pg_catalog.to_regtype(u.name) \
         JOIN pg_catalog.pg_amop a ON a.amopfamily = c.opcfamily AND a.amopstrategy = 3 \
              AND a.amoplefttype = c.opcintype AND a.amoprighttype = c.opcintype \
         JOIN pg_catalog.pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree' \
         JOIN pg_catalog.pg_operator o ON o.oid = a.amopopr \
         JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace \
         WHERE c.opcdefault AND s.nspname <> 'pg_catalog'";
    let rows = sql.rows("looking for types' equalities", query, &[&names]).await?;
    let operator = |row: &Row| {
        let schema: &str = get(row, 1)?;
        let operator = format!("OPERATOR({}.{})", identifier(schema), get::<&str>(row, 2)?);
        Ok((get(row, 0)?, operator))
    };
    rows.iter().map(operator).collect()
}

/// Checks that the server takes the names of `plan` as they are, and as many columns.
///
/// # Errors
/// `Config` naming what it would change or refuse.
pub(super) fn check_plan(plan: &TablePlan) -> Result<()> {
    let schema = plan.target_arrow();
    let count = schema.fields().len();
    if count > MOST_COLUMNS {
        let metadata = count - plan.source.columns.len();
        return Err(Error::config(format!(
            "table {}: it would have {count} columns, {metadata} of them metadata, and PostgreSQL \
             allows at most {MOST_COLUMNS}",
            plan.target
        ))
        .with_hint(match metadata {
            0 => "take the table out of the pipeline, or split it at the source",
            _ => "leave out metadata columns, or take the table out of the pipeline",
        }));
    }
    for name in [&plan.target.schema, &plan.target.name] {
        check_name(plan, name, "give the table another target")?;
    }
    for (at, field) in schema.fields().iter().enumerate() {
        let (name, is_own) = (field.name().as_str(), at >= plan.source.columns.len());
        let fix = match is_own {
            true => "give the metadata column another name",
            false => "rename the column at the source, or take the table out of the pipeline",
        };
        check_name(plan, name, fix)?;
        if SYSTEM_COLUMNS.contains(&name) {
            return Err(Error::config(format!(
                "table {}: {name:?} is the name of a system column, which every table of \
                 PostgreSQL has anyway",
                plan.target
            ))
            .with_hint(fix));
        }
    }
    Ok(())
}

fn check_name(plan: &TablePlan, name: &str, fix: &str) -> Result<()> {
    let problem = if name.len() > NAME_BYTES {
        "is longer than 63 bytes"
    } else if name.is_empty() {
        "is empty"
    } else if name.contains('\0') {
        "contains a zero byte"
    } else {
        return Ok(());
    };
    Err(Error::config(format!(
        "table {}: the name {name:?} {problem}, which PostgreSQL does not allow",
        plan.target
    ))
    .with_hint(fix))
}
