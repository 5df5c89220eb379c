//! The writes of a repair as SQL, for people who want to see what would be done, or have to do it.
//! Run one after the other, the statements do what the writes do.

use arrow_array::RecordBatch;
use rowtide_core::view::Wording;
use rowtide_core::{DeleteMode, Error, Result, TablePlan, TableWrite};

/// Makes statements of writes to one table.
pub(crate) struct Statements<'a> {
    plan: &'a TablePlan,
    wording: &'a dyn Wording,
    table: String,
}

impl<'a> Statements<'a> {
    pub(crate) fn new(plan: &'a TablePlan, wording: &'a dyn Wording) -> Self {
        let table = format!("{}.{}", quoted(&plan.target.schema), quoted(&plan.target.name));
        Self { plan, wording, table }
    }

    /// What `write` does.
    pub(crate) fn of(&self, write: &TableWrite) -> Result<Vec<String>> {
        let mut all = Vec::new();
        let none = RecordBatch::new_empty(self.plan.target_arrow());
        let rows = |batch: &Option<RecordBatch>| batch.clone().unwrap_or_else(|| none.clone());
        match write {
            TableWrite::Append(events) => self.insert(events, &mut all)?,
            TableWrite::Merge(merge) => {
                for (deletes, row) in each(&rows(&merge.deletes)) {
                    all.push(self.remove(deletes, row, &self.under_key(deletes, row)?)?);
                }
                for (upserts, row) in each(&rows(&merge.upserts)) {
                    all.push(self.delete(&self.under_key(upserts, row)?));
                    self.insert(&upserts.slice(row, 1), &mut all)?;
                }
            }
            TableWrite::Multiset(rows_alike) => {
                for (removes, row) in each(&rows(&rows_alike.removes)) {
                    all.push(self.remove(removes, row, &self.one_like(removes, row)?)?);
                }
                self.insert(&rows(&rows_alike.inserts), &mut all)?;
            }
            TableWrite::Once(events) => {
                for (events, row) in each(events) {
                    all.push(self.once(events, row)?);
                }
            }
            TableWrite::Truncate { .. } => {
                return Err(Error::internal("a repair empties no table"));
            }
        }
        Ok(all)
    }

    fn insert(&self, rows: &RecordBatch, all: &mut Vec<String>) -> Result<()> {
        let schema = rows.schema();
        let names = schema.fields().iter().map(|field| quoted(field.name()));
        let names = names.collect::<Vec<_>>().join(", ");
        for row in 0..rows.num_rows() {
            let values = (0..rows.num_columns()).map(|at| self.value(rows, at, row));
            let values = values.collect::<Result<Vec<_>>>()?.join(", ");
            all.push(format!("INSERT INTO {} ({names}) VALUES ({values});", self.table));
        }
        Ok(())
    }

    fn delete(&self, condition: &str) -> String {
        format!("DELETE FROM {} WHERE {condition};", self.table)
    }

    /// What fulfils `condition` goes, or is marked as deleted.
    fn remove(&self, rows: &RecordBatch, row: usize, condition: &str) -> Result<String> {
        if self.plan.delete == DeleteMode::Hard {
            return Ok(self.delete(condition));
        }
        let schema = rows.schema();
        let set = |at: usize| {
            Ok(format!("{} = {}", quoted(schema.field(at).name()), self.value(rows, at, row)?))
        };
        let marks = (self.plan.source.columns.len()..rows.num_columns()).map(set);
        let marks = marks.collect::<Result<Vec<_>>>()?.join(", ");
        Ok(format!("UPDATE {} SET {marks} WHERE {condition};", self.table))
    }

    fn under_key(&self, rows: &RecordBatch, row: usize) -> Result<String> {
        let is = |&at: &usize| {
            let name = quoted(rows.schema_ref().field(at).name());
            Ok(format!("{name} = {}", self.value(rows, at, row)?))
        };
        let key: Result<Vec<String>> = self.plan.source.key.iter().map(is).collect();
        Ok(key?.join(" AND "))
    }

    /// One row, of however many are like this.
    fn one_like(&self, rows: &RecordBatch, row: usize) -> Result<String> {
        let columns: Vec<usize> = (0..self.plan.source.columns.len()).collect();
        let mut same = self.wording.same(&rows.project(&columns)?, row)?;
        if let (DeleteMode::Soft, Some(deleted)) = (self.plan.delete, &self.plan.metadata.deleted) {
            same.push_str(&format!(" AND {} IS NOT TRUE", quoted(deleted)));
        }
        let (place, table) = (self.wording.place(), &self.table);
        Ok(format!("{place} IN (SELECT {place} FROM {table} WHERE {same} LIMIT 1)"))
    }

    /// Leaves one of the events under a key that stand at the same place of the log.
    fn once(&self, rows: &RecordBatch, row: usize) -> Result<String> {
        let metadata = &self.plan.metadata;
        let events = [&metadata.position, &metadata.seq].into_iter().flatten();
        let events = events.map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let (place, table, key) = (self.wording.place(), &self.table, self.under_key(rows, row)?);
        Ok(self.delete(&format!(
            "{place} IN (SELECT place FROM (SELECT {place} AS place, row_number() OVER \
             (PARTITION BY {events}) AS n FROM {table} WHERE {key}) AS e WHERE n > 1)"
        )))
    }

    fn value(&self, rows: &RecordBatch, at: usize, row: usize) -> Result<String> {
        let value = self.wording.value(rows.schema_ref().field(at), rows.column(at), row)?;
        Ok(value.trim_start().to_owned())
    }
}

fn each(rows: &RecordBatch) -> impl Iterator<Item = (&RecordBatch, usize)> {
    (0..rows.num_rows()).map(move |row| (rows, row))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
