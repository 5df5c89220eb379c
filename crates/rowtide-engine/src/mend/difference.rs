//! What differs between two views of a table that both stand still.
//!
//! Both are summed up in buckets; of the buckets that differ, the rows are read, some buckets at a
//! time. Only hashes are kept of them: the standing side's are listed, the source's rows are
//! crossed off as they come, and what is left over is read once more to be taken away.

use std::collections::BTreeSet;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use rowtide_core::canonical::{BucketSet, Digest, Encoder, Hashes};
use rowtide_core::view::{RowsOf, TableView, ViewedRows, sum_up};
use rowtide_core::{Error, Result, TableSchema};

/// A table is summed up in 2ⁿ buckets, from so many to so many, of about so many rows.
const BITS: (u32, u32) = (8, 16);
const ROWS_OF_BUCKET: u64 = 64;
/// How many rows of a side are listed at once, unless a single bucket holds more.
const ROWS_AT_ONCE: u64 = 1_000_000;
/// How often the tables are read for it. A copy reads and writes a table once.
const MOST_TURNS: usize = 8;
/// So many rows may differ of any table, and of a large one the half.
const FEW: u64 = 10_000;

/// A view of each side.
pub(crate) struct Sides {
    pub(crate) source: Box<dyn TableView>,
    pub(crate) standing: Box<dyn TableView>,
}

/// Where a row stands that the other side lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Standing,
}

/// How much differs. A row that changed is one that goes and one that comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Rows of the source, of which the standing table may hold as many or not.
    pub(crate) rows: u64,
    /// Rows that the source has and the standing table has not.
    pub(crate) come: u64,
    /// Rows that the standing table has and the source has not.
    pub(crate) go: u64,
}

/// Takes rows that one side lacks: first or last, in any order.
pub(crate) type Take<'a> = &'a mut (dyn FnMut(Side, RecordBatch) -> Result<()> + Send);

/// Tells what differs; `None` if it is so much that the whole table is rather to be copied.
pub(crate) async fn find(
    sides: &mut Sides,
    table: &TableSchema,
    take: Take<'_>,
) -> Result<Option<Counts>> {
    let bits = bits_for(sides.standing.count().await?);
    let sums = futures::future::try_join(
        sum_up(sides.source.as_mut(), (table, bits)),
        sum_up(sides.standing.as_mut(), (table, bits)),
    );
    let (ours, theirs) = sums.await?;
    let mut counts = Counts { rows: ours.rows(), ..Counts::default() };
    let most = (ours.rows().max(theirs.rows()) / 2).max(FEW);
    let groups = groups(&ours, &theirs);
    if at_least(&ours, &theirs) > most || groups.len() > MOST_TURNS {
        return Ok(None);
    }
    let encoder = Encoder::new(table)?;
    for group in groups {
        let left = cross_off(sides, (&encoder, &group), (&mut counts, &mut *take)).await?;
        take_away(sides, (&encoder, &group), (left, &mut *take)).await?;
        if counts.come.max(counts.go) > most {
            return Ok(None);
        }
    }
    Ok(Some(counts))
}

fn bits_for(rows: u64) -> u32 {
    let buckets = (rows / ROWS_OF_BUCKET).max(1);
    buckets.ilog2().clamp(BITS.0, BITS.1)
}

/// How many rows differ at least, by their numbers alone.
fn at_least(ours: &Digest, theirs: &Digest) -> u64 {
    let pairs = ours.buckets.iter().zip(&theirs.buckets);
    pairs.map(|(one, other)| one.rows.abs_diff(other.rows)).sum()
}

/// The buckets that differ, so many at a time as may be listed together.
fn groups(ours: &Digest, theirs: &Digest) -> Vec<BucketSet> {
    let differing = ours.differing(theirs);
    let rows = |digest: &Digest, at: u32| digest.buckets.get(at as usize).map_or(0, |b| b.rows);
    let mut groups: Vec<BucketSet> = Vec::new();
    let mut room = 0;
    for at in differing.buckets {
        let needs = rows(ours, at).max(rows(theirs, at)).max(1);
        match groups.last_mut().filter(|_| needs <= room) {
            Some(last) => {
                last.buckets.insert(at);
                room -= needs;
            }
            None => {
                groups.push(BucketSet { bits: differing.bits, buckets: BTreeSet::from([at]) });
                room = ROWS_AT_ONCE.saturating_sub(needs);
            }
        }
    }
    groups
}

