//! Looking at a table as it stands at one moment: the rows that the source should have.
//!
//! A view is one transaction of a connection of its own, in which the checkpoint is read with the
//! rows. It only reads, so the pipeline's epochs go on meanwhile, and so may DuckDB number rows
//! anew when it folds its log (see [`super::multiset`]): rows are therefore never looked up by
//! their number, but by their keys, which stand in a temporary table for the time.

mod adopt;
mod columns;
mod history;
mod portions;
mod range;
mod relation;
mod sum;
mod wording;

use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;
use async_trait::async_trait;
use rowtide_core::canonical::{BucketSet, Digest, Encoder};
use rowtide_core::view::{
    ColumnGaps, Inspect, Moment, RowsOf, Share, TableView, ViewRequest, ViewedRows, Wording,
};
use rowtide_core::{Checkpoint, Error, Result, TablePlan, TableSchema};

use self::portions::{Keys, Portions};
use self::relation::{Part, Relation};
use self::wording::Words;
use super::session::definitions;
use super::{DuckdbDestination, state};
use crate::error::During;
use crate::ffi::{Connection, Feed, Stream};
use crate::file;
use crate::quote::TableRef;

/// How many bytes of keys are picked out before all rows are read instead.
const MOST_KEYS: usize = 32 << 20;

#[async_trait]
impl Inspect for DuckdbDestination {
    async fn view(&self, request: ViewRequest) -> Result<Box<dyn TableView>> {
        let options = Arc::clone(&self.options);
        let missing = || Error::config(format!("{} does not exist", options.path.display()));
        if !options.path.exists() {
            return Err(missing().with_hint("the pipeline has not written anything yet"));
        }
        let share = Arc::clone(&request.share);
        let open = move || View::open(&file::connect(&file::open(&options)?)?, &request);
        let (view, moment) = file::blocking(open).await?;
        Ok(Box::new(DuckdbView { view: Some(view), moment, share }))
    }

    async fn column_gaps(&self, _: &str, plan: &TablePlan) -> Result<ColumnGaps> {
        let (options, plan) = (Arc::clone(&self.options), plan.clone());
        if !options.path.exists() {
            return Ok(ColumnGaps::default());
        }
        let look = move || {
            let connection = file::connect(&file::open(&options)?)?;
            let target = TableRef::new(&file::catalog(&connection)?, &plan.target);
            columns::gaps(&connection, &target, &plan)
        };
        file::blocking(look).await
    }
}

/// A view as others see it.
struct DuckdbView {
    /// Taken out while a call runs, and gone after one that failed or was cancelled.
    view: Option<View>,
    moment: Moment,
    share: Arc<dyn Share>,
}

impl DuckdbView {
    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut View) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut view =
            self.view.take().ok_or_else(|| Error::internal("a view was used after it failed"))?;
        let work = move || work(&mut view).map(|value| (view, value));
        let (view, value) = file::blocking(work).await?;
        self.view = Some(view);
        Ok(value)
    }
}

#[async_trait]
impl TableView for DuckdbView {
    fn moment(&self) -> &Moment {
        &self.moment
    }

    async fn digest(&mut self, bucket_bits: u32) -> Result<Option<Digest>> {
        self.run(move |view| view.digest(bucket_bits)).await.map(Some)
    }

    async fn count(&mut self) -> Result<u64> {
        self.run(View::count).await
    }

    async fn begin(&mut self, rows: RowsOf) -> Result<()> {
        self.run(move |view| view.begin(&rows)).await
    }

    async fn next(&mut self) -> Result<Option<ViewedRows>> {
        self.share.turn().await;
        let rows = self.run(View::next).await?;
        Ok(rows.map(|rows| ViewedRows { rows, versions: None }))
    }

    fn wording(&self) -> Option<&dyn Wording> {
        Some(&Words)
    }
}

impl Drop for DuckdbView {
    fn drop(&mut self) {
        file::drop_blocking(self.view.take());
    }
}

/// A transaction that looks at one table. Its calls block.
struct View {
    /// Before the connection, so that it is dropped first.
    reading: Option<Stream>,
    /// What comes after that.
    portions: Option<Portions>,
    /// Whether its rows may be so long that few of them are read at a time.
    long: bool,
    connection: Connection,
    source: Arc<TableSchema>,
    relation: Relation,
    encoder: Encoder,
}

