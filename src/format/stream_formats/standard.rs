// SPDX-License-Identifier: GPL-2.0-only
//! The lines of `--format standard`, for people: local time of day, RTTs in milliseconds.

use std::fmt;

use crate::domain::format::Format;
use crate::format::push::{push_decimal, push_decimal_handle, push_fraction, push_text};
use crate::format::stream_formats::words::{flow_event, push_flow, push_protocol};
use crate::kernel::machine::local_time;
use crate::stream::aggregate_records::{
    AggregateMetadata, EcnCounts, GlobalRecord, PacketCount, SubnetRecord, Traffic,
};
use crate::stream::event::{Event, EventKind};
use crate::stream::record::{Content, StreamRecord};

/// Writes `--format standard`.
pub struct StandardLines {
    time: TimeOfDay,
}

impl StandardLines {
    /// Makes a formatter that writes times in the machine's time zone.
    pub fn local() -> Self {
        Self::new(local_time)
    }

    /// Makes a formatter that converts times with `local`.
    pub fn new(local: LocalTime) -> Self {
        Self { time: TimeOfDay::new(local) }
    }
}

impl Format<StreamRecord> for StandardLines {
    fn record(&mut self, out: &mut Vec<u8>, record: &StreamRecord) {
        if let Content::Metadata(metadata) = &record.content {
            return write_metadata(out, metadata);
        }
        self.time.push(out, record.wall_ns);
        match &record.content {
            Content::Event { event, on_shaper } => write_event(out, event, *on_shaper),
            Content::Lost(events) => push_text(out, format_args!(" {events} events lost\n")),
            Content::Metadata(_) => {}
            Content::Subnet(record) => write_subnet(out, record),
            Content::Global(record) => write_global(out, record),
        }
    }
}

/// Number of decimals of a time in milliseconds.
const MS_DIGITS: u32 = 6;
const SECOND: u64 = 1_000_000_000;

/// A function from seconds since 1970 to hour, minute and second.
pub type LocalTime = fn(i64) -> [u8; 3];

/// Writes the time of day. Keeps the text of the last second, because `local` is slow.
struct TimeOfDay {
    local: LocalTime,
    /// The second that `text` shows, since 1970.
    second: u64,
    text: [u8; 8],
}

impl TimeOfDay {
    fn new(local: LocalTime) -> Self {
        Self { local, second: u64::MAX, text: [b' '; 8] }
    }

    /// Appends the time of day as `16:00:46.142279766`.
    fn push(&mut self, out: &mut Vec<u8>, wall_ns: u64) {
        let second = wall_ns / SECOND;
        if second != self.second {
            let digits = |n: u8| [b'0' + n / 10 % 10, b'0' + n % 10];
            let [[a, b], [c, d], [e, f]] = (self.local)(second as i64).map(digits);
            (self.second, self.text) = (second, [a, b, b':', c, d, b':', e, f]);
        }
        out.extend_from_slice(&self.text);
        out.push(b'.');
        push_fraction(out, wall_ns % SECOND, SECOND);
    }
}

fn write_event(out: &mut Vec<u8>, event: &Event, on_shaper: bool) {
    out.push(b' ');
    if let EventKind::Rtt(rtt) = &event.kind {
        for ns in [rtt.rtt_ns, rtt.min_ns] {
            push_decimal(out, ns, MS_DIGITS);
            out.extend_from_slice(b" ms ");
        }
    }
    push_protocol(out, event.flow.protocol);
    out.push(b' ');
    push_flow(out, event);
    if let Some((what, reason, trigger)) = flow_event(&event.kind) {
        for word in [" ", what, " due to ", reason, " from ", trigger] {
            out.extend_from_slice(word.as_bytes());
        }
    }
    if on_shaper {
        out.extend_from_slice(b" tc ");
        push_decimal_handle(out, event.tc_handle);
        out.push(b' ');
        out.extend_from_slice(event.side.name().as_bytes());
    }
    out.push(b'\n');
}

fn write_metadata(out: &mut Vec<u8>, metadata: &AggregateMetadata) {
    let (seconds, bins) = (metadata.interval.as_secs_f64(), metadata.edges_ns.len());
    let (v4, v6) = (metadata.subnet_v4, metadata.subnet_v6);
    push_text(
        out,
        format_args!(
            "Aggregating RTTs of IPv4 /{v4} and IPv6 /{v6} in {bins} logarithmic bins every \
             {seconds} seconds\n"
        ),
    );
}

/// Nanoseconds that are displayed as milliseconds with all six decimals.
struct ExactMilliseconds(u64);

impl fmt::Display for ExactMilliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06} ms", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Writes the record of a subnet. `rx` are the packets that the subnet sent, as in the eBPF pping.
fn write_subnet(out: &mut Vec<u8>, record: &SubnetRecord) {
    let sum = |traffic: &Traffic| {
        let classes = [traffic.tcp_timestamps, traffic.tcp_other, traffic.other];
        let add = |field: fn(&PacketCount) -> u64| classes.iter().map(field).sum::<u64>();
        (add(|count| count.packets), add(|count| count.bytes))
    };
    let (rx, tx) = (sum(&record.sent), sum(&record.received));
    let subnet = record.subnet;
    let (rx_packets, rx_bytes, tx_packets, tx_bytes) = (rx.0, rx.1, tx.0, tx.1);
    let text = format!(
        ": {subnet} -> rxpkts={rx_packets}, rxbytes={rx_bytes}, txpkts={tx_packets}, \
         txbytes={tx_bytes}"
    );
    out.extend_from_slice(text.as_bytes());
    if let Some(rtt) = &record.rtt {
        let s = &rtt.summary;
        let text = format!(
            ", rtt-count={}, min={}, mean={}, median={}, p95={}, max={}",
            s.count,
            ExactMilliseconds(s.min_ns),
            ExactMilliseconds(s.avg_ns),
            ExactMilliseconds(s.median_ns),
            ExactMilliseconds(s.p95_ns),
            ExactMilliseconds(s.max_ns)
        );
        out.extend_from_slice(text.as_bytes());
    }
    out.push(b'\n');
}

/// Writes the record of all traffic. Leaves out counts of 0.
fn write_global(out: &mut Vec<u8>, record: &GlobalRecord) {
    let mut parts: Vec<String> = Vec::new();
    for (name, count) in record.protocols() {
        if count.packets > 0 {
            parts.push(format!("{name}=(pkts={}, bytes={})", count.packets, count.bytes));
        }
    }
    if parts.is_empty() {
        parts.push("pkts=0, bytes=0".to_owned());
    }
    let EcnCounts { not_ect, ect1, ect0, ce } = record.ecn;
    let ecn = [("Not-ECT", not_ect), ("ECT1", ect1), ("ECT0", ect0), ("CE", ce)];
    parts.extend(group("ECN", &ecn));
    parts.extend(group("errors", &record.errors));
    push_text(out, format_args!(": {}\n", parts.join(", ")));
}

/// Returns `name=(a=1, b=2)` with the counts that are not 0; `None` if all are.
fn group(name: &str, counts: &[(&'static str, u64)]) -> Option<String> {
    let counted = counts.iter().filter(|(_, count)| *count > 0);
    let shown: Vec<_> = counted.map(|(name, count)| format!("{name}={count}")).collect();
    (!shown.is_empty()).then(|| format!("{name}=({})", shown.join(", ")))
}
