//! W3: single-row transactions at a steady rate; commit → durable at the destination.

use std::time::Duration;

use rowtide_testkit::Result;

use crate::arena::{Arena, DB};
use crate::stopwatch::time_command;
use crate::{Options, Rows};

const SCRIPT: &str = "\\set id random(1, 100000)\n\
    INSERT INTO hot VALUES (:id, 1) ON CONFLICT (id) DO UPDATE SET v = hot.v + 1;\n";

pub(crate) fn measure(options: &Options) -> Result<Rows> {
    let arena = Arena::start(options)?;
    arena.sql("CREATE TABLE hot (id int PRIMARY KEY, v int)")?;
    let rowtide = arena.rowtide("latency", "", &["--log", "json"])?.spawn()?;
    arena.wait_until_active("rowtide_latency")?;
    let script = arena.directory().join("hot.sql");
    std::fs::write(&script, SCRIPT).map_err(|e| e.to_string())?;
    let mut pgbench = arena.tool("pgbench")?;
    pgbench.args([
        "-n",
        "-c",
        "4",
        "-R",
        &options.rate.to_string(),
        "-T",
        &options.seconds.to_string(),
    ]);
    pgbench.arg("-f").arg(&script).arg(DB);
    time_command(&mut pgbench)?;
    arena.wait_until_caught_up("rowtide_latency")?;
    rowtide.terminate()?;
    let run = rowtide.wait(Duration::from_secs(10))?.success()?;
    arena.compare("latency", &["public.hot"])?;
    let line = run
        .stderr
        .lines()
        .find(|line| line.contains("run ended"))
        .ok_or_else(|| format!("no delays were logged: {}", run.stderr))?;
    let logged: serde_json::Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let field = |name: &str| -> Result<f64> {
        let found =
            logged.get("fields").unwrap_or(&logged).get(name).and_then(serde_json::Value::as_f64);
        found.ok_or_else(|| format!("`{name}` is missing: {line}"))
    };
    Ok(vec![
        ("load".into(), format!("{} transactions/s for {} s", options.rate, options.seconds)),
        ("transactions".into(), format!("{:.0}", field("transactions")?)),
        ("p50".into(), format!("{:.1} ms", field("latency_ms_p50")?)),
        ("p99".into(), format!("{:.1} ms", field("latency_ms_p99")?)),
        ("max".into(), format!("{:.1} ms", field("latency_ms_max")?)),
    ])
}
