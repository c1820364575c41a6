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
    /// Frames begin with the IP header.
    pub no_link_header: bool,
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
            no_link_header: false,
            jiffy_ns,
            sweep_ticks: ticks(4_000_000_000),
            idle_ticks: ticks(16_000_000_000),
            resync_ticks: ticks(1_000_000_000),
        }
    }

    fn network(&self, frame: &[u8]) -> Result<Ip, FrameFault> {
        match self.no_link_header {
            true => parse::bare_network(frame),
            false => parse::network(frame),
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
    /// What XDP hands to TC, whether it redirects the frame or not.
    pub handed_on: Option<HandedOn>,
}

/// What XDP found out about a frame. TC needs it only as long as the subscriber's address stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandedOn {
    /// The subscriber's assignment, or none.
    pub assignment: Option<Assignment>,
    pub address: Address,
    /// The subscriber's TCP port; 0 for another protocol, a later fragment, or behind IPv6 extension headers.
    pub port: u16,
    /// The side that the frame came in by.
    pub direction: Facing,
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

/// An end of a connection.
type End = (Address, u16);

/// A connection; both ways have the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum FlowKey {
    /// Its ends in ascending order.
    Plain { is_ipv6: bool, ends: [End; 2] },
    /// Through NAT on this host: the far end, and the near end on the LAN side and on the WAN side.
    Translated { is_ipv6: bool, far: End, near: [End; 2] },
    /// Between two subscribers through NAT: the senders of both ways as they came in, in ascending order.
    Between { is_ipv6: bool, ends: [End; 2] },
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
        let (verdict, counter, handed_on) = match self.subscriber_behind(frame, ifindex) {
            Err(counter) => (Verdict::Pass, counter, None),
            Ok(found) => {
                let (verdict, counter) = self.verdict_for(found.assignment);
                (verdict, counter, Some(found))
            }
        };
        Steered { verdict, counter, handed_on }
    }

    fn verdict_for(&self, assignment: Option<Assignment>) -> (Verdict, &'static str) {
        match assignment {
            None => (Verdict::Pass, "xdp_unmapped"),
            Some(Assignment { cpu, .. }) if self.cpus.get(&cpu) == Some(&true) => {
                (Verdict::Redirect { cpu }, "xdp_redirected")
            }
            Some(_) => (Verdict::Pass, "xdp_no_cpu"),
        }
    }

    fn subscriber_behind(&self, frame: &[u8], ifindex: u32) -> Result<HandedOn, &'static str> {
        let direction = self.direction_of(ifindex);
        if direction == Facing::None {
            return Err("xdp_no_direction");
        }
        let ip = self.config.network(frame).map_err(|fault| match fault {
            FrameFault::NotIp => "xdp_not_ip",
            FrameFault::Truncated => "xdp_truncated",
            FrameFault::Malformed => "xdp_malformed",
        })?;
        let ports = parse::tcp_ports(frame, &ip).unwrap_or_default();
        let (address, port) = match direction {
            Facing::Lan => (ip.source, ports.0),
            _ => (ip.destination, ports.1),
        };
        Ok(HandedOn { assignment: self.mappings.lookup(&address), address, port, direction })
    }
}

/// TC, egress.
impl Model {
    /// Classifies one packet that leaves, and measures it.
    pub fn classify(&mut self, frame: &[u8], skb: Skb, now_ns: u64) -> Classified {
        self.classify_forwarded(frame, skb, None, now_ns)
    }

    /// Does the same for a packet of which XDP has handed something on.
    pub fn classify_forwarded(
        &mut self,
        frame: &[u8],
        skb: Skb,
        handed_on: Option<HandedOn>,
        now_ns: u64,
    ) -> Classified {
        let mut packet = Egress::new(skb, handed_on);
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
        match self.network(frame, skb) {
            Ok((ip, leaves_by_lan)) => self.forward(frame, skb, ip, leaves_by_lan, now_ns, packet),
            Err(counter) => packet.counters.add(counter),
        }
    }

