//! Subscribers, shaper and internet, wired through delay lines.

use crate::delay::{DelayLine, LinePlan, Mac, Spoke};
use crate::encapsulation::Encapsulation;
use crate::link::Link;
use crate::ns::Netns;
use crate::sandbox::Sandbox;
use crate::{offload, tool};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

/// The shaper's interface towards the subscribers.
pub const LAN: &str = "lan";
/// The shaper's interface towards the internet.
pub const WAN: &str = "wan";
/// Every host's interface.
pub const ETH: &str = "eth0";

/// MTU of the hosts; the shaper's segments have room for the encapsulation on top.
const HOST_MTU: u32 = 1500;
const LAN_MAC: Mac = [2, 0, 0, 0, 0, 1];
const WAN_MAC: Mac = [2, 0, 0, 0, 0, 2];
const INTERNET_MAC: Mac = [2, 0, 0, 0, 0, 3];
/// Next hops: hosts know their neighbour by a permanent entry, nobody asks.
const LAN_GATEWAY: &str = "169.254.1.1";
const WAN_GATEWAY: &str = "169.254.2.1";
const GATEWAY_V6: &str = "fe80::1";

/// What the shaper does with frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// It routes IPv4 and IPv6 between `lan` and `wan`. No encapsulation.
    #[default]
    Routed,
    /// It bridges `lan` and `wan` (`br0`), as shapers of LibreQoS do.
    Bridged,
}

/// One subscriber of a [`Plan`].
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// Name for [`Lab::subscriber`].
    pub name: String,
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6: Ipv6Addr,
    /// What its side adds to the round trip, half each way.
    pub rtt: Duration,
    /// What its frames wear at the shaper; bridged labs only.
    pub encapsulation: Encapsulation,
}

impl Subscriber {
    /// Subscriber `number` of the address plan: 100.64.(number / 256).(number mod 256) + 1 and fd00:64:1::(number + 1).
    pub fn new(name: &str, number: u16) -> Self {
        let ipv4 = Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 1, 1)) + u32::from(number));
        let ipv6 = Ipv6Addr::new(0xfd00, 0x64, 1, 0, 0, 0, 0, number.wrapping_add(1));
        let encapsulation = Encapsulation::none();
        Self { name: name.to_owned(), ipv4, ipv6, rtt: Duration::ZERO, encapsulation }
    }

    /// Sets what its side adds to the round trip.
    pub fn rtt(mut self, rtt: Duration) -> Self {
        self.rtt = rtt;
        self
    }

    /// Sets both addresses.
    pub fn addresses(mut self, ipv4: Ipv4Addr, ipv6: Ipv6Addr) -> Self {
        (self.ipv4, self.ipv6) = (ipv4, ipv6);
        self
    }

    /// Sets what its frames wear at the shaper.
    pub fn encapsulation(mut self, encapsulation: Encapsulation) -> Self {
        self.encapsulation = encapsulation;
        self
    }
}

/// What a [`Lab`] is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The subscribers; at least one.
    pub subscribers: Vec<Subscriber>,
    /// The internet's IPv4 address.
    pub internet_ipv4: Ipv4Addr,
    /// The internet's IPv6 address.
    pub internet_ipv6: Ipv6Addr,
    /// What the internet's side adds to the round trip.
    pub internet_rtt: Duration,
    /// Routed or bridged.
    pub forwarding: Forwarding,
    /// TX and RX queues of `lan` and `wan`.
    pub queues: u16,
    /// Seed of the impairments.
    pub seed: u64,
    /// Whether delay lines run before ordinary threads: exact on a busy machine, but what saturates a
    /// CPU starves the shaper. Default: yes.
    pub realtime: bool,
}

impl Plan {
    /// A routed lab with two queues and no delay but the subscribers' own.
    pub fn new(subscribers: impl IntoIterator<Item = Subscriber>) -> Self {
        Self {
            subscribers: subscribers.into_iter().collect(),
            internet_ipv4: Ipv4Addr::new(192, 0, 2, 1),
            internet_ipv6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
            internet_rtt: Duration::ZERO,
            forwarding: Forwarding::Routed,
            queues: 2,
            seed: 1,
            realtime: true,
        }
    }

