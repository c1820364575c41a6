// SPDX-License-Identifier: GPL-2.0-only
//! Figures of each subnet and of all traffic over an interval. Pure.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::abi::{StreamClass, StreamCount, StreamSubnet, StreamSubnetKey};
use crate::domain::{Prefix, Summary};
use crate::rtt::histogram::{lower_edges, Histogram};
use crate::stream::counters::{StreamCounter, StreamCounters};
use crate::stream::event::{Event, EventKind};

/// Raised when a record changes its meaning.
const FORMAT_VERSION: u64 = 1;

/// Subnets with RTTs in one interval at most: as many as the programs count the packets of.
const MAX_SUBNETS: usize = 65_536;

/// How to aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AggregateOptions {
    /// Time between two records of a subnet.
    pub interval: Duration,
    /// Prefix length of IPv4 subnets.
    pub subnet_v4: u8,
    /// Prefix length of IPv6 subnets.
    pub subnet_v6: u8,
    /// An RTT belongs to the subnet of the host that was answered.
    pub reverse: bool,
    /// Subnets without traffic for so long are forgotten; zero: never.
    pub timeout: Duration,
}

impl Default for AggregateOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            subnet_v4: 24,
            subnet_v6: 48,
            reverse: false,
            timeout: Duration::from_secs(30),
        }
    }
}

impl AggregateOptions {
    /// The subnet that an RTT belongs to.
    fn subnet(&self, event: &Event) -> Option<Prefix> {
        let address = if self.reverse { event.flow.dst } else { event.flow.src };
        match address {
            IpAddr::V4(v4) => {
                let mut key = [0xFF; 16];
                key[12..].copy_from_slice(&v4.octets());
                Prefix::new(key, 96 + u32::from(self.subnet_v4))
            }
            IpAddr::V6(v6) => Prefix::new(v6.octets(), self.subnet_v6.into()),
        }
    }

    /// The subnet that a key of the programs' map stands for.
    fn subnet_of_key(&self, key: &StreamSubnetKey) -> Option<Prefix> {
        match key.addr.starts_with(&[0xFF; 12]) {
            true => Prefix::new(key.addr, 96 + u32::from(self.subnet_v4)),
            false => Prefix::new(key.addr, self.subnet_v6.into()),
        }
    }
}

/// What the records are made with: the first record of every file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Of the records' format.
    pub version: u64,
    /// Time between two records of a subnet.
    pub interval: Duration,
    /// Subnets without traffic for so long are forgotten; zero: never.
    pub timeout: Duration,
    /// Prefix length of IPv4 subnets.
    pub subnet_v4: u8,
    /// Prefix length of IPv6 subnets.
    pub subnet_v6: u8,
    /// RTTs are counted for the host that was answered.
    pub reverse: bool,
    /// The least RTT of each bin of the histograms; the last bin has no end.
    pub edges_ns: &'static [u64],
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Frame lengths.
    pub bytes: u64,
}

impl Count {
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
    /// TCP that carries timestamps: what can be measured.
    pub tcp_timestamps: Count,
    /// TCP that does not.
    pub tcp_other: Count,
    /// Everything else.
    pub other: Count,
}

