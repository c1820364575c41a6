// SPDX-License-Identifier: GPL-2.0-only
//! The flows that are open, so that each gets a closing event: a flow that no FIN or RST closes
//! ends by a time-out. Does no I/O: the packet path itself notes when it last saw a flow, and
//! nothing here blocks it.
//!
//! A flow is one direction of a connection. The time-outs are those of the eBPF pping: a flow ends
//! 300 s after the opener's last packet, an ICMP flow after 30 s. (The eBPF pping's third time-out,
//! for flows that were never answered, has no event here: such a flow never opened.) A flow also
//! ends when another flow takes its place in the flow table.

use std::collections::HashMap;

use crate::abi::{StreamEvent, StreamFlow, STREAM_ICMP_TIMEOUT_NS, STREAM_TIMEOUT_NS};
use crate::stream::event::{Event, EventKind};

/// The open flows by their place in the flow table. Each index has at most two, one for each
/// direction, which bounds the memory.
#[derive(Debug, Default)]
pub struct OpenFlows {
    open: HashMap<FlowPlace, OpenFlow>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FlowPlace {
    /// Index in the flow table.
    index: u32,
    /// Index, as 0 or 1, of the end in [`StreamFlow::end`] that opened this direction.
    opener: bool,
}

#[derive(Clone, Copy, Debug)]
struct OpenFlow {
    opening: Event,
    /// Time at which it opened, on the source's clock.
    opened_ns: u64,
    /// Hash of the connection: tells whether the place still holds this flow.
    tag: u64,
    /// Time at which the flow ends unless the opener has sent a packet since.
    check_ns: u64,
    /// Whether another flow held the place at the last check. This flow's closing event may still
    /// have been in the ring buffer then.
    replaced: bool,
}

impl OpenFlows {
    /// Notes an event; call it in the order of the ring buffer. `now_ns` is the time of the source's
    /// clock: an event of a capture can bear any time. If the event opens a flow in the place of
    /// another one that is still open, returns the closing event of that other flow.
    pub fn follow(&mut self, record: &StreamEvent, event: &Event, now_ns: u64) -> Option<Event> {
        let place = FlowPlace { index: record.flow, opener: record.opener != 0 };
        match event.kind {
            EventKind::Rtt(_) => None,
            EventKind::Opening(..) => {
                let (tag, opened_ns) = (record.tag, event.time_ns.min(now_ns));
                let check_ns = opened_ns.saturating_add(lifetime_ns(event));
                let open = OpenFlow { opening: *event, opened_ns, tag, check_ns, replaced: false };
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

    /// Removes the flows that have timed out at `now_ns` and returns their closing events, in the
    /// order in which the flows opened, so that a capture gives the same text each time. `flow`
    /// reads an entry of the flow table.
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

    /// Returns the number of open flows.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Tells whether no flow is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

impl OpenFlow {
    /// Tells whether the flow is still open at `now_ns`, and sets the time of the next check.
    fn lives(
        &mut self,
        place: &FlowPlace,
        now_ns: u64,
        flow: impl Fn(u32) -> Option<StreamFlow>,
    ) -> bool {
        match flow(place.index).filter(|flow| flow.tag == self.tag) {
            Some(flow) => {
                let seen_ns = flow.end[usize::from(place.opener)].last_seen_ns;
                let seen_ns = seen_ns.max(self.opened_ns);
                self.check_ns = seen_ns.saturating_add(lifetime_ns(&self.opening));
                self.check_ns > now_ns
            }
            None if self.replaced => false,
            None => {
                // Its closing event may be in the ring buffer: wait until the next check.
                self.replaced = true;
                true
            }
        }
    }
}

/// Returns how long a flow lives after the opener's last packet.
fn lifetime_ns(event: &Event) -> u64 {
    const IPPROTO_ICMP: u8 = 1;
    const IPPROTO_ICMPV6: u8 = 58;
    match event.flow.protocol {
        IPPROTO_ICMP | IPPROTO_ICMPV6 => STREAM_ICMP_TIMEOUT_NS,
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
        flows.follow(record, &Event::from_abi(record).unwrap(), u64::MAX)
    }

    fn seen(tag: u64, ends: [u64; 2]) -> Option<StreamFlow> {
        let mut flow = StreamFlow { tag, ..StreamFlow::default() };
        flow.end[0].last_seen_ns = ends[0];
        flow.end[1].last_seen_ns = ends[1];
        Some(flow)
    }

    #[test]
    fn a_silent_flow_times_out_once() {
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
    fn each_direction_and_protocol_has_its_own_time_out() {
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
    fn flows_that_time_out_together_end_in_the_order_they_opened() {
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
    fn a_closed_flow_does_not_time_out() {
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
    fn a_flow_whose_place_is_taken_ends() {
        let mut flows = OpenFlows::default();
        follow(&mut flows, &opening(1, 7));
        // At the first check its closing event may still be in the ring buffer.
        assert!(flows.expired(300 * SECOND, |_| seen(9, [0, 0])).is_empty());
        assert_eq!(flows.expired(301 * SECOND, |_| None).len(), 1);
        // An opening of another flow comes after every event of the first: it ends at once.
        follow(&mut flows, &opening(1, 7));
        let end = follow(&mut flows, &StreamEvent { time_ns: 5, ..opening(1, 9) }).unwrap();
        assert_eq!(end.time_ns, 5);
        // The same connection opens again: it does not replace itself.
        assert_eq!(follow(&mut flows, &opening(1, 9)), None);
        assert_eq!(flows.len(), 1);
    }
}
