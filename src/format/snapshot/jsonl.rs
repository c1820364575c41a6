// SPDX-License-Identifier: GPL-2.0-only
//! One object a line and handle: the chosen samples, with p95; each side's own figures if both sides
//! are chosen. Handles are in decimal, as in the array.

use crate::domain::format::Format;
use crate::domain::summary::{HandleReport, Snapshot};
use crate::domain::{Side, Sides, Summary};
use crate::format::json::{JsonObject, Layout};
use crate::format::number::push_decimal_handle;

/// `--format jsonl`.
pub struct Lines;

impl Format<Snapshot> for Lines {
    fn record(&mut self, out: &mut Vec<u8>, snapshot: &Snapshot) {
        for report in &snapshot.reports {
            let Some(summary) = report.summary(snapshot.sides) else { continue };
            JsonObject::write(out, Layout::Compact, |object| {
                line(object, report, summary, snapshot.sides);
            });
            out.push(b'\n');
        }
    }
}

fn line(object: &mut JsonObject<'_>, report: &HandleReport, summary: &Summary, sides: Sides) {
    object.text("tc", |out| push_decimal_handle(out, report.tc_handle));
    object.word("side", sides.name());
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
