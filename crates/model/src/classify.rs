// SPDX-License-Identifier: GPL-2.0-only
//! The two hooks: XDP steers on ingress; TC sets queue and class and measures RTTs on egress. The rules are
//! those of docs/ARCHITECTURE.md, "The packet path".

use std::collections::BTreeMap;

use crate::counter::RaisedCounters;
use crate::histogram::{ReferenceHistogram, UNIT_NS};
use crate::mapping::{Address, AddressPrefix, Assignment, AssignmentTable};
use crate::parse::{self, FrameFault, Ip, ModelSegment, Transport};
use crate::rtt::{Rules, TrackedFlow};

/// Minor of packets of this host that have no priority.
const HOST_MINOR: u32 = 3;
/// Minors that the model keeps, because another program on this host may have set them.
const KEPT_MINORS: std::ops::RangeInclusive<u32> = 3..=9;

/// The options of the loader: the fields of the BPF programs' config that change results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelConfig {
    /// Measure RTTs.
    pub rtt: bool,
    /// Let SYN and SYN-ACK open samples, too.
    pub handshake: bool,
    /// Nanoseconds of a jiffy: 1e9 / HZ.
    pub jiffy_ns: u64,
    /// Ticks of 64 jiffies after which a flow's old slots are swept.
    pub sweep_ticks: u32,
    /// Ticks of 64 jiffies after which no slot of a flow can be matched any more.
    pub idle_ticks: u32,
    /// Ticks of 64 jiffies after which TSvals that stay behind are taken up anew.
    pub resync_ticks: u32,
}

impl ModelConfig {
    /// Returns the defaults for a kernel of `hz` jiffies per second: sweep after 4 s, idle after 16 s.
    pub fn new(hz: u64) -> ModelConfig {
        let jiffy_ns = 1_000_000_000 / hz.max(1);
        let ticks = |ns: u64| (ns / (jiffy_ns * 64)) as u32;
        ModelConfig {
            rtt: true,
            handshake: false,
            jiffy_ns,
            sweep_ticks: ticks(4_000_000_000),
            idle_ticks: ticks(16_000_000_000),
            resync_ticks: ticks(1_000_000_000),
        }
    }

    fn rules(&self) -> Rules {
        Rules {
            handshake: self.handshake,
            jiffy_ns: self.jiffy_ns.max(1),
            sweep_ticks: self.sweep_ticks,
            idle_ticks: self.idle_ticks,
            resync_ticks: self.resync_ticks,
        }
    }
}

/// The side that an interface faces. The numbers are those of `map_ifindex_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facing {
    None = 0,
    Wan = 1,
    Lan = 2,
}

/// The verdict of XDP, which never drops a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Redirect { cpu: u32 },
}

/// The result of XDP for a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steered {
    pub verdict: Verdict,
    pub counter: &'static str,
    /// The subscriber's assignment, which XDP hands to TC whether it redirects the frame or not.
    pub handed_on: Option<Assignment>,
}

/// The fields of a packet that TC reads besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skb {
    /// The interface by which the packet leaves.
    pub ifindex: u32,
    /// The interface by which it came in; 0 for a packet of this host.
    pub ingress_ifindex: u32,
    pub priority: u32,
    pub cpu: u32,
}

/// The result of TC for a packet. TC passes every packet on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classified {
    pub priority: u32,
    /// The TX queue as in `map_txq_config`, counted from 1; `None` if TC does not set it.
    pub queue: Option<u16>,
    /// Names of `include/counters.def`, one per increment.
    pub counters: Vec<&'static str>,
    pub sample: Option<Sample>,
}

/// The side of the shaper whose RTT a sample is. The numbers are those of `enum side`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SampleSide {
    /// A subscriber echoed the data: the echo came in by LAN.
    Subscriber = 0,
    /// The internet echoed the data: the echo came in by WAN.
    Internet = 1,
}

/// One RTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The tc handle of the subscriber: that of the packet with the echo, or of its sender between two subscribers.
    pub handle: u32,
    pub side: SampleSide,
    /// A multiple of 8, never 0.
    pub rtt_ns: u64,
}

/// A connection: its two ends in ascending order, so that both ways have the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FlowKey {
    is_ipv6: bool,
    ends: [(Address, u16); 2],
}

