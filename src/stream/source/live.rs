// SPDX-License-Identifier: GPL-2.0-only
//! Events of programs that are attached.

use std::time::Duration;

use crate::abi::{StreamEvent, StreamFlow, StreamSubnet, StreamSubnetKey};
use crate::domain::error::Result;
use crate::kernel::machine::ktime_ns;
use crate::stream::counters::StreamCounters;
use crate::stream::source::programs::StreamPrograms;
use crate::stream::source::{Progress, Source, BATCH};

/// How often the attachment is looked after.
const CHECK_NS: u64 = 1_000_000_000;

/// What holds the programs where the packets are; dropping it lets go.
pub trait Attachment {
    /// Sees to it that packets still come.
    ///
    /// # Errors
    /// They never will again: the interface is gone.
    fn check(&mut self, programs: &StreamPrograms) -> Result<()>;
}

/// Programs of ours and where they are attached.
pub struct Live<A> {
    // Fields drop in order: first the packets stop, then the programs go.
    attachment: A,
    programs: StreamPrograms,
    check_ns: u64,
}

impl<A: Attachment> Live<A> {
    /// Begins with programs that are attached.
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
            // What was too little to wake us: after the last call nobody looks again.
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
