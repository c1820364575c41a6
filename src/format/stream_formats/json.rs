// SPDX-License-Identifier: GPL-2.0-only
//! The JSON formats, without white space. Names, order and units of the keys are the contract's
//! (section 6). Times are in nanoseconds.

use crate::domain::format::Format;
use crate::format::json::{JsonLayout, JsonObject};
use crate::format::push::{push_address, push_decimal_handle, push_text};
use crate::format::stream_formats::words::{flow_event, push_protocol};
use crate::stream::aggregate_records::{
    AggregateMetadata, EcnCounts, GlobalRecord, PacketCount, SubnetRecord, Traffic,
};
use crate::stream::event::{Event, EventKind, Rtt};
use crate::stream::record::{Content, StreamRecord};

/// Writes `--format json`: one array.
pub struct StreamArray {
    /// The array holds no object yet.
    empty: bool,
}

impl StreamArray {
    /// Makes a formatter of an array that has not begun.
    pub fn new() -> Self {
        Self { empty: true }
    }
}

impl Format<StreamRecord> for StreamArray {
    fn begin(&mut self, out: &mut Vec<u8>) {
        self.empty = true;
        out.push(b'[');
    }

    fn record(&mut self, out: &mut Vec<u8>, record: &StreamRecord) {
        if !self.empty {
            out.push(b',');
        }
        self.empty = false;
        write_object(out, record);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"]\n");
    }
}

/// Writes `--format jsonl`: one object a line.
pub struct StreamLines;

impl Format<StreamRecord> for StreamLines {
    fn record(&mut self, out: &mut Vec<u8>, record: &StreamRecord) {
        write_object(out, record);
        out.push(b'\n');
    }
}

fn write_object(out: &mut Vec<u8>, record: &StreamRecord) {
    JsonObject::write(out, JsonLayout::Compact, |object| {
        object.number("timestamp", record.wall_ns);
        match &record.content {
            Content::Event { event, on_shaper } => write_event(object, event, *on_shaper),
            Content::Lost(events) => object.number("lost_events", *events),
            Content::Metadata(metadata) => write_metadata(object, metadata),
            Content::Subnet(record) => write_subnet(object, record),
            Content::Global(record) => write_global(object, record),
        }
    });
}

fn write_event(object: &mut JsonObject<'_>, event: &Event, on_shaper: bool) {
    let flow = &event.flow;
    object.unescaped_string("src_ip", |out| push_address(out, flow.src));
    object.number("src_port", flow.src_port.into());
    object.unescaped_string("dest_ip", |out| push_address(out, flow.dst));
    object.number("dest_port", flow.dst_port.into());
    object.unescaped_string("protocol", |out| push_protocol(out, flow.protocol));
    if let EventKind::Rtt(rtt) = &event.kind {
        rtt_fields(object, rtt);
    }
    if let Some((what, reason, trigger)) = flow_event(&event.kind) {
        object.string("flow_event", what);
        object.string("reason", reason);
        object.string("triggered_by", trigger);
    }
    if on_shaper {
        object.unescaped_string("tc", |out| push_decimal_handle(out, event.tc_handle));
        object.string("side", event.side.name());
    }
}

fn rtt_fields(object: &mut JsonObject<'_>, rtt: &Rtt) {
    object.number("rtt", rtt.rtt_ns);
    object.number("min_rtt", rtt.min_ns);
    object.number("sent_packets", rtt.sent_packets);
    object.number("sent_bytes", rtt.sent_bytes);
    object.number("rec_packets", rtt.rec_packets);
    object.number("rec_bytes", rtt.rec_bytes);
    object.flag("match_on_egress", rtt.on_egress);
}

fn write_metadata(object: &mut JsonObject<'_>, metadata: &AggregateMetadata) {
    object.number("format_version", metadata.version);
    object.number("aggregation_interval_ns", metadata.interval.as_nanos() as u64);
    object.number("timeout_interval_ns", metadata.timeout.as_nanos() as u64);
    object.number("ipv4_prefix_len", metadata.subnet_v4.into());
    object.number("ipv6_prefix_len", metadata.subnet_v6.into());
    object.string("aggregated_by", if metadata.reverse { "dest" } else { "src" });
    object.number("bins", metadata.edges_ns.len() as u64);
    object.numbers("bin_edges_ns", metadata.edges_ns);
}

/// Writes the record of a subnet. The names are those of the eBPF pping, which sees from the
/// shaper: `rx` are the packets that the subnet sent.
fn write_subnet(object: &mut JsonObject<'_>, record: &SubnetRecord) {
    object.unescaped_string("ip_prefix", |out| push_text(out, format_args!("{}", record.subnet)));
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
}

fn traffic(object: &mut JsonObject<'_>, traffic: &Traffic) {
    count(object, "TCP_TS", traffic.tcp_timestamps);
    count(object, "TCP_noTS", traffic.tcp_other);
    count(object, "other", traffic.other);
}

fn count(object: &mut JsonObject<'_>, name: &str, count: PacketCount) {
    object.object(name, |object| {
        object.number("packets", count.packets);
        object.number("bytes", count.bytes);
    });
}

fn write_global(object: &mut JsonObject<'_>, record: &GlobalRecord) {
    object.number("duration_ns", record.duration_ns);
    object.object("protocol_counters", |object| {
        record.protocols().into_iter().for_each(|(name, value)| count(object, name, value));
    });
    let EcnCounts { not_ect, ect1, ect0, ce } = record.ecn;
    object.object("ecn_counters", |object| {
        for (name, value) in [("no_ECT", not_ect), ("ECT1", ect1), ("ECT0", ect0), ("CE", ce)] {
            object.number(name, value);
        }
    });
    object.object("errors", |object| {
        record.errors.iter().for_each(|(name, value)| object.number(name, *value));
    });
}