impl View {
    fn open(connection: &Connection, request: &ViewRequest) -> Result<(Self, Moment)> {
        let plan = &request.plan;
        let attempt = || format!("looking at {}", plan.target);
        // As the values were taken in: without this, a UUID would come as text.
        connection.execute("SET arrow_lossless_conversion = true").during(attempt)?;
        connection.execute("BEGIN TRANSACTION").during(attempt)?;
        let checkpoint = checkpoint(connection, &request.pipeline)?;
        let target = TableRef::new(&file::catalog(connection)?, &plan.target);
        let columns = columns::check(connection, &target, plan)?;
        let condition = range::with(request)?;
        let relation = Relation::new(connection, (target, plan), columns, condition)?;
        let source = Arc::clone(&plan.source);
        let encoder = Encoder::new(&source)?;
        let connection = connection.clone();
        let long = source.is_keyed() && relation.has_long_values(&connection)?;
        let portions = None;
        let view = Self { reading: None, portions, long, connection, source, relation, encoder };
        if request.condition.is_some() {
            view.check_condition()?;
        }
        Ok((view, Moment { checkpoint, mark: None }))
    }

    /// Whether DuckDB understands the condition: everything else in the statement is ours.
    fn check_condition(&self) -> Result<()> {
        let prepared = self.connection.prepare(&self.relation.rows(&self.all(), None, None));
        let prepared = prepared.during(|| "preparing the statement".to_owned()).map(drop);
        prepared.map_err(|error| {
            let name = self.relation.name();
            Error::config(format!("--where: DuckDB does not understand the condition on {name}"))
                .with_hint("write it with the source's column names, in SQL that both sides know")
                .with_source(error)
        })
    }

    fn count(&mut self) -> Result<u64> {
        self.stop();
        let mut all = 0;
        let columns = match self.relation.key() {
            [] => self.all(),
            key => key.to_vec(),
        };
        for part in self.relation.parts() {
            let sql = self.relation.rows(&columns, None, part.as_ref());
            let found =
                relation::count(&self.connection, &format!("SELECT count(*) FROM ({sql})"))?;
            all += u64::try_from(found).unwrap_or(0);
        }
        Ok(all)
    }

    fn digest(&mut self, bits: u32) -> Result<Digest> {
        self.begin(&RowsOf::All)?;
        let encoder = self.encoder.clone();
        sum::up(bits, &encoder, || self.next())
    }

    fn begin(&mut self, rows: &RowsOf) -> Result<()> {
        self.stop();
        let whole = matches!(rows, RowsOf::All | RowsOf::Since(_));
        let keys = match rows {
            RowsOf::All | RowsOf::Since(_) if self.long => self.keys_in(None)?,
            RowsOf::All | RowsOf::Since(_) => None,
            RowsOf::Keys(keys) => Some(vec![keys.clone()]),
            RowsOf::Buckets(buckets) if self.encoder.is_keyed() => self.keys_in(Some(buckets))?,
            RowsOf::Buckets(_) => None,
        };
        self.portions = match keys {
            Some(keys) if self.long => Some(Portions::Keys(Keys::new(keys, whole))),
            Some(keys) => {
                let among = self.stage(&keys)?;
                return self.read(&self.all(), (Some(&among), None));
            }
            None => {
                let parts: Option<Vec<Part>> = self.relation.parts().into_iter().collect();
                let Some(parts) = parts else { return self.read(&self.all(), (None, None)) };
                Some(Portions::Parts(parts.into_iter()))
            }
        };
        self.go_on().map(drop)
    }

    /// Begins to read the next portion; false if there is none.
    fn go_on(&mut self) -> Result<bool> {
        let all = self.all();
        match &mut self.portions {
            None => Ok(false),
            Some(Portions::Parts(parts)) => {
                let Some(part) = parts.next() else { return Ok(false) };
                self.read(&all, (None, Some(&part))).map(|()| true)
            }
            Some(Portions::Keys(keys)) => {
                let keys = keys.next();
                if keys.is_empty() {
                    return Ok(false);
                }
                let among = self.stage(&keys)?;
                self.read(&all, (Some(&among), None)).map(|()| true)
            }
        }
    }

