//! Who talks: subscribers, flows, and which flows send in which tick.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A load: what the generator sends.
#[derive(Clone, Debug)]
pub struct Load {
    /// Addresses that talk, each with a mapping and a tc handle of its own.
    pub subscribers: u32,
    /// TCP connections (or pairs of UDP ports) over all subscribers.
    pub flows: u32,
    /// Segments down, and as many ACKs up, in one tick of a millisecond.
    pub per_tick: u32,
    /// Which flows send in a tick.
    pub order: Order,
    /// Ticks between a segment and its ACK. Several: the subscribers are divided evenly among them.
    pub rtt_ticks: Vec<u64>,
    /// What the frames look like.
    pub shape: Shape,
}

/// Which flows send in a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// At random; half of the segments are of the first of this many parts of the flows.
    Weighted(u32),
    /// Every flow once, in an order that jumps about, then all over again.
    Cycle,
    /// All segments are of this flow: those of a tick share one TSval.
    One(u32),
}

/// What frames look like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// IPv6 instead of IPv4.
    pub ipv6: bool,
    /// UDP instead of TCP.
    pub udp: bool,
    /// TCP carries the timestamps option.
    pub timestamps: bool,
    /// VLAN tags as (TPID, VLAN id), the outermost first. Tagged frames are bridged, others routed.
    pub tags: Vec<(u16, u16)>,
    /// Payload bytes of a segment down.
    pub payload: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self { ipv6: false, udp: false, timestamps: true, tags: Vec::new(), payload: 120 }
    }
}

impl Shape {
    /// The shaper has no VLAN devices: tagged frames pass through a bridge.
    pub fn is_bridged(&self) -> bool {
        !self.tags.is_empty()
    }

    /// There is something to measure an RTT by.
    pub fn has_timestamps(&self) -> bool {
        self.timestamps && !self.udp
    }
}

impl Load {
    /// Many subscribers of an evening: half of the packets are of a sixteenth of the flows.
    pub fn live_mix() -> Self {
        Self {
            subscribers: 4000,
            flows: 20_000,
            per_tick: 60,
            order: Order::Weighted(16),
            rtt_ticks: vec![20],
            shape: Shape::default(),
        }
    }

    /// The live mix in other frames.
    pub fn shaped(shape: Shape) -> Self {
        Self { shape, ..Self::live_mix() }
    }

    /// One download: full segments, 60 a millisecond, of a subscriber on the second CPU.
    pub fn hot_flow() -> Self {
        Self {
            subscribers: 2,
            flows: 2,
            order: Order::One(1),
            ..Self::shaped(Shape { payload: 1400, ..Shape::default() })
        }
    }

    /// Every packet is of another flow than the last 200 000: no cache helps.
    pub fn cold() -> Self {
        Self { subscribers: 50_000, flows: 200_000, order: Order::Cycle, ..Self::live_mix() }
    }

    /// This many flows with short and long RTTs, each seen again within 10 s.
    pub fn many_flows(flows: u32) -> Self {
        Self {
            flows,
            per_tick: (flows / 500).clamp(20, 100),
            order: Order::Cycle,
            rtt_ticks: vec![20, 200],
            ..Self::live_mix()
        }
    }

    /// The RTT of a subscriber: its place in `rtt_ticks`.
    pub fn class_of(&self, subscriber: u32) -> usize {
        let classes = self.rtt_ticks.len() as u64;
        (u64::from(subscriber) * classes / u64::from(self.subscribers)) as usize
    }
}

/// Address of subscriber `index`: 100.64.0.1 and on.
pub fn subscriber_v4(index: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 1)) + index)
}

/// Address of subscriber `index`: fd00:64:0:INDEX::1, a /64 each.
pub fn subscriber_v6(index: u32) -> Ipv6Addr {
    let [high, low] = [(index >> 16) as u16, index as u16];
    Ipv6Addr::new(0xfd00, 0x64, high, low, 0, 0, 0, 1)
}

/// Its class: major = CPU + 1, minors from 0x10 (3 to 9 are special). Beyond 65 000 subscribers a CPU
/// the minors begin again.
pub fn tc_handle(index: u32, cpus: u32) -> u32 {
    ((index % cpus + 1) << 16) | (0x10 + index / cpus % 0xffe0)
}

/// Small, fast and the same in every run.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts with a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u32) -> u32 {
        (((self.next() >> 32) * u64::from(end)) >> 32) as u32
    }
}

/// One flow: where it goes, and its clocks.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Whose it is.
    pub subscriber: u32,
    /// Picks the address on the internet.
    pub remote: u32,
    /// The subscriber's port.
    pub port: u16,
    /// TSval of the internet's end at tick 0.
    pub clock_down: u32,
    /// TSval of the subscriber's end at tick 0.
    pub clock_up: u32,
    /// Tick + 1 of the last segment up; 0: none.
    pub last_up: u64,
    /// Tick + 1 of the last segment down; 0: none.
    pub last_down: u64,
    /// Its sequence number.
    pub bytes_down: u32,
}

/// A segment that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shot {
    /// Index of the flow.
    pub flow: u32,
    /// It carries a TSval of its own, and not the flow's first: its ACK can end a sample.
    pub opens: bool,
}

/// All flows and the dice that pick them.
pub struct Flows {
    /// By index.
    pub all: Vec<Flow>,
    load: Load,
    random: Random,
    /// Of [`Order::Cycle`]: where it is, and how far it jumps.
    position: u64,
    stride: u64,
}

impl Flows {
    /// The flows of a load: the same in every run.
    pub fn new(load: &Load) -> Self {
        let mut random = Random::new(7);
        let all = (0..load.flows)
            .map(|index| Flow {
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

    /// The flows that send in `tick`. Of several segments of one flow, which share a TSval, the first opens.
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

/// A step that visits all of `count` before it comes back: near the golden ratio, without a common divisor.
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
        let mut flows = Flows::new(load);
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
            Shape { udp: true, ..Shape::default() },
            Shape { timestamps: false, ..Shape::default() },
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
