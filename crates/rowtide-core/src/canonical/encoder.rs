//! The canonical form of a table's rows, and its hashes.

use arrow_array::{Array, ArrayRef, RecordBatch, new_empty_array};
use arrow_schema::{Field, FieldRef};

use super::form::{Values, record};
use super::{Digest, hash};
use crate::{Error, Result, TableSchema};

/// The text of the value in `row` of `values`, which are of `field`; `None` for NULL.
///
/// # Errors
/// `Data` if no text is laid down for its type.
pub fn text(field: &Field, values: &dyn Array, row: usize) -> Result<Option<String>> {
    Ok(text_of(&Values::of(field, values)?, row))
}

fn text_of(values: &Values<'_>, row: usize) -> Option<String> {
    let mut text = Vec::new();
    if values.is_null(row) {
        return None;
    }
    values.write(row, &mut text);
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Makes the canonical form of the rows of one table.
#[derive(Debug, Clone)]
pub struct Encoder {
    fields: Vec<FieldRef>,
    /// Columns of the key, in key order; none if rows are not told apart by key.
    key: Vec<usize>,
}

/// The hashes of some rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hashes {
    /// Of their keys. Without a key, the first of the row.
    pub keys: Vec<u64>,
    /// The first of each row.
    pub first: Vec<u64>,
    /// The second of each row.
    pub second: Vec<u64>,
}

impl Encoder {
    /// For rows of `table` ([`TableSchema::arrow`]).
    ///
    /// # Errors
    /// `Data` if a column has a type whose values cannot be compared.
    pub fn new(table: &TableSchema) -> Result<Self> {
        let fields: Vec<FieldRef> = table.arrow().fields().to_vec();
        for field in &fields {
            Values::of(field, &new_empty_array(field.data_type()))?;
        }
        let key = if table.is_keyed() { table.key.clone() } else { Vec::new() };
        Ok(Self { fields, key })
    }

    /// Whether rows have a key. Otherwise the whole row stands for it.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        !self.key.is_empty()
    }

    /// Hashes rows.
    ///
    /// # Errors
    /// `Internal` if the rows are not of this table.
    pub fn hash(&self, rows: &RecordBatch) -> Result<Hashes> {
        let count = rows.num_rows();
        let columns = self.columns(rows)?;
        let key = self.key.iter().map(|&at| Values::of(&self.fields[at], rows.column(at)));
        let key = key.collect::<Result<Vec<_>>>()?;
        let mut hashes = Hashes {
            keys: Vec::with_capacity(count),
            first: Vec::with_capacity(count),
            second: Vec::with_capacity(count),
        };
        let mut text = Vec::new();
        for row in 0..count {
            text.clear();
            record(&columns, row, &mut text);
            let (first, second) = hash::both(&text);
            let mut of_key = first;
            if !key.is_empty() {
                text.clear();
                record(&key, row, &mut text);
                of_key = hash::first(&text);
            }
            hashes.keys.push(of_key);
            hashes.first.push(first);
            hashes.second.push(second);
        }
        Ok(hashes)
    }

    /// Hashes keys ([`TableSchema::key_arrow`]).
    ///
    /// # Errors
    /// `Internal` if they are not keys of this table, or it has none.
    pub fn keys(&self, keys: &RecordBatch) -> Result<Vec<u64>> {
        let columns = self.key_columns(keys)?;
        let mut text = Vec::new();
        let hashes = (0..keys.num_rows()).map(|row| {
            text.clear();
            record(&columns, row, &mut text);
            hash::first(&text)
        });
        Ok(hashes.collect())
    }

    /// The canonical form of keys ([`TableSchema::key_arrow`]): the same bytes for the same key
    /// only, in no order that means anything.
    ///
    /// # Errors
    /// As [`Self::keys`].
    pub fn key_forms(&self, keys: &RecordBatch) -> Result<Vec<Box<[u8]>>> {
        Ok(forms(&self.key_columns(keys)?, keys.num_rows()))
    }

    /// The canonical form of rows.
    ///
    /// # Errors
    /// As [`Self::hash`].
    pub fn forms(&self, rows: &RecordBatch) -> Result<Vec<Box<[u8]>>> {
        Ok(forms(&self.columns(rows)?, rows.num_rows()))
    }

    /// The text of each value of one row, `None` for NULL, by column.
    ///
    /// # Errors
    /// As [`Self::hash`].
    pub fn texts(&self, rows: &RecordBatch, row: usize) -> Result<Vec<Option<String>>> {
        Ok(self.columns(rows)?.iter().map(|column| text_of(column, row)).collect())
    }

    /// Adds rows to `digest`.
    ///
    /// # Errors
    /// As [`Self::hash`].
    pub fn sum_up(&self, rows: &RecordBatch, digest: &mut Digest) -> Result<()> {
        digest.add(&self.hash(rows)?);
        Ok(())
    }

    fn columns<'a>(&self, rows: &'a RecordBatch) -> Result<Vec<Values<'a>>> {
        values(&self.fields.iter().collect::<Vec<_>>(), rows.columns())
    }

    fn key_columns<'a>(&self, keys: &'a RecordBatch) -> Result<Vec<Values<'a>>> {
        if self.key.is_empty() {
            return Err(Error::internal("keys were to be hashed of a table that has none"));
        }
        let fields: Vec<_> = self.key.iter().map(|&at| &self.fields[at]).collect();
        values(&fields, keys.columns())
    }
}

fn forms(columns: &[Values<'_>], rows: usize) -> Vec<Box<[u8]>> {
    let mut text = Vec::new();
    let form = |row| {
        text.clear();
        record(columns, row, &mut text);
        text.as_slice().into()
    };
    (0..rows).map(form).collect()
}

fn values<'a>(fields: &[&FieldRef], columns: &'a [ArrayRef]) -> Result<Vec<Values<'a>>> {
    if fields.len() != columns.len() {
        return Err(Error::internal(format!(
            "rows of {} columns were to be compared as rows of {}",
            columns.len(),
            fields.len()
        )));
    }
    fields.iter().zip(columns).map(|(field, column)| Values::of(field, column.as_ref())).collect()
}
