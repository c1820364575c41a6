// SPDX-License-Identifier: GPL-2.0-only
//! Loads: subscribers, flows, and which flows send in which tick.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The traffic that the generator sends.
#[derive(Clone, Debug)]
pub struct Load {
    /// Number of subscriber addresses, each with a mapping and a tc handle of its own.
    pub subscribers: u32,
    /// Number of TCP connections (or pairs of UDP ports) of all subscribers together.
    pub flows: u32,
    /// Segments down, and as many ACKs up, in each tick of a millisecond.
    pub per_tick: u32,
    /// Which flows send in a tick.
    pub order: Order,
    /// Ticks between a segment and its ACK. Several values divide the subscribers evenly among them.
    pub rtt_ticks: Vec<u64>,
    /// The format of the frames.
    pub shape: FrameShape,
}

/// Which flows send in a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Random flows. Divide the flows into this many equal parts: half of the segments are of the first.
    Weighted(u32),
    /// Every flow once, in an order that jumps about, then the same order again.
    Cycle,
    /// Only this flow. All its segments of a tick have the same TSval.
    One(u32),
}

/// The format of frames.
#[derive(Clone, Debug)]
pub struct FrameShape {
    /// IPv6 instead of IPv4.
    pub ipv6: bool,
    /// UDP instead of TCP.
    pub udp: bool,
    /// TCP with the timestamps option.
    pub timestamps: bool,
    /// VLAN tags as (TPID, VLAN id), the outermost first. Tagged frames are bridged, others routed.
    pub tags: Vec<(u16, u16)>,
    /// Payload bytes of a segment down.
    pub payload: usize,
}

impl Default for FrameShape {
    fn default() -> Self {
        Self { ipv6: false, udp: false, timestamps: true, tags: Vec::new(), payload: 120 }
    }
}

impl FrameShape {
    /// Returns whether the shaper is a bridge. It has no VLAN devices, so that only a bridge forwards
    /// tagged frames.
    pub fn is_bridged(&self) -> bool {
        !self.tags.is_empty()
    }

    /// Returns whether the frames have TCP timestamps, which the RTT measurement needs.
    pub fn has_timestamps(&self) -> bool {
        self.timestamps && !self.udp
    }
}

impl Load {
    /// Returns the load of many subscribers, in which half of the packets are of a sixteenth of the flows.
    pub fn live_mix() -> Self {
        Self {
            subscribers: 4000,
            flows: 20_000,
            per_tick: 60,
            order: Order::Weighted(16),
            rtt_ticks: vec![20],
            shape: FrameShape::default(),
        }
    }

    /// Returns the live mix in frames of another format.
    pub fn shaped(shape: FrameShape) -> Self {
        Self { shape, ..Self::live_mix() }
    }

    /// Returns the load of one download: 60 full segments per millisecond to a subscriber on the second
    /// CPU.
    pub fn hot_flow() -> Self {
        Self {
            subscribers: 2,
            flows: 2,
            order: Order::One(1),
            ..Self::shaped(FrameShape { payload: 1400, ..FrameShape::default() })
        }
    }

    /// Returns a load in which each packet is of another flow than the 200 000 packets before it, so that
    /// no cache helps.
    pub fn cold() -> Self {
        Self { subscribers: 50_000, flows: 200_000, order: Order::Cycle, ..Self::live_mix() }
    }

    /// Returns a load of this many flows with short and long RTTs. Each flow sends again within 10 s.
    pub fn many_flows(flows: u32) -> Self {
        Self {
            flows,
            per_tick: (flows / 500).clamp(20, 100),
            order: Order::Cycle,
            rtt_ticks: vec![20, 200],
            ..Self::live_mix()
        }
    }

    /// Returns the address of a subscriber in 16 bytes, as in the contract's maps.
    pub fn address(&self, subscriber: u32) -> [u8; 16] {
        if self.shape.ipv6 {
            return subscriber_v6(subscriber).octets();
        }
        let mut address = [0xff; 16];
        address[12..].copy_from_slice(&subscriber_v4(subscriber).octets());
        address
    }