/// A row by the hashes of its key and of all of it.
type Row = (u64, u64, u64);

/// Rows in order, and how often each stands that is not crossed off.
#[derive(Debug, Default)]
struct Listed(Vec<(Row, u32)>);

impl Listed {
    fn new(mut rows: Vec<(Row, u32)>) -> Self {
        rows.sort_unstable();
        rows.dedup_by(|next, row| {
            let same = next.0 == row.0;
            row.1 += if same { next.1 } else { 0 };
            same
        });
        Self(rows)
    }

    /// Crosses a row off, if it is listed still.
    fn cross(&mut self, row: Row) -> bool {
        let Ok(at) = self.0.binary_search_by_key(&row, |listed| listed.0) else { return false };
        let times = &mut self.0[at].1;
        let listed = *times > 0;
        *times = times.saturating_sub(1);
        listed
    }

    /// How many rows are listed still.
    fn left(&self) -> u64 {
        self.0.iter().map(|(_, times)| u64::from(*times)).sum()
    }
}

fn row(hashes: &Hashes, at: usize) -> Row {
    (hashes.keys[at], hashes.first[at], hashes.second[at])
}

/// Lists the standing side's rows of `group`, crosses off those that the source has too, and takes
/// what only the source has. Returns what only stands.
async fn cross_off(
    sides: &mut Sides,
    (encoder, group): (&Encoder, &BucketSet),
    (counts, take): (&mut Counts, Take<'_>),
) -> Result<Listed> {
    let mut listed = Vec::new();
    sides.standing.begin(RowsOf::Buckets(group.clone())).await?;
    while let Some(ViewedRows { rows, .. }) = sides.standing.next().await? {
        let hashes = encoder.hash(&rows)?;
        for at in (0..rows.num_rows()).filter(|&at| group.contains(hashes.keys[at])) {
            listed.push((row(&hashes, at), 1));
        }
    }
    let mut listed = Listed::new(listed);
    sides.source.begin(RowsOf::Buckets(group.clone())).await?;
    while let Some(ViewedRows { rows, .. }) = sides.source.next().await? {
        let hashes = encoder.hash(&rows)?;
        let comes = |at| group.contains(hashes.keys[at]) && !listed.cross(row(&hashes, at));
        counts.come += chosen(&rows, comes, (Side::Source, &mut *take))?;
    }
    listed.0.retain(|(_, times)| *times > 0);
    counts.go += listed.left();
    Ok(listed)
}

/// Takes the rows away that are `left` over.
async fn take_away(
    sides: &mut Sides,
    (encoder, group): (&Encoder, &BucketSet),
    (mut left, take): (Listed, Take<'_>),
) -> Result<()> {
    if left.left() == 0 {
        return Ok(());
    }
    let bucket = |((key, ..), _): &(Row, u32)| {
        u32::try_from(key & ((1 << group.bits) - 1)).unwrap_or_default()
    };
    let among = BucketSet { bits: group.bits, buckets: left.0.iter().map(bucket).collect() };
    sides.standing.begin(RowsOf::Buckets(among)).await?;
    while let Some(ViewedRows { rows, .. }) = sides.standing.next().await? {
        let hashes = encoder.hash(&rows)?;
        let goes = |at| left.cross(row(&hashes, at));
        chosen(&rows, goes, (Side::Standing, &mut *take))?;
    }
    match left.left() {
        0 => Ok(()),
        _ => Err(Error::internal("a view of the destination did not stand still")),
    }
}

/// Takes the rows for which `is_chosen`; returns how many.
fn chosen(
    rows: &RecordBatch,
    is_chosen: impl FnMut(usize) -> bool,
    (side, take): (Side, Take<'_>),
) -> Result<u64> {
    let mask: BooleanArray = (0..rows.num_rows()).map(is_chosen).map(Some).collect();
    let count = mask.true_count();
    if count > 0 {
        take(side, filter_record_batch(rows, &mask)?)?;
    }
    Ok(count as u64)
}
