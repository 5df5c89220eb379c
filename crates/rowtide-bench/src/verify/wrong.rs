//! Three rows of a copy spoilt behind its pipeline's back, one in each way that there is.

use rowtide_testkit::Result;

use crate::arena::Pipeline;

/// Which rows are wrong, by their keys.
pub(super) struct WrongRows {
    pub(super) changed: u64,
    pub(super) missing: u64,
    pub(super) extra: u64,
}

/// The column whose value is changed: the last one.
pub(super) const CHANGED_COLUMN: &str = "doc";

impl WrongRows {
    /// Spoils three rows of `rows`, numbered from 1 on, and keeps them aside.
    pub(super) fn plant(pipeline: &Pipeline<'_>, rows: u64) -> Result<Self> {
        let wrong = Self { changed: rows / 3, missing: rows / 3 * 2, extra: rows + 1 };
        let Self { changed, missing, extra } = wrong;
        pipeline.execute_there(&[
            &format!(
                "CREATE TABLE kept AS SELECT * FROM public.wide WHERE id IN ({changed}, {missing})"
            ),
            &format!(
                "UPDATE public.wide SET {CHANGED_COLUMN} = '{{\"n\": 0}}' WHERE id = {changed}"
            ),
            &format!("DELETE FROM public.wide WHERE id = {missing}"),
            &format!("INSERT INTO public.wide (id) VALUES ({extra})"),
        ])?;
        Ok(wrong)
    }

    /// Puts them back.
    pub(super) fn restore(self, pipeline: &Pipeline<'_>) -> Result<()> {
        let Self { changed, extra, .. } = self;
        pipeline.execute_there(&[
            &format!("DELETE FROM public.wide WHERE id IN ({changed}, {extra})"),
            "INSERT INTO public.wide SELECT * FROM kept",
            "DROP TABLE kept",
        ])
    }
}
