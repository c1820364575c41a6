// SPDX-License-Identifier: GPL-2.0-only
//! The flows that are open, so that each gets an end: what TCP does not close ends for want of
//! packets. Pure; nothing here blocks the packet path, which notes by itself when it saw a flow.
//!
//! A flow is one direction of a connection. As eBPF pping has it, it ends 300 s after the opener's
//! last packet, of ICMP after 30 s. (Its third time-out, for flows that were never answered, has no
//! event: such flows never opened.) A flow whose place in the flow table another one has taken ends
//! then.

use std::collections::HashMap;

use crate::abi::{StreamEvent, StreamFlow, STREAM_ICMP_TIMEOUT_NS, STREAM_TIMEOUT_NS};

use crate::stream::event::{Event, EventKind};

/// Flows by their place in the flow table: two at most for each index, which bounds the memory.
#[derive(Debug, Default)]
pub struct OpenFlows {
    open: HashMap<Place, Open>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    index: u32,
    /// Which direction of it the opener sends in.
    opener: bool,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    opening: Event,
    tag: u64,
    /// When to look at the flow again.
    check_ns: u64,
    /// Another flow stood there when we last looked: the closing event may still have been under
    /// way.
    replaced: bool,
}

impl OpenFlows {
    /// Takes note of an event in the order of the ring buffer. An opening where another flow still
    /// stands is that one's end, which is returned.
    pub fn follow(&mut self, record: &StreamEvent, event: &Event) -> Option<Event> {
        let place = Place { index: record.flow, opener: record.opener != 0 };
        match event.kind {
            EventKind::Rtt(_) => None,
            EventKind::Opening(..) => {
                let check_ns = event.time_ns.saturating_add(lifetime_ns(event));
                let open = Open { opening: *event, tag: record.tag, check_ns, replaced: false };
                let earlier = self.open.insert(place, open)?;
                (earlier.tag != record.tag).then(|| earlier.opening.timed_out(event.time_ns))
            }
            EventKind::Closing(..) => {
                if self.open.get(&place).is_some_and(|open| open.tag == record.tag) {
                    self.open.remove(&place);
                }
                None
            }
        }
    }

    /// The flows that have ended at `now_ns` for want of packets, in the order in which they opened:
    /// a capture says the same each time. `flow` reads the programs' array.
    pub fn expired(&mut self, now_ns: u64, flow: impl Fn(u32) -> Option<StreamFlow>) -> Vec<Event> {
        let mut ended = Vec::new();
        self.open.retain(|place, open| {
            if open.check_ns > now_ns || open.lives(place, now_ns, &flow) {
                return true;
            }
            ended.push(open.opening);
            false
        });
        ended.sort_by_key(|opening| opening.time_ns);
        ended.into_iter().map(|opening| opening.timed_out(now_ns)).collect()
    }

