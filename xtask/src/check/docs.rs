//! Documents that the program itself prints, so that they cannot say something else than it does.

use std::fs;
use std::path::Path;

use crate::run::{self, Outcome, cargo, io_error};

/// A document and the arguments of `rowtide` that print it.
struct Generated {
    path: &'static str,
    arguments: &'static [&'static str],
}

const GENERATED: &[Generated] = &[
    Generated { path: "docs/config.md", arguments: &["config", "reference"] },
    Generated { path: "docs/metrics.md", arguments: &["config", "metrics"] },
    Generated { path: "docs/types.md", arguments: &["config", "types"] },
];

/// Fails when a document differs from what the program prints.
pub(crate) fn check(root: &Path) -> Outcome {
    for document in GENERATED {
        let path = root.join(document.path);
        if !path.is_file() {
            println!("SKIPPED: {} is not written yet", document.path);
            continue;
        }
        let present = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        if present != print(root, document)? {
            return Err(format!(
                "{} is not what `rowtide {}` prints\n  next: run `cargo xtask docs` and look at \
                 the difference",
                document.path,
                document.arguments.join(" ")
            ));
        }
    }
    Ok(())
}

/// Writes every document anew.
pub(crate) fn write(root: &Path) -> Outcome {
    for document in GENERATED {
        let path = root.join(document.path);
        let text = print(root, document)?;
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(io_error("make the directory", directory))?;
        }
        fs::write(&path, text).map_err(io_error("write", &path))?;
        println!("docs: wrote {}", document.path);
    }
    Ok(())
}

fn print(root: &Path, document: &Generated) -> Outcome<String> {
    let program = ["run", "--quiet", "-p", "rowtide", "--"];
    run::output(cargo(root).args(program).args(document.arguments))
}
