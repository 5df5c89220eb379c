//! What a process does while it runs: its memory, its CPU time, and the changes of each epoch.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rowtide_testkit::{Result, RowtideCommand};

use crate::stopwatch::cpu_seconds;

/// Time between the first two looks: a run can be over within a tenth of a second.
const FIRST: Duration = Duration::from_millis(5);

/// Time between two looks at what goes on for longer.
const EVERY: Duration = Duration::from_millis(100);

/// The most points of a curve of throughput.
const POINTS: f64 = 150.0;

/// The most points of a curve of memory.
const MEMORY_POINTS: usize = 300;

/// One look at a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// Seconds since the first look.
    pub(crate) at: f64,
    pub(crate) rss_bytes: u64,
    /// CPU time of its whole life.
    pub(crate) cpu: f64,
}

/// Looks at a process until told to stop, or until it is gone.
pub(crate) struct Sampler {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    pub(crate) fn start(pid: u32) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let began = Instant::now();
            let mut samples = Vec::new();
            let mut pause = FIRST;
            while let Some((rss_bytes, cpu)) = look(pid) {
                samples.push(Sample { at: began.elapsed().as_secs_f64(), rss_bytes, cpu });
                if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
                pause = (pause * 2).min(EVERY);
            }
            samples
        });
        Self { stop, thread }
    }

    /// What was seen.
    pub(crate) fn finish(self) -> Vec<Sample> {
        drop(self.stop);
        self.thread.join().unwrap_or_default()
    }
}

/// The resident memory and the CPU time of a process that runs.
fn look(pid: u32) -> Option<(u64, f64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some((kibibytes * 1024, cpu_seconds(pid)?))
}

/// Memory over time, in mebibytes; of several looks that one point stands for, the highest.
pub(crate) fn memory(samples: &[Sample]) -> Vec<(f64, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "a height to be looked at")]
    let point = |sample: &Sample| (sample.at, (sample.rss_bytes >> 10) as f64 / 1024.0);
    let together = samples.len().div_ceil(MEMORY_POINTS).max(1);
    let highest = |some: &[Sample]| some.iter().max_by_key(|sample| sample.rss_bytes).map(point);
    samples.chunks(together).filter_map(highest).collect()
}

/// One epoch that was made durable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Epoch {
    /// When, in seconds since 1970.
    pub(crate) at: f64,
    pub(crate) changes: u64,
}

/// The same run, telling of each epoch and, at its end, of all delays.
pub(crate) fn telling(command: RowtideCommand) -> RowtideCommand {
    let detailed = "warn,rowtide=debug,rowtide_engine=debug";
    command.with(&["--log", "json"]).env("ROWTIDE_LOG", detailed)
}

/// The epochs that a run told of; there is at least one.
pub(crate) fn epochs(log: &str) -> Result<Vec<Epoch>> {
    let all = messages(log, "epoch committed")
        .map(|line| {
            let time = line.get("timestamp").and_then(serde_json::Value::as_str);
            let changes = line.get("changes").and_then(serde_json::Value::as_u64);
            let at = time.and_then(seconds_since_1970);
            let wrong = || format!("an epoch without its time or changes: {line}");
            Ok(Epoch { at: at.ok_or_else(wrong)?, changes: changes.ok_or_else(wrong)? })
        })
        .collect::<Result<Vec<Epoch>>>()?;
    match all.is_empty() {
        true => Err(format!("no epochs were logged: {log}")),
        false => Ok(all),
    }
}

/// The lines of a JSON log that say `message`.
pub(crate) fn messages<'a>(
    log: &'a str,
    message: &'a str,
) -> impl Iterator<Item = serde_json::Value> + 'a {
    log.lines()
        .filter(move |line| line.contains(message))
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(move |line| line.get("message").and_then(|m| m.as_str()) == Some(message))
}

