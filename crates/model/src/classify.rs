//! The two hooks: steering on ingress, queue, class and RTT on egress. CONTRACT.md, section 3.

use std::collections::BTreeMap;

use crate::counter::Counters;
use crate::histogram::{Histogram, UNIT_NS};
use crate::mapping::{Address, Mapping, Mappings, Prefix};
use crate::parse::{self, Fault, Ip, Segment, Transport};
use crate::rtt::{Flow, Rules};

/// Minor of this host's packets that name none.
const HOST_MINOR: u32 = 3;
/// Minors that somebody before us may have set.
const KEPT_MINORS: std::ops::RangeInclusive<u32> = 3..=9;

/// What the loader decides: the fields of the BPF side's config that change results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Measure RTTs.
    pub rtt: bool,
    /// SYN and SYN-ACK open samples too.
    pub handshake: bool,
    /// 1e9 / HZ.
    pub jiffy_ns: u64,
    /// Ticks of 64 jiffies after which a flow's old slots are swept.
    pub sweep_ticks: u32,
    /// Ticks of 64 jiffies after which none of a flow's slots can be matched any more.
    pub idle_ticks: u32,
}

impl Config {
    /// The defaults for a kernel of `hz` jiffies a second: sweep after 4 s, idle after 16 s.
    pub fn new(hz: u64) -> Config {
        let jiffy_ns = 1_000_000_000 / hz.max(1);
        let ticks = |ns: u64| (ns / (jiffy_ns * 64)) as u32;
        Config {
            rtt: true,
            handshake: false,
            jiffy_ns,
            sweep_ticks: ticks(4_000_000_000),
            idle_ticks: ticks(16_000_000_000),
        }
    }

    fn rules(&self) -> Rules {
        Rules {
            handshake: self.handshake,
            jiffy_ns: self.jiffy_ns.max(1),
            sweep_ticks: self.sweep_ticks,
            idle_ticks: self.idle_ticks,
        }
    }
}

/// What an interface faces; the numbers are `map_ifindex_type`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    None = 0,
    Wan = 1,
    Lan = 2,
}

/// Never a drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Redirect { cpu: u32 },
}

/// What XDP does with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steered {
    pub verdict: Verdict,
    pub counter: &'static str,
    /// What TC is told of the frame's subscriber, redirected or not.
    pub handed_on: Option<Mapping>,
}

/// What TC knows of a packet beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skb {
    /// Of the interface that the packet leaves by.
    pub ifindex: u32,
    /// 0: a packet of this host.
    pub ingress_ifindex: u32,
    pub priority: u32,
    pub cpu: u32,
}

/// What TC does with a packet, always passing it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classified {
    pub priority: u32,
    /// As in `map_txq_config`, counted from 1; `None`: left as it was.
    pub queue: Option<u16>,
    /// Names of `include/counters.def`, once per increment.
    pub counters: Vec<&'static str>,
    pub sample: Option<Sample>,
}

/// The numbers are those of `enum side`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Data left by LAN, the subscriber echoed it.
    Subscriber = 0,
    /// Data left by WAN, the internet echoed it.
    Internet = 1,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Of the packet with the echo.
    pub handle: u32,
    pub side: Side,
    /// A multiple of 8, never 0.
    pub rtt_ns: u64,
}

/// A connection, the same from both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FlowKey {
    is_ipv6: bool,
    subscriber: (Address, u16),
    far: (Address, u16),
}

#[derive(Debug, Clone, Copy)]
struct Txq {
    queue: u16,
    major: u16,
}

/// Both programs and their maps.
#[derive(Debug, Clone)]
pub struct Model {
    config: Config,
    mappings: Mappings,
    directions: BTreeMap<u32, Direction>,
    txqs: BTreeMap<u32, Txq>,
    cpus: BTreeMap<u32, bool>,
    flows: BTreeMap<FlowKey, Flow>,
    histograms: BTreeMap<(u32, Side), Histogram>,
}

/// The maps, as user space sees them.
impl Model {
    pub fn new(config: Config) -> Model {
        Model {
            config,
            mappings: Mappings::default(),
            directions: BTreeMap::new(),
            txqs: BTreeMap::new(),
            cpus: BTreeMap::new(),
            flows: BTreeMap::new(),
            histograms: BTreeMap::new(),
        }
    }

