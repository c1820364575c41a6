// SPDX-License-Identifier: GPL-2.0-only
use super::*;
use crate::abi::{StreamCount, StreamSubnet, StreamSubnetKey};
use crate::domain::format::Format;
use crate::stream::aggregate::{AggregateOptions, Aggregator};
use crate::stream::aggregate_records::AggregateMetadata;
use crate::stream::counters::tests::stats;
use crate::stream::counters::{StreamCounter, StreamCounters};
use crate::stream::event::tests::{opening_record, rtt_record};
use crate::stream::event::{Event, EventKind, Rtt};
use crate::stream::output::StreamFormat;
use crate::stream::record::Content;

const WALL: u64 = 1_623_420_121_083_727_575;

/// Makes a formatter whose times are in UTC, whatever the machine's time zone.
fn formatter(format: StreamFormat) -> Box<dyn Format<StreamRecord>> {
    let utc = |seconds: i64| {
        let day = seconds.rem_euclid(86_400);
        [day / 3600, day / 60 % 60, day % 60].map(|part| part as u8)
    };
    match format.name {
        "standard" => Box::new(standard::StandardLines::new(utc)),
        _ => (format.make)(),
    }
}

fn write(
    formatter: &mut Box<dyn Format<StreamRecord>>,
    out: &mut Vec<u8>,
    wall_ns: u64,
    content: Content,
) {
    formatter.record(out, &StreamRecord { wall_ns, content });
}

