// SPDX-License-Identifier: GPL-2.0-only
//! The signals that a stream obeys. They are blocked and read from a signalfd(2), so that the loop
//! handles them between two steps and never in the middle of one. docs/decisions/0007 says why not
//! with the `ctrlc` crate.

use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal as UnixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::domain::error::{Error, Result};

/// A signal by its meaning for the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT or SIGTERM: write the last records, then end.
    Stop,
    /// SIGHUP: open the output file again.
    Reopen,
}

/// A queue of signals.
pub trait Signals {
    /// Takes the oldest signal that has arrived. Returns immediately, with `None` if there is none.
    ///
    /// # Errors
    /// The descriptor cannot be read.
    fn take(&mut self) -> Result<Option<Signal>>;

    /// Returns a descriptor that is readable while a signal waits to be taken, for poll(2); `None`
    /// if these signals have no descriptor.
    fn fd(&self) -> Option<BorrowedFd<'_>>;
}

/// The process's own signals.
#[derive(Debug)]
pub struct ProcessSignals {
    queue: SignalFd,
    /// Readable while a signal that stops the stream waits. Never read.
    stop: SignalFd,
}

impl ProcessSignals {
    /// Blocks SIGINT, SIGTERM and SIGHUP: from now on they queue up until [`Signals::take`]. Call
    /// it before attaching programs, so that no signal ends the process while they are attached,
    /// and before starting threads, which inherit the mask.
    ///
    /// # Errors
    /// [`Error::Other`]: the kernel refuses the descriptor.
    pub fn block() -> Result<Self> {
        let failed = |errno| Error::other("wait for signals", errno, "");
        let mut set = SigSet::empty();
        set.add(UnixSignal::SIGINT);
        set.add(UnixSignal::SIGTERM);
        let stop = set;
        set.add(UnixSignal::SIGHUP);
        set.thread_block().map_err(failed)?;
        let open = |set: &SigSet| {
            SignalFd::with_flags(set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
                .map_err(failed)
        };
        Ok(Self { queue: open(&set)?, stop: open(&stop)? })
    }

    /// Returns a descriptor that is readable while a signal that stops the stream waits to be
    /// taken.
    pub fn stop_fd(&self) -> BorrowedFd<'_> {
        self.stop.as_fd()
    }

    /// Tells whether a signal that stops the stream waits to be taken.
    pub fn stop_waits(&self) -> bool {
        let mut fds = [PollFd::new(self.stop.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

impl Signals for ProcessSignals {
    fn take(&mut self) -> Result<Option<Signal>> {
        let read = self.queue.read_signal();
        let info = read.map_err(|errno| Error::other("read a signal", errno, ""))?;
        let hang_up = UnixSignal::SIGHUP as u32;
        Ok(info.map(|info| if info.ssi_signo == hang_up { Signal::Reopen } else { Signal::Stop }))
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.queue.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise;

    use super::*;

    #[test]
    fn blocked_signals_queue_until_they_are_taken() {
        let mut signals = ProcessSignals::block().unwrap();
        assert_eq!(signals.take().unwrap(), None);
        let table = [
            (UnixSignal::SIGHUP, Signal::Reopen),
            (UnixSignal::SIGTERM, Signal::Stop),
            (UnixSignal::SIGINT, Signal::Stop),
        ];
        for (number, signal) in table {
            // raise(3) sends the signal to this thread, which blocks it.
            raise(number).unwrap();
            assert_eq!(signals.take().unwrap(), Some(signal));
            assert_eq!(signals.take().unwrap(), None);
        }
    }
}
