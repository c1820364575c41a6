// SPDX-License-Identifier: GPL-2.0-only
//! RTTs of a TCP flow: a TSval that leaves one way gives a sample when its echo leaves the other way.
//!
//! The rules are 1 to 7 and 10 of the list in bpf/rtt.h. Order within a segment: restart, advance, sweep, match, open.
//! A flow that has ended is kept: the table of the BPF programs only lets others take its place.

use crate::counter::RaisedCounters;
use crate::histogram::UNIT_NS;
use crate::parse::ModelSegment;

/// TSvals per direction that can wait for their echo.
pub const SLOTS: usize = 2;
/// The time-out of rule 5, in units of 8 ns.
const TIMEOUT_UNITS: u32 = 1_250_000_000;
/// Jiffies of a tick, the unit in which a flow stores the time of its last sweep.
const TICK_JIFFIES: u64 = 64;

/// Segments in a row behind the last TSval that make a direction begin anew (rule 3).
const RESYNC_SEGMENTS: u32 = 4;
/// Two TSvals behind the last one agree if the second, in units of 2^16, is less than this after the first.
const AGREEMENT: u16 = 0x1000;

/// When old slots of a flow are swept, and which segments open a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub handshake: bool,
    pub jiffy_ns: u64,
    pub sweep_ticks: u32,
    pub idle_ticks: u32,
    /// A direction begins anew after more ticks than these behind its last TSval. A clock that goes back by
    /// at least two more is noticed.
    pub resync_ticks: u32,
}

impl Rules {
    /// Returns whether a segment enters a flow that is not known yet: a SYN alone only where handshakes are
    /// measured, and otherwise data and the answer to a SYN.
    pub fn admit(&self, segment: &ModelSegment) -> bool {
        self.handshake || if segment.syn { segment.ack } else { segment.payload > 0 }
    }
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

    /// Whether its time is after `now`, by less than 2 s.
    fn is_ahead(&self, now: Now) -> bool {
        self.age(now) >= 0u32.wrapping_sub(1 << 28)
    }

    fn is_old(&self, now: Now) -> bool {
        self.age(now) > TIMEOUT_UNITS && !self.is_ahead(now)
    }
}

/// Segments in a row whose TSval was before the last one of their direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Behind {
    segments: u32,
    /// The low 8 bits of the tick of the first.
    since: u8,
    /// The high half of the latest one's TSval.
    latest: u16,
}

/// The state of one direction of a flow.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct FlowWay {
    /// The latest TSval.
    last: Option<u32>,
    /// Whether a segment without SYN was seen.
    established: bool,
    /// Whether the flow was idle since the last segment, so that any TSval may be the next.
    stale: bool,
    behind: Option<Behind>,
    slots: [Option<Slot>; SLOTS],
}

/// One TCP connection. Way 0 is what the end sends that sorts first, way 1 what the other sends.
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

    /// Processes a segment of `way`. If it ends a sample, returns the age in units of the TSval that it
    /// echoes.
    pub fn segment(
        &mut self,
        way: usize,
        segment: &ModelSegment,
        now_ns: u64,
        rules: &Rules,
        counters: &mut RaisedCounters,
    ) -> Option<u32> {
        let now = Now::new(now_ns, rules);
        let [first, second] = &mut self.ways;
        let (own, other) = if way == 0 { (first, second) } else { (second, first) };

        if segment.syn {
            restart(own, other, segment, counters);
        }
        let unswept = now.tick.wrapping_sub(self.swept) as i32;
        let idle = unswept > rules.idle_ticks as i32;
        if idle {
            own.stale = true;
            other.stale = other.last.is_some();
        }
        let edge = own.advance(segment, now, rules, counters);

        let back = unswept < -(rules.resync_ticks as i32) - 1;
        if back || unswept > rules.sweep_ticks as i32 {
            self.swept = now.tick;
            for way in [&mut *own, &mut *other] {
                way.sweep(
                    now,
                    idle || back,
                    if back { "rtt_clock_back" } else { "rtt_timed_out" },
                    counters,
                );
            }
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

/// A SYN begins a new connection, unless it may be a retransmission of the first SYN. The answer to a SYN also
/// says the first TSval of the other way, if that is not known.
fn restart(
    own: &mut FlowWay,
    other: &mut FlowWay,
    segment: &ModelSegment,
    counters: &mut RaisedCounters,
) {
    if own.established || own.last.is_some_and(|last| is_after(last, segment.tsval)) {
        own.forget(counters);
        if !segment.ack || other.established {
            other.forget(counters);
        }
    }
    if segment.ack && segment.tsecr != 0 && other.last.is_none() {
        *other = FlowWay { last: Some(segment.tsecr), ..FlowWay::default() };
    }
}

impl FlowWay {
    /// Forgets the old connection and counts its TSvals without an echo.
    fn forget(&mut self, counters: &mut RaisedCounters) {
        self.drop_slots(counters);
        *self = FlowWay::default();
    }

    /// Returns whether this is the first segment of a TSval (rules 3 and 4).
    fn advance(
        &mut self,
        segment: &ModelSegment,
        now: Now,
        rules: &Rules,
        counters: &mut RaisedCounters,
    ) -> bool {
        let stale = std::mem::take(&mut self.stale);
        let behind = self.behind.take();
        self.established |= !segment.syn;
        let Some(last) = self.last else {
            self.last = Some(segment.tsval);
            return segment.syn;
        };
        if segment.tsval == last {
            return false;
        }
        if is_after(segment.tsval, last) || stale {
            self.last = Some(segment.tsval);
            return is_after(segment.tsval, last);
        }
        let behind = Behind::after(behind, segment.tsval, now);
        if behind.is_enough(now, rules) {
            counters.add("rtt_resynced");
            self.drop_slots(counters);
            self.last = Some(segment.tsval);
        } else {
            self.behind = Some(behind);
        }
        false
    }

    /// Frees the slots that have timed out, or all slots.
    fn sweep(&mut self, now: Now, all: bool, reason: &'static str, counters: &mut RaisedCounters) {
        for slot in &mut self.slots {
            if slot.take_if(|slot| all || slot.is_old(now)).is_some() {
                counters.add(reason);
            }
        }
    }

    /// Frees all slots and counts their TSvals.
    fn drop_slots(&mut self, counters: &mut RaisedCounters) {
        for slot in &mut self.slots {
            if slot.take().is_some() {
                counters.add("rtt_evicted");
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
                if ended.is_ahead(now) {
                    counters.add("rtt_clock_back");
                } else {
                    sample = Some(ended.age(now).max(1));
                }
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

impl Behind {
    /// Adds a segment to the row. One that does not agree with the last begins a new row.
    fn after(row: Option<Behind>, tsval: u32, now: Now) -> Behind {
        let latest = (tsval >> 16) as u16;
        match row {
            Some(row) if latest.wrapping_sub(row.latest) < AGREEMENT => {
                Behind { segments: (row.segments + 1).min(15), latest, ..row }
            }
            _ => Behind { segments: 1, since: now.tick as u8, latest },
        }
    }

    fn is_enough(&self, now: Now, rules: &Rules) -> bool {
        let ticks = (now.tick as u8).wrapping_sub(self.since);
        self.segments >= RESYNC_SEGMENTS && u32::from(ticks) > rules.resync_ticks
    }
}

/// Returns whether `a` is later than `b`, in 32 bits that wrap (RFC 7323, section 5.2).
fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 > 0
}

#[cfg(test)]
mod tests;
