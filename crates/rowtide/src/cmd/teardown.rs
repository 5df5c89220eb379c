//! `rowtide teardown`: removes what a pipeline made.

use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;

use rowtide_core::{Capabilities, Destination, Error, ErrorKind, Result, Source};

use crate::cli::Teardown;
use crate::output::{self, Output};
use crate::{configuration, registry};

/// Lists what would go, asks, and removes it.
pub(super) async fn execute(arguments: Teardown, output: &Output) -> Result<ExitCode> {
    let configuration = match arguments.destination {
        true => configuration::load(&arguments.pipeline)?,
        false => configuration::load_source(&arguments.pipeline)?,
    };
    let name = configuration.pipeline.clone();
    let source =
        registry::source(&configuration.source, &name, (Capabilities::default(), Vec::new()))?;
    let destination = match arguments.destination {
        true => Some(registry::destination(&configuration.destination, &name)?),
        false => None,
    };
    // A publication that was given is not the pipeline's to remove.
    let given = configuration.source.options.contains_key("publication");
    let plan = describe((&name, given), source.as_ref(), destination.as_deref()).await?;
    output::print(&plan)?;
    if !arguments.yes && !confirmed(output)? {
        output.note("nothing was removed");
        return Ok(ExitCode::SUCCESS);
    }
    // The source first: should the destination fail, no slot keeps the source's log for ever.
    let mut removed = source.operations().release().await?;
    if let Some(destination) = destination {
        removed.extend(destination.teardown(&name).await?);
    }
    if removed.is_empty() {
        output::print_line("There was nothing to remove.")?;
    }
    for item in removed {
        output::print_line(&format!("removed {item}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn describe(
    (name, given): (&str, bool),
    source: &dyn Source,
    destination: Option<&dyn Destination>,
) -> Result<String> {
    let mut text = format!("pipeline {name}: this will be removed\n");
    let status = source.operations().status().await?;
    text.push_str(&format!("  at the source ({})\n", status.server));
    let intent = source.operations().intent();
    for (key, value) in intent.0.as_object().into_iter().flatten() {
        if let (true, Some(value)) =
            (matches!(key.as_str(), "slot" | "publication"), value.as_str())
        {
            let note = match key.as_str() {
                "publication" if given => " stays: it was not made by Rowtide",
                "slot" if status.acknowledged.is_none() => " (there is none)",
                _ => "",
            };
            text.push_str(&format!("    {key} {value}{note}\n"));
        }
    }
    if status.active {
        return Err(Error::new(
            ErrorKind::Unavailable,
            format!("pipeline {name} is running: its slot is being read"),
        )
        .with_hint("stop it first"));
    }
    let Some(destination) = destination else {
        text.push_str("  nothing at the destination (pass --destination for that)\n");
        return Ok(text);
    };
    text.push_str("  at the destination\n");
    match destination.peek(name).await? {
        None => text.push_str("    nothing is there\n"),
        Some(state) => {
            text.push_str("    the pipeline's state\n");
            for table in &state.tables {
                text.push_str(&format!("    table {}\n", table.target));
            }
        }
    }
    Ok(text)
}

/// Asks on the terminal; without one only `--yes` will do.
fn confirmed(output: &Output) -> Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(Error::config("teardown asks before it removes anything, and nobody is there")
            .with_hint("pass --yes to remove it without being asked"));
    }
    output.stderr_line("Remove it? [y/N]");
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Error::config("could not read the answer").with_source(error))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
