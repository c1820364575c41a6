// SPDX-License-Identifier: GPL-2.0-only
//! Where events come from: programs that are attached, or a capture that is run through them.

use crate::abi::{StreamEvent, StreamFlow, StreamSubnet, StreamSubnetKey};
use crate::domain::error::Result;
use crate::stream::counters::StreamCounters;

pub mod follow;
pub mod live;
pub mod programs;
pub mod replay;
pub mod watch;

/// Events that a call of [`Source::poll`] should hand over at most: what remains in the ring buffer
/// is counted when it overflows, what was taken out must be held.
pub const BATCH: usize = 8192;

/// Whether there is more to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Call again.
    More,
    /// The capture has ended; what `poll` appended is the last.
    End,
}

/// Where events come from. All times are on the source's own clock: ktime, or the capture's.
pub trait Source {
    /// Appends events, about [`BATCH`] at most, and returns when there are some or the clock has
    /// reached `until_ns`.
    ///
    /// A live source need not wake up for single events: the caller's `until_ns` are never more
    /// than 100 ms ahead, and what is in the buffer then is to be appended. A replay runs the
    /// packets before `until_ns`, and leaves its clock there when the next one is later; it may put
    /// the clock to that packet's time when that is hours away. With an `until_ns` of now or earlier
    /// nobody waits: what is in the buffer is appended, and no packet is run.
    ///
    /// # Errors
    /// The source has failed and gives no more; an interface that is gone, a capture that is cut
    /// short.
    fn poll(&mut self, batch: &mut Vec<StreamEvent>, until_ns: u64) -> Result<Progress>;

    /// The clock. Never goes back.
    ///
    /// # Errors
    /// The kernel does not know the clock.
    fn now_ns(&mut self) -> Result<u64>;

    /// The counters so far.
    ///
    /// # Errors
    /// The map cannot be read.
    fn counters(&mut self) -> Result<StreamCounters>;

    /// The flow that stands at an index of the flow table; `None` beyond the table.
    fn flow(&self, index: u32) -> Option<StreamFlow>;

    /// The counts of all subnets; empty unless aggregating.
    ///
    /// # Errors
    /// The map cannot be read.
    fn subnets(&mut self) -> Result<Vec<(StreamSubnetKey, StreamSubnet)>>;

    /// Deletes subnets from the map; one that is gone already is no error.
    ///
    /// # Errors
    /// The map cannot be written.
    fn forget_subnets(&mut self, keys: &[StreamSubnetKey]) -> Result<()>;

    /// Describes the packets that the source left out, once it has ended; `None`: there are none.
    fn left_out(&self) -> Option<String> {
        None
    }
}
