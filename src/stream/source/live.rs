// SPDX-License-Identifier: GPL-2.0-only
//! The source of events of attached programs.

use std::time::Duration;

use crate::abi::{StreamEvent, StreamFlow, StreamSubnet, StreamSubnetKey};
use crate::domain::error::Result;
use crate::kernel::machine::ktime_ns;
use crate::stream::counters::StreamCounters;
use crate::stream::source::stream_programs::StreamPrograms;
use crate::stream::source::{Progress, Source, BATCH};

/// Time between two checks of the attachment.
const CHECK_NS: u64 = 1_000_000_000;

/// The attachment of programs to interfaces or classifiers. Dropping it detaches them.
pub trait Attachment {
    /// Checks that the programs still get packets, and attaches them again where they do not.
    ///
    /// # Errors
    /// The programs will get no more packets: the interface is gone.
    fn check(&mut self, programs: &StreamPrograms) -> Result<()>;
}

/// Loaded programs and their attachment.
pub struct Live<A> {
    // Fields are dropped in this order: the programs are detached before they are unloaded.
    attachment: A,
    programs: StreamPrograms,
    /// Time of the next check of the attachment.
    check_ns: u64,
}

impl<A: Attachment> Live<A> {
    /// Makes a source of programs that `attachment` has attached.
    pub fn new(attachment: A, programs: StreamPrograms) -> Self {
        Self { attachment, programs, check_ns: 0 }
    }
}

impl<A: Attachment> Source for Live<A> {
    fn poll(&mut self, batch: &mut Vec<StreamEvent>, until_ns: u64) -> Result<Progress> {
        let now_ns = ktime_ns()?;
        if self.programs.drain(batch, BATCH)? == 0 {
            let patience = Duration::from_nanos(until_ns.saturating_sub(now_ns));
            self.programs.wait(batch, patience)?;
            // Take the events that are too few to end the wait. After the last call of `poll` no
            // other call would take them.
            self.programs.drain(batch, BATCH)?;
        }
        if now_ns >= self.check_ns {
            self.check_ns = now_ns + CHECK_NS;
            self.attachment.check(&self.programs)?;
        }
        Ok(Progress::More)
    }

    fn now_ns(&mut self) -> Result<u64> {
        ktime_ns()
    }

    fn counters(&mut self) -> Result<StreamCounters> {
        Ok(self.programs.counters())
    }

    fn flow(&self, index: u32) -> Option<StreamFlow> {
        self.programs.flow(index)
    }

    fn subnets(&mut self) -> Result<Vec<(StreamSubnetKey, StreamSubnet)>> {
        self.programs.subnets()
    }

    fn forget_subnets(&mut self, keys: &[StreamSubnetKey]) -> Result<()> {
        self.programs.forget_subnets(keys)
    }
}
