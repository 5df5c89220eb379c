//! Looking at a table of the destination as it stands at one moment, as rows of its source.

mod history;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use rowtide_core::view::{ColumnGaps, Inspect, Moment, TableView, ViewRequest};
use rowtide_core::{
    Column, DeleteMode, Error, Mode, Result, TablePlan, TableSchema, ValuePolicies,
};

use super::link::Link;
use super::standing::{Standing, standing};
use super::{PostgresDestination, state};
use crate::client::Sql;
use crate::encode::{TargetColumn, accepts, target_columns};
use crate::quote::identifier;
use crate::source::RowReader;
use crate::types::Kind;
use crate::view::{Part, PostgresView, Shown, Subject, find, is_made_by, parts_of, value};

#[async_trait]
impl Inspect for PostgresDestination {
    async fn view(&self, request: ViewRequest) -> Result<Box<dyn TableView>> {
        let plan = &request.plan;
        let doing = format!("looking at {}", plan.target);
        let link = Link::connect(&self.place, &request.pipeline).await?;
        let sql = link.sql;
        let whole = find(&sql, &plan.target).await?.whole();
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
             LOCK TABLE {whole} IN ACCESS SHARE MODE"
        );
        sql.execute(&doing, &begin).await?;
        // Locked before the snapshot is taken, which the first question does: what is found then
        // is what stays.
        let stored = state::read(&sql, &request.pipeline).await?.unwrap_or_default();
        let moment = Moment { checkpoint: stored.checkpoint.unwrap_or_default(), mark: None };
        let relation = find(&sql, &plan.target).await?;
        let columns = target_columns(&sql, plan).await?;
        let found = standing(&sql, &plan.target).await?;
        let found = found.ok_or_else(|| Error::internal("a locked table is gone"))?;
        check_columns(plan, &found, &columns)?;
        let faithful = is_made_by(&sql, &doing).await?;
        let shown: Vec<Shown> = plan
            .source
            .columns
            .iter()
            .zip(&columns)
            .map(|(column, here)| shown(column, (here, &found), faithful))
            .collect();
        let mut conditions = Vec::new();
        if let (Mode::Merge, DeleteMode::Soft, Some(deleted)) =
            (plan.mode, plan.delete, &plan.metadata.deleted)
        {
            conditions.push(format!("{} IS NOT TRUE", identifier(deleted)));
        }
        let mut parts = parts_of(&sql, &relation).await?;
        let mut whole = relation.whole();
        if plan.mode == Mode::Append {
            let (all, some) = history::rows(&sql, plan, &whole).await?;
            whole = all;
            parts = some.into_iter().map(|name| Part { name, pages: None }).collect();
        }
        let (place, pipeline) = (Arc::clone(&self.place), Arc::clone(&request.pipeline));
        let connect = move || -> BoxFuture<'static, Result<Sql>> {
            let (place, pipeline) = (Arc::clone(&place), Arc::clone(&pipeline));
            Box::pin(async move { Ok(Link::connect(&place, &pipeline).await?.sql) })
        };
        let view = PostgresView::new(Subject {
            connect: Box::new(connect),
            moment,
            reader: reader(plan, &columns, &found),
            columns: shown,
            whole,
            parts,
            conditions,
            versioned: false,
            may_refuse: false,
            doing,
            request,
            sql,
        })?;
        Ok(Box::new(view))
    }

    async fn column_gaps(&self, pipeline: &str, plan: &TablePlan) -> Result<ColumnGaps> {
        let sql = Link::connect(&self.place, pipeline).await?.sql;
        let columns = target_columns(&sql, plan).await?;
        let found = standing(&sql, &plan.target).await?;
        Ok(found.map(|found| gaps(plan, &found, &columns)).unwrap_or_default())
    }
}

/// The columns by which what stands is not that of the plan.
fn gaps(plan: &TablePlan, found: &Standing, columns: &[TargetColumn]) -> ColumnGaps {
    let missing = columns.iter().filter(|column| found.type_of(&column.name).is_none());
    let is_extra = |name: &&String| !columns.iter().any(|column| column.name == **name);
    // History may have columns that an earlier copy of the table had.
    let extra = found.columns.iter().filter(|_| plan.mode != Mode::Append);
    ColumnGaps {
        missing: missing.map(|column| column.name.clone()).collect(),
        extra: extra.map(|(name, _)| name).filter(is_extra).cloned().collect(),
    }
}

/// The columns of the plan must be there, and hold its values.
fn check_columns(plan: &TablePlan, found: &Standing, columns: &[TargetColumn]) -> Result<()> {
    let differs = |column: &&TargetColumn| {
        !found.type_of(&column.name).is_some_and(|standing| accepts(standing, column))
    };
    let Some(column) = columns.iter().find(differs) else { return Ok(()) };
    let what = match found.type_of(&column.name) {
        None => "is gone".to_owned(),
        Some(standing) => format!("is {standing}, not {}", column.sql_type),
    };
    Err(Error::schema_drift(format!("table {}: the column {:?} {what}", plan.target, column.name))
        .of_one_table()
        .with_hint("the table was changed by hand: copy it again (resync)"))
}

/// How a column is read that stands `here`.
fn shown(column: &Column, (here, found): (&TargetColumn, &Standing), faithful: bool) -> Shown {
    let kind = Kind::of(column);
    let form = value(column.name(), &kind, &here.staging_type);
    let form = form.filter(|_| faithful && is_direct(here, found) && prints_alike(&kind, here));
    Shown { name: Some(identifier(column.name())), form, sql_type: here.staging_type.clone() }
}

/// Whether the column has the very type that is expected.
fn is_direct(here: &TargetColumn, found: &Standing) -> bool {
    let standing = found.type_of(&here.name);
    standing == Some(&*here.sql_type) || standing == Some(&*here.staging_type)
}

/// Whether the type here prints values as they are read into `kind`.
fn prints_alike(kind: &Kind, here: &TargetColumn) -> bool {
    let is_text = |kind: &Kind| {
        matches!(
            kind,
            Kind::Text
                | Kind::Json
                | Kind::Jsonb
                | Kind::NumericText
                | Kind::BitText
                | Kind::Opaque
        )
    };
    match (kind, here.kind()) {
        (Kind::Decimal { .. }, Kind::NumericText) | (Kind::List(_), Kind::Opaque) => true,
        (kind, here) if is_text(kind) => is_text(here),
        (kind, here) => kind == here,
    }
}

/// What reads the target's rows: every column is there, also those that at the source are made of
/// other ones, and no value is refused.
fn reader(plan: &TablePlan, columns: &[TargetColumn], found: &Standing) -> RowReader {
    let plain =
        |column: &Column| Column { number: column.number.saturating_abs(), ..column.clone() };
    let table = TableSchema {
        columns: plan.source.columns.iter().map(plain).collect(),
        key: Vec::new(),
        ..(*plan.source).clone()
    };
    let mut reader = RowReader::new(&Arc::new(table), &ValuePolicies::default());
    let in_binary = |(column, here): (&Column, &TargetColumn)| {
        let (kind, here_kind) = (Kind::of(column), here.kind());
        let decimal = matches!((&kind, here_kind), (Kind::Decimal { .. }, Kind::NumericText));
        is_direct(here, found) && (decimal || kind == *here_kind)
    };
    reader.binary &= plan.source.columns.iter().zip(columns).all(in_binary);
    reader
}