impl Traffic {
    fn since(now: &[StreamCount; 3], earlier: &[StreamCount; 3]) -> Self {
        let since = |class: StreamClass| {
            let index = class.to_abi() as usize;
            Count::since(now[index], earlier[index])
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
    /// At least one sample.
    pub summary: Summary,
    histogram: Histogram,
}

impl RttRecord {
    /// Samples by bin, up to the last that has one; the edges are in the [`Metadata`].
    pub fn bins(&self) -> &[u64] {
        self.histogram.counts()
    }
}

/// A subnet over an interval.
#[derive(Clone, Debug)]
pub struct SubnetRecord {
    /// Which.
    pub subnet: Prefix,
    /// From it.
    pub sent: Traffic,
    /// To it.
    pub received: Traffic,
    /// `None` without a sample.
    pub rtt: Option<RttRecord>,
}

/// Packets by their ECN field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ecn {
    /// No ECN.
    pub not_ect: u64,
    /// ECT(1).
    pub ect1: u64,
    /// ECT(0).
    pub ect0: u64,
    /// Congestion experienced.
    pub ce: u64,
}

/// All traffic over an interval.
#[derive(Clone, Debug)]
pub struct GlobalRecord {
    /// How long the interval really was.
    pub duration_ns: u64,
    /// Packets by their ECN field.
    pub ecn: Ecn,
    /// What went wrong, by kind; also those of which there were none.
    pub errors: Vec<(&'static str, u64)>,
    counters: StreamCounters,
}

/// Name, packets, bytes.
const PROTOCOLS: [(&str, StreamCounter, StreamCounter); 6] = [
    ("non_IP", StreamCounter::named("not_ip_packets"), StreamCounter::named("not_ip_bytes")),
    ("TCP", StreamCounter::named("tcp_packets"), StreamCounter::named("tcp_bytes")),
    ("UDP", StreamCounter::named("udp_packets"), StreamCounter::named("udp_bytes")),
    ("ICMP", StreamCounter::named("icmp_packets"), StreamCounter::named("icmp_bytes")),
    ("ICMPv6", StreamCounter::named("icmpv6_packets"), StreamCounter::named("icmpv6_bytes")),
    ("other", StreamCounter::named("other_packets"), StreamCounter::named("other_bytes")),
];

/// Errors that are no fault of a packet.
const FAILURES: [(&str, StreamCounter); 3] = [
    ("events_lost", StreamCounter::named("events_lost")),
    ("flows_unfollowed", StreamCounter::named("flows_unfollowed")),
    ("subnets_full", StreamCounter::named("subnets_full")),
];

impl GlobalRecord {
    fn new(duration_ns: u64, counters: StreamCounters, rtts_unplaced: u64) -> Self {
        let get = |counter| counters.get(counter);
        const NOT_ECT: StreamCounter = StreamCounter::named("ecn_not_ect");
        const ECT1: StreamCounter = StreamCounter::named("ecn_ect1");
        const ECT0: StreamCounter = StreamCounter::named("ecn_ect0");
        const CE: StreamCounter = StreamCounter::named("ecn_ce");
        let ecn = Ecn { not_ect: get(NOT_ECT), ect1: get(ECT1), ect0: get(ECT0), ce: get(CE) };
        let mut errors: Vec<_> =
            FAILURES.iter().map(|(name, counter)| (*name, get(*counter))).collect();
        errors.push(("rtts_unplaced", rtts_unplaced));
        errors.extend(counters.with_prefix("error_"));
        Self { duration_ns, ecn, errors, counters }
    }

    /// Packets and bytes by protocol.
    pub fn protocols(&self) -> [(&'static str, Count); 6] {
        PROTOCOLS.map(|(name, packets, bytes)| {
            let get = |counter| self.counters.get(counter);
            (name, Count { packets: get(packets), bytes: get(bytes) })
        })
    }
}

/// What an interval amounts to.
#[derive(Clone, Debug)]
pub struct Interval {
    /// Subnets with traffic or RTTs, in ascending order.
    pub subnets: Vec<SubnetRecord>,
    /// Everything taken together.
    pub global: GlobalRecord,
    /// Subnets that the source is to forget.
    pub expired: Vec<StreamSubnetKey>,
}

/// RTTs of a subnet that gather.
#[derive(Clone, Debug)]
struct Rtts {
    histogram: Histogram,
    sum_ns: u64,
    min_ns: u64,
    max_ns: u64,
}

impl Default for Rtts {
    fn default() -> Self {
        Self { histogram: Histogram::default(), sum_ns: 0, min_ns: u64::MAX, max_ns: 0 }
    }
}

impl Rtts {
    fn add(&mut self, rtt_ns: u64) {
        self.histogram.add_sample(rtt_ns);
        self.sum_ns = self.sum_ns.saturating_add(rtt_ns);
        self.min_ns = self.min_ns.min(rtt_ns);
        self.max_ns = self.max_ns.max(rtt_ns);
    }

