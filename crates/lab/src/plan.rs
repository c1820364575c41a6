// SPDX-License-Identifier: GPL-2.0-only
//! The description of a lab.

use crate::encapsulation::Encapsulation;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// MTU of the hosts. The MTU of the shaper's segments is higher, to have room for the encapsulation.
pub(crate) const HOST_MTU: u32 = 1500;

/// How the shaper forwards frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// The shaper routes IPv4 and IPv6 between `lan` and `wan`. No encapsulation.
    #[default]
    Routed,
    /// The shaper bridges `lan` and `wan` (`br0`), as shapers of LibreQoS do.
    Bridged,
}

/// One subscriber of a [`Plan`].
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// Name for [`Lab::subscriber`](crate::Lab::subscriber).
    pub name: String,
    /// The IPv4 address.
    pub ipv4: Ipv4Addr,
    /// The IPv6 address.
    pub ipv6: Ipv6Addr,
    /// The time that the subscriber's side adds to the round trip, half each way.
    pub rtt: Duration,
    /// The encapsulation of the subscriber's frames at the shaper; bridged labs only.
    pub encapsulation: Encapsulation,
}

impl Subscriber {
    /// Makes subscriber `number` of the address plan: 100.64.1.1 + `number` and
    /// fd00:64:1::(`number` + 1).
    pub fn new(name: &str, number: u16) -> Self {
        let ipv4 = Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 1, 1)) + u32::from(number));
        let ipv6 = Ipv6Addr::new(0xfd00, 0x64, 1, 0, 0, 0, 0, number.wrapping_add(1));
        let encapsulation = Encapsulation::none();
        Self { name: name.to_owned(), ipv4, ipv6, rtt: Duration::ZERO, encapsulation }
    }

    /// Sets the time that the subscriber's side adds to the round trip.
    pub fn rtt(mut self, rtt: Duration) -> Self {
        self.rtt = rtt;
        self
    }

    /// Sets both addresses.
    pub fn addresses(mut self, ipv4: Ipv4Addr, ipv6: Ipv6Addr) -> Self {
        (self.ipv4, self.ipv6) = (ipv4, ipv6);
        self
    }

    /// Sets the encapsulation of the subscriber's frames at the shaper.
    pub fn encapsulation(mut self, encapsulation: Encapsulation) -> Self {
        self.encapsulation = encapsulation;
        self
    }
}

/// The description of a [`Lab`](crate::Lab).
#[derive(Clone, Debug)]
pub struct Plan {
    /// The subscribers; at least one.
    pub subscribers: Vec<Subscriber>,
    /// The internet's IPv4 address.
    pub internet_ipv4: Ipv4Addr,
    /// The internet's IPv6 address.
    pub internet_ipv6: Ipv6Addr,
    /// The time that the internet's side adds to the round trip.
    pub internet_rtt: Duration,
    /// Routed or bridged.
    pub forwarding: Forwarding,
    /// TX and RX queues of `lan` and `wan`.
    pub queues: u16,
    /// Seed of the impairments.
    pub seed: u64,
    /// Whether hosts acknowledge each segment at once (`quickack` of their routes), so that the RTT is
    /// that of the path. Default: no, they delay ACKs as Linux does. Routed labs only.
    pub prompt_acks: bool,
}

impl Plan {
    /// Makes the plan of a routed lab with two queues, in which only the subscribers add delay.
    pub fn new(subscribers: impl IntoIterator<Item = Subscriber>) -> Self {
        Self {
            subscribers: subscribers.into_iter().collect(),
            internet_ipv4: Ipv4Addr::new(192, 0, 2, 1),
            internet_ipv6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
            internet_rtt: Duration::ZERO,
            forwarding: Forwarding::Routed,
            queues: 2,
            seed: 1,
            prompt_acks: false,
        }
    }

    /// Sets the time that the internet's side adds to the round trip.
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

    /// Lets hosts acknowledge each segment at once.
    pub fn prompt_acks(mut self) -> Self {
        self.prompt_acks = true;
        self
    }

    /// Returns an error if the lab cannot be built.
    pub(crate) fn check(&self) -> io::Result<()> {
        let invalid = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        let mut encapsulations = self.subscribers.iter().map(|each| &each.encapsulation);
        if self.subscribers.is_empty() {
            return invalid("a lab needs a subscriber");
        }
        if self.forwarding == Forwarding::Routed && !encapsulations.all(Encapsulation::is_none) {
            return invalid("encapsulation needs a bridged lab");
        }
        if self.forwarding == Forwarding::Bridged && self.prompt_acks {
            return invalid("prompt ACKs need a routed lab");
        }
        Ok(())
    }

    /// Returns the MTU of the shaper's segments.
    pub(crate) fn shaper_mtu(&self) -> u32 {
        let encapsulations = self.subscribers.iter().map(|each| each.encapsulation.overhead());
        // 100 bytes are room for any encapsulation. Drivers and the bridge differ in whether they count
        // tags as part of the MTU.
        HOST_MTU + if encapsulations.max() > Some(0) { 100 } else { 0 }
    }
}