    /// Adds or replaces a mapping; `handle` 0 steers only.
    pub fn map(&mut self, prefix: Prefix, cpu: u32, handle: u32) {
        self.mappings.insert(prefix, Mapping { cpu, handle });
    }

    /// Removes a mapping; false if there was none.
    pub fn unmap(&mut self, prefix: Prefix) -> bool {
        self.mappings.remove(prefix)
    }

    /// Says what an interface faces.
    pub fn direction(&mut self, ifindex: u32, direction: Direction) {
        self.directions.insert(ifindex, direction);
    }

    /// Sets a CPU's TX queue, counted from 1 (0: none), and HTB major.
    pub fn txq(&mut self, cpu: u32, queue: u16, major: u16) {
        self.txqs.insert(cpu, Txq { queue, major });
    }

    /// Says whether frames may be redirected to a CPU.
    pub fn cpu_available(&mut self, cpu: u32, available: bool) {
        self.cpus.insert(cpu, available);
    }

    /// All samples of a tc handle and side since the model was made.
    pub fn histogram(&self, handle: u32, side: Side) -> Option<&Histogram> {
        self.histograms.get(&(handle, side))
    }

    /// Everything measured, by tc handle and side.
    pub fn histograms(&self) -> impl Iterator<Item = (u32, Side, &Histogram)> {
        self.histograms.iter().map(|(&(handle, side), histogram)| (handle, side, histogram))
    }

    /// Flows known; a fuzzer starts afresh before the BPF side's table would have to evict.
    pub fn flow_count(&self) -> usize {
        self.flows.len()
    }

    /// What an interface faces.
    pub fn direction_of(&self, ifindex: u32) -> Direction {
        self.directions.get(&ifindex).copied().unwrap_or(Direction::None)
    }
}

/// XDP, ingress.
impl Model {
    /// One frame in. Steering does not depend on the time; it is here for symmetry with `classify`.
    pub fn steer(&self, frame: &[u8], ifindex: u32, _now_ns: u64) -> Steered {
        let passed = |counter, handed_on| Steered { verdict: Verdict::Pass, counter, handed_on };
        match self.subscriber_behind(frame, ifindex) {
            Err(counter) => passed(counter, None),
            Ok(mapping) if !self.cpus.get(&mapping.cpu).copied().unwrap_or(false) => {
                passed("xdp_no_cpu", Some(mapping))
            }
            Ok(mapping) => Steered {
                verdict: Verdict::Redirect { cpu: mapping.cpu },
                counter: "xdp_redirected",
                handed_on: Some(mapping),
            },
        }
    }

    fn subscriber_behind(&self, frame: &[u8], ifindex: u32) -> Result<Mapping, &'static str> {
        let direction = self.direction_of(ifindex);
        if direction == Direction::None {
            return Err("xdp_no_direction");
        }
        let ip = parse::network(frame).map_err(|fault| match fault {
            Fault::NotIp => "xdp_not_ip",
            Fault::Truncated => "xdp_truncated",
            Fault::Malformed => "xdp_malformed",
        })?;
        let subscriber = if direction == Direction::Lan { ip.source } else { ip.destination };
        self.mappings.lookup(&subscriber).ok_or("xdp_unmapped")
    }
}

/// TC, egress.
impl Model {
    /// One packet out.
    pub fn classify(&mut self, frame: &[u8], skb: Skb, now_ns: u64) -> Classified {
        let mut packet = Egress::new(skb);
        self.decide(frame, skb, now_ns, &mut packet);
        Classified {
            priority: packet.priority,
            queue: packet.queue,
            counters: packet.counters.into_names(),
            sample: packet.sample,
        }
    }

    fn decide(&mut self, frame: &[u8], skb: Skb, now_ns: u64, packet: &mut Egress) {
        let major = packet.take_queue(self.txqs.get(&skb.cpu));
        if skb.ingress_ifindex == 0 {
            packet.counters.add("tc_host");
            return packet.set_major(major);
        }
        if KEPT_MINORS.contains(&(skb.priority & 0xffff)) {
            packet.counters.add("tc_priority_kept");
            return packet.set_major(major);
        }
        match self.class_of(frame, skb, packet) {
            Ok(subscriber) => {
                packet.counters.add("tc_classified");
                packet.priority = subscriber.handle;
                if self.config.rtt {
                    self.measure(frame, &subscriber, now_ns, packet);
                }
            }
            Err(counter) => packet.counters.add(counter),
        }
    }

