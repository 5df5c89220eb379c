//! Looking at everything that could go wrong, before anything is touched.
use super::PostgresSource;
use rowtide_core::traits::ModeOf;
use rowtide_core::{Finding, Result, TableSelection};
pub(super) async fn preflight(
    _: &PostgresSource,
    _: &TableSelection,
    _: ModeOf<'_>,
) -> Result<Vec<Finding>> {
    Ok(Vec::new())
}
