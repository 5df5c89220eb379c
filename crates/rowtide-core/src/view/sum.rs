//! Summing up what a view shows.

use super::{RowsOf, TableView, ViewedRows};
use crate::canonical::{Digest, Encoder};
use crate::{Result, TableSchema};

/// Sums a whole table up: inside the system if it can, else here.
///
/// # Errors
/// Whatever reading the view meets.
pub async fn sum_up(
    view: &mut dyn TableView,
    (table, bucket_bits): (&TableSchema, u32),
) -> Result<Digest> {
    if let Some(digest) = view.digest(bucket_bits).await? {
        return Ok(digest);
    }
    let encoder = Encoder::new(table)?;
    let mut digest = Digest::empty(bucket_bits);
    view.begin(RowsOf::All).await?;
    while let Some(ViewedRows { rows, .. }) = view.next().await? {
        encoder.sum_up(&rows, &mut digest)?;
    }
    Ok(digest)
}
