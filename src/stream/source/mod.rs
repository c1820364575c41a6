// SPDX-License-Identifier: GPL-2.0-only
//! The sources of events: attached programs ([`live`]), or a capture that runs through the same
//! programs ([`replay`]).

use crate::abi::{StreamEvent, StreamFlow, StreamSubnet, StreamSubnetKey};
use crate::domain::error::Result;
use crate::stream::counters::StreamCounters;
use crate::stream::source::replay_summary::ReplaySummary;

pub mod following;
pub mod live;
mod read_ahead;
pub mod replay;
pub mod replay_clock;
pub mod replay_summary;
pub mod stream_programs;
pub mod watching;

/// Number of events that one call of [`Source::poll`] should append at most. It bounds this
/// process's memory: events that stay in the ring buffer are counted when it overflows, but events
/// that were taken out must be held.
pub const BATCH: usize = 8192;

/// Whether a source can yield more events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It can: call again.
    More,
    /// The capture has ended, and `poll` has just appended its last events.
    End,
}

/// A source that has ended: that of a capture whose pipe never said anything.
#[derive(Clone, Copy, Debug)]
pub struct EndedSource;

impl Source for EndedSource {
    fn poll(&mut self, _: &mut Vec<StreamEvent>, _: u64) -> Result<Progress> {
        Ok(Progress::End)
    }

    fn now_ns(&mut self) -> Result<u64> {
        Ok(0)
    }

    fn counters(&mut self) -> Result<StreamCounters> {
        Ok(StreamCounters::default())
    }

    fn flow(&self, _: u32) -> Option<StreamFlow> {
        None
    }

    fn subnets(&mut self) -> Result<Vec<(StreamSubnetKey, StreamSubnet)>> {
        Ok(Vec::new())
    }

    fn forget_subnets(&mut self, _: &[StreamSubnetKey]) -> Result<()> {
        Ok(())
    }
}

/// A source of events. All times are nanoseconds on the source's own clock: `CLOCK_MONOTONIC`, or
/// the clock of the capture.
pub trait Source {
    /// Waits for events until `until_ns`, and appends them, about [`BATCH`] at most. Returns when
    /// it has appended some or the clock has reached `until_ns`. If `until_ns` has passed, returns
    /// immediately: appends the events of the ring buffer and runs no packet.
    ///
    /// A live source need not wake up for single events, because callers pass an `until_ns` at most
    /// 100 ms ahead; at `until_ns` it must append every event of the ring buffer. A replay runs the
    /// packets before `until_ns`. If the next packet is later, it sets its clock to `until_ns`, or
    /// to the time of that packet if that is more than an hour later.
    ///
    /// # Errors
    /// The source has failed and yields no more events: its interface is gone, its capture is cut
    /// short. Events appended by this call are valid.
    fn poll(&mut self, batch: &mut Vec<StreamEvent>, until_ns: u64) -> Result<Progress>;

    /// Returns the time of the source's clock, which never goes back.
    ///
    /// # Errors
    /// [`Error::Other`](crate::domain::error::Error::Other): the kernel cannot read the clock.
    fn now_ns(&mut self) -> Result<u64>;

    /// Returns the programs' counters.
    ///
    /// # Errors
    /// The map cannot be read.
    fn counters(&mut self) -> Result<StreamCounters>;

    /// Returns the entry at an index of the flow table; `None` beyond its end.
    fn flow(&self, index: u32) -> Option<StreamFlow>;

    /// Returns the counts of all subnets. Empty unless the programs aggregate.
    ///
    /// # Errors
    /// The map cannot be read.
    fn subnets(&mut self) -> Result<Vec<(StreamSubnetKey, StreamSubnet)>>;

    /// Deletes subnets from the map. A subnet that is not in the map is no error.
    ///
    /// # Errors
    /// The map cannot be written.
    fn forget_subnets(&mut self, keys: &[StreamSubnetKey]) -> Result<()>;

    /// Converts a time of the source's clock to the time that its events bear. Both are the same,
    /// except in a capture whose clock has stepped back.
    fn stamp_ns(&self, now_ns: u64) -> u64 {
        now_ns
    }

    /// Returns what a capture held, measured or not; `None` for a source that is no capture.
    fn summary(&self) -> Option<ReplaySummary> {
        None
    }
}
