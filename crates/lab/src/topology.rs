// SPDX-License-Identifier: GPL-2.0-only
//! The lab: subscribers, shaper and internet, connected through delay lines.

use crate::delay::DelayLine;
use crate::encapsulation::Encapsulation;
use crate::host::{Host, ETH, GATEWAY_V6};
use crate::line_plan::LinePlan;
use crate::mac::{text, Mac};
use crate::ns::Netns;
use crate::plan::{Forwarding, Plan, HOST_MTU};
use crate::sandbox::Sandbox;
use crate::{offload, tool};
use std::collections::HashMap;
use std::io;

/// The shaper's interface towards the subscribers.
pub const LAN: &str = "lan";
/// The shaper's interface towards the internet.
pub const WAN: &str = "wan";

const LAN_MAC: Mac = [2, 0, 0, 0, 0, 1];
const WAN_MAC: Mac = [2, 0, 0, 0, 0, 2];
const INTERNET_MAC: Mac = [2, 0, 0, 0, 0, 3];
/// Next hops. Hosts have permanent neighbour entries for them, so that no host sends ARP requests.
const LAN_GATEWAY: &str = "169.254.1.1";
/// The shaper's IPv4 address on [`WAN`] in a routed lab.
pub const WAN_GATEWAY: &str = "169.254.2.1";

/// A running lab. Dropping it removes its namespaces and devices.
#[derive(Debug)]
pub struct Lab {
    lan_line: DelayLine,
    wan_line: DelayLine,
    shaper: Sandbox,
    internet: Host,
    subscribers: Vec<Host>,
}

impl Lab {
    /// Builds the lab. When it returns, every host reaches every other host.
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
        configure_hosts(&plan, &internet, &subscribers)?;
        let (lan_line, wan_line) = start_lines(&plan, &lines, &internet, &subscribers)?;
        Ok(Self { lan_line, wan_line, shaper, internet, subscribers })
    }

    /// Returns the host in the middle, with [`LAN`] and [`WAN`].
    pub fn shaper(&self) -> &Sandbox {
        &self.shaper
    }

    /// Returns the host behind the WAN.
    pub fn internet(&self) -> &Host {
        &self.internet
    }

    /// Returns all subscribers, in the order of the plan.
    pub fn subscribers(&self) -> &[Host] {
        &self.subscribers
    }

    /// Returns a subscriber by name.
    ///
    /// # Panics
    ///
    /// When the plan has no subscriber of that name.
    pub fn subscriber(&self, name: &str) -> &Host {
        let found = self.subscribers.iter().find(|host| host.name() == name);
        found.unwrap_or_else(|| panic!("no subscriber {name} in this lab"))
    }

    /// Returns how many frames the delay lines could not read in time. If it is not 0, a measurement is
    /// void.
    pub fn dropped_frames(&self) -> u64 {
        self.lan_line.dropped() + self.wan_line.dropped()
    }
}

/// Creates the veth pairs and brings up their ends at the delay lines.
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
    let (trunk, edge) = (format!("mtu {mtu} {queues}"), format!("mtu {HOST_MTU}"));
    let mut commands = vec![
        pair("to-lan", &trunk, LAN, LAN_MAC, shaper),
        pair("to-wan", &trunk, WAN, WAN_MAC, shaper),
        pair("to-internet", &edge, ETH, INTERNET_MAC, internet.netns()),
    ];
    let mut ends = vec!["to-lan".to_owned(), "to-wan".to_owned(), "to-internet".to_owned()];
    for (index, host) in subscribers.iter().enumerate() {
        commands.push(pair(&spoke_device(index), &edge, ETH, host.mac(), host.netns()));
        ends.push(spoke_device(index));
    }
    commands.extend(ends.iter().map(|end| format!("link set {end} up")));
    tool::batch(lines.command("ip"), &commands)?;
    // A queue in front of the shaper: a full veth ring holds frames back instead of dropping them.
    let queue = |end: &&str| format!("qdisc replace dev {end} root pfifo limit 10000");
    tool::batch(lines.command("tc"), &["to-lan", "to-wan"].iter().map(queue).collect::<Vec<_>>())?;
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
        Forwarding::Bridged => {
            // A bridge without an IPv6 address sends no MLD reports, which would count at every host.
            for conf in ["all", "default"] {
                shaper.sysctl(&format!("net.ipv6.conf.{conf}.disable_ipv6"), "1")?;
            }
            commands.extend(bridge(plan.shaper_mtu()));
        }
    }
    tool::batch(shaper.command("ip"), &commands)
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

fn configure_hosts(plan: &Plan, internet: &Host, subscribers: &[Host]) -> io::Result<()> {
    let routed = plan.forwarding == Forwarding::Routed;
    let beyond_lan = if routed { LAN_MAC } else { INTERNET_MAC };
    for host in subscribers {
        host.configure(LAN_GATEWAY, beyond_lan, plan.prompt_acks)?;
    }
    internet.configure(WAN_GATEWAY, WAN_MAC, plan.prompt_acks)?;
    if routed {
        return Ok(());
    }
    let commands: Vec<String> =
        subscribers.iter().flat_map(|host| host.reached_through(ETH)).collect();
    tool::batch(internet.netns().command("ip"), &commands)
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
        .map(|(host, planned)| (host.mac(), planned.encapsulation.clone()))
        .collect();
    let line = |trunk: &str, spokes, seed| {
        let (trunk, encapsulations) = (trunk.to_owned(), encapsulations.clone());
        let mtu = plan.shaper_mtu();
        let plan = LinePlan { trunk, spokes, encapsulations, mtu, seed };
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
