// SPDX-License-Identifier: GPL-2.0-only
use super::*;
use crate::abi::StreamCount;
use crate::stream::aggregate_records::PacketCount;
use crate::stream::counters::tests::stats;
use crate::stream::counters::StreamCounter;
use crate::stream::event::tests::rtt_record;
use crate::stream::event::Rtt;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

fn rtt(src: &str, dst: &str, rtt_ns: u64) -> Event {
    let mut event = Event::from_abi(&rtt_record()).unwrap();
    event.flow.src = src.parse().unwrap();
    event.flow.dst = dst.parse().unwrap();
    event.kind = EventKind::Rtt(Rtt { rtt_ns, ..Rtt::default() });
    event
}

fn key(bytes: [u8; 4]) -> StreamSubnetKey {
    let mut addr = [0xFF; 16];
    addr[12..].copy_from_slice(&bytes);
    StreamSubnetKey { addr }
}

fn subnet(packets: u64, last_seen_ns: u64) -> StreamSubnet {
    let mut subnet = StreamSubnet { last_seen_ns, ..StreamSubnet::default() };
    subnet.sent[0] = StreamCount { packets, bytes: packets * 100 };
    subnet.received[2] = StreamCount { packets: packets * 2, bytes: 1 };
    subnet
}

fn names(interval: &IntervalRecords) -> Vec<String> {
    interval.subnets.iter().map(|record| record.subnet.to_string()).collect()
}

#[test]
fn rtts_are_summarised_by_subnet() {
    let mut aggregator = Aggregator::new(AggregateOptions::default(), 0);
    for ms in 1..=100 {
        aggregator.add(&rtt("10.1.2.3", "192.0.2.1", ms * MS));
    }
    aggregator.add(&rtt("10.1.2.77", "192.0.2.1", 200 * MS));
    aggregator.add(&rtt("2001:db8:1:2::3", "::1", 5 * MS));
    let interval = aggregator.interval(SECOND, &[], StreamCounters::default());
    assert_eq!(names(&interval), ["2001:db8:1::/48", "10.1.2.0/24"]);
    let record = interval.subnets[1].rtt.as_ref().unwrap();
    let s = record.summary;
    assert_eq!((s.count, s.min_ns, s.max_ns), (101, MS, 200 * MS));
    assert_eq!(s.avg_ns, (5050 + 200) * MS / 101);
    let near = |found: u64, ms: f64| (found as f64 / (ms * MS as f64) - 1.0).abs() < 0.05;
    assert!(near(s.median_ns, 51.0) && near(s.p95_ns, 96.0), "{s:?}");
    assert_eq!(record.bins().iter().sum::<u64>(), 101);
    assert!(aggregator.interval(2 * SECOND, &[], StreamCounters::default()).subnets.is_empty());
}

#[test]
fn a_reversed_aggregate_of_all_ipv4_counts_the_answered_host() {
    let options = AggregateOptions { reverse: true, subnet_v4: 0, ..Default::default() };
    let mut aggregator = Aggregator::new(options, 0);
    aggregator.add(&rtt("2001:db8::1", "192.0.2.1", MS));
    aggregator.add(&rtt("2001:db8::1", "10.0.0.1", MS));
    let interval = aggregator.interval(SECOND, &[], StreamCounters::default());
    assert_eq!(names(&interval), ["0.0.0.0/0"]);
    assert_eq!(interval.subnets[0].rtt.as_ref().unwrap().summary.count, 2);
}

#[test]
fn records_hold_the_traffic_of_their_interval() {
    let mut aggregator = Aggregator::new(AggregateOptions::default(), 0);
    let (a, b) = (key([10, 0, 0, 0]), key([10, 0, 1, 0]));
    let counts = [(b, subnet(7, 0)), (a, subnet(5, 0))];
    let interval = aggregator.interval(SECOND, &counts, StreamCounters::default());
    assert_eq!(names(&interval), ["10.0.0.0/24", "10.0.1.0/24"]);
    assert_eq!(interval.subnets[0].sent.tcp_timestamps, PacketCount { packets: 5, bytes: 500 });
    assert_eq!(interval.subnets[0].received.other, PacketCount { packets: 10, bytes: 1 });
    let counts = [(b, subnet(7, 0)), (a, subnet(6, 0))];
    let interval = aggregator.interval(2 * SECOND, &counts, StreamCounters::default());
    assert_eq!(names(&interval), ["10.0.0.0/24"]);
    assert_eq!(interval.subnets[0].sent.tcp_timestamps, PacketCount { packets: 1, bytes: 100 });
}

#[test]
fn silent_subnets_are_forgotten_and_start_again_at_zero() {
    let mut aggregator = Aggregator::new(AggregateOptions::default(), 0);
    let a = key([10, 0, 0, 0]);
    let interval =
        aggregator.interval(30 * SECOND, &[(a, subnet(5, 0))], StreamCounters::default());
    assert!(interval.expired.is_empty());
    let interval =
        aggregator.interval(31 * SECOND, &[(a, subnet(5, 0))], StreamCounters::default());
    assert_eq!(interval.expired.iter().map(|key| key.addr).collect::<Vec<_>>(), [a.addr]);
    let counts = [(a, subnet(2, 32 * SECOND))];
    let interval = aggregator.interval(32 * SECOND, &counts, StreamCounters::default());
    assert_eq!(interval.subnets[0].sent.tcp_timestamps.packets, 2);

    let for_ever = AggregateOptions { timeout: Duration::ZERO, ..Default::default() };
    let mut aggregator = Aggregator::new(for_ever, 0);
    let counts = [(a, subnet(5, 0))];
    assert!(aggregator.interval(u64::MAX, &counts, StreamCounters::default()).expired.is_empty());
}

#[test]
fn the_global_record_sums_all_traffic_of_the_interval() {
    const TCP: StreamCounter = StreamCounter::named("tcp_packets");
    const CE: StreamCounter = StreamCounter::named("ecn_ce");
    const LOST: StreamCounter = StreamCounter::named("events_lost");
    let mut aggregator = Aggregator::new(AggregateOptions::default(), SECOND);
    let first = StreamCounters::sum(&[stats(&[(TCP, 10), (CE, 3), (LOST, 1)])]);
    let global = aggregator.interval(3 * SECOND, &[], first).global;
    assert_eq!(global.duration_ns, 2 * SECOND);
    assert_eq!(global.protocols()[1], ("TCP", PacketCount { packets: 10, bytes: 0 }));
    assert_eq!((global.ecn.ce, global.errors[0]), (3, ("events_lost", 1)));
    let second = StreamCounters::sum(&[stats(&[(TCP, 11), (CE, 3), (LOST, 1)])]);
    let global = aggregator.interval(4 * SECOND, &[], second).global;
    assert_eq!(global.protocols()[1].1.packets, 1);
    assert_eq!((global.ecn.ce, global.errors[0].1), (0, 0));
}

#[test]
fn subnets_with_rtts_are_bounded() {
    let options = AggregateOptions { subnet_v6: 64, ..Default::default() };
    let mut aggregator = Aggregator::new(options, 0);
    let mut event = rtt("2001:db8::", "::1", MS);
    for index in 0..MAX_SUBNETS as u128 + 5 {
        event.flow.src = IpAddr::V6((0x2001_0db8 << 96 | index << 64).into());
        aggregator.add(&event);
    }
    let interval = aggregator.interval(SECOND, &[], StreamCounters::default());
    assert_eq!(interval.subnets.len(), MAX_SUBNETS);
    assert!(interval.global.errors.contains(&("rtts_unplaced", 5)));
}
