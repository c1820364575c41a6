// SPDX-License-Identifier: GPL-2.0-only
//! A host at the edge of a lab.

use crate::line_plan::Spoke;
use crate::link::HostLink;
use crate::mac::{text, Mac};
use crate::ns::Netns;
use crate::{offload, tool};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

/// The interface of every host.
pub const ETH: &str = "eth0";
/// The IPv6 next hop of every host.
pub(crate) const GATEWAY_V6: &str = "fe80::1";

/// A host at the edge: a subscriber or the internet.
#[derive(Debug)]
pub struct Host {
    name: String,
    netns: Netns,
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
    mac: Mac,
    link: Arc<HostLink>,
}

impl Host {
    /// Makes a host in a new namespace, without an interface.
    pub(crate) fn new(
        name: &str,
        ipv4: Ipv4Addr,
        ipv6: Ipv6Addr,
        mac: Mac,
        rtt: Duration,
    ) -> io::Result<Self> {
        let link = Arc::new(HostLink::new(rtt));
        Ok(Self { name: name.to_owned(), netns: Netns::new()?, ipv4, ipv6, mac, link })
    }

    /// Returns the host's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the host's network namespace; the interface there is [`ETH`].
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Returns the host's IPv4 address.
    pub fn v4(&self) -> IpAddr {
        self.ipv4.into()
    }

    /// Returns the host's IPv6 address.
    pub fn v6(&self) -> IpAddr {
        self.ipv6.into()
    }

    /// Returns the host's hardware address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Returns the host's link to the shaper: delay, impairments, counters.
    pub fn link(&self) -> &HostLink {
        &self.link
    }

    /// Switches TCP timestamps on or off for new connections.
    pub fn tcp_timestamps(&self, on: bool) -> io::Result<()> {
        self.netns.sysctl("net.ipv4.tcp_timestamps", if on { "1" } else { "0" })
    }

    /// Returns the host as a spoke of a delay line, behind the line's `device`.
    pub(crate) fn spoke(&self, device: &str) -> Spoke {
        Spoke { device: device.to_owned(), mac: self.mac, link: self.link.clone() }
    }

    /// Sets addresses and routes; every route leads through `gateway` at `gateway_mac`.
    pub(crate) fn configure(
        &self,
        gateway: &str,
        gateway_mac: Mac,
        prompt_acks: bool,
    ) -> io::Result<()> {
        let (ipv4, ipv6, mac) = (self.ipv4, self.ipv6, text(gateway_mac));
        let quickack = u8::from(prompt_acks);
        let lines = [
            format!("link set {ETH} up"),
            format!("addr add {ipv4}/32 dev {ETH}"),
            format!("addr add {ipv6}/128 dev {ETH} nodad"),
            format!("neigh replace {gateway} lladdr {mac} dev {ETH} nud permanent"),
            format!("neigh replace {GATEWAY_V6} lladdr {mac} dev {ETH} nud permanent"),
            format!(
                "route add 0.0.0.0/0 via {gateway} dev {ETH} onlink src {ipv4} quickack {quickack}"
            ),
            format!("route add ::/0 via {GATEWAY_V6} dev {ETH} src {ipv6} quickack {quickack}"),
        ];
        tool::batch(self.netns.command("ip"), &lines)?;
        offload::disable(&self.netns, ETH)
    }

    /// Returns `ip` commands for routes and permanent neighbours that lead to this host through
    /// `device`.
    pub(crate) fn reached_through(&self, device: &str) -> Vec<String> {
        let (ipv4, ipv6, mac) = (self.ipv4, self.ipv6, text(self.mac));
        vec![
            format!("neigh replace {ipv4} lladdr {mac} dev {device} nud permanent"),
            format!("neigh replace {ipv6} lladdr {mac} dev {device} nud permanent"),
            format!("route add {ipv4}/32 dev {device}"),
            format!("route add {ipv6}/128 dev {device}"),
        ]
    }
}