/// The TX queue and HTB major of a CPU.
#[derive(Debug, Clone, Copy)]
struct Txq {
    queue: u16,
    major: u16,
}

/// Both programs, with their maps.
#[derive(Debug, Clone)]
pub struct Model {
    config: ModelConfig,
    mappings: AssignmentTable,
    directions: BTreeMap<u32, Facing>,
    txqs: BTreeMap<u32, Txq>,
    cpus: BTreeMap<u32, bool>,
    flows: BTreeMap<FlowKey, TrackedFlow>,
    histograms: BTreeMap<(u32, SampleSide), ReferenceHistogram>,
}

/// The maps, as user space reads and writes them.
impl Model {
    pub fn new(config: ModelConfig) -> Model {
        Model {
            config,
            mappings: AssignmentTable::default(),
            directions: BTreeMap::new(),
            txqs: BTreeMap::new(),
            cpus: BTreeMap::new(),
            flows: BTreeMap::new(),
            histograms: BTreeMap::new(),
        }
    }

    /// Adds or replaces a mapping. With `handle` 0 it steers and gives no class.
    pub fn map(&mut self, prefix: AddressPrefix, cpu: u32, handle: u32) {
        self.mappings.insert(prefix, Assignment { cpu, handle });
    }

    /// Removes a mapping. Returns false if there was none.
    pub fn unmap(&mut self, prefix: AddressPrefix) -> bool {
        self.mappings.remove(prefix)
    }

    /// Sets the side that an interface faces.
    pub fn direction(&mut self, ifindex: u32, direction: Facing) {
        self.directions.insert(ifindex, direction);
    }

    /// Sets the TX queue of a CPU, counted from 1 (0 for none), and its HTB major.
    pub fn txq(&mut self, cpu: u32, queue: u16, major: u16) {
        self.txqs.insert(cpu, Txq { queue, major });
    }

    /// Sets whether XDP may redirect frames to a CPU.
    pub fn cpu_available(&mut self, cpu: u32, available: bool) {
        self.cpus.insert(cpu, available);
    }

    /// Returns all samples of a tc handle and side since the model was made.
    pub fn histogram(&self, handle: u32, side: SampleSide) -> Option<&ReferenceHistogram> {
        self.histograms.get(&(handle, side))
    }

    /// Returns all samples by tc handle and side.
    pub fn histograms(&self) -> impl Iterator<Item = (u32, SampleSide, &ReferenceHistogram)> {
        self.histograms.iter().map(|(&(handle, side), histogram)| (handle, side, histogram))
    }

    /// Returns the number of flows. A fuzzer starts anew before the BPF programs' table has to evict one.
    pub fn flow_count(&self) -> usize {
        self.flows.len()
    }

    /// Returns the side that an interface faces.
    pub fn direction_of(&self, ifindex: u32) -> Facing {
        self.directions.get(&ifindex).copied().unwrap_or(Facing::None)
    }
}

/// XDP, ingress.
impl Model {
    /// Steers one frame that comes in. The result does not depend on the time, which is a parameter as in
    /// `classify`.
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

    fn subscriber_behind(&self, frame: &[u8], ifindex: u32) -> Result<Assignment, &'static str> {
        let direction = self.direction_of(ifindex);
        if direction == Facing::None {
            return Err("xdp_no_direction");
        }
        let ip = parse::network(frame).map_err(|fault| match fault {
            FrameFault::NotIp => "xdp_not_ip",
            FrameFault::Truncated => "xdp_truncated",
            FrameFault::Malformed => "xdp_malformed",
        })?;
        let subscriber = if direction == Facing::Lan { ip.source } else { ip.destination };
        self.mappings.lookup(&subscriber).ok_or("xdp_unmapped")
    }
}

