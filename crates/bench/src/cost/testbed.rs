// SPDX-License-Identifier: GPL-2.0-only
//! The network of the measurement: a shaper that routes or bridges between `lan` and `wan`, and an edge
//! namespace with their peers, where the generator injects frames and the kernel drops forwarded ones.

use lab::mac::{text, Mac};
use lab::{offload, tool, Netns, Sandbox, LAN, WAN};

use crate::error::Result;

/// Hardware address of the shaper's `lan`.
pub const LAN_MAC: Mac = [2, 0, 0, 0, 0, 1];
/// Hardware address of the shaper's `wan`.
pub const WAN_MAC: Mac = [2, 0, 0, 0, 0, 2];
/// Next hop towards the subscribers. No device has this address, so that the edge drops a frame as soon
/// as it sees the destination.
pub const SUBSCRIBER_MAC: Mac = [2, 0, 0, 0, 0, 3];
/// Next hop towards the internet. No device has this address either.
pub const NET_MAC: Mac = [2, 0, 0, 0, 0, 4];

/// Peer of `lan`, in the edge's namespace.
pub const TO_LAN: &str = "to-lan";
/// Peer of `wan`, in the edge's namespace.
pub const TO_WAN: &str = "to-wan";

/// The two namespaces. Dropping it removes them.
pub struct Testbed {
    /// The namespace in which the programs are attached.
    pub shaper: Sandbox,
    /// The namespace in which the generator runs.
    pub edge: Netns,
}

impl Testbed {
    /// Builds both namespaces. The shaper is a bridge or a router.
    pub fn build(bridged: bool) -> Result<Self> {
        let (shaper, edge) = (Sandbox::new()?, Netns::new()?);
        edge.sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
        let path = edge.path();
        let pair = |near: &str, mac: Mac, far: &str| {
            format!(
                "link add {near} address {} mtu 2000 numtxqueues 2 numrxqueues 2 type veth \
                 peer name {far} mtu 2000 numtxqueues 2 numrxqueues 2 netns {}",
                text(mac),
                path.display()
            )
        };
        ip(shaper.netns(), &[pair(LAN, LAN_MAC, TO_LAN), pair(WAN, WAN_MAC, TO_WAN)])?;
        ip(&edge, &[format!("link set {TO_LAN} up"), format!("link set {TO_WAN} up")])?;
        ip(shaper.netns(), &[format!("link set {LAN} up"), format!("link set {WAN} up")])?;
        for (netns, device) in
            [(shaper.netns(), LAN), (shaper.netns(), WAN), (&edge, TO_LAN), (&edge, TO_WAN)]
        {
            offload::disable(netns, device)?;
        }
        if bridged {
            ip(shaper.netns(), &bridge())?;
        } else {
            shaper.netns().sysctl("net.ipv4.ip_forward", "1")?;
            shaper.netns().sysctl("net.ipv6.conf.all.forwarding", "1")?;
            ip(shaper.netns(), &router())?;
        }
        Ok(Self { shaper, edge })
    }
}

fn router() -> Vec<String> {
    let (subscribers, net) = (text(SUBSCRIBER_MAC), text(NET_MAC));
    [
        format!("addr add 169.254.1.1/30 dev {LAN}"),
        format!("addr add 169.254.2.1/30 dev {WAN}"),
        format!("addr add fe80::1/64 dev {LAN} nodad"),
        format!("addr add fe80::1/64 dev {WAN} nodad"),
        format!("neigh replace 169.254.1.2 lladdr {subscribers} dev {LAN} nud permanent"),
        format!("neigh replace 169.254.2.2 lladdr {net} dev {WAN} nud permanent"),
        format!("neigh replace fe80::2 lladdr {subscribers} dev {LAN} nud permanent"),
        format!("neigh replace fe80::3 lladdr {net} dev {WAN} nud permanent"),
        "route add 100.64.0.0/10 via 169.254.1.2".into(),
        "route add 198.18.0.0/15 via 169.254.2.2".into(),
        format!("route add fd00:64::/32 via fe80::2 dev {LAN}"),
        format!("route add 2001:db8::/32 via fe80::3 dev {WAN}"),
    ]
    .into()
}

fn bridge() -> Vec<String> {
    [
        "link add br0 type bridge stp_state 0 forward_delay 0".to_owned(),
        "link set br0 up".into(),
        format!("link set {LAN} master br0"),
        format!("link set {WAN} master br0"),
    ]
    .into()
}

fn ip(netns: &Netns, lines: &[String]) -> Result<()> {
    Ok(tool::batch(netns.command("ip"), lines)?)
}