    /// Sets what the internet's side adds to the round trip.
    pub fn internet_rtt(mut self, rtt: Duration) -> Self {
        self.internet_rtt = rtt;
        self
    }

    /// Makes the shaper a bridge.
    pub fn bridged(mut self) -> Self {
        self.forwarding = Forwarding::Bridged;
        self
    }

    /// Gives every subscriber this encapsulation and makes the shaper a bridge.
    pub fn encapsulation(mut self, encapsulation: &Encapsulation) -> Self {
        for subscriber in &mut self.subscribers {
            subscriber.encapsulation = encapsulation.clone();
        }
        self.bridged()
    }

    /// Sets the number of TX and RX queues of `lan` and `wan`.
    pub fn queues(mut self, queues: u16) -> Self {
        self.queues = queues;
        self
    }

    /// Lets delay lines share the CPU fairly: for benches that load it fully.
    pub fn fair(mut self) -> Self {
        self.realtime = false;
        self
    }

    fn check(&self) -> io::Result<()> {
        let invalid = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        let mut encapsulations = self.subscribers.iter().map(|each| &each.encapsulation);
        if self.subscribers.is_empty() {
            return invalid("a lab needs a subscriber");
        }
        if self.forwarding == Forwarding::Routed && !encapsulations.all(Encapsulation::is_none) {
            return invalid("encapsulation needs a bridged lab");
        }
        Ok(())
    }

    fn shaper_mtu(&self) -> u32 {
        let encapsulations = self.subscribers.iter().map(|each| each.encapsulation.overhead());
        // Room for the tags at once: drivers and bridge differ in what they count.
        HOST_MTU + if encapsulations.max() > Some(0) { 100 } else { 0 }
    }
}

/// A host at the edge: a subscriber or the internet.
#[derive(Debug)]
pub struct Host {
    name: String,
    netns: Netns,
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
    mac: Mac,
    link: Arc<Link>,
}

impl Host {
    fn new(
        name: &str,
        ipv4: Ipv4Addr,
        ipv6: Ipv6Addr,
        mac: Mac,
        rtt: Duration,
    ) -> io::Result<Self> {
        let link = Arc::new(Link::new(rtt));
        Ok(Self { name: name.to_owned(), netns: Netns::new()?, ipv4, ipv6, mac, link })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its network namespace; its interface is [`ETH`].
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its IPv4 address.
    pub fn v4(&self) -> IpAddr {
        self.ipv4.into()
    }

    /// Its IPv6 address.
    pub fn v6(&self) -> IpAddr {
        self.ipv6.into()
    }

    /// Its hardware address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Its link to the shaper: delay, impairments, counters.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Switches TCP timestamps for new connections.
    pub fn tcp_timestamps(&self, on: bool) -> io::Result<()> {
        self.netns.sysctl("net.ipv4.tcp_timestamps", if on { "1" } else { "0" })
    }

    fn spoke(&self, device: &str) -> Spoke {
        Spoke { device: device.to_owned(), mac: self.mac, link: self.link.clone() }
    }

    /// Addresses and routes of a host whose every next hop is `gateway` at `mac`.
    fn configure(&self, gateway: &str, gateway_mac: Mac) -> io::Result<()> {
        let (ipv4, ipv6, mac) = (self.ipv4, self.ipv6, text(gateway_mac));
        let lines = [
            format!("link set {ETH} up"),
            format!("addr add {ipv4}/32 dev {ETH}"),
            format!("addr add {ipv6}/128 dev {ETH} nodad"),
            format!("neigh replace {gateway} lladdr {mac} dev {ETH} nud permanent"),
            format!("neigh replace {GATEWAY_V6} lladdr {mac} dev {ETH} nud permanent"),
            format!("route add 0.0.0.0/0 via {gateway} dev {ETH} onlink src {ipv4}"),
            format!("route add ::/0 via {GATEWAY_V6} dev {ETH} src {ipv6}"),
        ];
        tool::batch(&self.netns, "ip", &lines)?;
        offload::disable(&self.netns, ETH)
    }

    /// Routes and permanent neighbours that lead to this host through `device`.
    fn reached_through(&self, device: &str) -> Vec<String> {
        let (ipv4, ipv6, mac) = (self.ipv4, self.ipv6, text(self.mac));
        vec![
            format!("neigh replace {ipv4} lladdr {mac} dev {device} nud permanent"),
            format!("neigh replace {ipv6} lladdr {mac} dev {device} nud permanent"),
            format!("route add {ipv4}/32 dev {device}"),
            format!("route add {ipv6}/128 dev {device}"),
        ]
    }
}

/// A running lab. All of it is gone when dropped.
#[derive(Debug)]
pub struct Lab {
    lan_line: DelayLine,
    wan_line: DelayLine,
    shaper: Sandbox,
    internet: Host,
    subscribers: Vec<Host>,
}

impl Lab {
    /// Builds the lab; when it returns, every host reaches every other.
    pub fn build(plan: Plan) -> io::Result<Self> {
        plan.check()?;
        let shaper = Sandbox::new()?;
        let lines = Netns::new()?;
        let internet = Host::new(
            "internet",
            plan.internet_ipv4,
            plan.internet_ipv6,
            INTERNET_MAC,
            plan.internet_rtt,
        )?;
        let subscribers = (0..)
            .zip(&plan.subscribers)
            .map(|(index, s)| Host::new(&s.name, s.ipv4, s.ipv6, subscriber_mac(index), s.rtt))
            .collect::<io::Result<Vec<_>>>()?;
        wire(&plan, &lines, shaper.netns(), &internet, &subscribers)?;
        configure_shaper(&plan, shaper.netns(), &internet, &subscribers)?;
        configure_hosts(plan.forwarding, &internet, &subscribers)?;
        let (lan_line, wan_line) = start_lines(&plan, &lines, &internet, &subscribers)?;
        Ok(Self { lan_line, wan_line, shaper, internet, subscribers })
    }

