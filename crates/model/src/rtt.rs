// SPDX-License-Identifier: GPL-2.0-only
//! RTTs of a TCP flow: a TSval that leaves one way gives a sample when its echo leaves the other way.
//!
//! The rules are 1 to 7 and 10 of the list in bpf/rtt.h. Order within a segment: restart, advance, sweep, match, open.

use crate::counter::RaisedCounters;
use crate::histogram::UNIT_NS;
use crate::parse::ModelSegment;

/// TSvals per direction that can wait for their echo.
pub const SLOTS: usize = 2;
/// The time-out of rule 5, in units of 8 ns.
const TIMEOUT_UNITS: u32 = 1_250_000_000;
/// Jiffies of a tick, the unit in which a flow stores the time of its last sweep.
const TICK_JIFFIES: u64 = 64;

/// When old slots of a flow are swept, and which segments open a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub handshake: bool,
    pub jiffy_ns: u64,
    pub sweep_ticks: u32,
    pub idle_ticks: u32,
}

/// The time of a packet, read once for all rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Now {
    /// The time in units of 8 ns, never 0; wraps after 34 s.
    units: u32,
    /// The time in ticks of 64 jiffies.
    tick: u32,
}

impl Now {
    fn new(now_ns: u64, rules: &Rules) -> Now {
        let units = ((now_ns / UNIT_NS) as u32).max(1);
        Now { units, tick: (now_ns / rules.jiffy_ns / TICK_JIFFIES) as u32 }
    }
}

/// A TSval that waits for its echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    tsval: u32,
    opened: u32,
}

impl Slot {
    fn age(&self, now: Now) -> u32 {
        now.units.wrapping_sub(self.opened)
    }

    fn is_old(&self, now: Now) -> bool {
        self.age(now) > TIMEOUT_UNITS
    }
}

/// The state of one direction of a flow.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct FlowWay {
    /// The latest TSval; it never goes back.
    last: Option<u32>,
    /// Whether a segment without SYN was seen.
    established: bool,
    slots: [Option<Slot>; SLOTS],
}

/// One TCP connection. Way 0 leaves by LAN, way 1 by WAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackedFlow {
    ways: [FlowWay; 2],
    swept: u32,
}

impl TrackedFlow {
    /// Makes a flow that is seen for the first time.
    pub fn new(now_ns: u64, rules: &Rules) -> TrackedFlow {
        TrackedFlow { ways: Default::default(), swept: Now::new(now_ns, rules).tick }
    }

    /// Processes a segment that leaves by `way`. If it ends a sample, returns the age in units of the TSval
    /// that it echoes.
    pub fn segment(
        &mut self,
        way: usize,
        segment: &ModelSegment,
        now_ns: u64,
        rules: &Rules,
        counters: &mut RaisedCounters,
    ) -> Option<u32> {
        let now = Now::new(now_ns, rules);
        let [lan, wan] = &mut self.ways;
        let (own, other) = if way == 0 { (lan, wan) } else { (wan, lan) };

        if segment.syn && own.is_restarted_by(segment.tsval) {
            own.forget(counters);
            if !segment.ack {
                other.forget(counters);
            }
        }
        let edge = own.advance(segment);

        let ticks = now.tick.wrapping_sub(self.swept);
        if ticks > rules.sweep_ticks {
            self.swept = now.tick;
            let idle = ticks > rules.idle_ticks;
            own.sweep(now, idle, counters);
            other.sweep(now, idle, counters);
        }

        let echoes = segment.ack && segment.tsecr != 0;
        let sample = if echoes { other.match_echo(segment.tsecr, now, counters) } else { None };

        let opens = if segment.syn { rules.handshake } else { segment.payload > 0 };
        if edge && opens {
            own.open(segment.tsval, now, counters);
        }
        sample
    }
}

impl FlowWay {
    /// Returns whether a SYN begins a new connection. It does unless it may be a retransmission of the first
    /// SYN.
    fn is_restarted_by(&self, tsval: u32) -> bool {
        self.established || self.last.is_some_and(|last| is_after(last, tsval))
    }

    /// Forgets the old connection and counts its TSvals without an echo.
    fn forget(&mut self, counters: &mut RaisedCounters) {
        for _ in self.slots.iter().flatten() {
            counters.add("rtt_evicted");
        }
        *self = FlowWay::default();
    }

    /// Returns whether this is the first segment of a TSval (rules 3 and 4).
    fn advance(&mut self, segment: &ModelSegment) -> bool {
        self.established |= !segment.syn;
        let edge = match self.last {
            Some(last) => is_after(segment.tsval, last),
            None => segment.syn,
        };
        if edge || self.last.is_none() {
            self.last = Some(segment.tsval);
        }
        edge
    }

    /// Frees the slots that have timed out, or all slots if the flow was idle.
    fn sweep(&mut self, now: Now, idle: bool, counters: &mut RaisedCounters) {
        for slot in &mut self.slots {
            if slot.take_if(|slot| idle || slot.is_old(now)).is_some() {
                counters.add("rtt_timed_out");
            }
        }
    }

    /// Matches an echo (rules 6 and 7). It ends every TSval that is not later than the echo; at most one of
    /// them gives a sample.
    fn match_echo(&mut self, tsecr: u32, now: Now, counters: &mut RaisedCounters) -> Option<u32> {
        let mut sample = None;
        for slot in &mut self.slots {
            let Some(ended) = slot.take_if(|slot| !is_after(slot.tsval, tsecr)) else { continue };
            if ended.is_old(now) {
                counters.add("rtt_timed_out");
            } else if ended.tsval == tsecr && sample.is_none() {
                sample = Some(ended.age(now).max(1));
            } else {
                counters.add("rtt_unmatched");
            }
        }
        sample
    }

    /// Takes the first slot that is free or has timed out (rule 5).
    fn open(&mut self, tsval: u32, now: Now, counters: &mut RaisedCounters) {
        let usable = |slot: &&mut Option<Slot>| slot.is_none_or(|slot| slot.is_old(now));
        match self.slots.iter_mut().find(usable) {
            Some(slot) => {
                if slot.replace(Slot { tsval, opened: now.units }).is_some() {
                    counters.add("rtt_timed_out");
                }
            }
            None => counters.add("rtt_no_slot"),
        }
    }
}

/// Returns whether `a` is later than `b`, in 32 bits that wrap (RFC 7323, section 5.2).
fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 > 0
}

#[cfg(test)]
mod tests;
