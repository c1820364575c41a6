// SPDX-License-Identifier: GPL-2.0-only
//! Comma-separated values for spreadsheets: a line of heads, then a line for each tc handle with
//! the figures of the chosen samples. Handles are in decimal and RTTs in milliseconds, as in the JSON
//! formats. No field needs quotes.

use crate::domain::format::Format;
use crate::domain::summary::Snapshot;
use crate::format::push::{push_decimal_handle, push_ms, push_number};

/// Writes `--format csv`.
pub struct SnapshotCsv;

const HEADS: &[u8] = b"tc,side,avg,min,max,median,p95,samples\n";

impl Format<Snapshot> for SnapshotCsv {
    // The heads belong to the record: a command that prints a snapshot calls neither `begin` nor `end`.
    fn record(&mut self, out: &mut Vec<u8>, snapshot: &Snapshot) {
        out.extend_from_slice(HEADS);
        for report in &snapshot.reports {
            let Some(s) = report.summary(snapshot.sides) else { continue };
            push_decimal_handle(out, report.tc_handle);
            out.push(b',');
            out.extend_from_slice(snapshot.sides.name().as_bytes());
            for ns in [s.avg_ns, s.min_ns, s.max_ns, s.median_ns, s.p95_ns] {
                out.push(b',');
                push_ms(out, ns);
            }
            out.push(b',');
            push_number(out, s.count);
            out.extend_from_slice(b"\n");
        }
    }
}
