//! Wall time, CPU time and peak memory of a process, and the CPU time of a server meanwhile.

mod server;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rowtide_testkit::{Finished, Result, Rowtide, peak_rss_bytes, wait_for};
use serde::{Deserialize, Serialize};

pub(crate) use server::ServerClock;

/// What a process took.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// Seconds.
    pub(crate) wall: f64,
    /// Seconds of user and system time of the process that was measured.
    pub(crate) cpu: f64,
    /// The same of all processes of the servers meanwhile.
    pub(crate) server_cpu: f64,
    pub(crate) peak_bytes: u64,
}

impl Taken {
    /// This, and then `next`.
    pub(crate) fn and(self, next: Self) -> Self {
        Self {
            wall: self.wall + next.wall,
            cpu: self.cpu + next.cpu,
            server_cpu: self.server_cpu + next.server_cpu,
            peak_bytes: self.peak_bytes.max(next.peak_bytes),
        }
    }
}

impl std::fmt::Display for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mebibytes = self.peak_bytes >> 20;
        write!(f, "{:.2} s wall, {:.2} s CPU, {mebibytes} MiB peak", self.wall, self.cpu)
    }
}

/// Bytes as mebibytes.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub(crate) fn mib(bytes: u64) -> f64 {
    (bytes >> 10) as f64 / 1024.0
}

/// Runs `rowtide` to its end, which must be a good one.
pub(crate) fn time_rowtide(rowtide: Rowtide, limit: Duration) -> Result<(Taken, Finished)> {
    let (taken, finished) = time_to_end(rowtide, limit)?;
    Ok((taken, finished.success()?))
}

/// Runs `rowtide` to its end, however it ends.
pub(crate) fn time_to_end(rowtide: Rowtide, limit: Duration) -> Result<(Taken, Finished)> {
    let started = Instant::now();
    let mut taken = watch(rowtide.pid(), limit)?;
    let finished = rowtide.wait(limit)?;
    taken.wall = started.elapsed().as_secs_f64();
    Ok((taken, finished))
}

/// Runs another program to its end, its output thrown away.
pub(crate) fn time_command(command: &mut Command, limit: Duration) -> Result<Taken> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    time_all(std::slice::from_mut(command), limit)
}

/// Runs programs at the same time until the last has ended: the sum of their CPU times and peaks.
pub(crate) fn time_all(commands: &mut [Command], limit: Duration) -> Result<Taken> {
    let started = Instant::now();
    let mut children = Vec::new();
    for command in commands.iter_mut() {
        children.push(command.spawn().map_err(|e| format!("start {command:?}: {e}"))?);
        // Else our end of a pipe between two of them would stay open.
        command.stdin(Stdio::null()).stdout(Stdio::null());
    }
    let mut whole = Taken::default();
    for child in &children {
        let taken = watch(child.id(), limit)?;
        whole.cpu += taken.cpu;
        whole.peak_bytes += taken.peak_bytes;
    }
    whole.wall = started.elapsed().as_secs_f64();
    for (command, child) in commands.iter().zip(children) {
        finish(command, child)?;
    }
    Ok(whole)
}

/// Waits for the end of `child`; what it complained of is the error.
pub(crate) fn finish(command: &Command, child: Child) -> Result<Vec<u8>> {
    let output = child.wait_with_output().map_err(|e| format!("wait for {command:?}: {e}"))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => {
            let said = [output.stdout, output.stderr].concat();
            Err(format!("{command:?}: {}", String::from_utf8_lossy(&said).trim()))
        }
    }
}

/// What the process `pid`, a child of ours, takes until it ends. It is not reaped: a process that
/// has ended keeps its times until somebody asks how it ended.
fn watch(pid: u32, limit: Duration) -> Result<Taken> {
    let mut taken = Taken::default();
    wait_for("a process to end", limit, || {
        if let Some(peak) = peak_rss_bytes(pid) {
            taken.peak_bytes = taken.peak_bytes.max(peak);
        }
        let Some(times) = Times::of(pid) else { return Ok(Some(())) };
        taken.cpu = taken.cpu.max(times.own);
        Ok(times.ended.then_some(()))
    })?;
    Ok(taken)
}

/// The user and system time that process `pid` has taken so far, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    Times::of(pid).map(|times| times.own)
}

/// The time that another machine on the same host had of this one's cores since it was started, in
/// seconds; `None` where nobody counts it.
pub(crate) fn stolen_seconds() -> Option<f64> {
    stolen(&std::fs::read_to_string("/proc/stat").ok()?)
}

/// The eighth number of the line of all cores, in the ticks of [`Times::of`].
fn stolen(stat: &str) -> Option<f64> {
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: f64 = all.split_whitespace().nth(7)?.parse().ok()?;
    Some(ticks / 100.0)
}

/// The times of a process.
struct Times {
    parent: u32,
    ended: bool,
    /// User and system time in seconds.
    own: f64,
    /// The same of its children that have ended and were reaped.
    children: f64,
}

impl Times {
    /// Reads `/proc/<pid>/stat`, whose clock ticks 100 times a second on Linux.
    fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
        Some(Self {
            ended: matches!(*fields.first()?, "Z" | "X"),
            parent: fields.get(1)?.parse().ok()?,
            own: (ticks(11)? + ticks(12)?) / 100.0,
            children: (ticks(13)? + ticks(14)?) / 100.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_that_of_all_cores() {
        let stat = "cpu  6980413 520881 3077659 2945457 37669 0 119531 34597 0 0\n\
                    cpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(stolen(stat), Some(345.97));
        assert_eq!(stolen("cpu  1 2 3\n"), None);
    }
}