    /// Reads the network header. Returns it, and whether the packet leaves by LAN.
    fn network(&self, frame: &[u8], skb: Skb) -> Result<(Ip, bool), &'static str> {
        let direction = self.direction_of(skb.ifindex);
        if direction == Facing::None {
            return Err("tc_no_direction");
        }
        let ip = self.config.network(frame).map_err(|fault| match fault {
            FrameFault::NotIp => "tc_not_ip",
            FrameFault::Truncated => "tc_truncated",
            FrameFault::Malformed => "tc_malformed",
        })?;
        Ok((ip, direction == Facing::Lan))
    }

    /// Classifies a packet of a subscriber, and measures it.
    fn forward(
        &mut self,
        frame: &[u8],
        skb: Skb,
        ip: Ip,
        leaves_by_lan: bool,
        now_ns: u64,
        packet: &mut Egress,
    ) {
        let address = if leaves_by_lan { ip.destination } else { ip.source };
        let translated = packet.translated(&ip, self.direction_of(skb.ifindex));
        if translated.is_some() {
            packet.counters.add("tc_translated");
        }
        let class = self.class_of(&address, skb.cpu, packet);
        packet.counters.add(class.err().unwrap_or("tc_classified"));
        packet.priority = class.unwrap_or(packet.priority);
        // The RTT is that of the subscriber, and his address is that on the LAN side of NAT.
        let handle = match translated {
            Some(seen) if !leaves_by_lan => seen.assignment.map_or(0, |own| own.handle),
            _ => class.unwrap_or(0),
        };
        if !self.config.rtt || handle == 0 {
            return;
        }
        let comes_from_lan = match self.direction_of(skb.ingress_ifindex) {
            Facing::None => !leaves_by_lan,
            ingress => ingress == Facing::Lan,
        };
        let measured = MeasuredPacket { ip, handle, leaves_by_lan, comes_from_lan, translated };
        self.measure(frame, &measured, now_ns, packet);
    }

    /// Looks up the class of an address, and sets the queue.
    fn class_of(
        &self,
        address: &Address,
        on_cpu: u32,
        packet: &mut Egress,
    ) -> Result<u32, &'static str> {
        let Assignment { cpu, handle } = self.mappings.lookup(address).ok_or("tc_unmapped")?;
        if cpu != on_cpu {
            packet.counters.add("tc_wrong_cpu");
            packet.take_queue(self.txqs.get(&cpu));
        }
        if handle == 0 {
            return Err("tc_no_class");
        }
        Ok(handle)
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
        let handle = match (of.comes_from_lan && of.leaves_by_lan, of.translated) {
            (true, Some(sender)) => sender.assignment.map_or(0, |own| own.handle),
            (true, None) => self.mappings.lookup(&of.ip.source).map_or(0, |sender| sender.handle),
            (false, _) => of.handle,
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
    /// What XDP saw of the subscriber's end, if it was another address: NAT on this host.
    translated: Option<HandedOn>,
}

impl MeasuredPacket {
    /// Returns its flow, and whose packet it is: 0 for the end that sorts first. The ends of a translated flow are
    /// sorted by the side that the packet leaves by.
    fn flow(&self, segment: &ModelSegment) -> (FlowKey, usize) {
        let is_ipv6 = self.ip.is_ipv6;
        let source = (self.ip.source, segment.source_port);
        let destination = (self.ip.destination, segment.destination_port);
        if let Some(seen) = self.translated {
            let other = (seen.address, seen.port);
            if seen.direction == Facing::Lan && self.leaves_by_lan {
                let mut ends = [other, destination];
                ends.sort();
                return (FlowKey::Between { is_ipv6, ends }, usize::from(ends[0] != other));
            }
            let (near, far) =
                if self.leaves_by_lan { (destination, source) } else { (source, destination) };
            let near = if self.leaves_by_lan { [near, other] } else { [other, near] };
            return (FlowKey::Translated { is_ipv6, far, near }, usize::from(!self.leaves_by_lan));
        }
        let mut ends = [source, destination];
        ends.sort();
        // If both ends are the same, the way is that of the interface.
        let way = match source == destination {
            true => usize::from(!self.leaves_by_lan),
            false => usize::from(ends[0] != source),
        };
        (FlowKey::Plain { is_ipv6, ends }, way)
    }
}

/// The packet as TC passes it on, and its counters.
struct Egress {
    priority: u32,
    queue: Option<u16>,
    handed_on: Option<HandedOn>,
    counters: RaisedCounters,
    sample: Option<Sample>,
}

impl Egress {
    fn new(skb: Skb, handed_on: Option<HandedOn>) -> Egress {
        Egress {
            priority: skb.priority,
            queue: None,
            handed_on,
            counters: RaisedCounters::default(),
            sample: None,
        }
    }

    /// Returns what XDP saw, if the address of the subscriber that it looked up has changed since: by NAT on this
    /// host. Of a packet between two subscribers, XDP looked up the sender.
    fn translated(&self, ip: &Ip, egress: Facing) -> Option<HandedOn> {
        self.handed_on.filter(|seen| match (seen.direction, egress) {
            (Facing::Lan, _) => seen.address != ip.source,
            (Facing::Wan, Facing::Lan) => seen.address != ip.destination,
            _ => false,
        })
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
