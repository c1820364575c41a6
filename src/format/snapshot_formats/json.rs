// SPDX-License-Identifier: GPL-2.0-only
//! The array of the predecessor's `xdp_pping`: one object a line for each tc handle, then an empty
//! object. Programs in the field parse it: no byte may change. Handles are in decimal, RTTs in
//! milliseconds.

use crate::domain::format::Format;
use crate::domain::summary::Snapshot;
use crate::format::push::{push_decimal_handle, push_ms, push_number};

/// Writes `--format json`.
pub struct SnapshotArray;

impl Format<Snapshot> for SnapshotArray {
    fn record(&mut self, out: &mut Vec<u8>, snapshot: &Snapshot) {
        out.extend_from_slice(b"[\n");
        for report in &snapshot.reports {
            let Some(s) = report.summary(snapshot.sides) else { continue };
            out.extend_from_slice(b"{\"tc\":\"");
            push_decimal_handle(out, report.tc_handle);
            out.push(b'"');
            let times =
                [("avg", s.avg_ns), ("min", s.min_ns), ("max", s.max_ns), ("median", s.median_ns)];
            for (name, ns) in times {
                out.extend_from_slice(b", \"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\": ");
                push_ms(out, ns);
            }
            out.extend_from_slice(b", \"samples\": ");
            push_number(out, s.count);
            out.extend_from_slice(b"},\n");
        }
        out.extend_from_slice(b"{}]\n");
    }
}
