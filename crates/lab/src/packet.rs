//! Frames built header by header: what a test wants to say about a packet, and correct everywhere else.
//!
//! ```
//! use lab::packet::{hosts, Packet, Tcp, TcpOption};
//!
//! let segment = Tcp::new(1000, 443).options([TcpOption::Nop, TcpOption::Timestamps(5, 0)]);
//! let packet = Packet::new(hosts::ALICE, hosts::SERVER).tag(0x8100, 7).tcp(segment).payload(100);
//! assert_eq!(packet.build().len(), 14 + 4 + 20 + 32 + 100);
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Named addresses.
pub mod hosts {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    }

    const fn v6(net: u16, host: u16) -> IpAddr {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, host))
    }

    /// A subscriber.
    pub const ALICE: IpAddr = v4(100, 64, 1, 1);
    /// Another subscriber.
    pub const BOB: IpAddr = v4(100, 64, 2, 2);
    /// Nobody's subscriber: in no mapping.
    pub const MALLORY: IpAddr = v4(100, 64, 66, 6);
    /// Somewhere in the internet.
    pub const SERVER: IpAddr = v4(198, 51, 100, 80);
    /// [`ALICE`] by IPv6.
    pub const ALICE6: IpAddr = v6(0xa11c, 1);
    /// [`BOB`] by IPv6.
    pub const BOB6: IpAddr = v6(0xb0b, 2);
    /// [`MALLORY`] by IPv6.
    pub const MALLORY6: IpAddr = v6(0x666, 6);
    /// [`SERVER`] by IPv6.
    pub const SERVER6: IpAddr = v6(0x80, 0x80);
}

/// EtherTypes.
pub const ETH_P_IP: u16 = 0x0800;
/// ARP.
pub const ETH_P_ARP: u16 = 0x0806;
/// IPv6.
pub const ETH_P_IPV6: u16 = 0x86dd;
/// PPPoE session.
pub const ETH_P_PPP_SES: u16 = 0x8864;
/// 802.1Q.
pub const ETH_P_8021Q: u16 = 0x8100;
/// 802.1ad.
pub const ETH_P_8021AD: u16 = 0x88a8;
/// What came before 802.1ad.
pub const ETH_P_QINQ1: u16 = 0x9100;

const PPP_IP: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;

const IPPROTO_HOPOPTS: u8 = 0;
const IPPROTO_ICMP: u8 = 1;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_ROUTING: u8 = 43;
const IPPROTO_FRAGMENT: u8 = 44;
const IPPROTO_AH: u8 = 51;
const IPPROTO_ICMPV6: u8 = 58;
const IPPROTO_NONE: u8 = 59;
const IPPROTO_DSTOPTS: u8 = 60;

/// TCP flags.
pub const FIN: u8 = 0x01;
/// Synchronise.
pub const SYN: u8 = 0x02;
/// Reset.
pub const RST: u8 = 0x04;
/// Push.
pub const PSH: u8 = 0x08;
/// Acknowledge.
pub const ACK: u8 = 0x10;

/// One packet, from Ethernet to payload.
#[derive(Clone, Debug)]
pub struct Packet {
    macs: [[u8; 6]; 2],
    tags: Vec<(u16, u16)>,
    pppoe: Option<Pppoe>,
    ethertype: Option<u16>,
    network: Network,
    transport: Transport,
    payload: Vec<u8>,
}

/// Where the headers of a built packet begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The IP (or ARP) header.
    pub network: usize,
    /// The transport header, behind options and extension headers.
    pub transport: usize,
    /// What the transport carries.
    pub payload: usize,
}

#[derive(Clone, Debug)]
struct Pppoe {
    code: u8,
    session: u16,
    protocol: Option<u16>,
}

#[derive(Clone, Debug)]
enum Network {
    Ip(Ip),
    Raw(u16, Vec<u8>),
}

#[derive(Clone, Debug)]
struct Ip {
    source: IpAddr,
    destination: IpAddr,
    tos: u8,
    id: u16,
    options: Vec<u8>,
    fragment: Option<(u16, bool)>,
    extensions: Vec<Extension>,
    length: Option<u16>,
}

#[derive(Clone, Debug)]
enum Transport {
    None,
    Tcp(Tcp),
    Udp(u16, u16),
    Echo(u16),
}

/// An IPv6 extension header. Sizes are of the whole header, in bytes: a multiple of 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options, padded to this size.
    HopByHop(usize),
    /// A routing header of this size.
    Routing(usize),
    /// Destination options, padded to this size.
    Destination(usize),
    /// An authentication header of this size.
    Authentication(usize),
    /// A fragment: offset in bytes (a multiple of 8), and whether more follow.
    Fragment(u16, bool),
}

