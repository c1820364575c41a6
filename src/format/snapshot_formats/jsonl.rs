// SPDX-License-Identifier: GPL-2.0-only
//! One JSON object a line for each tc handle: the figures of the chosen samples, with p95. If both
//! sides are chosen, also the figures of each side. Handles are in decimal and RTTs in
//! milliseconds, as in the array.

use crate::domain::format::Format;
use crate::domain::summary::{HandleReport, Snapshot};
use crate::domain::{Side, Sides, Summary};
use crate::format::json::{JsonLayout, JsonObject};
use crate::format::push::push_decimal_handle;

/// Writes `--format jsonl`.
pub struct SnapshotLines;

impl Format<Snapshot> for SnapshotLines {
    fn record(&mut self, out: &mut Vec<u8>, snapshot: &Snapshot) {
        for report in &snapshot.reports {
            let Some(summary) = report.summary(snapshot.sides) else { continue };
            JsonObject::write(out, JsonLayout::Compact, |object| {
                line(object, report, summary, snapshot.sides);
            });
            out.push(b'\n');
        }
    }
}

fn line(object: &mut JsonObject<'_>, report: &HandleReport, summary: &Summary, sides: Sides) {
    object.unescaped_string("tc", |out| push_decimal_handle(out, report.tc_handle));
    object.string("side", sides.name());
    figures(object, summary);
    if sides == Sides::Both {
        for side in Side::ALL {
            object.optional(side.name(), report.summary(Sides::One(side)), figures);
        }
    }
}

fn figures(object: &mut JsonObject<'_>, s: &Summary) {
    object.ms("avg", s.avg_ns);
    object.ms("min", s.min_ns);
    object.ms("max", s.max_ns);
    object.ms("median", s.median_ns);
    object.ms("p95", s.p95_ns);
    object.number("samples", s.count);
}
