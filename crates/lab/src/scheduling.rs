// SPDX-License-Identifier: GPL-2.0-only
//! Real-time scheduling of threads.

use nix::libc::{self, c_int};
use std::io;

/// The real-time policies of sched(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RealtimePolicy {
    /// SCHED_FIFO: the thread keeps its CPU until it waits.
    Fifo,
    /// SCHED_RR: threads of the same priority take turns.
    RoundRobin,
}

/// Lets a thread run ahead of ordinary threads and of real-time threads with a lower priority.
/// `thread` 0 is the caller.
pub fn run_ahead(thread: i32, policy: RealtimePolicy, priority: c_int) -> io::Result<()> {
    let policy = match policy {
        RealtimePolicy::Fifo => libc::SCHED_FIFO,
        RealtimePolicy::RoundRobin => libc::SCHED_RR,
    };
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: plain system call on a struct that outlives it.
    match unsafe { libc::sched_setscheduler(thread, policy, &raw const parameter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