/// TC, egress.
impl Model {
    /// Classifies one packet that leaves, and measures it.
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
    ) -> Result<MeasuredPacket, &'static str> {
        let direction = self.direction_of(skb.ifindex);
        if direction == Facing::None {
            return Err("tc_no_direction");
        }
        let ip = parse::network(frame).map_err(|fault| match fault {
            FrameFault::NotIp => "tc_not_ip",
            FrameFault::Truncated => "tc_truncated",
            FrameFault::Malformed => "tc_malformed",
        })?;
        let leaves_by_lan = direction == Facing::Lan;
        let address = if leaves_by_lan { ip.destination } else { ip.source };
        let Assignment { cpu, handle } = self.mappings.lookup(&address).ok_or("tc_unmapped")?;
        if cpu != skb.cpu {
            packet.counters.add("tc_wrong_cpu");
            packet.take_queue(self.txqs.get(&cpu));
        }
        if handle == 0 {
            return Err("tc_no_class");
        }
        let comes_from_lan = match self.direction_of(skb.ingress_ifindex) {
            Facing::None => !leaves_by_lan,
            ingress => ingress == Facing::Lan,
        };
        Ok(MeasuredPacket { ip, handle, leaves_by_lan, comes_from_lan })
    }

    fn measure(&mut self, frame: &[u8], of: &MeasuredPacket, now_ns: u64, packet: &mut Egress) {
        let segment = match parse::transport(frame, &of.ip) {
            Transport::ModelSegment(segment) => segment,
            Transport::Other => return,
            Transport::NoPorts => return packet.counters.add("rtt_no_ports"),
            Transport::TooDeep => return packet.counters.add("rtt_too_deep"),
            Transport::Truncated => return packet.counters.add("rtt_tcp_truncated"),
            Transport::Malformed => return packet.counters.add("rtt_tcp_malformed"),
            Transport::NoTimestamps => return packet.counters.add("rtt_no_timestamps"),
        };
        let rules = self.config.rules();
        let (key, way) = of.flow(&segment);
        if !self.flows.contains_key(&key) {
            if !rules.admit(&segment) {
                return;
            }
            packet.counters.add("rtt_flow_new");
        }
        let flow = self.flows.entry(key).or_insert_with(|| TrackedFlow::new(now_ns, &rules));
        let Some(units) = flow.segment(way, &segment, now_ns, &rules, &mut packet.counters) else {
            return;
        };
        let (side, counter) = match of.comes_from_lan {
            true => (SampleSide::Subscriber, "rtt_subscriber"),
            false => (SampleSide::Internet, "rtt_internet"),
        };
        // Between two subscribers, the sample is of the sender, and the class is the receiver's.
        let handle = if of.comes_from_lan && of.leaves_by_lan {
            self.mappings.lookup(&of.ip.source).map_or(0, |sender| sender.handle)
        } else {
            of.handle
        };
        if handle == 0 {
            return packet.counters.add("rtt_no_class");
        }
        packet.counters.add(counter);
        packet.sample = Some(Sample { handle, side, rtt_ns: u64::from(units) * UNIT_NS });
        self.histograms.entry((handle, side)).or_default().record(units);
    }
}

/// A packet with a class, whose RTT can be measured.
struct MeasuredPacket {
    ip: Ip,
    handle: u32,
    leaves_by_lan: bool,
    /// Whether it came in by LAN. An interface without a direction counts as the opposite of where it leaves.
    comes_from_lan: bool,
}

impl MeasuredPacket {
    /// Returns its flow, and whose packet it is: 0 for the end that sorts first.
    fn flow(&self, segment: &ModelSegment) -> (FlowKey, usize) {
        let source = (self.ip.source, segment.source_port);
        let destination = (self.ip.destination, segment.destination_port);
        let mut ends = [source, destination];
        ends.sort();
        // If both ends are the same, the way is that of the interface.
        let way = match source == destination {
            true => usize::from(!self.leaves_by_lan),
            false => usize::from(ends[0] != source),
        };
        (FlowKey { is_ipv6: self.ip.is_ipv6, ends }, way)
    }
}

/// The packet as TC passes it on, and its counters.
struct Egress {
    priority: u32,
    queue: Option<u16>,
    counters: RaisedCounters,
    sample: Option<Sample>,
}

impl Egress {
    fn new(skb: Skb) -> Egress {
        Egress {
            priority: skb.priority,
            queue: None,
            counters: RaisedCounters::default(),
            sample: None,
        }
    }

    /// Sets the queue to that of a CPU and returns the CPU's major. If the CPU has no queue, leaves the
    /// queue as it is and returns 0.
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

    /// Sets the major of the priority and keeps the minor. Without a major there is no class, and the
    /// priority stays as it is.
    fn set_major(&mut self, major: u16) {
        let minor = if self.priority == 0 { HOST_MINOR } else { self.priority & 0xffff };
        if major != 0 {
            self.priority = u32::from(major) << 16 | minor;
        }
    }
}

#[cfg(test)]
mod tests;
