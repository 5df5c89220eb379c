//! How a pipeline's progress is shown: bars and a live line on a terminal, log messages elsewhere.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use rowtide_core::{Offset, Phase, TableName};
use rowtide_engine::{Activity, Monitor, Snapshot, StreamProgress, Summary, TableProgress};
use tokio::time::Instant;

use super::{Output, bytes, count, seconds};

/// How often the terminal is drawn.
const FRAME: Duration = Duration::from_millis(100);
/// How often a log message tells how things stand.
const REPORT: Duration = Duration::from_secs(10);
/// Over how long the rate of changes is taken.
const WINDOW: Duration = Duration::from_secs(2);

/// Shows a pipeline until it is stopped.
pub(crate) struct Progress {
    task: tokio::task::JoinHandle<()>,
    stop: tokio::sync::watch::Sender<bool>,
}

impl Progress {
    /// Begins to show what `monitor` tells.
    pub(crate) fn start(output: &Output, monitor: &Monitor) -> Self {
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let (output, monitor) = (output.clone(), monitor.clone());
        let task = tokio::spawn(async move {
            let mut view = View::new(output);
            loop {
                view.show(&monitor.snapshot());
                tokio::select! {
                    () = tokio::time::sleep(FRAME) => {}
                    _ = stopped.changed() => break,
                }
            }
            view.show(&monitor.snapshot());
            view.clear();
        });
        Self { task, stop }
    }

    /// Shows the last state and takes the bars away.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        // The task only draws; if it failed there is nothing to show.
        let _ = self.task.await;
    }
}

struct View {
    output: Output,
    bars: HashMap<TableName, ProgressBar>,
    finished: HashSet<TableName>,
    stopped: HashSet<TableName>,
    live: Option<ProgressBar>,
    rate: Rate,
    lag: Lag,
    reported: Instant,
    activity: Activity,
}

impl View {
    fn new(output: Output) -> Self {
        Self {
            output,
            bars: HashMap::new(),
            finished: HashSet::new(),
            stopped: HashSet::new(),
            live: None,
            rate: Rate::default(),
            lag: Lag::default(),
            reported: Instant::now(),
            activity: Activity::default(),
        }
    }

    fn show(&mut self, snapshot: &Snapshot) {
        self.rate.observe(snapshot.stream.changes);
        self.lag.observe(&snapshot.stream);
        self.tell_activity(&snapshot.activity);
        for table in &snapshot.tables {
            self.table(table);
        }
        if self.output.draws_bars() {
            self.live_line(snapshot);
        } else if self.reported.elapsed() >= REPORT {
            self.reported = Instant::now();
            self.report(snapshot);
        }
    }

    fn tell_activity(&mut self, activity: &Activity) {
        if *activity == self.activity {
            return;
        }
        self.activity = activity.clone();
        if let (Activity::Retrying { error, attempt }, true) = (activity, self.output.draws_bars())
        {
            self.output.stderr_line(&format!("  ↻ {error}; attempt {attempt}"));
        }
    }

    fn table(&mut self, table: &TableProgress) {
        if let (Phase::Stopped, Some(reason)) = (table.phase, &table.reason) {
            if self.stopped.insert(table.name.clone()) {
                self.drop_bar(&table.name);
                self.tell_stopped(table, reason);
            }
            return;
        }
        // A table that is copied again is told again.
        self.stopped.remove(&table.name);
        match (table.started, table.finished) {
            (Some(started), Some(finished)) => {
                if self.finished.insert(table.name.clone()) {
                    self.drop_bar(&table.name);
                    self.tell_copied(table, finished.saturating_duration_since(started));
                }
            }
            (Some(started), None) => {
                self.finished.remove(&table.name);
                if self.output.draws_bars() {
                    self.draw_bar(table, started);
                }
            }
            (None, _) => {}
        }
    }

    fn tell_stopped(&self, table: &TableProgress, reason: &str) {
        if self.output.draws_bars() {
            let mark = self.output.paint("31", "✗");
            self.output.stderr_line(&format!("  {mark} {} stopped: {reason}", table.name));
        }
    }

    fn tell_copied(&self, table: &TableProgress, took: Duration) {
        // Elsewhere the engine's own log messages tell.
        if !self.output.draws_bars() {
            return;
        }
        self.output.stderr_line(&format!(
            "  {} {} copied: {} rows, {} in {}",
            self.output.paint("32", "✓"),
            table.name,
            count(table.rows),
            bytes(table.bytes),
            seconds(took.as_secs_f64()),
        ));
    }

    fn drop_bar(&mut self, table: &TableName) {
        if let Some(bar) = self.bars.remove(table) {
            bar.finish_and_clear();
        }
    }

