//! Wall time, CPU time and peak memory of one process.

use std::process::Command;
use std::time::{Duration, Instant};

use rowtide_testkit::{Finished, Result, Rowtide, peak_rss_bytes, wait_for};

/// What a process took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Taken {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
    pub(crate) peak_bytes: u64,
}

impl std::fmt::Display for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mebibytes = self.peak_bytes >> 20;
        write!(f, "{:.2} s wall, {:.2} s CPU, {mebibytes} MiB peak", self.wall, self.cpu)
    }
}

/// Runs `rowtide` to its end.
pub(crate) fn time_rowtide(mut rowtide: Rowtide, limit: Duration) -> Result<(Taken, Finished)> {
    let started = Instant::now();
    let mut taken = Taken::default();
    wait_for("rowtide to end", limit, || {
        sample(rowtide.pid(), &mut taken);
        Ok((!rowtide.is_running()).then_some(()))
    })?;
    taken.wall = started.elapsed().as_secs_f64();
    Ok((taken, rowtide.wait(limit)?.success()?))
}

/// Runs another program to its end, its output thrown away.
pub(crate) fn time_command(command: &mut Command) -> Result<f64> {
    let started = Instant::now();
    let output = command.output().map_err(|e| format!("start {command:?}: {e}"))?;
    match output.status.success() {
        true => Ok(started.elapsed().as_secs_f64()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

fn sample(pid: u32, taken: &mut Taken) {
    if let Some(peak) = peak_rss_bytes(pid) {
        taken.peak_bytes = taken.peak_bytes.max(peak);
    }
    if let Some(cpu) = cpu_seconds(pid) {
        taken.cpu = taken.cpu.max(cpu);
    }
}

/// User and system time, from the kernel's clock ticks (100 a second on Linux).
fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}
