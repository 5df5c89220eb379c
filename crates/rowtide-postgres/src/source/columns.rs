//! The columns of rows on their way into a batch, for copy and stream alike, and what the policies
//! make of values that are refused.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, BooleanArray};
use arrow_select::nullif::nullif;
use rowtide_core::{Op, Refused, Replaced, Result, TableSchema, ValuePolicies, ValuePolicy};
use serde_json::{Map, Value};

use super::policy::policy_of;
use crate::types::Kind;
use crate::value::{ColumnBuilder, ValueError};

/// A row whose text is longer is told of without its values.
const ROW_TEXT: usize = 64 << 10;

/// NULL in a key, which would make one row of many.
pub(super) const NULL_KEY: ValueError =
    ValueError::Unrepresentable("it is NULL, and the column belongs to the key");

/// One builder per column that the server sends.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) table: Arc<TableSchema>,
    pub(super) builders: Vec<ColumnBuilder>,
    /// Per builder, whether its column belongs to the key.
    pub(super) is_key: Vec<bool>,
    /// Per builder, its column of the table.
    pub(super) places: Vec<usize>,
    pub(super) judge: Judge,
    /// Builders whose values can take more memory than they came in.
    growing: Vec<usize>,
    /// What a row takes at least.
    pub(super) row_bytes: usize,
}

/// Decides about values that were refused, and remembers it until the row ends.
#[derive(Debug)]
pub(super) struct Judge {
    policies: Vec<ValuePolicy>,
    texts: Vec<TextColumn>,
    /// Builders that put NULL in a value's place themselves.
    nulling: Vec<usize>,
    replaced: Replaced,
    refused: Vec<(usize, &'static str)>,
}

/// A column for the texts of another one.
#[derive(Debug)]
struct TextColumn {
    /// Its place in the table.
    place: usize,
    /// The builder it belongs to.
    of: usize,
    texts: StringBuilder,
    /// The row that is being read has its text.
    taken: bool,
}

/// What became of a row.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) replaced: Replaced,
    /// Why it is kept out: the builders that refused a value of it, and the first one's reason.
    pub(super) refused: Vec<(usize, &'static str)>,
}

impl Columns {
    pub(super) fn new(table: Arc<TableSchema>, policies: &ValuePolicies) -> Self {
        let sent = |index: &usize| table.columns[*index].text_of().is_none();
        let places: Vec<usize> = (0..table.columns.len()).filter(sent).collect();
        let kinds: Vec<Kind> = places.iter().map(|&at| Kind::of(&table.columns[at])).collect();
        let policies: Vec<ValuePolicy> =
            places.iter().map(|&at| policy_of(&table, at, policies)).collect();
        let builders = kinds.iter().zip(&policies);
        let builders = builders.map(|(kind, policy)| ColumnBuilder::new(kind, *policy)).collect();
        let text_column = |(place, column): (usize, &rowtide_core::Column)| {
            let of = column.text_of()?;
            let of = places.iter().position(|&at| table.columns[at].number == of)?;
            Some(TextColumn { place, of, texts: StringBuilder::new(), taken: false })
        };
        let growing = (0..kinds.len()).filter(|&at| kinds[at].grows()).collect();
        let nulls = |&at: &usize| policies[at] == ValuePolicy::Null && kinds[at].can_refuse();
        let nulling = (0..kinds.len()).filter(nulls).collect();
        let texts = table.columns.iter().enumerate().filter_map(text_column).collect();
        let row_bytes = kinds.iter().map(Kind::width).sum::<usize>();
        let is_key = places.iter().map(|at| table.key.contains(at)).collect();
        let (replaced, refused) = (Replaced::default(), Vec::new());
        let judge = Judge { policies, texts, nulling, replaced, refused };
        Self { table, builders, is_key, places, judge, growing, row_bytes }
    }

    /// Whether every column can be read in binary.
    pub(super) fn read_binary(table: &TableSchema) -> bool {
        table.columns.iter().map(Kind::of).all(|kind| kind.reads_binary())
    }

    /// How much more memory the last row took than it came in.
    #[inline]
    pub(super) fn take_growth(&mut self) -> usize {
        let builders = &mut self.builders;
        let grown = |&at: &usize| builders.get_mut(at).map_or(0, ColumnBuilder::take_growth);
        self.growing.iter().map(grown).sum()
    }

    /// Ends a row; tells what became of it.
    #[inline]
    pub(super) fn end_row(&mut self) -> Judged {
        if self.judge.is_silent() {
            Judged::default()
        } else {
            self.judge.end_row(&mut self.builders)
        }
    }

    /// The first `rows` of everything since the last call, one array per column of the table. Of
    /// the rows in `refused`, which are sorted, only the key is left.
    pub(super) fn take(&mut self, rows: usize, refused: &[u32]) -> Result<Vec<ArrayRef>> {
        self.judge.forget();
        let out = (!refused.is_empty()).then(|| mask(rows, refused));
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.table.columns.len()];
        for ((builder, &place), &key) in
            self.builders.iter_mut().zip(&self.places).zip(&self.is_key)
        {
            // After a row that ended its table some columns are longer than others.
            let column = builder.finish().slice(0, rows);
            columns[place] = Some(match &out {
                Some(out) if !key => nullif(&column, out)?,
                _ => column,
            });
        }
        for text in &mut self.judge.texts {
            let column: ArrayRef = Arc::new(text.texts.finish());
            let column = column.slice(0, rows.min(column.len()));
            columns[text.place] = Some(match &out {
                Some(out) => nullif(&column, out)?,
                None => column,
            });
        }
        Ok(columns.into_iter().flatten().collect())
    }

