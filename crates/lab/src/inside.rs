// SPDX-License-Identifier: GPL-2.0-only
//! Threads and processes that enter namespaces before they do their work.

use std::io;
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::process::Command;
use std::thread::{self, JoinHandle};

/// Calls `enter` and then `work` in a scoped thread, so that the caller keeps its own namespaces.
/// Returns the result of `work`; a panic propagates.
pub(crate) fn run<T: Send>(
    enter: impl FnOnce() -> io::Result<()> + Send,
    work: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    let name = thread::current().name().unwrap_or("lab").to_owned();
    thread::scope(|scope| {
        let body = || enter().map(|()| work());
        let thread = thread::Builder::new().name(name).spawn_scoped(scope, body)?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Starts a thread that calls `enter` and then `work`.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    enter: impl FnOnce() -> io::Result<()> + Send + 'static,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<io::Result<T>>> {
    thread::Builder::new().name(name.to_owned()).spawn(move || enter().map(|()| work()))
}

/// Returns a command whose process calls `enter` between fork and exec.
///
/// # Safety
///
/// `enter` must be safe after fork in a process with threads: it makes system calls only, and neither
/// allocates memory nor takes a lock.
pub(crate) unsafe fn command(
    program: &str,
    enter: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) -> Command {
    let mut command = Command::new(program);
    // SAFETY: the caller promises that `enter` is safe after fork.
    unsafe { command.pre_exec(enter) };
    command
}
