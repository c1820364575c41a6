// SPDX-License-Identifier: GPL-2.0-only
//! The JSON objects, without white space. Names, order and units are the contract's; nothing that
//! is written here needs escaping.

use std::io::Write;

use super::{flow_event, push_address, push_protocol};
use crate::output::push_number;
use crate::stream::aggregate::{Count, Ecn, GlobalRecord, Metadata, SubnetRecord, Traffic};
use crate::stream::event::{Event, Kind, Rtt};

/// An object under construction; a field writes the comma before it.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    fn end(self) {
        self.out.push(b'}');
    }

    /// The name, and where to write the value.
    fn field(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    fn number(&mut self, name: &str, number: u64) {
        push_number(self.field(name), number);
    }

    fn text(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let out = self.field(name);
        out.push(b'"');
        write(out);
        out.push(b'"');
    }

    fn word(&mut self, name: &str, word: &str) {
        self.text(name, |out| out.extend_from_slice(word.as_bytes()));
    }

    fn object(&mut self, name: &str, write: impl FnOnce(&mut Object<'_>)) {
        let mut object = Object::begin(self.field(name));
        write(&mut object);
        object.end();
    }

    fn numbers(&mut self, name: &str, numbers: &[u64]) {
        let out = self.field(name);
        out.push(b'[');
        for (index, number) in numbers.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_number(out, *number);
        }
        out.push(b']');
    }
}

/// An RTT or what a flow does.
pub fn event(out: &mut Vec<u8>, event: &Event, wall_ns: u64, on_shaper: bool) {
    let flow = &event.flow;
    let mut object = Object::begin(out);
    object.number("timestamp", wall_ns);
    object.text("src_ip", |out| push_address(out, flow.src));
    object.number("src_port", flow.src_port.into());
    object.text("dest_ip", |out| push_address(out, flow.dst));
    object.number("dest_port", flow.dst_port.into());
    object.text("protocol", |out| push_protocol(out, flow.protocol));
    if let Kind::Rtt(rtt) = &event.kind {
        rtt_fields(&mut object, rtt);
    }
    if let Some((what, reason, trigger)) = flow_event(&event.kind) {
        object.word("flow_event", what);
        object.word("reason", reason);
        object.word("triggered_by", trigger);
    }
    if on_shaper {
        object.text("tc", |out| {
            push_number(out, event.tc_handle.major().into());
            out.push(b':');
            push_number(out, event.tc_handle.minor().into());
        });
        object.word("side", event.side.name());
    }
    object.end();
}

fn rtt_fields(object: &mut Object<'_>, rtt: &Rtt) {
    object.number("rtt", rtt.rtt_ns);
    object.number("min_rtt", rtt.min_ns);
    object.number("sent_packets", rtt.sent_packets);
    object.number("sent_bytes", rtt.sent_bytes);
    object.number("rec_packets", rtt.rec_packets);
    object.number("rec_bytes", rtt.rec_bytes);
    let value = if rtt.on_egress { "true" } else { "false" };
    object.field("match_on_egress").extend_from_slice(value.as_bytes());
}

pub fn lost(out: &mut Vec<u8>, wall_ns: u64, events: u64) {
    let mut object = Object::begin(out);
    object.number("timestamp", wall_ns);
    object.number("lost_events", events);
    object.end();
}

pub fn metadata(out: &mut Vec<u8>, metadata: &Metadata, wall_ns: u64) {
    let mut object = Object::begin(out);
    object.number("timestamp", wall_ns);
    object.number("format_version", metadata.version);
    object.number("aggregation_interval_ns", metadata.interval.as_nanos() as u64);
    object.number("timeout_interval_ns", metadata.timeout.as_nanos() as u64);
    object.number("ipv4_prefix_len", metadata.subnet_v4.into());
    object.number("ipv6_prefix_len", metadata.subnet_v6.into());
    object.word("aggregated_by", if metadata.reverse { "dest" } else { "src" });
    object.number("bins", metadata.edges_ns.len() as u64);
    object.numbers("bin_edges_ns", metadata.edges_ns);
    object.end();
}

/// The names are eBPF pping's: what the subnet sent was received here.
pub fn subnet(out: &mut Vec<u8>, record: &SubnetRecord, wall_ns: u64) {
    let mut object = Object::begin(out);
    object.number("timestamp", wall_ns);
    object.text("ip_prefix", |out| {
        // A vector takes everything.
        let _ = write!(out, "{}", record.subnet);
    });
    object.object("rx_stats", |object| traffic(object, &record.sent));
    object.object("tx_stats", |object| traffic(object, &record.received));
    if let Some(rtt) = &record.rtt {
        let summary = &rtt.summary;
        object.number("count_rtt", summary.count);
        object.number("min_rtt", summary.min_ns);
        object.number("mean_rtt", summary.avg_ns);
        object.number("median_rtt", summary.median_ns);
        object.number("p95_rtt", summary.p95_ns);
        object.number("max_rtt", summary.max_ns);
        object.numbers("histogram", rtt.bins());
    }
    object.end();
}

fn traffic(object: &mut Object<'_>, traffic: &Traffic) {
    count(object, "TCP_TS", traffic.tcp_timestamps);
    count(object, "TCP_noTS", traffic.tcp_other);
    count(object, "other", traffic.other);
}

fn count(object: &mut Object<'_>, name: &str, count: Count) {
    object.object(name, |object| {
        object.number("packets", count.packets);
        object.number("bytes", count.bytes);
    });
}

pub fn global(out: &mut Vec<u8>, record: &GlobalRecord, wall_ns: u64) {
    let mut object = Object::begin(out);
    object.number("timestamp", wall_ns);
    object.number("duration_ns", record.duration_ns);
    object.object("protocol_counters", |object| {
        record.protocols().into_iter().for_each(|(name, value)| count(object, name, value));
    });
    let Ecn { not_ect, ect1, ect0, ce } = record.ecn;
    object.object("ecn_counters", |object| {
        for (name, value) in [("no_ECT", not_ect), ("ECT1", ect1), ("ECT0", ect0), ("CE", ce)] {
            object.number(name, value);
        }
    });
    object.object("errors", |object| {
        record.errors.iter().for_each(|(name, value)| object.number(name, *value));
    });
    object.end();
}
