//! Who talks: subscribers, flows, and which flows send in which tick.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A load.
#[derive(Clone, Debug)]
pub struct Load {
    pub subscribers: u32,
    pub flows: u32,
    /// Segments down and up, each, in one tick of a millisecond.
    pub per_tick: u32,
    /// Half of the packets are of the first `flows / heavy_share` flows; 1: all alike.
    pub heavy_share: u32,
    /// Ticks between a segment and its ACK.
    pub rtt_ticks: u64,
    /// Every tick sends segments of one flow only (several with the same TSval).
    pub one_flow: bool,
    pub shape: Shape,
}

impl Load {
    /// The live mix of issue 3.
    pub fn live_mix() -> Self {
        Self {
            subscribers: 4000,
            flows: 20_000,
            per_tick: 60,
            heavy_share: 16,
            rtt_ticks: 20,
            one_flow: false,
            shape: Shape::default(),
        }
    }
}

/// What frames look like.
#[derive(Clone, Debug)]
pub struct Shape {
    pub ipv6: bool,
    pub udp: bool,
    pub timestamps: bool,
    /// VLAN tags as (TPID, VLAN id), the outermost first.
    pub tags: Vec<(u16, u16)>,
    /// Payload bytes of a segment down.
    pub payload: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self { ipv6: false, udp: false, timestamps: true, tags: Vec::new(), payload: 120 }
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

/// Its class: major = CPU + 1, minors from 0x10 (3 to 9 are special).
pub fn tc_handle(index: u32, cpus: u32) -> u32 {
    ((index % cpus + 1) << 16) | (0x10 + index / cpus)
}

/// Small, fast and the same in every run.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: u32) -> u32 {
        (((self.next() >> 32) * u64::from(end)) >> 32) as u32
    }
}

/// One flow: where it goes, and its clocks.
#[derive(Clone, Debug)]
pub struct Flow {
    pub subscriber: u32,
    /// Picks the address on the internet.
    pub remote: u32,
    pub port: u16,
    /// TSval of the ends at tick 0.
    pub clock_down: u32,
    pub clock_up: u32,
    /// Tick + 1 of the last segment up; 0: none.
    pub last_up: u64,
    /// Tick + 1 of the last segment down.
    pub last_down: u64,
    pub bytes_down: u32,
}

/// All flows and the dice that pick them.
pub struct Flows {
    pub all: Vec<Flow>,
    load: Load,
    random: Random,
}

impl Flows {
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
        Self { all, load: load.clone(), random }
    }

    /// The flows that send in `tick`, none twice (a TSval is sent once).
    pub fn draw(&mut self, tick: u64, list: &mut Vec<u32>) {
        list.clear();
        if self.load.one_flow {
            list.resize(self.load.per_tick as usize, 0);
            return;
        }
        let heavy = self.load.flows / self.load.heavy_share;
        while list.len() < self.load.per_tick as usize {
            let half = self.load.heavy_share > 1 && list.len() % 2 == 0;
            let index = match half {
                true => self.random.below(heavy),
                false if self.load.heavy_share > 1 => {
                    heavy + self.random.below(self.load.flows - heavy)
                }
                false => self.random.below(self.load.flows),
            };
            let flow = &mut self.all[index as usize];
            if flow.last_down != tick + 1 {
                flow.last_down = tick + 1;
                list.push(index);
            }
        }
    }
}