/// Changes per second over time, from the moment `from` (seconds since 1970) on. An epoch's
/// changes are spread evenly over the time since the one before.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures to be looked at, in at most a few hundred boxes"
)]
pub(crate) fn throughput(epochs: &[Epoch], from: f64) -> Vec<(f64, f64)> {
    let Some(last) = epochs.last().filter(|last| last.at > from) else {
        return Vec::new();
    };
    let width = ((last.at - from) / POINTS).max(0.1);
    let mut boxes = vec![0.0; ((last.at - from) / width).ceil() as usize];
    let mut before = from;
    for epoch in epochs.iter().filter(|epoch| epoch.at > from) {
        let rate = epoch.changes as f64 / (epoch.at - before).max(1e-6);
        let first = ((before - from) / width) as usize;
        for (at, sum) in boxes.iter_mut().enumerate().skip(first) {
            let (left, right) = (from + at as f64 * width, from + (at + 1) as f64 * width);
            let shared = right.min(epoch.at) - left.max(before);
            if shared <= 0.0 && left > epoch.at {
                break;
            }
            *sum += rate * shared.max(0.0);
        }
        before = epoch.at.max(before);
    }
    let place = |(at, sum): (usize, &f64)| ((at as f64 + 0.5) * width, sum / width);
    boxes.iter().enumerate().map(place).collect()
}

/// The moment that a log line states, such as `2026-03-01T12:00:00.25Z`.
fn seconds_since_1970(text: &str) -> Option<f64> {
    Some(text.parse::<jiff::Timestamp>().ok()?.as_duration().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(seconds_since_1970("1970-01-01T00:00:00Z"), Some(0.0));
        assert_eq!(seconds_since_1970("2000-02-29T23:59:59.500000Z"), Some(951_868_799.5));
        assert_eq!(seconds_since_1970("2026-11-21T21:31:27Z"), Some(1_795_296_687.0));
        assert_eq!(seconds_since_1970("yesterday"), None);
    }

    #[test]
    fn epochs_are_read_from_the_log() {
        let log = "not json\n\
            {\"timestamp\":\"1970-01-01T00:00:01Z\",\"level\":\"DEBUG\",\
             \"message\":\"epoch committed\",\"checkpoint\":\"0/1\",\"changes\":7}\n\
            {\"timestamp\":\"1970-01-01T00:00:02Z\",\"message\":\"no epoch committed\"}\n";
        assert_eq!(epochs(log).unwrap(), [Epoch { at: 1.0, changes: 7 }]);
        let without = "{\"timestamp\":\"x\",\"message\":\"epoch committed\",\"changes\":7}";
        assert!(epochs(without).is_err() && epochs("").is_err());
    }

    #[test]
    fn throughput_keeps_the_number_of_changes() {
        let epoch = |at, changes| Epoch { at, changes };
        let all = [epoch(100.05, 50), epoch(100.3, 0), epoch(100.301, 9), epoch(103.0, 3000)];
        let curve = throughput(&all, 100.0);
        let width = curve[1].0 - curve[0].0;
        let total: f64 = curve.iter().map(|(_, rate)| rate * width).sum();
        assert!((total - 3059.0).abs() < 1.0, "{total}");
        // The long last epoch is spread over its time.
        let (_, rate) = curve[curve.len() - 2];
        assert!((rate - 3000.0 / 2.699).abs() < 2.0, "{rate}");
        assert!(throughput(&[], 0.0).is_empty());
        assert!(throughput(&all, 200.0).is_empty());
    }

    #[test]
    fn a_long_run_has_no_more_points_than_are_seen() {
        let all: Vec<Epoch> =
            (1..=60_000).map(|at| Epoch { at: f64::from(at) * 0.01, changes: 5 }).collect();
        let curve = throughput(&all, 0.0);
        assert!(curve.len() <= 151, "{}", curve.len());
        assert!(curve.iter().all(|(_, rate)| (rate - 500.0).abs() < 10.0));
    }

    #[test]
    fn a_curve_of_memory_keeps_its_peak() {
        let sample = |at: u32| Sample {
            at: f64::from(at),
            rss_bytes: if at == 777 { 50 << 20 } else { 10 << 20 },
            cpu: 0.0,
        };
        let all: Vec<Sample> = (0..1000).map(sample).collect();
        let curve = memory(&all);
        assert!(curve.len() <= MEMORY_POINTS);
        assert!(curve.contains(&(777.0, 50.0)), "{curve:?}");
        assert_eq!(memory(&all[..2]), [(0.0, 10.0), (1.0, 10.0)]);
    }

    #[test]
    fn a_process_is_looked_at_until_told_to_stop() {
        let sampler = Sampler::start(std::process::id());
        let samples = sampler.finish();
        assert!(!samples.is_empty() && samples.iter().all(|sample| sample.rss_bytes > 0));
        assert!(memory(&samples)[0].1 > 0.1);
    }

    #[test]
    fn a_process_that_is_gone_ends_the_looking() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(Sampler::start(child.id()).finish().is_empty());
    }
}
