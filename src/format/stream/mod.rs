// SPDX-License-Identifier: GPL-2.0-only
//! How events and aggregates look: the formats of eBPF pping, and JSON by lines.
//!
//! By hand into a buffer, as in [`crate::output`]: at 100 000 events a second the formatting
//! machinery would be most of the work.

use std::io::Write;
use std::net::IpAddr;

use clap::ValueEnum;

use super::aggregate::{GlobalRecord, Metadata, SubnetRecord};
use super::event::{Event, Kind, Reason, Trigger};
use crate::machine::local_time;
use crate::output::push_number;

mod json;
mod ppviz;
mod standard;

use standard::TimeOfDay;

/// How to print events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: a line each, in local time
    #[default]
    Standard,
    /// For ppviz: RTTs only
    Ppviz,
    /// One array
    Json,
    /// One object a line
    Jsonl,
}

/// Puts one stream of events into words. Whoever begins must end.
#[derive(Debug)]
pub struct Formatter {
    format: Format,
    /// Every event has its class and side.
    on_shaper: bool,
    /// Nothing is in the array yet.
    empty: bool,
    time: TimeOfDay,
}

impl Formatter {
    /// With `on_shaper`, class and side go with each event.
    pub fn new(format: Format, on_shaper: bool) -> Self {
        Self { format, on_shaper, empty: true, time: TimeOfDay::new(local_time) }
    }

    /// How it prints.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What stands before everything else.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        self.empty = true;
        if self.format == Format::Json {
            out.push(b'[');
        }
    }

    /// What stands behind everything else.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if self.format == Format::Json {
            out.extend_from_slice(b"]\n");
        }
    }

    /// An event, at a wall-clock time.
    pub fn event(&mut self, out: &mut Vec<u8>, event: &Event, wall_ns: u64) {
        let on_shaper = self.on_shaper;
        match self.format {
            Format::Standard => standard::event(out, &mut self.time, event, wall_ns, on_shaper),
            Format::Ppviz => ppviz::event(out, event, wall_ns),
            Format::Json | Format::Jsonl => {
                self.object(out, |out| json::event(out, event, wall_ns, on_shaper));
            }
        }
    }

    /// Events for which there was no room. Not in ppviz, which holds RTTs only.
    pub fn lost(&mut self, out: &mut Vec<u8>, wall_ns: u64, events: u64) {
        match self.format {
            Format::Standard => standard::lost(out, &mut self.time, wall_ns, events),
            Format::Ppviz => {}
            Format::Json | Format::Jsonl => {
                self.object(out, |out| json::lost(out, wall_ns, events));
            }
        }
    }

    /// What the aggregates are made with. Aggregates have no ppviz format.
    pub fn metadata(&mut self, out: &mut Vec<u8>, metadata: &Metadata, wall_ns: u64) {
        match self.format {
            Format::Standard | Format::Ppviz => standard::metadata(out, metadata),
            Format::Json | Format::Jsonl => {
                self.object(out, |out| json::metadata(out, metadata, wall_ns));
            }
        }
    }

    /// A subnet's figures over an interval.
    pub fn subnet(&mut self, out: &mut Vec<u8>, record: &SubnetRecord, wall_ns: u64) {
        match self.format {
            Format::Standard | Format::Ppviz => {
                standard::subnet(out, &mut self.time, record, wall_ns);
            }
            Format::Json | Format::Jsonl => {
                self.object(out, |out| json::subnet(out, record, wall_ns));
            }
        }
    }

    /// The figures of all traffic over an interval.
    pub fn global(&mut self, out: &mut Vec<u8>, record: &GlobalRecord, wall_ns: u64) {
        match self.format {
            Format::Standard | Format::Ppviz => {
                standard::global(out, &mut self.time, record, wall_ns);
            }
            Format::Json | Format::Jsonl => {
                self.object(out, |out| json::global(out, record, wall_ns));
            }
        }
    }

    /// One object, and what stands between it and its neighbours.
    fn object(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let array = self.format == Format::Json;
        if array && !self.empty {
            out.push(b',');
        }
        self.empty = false;
        write(out);
        if !array {
            out.push(b'\n');
        }
    }
}