    fn class_of(
        &self,
        frame: &[u8],
        skb: Skb,
        packet: &mut Egress,
    ) -> Result<Subscriber, &'static str> {
        let direction = self.direction_of(skb.ifindex);
        if direction == Direction::None {
            return Err("tc_no_direction");
        }
        let ip = parse::network(frame).map_err(|fault| match fault {
            Fault::NotIp => "tc_not_ip",
            Fault::Truncated => "tc_truncated",
            Fault::Malformed => "tc_malformed",
        })?;
        let leaves_by_lan = direction == Direction::Lan;
        let address = if leaves_by_lan { ip.destination } else { ip.source };
        let Mapping { cpu, handle } = self.mappings.lookup(&address).ok_or("tc_unmapped")?;
        if cpu != skb.cpu {
            packet.counters.add("tc_wrong_cpu");
            packet.take_queue(self.txqs.get(&cpu));
        }
        if handle == 0 {
            return Err("tc_no_class");
        }
        Ok(Subscriber { ip, handle, leaves_by_lan })
    }

    fn measure(&mut self, frame: &[u8], of: &Subscriber, now_ns: u64, packet: &mut Egress) {
        let segment = match parse::transport(frame, &of.ip) {
            Transport::Segment(segment) => segment,
            Transport::Other => return,
            Transport::NoPorts => return packet.counters.add("rtt_no_ports"),
            Transport::Truncated => return packet.counters.add("rtt_tcp_truncated"),
            Transport::Malformed => return packet.counters.add("rtt_tcp_malformed"),
            Transport::NoTimestamps => return packet.counters.add("rtt_no_timestamps"),
        };
        let rules = self.config.rules();
        let flow = self.flows.entry(of.flow(&segment)).or_insert_with(|| {
            packet.counters.add("rtt_flow_new");
            Flow::new(now_ns, &rules)
        });
        let way = usize::from(!of.leaves_by_lan);
        let Some(units) = flow.segment(way, &segment, now_ns, &rules, &mut packet.counters) else {
            return;
        };
        // The echo goes the other way than the data went.
        let (side, counter) = if of.leaves_by_lan {
            (Side::Internet, "rtt_internet")
        } else {
            (Side::Subscriber, "rtt_subscriber")
        };
        packet.counters.add(counter);
        packet.sample =
            Some(Sample { handle: of.handle, side, rtt_ns: u64::from(units) * UNIT_NS });
        self.histograms.entry((of.handle, side)).or_default().record(units);
    }
}

/// A packet that has a class.
struct Subscriber {
    ip: Ip,
    handle: u32,
    leaves_by_lan: bool,
}

impl Subscriber {
    fn flow(&self, segment: &Segment) -> FlowKey {
        let source = (self.ip.source, segment.source_port);
        let destination = (self.ip.destination, segment.destination_port);
        let (subscriber, far) =
            if self.leaves_by_lan { (destination, source) } else { (source, destination) };
        FlowKey { is_ipv6: self.ip.is_ipv6, subscriber, far }
    }
}

/// The packet as it will go on.
struct Egress {
    priority: u32,
    queue: Option<u16>,
    counters: Counters,
    sample: Option<Sample>,
}

impl Egress {
    fn new(skb: Skb) -> Egress {
        Egress { priority: skb.priority, queue: None, counters: Counters::default(), sample: None }
    }

    /// Sets the queue of a CPU and returns its major. Without one the queue stays as it is; major 0.
    fn take_queue(&mut self, txq: Option<&Txq>) -> u16 {
        match txq {
            Some(&Txq { queue, major }) if queue != 0 => {
                self.queue = Some(queue);
                major
            }
            _ => {
                self.counters.add("tc_no_queue");
                0
            }
        }
    }

    /// Keeps the minor. Without a major there is no class to name: the priority stays as it is.
    fn set_major(&mut self, major: u16) {
        let minor = if self.priority == 0 { HOST_MINOR } else { self.priority & 0xffff };
        if major != 0 {
            self.priority = u32::from(major) << 16 | minor;
        }
    }
}

#[cfg(test)]
mod tests;
