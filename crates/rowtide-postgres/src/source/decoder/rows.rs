//! The messages that change rows.

use std::sync::Arc;

use rowtide_core::traits::StreamItem;
use rowtide_core::{Identity, Op, Remedy, Result};

use super::Decoder;
use super::followed::{CHANGED_BEFORE_COPY, Place};
use crate::protocol::Malformed;
use crate::protocol::pgoutput::read_tuple;
use crate::source::table_buffer::{Appended, Image, Tuple};

impl Decoder {
    #[inline]
    pub(super) fn insert(&mut self, relation: u32, tuples: &[u8]) -> Result<()> {
        let (commit, ordinal) = self.change(1)?;
        if self.skipping {
            return Ok(());
        }
        let place = Place {
            tables: &mut self.tables,
            items: &mut self.items,
            touched: &mut self.touched,
            in_copies: self.before_copies,
            commit,
        };
        let Some(buffer) = place.buffer(relation, tuples.len())? else { return Ok(()) };
        expect(tuples, 0, b'N')?;
        read_tuple(tuples, 1, &mut self.new)?;
        let new = Tuple { bytes: tuples, cells: &self.new };
        let appended = buffer.append((Op::Insert, commit, ordinal), (new, Image::Whole), None)?;
        self.count(relation, appended)
    }

    pub(super) fn update(&mut self, relation: u32, tuples: &[u8]) -> Result<()> {
        let image = old_image(tuples)?;
        let (commit, ordinal) = self.change(if image.is_some() { 2 } else { 1 })?;
        if self.skipping {
            return Ok(());
        }
        let place = Place {
            tables: &mut self.tables,
            items: &mut self.items,
            touched: &mut self.touched,
            in_copies: self.before_copies,
            commit,
        };
        let Some(buffer) = place.buffer(relation, tuples.len())? else { return Ok(()) };
        let mut at = 0;
        if image.is_some() {
            at = read_tuple(tuples, 1, &mut self.old)?;
        }
        expect(tuples, at, b'N')?;
        read_tuple(tuples, at + 1, &mut self.new)?;
        let new = Tuple { bytes: tuples, cells: &self.new };
        let old = image.map(|image| (Tuple { bytes: tuples, cells: &self.old }, image));
        let moves = match (buffer.schema.identity, old) {
            (Identity::FullRow, Some((_, Image::Whole))) => true,
            (Identity::Key, Some((old, _))) => buffer.key_differs(old, new)?,
            (Identity::Key, None) => false,
            _ => return self.unidentified(relation, "an update"),
        };
        match old {
            Some(old) if moves => {
                let (gone, come) =
                    ((Op::MoveOut, commit, ordinal), (Op::MoveIn, commit, ordinal + 1));
                // Under a key, the old half is the key alone, whatever the log holds.
                let image = if buffer.schema.is_keyed() { Image::Key } else { old.1 };
                let out = buffer.append(gone, (old.0, image), None)?;
                if let Appended::Taken(bytes) = out {
                    self.bytes += bytes;
                    let buffer = buffer.append(come, (new, Image::Whole), Some(old))?;
                    return self.count(relation, buffer);
                }
                self.count(relation, out)
            }
            old => {
                let change = (Op::Update, commit, ordinal);
                let appended = buffer.append(change, (new, Image::Whole), old)?;
                self.count(relation, appended)
            }
        }
    }

    pub(super) fn delete(&mut self, relation: u32, tuples: &[u8]) -> Result<()> {
        let (commit, ordinal) = self.change(1)?;
        if self.skipping {
            return Ok(());
        }
        let place = Place {
            tables: &mut self.tables,
            items: &mut self.items,
            touched: &mut self.touched,
            in_copies: self.before_copies,
            commit,
        };
        let Some(buffer) = place.buffer(relation, tuples.len())? else { return Ok(()) };
        let image = old_image(tuples)?.ok_or(Malformed("a delete without a row"))?;
        match (buffer.schema.identity, image) {
            (Identity::Key, _) | (Identity::FullRow, Image::Whole) => {}
            _ => return self.unidentified(relation, "a delete"),
        }
        read_tuple(tuples, 1, &mut self.old)?;
        let old = Tuple { bytes: tuples, cells: &self.old };
        let appended = buffer.append((Op::Delete, commit, ordinal), (old, image), None)?;
        self.count(relation, appended)
    }

    pub(super) fn truncate(&mut self, relations: &[u32]) -> Result<()> {
        let (commit, ordinal) = self.change(1)?;
        if self.skipping {
            return Ok(());
        }
        let mut tables = Vec::new();
        for id in relations {
            let Some(table) = self.tables.get_mut(id).filter(|table| !table.stopped) else {
                continue;
            };
            if table.older {
                if !table.has(&commit, self.before_copies) {
                    self.touched = true;
                    let change = table.stop(CHANGED_BEFORE_COPY, Remedy::Copy);
                    self.items.push(StreamItem::Schema { change, position: commit.position });
                }
                continue;
            }
            self.items.extend(table.flush()?);
            tables.push(Arc::clone(&table.schema));
        }
        if !tables.is_empty() {
            self.touched = true;
            self.items.push(StreamItem::Truncate { tables, commit, ordinal });
        }
        Ok(())
    }
}

/// The kind of the old row that a message begins with, if it has one.
#[inline]
fn old_image(tuples: &[u8]) -> Result<Option<Image>> {
    match tuples.first() {
        Some(b'K') => Ok(Some(Image::Key)),
        Some(b'O') => Ok(Some(Image::Whole)),
        Some(b'N') => Ok(None),
        _ => Err(Malformed("an unknown kind of row").into()),
    }
}

#[inline]
fn expect(tuples: &[u8], at: usize, marker: u8) -> Result<()> {
    match tuples.get(at) {
        Some(found) if *found == marker => Ok(()),
        _ => Err(Malformed("a message lacks its new row").into()),
    }
}