    /// Returns the index of a subscriber's RTT in `rtt_ticks`.
    pub fn class_of(&self, subscriber: u32) -> usize {
        let classes = self.rtt_ticks.len() as u64;
        (u64::from(subscriber) * classes / u64::from(self.subscribers)) as usize
    }
}

/// Returns the IPv4 address of subscriber `index`: 100.64.0.1 + `index`.
pub fn subscriber_v4(index: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 1)) + index)
}

/// Returns the IPv6 address of subscriber `index`: fd00:64:0:INDEX::1, with a /64 for each subscriber.
pub fn subscriber_v6(index: u32) -> Ipv6Addr {
    let [high, low] = [(index >> 16) as u16, index as u16];
    Ipv6Addr::new(0xfd00, 0x64, high, low, 0, 0, 0, 1)
}

/// Returns the class of subscriber `index`: the major is CPU + 1, the minors start at 0x10 (3 to 9 are
/// special). Beyond 65 000 subscribers on a CPU, the minors repeat.
pub fn tc_handle(index: u32, cpus: u32) -> u32 {
    ((index % cpus + 1) << 16) | (0x10 + index / cpus % 0xffe0)
}

/// A small and fast random number generator (xorshift64*). It gives the same numbers in every run.
#[derive(Clone, Debug)]
pub struct LoadRandom(u64);

impl LoadRandom {
    /// Makes a generator with a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns 64 random bits.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Returns a random number below `end`.
    pub fn below(&mut self, end: u32) -> u32 {
        (((self.next() >> 32) * u64::from(end)) >> 32) as u32
    }
}

/// One flow: its ends and its clocks.
#[derive(Clone, Debug)]
pub struct LoadFlow {
    /// Index of the subscriber.
    pub subscriber: u32,
    /// Number from which the address on the internet is made.
    pub remote: u32,
    /// The subscriber's port.
    pub port: u16,
    /// TSval of the internet's end at tick 0.
    pub clock_down: u32,
    /// TSval of the subscriber's end at tick 0.
    pub clock_up: u32,
    /// Tick + 1 of the last segment up; 0 if there was none.
    pub last_up: u64,
    /// Tick + 1 of the last segment down; 0 if there was none.
    pub last_down: u64,
    /// Sequence number of the next segment down.
    pub bytes_down: u32,
}

/// A segment to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shot {
    /// Index of the flow.
    pub flow: u32,
    /// Whether its ACK can end a sample: it is the first segment of its TSval, which is not the flow's
    /// first TSval.
    pub opens: bool,
}

/// All flows, and the state from which the next one is picked.
pub struct LoadFlows {
    /// The flows by index.
    pub all: Vec<LoadFlow>,
    load: Load,
    random: LoadRandom,
    /// For [`Order::Cycle`]: the present flow, and the step to the next one.
    position: u64,
    stride: u64,
}

impl LoadFlows {
    /// Makes the flows of a load, the same in every run.
    pub fn new(load: &Load) -> Self {
        let mut random = LoadRandom::new(7);
        let all = (0..load.flows)
            .map(|index| LoadFlow {
                subscriber: index % load.subscribers,
                remote: random.below(1 << 17),
                port: 1024 + (index / load.subscribers) as u16,
                clock_down: random.next() as u32,
                clock_up: random.next() as u32,
                last_up: 0,
                last_down: 0,
                bytes_down: random.next() as u32,
            })
            .collect();
        let stride = stride(u64::from(load.flows));
        Self { all, load: load.clone(), random, position: 0, stride }
    }

    /// Draws the flows that send in `tick` into `list`. Several segments of one flow share a TSval; only the
    /// first of them can open a sample.
    pub fn draw(&mut self, tick: u64, list: &mut Vec<Shot>) {
        list.clear();
        let measured = self.load.shape.has_timestamps();
        while list.len() < self.load.per_tick as usize {
            let index = self.pick(list.len());
            let flow = &mut self.all[index as usize];
            let (first, again) = (flow.last_down == 0, flow.last_down == tick + 1);
            if again && !matches!(self.load.order, Order::One(_)) {
                continue;
            }
            flow.last_down = tick + 1;
            list.push(Shot { flow: index, opens: measured && !first && !again });
        }
    }