    fn draw_bar(&mut self, table: &TableProgress, started: Instant) {
        let estimate = table.estimated_rows.unwrap_or(0);
        let output = &self.output;
        let bar = self.bars.entry(table.name.clone()).or_insert_with(|| {
            let bar = output.bars().insert_from_back(1, ProgressBar::new(1));
            bar.set_style(bar_style());
            bar.set_prefix(table.name.to_string());
            bar
        });
        let elapsed = started.elapsed().as_secs_f64().max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "a rate to be looked at")]
        let (rows, rate) = (table.rows as f64, table.bytes as f64 / elapsed);
        // An estimate that was too small must not stand at more than 100 %.
        bar.set_length(estimate.max(table.rows).max(1));
        bar.set_position(table.rows);
        let mut message = format!("{} rows, {}", count(table.rows), bytes(table.bytes));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and rounded for the eye"
        )]
        message.push_str(&format!(", {}/s", bytes(rate as u64)));
        if estimate > table.rows && table.rows > estimate / 100 && elapsed > 1.0 {
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            let left = (estimate - table.rows) as f64 * elapsed / rows;
            message.push_str(&format!(", {} left", seconds(left)));
        }
        bar.set_message(message);
    }

    fn live_line(&mut self, snapshot: &Snapshot) {
        let output = &self.output;
        let live = self.live.get_or_insert_with(|| {
            let live = output.bars().add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("  {spinner:.cyan} {wide_msg}") {
                live.set_style(style);
            }
            live
        });
        live.set_message(live_text(
            snapshot,
            self.rate.per_second(),
            self.lag.seconds(&snapshot.stream),
        ));
        live.tick();
    }

    fn report(&self, snapshot: &Snapshot) {
        let stream = &snapshot.stream;
        let copying = snapshot.tables.iter().filter(|table| table.phase == Phase::Copying).count();
        let copied: u64 = snapshot.tables.iter().map(|table| table.rows).sum();
        tracing::info!(
            activity = activity_word(&snapshot.activity),
            tables_copying = copying,
            rows_copied = copied,
            position = %Offset(stream.position),
            lag_bytes = stream.lag_bytes(),
            lag_seconds = self.lag.seconds(stream),
            changes = stream.changes,
            changes_per_second = self.rate.per_second(),
            epochs = stream.epochs,
            "progress"
        );
    }

    fn clear(&mut self) {
        for (_, bar) in self.bars.drain() {
            bar.finish_and_clear();
        }
        if let Some(live) = self.live.take() {
            live.finish_and_clear();
        }
    }
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template(
        "  {prefix:22!} {bar:10.cyan/black.bright} {percent:>3}%  {wide_msg}",
    )
    .map(|style| style.progress_chars("━╸─"))
    .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn activity_word(activity: &Activity) -> &'static str {
    match activity {
        Activity::Starting => "starting",
        Activity::Copying => "copying",
        Activity::Streaming => "streaming",
        Activity::Retrying { .. } => "retrying",
        Activity::Stopping => "stopping",
    }
}

fn live_text(snapshot: &Snapshot, rate: f64, lag: f64) -> String {
    let stream = &snapshot.stream;
    let mut text = activity_word(&snapshot.activity).to_owned();
    if stream.position > 0 {
        text.push_str(&format!(
            "  {}  lag {}, {}  {rate:.0} changes/s  epoch {}",
            Offset(stream.position),
            bytes(stream.lag_bytes()),
            seconds(lag),
            count(stream.last_epoch_changes),
        ));
    }
    if stream.spooled_bytes > 0 {
        text.push_str(&format!("  spooled {}", bytes(stream.spooled_bytes)));
    }
    text
}

/// How long the destination has been behind.
///
/// While transactions are being applied, that is the age of the newest one. Otherwise bytes of log
/// that hold nothing of interest would look like an ever older delay; then it is the time since
/// the end of the log was first seen beyond the durable position.
#[derive(Default)]
struct Lag {
    heads: VecDeque<(Instant, u64)>,
    transactions: u64,
    applied: Option<Instant>,
}

impl Lag {
    fn observe(&mut self, stream: &StreamProgress) {
        let now = Instant::now();
        if stream.transactions != self.transactions {
            self.transactions = stream.transactions;
            self.applied = Some(now);
        }
        // Only the first sight of each head matters, and only while it is ahead.
        if self.heads.back().is_none_or(|(_, head)| *head < stream.head) {
            self.heads.push_back((now, stream.head));
        }
        while self.heads.front().is_some_and(|(_, head)| *head <= stream.position) {
            self.heads.pop_front();
        }
    }

    fn seconds(&self, stream: &StreamProgress) -> f64 {
        if stream.lag_bytes() == 0 {
            return 0.0;
        }
        let applying = self.applied.is_some_and(|at| at.elapsed() < WINDOW);
        if let (true, Some(committed_at)) = (applying, stream.committed_at) {
            let age = jiff::Timestamp::now().as_microsecond().saturating_sub(committed_at);
            #[expect(clippy::cast_precision_loss, reason = "an age to be looked at")]
            return age.max(0) as f64 / 1e6;
        }
        self.heads.front().map_or(0.0, |(at, _)| at.elapsed().as_secs_f64())
    }
}

