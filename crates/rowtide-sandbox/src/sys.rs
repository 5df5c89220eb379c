//! The few calls that std does not offer: tie a child's life to ours, and signal it.
//!
//! This is the only module of the crate with `unsafe` in it.

#![allow(unsafe_code, reason = "libc calls; each block says why it is sound")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// The user this process acts as.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: geteuid takes no arguments, touches no memory and cannot fail.
    unsafe { libc::geteuid() }
}

/// Sends `signal` to the process `pid`.
pub(crate) fn send_signal(pid: u32, signal: i32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    if pid <= 1 {
        // 0 and negative numbers mean whole groups of processes, 1 is init: never what is meant.
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: kill reads its two integer arguments and touches no memory of this process.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

type Job = (Command, Sender<io::Result<Child>>);

static SPAWNER: Mutex<Option<Sender<Job>>> = Mutex::new(None);

/// Spawns `command` so that the kernel sends it SIGQUIT when this process dies, however it dies.
///
/// The kernel counts the death of the *thread* that spawned, and a test's thread is gone long
/// before a server shared by several tests should be. So one thread that never ends spawns all.
pub(crate) fn spawn_tied(command: Command) -> io::Result<Child> {
    let gone = || io::Error::other("the thread that starts servers is gone");
    let (reply, answer) = mpsc::channel();
    {
        let mut spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = match spawner.as_ref() {
            Some(jobs) => jobs,
            None => spawner.insert(start_spawner()?),
        };
        jobs.send((command, reply)).map_err(|_| gone())?;
    }
    answer.recv().map_err(|_| gone())?
}

fn start_spawner() -> io::Result<Sender<Job>> {
    let (jobs, inbox) = mpsc::channel::<Job>();
    thread::Builder::new().name("sandbox-spawner".to_owned()).spawn(move || {
        for (mut command, reply) in inbox {
            tie_to_this_thread(&mut command);
            // A receiver that has gone away lost interest; its child is tied to us all the same.
            let _ = reply.send(command.spawn());
        }
    })?;
    Ok(jobs)
}

#[cfg(target_os = "linux")]
fn tie_to_this_thread(command: &mut Command) {
    let parent = std::process::id();
    let tie = move || {
        // SAFETY: runs between fork and exec; prctl and getppid are plain system calls that
        // neither allocate nor take locks. std has changed user and group before this runs, which
        // matters because that change would clear the request.
        let (asked, current_parent) = unsafe {
            (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGQUIT), libc::getppid().cast_unsigned())
        };
        if asked != 0 {
            return Err(io::Error::last_os_error());
        }
        if current_parent != parent {
            // The parent died before the request was in place, so no signal will ever come.
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: the closure makes only async-signal-safe calls and owns all it uses (one integer).
    unsafe {
        command.pre_exec(tie);
    }
}

#[cfg(not(target_os = "linux"))]
fn tie_to_this_thread(_command: &mut Command) {}