    fn pick(&mut self, place: usize) -> u32 {
        let flows = self.load.flows;
        match self.load.order {
            Order::One(index) => index,
            Order::Cycle => {
                self.position = (self.position + self.stride) % u64::from(flows);
                self.position as u32
            }
            Order::Weighted(parts) => {
                let heavy = flows / parts;
                match place % 2 {
                    0 => self.random.below(heavy),
                    _ => heavy + self.random.below(flows - heavy),
                }
            }
        }
    }
}

/// Returns a step, near the golden ratio, that has no common divisor with `count`. Repeated steps then
/// visit every number below `count` before the first one again.
fn stride(count: u64) -> u64 {
    let divisor = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    (count * 618 / 1000 + 1..).find(|step| divisor(*step, count) == 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn draw(load: &Load, ticks: u64) -> Vec<Vec<Shot>> {
        let mut flows = LoadFlows::new(load);
        let one = |tick| {
            let mut list = Vec::new();
            flows.draw(tick, &mut list);
            list
        };
        (0..ticks).map(one).collect()
    }

    #[test]
    fn no_flow_sends_two_tsvals_in_a_tick_and_half_the_packets_are_heavy() {
        let drawn = draw(&Load::live_mix(), 500);
        for list in &drawn {
            assert_eq!(list.len(), 60);
            assert_eq!(list.iter().map(|shot| shot.flow).collect::<BTreeSet<_>>().len(), 60);
        }
        let heavy = drawn.iter().flatten().filter(|shot| shot.flow < 20_000 / 16).count();
        assert!((14_500..15_500).contains(&heavy), "{heavy} of 30000");
    }

    #[test]
    fn the_first_segment_of_a_flow_opens_nothing() {
        let mut seen = BTreeSet::new();
        for shot in draw(&Load::live_mix(), 500).into_iter().flatten() {
            assert_eq!(shot.opens, !seen.insert(shot.flow), "{}", shot.flow);
        }
    }

    #[test]
    fn a_cycle_visits_every_flow_once() {
        for flows in [10_000, 200_000, 1_000_000] {
            let load = Load::many_flows(flows);
            let round = u64::from(flows / load.per_tick);
            let drawn = draw(&load, 2 * round);
            for (half, opens) in drawn.chunks(round as usize).zip([false, true]) {
                let shots: Vec<_> = half.iter().flatten().collect();
                let all: BTreeSet<_> = shots.iter().map(|shot| shot.flow).collect();
                assert_eq!(all.len(), flows as usize);
                assert!(shots.iter().all(|shot| shot.opens == opens));
            }
        }
    }

    #[test]
    fn a_hot_flow_opens_one_sample_a_tick() {
        let drawn = draw(&Load::hot_flow(), 3);
        let opens = drawn
            .iter()
            .map(|list| list.iter().filter(|shot| shot.opens).count())
            .collect::<Vec<_>>();
        assert_eq!(opens, [0, 1, 1]);
        assert!(drawn.iter().flatten().all(|shot| shot.flow == 1));
    }

    #[test]
    fn without_timestamps_nothing_opens() {
        for shape in [
            FrameShape { udp: true, ..FrameShape::default() },
            FrameShape { timestamps: false, ..FrameShape::default() },
        ] {
            let drawn = draw(&Load::shaped(shape), 500);
            assert!(drawn.iter().flatten().all(|shot| !shot.opens));
        }
    }

    #[test]
    fn rtts_are_divided_evenly_among_the_subscribers() {
        let load = Load::many_flows(10_000);
        let long = (0..load.subscribers).filter(|index| load.class_of(*index) == 1).count();
        assert_eq!(long, 2000);
        assert_eq!(Load::live_mix().class_of(3999), 0);
    }

    #[test]
    fn handles_differ_and_keep_their_cpu() {
        let handles: BTreeSet<_> = (0..50_000).map(|index| tc_handle(index, 2)).collect();
        assert_eq!(handles.len(), 50_000);
        assert!((0..1_000_000).all(|index| tc_handle(index, 2) >> 16 == index % 2 + 1));
        assert!((0..1_000_000).all(|index| tc_handle(index, 2) & 0xffff >= 0x10));
    }
}
