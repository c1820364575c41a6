// SPDX-License-Identifier: GPL-2.0-only
//! The records of a stream, as formats write them.

use crate::stream::aggregate_records::{AggregateMetadata, GlobalRecord, SubnetRecord};
use crate::stream::event::Event;

/// One record of a stream: what it reports, and when.
#[derive(Clone, Debug)]
pub struct StreamRecord {
    /// Nanoseconds since 1970.
    pub wall_ns: u64,
    /// An event, a loss, or figures.
    pub content: Content,
}

/// The content of a record. Subnets and totals are boxed because they are large and rare, and
/// events are small and frequent.
#[derive(Clone, Debug)]
pub enum Content {
    /// An RTT, an opening or a closing.
    Event {
        /// The event.
        event: Event,
        /// Whether the event comes from a shaper: only then do its class and side mean anything.
        on_shaper: bool,
    },
    /// Number of events that the programs dropped because the ring buffer was full.
    Lost(u64),
    /// The parameters of the aggregates. Every file of aggregates begins with this record.
    Metadata(AggregateMetadata),
    /// The figures of one subnet over an interval.
    Subnet(Box<SubnetRecord>),
    /// The figures of all traffic over an interval.
    Global(Box<GlobalRecord>),
}
