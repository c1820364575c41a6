// SPDX-License-Identifier: GPL-2.0-only
//! The packet, header by header.

use crate::packet::checksum::checksum;
use crate::packet::ip::{Extension, IpHeader};
use crate::packet::numbers::{
    ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, ETH_P_MPLS_UC, ETH_P_PPP_SES, IPPROTO_ICMP, IPPROTO_ICMPV6,
    IPPROTO_NONE, IPPROTO_TCP, IPPROTO_UDP, PPP_IP, PPP_IPV6,
};
use crate::packet::tcp::Tcp;
use std::net::{IpAddr, Ipv4Addr};

/// One packet, from Ethernet to payload.
#[derive(Clone, Debug)]
pub struct Packet {
    macs: [[u8; 6]; 2],
    tags: Vec<(u16, u16)>,
    pppoe: Option<Pppoe>,
    labels: Vec<u32>,
    ethertype: Option<u16>,
    pub(super) network: NetworkHeader,
    pub(super) transport: TransportHeader,
    payload: Vec<u8>,
}

/// The offsets at which the headers of a built packet begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketLayout {
    /// The IP (or ARP) header.
    pub network: usize,
    /// The transport header, after options and extension headers.
    pub transport: usize,
    /// The payload of the transport header.
    pub payload: usize,
}

#[derive(Clone, Debug)]
struct Pppoe {
    code: u8,
    session: u16,
    protocol: Option<u16>,
}

#[derive(Clone, Debug)]
pub(super) enum NetworkHeader {
    Ip(IpHeader),
    Raw(u16, Vec<u8>),
}

#[derive(Clone, Debug)]
pub(super) enum TransportHeader {
    None,
    Tcp(Tcp),
    Udp(u16, u16),
    Echo(u16),
}

