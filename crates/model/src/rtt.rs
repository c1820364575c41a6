//! RTT of a TCP flow: a TSval that left one way ends as a sample when its echo leaves the other way.
//!
//! The rules are DESIGN.md's, 1 to 7 and 10. Order within a segment: restart, advance, sweep, match, open.

use crate::counter::Counters;
use crate::histogram::UNIT_NS;
use crate::parse::Segment;

/// TSvals awaiting their echo, a direction.
pub const SLOTS: usize = 2;
/// Rule 5: the one time-out, in units of 8 ns.
const TIMEOUT_UNITS: u32 = 1_250_000_000;
/// A flow remembers its last sweep in ticks of so many jiffies.
const TICK_JIFFIES: u64 = 64;

/// When a flow's old slots are swept, and what opens a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub handshake: bool,
    pub jiffy_ns: u64,
    pub sweep_ticks: u32,
    pub idle_ticks: u32,
}

/// The time of a packet: read once, used for everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Now {
    /// Units of 8 ns, never 0; wraps at 34 s.
    units: u32,
    /// 64 jiffies.
    tick: u32,
}

impl Now {
    fn new(now_ns: u64, rules: &Rules) -> Now {
        let units = ((now_ns / UNIT_NS) as u32).max(1);
        Now { units, tick: (now_ns / rules.jiffy_ns / TICK_JIFFIES) as u32 }
    }
}

/// A TSval awaiting its echo.
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

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Way {
    /// The last TSval: never goes back.
    last: Option<u32>,
    /// A segment without SYN was seen.
    established: bool,
    slots: [Option<Slot>; SLOTS],
}

/// One TCP connection; way 0 leaves by LAN, way 1 by WAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    ways: [Way; 2],
    swept: u32,
}

impl Flow {
    /// A flow first seen now.
    pub fn new(now_ns: u64, rules: &Rules) -> Flow {
        Flow { ways: Default::default(), swept: Now::new(now_ns, rules).tick }
    }

    /// One segment leaving by `way`; the age of the TSval that it echoes, in units, if it ends a sample.
    pub fn segment(
        &mut self,
        way: usize,
        segment: &Segment,
        now_ns: u64,
        rules: &Rules,
        counters: &mut Counters,
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

impl Way {
    /// A SYN begins a new connection unless it may be the first one's, sent again.
    fn is_restarted_by(&self, tsval: u32) -> bool {
        self.established || self.last.is_some_and(|last| is_after(last, tsval))
    }

    /// The old connection makes room for the new one; what it left unanswered is counted.
    fn forget(&mut self, counters: &mut Counters) {
        for _ in self.slots.iter().flatten() {
            counters.add("rtt_evicted");
        }
        *self = Way::default();
    }

    /// Rules 3 and 4: whether this is the first segment of a TSval.
    fn advance(&mut self, segment: &Segment) -> bool {
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

    fn sweep(&mut self, now: Now, idle: bool, counters: &mut Counters) {
        for slot in &mut self.slots {
            if slot.take_if(|slot| idle || slot.is_old(now)).is_some() {
                counters.add("rtt_timed_out");
            }
        }
    }

    /// Rules 6 and 7: an echo ends every TSval that it is not before; at most one as a sample.
    fn match_echo(&mut self, tsecr: u32, now: Now, counters: &mut Counters) -> Option<u32> {
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

    /// Rule 5: takes the first slot that is free or timed out.
    fn open(&mut self, tsval: u32, now: Now, counters: &mut Counters) {
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

/// RFC 7323, section 5.2: `a` is later than `b`, in 32 bits that wrap.
fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 > 0
}

#[cfg(test)]
mod tests;
