// SPDX-License-Identifier: GPL-2.0-only
//! The lines that ppviz reads: RTT events only, all times in seconds. The format has no text for
//! aggregates: the command line refuses that combination.

use crate::domain::format::Format;
use crate::format::push::push_decimal;
use crate::format::stream_formats::words::push_flow;
use crate::stream::event::EventKind;
use crate::stream::record::{Content, StreamRecord};

/// Number of decimals of a time in seconds.
const NANO: u32 = 9;

/// Writes `--format ppviz`.
pub struct PpvizLines;

impl Format<StreamRecord> for PpvizLines {
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
