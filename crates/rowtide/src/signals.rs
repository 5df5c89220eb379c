//! Ctrl-C and SIGTERM: the first one asks to finish, the second one ends the process.

use std::process;
use std::time::Duration;

use rowtide_core::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::output::Output;

/// How long finishing may take after the first signal.
const DRAIN: Duration = Duration::from_secs(10);
/// What a shell expects of a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Asks whoever listens to stop; can be asked by hand as well.
pub(crate) type Shutdown = watch::Sender<bool>;

/// Watches the signals from now on.
///
/// # Errors
/// `Internal` if the system refuses.
pub(crate) fn listen(output: &Output) -> Result<(Shutdown, watch::Receiver<bool>)> {
    let refused = |error| Error::internal("could not listen for signals").with_source(error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    let (sender, receiver) = watch::channel(false);
    let (asked, output) = (sender.clone(), output.clone());
    tokio::spawn(async move {
        either(&mut interrupt, &mut terminate).await;
        asked.send_replace(true);
        output.note("finishing what is in flight; once more to exit at once");
        tokio::select! {
            () = either(&mut interrupt, &mut terminate) => {
                // Bars would stay behind on the terminal.
                let _ = output.bars().clear();
                output.note("exiting at once; the next run goes on where the destination stands");
                process::exit(INTERRUPTED);
            }
            () = tokio::time::sleep(DRAIN) => {
                output.note(
                    "did not finish within 10 seconds, exiting; the next run goes on where the \
                     destination stands",
                );
                process::exit(0);
            }
        }
    });
    Ok((sender, receiver))
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Ends when a stop was asked for.
pub(crate) async fn asked(receiver: &watch::Receiver<bool>) {
    let mut receiver = receiver.clone();
    // A dropped sender means that nobody can ask any more: then this waits for ever.
    if receiver.wait_for(|asked| *asked).await.is_err() {
        std::future::pending::<()>().await;
    }
}
