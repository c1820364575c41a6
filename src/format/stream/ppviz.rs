// SPDX-License-Identifier: GPL-2.0-only
//! The lines that ppviz reads: RTTs, all times in seconds.

use super::{push_decimal, push_flow};
use crate::stream::event::{Event, Kind};

/// Digits of nanoseconds behind the seconds.
const NANO: u32 = 9;

/// An RTT; nothing else has a line.
pub fn event(out: &mut Vec<u8>, event: &Event, wall_ns: u64) {
    let Kind::Rtt(rtt) = &event.kind else { return };
    for time in [wall_ns, rtt.rtt_ns, rtt.min_ns] {
        push_decimal(out, time, NANO);
        out.push(b' ');
    }
    push_flow(out, event);
    out.push(b'\n');
}