    /// Makes room for as much as was taken last, which are these `columns`.
    pub(super) fn reserve_like(&mut self, columns: &[ArrayRef]) {
        for (builder, &place) in self.builders.iter_mut().zip(&self.places) {
            if let Some(column) = columns.get(place) {
                builder.reserve_like(column);
            }
        }
    }

    /// Per text column of the table, the column it belongs to; both as places in the table.
    pub(super) fn texts(&self) -> impl Iterator<Item = (usize, usize)> {
        self.judge.texts.iter().map(|text| (text.place, self.places[text.of]))
    }

    /// What is told of a row that is kept out, whose cells are `texts`.
    pub(super) fn refused(
        &self,
        change: Op,
        why: &[(usize, &'static str)],
        texts: Option<&Texts>,
    ) -> Refused {
        let column = |builder: usize| {
            self.places.get(builder).and_then(|&place| self.table.columns.get(place))
        };
        let numbers = why.iter().filter_map(|(builder, _)| Some(column(*builder)?.number));
        let first = why.first().copied();
        let keyed = !self.table.key.is_empty();
        Refused {
            change,
            columns: numbers.collect(),
            column: first.and_then(|(builder, _)| column(builder)).map_or("", |c| c.name()).into(),
            reason: first.map_or("", |(_, why)| why).into(),
            key: texts.filter(|_| keyed).map(|texts| texts.key(self)),
            values: texts.and_then(|texts| texts.row(self)),
        }
    }
}

/// The texts of a row's cells by builder: `None` for one that the log does not repeat.
pub(super) struct Texts(pub(super) Vec<Option<Value>>);

impl Texts {
    fn among(&self, columns: &Columns, wanted: impl Fn(usize) -> bool) -> Map<String, Value> {
        let cells = self.0.iter().enumerate().filter(|(builder, _)| wanted(*builder));
        let named = cells.filter_map(|(builder, cell)| {
            let place = *columns.places.get(builder)?;
            Some((columns.table.columns.get(place)?.name().to_owned(), cell.clone()?))
        });
        named.collect()
    }

    fn key(&self, columns: &Columns) -> String {
        let is_key = |builder: usize| columns.is_key.get(builder).copied().unwrap_or(false);
        Value::Object(self.among(columns, is_key)).to_string()
    }

    fn row(&self, columns: &Columns) -> Option<String> {
        let length =
            |cell: &Option<Value>| cell.as_ref().and_then(Value::as_str).map_or(0, str::len);
        let length: usize = self.0.iter().map(length).sum();
        (length <= ROW_TEXT).then(|| Value::Object(self.among(columns, |_| true)).to_string())
    }
}

impl Judge {
    /// Whether it has nothing to say at the end of a row.
    #[inline]
    fn is_silent(&self) -> bool {
        self.texts.is_empty() && self.nulling.is_empty() && self.refused.is_empty()
    }

    /// Takes the value of `builder` that was refused with `error`, in whatever way the policy of
    /// its column wants; `text` is its text, if that is the form it came in.
    ///
    /// # Errors
    /// `error`, if that ends the table.
    #[cold]
    pub(super) fn value(
        &mut self,
        (index, builder): (usize, &mut ColumnBuilder),
        error: ValueError,
        text: Option<&[u8]>,
    ) -> Result<(), ValueError> {
        let ValueError::Unrepresentable(why) = error else { return Err(error) };
        match self.policies.get(index) {
            Some(ValuePolicy::Text) => {
                let text = text.and_then(|text| std::str::from_utf8(text).ok()).ok_or(error)?;
                let column = self.texts.iter_mut().find(|column| column.of == index);
                let column = column.ok_or(error)?;
                column.texts.append_value(text);
                column.taken = true;
                builder.append_null_instead();
                self.replaced.as_text += 1;
                Ok(())
            }
            Some(ValuePolicy::Quarantine) => {
                builder.append_null_instead();
                self.refused.push((index, why));
                Ok(())
            }
            _ => Err(error),
        }
    }

    fn end_row(&mut self, builders: &mut [ColumnBuilder]) -> Judged {
        for &at in &self.nulling {
            let nulled = builders.get_mut(at).map_or(0, ColumnBuilder::take_nulled);
            self.replaced.nulled = self.replaced.nulled.saturating_add(nulled);
        }
        for column in &mut self.texts {
            if !std::mem::take(&mut column.taken) {
                column.texts.append_null();
            }
        }
        let replaced = std::mem::take(&mut self.replaced);
        let refused = std::mem::take(&mut self.refused);
        // What is kept out is not counted for what else became of it.
        let replaced = if refused.is_empty() { replaced } else { Replaced::default() };
        Judged { replaced, refused }
    }

    /// Forgets the row that was being read.
    fn forget(&mut self) {
        self.replaced = Replaced::default();
        self.refused.clear();
        self.texts.iter_mut().for_each(|column| column.taken = false);
    }
}

/// Which of `rows` are in `chosen`, which is sorted.
pub(super) fn mask(rows: usize, chosen: &[u32]) -> BooleanArray {
    let mut chosen = chosen.iter().peekable();
    let is_chosen = |row: usize| chosen.next_if(|next| **next as usize == row).is_some();
    (0..rows).map(is_chosen).map(Some).collect()
}