/// `src:port+dst:port`, as ppviz names a flow.
fn push_flow(out: &mut Vec<u8>, event: &Event) {
    let flow = &event.flow;
    push_address(out, flow.src);
    out.push(b':');
    push_number(out, flow.src_port.into());
    out.push(b'+');
    push_address(out, flow.dst);
    out.push(b':');
    push_number(out, flow.dst_port.into());
}

fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (index, byte) in v4.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                push_number(out, byte.into());
            }
        }
        // A vector takes everything.
        IpAddr::V6(v6) => {
            let _ = write!(out, "{v6}");
        }
    }
}

/// `number / 10^digits` with all of its decimals.
fn push_decimal(out: &mut Vec<u8>, number: u64, digits: u32) {
    let unit = 10_u64.pow(digits);
    push_number(out, number / unit);
    out.push(b'.');
    push_fraction(out, number % unit, unit);
}

/// The decimals of a number below `unit`, a power of ten.
fn push_fraction(out: &mut Vec<u8>, mut rest: u64, mut unit: u64) {
    while unit > 1 {
        unit /= 10;
        out.push(b'0' + (rest / unit) as u8);
        rest %= unit;
    }
}

fn push_protocol(out: &mut Vec<u8>, protocol: u8) {
    match protocol {
        1 => out.extend_from_slice(b"ICMP"),
        6 => out.extend_from_slice(b"TCP"),
        58 => out.extend_from_slice(b"ICMPv6"),
        other => push_number(out, other.into()),
    }
}

/// What a flow does, why, and who made it do so.
fn flow_event(kind: &Kind) -> Option<(&'static str, &'static str, &'static str)> {
    match kind {
        Kind::Rtt(_) => None,
        Kind::Opening(reason, trigger) => Some(("opening", reason_name(*reason), by(*trigger))),
        Kind::Closing(reason, trigger) => Some(("closing", reason_name(*reason), by(*trigger))),
    }
}

fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::Syn => "SYN",
        Reason::SynAck => "SYN-ACK",
        Reason::FirstPacket => "first observed packet",
        Reason::Fin => "FIN",
        Reason::Rst => "RST",
        Reason::Timeout => "flow timeout",
    }
}