    fn record(self) -> RttRecord {
        let count = self.histogram.total();
        let [median_ns, p95_ns] = self.histogram.quantiles([0.5, 0.95], self.min_ns, self.max_ns);
        let summary = Summary {
            count,
            avg_ns: self.sum_ns / count.max(1),
            min_ns: self.min_ns,
            max_ns: self.max_ns,
            median_ns,
            p95_ns,
        };
        RttRecord { summary, histogram: self.histogram }
    }
}

/// Gathers RTTs, and turns counts that only grow into those of an interval.
#[derive(Debug)]
pub struct Aggregator {
    options: AggregateOptions,
    /// Those of the interval under way.
    rtts: HashMap<Prefix, Rtts>,
    /// RTTs for whose subnet there was no room.
    unplaced: u64,
    /// The counts at the end of the interval before.
    subnets: HashMap<Prefix, StreamSubnet>,
    counters: StreamCounters,
    since_ns: u64,
}

impl Aggregator {
    /// Begins the first interval at `now_ns`, a time of the source.
    pub fn new(options: AggregateOptions, now_ns: u64) -> Self {
        Self {
            options,
            rtts: HashMap::new(),
            unplaced: 0,
            subnets: HashMap::new(),
            counters: StreamCounters::default(),
            since_ns: now_ns,
        }
    }

    /// What the records are made with.
    pub fn metadata(&self) -> Metadata {
        Metadata {
            version: FORMAT_VERSION,
            interval: self.options.interval,
            timeout: self.options.timeout,
            subnet_v4: self.options.subnet_v4,
            subnet_v6: self.options.subnet_v6,
            reverse: self.options.reverse,
            edges_ns: lower_edges(),
        }
    }

    /// Takes an event; only RTTs count.
    pub fn add(&mut self, event: &Event) {
        let EventKind::Rtt(rtt) = &event.kind else { return };
        let Some(subnet) = self.options.subnet(event) else { return };
        if self.rtts.len() >= MAX_SUBNETS && !self.rtts.contains_key(&subnet) {
            self.unplaced += 1;
            return;
        }
        self.rtts.entry(subnet).or_default().add(rtt.rtt_ns);
    }

    /// Ends the interval at `now_ns`, with the counts of that time, and begins the next.
    pub fn interval(
        &mut self,
        now_ns: u64,
        counts: &[(StreamSubnetKey, StreamSubnet)],
        counters: StreamCounters,
    ) -> Interval {
        let duration_ns = now_ns.saturating_sub(self.since_ns);
        let unplaced = std::mem::take(&mut self.unplaced);
        let global = GlobalRecord::new(duration_ns, counters.since(&self.counters), unplaced);
        (self.since_ns, self.counters) = (now_ns, counters);
        let mut subnets = self.subnet_records(counts);
        subnets.sort_unstable_by_key(|record| record.subnet);
        let expired = self.expire(now_ns, counts);
        Interval { subnets, global, expired }
    }

    fn subnet_records(&mut self, counts: &[(StreamSubnetKey, StreamSubnet)]) -> Vec<SubnetRecord> {
        let mut rtts = std::mem::take(&mut self.rtts);
        let mut records = Vec::new();
        for (key, now) in counts {
            let Some(subnet) = self.options.subnet_of_key(key) else { continue };
            // Zero: it is new, and the programs began to count at zero.
            let earlier = self.subnets.get(&subnet).copied().unwrap_or_default();
            let record = SubnetRecord {
                subnet,
                sent: Traffic::since(&now.sent, &earlier.sent),
                received: Traffic::since(&now.received, &earlier.received),
                rtt: rtts.remove(&subnet).map(Rtts::record),
            };
            let quiet = [record.sent, record.received] == [Traffic::default(); 2];
            if !quiet || record.rtt.is_some() {
                records.push(record);
            }
        }
        records.extend(rtts.into_iter().map(|(subnet, rtts)| SubnetRecord {
            subnet,
            sent: Traffic::default(),
            received: Traffic::default(),
            rtt: Some(rtts.record()),
        }));
        records
    }

    /// Keeps the counts of those that are not silent for too long.
    fn expire(
        &mut self,
        now_ns: u64,
        counts: &[(StreamSubnetKey, StreamSubnet)],
    ) -> Vec<StreamSubnetKey> {
        let timeout_ns = match self.options.timeout.as_nanos() as u64 {
            0 => u64::MAX,
            timeout_ns => timeout_ns,
        };
        let silent =
            |subnet: &StreamSubnet| now_ns.saturating_sub(subnet.last_seen_ns) > timeout_ns;
        let options = self.options;
        let kept = counts.iter().filter(|(_, subnet)| !silent(subnet));
        self.subnets =
            kept.filter_map(|(key, subnet)| Some((options.subnet_of_key(key)?, *subnet))).collect();
        counts.iter().filter(|(_, subnet)| silent(subnet)).map(|(key, _)| *key).collect()
    }
}

#[cfg(test)]
mod tests;