impl Packet {
    /// Makes an IPv4 or IPv6 packet, as the addresses are, without a transport header.
    ///
    /// # Panics
    ///
    /// When the addresses are of different families.
    pub fn new(source: IpAddr, destination: IpAddr) -> Self {
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "{source} to {destination}");
        let ip = IpHeader {
            source,
            destination,
            tos: 0,
            id: 0,
            options: Vec::new(),
            fragment: None,
            extensions: Vec::new(),
            length: None,
        };
        Self::over(NetworkHeader::Ip(ip))
    }

    /// Makes a frame of any EtherType.
    pub fn raw(ethertype: u16, content: &[u8]) -> Self {
        Self::over(NetworkHeader::Raw(ethertype, content.to_vec()))
    }

    /// Makes an ARP request.
    pub fn arp(source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        let mut content = vec![0, 1, 8, 0, 6, 4, 0, 1];
        content.extend([2, 0, 0, 0, 0, 1]);
        content.extend(source.octets());
        content.extend([0; 6]);
        content.extend(destination.octets());
        Self::raw(ETH_P_ARP, &content)
    }

    fn over(network: NetworkHeader) -> Self {
        Self {
            macs: [[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]],
            tags: Vec::new(),
            pppoe: None,
            labels: Vec::new(),
            ethertype: None,
            network,
            transport: TransportHeader::None,
            payload: Vec::new(),
        }
    }

    /// Adds a VLAN tag (TPID and VLAN id) inside the tags added before.
    pub fn tag(mut self, tpid: u16, vid: u16) -> Self {
        self.tags.push((tpid, vid));
        self
    }

    /// Puts the packet into a PPPoE session, inside the tags.
    pub fn pppoe(self, session: u16) -> Self {
        self.pppoe_as(0, session, None)
    }

    /// Puts the packet into a PPPoE frame of any code and PPP protocol (`None`: the right one).
    pub fn pppoe_as(mut self, code: u8, session: u16, protocol: Option<u16>) -> Self {
        self.pppoe = Some(Pppoe { code, session, protocol });
        self
    }

    /// Puts the packet below a stack of MPLS labels, inside the tags: outermost first.
    pub fn mpls(mut self, labels: &[u32]) -> Self {
        self.labels = labels.to_vec();
        self
    }

    /// Sets the EtherType, or the innermost one if there are tags, to a value that need not match the
    /// content.
    pub fn ethertype(mut self, ethertype: u16) -> Self {
        self.ethertype = Some(ethertype);
        self
    }

    /// Sets the type of service (IPv4) or traffic class (IPv6).
    pub fn tos(self, tos: u8) -> Self {
        self.with_ip(|ip| ip.tos = tos)
    }

    /// Sets the identification (IPv4) or flow label (IPv6).
    pub fn id(self, id: u16) -> Self {
        self.with_ip(|ip| ip.id = id)
    }

    /// Sets the IPv4 options: at most 40 bytes, whole words.
    pub fn ipv4_options(self, options: &[u8]) -> Self {
        assert!(options.len().is_multiple_of(4) && options.len() <= 40, "IPv4 options");
        self.with_ip(|ip| ip.options = options.to_vec())
    }

    /// Makes the packet an IPv4 fragment: the offset in bytes (a multiple of 8), and whether more
    /// fragments follow. Only the first fragment has the transport header.
    pub fn fragment(self, offset: u16, more: bool) -> Self {
        self.with_ip(|ip| ip.fragment = Some((offset, more)))
    }

    /// Adds an IPv6 extension header after those added before.
    pub fn extension(self, extension: Extension) -> Self {
        self.with_ip(|ip| ip.extensions.push(extension))
    }

    /// Sets the total length (IPv4) or payload length (IPv6) to a value that need not be true.
    pub fn ip_length(self, length: u16) -> Self {
        self.with_ip(|ip| ip.length = Some(length))
    }

    /// Sets a TCP header.
    pub fn tcp(mut self, tcp: Tcp) -> Self {
        self.transport = TransportHeader::Tcp(tcp);
        self
    }

    /// Sets a UDP header.
    pub fn udp(mut self, source: u16, destination: u16) -> Self {
        self.transport = TransportHeader::Udp(source, destination);
        self
    }

    /// Sets the header of an ICMP or ICMPv6 echo request.
    pub fn echo(mut self, sequence: u16) -> Self {
        self.transport = TransportHeader::Echo(sequence);
        self
    }

    /// Sets a payload of this many bytes.
    pub fn payload(mut self, length: usize) -> Self {
        self.payload = (0..length).map(|index| index as u8).collect();
        self
    }

    /// Swaps addresses and ports: the packet goes the other way. Timestamps stay as they are.
    pub fn reply(mut self) -> Self {
        self.macs.swap(0, 1);
        match &mut self.transport {
            TransportHeader::Tcp(tcp) => std::mem::swap(&mut tcp.source, &mut tcp.destination),
            TransportHeader::Udp(source, destination) => std::mem::swap(source, destination),
            TransportHeader::None | TransportHeader::Echo(_) => {}
        }
        self.with_ip(|ip| std::mem::swap(&mut ip.source, &mut ip.destination))
    }

    fn with_ip(mut self, change: impl FnOnce(&mut IpHeader)) -> Self {
        match &mut self.network {
            NetworkHeader::Ip(ip) => change(ip),
            NetworkHeader::Raw(ethertype, _) => {
                panic!("EtherType {ethertype:#06x} has no IP header")
            }
        }
        self
    }

    /// Builds the frame.
    pub fn build(&self) -> Vec<u8> {
        self.assemble().0
    }

    /// Returns the offsets of the frame's headers.
    pub fn layout(&self) -> PacketLayout {
        self.assemble().1
    }

    pub(super) fn assemble(&self) -> (Vec<u8>, PacketLayout) {
        let (ethertype, network, within) = match &self.network {
            NetworkHeader::Ip(ip) => self.ip(ip),
            NetworkHeader::Raw(ethertype, content) => {
                (*ethertype, content.clone(), PacketLayout::default())
            }
        };
        let ethertype = if self.labels.is_empty() { ethertype } else { ETH_P_MPLS_UC };
        let mut frame = self.link(self.ethertype.unwrap_or(ethertype), network.len());
        frame.extend(self.label_stack());
        let start = frame.len();
        frame.extend(network);
        let layout = PacketLayout {
            network: start,
            transport: start + within.transport,
            payload: start + within.payload,
        };
        (frame, layout)
    }

    fn link(&self, ethertype: u16, network_len: usize) -> Vec<u8> {
        let mut out = self.macs.concat();
        for (tpid, vid) in &self.tags {
            out.extend(tpid.to_be_bytes());
            out.extend(vid.to_be_bytes());
        }
        let Some(pppoe) = &self.pppoe else {
            out.extend(ethertype.to_be_bytes());
            return out;
        };
        let protocol = match ethertype {
            ETH_P_IP => PPP_IP,
            ETH_P_IPV6 => PPP_IPV6,
            other => other,
        };
        out.extend(ETH_P_PPP_SES.to_be_bytes());
        out.extend([0x11, pppoe.code]);
        out.extend(pppoe.session.to_be_bytes());
        out.extend((network_len as u16 + 2).to_be_bytes());
        out.extend(pppoe.protocol.unwrap_or(protocol).to_be_bytes());
        out
    }

    /// Returns the label stack: RFC 3032, 2.1.
    fn label_stack(&self) -> Vec<u8> {
        let bottom = self.labels.len().wrapping_sub(1);
        let entry = |(n, label): (usize, &u32)| {
            (label << 12 | u32::from(n == bottom) << 8 | 64).to_be_bytes()
        };
        self.labels.iter().enumerate().flat_map(entry).collect()
    }

    fn ip(&self, ip: &IpHeader) -> (u16, Vec<u8>, PacketLayout) {
        let (protocol, transport, header_len) = self.transport_of(ip);
        let (ethertype, mut out) = match (ip.source, ip.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                (ETH_P_IP, ip.v4(source, destination, protocol, transport.len()))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                (ETH_P_IPV6, ip.v6(source, destination, protocol, transport.len()))
            }
            _ => unreachable!("new() checked the families"),
        };
        let start = out.len();
        out.extend(transport);
        (ethertype, out, PacketLayout { network: 0, transport: start, payload: start + header_len })
    }

    /// Returns the protocol number, the transport header with the payload, and the header's length.
    fn transport_of(&self, ip: &IpHeader) -> (u8, Vec<u8>, usize) {
        let v4 = ip.source.is_ipv4();
        let (protocol, mut out) = match &self.transport {
            TransportHeader::None => (IPPROTO_NONE, Vec::new()),
            TransportHeader::Tcp(tcp) => (IPPROTO_TCP, tcp.header()),
            TransportHeader::Udp(source, destination) => {
                let length = (8 + self.payload.len()) as u16;
                let words = [*source, *destination, length, 0];
                (IPPROTO_UDP, words.iter().flat_map(|word| word.to_be_bytes()).collect())
            }
            TransportHeader::Echo(sequence) => {
                let (kind, protocol) = if v4 { (8, IPPROTO_ICMP) } else { (128, IPPROTO_ICMPV6) };
                let [high, low] = sequence.to_be_bytes();
                (protocol, vec![kind, 0, 0, 0, 0, 1, high, low])
            }
        };
        if ip.is_later_fragment() {
            return (protocol, self.payload.clone(), 0);
        }
        let header_len = out.len();
        out.extend(&self.payload);
        let (at, pseudo) = match protocol {
            IPPROTO_TCP => (16, true),
            IPPROTO_UDP => (6, true),
            IPPROTO_ICMP => (2, false),
            IPPROTO_ICMPV6 => (2, true),
            _ => return (protocol, out, header_len),
        };
        let start = if pseudo { ip.pseudo_header(protocol, out.len()) } else { 0 };
        let checksum = checksum(start, &out);
        out[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        (protocol, out, header_len)
    }
}
