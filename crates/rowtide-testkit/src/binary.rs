//! Where the binary under test is.

use std::path::PathBuf;

use crate::Result;

/// The binary with failpoints: `ROWTIDE_BINARY`, or the one beside the running program.
///
/// # Errors
/// If there is none, or it was built without the feature.
pub fn binary() -> Result<PathBuf> {
    const HOW: &str = "build it: cargo build -p rowtide --features rowtide/fault-injection";
    let beside = || {
        let program = std::env::current_exe().ok()?;
        // target/debug/rowtide-crash, or target/debug/deps/matrix-…
        program
            .ancestors()
            .skip(1)
            .take(2)
            .map(|dir| dir.join("rowtide"))
            .find(|path| path.is_file())
    };
    let given = std::env::var_os("ROWTIDE_BINARY").map(PathBuf::from);
    let path =
        given.or_else(beside).ok_or_else(|| format!("there is no rowtide to test; {HOW}"))?;
    // A program without failpoints does not read the variable.
    let asked = std::process::Command::new(&path)
        .args(["config", "reference"])
        .env("ROWTIDE_FAILPOINT", "nowhere=abort")
        .output()
        .map_err(|e| format!("run {}: {e}", path.display()))?;
    match asked.status.success() {
        false => Ok(path),
        true => Err(format!("{} has no failpoints; {HOW}", path.display())),
    }
}
