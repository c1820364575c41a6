// SPDX-License-Identifier: GPL-2.0-only
//! The records of a stream, as formats write them.

use crate::stream::aggregate::{GlobalRecord, Metadata, SubnetRecord};
use crate::stream::event::Event;

/// One record of a stream.
#[derive(Clone, Debug)]
pub struct StreamRecord {
    /// Nanoseconds since 1970.
    pub wall_ns: u64,
    /// What the record reports.
    pub content: Content,
}

/// The content of a record. Subnets and totals are boxed: events are far more frequent and small.
#[derive(Clone, Debug)]
pub enum Content {
    /// An RTT, an opening or a closing. `on_shaper`: the event has a class and a side.
    Event {
        /// The event.
        event: Event,
        /// The source is a shaper.
        on_shaper: bool,
    },
    /// So many events were lost: the ring buffer had no room.
    Lost(u64),
    /// The parameters of the aggregates: the first record of every file of them.
    Metadata(Metadata),
    /// The figures of one subnet over an interval.
    Subnet(Box<SubnetRecord>),
    /// The figures of all traffic over an interval.
    Global(Box<GlobalRecord>),
}
