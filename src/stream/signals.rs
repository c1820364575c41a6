// SPDX-License-Identifier: GPL-2.0-only
//! The signals that a stream heeds: they are blocked and read from a descriptor, so that none
//! arrives between two things that belong together.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal as Number};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::domain::error::{Error, Result};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, SIGTERM: finish what was begun, and end.
    Stop,
    /// SIGHUP: open the output file again.
    Reopen,
}

/// Where signals come from.
pub trait Signals {
    /// The next that has arrived; does not wait.
    ///
    /// # Errors
    /// The descriptor cannot be read.
    fn take(&mut self) -> Result<Option<Signal>>;

    /// Becomes readable when there is one to take.
    fn fd(&self) -> Option<BorrowedFd<'_>>;
}

/// The process's own signals.
#[derive(Debug)]
pub struct ProcessSignals(SignalFd);

impl ProcessSignals {
    /// From now on SIGINT, SIGTERM and SIGHUP wait to be taken. Call it before anything is attached
    /// and before threads are made.
    ///
    /// # Errors
    /// The kernel gives no descriptor.
    pub fn block() -> Result<Self> {
        let failed = |errno| Error::other("wait for signals", errno, "");
        let mut set = SigSet::empty();
        for signal in [Number::SIGINT, Number::SIGTERM, Number::SIGHUP] {
            set.add(signal);
        }
        set.thread_block().map_err(failed)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        SignalFd::with_flags(&set, flags).map(Self).map_err(failed)
    }
}

impl Signals for ProcessSignals {
    fn take(&mut self) -> Result<Option<Signal>> {
        let read = self.0.read_signal();
        let info = read.map_err(|errno| Error::other("read a signal", errno, ""))?;
        let hang_up = Number::SIGHUP as u32;
        Ok(info.map(|info| if info.ssi_signo == hang_up { Signal::Reopen } else { Signal::Stop }))
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise;

    use super::*;

    #[test]
    fn signals_wait_to_be_taken() {
        let mut signals = ProcessSignals::block().unwrap();
        assert_eq!(signals.take().unwrap(), None);
        let table = [
            (Number::SIGHUP, Signal::Reopen),
            (Number::SIGTERM, Signal::Stop),
            (Number::SIGINT, Signal::Stop),
        ];
        for (number, signal) in table {
            // To this thread, which blocks it.
            raise(number).unwrap();
            assert_eq!(signals.take().unwrap(), Some(signal));
            assert_eq!(signals.take().unwrap(), None);
        }
    }
}