    /// Gives up what is being read.
    fn stop(&mut self) {
        self.reading = None;
        self.portions = None;
    }

    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let schema = self.source.arrow();
        loop {
            if let Some(rows) = self.fetch(&schema)? {
                if let Some(Portions::Keys(keys)) = &mut self.portions {
                    keys.came(rows.get_array_memory_size());
                }
                return Ok(Some(rows));
            }
            if !self.go_on()? {
                return Ok(None);
            }
        }
    }

    /// Begins to read `columns`.
    fn read(
        &mut self,
        columns: &[usize],
        (among, part): (Option<&TableRef>, Option<&Part>),
    ) -> Result<()> {
        let sql = self.relation.rows(columns, among, part);
        self.stream(&sql)
    }

    fn stream(&mut self, sql: &str) -> Result<()> {
        self.reading = None;
        let stream = self.connection.prepare(sql).and_then(crate::ffi::Statement::stream);
        self.reading = Some(stream.during(|| self.reading_words())?);
        Ok(())
    }

    fn fetch(&mut self, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        let Some(stream) = &mut self.reading else { return Ok(None) };
        let fetched = stream.next();
        match fetched.during(|| self.reading_words())? {
            Some(rows) => adopt::rows(&rows, schema).map(Some),
            None => {
                self.reading = None;
                Ok(None)
            }
        }
    }

    /// The keys that fall into `buckets`, or all of them in order; `None` if they are too many to be
    /// worth it.
    fn keys_in(&mut self, buckets: Option<&BucketSet>) -> Result<Option<Vec<RecordBatch>>> {
        let schema = self.source.key_arrow();
        let key = self.source.key.clone();
        let parts = if buckets.is_some() { self.relation.parts() } else { vec![None] };
        let (mut picked, mut bytes) = (Vec::new(), 0);
        for part in parts {
            let mut sql = self.relation.rows(&key, None, part.as_ref());
            if buckets.is_none() {
                sql = format!("SELECT * FROM ({sql}) ORDER BY {}", columns::places(&key));
            }
            self.stream(&sql)?;
            while let Some(keys) = self.fetch(&schema)? {
                let hashes = self.encoder.keys(&keys)?.into_iter();
                let is_in = |hash| buckets.is_none_or(|buckets| buckets.contains(hash));
                let wanted: BooleanArray = hashes.map(|hash| Some(is_in(hash))).collect();
                if wanted.true_count() > 0 {
                    let keys = filter_record_batch(&keys, &wanted)?;
                    bytes += keys.get_array_memory_size();
                    picked.push(keys);
                }
                if bytes > MOST_KEYS {
                    self.reading = None;
                    return Ok(None);
                }
            }
        }
        Ok(Some(picked))
    }

    /// Puts keys into a temporary table, which this connection alone sees.
    fn stage(&mut self, keys: &[RecordBatch]) -> Result<TableRef> {
        let attempt = || "staging keys".to_owned();
        self.reading = None;
        let schema = columns::positional(&self.source.key_arrow());
        let table = TableRef {
            catalog: "temp".into(),
            schema: "main".into(),
            name: "rowtide_viewed_keys".into(),
        };
        let sql = format!("CREATE OR REPLACE TEMP TABLE {table} ({})", definitions(&schema)?);
        self.connection.execute(&sql).during(attempt)?;
        let feed = Feed::new(&self.connection, &schema).during(attempt)?;
        let keys = keys.to_vec();
        feed.offer(Box::new(keys.into_iter().map(Ok)));
        let fill = format!("INSERT INTO {table} FROM {}", feed.name());
        self.connection.execute(&fill).during(attempt)?;
        Ok(table)
    }

    fn all(&self) -> Vec<usize> {
        (0..self.source.columns.len()).collect()
    }

    fn reading_words(&self) -> String {
        format!("reading the rows of {}", self.relation.name())
    }
}

/// Up to where `pipeline` is durable.
fn checkpoint(connection: &Connection, pipeline: &str) -> Result<Checkpoint> {
    let nothing = || {
        Error::config(format!("nothing is stored of pipeline {pipeline:?}"))
            .with_hint("run it first")
    };
    if !state::exists(connection)? {
        return Err(nothing());
    }
    let control = state::control(connection, pipeline)?.ok_or_else(nothing)?;
    let parsed = control.checkpoint.as_deref().map(serde_json::from_str).transpose();
    let parsed = parsed.map_err(|error| {
        Error::internal("the stored checkpoint cannot be read").with_source(error)
    })?;
    Ok(parsed.unwrap_or_default())
}
