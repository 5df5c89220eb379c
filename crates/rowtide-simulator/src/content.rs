//! What a model destination holds, and how writes change it: the write contract, taken literally.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use rowtide_core::{
    DeleteMode, Error, MergeWrite, Mode, MultisetWrite, PipelineState, Result, SchemaChange,
    TableName, TablePlan, TableSchema, TableWrite, fault, ledger,
};

use crate::log::{Row, WIDTH, index_of, numbers};

/// A row of a merge table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) row: Row,
    pub(crate) deleted: bool,
}

/// A row of an append table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) op: String,
    pub(crate) position: i64,
    pub(crate) seq: Option<i64>,
    pub(crate) row: Row,
    /// A bit for each column that the log did not repeat.
    pub(crate) unchanged: u8,
    /// Which copy it belongs to, or follows.
    pub(crate) generation: u32,
}

/// One table. Which part is used depends on its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) keyed: BTreeMap<i64, Stored>,
    pub(crate) bag: BTreeMap<Row, u32>,
    pub(crate) history: Vec<Event>,
    /// How often a copy was put in place.
    pub(crate) generation: u32,
    /// The table version that was copied last.
    pub(crate) copied: u32,
}

/// Everything of one pipeline.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    pub(crate) state: PipelineState,
    pub(crate) tables: BTreeMap<usize, Arc<Held>>,
    /// How many rows of each table were told to be kept out.
    pub(crate) told: BTreeMap<usize, u64>,
}

impl Content {
    pub(crate) fn held(&mut self, table: usize) -> &mut Held {
        Arc::make_mut(self.tables.entry(table).or_default())
    }
}

impl Content {
    /// Takes note of rows of the quarantine.
    ///
    /// # Errors
    /// `Internal` if they are not as they are to be.
    pub(crate) fn tell(&mut self, rows: &RecordBatch) -> Result<()> {
        let schema = rows.schema();
        let column = |name: &str| {
            let at = schema.index_of(name).map_err(|_| malformed("a quarantine of its own"))?;
            Ok::<_, Error>(rows.column(at).as_string::<i32>().clone())
        };
        let (tables, ops) = (column("source_table")?, column("op")?);
        for row in (0..rows.num_rows()).filter(|row| ops.value(*row) != ledger::RESOLVED) {
            let table = index_of(&TableName::new("public", tables.value(row)));
            let table = table.ok_or_else(|| malformed("a row of nobody"))?;
            // A row that goes is told of too where no key says which one it was.
            if ops.value(row) != "delete" {
                *self.told.entry(table).or_default() += 1;
            }
        }
        Ok(())
    }
}

/// One step of an epoch, for one table.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Write(Box<TablePlan>, TableWrite),
    Schema(Box<TablePlan>, SchemaChange),
    Promote(Box<TablePlan>, Vec<RecordBatch>),
    /// The table's rows were put right, in this version.
    Mend(u32),
}

/// Does `step` to its table.
pub(crate) fn apply(held: &mut Held, step: &Step) -> Result<()> {
    match step {
        Step::Write(plan, TableWrite::Append(rows)) => append(held, plan, rows),
        Step::Write(plan, TableWrite::Merge(write)) => merge(held, plan, write),
        Step::Write(plan, TableWrite::Multiset(write)) => multiset(held, plan, write),
        Step::Write(_, TableWrite::Once(_)) => Err(malformed("a write of repairs")),
        Step::Write(plan, TableWrite::Truncate { .. }) => {
            match plan.delete {
                DeleteMode::Hard => held.keyed.clear(),
                DeleteMode::Soft => held.keyed.values_mut().for_each(|row| row.deleted = true),
            }
            held.bag.clear();
            Ok(())
        }
        Step::Schema(plan, change) => schema(held, plan, change),
        Step::Promote(plan, staged) => promote(held, plan, staged),
        Step::Mend(version) => {
            held.copied = *version;
            Ok(())
        }
    }
}

fn malformed(what: &str) -> Error {
    Error::internal(format!("the model destination was given {what}"))
}

/// The source columns of `batch`, whose first columns are those of `schema`.
fn rows(batch: &RecordBatch, schema: &TableSchema) -> Result<Vec<Row>> {
    cells(batch, &numbers(schema))
}

fn cells(batch: &RecordBatch, columns: &[usize]) -> Result<Vec<Row>> {
    let mut rows = vec![[None; WIDTH]; batch.num_rows()];
    for (at, &number) in columns.iter().enumerate() {
        let values = batch.columns().get(at).and_then(|c| c.as_primitive_opt::<Int64Type>());
        let values = values.ok_or_else(|| malformed("a column of another type"))?;
        for (row, value) in rows.iter_mut().zip(values.iter()) {
            row[number] = value;
        }
    }
    Ok(rows)
}

fn key(row: &Row) -> Result<i64> {
    row[crate::log::KEY].ok_or_else(|| malformed("a key that is null"))
}