/// Returns the text of an opening, an RTT of IPv4, one of IPv6, a loss and a time-out.
fn recording(format: StreamFormat, on_shaper: bool) -> String {
    let mut formatter = formatter(format);
    let event = |event| Content::Event { event, on_shaper };
    let mut out = Vec::new();
    formatter.begin(&mut out);
    let opening = Event::from_abi(&opening_record()).unwrap();
    let rtt = Event::from_abi(&rtt_record()).unwrap();
    let mut v6 = rtt;
    v6.flow.src = "2001:db8::1".parse().unwrap();
    v6.flow.dst = "::ffff:1.2.3.4".parse().unwrap();
    v6.flow.src_port = 443;
    v6.flow.protocol = 58;
    v6.kind = EventKind::Rtt(Rtt {
        rtt_ns: 1_000_000_001,
        min_ns: 7,
        on_egress: true,
        ..Default::default()
    });
    write(&mut formatter, &mut out, WALL, event(opening));
    write(&mut formatter, &mut out, WALL + 1, event(rtt));
    write(&mut formatter, &mut out, WALL + 2_000_000_000, event(v6));
    write(&mut formatter, &mut out, WALL + 3_000_000_000, Content::Lost(12));
    write(&mut formatter, &mut out, WALL + 301_000_000_000, event(opening.timed_out(0)));
    formatter.end(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn standard_lines() {
    let golden = "\
14:02:01.083727575 TCP 10.11.1.1:5201+10.11.1.2:59572 opening due to SYN-ACK from dest
14:02:01.083727576 5.977708 ms 5.441848 ms TCP 10.11.1.1:5201+10.11.1.2:59572
14:02:03.083727575 1000.000001 ms 0.000007 ms ICMPv6 2001:db8::1:443+::ffff:1.2.3.4:59572
14:02:04.083727575 12 events lost
14:07:02.083727575 TCP 10.11.1.1:5201+10.11.1.2:59572 closing due to flow timeout from garbage collection
";
    assert_eq!(recording(&STANDARD, false), golden);
    for (line, plain) in recording(&STANDARD, true).lines().zip(golden.lines()) {
        let suffix = if plain.contains("lost") { "" } else { " tc 18:171 internet" };
        assert_eq!(line, format!("{plain}{suffix}"));
    }
}

#[test]
fn ppviz_lines_are_rtts_only() {
    let golden = "\
1623420121.083727576 0.005977708 0.005441848 10.11.1.1:5201+10.11.1.2:59572
1623420123.083727575 1.000000001 0.000000007 2001:db8::1:443+::ffff:1.2.3.4:59572
";
    assert_eq!(recording(&PPVIZ, false), golden);
    assert_eq!(recording(&PPVIZ, true), golden);
}

const OBJECTS: [&str; 5] = [
    r#"{"timestamp":1623420121083727575,"src_ip":"10.11.1.1","src_port":5201,"dest_ip":"10.11.1.2","dest_port":59572,"protocol":"TCP","flow_event":"opening","reason":"SYN-ACK","triggered_by":"dest"}"#,
    r#"{"timestamp":1623420121083727576,"src_ip":"10.11.1.1","src_port":5201,"dest_ip":"10.11.1.2","dest_port":59572,"protocol":"TCP","rtt":5977708,"min_rtt":5441848,"sent_packets":9393,"sent_bytes":492457296,"rec_packets":5922,"rec_bytes":37,"match_on_egress":false}"#,
    r#"{"timestamp":1623420123083727575,"src_ip":"2001:db8::1","src_port":443,"dest_ip":"::ffff:1.2.3.4","dest_port":59572,"protocol":"ICMPv6","rtt":1000000001,"min_rtt":7,"sent_packets":0,"sent_bytes":0,"rec_packets":0,"rec_bytes":0,"match_on_egress":true}"#,
    r#"{"timestamp":1623420124083727575,"lost_events":12}"#,
    r#"{"timestamp":1623420422083727575,"src_ip":"10.11.1.1","src_port":5201,"dest_ip":"10.11.1.2","dest_port":59572,"protocol":"TCP","flow_event":"closing","reason":"flow timeout","triggered_by":"garbage collection"}"#,
];

#[test]
fn json_is_one_array() {
    let text = recording(&JSON, false);
    assert_eq!(text, format!("[{}]\n", OBJECTS.join(",")));
    let array: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(array[1]["rtt"], 5_977_708);
    assert_eq!(array.len(), 5);
}

#[test]
fn each_begin_starts_a_new_array() {
    let mut formatter = formatter(&JSON);
    let mut out = Vec::new();
    formatter.begin(&mut out);
    write(&mut formatter, &mut out, 5, Content::Lost(1));
    formatter.end(&mut out);
    formatter.begin(&mut out);
    formatter.end(&mut out);
    assert_eq!(String::from_utf8(out).unwrap(), "[{\"timestamp\":5,\"lost_events\":1}]\n[]\n");
}

#[test]
fn jsonl_has_the_objects_of_json() {
    assert_eq!(recording(&JSONL, false), OBJECTS.map(|o| format!("{o}\n")).concat());
}

#[test]
fn events_of_a_shaper_end_with_class_and_side() {
    for (line, plain) in recording(&JSONL, true).lines().zip(OBJECTS) {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        if object.get("lost_events").is_some() {
            assert_eq!(line, plain);
            continue;
        }
        let start = plain.trim_end_matches('}');
        assert_eq!(line, format!(r#"{start},"tc":"18:171","side":"internet"}}"#));
    }
}

/// Returns the text of aggregates: one subnet with an RTT, one with traffic only, all traffic.
fn aggregates(format: StreamFormat) -> String {
    const TCP: StreamCounter = StreamCounter::named("tcp_packets");
    const TCP_BYTES: StreamCounter = StreamCounter::named("tcp_bytes");
    const CE: StreamCounter = StreamCounter::named("ecn_ce");
    const CUT: StreamCounter = StreamCounter::named("error_truncated");
    let mut aggregator = Aggregator::new(AggregateOptions::default(), 0);
    let edges_ns = &aggregator.metadata().edges_ns[..3];
    let metadata = AggregateMetadata { edges_ns, ..aggregator.metadata() };
    let mut rtt = rtt_record();
    rtt.rtt_ns = edges_ns[2];
    aggregator.add(&Event::from_abi(&rtt).unwrap());
    let mut addr = [0; 16];
    addr[..2].copy_from_slice(&[0x20, 0x01]);
    let mut subnet = StreamSubnet::default();
    subnet.sent[1] = StreamCount { packets: 3, bytes: 300 };
    subnet.received[2] = StreamCount { packets: 4, bytes: 400 };
    let counters = StreamCounters::sum(&[stats(&[(TCP, 7), (TCP_BYTES, 700), (CE, 2), (CUT, 1)])]);
    let counts = [(StreamSubnetKey { addr }, subnet)];
    let interval = aggregator.interval(1_000_000_000, &counts, counters);

    let mut formatter = formatter(format);
    let mut out = Vec::new();
    formatter.begin(&mut out);
    write(&mut formatter, &mut out, WALL, Content::Metadata(metadata));
    for record in interval.subnets {
        write(&mut formatter, &mut out, WALL, Content::Subnet(Box::new(record)));
    }
    write(&mut formatter, &mut out, WALL, Content::Global(Box::new(interval.global)));
    formatter.end(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn aggregates_in_standard_lines() {
    let golden = "\
Aggregating RTTs of IPv4 /24 and IPv6 /48 in 3 logarithmic bins every 1 seconds
14:02:01.083727575: 2001::/48 -> rxpkts=3, rxbytes=300, txpkts=4, txbytes=400
14:02:01.083727575: 10.11.1.0/24 -> rxpkts=0, rxbytes=0, txpkts=0, txbytes=0, rtt-count=1, \
min=0.266240 ms, mean=0.266240 ms, median=0.266240 ms, p95=0.266240 ms, max=0.266240 ms
14:02:01.083727575: TCP=(pkts=7, bytes=700), ECN=(CE=2), errors=(truncated=1)
";
    assert_eq!(aggregates(&STANDARD), golden);
}

#[test]
fn aggregates_in_json() {
    let golden = [
        r#"{"timestamp":1623420121083727575,"format_version":1,"aggregation_interval_ns":1000000000,"timeout_interval_ns":30000000000,"ipv4_prefix_len":24,"ipv6_prefix_len":48,"aggregated_by":"src","bins":3,"bin_edges_ns":[0,244144,266240]}"#,
        r#"{"timestamp":1623420121083727575,"ip_prefix":"2001::/48","rx_stats":{"TCP_TS":{"packets":0,"bytes":0},"TCP_noTS":{"packets":3,"bytes":300},"other":{"packets":0,"bytes":0}},"tx_stats":{"TCP_TS":{"packets":0,"bytes":0},"TCP_noTS":{"packets":0,"bytes":0},"other":{"packets":4,"bytes":400}}}"#,
        r#"{"timestamp":1623420121083727575,"ip_prefix":"10.11.1.0/24","rx_stats":{"TCP_TS":{"packets":0,"bytes":0},"TCP_noTS":{"packets":0,"bytes":0},"other":{"packets":0,"bytes":0}},"tx_stats":{"TCP_TS":{"packets":0,"bytes":0},"TCP_noTS":{"packets":0,"bytes":0},"other":{"packets":0,"bytes":0}},"count_rtt":1,"min_rtt":266240,"mean_rtt":266240,"median_rtt":266240,"p95_rtt":266240,"max_rtt":266240,"histogram":[0,0,1]}"#,
        r#"{"timestamp":1623420121083727575,"duration_ns":1000000000,"protocol_counters":{"non_IP":{"packets":0,"bytes":0},"TCP":{"packets":7,"bytes":700},"UDP":{"packets":0,"bytes":0},"ICMP":{"packets":0,"bytes":0},"ICMPv6":{"packets":0,"bytes":0},"other":{"packets":0,"bytes":0}},"ecn_counters":{"no_ECT":0,"ECT1":0,"ECT0":0,"CE":2},"errors":{"events_lost":0,"flows_unfollowed":0,"subnets_full":0,"rtts_unplaced":0,"truncated":1,"malformed":0}}"#,
    ];
    let text = aggregates(&JSON);
    assert_eq!(text, format!("[{}]\n", golden.join(",")));
    assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&text).unwrap().len(), 4);
    assert_eq!(aggregates(&JSONL), golden.map(|object| format!("{object}\n")).concat());
}