    /// The host in the middle, with [`LAN`] and [`WAN`].
    pub fn shaper(&self) -> &Sandbox {
        &self.shaper
    }

    /// The host behind the WAN.
    pub fn internet(&self) -> &Host {
        &self.internet
    }

    /// All subscribers, as planned.
    pub fn subscribers(&self) -> &[Host] {
        &self.subscribers
    }

    /// A subscriber by name.
    ///
    /// # Panics
    ///
    /// When the plan has none of that name.
    pub fn subscriber(&self, name: &str) -> &Host {
        let found = self.subscribers.iter().find(|host| host.name == name);
        found.unwrap_or_else(|| panic!("no subscriber {name} in this lab"))
    }

    /// Frames the delay lines could not read in time. A measurement with more than 0 is void.
    pub fn dropped_frames(&self) -> u64 {
        self.lan_line.dropped() + self.wan_line.dropped()
    }
}

/// Creates the veth pairs and brings the lines' ends up.
fn wire(
    plan: &Plan,
    lines: &Netns,
    shaper: &Netns,
    internet: &Host,
    subscribers: &[Host],
) -> io::Result<()> {
    lines.sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
    let (mtu, queues) =
        (plan.shaper_mtu(), format!("numtxqueues {0} numrxqueues {0}", plan.queues));
    let pair = |end: &str, near: &str, peer: &str, mac, at: &Netns| {
        let (mac, path) = (text(mac), at.path());
        format!(
            "link add {end} {near} type veth peer name {peer} {near} address {mac} netns {}",
            path.display()
        )
    };
    let trunk = format!("mtu {mtu} {queues}");
    let mut commands = vec![
        pair("to-lan", &trunk, LAN, LAN_MAC, shaper),
        pair("to-wan", &trunk, WAN, WAN_MAC, shaper),
        pair("to-internet", "mtu 1500", ETH, INTERNET_MAC, &internet.netns),
    ];
    let mut ends = vec!["to-lan".to_owned(), "to-wan".to_owned(), "to-internet".to_owned()];
    for (index, host) in subscribers.iter().enumerate() {
        commands.push(pair(&spoke_device(index), "mtu 1500", ETH, host.mac, &host.netns));
        ends.push(spoke_device(index));
    }
    commands.extend(ends.iter().map(|end| format!("link set {end} up")));
    tool::batch(lines, "ip", &commands)?;
    // A queue in front of the shaper: a full veth ring holds frames back instead of dropping them.
    let queue = |end: &&str| format!("qdisc replace dev {end} root pfifo limit 10000");
    tool::batch(lines, "tc", &["to-lan", "to-wan"].iter().map(queue).collect::<Vec<_>>())?;
    ends.iter().try_for_each(|end| offload::disable(lines, end))
}

fn configure_shaper(
    plan: &Plan,
    shaper: &Netns,
    internet: &Host,
    subscribers: &[Host],
) -> io::Result<()> {
    offload::disable(shaper, LAN)?;
    offload::disable(shaper, WAN)?;
    let mut commands: Vec<String> =
        [LAN, WAN].iter().map(|device| format!("link set {device} up")).collect();
    match plan.forwarding {
        Forwarding::Routed => {
            let forward = [("ipv4.ip_forward", "1"), ("ipv6.conf.all.forwarding", "1")];
            for (key, value) in forward {
                shaper.sysctl(&format!("net.{key}"), value)?;
            }
            commands.extend(router(internet, subscribers));
        }
        Forwarding::Bridged => commands.extend(bridge(plan.shaper_mtu())),
    }
    tool::batch(shaper, "ip", &commands)
}

fn router(internet: &Host, subscribers: &[Host]) -> Vec<String> {
    let mut commands = Vec::new();
    for (device, gateway) in [(LAN, LAN_GATEWAY), (WAN, WAN_GATEWAY)] {
        commands.push(format!("addr add {gateway}/32 dev {device}"));
        commands.push(format!("addr add {GATEWAY_V6}/64 dev {device} nodad"));
    }
    commands.extend(internet.reached_through(WAN));
    commands.extend(subscribers.iter().flat_map(|host| host.reached_through(LAN)));
    commands
}

fn bridge(mtu: u32) -> Vec<String> {
    let mut commands = vec![
        format!("link add br0 mtu {mtu} type bridge stp_state 0 forward_delay 0"),
        "link set br0 up".to_owned(),
    ];
    commands.extend([LAN, WAN].iter().map(|device| format!("link set {device} master br0")));
    commands
}

fn configure_hosts(
    forwarding: Forwarding,
    internet: &Host,
    subscribers: &[Host],
) -> io::Result<()> {
    let routed = forwarding == Forwarding::Routed;
    let beyond_lan = if routed { LAN_MAC } else { INTERNET_MAC };
    for host in subscribers {
        host.configure(LAN_GATEWAY, beyond_lan)?;
    }
    internet.configure(WAN_GATEWAY, WAN_MAC)?;
    if routed {
        return Ok(());
    }
    let commands: Vec<String> =
        subscribers.iter().flat_map(|host| host.reached_through(ETH)).collect();
    tool::batch(&internet.netns, "ip", &commands)
}

fn start_lines(
    plan: &Plan,
    lines: &Netns,
    internet: &Host,
    subscribers: &[Host],
) -> io::Result<(DelayLine, DelayLine)> {
    let encapsulations: HashMap<Mac, Encapsulation> = subscribers
        .iter()
        .zip(&plan.subscribers)
        .filter(|(_, planned)| !planned.encapsulation.is_none())
        .map(|(host, planned)| (host.mac, planned.encapsulation.clone()))
        .collect();
    let line = |trunk: &str, spokes, seed| {
        let (trunk, encapsulations) = (trunk.to_owned(), encapsulations.clone());
        let (mtu, realtime) = (plan.shaper_mtu(), plan.realtime);
        let plan = LinePlan { trunk, spokes, encapsulations, mtu, seed, realtime };
        DelayLine::start(lines, plan)
    };
    let spokes =
        subscribers.iter().enumerate().map(|(index, host)| host.spoke(&spoke_device(index)));
    let lan = line("to-lan", spokes.collect(), plan.seed)?;
    let wan = line("to-wan", vec![internet.spoke("to-internet")], !plan.seed)?;
    Ok((lan, wan))
}

fn spoke_device(index: usize) -> String {
    format!("to-sub{index}")
}

fn subscriber_mac(index: u32) -> Mac {
    let [_, a, b, c] = index.to_be_bytes();
    [2, 0, 1, a, b, c]
}

fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
