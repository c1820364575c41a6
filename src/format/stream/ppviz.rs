// SPDX-License-Identifier: GPL-2.0-only
//! The lines that ppviz reads: RTTs only, all times in seconds. Aggregates have no such line: the
//! command line refuses the combination.

use crate::domain::format::Format;
use crate::format::number::push_decimal;
use crate::format::stream::words::push_flow;
use crate::stream::event::EventKind;
use crate::stream::record::{Content, StreamRecord};

/// Decimals of a second in nanoseconds.
const NANO: u32 = 9;

/// `--format ppviz`.
pub struct Ppviz;

impl Format<StreamRecord> for Ppviz {
    fn record(&mut self, out: &mut Vec<u8>, record: &StreamRecord) {
        let Content::Event { event, .. } = &record.content else { return };
        let EventKind::Rtt(rtt) = &event.kind else { return };
        for time in [record.wall_ns, rtt.rtt_ns, rtt.min_ns] {
            push_decimal(out, time, NANO);
            out.push(b' ');
        }
        push_flow(out, event);
        out.push(b'\n');
    }
}
