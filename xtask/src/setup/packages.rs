//! System packages, by apt: only those whose programs are missing.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::run::{self, Outcome, io_error};

const DEBIAN_SERVERS: &str = "/usr/lib/postgresql";

/// A package, and how to see that what it brings is already there.
struct Need {
    package: &'static str,
    reason: &'static str,
    is_met: fn() -> bool,
}

const NEEDS: [Need; 5] = [
    Need { package: "gcc", reason: "links programs", is_met: || run::is_on_path("cc") },
    Need { package: "libc6-dev", reason: "links programs", is_met: has_libc_headers },
    Need { package: "npm", reason: "fetches prebuilt parts", is_met: || run::is_on_path("npm") },
    Need {
        package: "openssl",
        reason: "makes certificates",
        is_met: || run::is_on_path("openssl"),
    },
    Need { package: "postgresql", reason: "serves demo and tests", is_met: has_postgresql },
];

/// Installs what is missing when we may, and otherwise says which command would.
pub(crate) fn ensure() -> Outcome {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !(need.is_met)()).collect();
    if missing.is_empty() {
        println!("setup: the system packages are there");
        return Ok(());
    }
    for need in &missing {
        println!("setup: missing {} ({})", need.package, need.reason);
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let command = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if !run::is_on_path("apt-get") {
        return Err(format!(
            "these are missing and this is not a Debian system: {}\n  next: install your system's \
             packages for them and try again",
            packages.join(", ")
        ));
    }
    if !is_root()? {
        return Err(format!(
            "installing packages needs root\n  next: sudo apt-get update && sudo {command}"
        ));
    }
    if packages.contains(&"postgresql") {
        keep_debian_from_starting_a_cluster()?;
    }
    run::shown(apt().args(["update", "-q"]))?;
    run::shown(apt().args(["install", "-q", "-y", "--no-install-recommends"]).args(&packages))?;
    match NEEDS.iter().find(|need| !(need.is_met)()) {
        None => Ok(()),
        Some(need) => Err(format!(
            "apt installed {}, but what it should bring is not found\n  next: see what \
             `dpkg -L {}` lists",
            need.package, need.package
        )),
    }
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> Outcome<bool> {
    run::output(Command::new("id").arg("-u")).map(|printed| printed.trim() == "0")
}

fn has_libc_headers() -> bool {
    // What a linker needs of it; the directory depends on the distribution.
    let places =
        ["/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
    places.iter().any(|place| Path::new(place).join("crt1.o").is_file())
}

/// A server with its clients, as Debian lays them out or on the search path.
fn has_postgresql() -> bool {
    let all = |dir: &Path| ["initdb", "postgres", "psql"].iter().all(|p| dir.join(p).is_file());
    let majors = fs::read_dir(DEBIAN_SERVERS).into_iter().flatten().flatten();
    let debian = majors.map(|entry| entry.path().join("bin")).any(|bin| all(&bin));
    debian || ["initdb", "postgres", "psql"].iter().all(|program| run::is_on_path(program))
}

/// Debian makes and starts a cluster on port 5432 as it installs a server. Ours are throwaway and
/// private; a machine should not get a service it did not ask for.
fn keep_debian_from_starting_a_cluster() -> Outcome {
    let directory = Path::new("/etc/postgresql-common");
    let file = directory.join("createcluster.conf");
    let present = fs::read_to_string(&file).unwrap_or_default();
    if present.lines().any(|line| line.trim_start().starts_with("create_main_cluster")) {
        return Ok(()); // Whoever wrote that line decided.
    }
    fs::create_dir_all(directory).map_err(io_error("make the directory", directory))?;
    let text = format!("{present}create_main_cluster = false\n");
    fs::write(&file, text).map_err(io_error("write", &file))
}