/// A TCP header.
#[derive(Clone, Debug)]
pub struct Tcp {
    source: u16,
    destination: u16,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    options: Vec<TcpOption>,
    data_offset: Option<u8>,
}

/// A TCP option. The builder fills the header up to whole words with end-of-list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// End of the list.
    End,
    /// Nothing.
    Nop,
    /// Maximum segment size.
    Mss(u16),
    /// Window scale.
    WindowScale(u8),
    /// SACK permitted.
    SackPermitted,
    /// This many SACK blocks.
    Sack(usize),
    /// TSval, TSecr.
    Timestamps(u32, u32),
    /// Any kind, with this many bytes of body.
    Unknown(u8, usize),
    /// These bytes, right or wrong.
    Raw(Vec<u8>),
}

impl Packet {
    /// An IP packet without a transport header; the addresses say which IP.
    ///
    /// # Panics
    ///
    /// When the addresses are of different families.
    pub fn new(source: IpAddr, destination: IpAddr) -> Self {
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "{source} to {destination}");
        let ip = Ip {
            source,
            destination,
            tos: 0,
            id: 0,
            options: Vec::new(),
            fragment: None,
            extensions: Vec::new(),
            length: None,
        };
        Self::over(Network::Ip(ip))
    }

    /// A frame of another EtherType.
    pub fn raw(ethertype: u16, content: &[u8]) -> Self {
        Self::over(Network::Raw(ethertype, content.to_vec()))
    }

    /// An ARP request.
    pub fn arp(source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        let mut content = vec![0, 1, 8, 0, 6, 4, 0, 1];
        content.extend([2, 0, 0, 0, 0, 1]);
        content.extend(source.octets());
        content.extend([0; 6]);
        content.extend(destination.octets());
        Self::raw(ETH_P_ARP, &content)
    }

    fn over(network: Network) -> Self {
        Self {
            macs: [[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]],
            tags: Vec::new(),
            pppoe: None,
            ethertype: None,
            network,
            transport: Transport::None,
            payload: Vec::new(),
        }
    }

    /// Another VLAN tag, inside those before it: TPID and VLAN id.
    pub fn tag(mut self, tpid: u16, vid: u16) -> Self {
        self.tags.push((tpid, vid));
        self
    }

    /// In a PPPoE session, inside the tags.
    pub fn pppoe(self, session: u16) -> Self {
        self.pppoe_as(0, session, None)
    }

    /// In a PPPoE frame of any code and PPP protocol (`None`: the right one).
    pub fn pppoe_as(mut self, code: u8, session: u16, protocol: Option<u16>) -> Self {
        self.pppoe = Some(Pppoe { code, session, protocol });
        self
    }

    /// Claims this EtherType (within tags and PPPoE: of the innermost) whatever follows.
    pub fn ethertype(mut self, ethertype: u16) -> Self {
        self.ethertype = Some(ethertype);
        self
    }

    /// Type of service, or traffic class.
    pub fn tos(self, tos: u8) -> Self {
        self.with_ip(|ip| ip.tos = tos)
    }

    /// IPv4 identification, or flow label.
    pub fn id(self, id: u16) -> Self {
        self.with_ip(|ip| ip.id = id)
    }

    /// IPv4 options: at most 40 bytes, whole words.
    pub fn ipv4_options(self, options: &[u8]) -> Self {
        assert!(options.len().is_multiple_of(4) && options.len() <= 40, "IPv4 options");
        self.with_ip(|ip| ip.options = options.to_vec())
    }

    /// An IPv4 fragment: offset in bytes (a multiple of 8), and whether more follow. Only the first
    /// has the transport header.
    pub fn fragment(self, offset: u16, more: bool) -> Self {
        self.with_ip(|ip| ip.fragment = Some((offset, more)))
    }

    /// Another IPv6 extension header, behind those before it.
    pub fn extension(self, extension: Extension) -> Self {
        self.with_ip(|ip| ip.extensions.push(extension))
    }

    /// Claims this IPv4 total length, or IPv6 payload length, whatever follows.
    pub fn ip_length(self, length: u16) -> Self {
        self.with_ip(|ip| ip.length = Some(length))
    }

    /// TCP.
    pub fn tcp(mut self, tcp: Tcp) -> Self {
        self.transport = Transport::Tcp(tcp);
        self
    }

    /// UDP.
    pub fn udp(mut self, source: u16, destination: u16) -> Self {
        self.transport = Transport::Udp(source, destination);
        self
    }

    /// An ICMP or ICMPv6 echo request.
    pub fn echo(mut self, sequence: u16) -> Self {
        self.transport = Transport::Echo(sequence);
        self
    }

    /// This many bytes of payload.
    pub fn payload(mut self, length: usize) -> Self {
        self.payload = (0..length).map(|index| index as u8).collect();
        self
    }

    /// The same packet the other way: addresses and ports swapped. Timestamps stay.
    pub fn reply(mut self) -> Self {
        self.macs.swap(0, 1);
        match &mut self.transport {
            Transport::Tcp(tcp) => std::mem::swap(&mut tcp.source, &mut tcp.destination),
            Transport::Udp(source, destination) => std::mem::swap(source, destination),
            Transport::None | Transport::Echo(_) => {}
        }
        self.with_ip(|ip| std::mem::swap(&mut ip.source, &mut ip.destination))
    }

    fn with_ip(mut self, change: impl FnOnce(&mut Ip)) -> Self {
        match &mut self.network {
            Network::Ip(ip) => change(ip),
            Network::Raw(ethertype, _) => panic!("EtherType {ethertype:#06x} has no IP header"),
        }
        self
    }

    /// The frame.
    pub fn build(&self) -> Vec<u8> {
        self.assemble().0
    }

    /// Where the frame's headers begin.
    pub fn layout(&self) -> Layout {
        self.assemble().1
    }

    fn assemble(&self) -> (Vec<u8>, Layout) {
        let (ethertype, network, within) = match &self.network {
            Network::Ip(ip) => self.ip(ip),
            Network::Raw(ethertype, content) => (*ethertype, content.clone(), Layout::default()),
        };
        let mut frame = self.link(self.ethertype.unwrap_or(ethertype), network.len());
        let start = frame.len();
        frame.extend(network);
        let layout = Layout {
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

    fn ip(&self, ip: &Ip) -> (u16, Vec<u8>, Layout) {
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
        (ethertype, out, Layout { network: 0, transport: start, payload: start + header_len })
    }

    /// Protocol number, transport header with payload, and the header's length.
    fn transport_of(&self, ip: &Ip) -> (u8, Vec<u8>, usize) {
        let v4 = ip.source.is_ipv4();
        let (protocol, mut out) = match &self.transport {
            Transport::None => (IPPROTO_NONE, Vec::new()),
            Transport::Tcp(tcp) => (IPPROTO_TCP, tcp.header()),
            Transport::Udp(source, destination) => {
                let length = (8 + self.payload.len()) as u16;
                let words = [*source, *destination, length, 0];
                (IPPROTO_UDP, words.iter().flat_map(|word| word.to_be_bytes()).collect())
            }
            Transport::Echo(sequence) => {
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

impl Ip {
    fn is_later_fragment(&self) -> bool {
        let later = |extension: &Extension| matches!(extension, Extension::Fragment(1.., _));
        matches!(self.fragment, Some((1.., _))) || self.extensions.iter().any(later)
    }

    fn pseudo_header(&self, protocol: u8, length: usize) -> u32 {
        let sum = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                sum(0, &[source.octets(), destination.octets()].concat())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                sum(0, &[source.octets(), destination.octets()].concat())
            }
            _ => 0,
        };
        sum + u32::from(protocol) + length as u32
    }

    fn v4(&self, source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, content: usize) -> Vec<u8> {
        assert!(self.extensions.is_empty(), "IPv4 has no extension headers");
        let header_len = 20 + self.options.len();
        let length = self.length.unwrap_or((header_len + content) as u16);
        let (offset, more) = self.fragment.unwrap_or((0, false));
        let mut out = vec![0x40 | (header_len / 4) as u8, self.tos];
        out.extend(length.to_be_bytes());
        out.extend(self.id.to_be_bytes());
        out.extend((offset / 8 + (u16::from(more) << 13)).to_be_bytes());
        out.extend([64, protocol, 0, 0]);
        out.extend(source.octets());
        out.extend(destination.octets());
        out.extend(&self.options);
        let checksum = checksum(0, &out);
        out[10..12].copy_from_slice(&checksum.to_be_bytes());
        out
    }

    fn v6(&self, source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, content: usize) -> Vec<u8> {
        assert!(self.options.is_empty() && self.fragment.is_none(), "IPv6 has extension headers");
        let mut numbers: Vec<u8> = self.extensions.iter().map(|ext| ext.number()).collect();
        numbers.push(protocol);
        let mut chain = Vec::new();
        for (extension, next) in self.extensions.iter().zip(&numbers[1..]) {
            chain.extend(extension.header(*next));
        }
        let length = self.length.unwrap_or((chain.len() + content) as u16);
        let [high, low] = self.id.to_be_bytes();
        let mut out = vec![0x60 | self.tos >> 4, self.tos << 4, high, low];
        out.extend(length.to_be_bytes());
        out.extend([numbers[0], 64]);
        out.extend(source.octets());
        out.extend(destination.octets());
        out.extend(chain);
        out
    }
}

impl Extension {
    fn number(self) -> u8 {
        match self {
            Self::HopByHop(_) => IPPROTO_HOPOPTS,
            Self::Routing(_) => IPPROTO_ROUTING,
            Self::Destination(_) => IPPROTO_DSTOPTS,
            Self::Authentication(_) => IPPROTO_AH,
            Self::Fragment(..) => IPPROTO_FRAGMENT,
        }
    }

    fn header(self, next: u8) -> Vec<u8> {
        match self {
            Self::HopByHop(size) | Self::Destination(size) => {
                let mut out = sized(next, size, size / 8 - 1);
                for option in out[2..].chunks_mut(2 + 254) {
                    option[0] = 1; // PadN
                    option[1] = (option.len() - 2) as u8;
                }
                out
            }
            Self::Routing(size) => {
                let mut out = sized(next, size, size / 8 - 1);
                out[2] = 4; // segment routing, no segments left
                out
            }
            Self::Authentication(size) => sized(next, size, size / 4 - 2),
            Self::Fragment(offset, more) => {
                let [high, low] = (offset | u16::from(more)).to_be_bytes();
                vec![next, 0, high, low, 0, 0, 0, 1]
            }
        }
    }
}

fn sized(next: u8, size: usize, length: usize) -> Vec<u8> {
    assert!(
        size.is_multiple_of(8) && size >= 8 && length < 256,
        "extension header of {size} bytes"
    );
    let mut out = vec![0; size];
    out[0] = next;
    out[1] = length as u8;
    out
}

impl Tcp {
    /// A segment with ACK and nothing else.
    pub fn new(source: u16, destination: u16) -> Self {
        Self {
            source,
            destination,
            sequence: 1,
            acknowledged: 1,
            flags: ACK,
            options: Vec::new(),
            data_offset: None,
        }
    }

    /// The flags, all of them.
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    /// Sequence and acknowledgement numbers.
    pub fn numbers(mut self, sequence: u32, acknowledged: u32) -> Self {
        self.sequence = sequence;
        self.acknowledged = acknowledged;
        self
    }

    /// The options, in this order.
    pub fn options(mut self, options: impl IntoIterator<Item = TcpOption>) -> Self {
        self.options = options.into_iter().collect();
        self
    }

    /// NOP, NOP, timestamps: as every kernel sends them outside the handshake.
    pub fn timestamps(self, value: u32, echo: u32) -> Self {
        self.options([TcpOption::Nop, TcpOption::Nop, TcpOption::Timestamps(value, echo)])
    }

    /// Claims this data offset, in words, whatever the options' size.
    pub fn data_offset(mut self, words: u8) -> Self {
        self.data_offset = Some(words);
        self
    }

    fn header(&self) -> Vec<u8> {
        let mut options: Vec<u8> = self.options.iter().flat_map(TcpOption::bytes).collect();
        options.resize(options.len().next_multiple_of(4), 0);
        assert!(options.len() <= 40, "{} bytes of TCP options", options.len());
        let words = self.data_offset.unwrap_or(5 + (options.len() / 4) as u8);
        let mut out = Vec::new();
        out.extend(self.source.to_be_bytes());
        out.extend(self.destination.to_be_bytes());
        out.extend(self.sequence.to_be_bytes());
        out.extend(self.acknowledged.to_be_bytes());
        out.extend([words << 4, self.flags, 0x20, 0, 0, 0, 0, 0]);
        out.extend(options);
        out
    }
}

impl TcpOption {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::End => vec![0],
            Self::Nop => vec![1],
            Self::Mss(size) => [&[2, 4][..], &size.to_be_bytes()].concat(),
            Self::WindowScale(shift) => vec![3, 3, *shift],
            Self::SackPermitted => vec![4, 2],
            Self::Sack(blocks) => [vec![5, 2 + 8 * *blocks as u8], vec![9; 8 * blocks]].concat(),
            Self::Timestamps(value, echo) => {
                [&[8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat()
            }
            Self::Unknown(kind, body) => [vec![*kind, 2 + *body as u8], vec![8; *body]].concat(),
            Self::Raw(bytes) => bytes.clone(),
        }
    }
}

fn sum(start: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(start, |sum, pair| {
        sum + u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
    })
}

/// RFC 1071.
fn checksum(start: u32, bytes: &[u8]) -> u16 {
    let mut sum = sum(start, bytes);
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::hosts::*;
    use super::*;

    fn data() -> Packet {
        Packet::new(ALICE, SERVER).tcp(Tcp::new(1000, 443).timestamps(0x01020304, 0x05060708))
    }

    #[test]
    fn a_plain_tcp_segment_byte_by_byte() {
        let frame = data().payload(3).build();
        assert_eq!(frame[..14], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
        assert_eq!(frame[14..26], [0x45, 0, 0, 55, 0, 0, 0, 0, 64, 6, frame[24], frame[25]]);
        assert_eq!(frame[26..34], [100, 64, 1, 1, 198, 51, 100, 80]);
        assert_eq!(frame[34..38], [3, 232, 1, 187]);
        assert_eq!(frame[46..48], [0x80, ACK]);
        assert_eq!(frame[54..66], [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(frame[66..], [0, 1, 2]);
    }

    #[test]
    fn checksums_add_up_to_nothing() {
        for (source, destination) in [(ALICE, SERVER), (ALICE6, SERVER6)] {
            let packet = Packet::new(source, destination).payload(5);
            for packet in [
                packet.clone().tcp(Tcp::new(1, 2).options([TcpOption::Mss(1460)])),
                packet.clone().udp(53, 53),
                packet.clone().echo(9),
            ] {
                let (frame, layout) = packet.assemble();
                let Network::Ip(ip) = &packet.network else { unreachable!() };
                let content = &frame[layout.transport..];
                let (protocol, pseudo) = match (&packet.transport, source.is_ipv4()) {
                    (Transport::Tcp(_), _) => (6, true),
                    (Transport::Udp(..), _) => (17, true),
                    (_, v4) => (58, !v4),
                };
                let start = if pseudo { ip.pseudo_header(protocol, content.len()) } else { 0 };
                assert_eq!(checksum(start, content), 0, "{packet:?}");
                if source.is_ipv4() {
                    assert_eq!(checksum(0, &frame[14..34]), 0, "{packet:?}");
                }
            }
        }
    }

    #[test]
    fn link_headers_from_the_outside_in() {
        let packet = data().tag(ETH_P_8021AD, 100).tag(ETH_P_8021Q, 7).pppoe(5);
        let expected =
            [0x88, 0xa8, 0, 100, 0x81, 0, 0, 7, 0x88, 0x64, 0x11, 0, 0, 5, 0, 54, 0, 0x21];
        assert_eq!(packet.build()[12..30], expected);
        assert_eq!(packet.layout(), Layout { network: 30, transport: 50, payload: 82 });
    }

    #[test]
    fn extension_headers_name_their_successor() {
        let frame = Packet::new(ALICE6, SERVER6)
            .extension(Extension::HopByHop(8))
            .extension(Extension::Routing(24))
            .extension(Extension::Authentication(16))
            .extension(Extension::Fragment(0, true))
            .udp(1, 2)
            .build();
        assert_eq!(frame[18..21], [0, 8 + 24 + 16 + 8 + 8, 0]);
        assert_eq!(frame[54..56], [43, 0]);
        assert_eq!(frame[62..64], [51, 2]);
        assert_eq!(frame[86..88], [44, 2]);
        assert_eq!(frame[102..106], [17, 0, 0, 1]);
    }

    #[test]
    fn only_the_first_fragment_has_a_transport_header() {
        let first = data().payload(16).fragment(0, true).build();
        let later = data().payload(16).fragment(48, false).build();
        assert_eq!((first[20], first[21]), (0x20, 0));
        assert_eq!((later[20], later[21]), (0, 6));
        assert_eq!(first.len() - later.len(), 32);
    }

    #[test]
    fn a_reply_goes_back() {
        let there = data().build();
        let back = data().reply().build();
        assert_eq!(there[..6], back[6..12]);
        assert_eq!(there[26..30], back[30..34]);
        assert_eq!(there[34..36], back[36..38]);
        assert_eq!(data().reply().reply().build(), there);
    }

    #[test]
    fn odd_options_are_filled_up() {
        let tcp = Tcp::new(1, 2).options([TcpOption::WindowScale(7), TcpOption::Timestamps(1, 2)]);
        let header = tcp.header();
        assert_eq!(header.len(), 36);
        assert_eq!(header[12], 9 << 4);
        assert_eq!(header[20..26], [3, 3, 7, 8, 10, 0]);
        assert_eq!(header[33..], [0, 0, 0]);
    }
}
