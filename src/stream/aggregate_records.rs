// SPDX-License-Identifier: GPL-2.0-only
//! The records of aggregates: traffic and RTTs over an interval.

use std::time::Duration;

use crate::abi::{StreamClass, StreamCount};
use crate::domain::{Prefix, Summary};
use crate::rtt::histogram::Histogram;
use crate::stream::counters::{StreamCounter, StreamCounters};

/// Version of the records' format. Raise it when a field changes its meaning.
pub const FORMAT_VERSION: u64 = 1;

/// The parameters of the records that follow. Every file begins with this record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AggregateMetadata {
    /// Version of the records' format.
    pub version: u64,
    /// Time between two records of a subnet.
    pub interval: Duration,
    /// Time without traffic after which a subnet is forgotten. Zero: never.
    pub timeout: Duration,
    /// Prefix length of IPv4 subnets.
    pub subnet_v4: u8,
    /// Prefix length of IPv6 subnets.
    pub subnet_v6: u8,
    /// Whether an RTT counts for the host that was answered.
    pub reverse: bool,
    /// The smallest RTT of each bin of the histograms, in nanoseconds. The last bin has no upper edge.
    pub edges_ns: &'static [u64],
}

/// A number of packets, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketCount {
    /// Number of packets.
    pub packets: u64,
    /// Sum of their frame lengths, in bytes.
    pub bytes: u64,
}

impl PacketCount {
    /// Returns how much a count has grown since `earlier`.
    fn since(now: StreamCount, earlier: StreamCount) -> Self {
        Self {
            packets: now.packets.saturating_sub(earlier.packets),
            bytes: now.bytes.saturating_sub(earlier.bytes),
        }
    }
}

/// One direction of a subnet's traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// TCP segments with timestamps. Only these give RTTs.
    pub tcp_timestamps: PacketCount,
    /// TCP segments without timestamps.
    pub tcp_other: PacketCount,
    /// IP packets of other protocols.
    pub other: PacketCount,
}

impl Traffic {
    /// Returns how much the counts have grown since `earlier`. The index is a [`StreamClass`].
    pub fn since(now: &[StreamCount; 3], earlier: &[StreamCount; 3]) -> Self {
        let since = |class: StreamClass| {
            let index = class.to_abi() as usize;
            PacketCount::since(now[index], earlier[index])
        };
        Self {
            tcp_timestamps: since(StreamClass::TcpTimestamps),
            tcp_other: since(StreamClass::TcpOther),
            other: since(StreamClass::Other),
        }
    }
}

/// The RTTs of a subnet over an interval.
#[derive(Clone, Debug)]
pub struct RttRecord {
    /// The figures of the samples, of which there is at least one.
    pub summary: Summary,
    histogram: Histogram,
}

impl RttRecord {
    /// Makes the record of samples whose figures are `summary`.
    pub fn new(summary: Summary, histogram: Histogram) -> Self {
        Self { summary, histogram }
    }

    /// Returns the number of samples in each bin, up to the last bin that has one. The edges are in
    /// the [`AggregateMetadata`].
    pub fn bins(&self) -> &[u64] {
        self.histogram.counts()
    }
}

/// The figures of a subnet over an interval.
#[derive(Clone, Debug)]
pub struct SubnetRecord {
    /// The subnet.
    pub subnet: Prefix,
    /// Packets from the subnet.
    pub sent: Traffic,
    /// Packets to the subnet.
    pub received: Traffic,
    /// The RTTs; `None` without a sample.
    pub rtt: Option<RttRecord>,
}

/// Number of packets with each value of the ECN field (RFC 3168, 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EcnCounts {
    /// Not ECN-capable.
    pub not_ect: u64,
    /// ECT(1).
    pub ect1: u64,
    /// ECT(0).
    pub ect0: u64,
    /// Congestion experienced.
    pub ce: u64,
}

/// The figures of all traffic over an interval.
#[derive(Clone, Debug)]
pub struct GlobalRecord {
    /// Actual length of the interval, in nanoseconds.
    pub duration_ns: u64,
    /// Packets by their ECN field.
    pub ecn: EcnCounts,
    /// Name and number of errors of each kind. Kinds with 0 errors are included.
    pub errors: Vec<(&'static str, u64)>,
    /// All counters of the interval, for [`GlobalRecord::protocols`].
    counters: StreamCounters,
}

/// Each protocol: its name in the output, the counter of its packets, the counter of its bytes.
const PROTOCOLS: [(&str, StreamCounter, StreamCounter); 6] = [
    ("non_IP", StreamCounter::named("not_ip_packets"), StreamCounter::named("not_ip_bytes")),
    ("TCP", StreamCounter::named("tcp_packets"), StreamCounter::named("tcp_bytes")),
    ("UDP", StreamCounter::named("udp_packets"), StreamCounter::named("udp_bytes")),
    ("ICMP", StreamCounter::named("icmp_packets"), StreamCounter::named("icmp_bytes")),
    ("ICMPv6", StreamCounter::named("icmpv6_packets"), StreamCounter::named("icmpv6_bytes")),
    ("other", StreamCounter::named("other_packets"), StreamCounter::named("other_bytes")),
];

/// Errors that no packet causes: the programs ran out of room. Errors of packets are the counters
/// whose name begins with `error_`.
const FAILURES: [(&str, StreamCounter); 3] = [
    ("events_lost", StreamCounter::named("events_lost")),
    ("flows_unfollowed", StreamCounter::named("flows_unfollowed")),
    ("subnets_full", StreamCounter::named("subnets_full")),
];

impl GlobalRecord {
    /// Makes the record from the counters' growth in the interval. `rtts_unplaced` is the number of
    /// RTTs that were dropped for lack of room.
    pub fn new(duration_ns: u64, counters: StreamCounters, rtts_unplaced: u64) -> Self {
        let get = |counter| counters.get(counter);
        const NOT_ECT: StreamCounter = StreamCounter::named("ecn_not_ect");
        const ECT1: StreamCounter = StreamCounter::named("ecn_ect1");
        const ECT0: StreamCounter = StreamCounter::named("ecn_ect0");
        const CE: StreamCounter = StreamCounter::named("ecn_ce");
        let ecn =
            EcnCounts { not_ect: get(NOT_ECT), ect1: get(ECT1), ect0: get(ECT0), ce: get(CE) };
        let mut errors: Vec<_> =
            FAILURES.iter().map(|(name, counter)| (*name, get(*counter))).collect();
        errors.push(("rtts_unplaced", rtts_unplaced));
        errors.extend(counters.with_prefix("error_"));
        Self { duration_ns, ecn, errors, counters }
    }

    /// Returns packets and bytes of each protocol.
    pub fn protocols(&self) -> [(&'static str, PacketCount); 6] {
        PROTOCOLS.map(|(name, packets, bytes)| {
            let get = |counter| self.counters.get(counter);
            (name, PacketCount { packets: get(packets), bytes: get(bytes) })
        })
    }
}