    /// Flows that are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// No flow is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

impl Open {
    fn lives(
        &mut self,
        place: &Place,
        now_ns: u64,
        flow: impl Fn(u32) -> Option<StreamFlow>,
    ) -> bool {
        match flow(place.index).filter(|flow| flow.tag == self.tag) {
            Some(flow) => {
                let seen_ns = flow.end[usize::from(place.opener)].last_seen_ns;
                let seen_ns = seen_ns.max(self.opening.time_ns);
                self.check_ns = seen_ns.saturating_add(lifetime_ns(&self.opening));
                self.check_ns > now_ns
            }
            None if self.replaced => false,
            None => {
                // Until the next look.
                self.replaced = true;
                true
            }
        }
    }
}

fn lifetime_ns(event: &Event) -> u64 {
    match event.flow.protocol {
        1 | 58 => STREAM_ICMP_TIMEOUT_NS,
        _ => STREAM_TIMEOUT_NS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{StreamKind, StreamReason, StreamTrigger};
    use crate::stream::event::tests::{opening_record, rtt_record};

    const SECOND: u64 = 1_000_000_000;

    fn opening(index: u32, tag: u64) -> StreamEvent {
        StreamEvent { flow: index, tag, time_ns: 0, ..opening_record() }
    }

    fn closing(index: u32, tag: u64) -> StreamEvent {
        StreamEvent {
            kind: StreamKind::Closing.to_abi() as u8,
            reason: 4,
            trigger: 1,
            ..opening(index, tag)
        }
    }

    fn follow(flows: &mut OpenFlows, record: &StreamEvent) -> Option<Event> {
        flows.follow(record, &Event::from_abi(record).unwrap())
    }

    fn seen(tag: u64, ends: [u64; 2]) -> Option<StreamFlow> {
        let mut flow = StreamFlow { tag, ..StreamFlow::default() };
        flow.end[0].last_seen_ns = ends[0];
        flow.end[1].last_seen_ns = ends[1];
        Some(flow)
    }

    #[test]
    fn silence_is_the_end() {
        let mut flows = OpenFlows::default();
        assert_eq!(follow(&mut flows, &opening(1, 7)), None);
        let last = 100 * SECOND;
        let at = |flows: &mut OpenFlows, now| flows.expired(now, |_| seen(7, [last, 0]));
        assert!(at(&mut flows, 299 * SECOND).is_empty());
        assert!(at(&mut flows, 301 * SECOND).is_empty());
        assert!(at(&mut flows, 399 * SECOND).is_empty());
        let ended = at(&mut flows, 400 * SECOND);
        assert_eq!(ended.len(), 1);
        assert_eq!(ended[0].time_ns, 400 * SECOND);
        let by = StreamTrigger::Gc;
        assert_eq!(ended[0].kind, EventKind::Closing(StreamReason::Timeout, by));
        assert_eq!(ended[0].flow, Event::from_abi(&opening(1, 7)).unwrap().flow);
        assert!(flows.is_empty() && at(&mut flows, u64::MAX).is_empty());
    }

    #[test]
    fn each_direction_and_protocol_has_its_own_time() {
        let mut flows = OpenFlows::default();
        follow(&mut flows, &opening(1, 7));
        follow(&mut flows, &StreamEvent { opener: 1, ..opening(1, 7) });
        follow(&mut flows, &StreamEvent { protocol: 58, ..opening(2, 8) });
        assert_eq!(flows.len(), 3);
        let flow = |index| match index {
            1 => seen(7, [0, 100 * SECOND]),
            _ => seen(8, [0, 0]),
        };
        assert_eq!(flows.expired(31 * SECOND, flow).len(), 1);
        assert_eq!(flows.expired(301 * SECOND, flow).len(), 1);
        assert_eq!(flows.expired(401 * SECOND, flow).len(), 1);
    }

    #[test]
    fn those_that_end_together_end_in_order() {
        let mut flows = OpenFlows::default();
        for index in (0..100).rev() {
            let time_ns = u64::from(index);
            let dst_port = (index as u16).to_be();
            follow(&mut flows, &StreamEvent { time_ns, dst_port, ..opening(index, 7) });
        }
        let ended = flows.expired(400 * SECOND, |_| seen(7, [0, 0]));
        assert!(ended.iter().map(|event| event.flow.dst_port).eq(0..100));
    }

    #[test]
    fn what_is_closed_does_not_end_again() {
        let mut flows = OpenFlows::default();
        follow(&mut flows, &opening(1, 7));
        follow(&mut flows, &rtt_record());
        assert_eq!(follow(&mut flows, &closing(1, 8)), None);
        assert_eq!(flows.len(), 1);
        assert_eq!(follow(&mut flows, &closing(1, 7)), None);
        assert!(flows.is_empty());
        assert_eq!(follow(&mut flows, &closing(1, 7)), None);
    }

    #[test]
    fn a_place_that_is_taken() {
        let mut flows = OpenFlows::default();
        follow(&mut flows, &opening(1, 7));
        // Its closing may be under way when we look first.
        assert!(flows.expired(300 * SECOND, |_| seen(9, [0, 0])).is_empty());
        assert_eq!(flows.expired(301 * SECOND, |_| None).len(), 1);
        // In the ring buffer the order is certain.
        follow(&mut flows, &opening(1, 7));
        let end = follow(&mut flows, &StreamEvent { time_ns: 5, ..opening(1, 9) }).unwrap();
        assert_eq!(end.time_ns, 5);
        // The same connection once more.
        assert_eq!(follow(&mut flows, &opening(1, 9)), None);
        assert_eq!(flows.len(), 1);
    }
}