fn by(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Src => "src",
        Trigger::Dest => "dest",
        Trigger::GarbageCollection => "garbage collection",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{StreamCount, StreamSubnet, StreamSubnetKey};
    use crate::stream::aggregate::{AggregateOptions, Aggregator};
    use crate::stream::counters::tests::stats;
    use crate::stream::counters::{Counter, Counters};
    use crate::stream::event::tests::{opening_record, rtt_record};

    const WALL: u64 = 1_623_420_121_083_727_575;

    /// In universal time, whatever the machine is set to.
    fn formatter(format: Format, on_shaper: bool) -> Formatter {
        let utc = |seconds: i64| {
            let day = seconds.rem_euclid(86_400);
            [day / 3600, day / 60 % 60, day % 60].map(|part| part as u8)
        };
        Formatter { time: TimeOfDay::new(utc), ..Formatter::new(format, on_shaper) }
    }

    /// An opening, two RTTs, a drop, a time-out; an IPv6 flow.
    fn recording(format: Format, on_shaper: bool) -> String {
        let mut formatter = formatter(format, on_shaper);
        let mut out = Vec::new();
        formatter.begin(&mut out);
        let opening = Event::from_abi(&opening_record()).unwrap();
        let rtt = Event::from_abi(&rtt_record()).unwrap();
        let mut v6 = rtt;
        v6.flow.src = "2001:db8::1".parse().unwrap();
        v6.flow.dst = "::ffff:1.2.3.4".parse().unwrap();
        v6.flow.src_port = 443;
        v6.flow.protocol = 58;
        v6.kind = Kind::Rtt(super::super::event::Rtt {
            rtt_ns: 1_000_000_001,
            min_ns: 7,
            on_egress: true,
            ..Default::default()
        });
        formatter.event(&mut out, &opening, WALL);
        formatter.event(&mut out, &rtt, WALL + 1);
        formatter.event(&mut out, &v6, WALL + 2_000_000_000);
        formatter.lost(&mut out, WALL + 3_000_000_000, 12);
        formatter.event(&mut out, &opening.timed_out(0), WALL + 301_000_000_000);
        formatter.end(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn standard() {
        let golden = "\
14:02:01.083727575 TCP 10.11.1.1:5201+10.11.1.2:59572 opening due to SYN-ACK from dest
14:02:01.083727576 5.977708 ms 5.441848 ms TCP 10.11.1.1:5201+10.11.1.2:59572
14:02:03.083727575 1000.000001 ms 0.000007 ms ICMPv6 2001:db8::1:443+::ffff:1.2.3.4:59572
14:02:04.083727575 12 events lost
14:07:02.083727575 TCP 10.11.1.1:5201+10.11.1.2:59572 closing due to flow timeout from garbage collection
";
        assert_eq!(recording(Format::Standard, false), golden);
        for (line, plain) in recording(Format::Standard, true).lines().zip(golden.lines()) {
            let suffix = if plain.contains("lost") { "" } else { " tc 18:171 internet" };
            assert_eq!(line, format!("{plain}{suffix}"));
        }
    }

    #[test]
    fn ppviz() {
        let golden = "\
1623420121.083727576 0.005977708 0.005441848 10.11.1.1:5201+10.11.1.2:59572
1623420123.083727575 1.000000001 0.000000007 2001:db8::1:443+::ffff:1.2.3.4:59572
";
        assert_eq!(recording(Format::Ppviz, false), golden);
        assert_eq!(recording(Format::Ppviz, true), golden);
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
        let text = recording(Format::Json, false);
        assert_eq!(text, format!("[{}]\n", OBJECTS.join(",")));
        let array: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(array[1]["rtt"], 5_977_708);
        assert_eq!(array.len(), 5);
    }

    #[test]
    fn json_of_nothing_is_an_array_and_so_is_the_next() {
        let mut formatter = formatter(Format::Json, false);
        let mut out = Vec::new();
        formatter.begin(&mut out);
        formatter.lost(&mut out, 5, 1);
        formatter.end(&mut out);
        formatter.begin(&mut out);
        formatter.end(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "[{\"timestamp\":5,\"lost_events\":1}]\n[]\n");
    }

    #[test]
    fn jsonl_is_the_same_objects() {
        assert_eq!(recording(Format::Jsonl, false), OBJECTS.map(|o| format!("{o}\n")).concat());
    }

    #[test]
    fn on_the_shaper_class_and_side_follow() {
        for (line, plain) in recording(Format::Jsonl, true).lines().zip(OBJECTS) {
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            if object.get("lost_events").is_some() {
                assert_eq!(line, plain);
                continue;
            }
            let start = plain.trim_end_matches('}');
            assert_eq!(line, format!(r#"{start},"tc":"18:171","side":"internet"}}"#));
        }
    }

    /// One subnet with an RTT, one with traffic only, and the whole.
    fn aggregates(format: Format) -> String {
        const TCP: Counter = Counter::named("tcp_packets");
        const TCP_BYTES: Counter = Counter::named("tcp_bytes");
        const CE: Counter = Counter::named("ecn_ce");
        const CUT: Counter = Counter::named("error_truncated");
        let mut aggregator = Aggregator::new(AggregateOptions::default(), 0);
        let edges_ns = &aggregator.metadata().edges_ns[..3];
        let metadata = Metadata { edges_ns, ..aggregator.metadata() };
        let mut rtt = rtt_record();
        rtt.rtt_ns = edges_ns[2];
        aggregator.add(&Event::from_abi(&rtt).unwrap());
        let mut addr = [0; 16];
        addr[..2].copy_from_slice(&[0x20, 0x01]);
        let mut subnet = StreamSubnet::default();
        subnet.sent[1] = StreamCount { packets: 3, bytes: 300 };
        subnet.received[2] = StreamCount { packets: 4, bytes: 400 };
        let counters = Counters::sum(&[stats(&[(TCP, 7), (TCP_BYTES, 700), (CE, 2), (CUT, 1)])]);
        let counts = [(StreamSubnetKey { addr }, subnet)];
        let interval = aggregator.interval(1_000_000_000, &counts, counters);

        let mut formatter = formatter(format, false);
        let mut out = Vec::new();
        formatter.begin(&mut out);
        formatter.metadata(&mut out, &metadata, WALL);
        for record in &interval.subnets {
            formatter.subnet(&mut out, record, WALL);
        }
        formatter.global(&mut out, &interval.global, WALL);
        formatter.end(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn aggregates_for_people() {
        let golden = "\
Aggregating RTTs of IPv4 /24 and IPv6 /48 in 3 logarithmic bins every 1 seconds
14:02:01.083727575: 2001::/48 -> rxpkts=3, rxbytes=300, txpkts=4, txbytes=400
14:02:01.083727575: 10.11.1.0/24 -> rxpkts=0, rxbytes=0, txpkts=0, txbytes=0, rtt-count=1, \
min=0.215048 ms, mean=0.215048 ms, median=0.215048 ms, p95=0.215048 ms, max=0.215048 ms
14:02:01.083727575: TCP=(pkts=7, bytes=700), ECN=(CE=2), errors=(truncated=1)
";
        assert_eq!(aggregates(Format::Standard), golden);
    }

    #[test]
    fn aggregates_in_json() {
        let golden = [
            r#"{"timestamp":1623420121083727575,"format_version":1,"aggregation_interval_ns":1000000000,"timeout_interval_ns":30000000000,"ipv4_prefix_len":24,"ipv6_prefix_len":48,"aggregated_by":"src","bins":3,"bin_edges_ns":[0,194776,215048]}"#,
            r#"{"timestamp":1623420121083727575,"ip_prefix":"2001::/48","rx_stats":{"TCP_TS":{"packets":0,"bytes":0},"TCP_noTS":{"packets":3,"bytes":300},"other":{"packets":0,"bytes":0}},"tx_stats":{"TCP_TS":{"packets":0,"bytes":0},"TCP_noTS":{"packets":0,"bytes":0},"other":{"packets":4,"bytes":400}}}"#,
            r#"{"timestamp":1623420121083727575,"ip_prefix":"10.11.1.0/24","rx_stats":{"TCP_TS":{"packets":0,"bytes":0},"TCP_noTS":{"packets":0,"bytes":0},"other":{"packets":0,"bytes":0}},"tx_stats":{"TCP_TS":{"packets":0,"bytes":0},"TCP_noTS":{"packets":0,"bytes":0},"other":{"packets":0,"bytes":0}},"count_rtt":1,"min_rtt":215048,"mean_rtt":215048,"median_rtt":215048,"p95_rtt":215048,"max_rtt":215048,"histogram":[0,0,1]}"#,
            r#"{"timestamp":1623420121083727575,"duration_ns":1000000000,"protocol_counters":{"non_IP":{"packets":0,"bytes":0},"TCP":{"packets":7,"bytes":700},"UDP":{"packets":0,"bytes":0},"ICMP":{"packets":0,"bytes":0},"ICMPv6":{"packets":0,"bytes":0},"other":{"packets":0,"bytes":0}},"ecn_counters":{"no_ECT":0,"ECT1":0,"ECT0":0,"CE":2},"errors":{"events_lost":0,"flows_unfollowed":0,"subnets_full":0,"rtts_unplaced":0,"truncated":1,"malformed":0}}"#,
        ];
        let text = aggregates(Format::Json);
        assert_eq!(text, format!("[{}]\n", golden.join(",")));
        assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&text).unwrap().len(), 4);
        assert_eq!(aggregates(Format::Jsonl), golden.map(|object| format!("{object}\n")).concat());
    }

    #[test]
    fn decimals() {
        for (number, digits, text) in
            [(0, 9, "0.000000000"), (1, 6, "0.000001"), (u64::MAX, 9, "18446744073.709551615")]
        {
            let mut out = Vec::new();
            push_decimal(&mut out, number, digits);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn reasons_triggers_and_protocols() {
        use Reason::*;
        let reasons = [Syn, SynAck, FirstPacket, Fin, Rst, Timeout].map(reason_name);
        let names = ["SYN", "SYN-ACK", "first observed packet", "FIN", "RST", "flow timeout"];
        assert_eq!(reasons, names);
        let triggers = [Trigger::Src, Trigger::Dest, Trigger::GarbageCollection].map(by);
        assert_eq!(triggers, ["src", "dest", "garbage collection"]);
        for (protocol, name) in [(1, "ICMP"), (6, "TCP"), (58, "ICMPv6"), (132, "132")] {
            let mut out = Vec::new();
            push_protocol(&mut out, protocol);
            assert_eq!(out, name.as_bytes());
        }
    }
}