fn merge(held: &mut Held, plan: &TablePlan, write: &MergeWrite) -> Result<()> {
    let mut new = Vec::new();
    if let Some(upserts) = &write.upserts {
        new.extend(rows(upserts, &plan.source)?);
    }
    if let Some(patches) = &write.patches {
        let columns = numbers(&plan.source);
        let bases = cells(&patches.base, &[crate::log::KEY])?;
        let patched = rows(&patches.rows, &plan.source)?;
        for (at, (mut row, base)) in patched.into_iter().zip(&bases).enumerate() {
            let found = held.keyed.get(&key(base)?);
            if found.is_none() && !fault::planted("missing-base-as-null") {
                let why = "an update needs values of a row that is not there";
                return Err(Error::data(format!("table {}: {why}", plan.target)));
            }
            for (column, bits) in &patches.unchanged {
                let number = columns.get(*column).ok_or_else(|| malformed("a wrong mask"))?;
                if bits.value(at) {
                    row[*number] = found.and_then(|found| found.row[*number]);
                }
            }
            new.push(row);
        }
    }
    if let Some(deletes) = &write.deletes {
        for row in cells(deletes, &[crate::log::KEY])? {
            match plan.delete {
                DeleteMode::Hard => drop(held.keyed.remove(&key(&row)?)),
                DeleteMode::Soft => {
                    if let Some(found) = held.keyed.get_mut(&key(&row)?) {
                        found.deleted = true;
                    }
                }
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    for row in new {
        if !seen.insert(key(&row)?) {
            return Err(malformed("one key twice in one write"));
        }
        held.keyed.insert(key(&row)?, Stored { row, deleted: false });
    }
    Ok(())
}

fn multiset(held: &mut Held, plan: &TablePlan, write: &MultisetWrite) -> Result<()> {
    if let Some(removes) = &write.removes {
        for row in rows(removes, &plan.source)? {
            let left = held.bag.get(&row).copied().unwrap_or(0);
            if left == 0 {
                let why = "a removed row is not there";
                return Err(Error::data(format!("table {}: {why}", plan.target)));
            }
            if left == 1 || fault::planted("multiset-removes-all") {
                held.bag.remove(&row);
            } else {
                held.bag.insert(row, left - 1);
            }
        }
    }
    if let Some(inserts) = &write.inserts {
        for row in rows(inserts, &plan.source)? {
            *held.bag.entry(row).or_default() += 1;
        }
    }
    Ok(())
}

fn append(held: &mut Held, plan: &TablePlan, batch: &RecordBatch) -> Result<()> {
    let generation = held.generation;
    let schema = batch.schema();
    let column = |name: &str| {
        let at = schema.index_of(name).map_err(|_| malformed("history without its columns"))?;
        Ok::<_, Error>(batch.column(at))
    };
    let ops = column("_rowtide_op")?.as_string::<i32>().clone();
    let positions = column("_rowtide_position")?.as_primitive::<Int64Type>().clone();
    let seqs = column("_rowtide_seq")?.as_primitive::<Int64Type>().clone();
    let lists = column("_rowtide_unchanged")?.as_list::<i32>().clone();
    for (at, row) in rows(batch, &plan.source)?.into_iter().enumerate() {
        let mut unchanged = 0;
        if lists.is_valid(at) {
            let names = lists.value(at);
            for name in names.as_string::<i32>().iter().flatten() {
                let number: u32 = name.trim_start_matches('c').parse().unwrap_or(0);
                unchanged |= 1 << number;
            }
        }
        held.history.push(Event {
            op: ops.value(at).to_owned(),
            position: positions.value(at),
            seq: seqs.is_valid(at).then(|| seqs.value(at)),
            row,
            unchanged,
            generation,
        });
    }
    Ok(())
}

fn schema(held: &mut Held, plan: &TablePlan, change: &SchemaChange) -> Result<()> {
    let (number, value) = match change {
        SchemaChange::AddColumn { table, column, fill } => {
            let number = table.columns.get(*column).map_or(0, |column| column.number);
            let fill = fill.as_ref().and_then(|fill| {
                let values = fill.as_primitive_opt::<Int64Type>()?;
                values.is_valid(0).then(|| values.value(0))
            });
            (number, fill)
        }
        SchemaChange::RenameColumn { .. } | SchemaChange::WidenColumn { .. } => {
            return Err(malformed("a column was renamed or widened"));
        }
        SchemaChange::DropColumn { column, .. } => {
            (column.trim_start_matches('c').parse().unwrap_or(0), None)
        }
        SchemaChange::Unsupported { .. } => {
            return Err(malformed("a change that nobody can follow"));
        }
    };
    let number = usize::try_from(number).ok().filter(|number| (1..WIDTH).contains(number));
    let number = number.ok_or_else(|| malformed(&format!("no column of {}", plan.target)))?;
    held.keyed.values_mut().for_each(|stored| stored.row[number] = value);
    held.history.iter_mut().for_each(|event| event.row[number] = value);
    for (mut row, count) in std::mem::take(&mut held.bag) {
        row[number] = value;
        *held.bag.entry(row).or_default() += count;
    }
    Ok(())
}

fn promote(held: &mut Held, plan: &TablePlan, staged: &[RecordBatch]) -> Result<()> {
    held.generation += 1;
    held.copied = plan.source.version;
    held.keyed.clear();
    held.bag.clear();
    for batch in staged {
        match plan.mode {
            Mode::Append => append(held, plan, batch)?,
            Mode::Merge | Mode::Replace if plan.source.is_keyed() => {
                for row in rows(batch, &plan.source)? {
                    let stored = Stored { row, deleted: false };
                    if held.keyed.insert(key(&row)?, stored).is_some() {
                        return Err(malformed("one key twice in one copy"));
                    }
                }
            }
            Mode::Merge | Mode::Replace => {
                for row in rows(batch, &plan.source)? {
                    *held.bag.entry(row).or_default() += 1;
                }
            }
        }
    }
    Ok(())
}
