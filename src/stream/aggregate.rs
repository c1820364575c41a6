// SPDX-License-Identifier: GPL-2.0-only
//! Turns RTT events and traffic counts into records of an interval: one for each subnet, one for
//! all traffic. Does no I/O.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::abi::{StreamSubnet, StreamSubnetKey};
use crate::domain::{Prefix, Summary};
use crate::rtt::histogram::{lower_edges, Histogram};
use crate::stream::aggregate_records::{
    AggregateMetadata, GlobalRecord, RttRecord, SubnetRecord, Traffic, FORMAT_VERSION,
};
use crate::stream::counters::StreamCounters;
use crate::stream::event::{Event, EventKind};

/// Largest number of subnets with RTTs in one interval: the number of subnets whose packets the
/// programs count.
const MAX_SUBNETS: usize = 65_536;

/// The parameters of the aggregates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AggregateOptions {
    /// Time between two records of a subnet.
    pub interval: Duration,
    /// Prefix length of IPv4 subnets.
    pub subnet_v4: u8,
    /// Prefix length of IPv6 subnets.
    pub subnet_v6: u8,
    /// Whether an RTT counts for the subnet of the host that was answered, not of the host that
    /// answered.
    pub reverse: bool,
    /// Time without traffic after which a subnet is forgotten. Zero: never.
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
    /// Returns the subnet for which an RTT counts. `None` cannot happen with lengths that the
    /// command line accepts.
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

    /// Returns the subnet of a key of the programs' map.
    fn subnet_of_key(&self, key: &StreamSubnetKey) -> Option<Prefix> {
        match key.addr.starts_with(&[0xFF; 12]) {
            true => Prefix::new(key.addr, 96 + u32::from(self.subnet_v4)),
            false => Prefix::new(key.addr, self.subnet_v6.into()),
        }
    }
}

/// The records of one interval.
#[derive(Clone, Debug)]
pub struct IntervalRecords {
    /// One record for each subnet with traffic or RTTs, in ascending order of the subnets.
    pub subnets: Vec<SubnetRecord>,
    /// The record of all traffic.
    pub global: GlobalRecord,
    /// Subnets that have timed out. The caller must delete them from the programs' map.
    pub expired: Vec<StreamSubnetKey>,
}

/// The RTTs of a subnet in the current interval.
#[derive(Clone, Debug)]
struct RttSamples {
    histogram: Histogram,
    sum_ns: u64,
    min_ns: u64,
    max_ns: u64,
}

impl Default for RttSamples {
    fn default() -> Self {
        Self { histogram: Histogram::default(), sum_ns: 0, min_ns: u64::MAX, max_ns: 0 }
    }
}

impl RttSamples {
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
        RttRecord::new(summary, self.histogram)
    }
}

/// Collects RTTs, and subtracts counts that only grow to get the counts of an interval.
#[derive(Debug)]
pub struct Aggregator {
    options: AggregateOptions,
    /// RTTs of the current interval.
    rtts: HashMap<Prefix, RttSamples>,
    /// Number of RTTs in the current interval that were dropped because [`MAX_SUBNETS`] was
    /// reached.
    unplaced: u64,
    /// Counts of the subnets at the start of the current interval.
    subnets: HashMap<Prefix, StreamSubnet>,
    /// Counters at the start of the current interval.
    counters: StreamCounters,
    /// Start of the current interval.
    since_ns: u64,
}

impl Aggregator {
    /// Starts the first interval at `now_ns`, a time of the source's clock.
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

    /// Returns the parameters of the records.
    pub fn metadata(&self) -> AggregateMetadata {
        AggregateMetadata {
            version: FORMAT_VERSION,
            interval: self.options.interval,
            timeout: self.options.timeout,
            subnet_v4: self.options.subnet_v4,
            subnet_v6: self.options.subnet_v6,
            reverse: self.options.reverse,
            edges_ns: lower_edges(),
        }
    }

    /// Adds the RTT of an event. Other events are ignored.
    pub fn add(&mut self, event: &Event) {
        let EventKind::Rtt(rtt) = &event.kind else { return };
        let Some(subnet) = self.options.subnet(event) else { return };
        if self.rtts.len() >= MAX_SUBNETS && !self.rtts.contains_key(&subnet) {
            self.unplaced += 1;
            return;
        }
        self.rtts.entry(subnet).or_default().add(rtt.rtt_ns);
    }

    /// Ends the current interval at `now_ns`, starts the next one, and returns the records.
    /// `counts` and `counters` are the programs' counts at `now_ns`.
    pub fn interval(
        &mut self,
        now_ns: u64,
        counts: &[(StreamSubnetKey, StreamSubnet)],
        counters: StreamCounters,
    ) -> IntervalRecords {
        let duration_ns = now_ns.saturating_sub(self.since_ns);
        let unplaced = std::mem::take(&mut self.unplaced);
        let global = GlobalRecord::new(duration_ns, counters.since(&self.counters), unplaced);
        (self.since_ns, self.counters) = (now_ns, counters);
        let mut subnets = self.subnet_records(counts);
        subnets.sort_unstable_by_key(|record| record.subnet);
        let expired = self.expire(now_ns, counts);
        IntervalRecords { subnets, global, expired }
    }

    /// Takes the RTTs of the interval and returns one record for each subnet, in no order.
    fn subnet_records(&mut self, counts: &[(StreamSubnetKey, StreamSubnet)]) -> Vec<SubnetRecord> {
        let mut rtts = std::mem::take(&mut self.rtts);
        let mut records = Vec::new();
        for (key, now) in counts {
            let Some(subnet) = self.options.subnet_of_key(key) else { continue };
            // A new subnet has no earlier counts: the programs started to count at zero.
            let earlier = self.subnets.get(&subnet).copied().unwrap_or_default();
            let record = SubnetRecord {
                subnet,
                sent: Traffic::since(&now.sent, &earlier.sent),
                received: Traffic::since(&now.received, &earlier.received),
                rtt: rtts.remove(&subnet).map(RttSamples::record),
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

    /// Keeps the counts of the subnets that have not timed out, and returns the keys of those that
    /// have.
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