/// Changes per second over a short window.
#[derive(Default)]
struct Rate {
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    fn observe(&mut self, changes: u64) {
        let now = Instant::now();
        self.samples.push_back((now, changes));
        while self.samples.len() > 2
            && self.samples.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW)
        {
            self.samples.pop_front();
        }
    }

    fn per_second(&self) -> f64 {
        let (Some((from, before)), Some((to, after))) = (self.samples.front(), self.samples.back())
        else {
            return 0.0;
        };
        let elapsed = to.duration_since(*from).as_secs_f64();
        if elapsed <= 0.0 {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate to be looked at")]
        let rate = after.saturating_sub(*before) as f64 / elapsed;
        rate
    }
}

/// Whether a copy was begun and not finished: the next run begins it again.
fn is_unfinished(table: &TableProgress) -> bool {
    table.started.is_some() && table.finished.is_none() && table.phase != Phase::Stopped
}

/// Tells at the end what a run did.
pub(crate) fn summary(output: &Output, snapshot: &Snapshot, summary: &Summary, took: Duration) {
    let stream = &snapshot.stream;
    let finished = snapshot.tables.iter().filter(|table| !is_unfinished(table));
    let copied: u64 = finished.map(|table| table.rows).sum();
    let checkpoint = summary.checkpoint.as_ref().map(ToString::to_string).unwrap_or_default();
    if output.is_json() {
        tracing::info!(
            tables = snapshot.tables.len(),
            rows_copied = copied,
            changes = stream.changes,
            transactions = stream.transactions,
            epochs = stream.epochs,
            retries = stream.retries,
            tables_stopped = summary.stopped.len(),
            interrupted = summary.interrupted,
            latency_ms_p50 = stream.latency.quantile_ms(0.5),
            latency_ms_p99 = stream.latency.quantile_ms(0.99),
            latency_ms_max = stream.latency.max_ms(),
            checkpoint,
            seconds = took.as_secs_f64(),
            "run ended"
        );
        let delays = stream.latency.spread().map(|(ms, count)| format!("{ms}:{count}"));
        tracing::debug!(delays_ms = delays.collect::<Vec<_>>().join(" "), "delays counted");
        return;
    }
    let unfinished = snapshot.tables.iter().filter(|table| is_unfinished(table)).count();
    let mark = match (summary.stopped.is_empty(), unfinished) {
        (true, 0) => output.paint("32", "✓"),
        (true, _) => output.paint("33", "!"),
        (false, _) => output.paint("31", "✗"),
    };
    output.note(&format!(
        "{mark} {} tables, {} rows copied, {} changes of {} transactions in {} epochs, {}",
        snapshot.tables.len(),
        count(copied),
        count(stream.changes),
        count(stream.transactions),
        count(stream.epochs),
        seconds(took.as_secs_f64()),
    ));
    if !checkpoint.is_empty() {
        output.note(&format!("  durable up to {checkpoint}"));
    }
    if let (Some(half), Some(most)) =
        (stream.latency.quantile_ms(0.5), stream.latency.quantile_ms(0.99))
    {
        let (half, most) = (seconds(half / 1000.0), seconds(most / 1000.0));
        output.note(&format!("  from commit to durable: half within {half}, 99 % within {most}"));
    }
    if unfinished > 0 {
        output.note(&format!(
            "  {unfinished} not copied to the end: the next run begins their copies again"
        ));
    }
    for (table, reason) in &summary.stopped {
        output.stderr_line(&format!("  {table} is stopped: {reason}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_was_interrupted_is_not_counted_as_copied() {
        let now = Some(Instant::now());
        let table = |started, finished, phase| TableProgress {
            name: TableName::new("public", "t"),
            phase,
            rows: 1,
            bytes: 1,
            estimated_rows: None,
            started,
            finished,
            reason: None,
        };
        assert!(is_unfinished(&table(now, None, Phase::Copying)));
        assert!(!is_unfinished(&table(now, now, Phase::Streaming)));
        assert!(!is_unfinished(&table(now, None, Phase::Stopped)));
        assert!(!is_unfinished(&table(None, None, Phase::Streaming)));
    }

    #[test]
    fn the_live_line_tells_position_lag_rate_and_epoch() {
        let snapshot = Snapshot {
            activity: Activity::Streaming,
            stream: StreamProgress {
                position: 0x1_0000_0010,
                head: 0x1_0000_0410,
                last_epoch_changes: 1234,
                ..StreamProgress::default()
            },
            ..Snapshot::default()
        };
        let text = live_text(&snapshot, 99.6, 0.05);
        assert_eq!(text, "streaming  1/10  lag 1.00 KiB, 0.05 s  100 changes/s  epoch 1,234");
    }
}
