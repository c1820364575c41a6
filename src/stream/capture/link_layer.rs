// SPDX-License-Identifier: GPL-2.0-only
//! The link layers of captures. Each packet becomes an Ethernet frame: a header of 14 bytes
//! replaces the header of its link layer.
//!
//! The numbers are those of <https://www.tcpdump.org/linktypes.html>. The flags and packet types
//! that tell whether a packet came in or left are not read: captures of routed or mirrored traffic
//! have one value for all packets, or each packet twice.

use crate::stream::capture::frame::CapturedFrame;
use crate::stream::capture::wifi;

/// Length of an Ethernet header in bytes. The programs do not use its addresses, so the headers
/// made here have zeroes.
const ETHERNET_HEADER: usize = 14;

/// EtherTypes.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86DD;
const PPPOE_SESSION: u16 = 0x8864;
/// EtherType of PPP (IEEE, listed in RFC 7042), given to PPP packets without IP: the programs count
/// them as packets without IP.
const PPP: u16 = 0x880B;
/// The EtherType of a packet that has none. The programs count it as a packet without IP.
const NONE: u16 = 0;

/// The metadata that a capture holds for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PacketHeader {
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// Length of the packet on the wire, in bytes, with the header of its link layer.
    pub wire_len: u32,
    pub link: LinkLayer,
}

/// The link layer of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkLayer {
    /// Ethernet behind this number of bytes.
    Ethernet(usize),
    /// Ethernet with a switch's tag of this length in front of the EtherType.
    SwitchTag(usize),
    /// IP behind this number of bytes.
    Ip(usize),
    /// LINUX_SLL, which `tcpdump -i any` wrote before libpcap 1.10.
    Cooked,
    /// LINUX_SLL2, which `tcpdump -i any` writes since libpcap 1.10.
    Cooked2,
    /// NULL or LOOP: the header is the address family as a number of 32 bits, in either byte order.
    Loopback,
    /// PPP behind this number of bytes, with or without HDLC-like framing (RFC 1662).
    Ppp(usize),
    /// PPPoE session packets without their Ethernet header.
    PppOverEthernet,
    /// Cisco's HDLC: an address, a control byte, an EtherType.
    CiscoHdlc,
    /// LLC with SNAP: IP over ATM, as DSL lines have it.
    Snap,
    /// OpenBSD's and FreeBSD's packet filter log.
    PfLog,
    /// Linux's netfilter log.
    NfLog,
    /// A packet of Apple's PKTAP, with the link type of its interface.
    PkTap,
    /// Juniper's header in front of Ethernet.
    JuniperEthernet,
    Wifi,
    Radiotap,
    Prism,
    Avs,
    /// A header with a length and the link type of the packet after it.
    Ppi,
}

/// The place of the packet that a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inner {
    /// An Ethernet frame at this offset.
    Frame(usize),
    /// A packet of this EtherType at this offset.
    Packet(usize, u16),
}

/// The link layers that are read: number, name, layer.
const LINK_LAYERS: [(u16, &str, LinkLayer); 36] = [
    (0, "NULL", LinkLayer::Loopback),
    (1, "ETHERNET", LinkLayer::Ethernet(0)),
    (8, "SLIP", LinkLayer::Ip(16)),
    (9, "PPP", LinkLayer::Ppp(0)),
    // Some BSDs write 12 or 14 for RAW.
    (12, "RAW", LinkLayer::Ip(0)),
    (14, "RAW", LinkLayer::Ip(0)),
    (50, "PPP_HDLC", LinkLayer::Ppp(0)),
    (51, "PPP_ETHER", LinkLayer::PppOverEthernet),
    (100, "ATM_RFC1483", LinkLayer::Snap),
    (101, "RAW", LinkLayer::Ip(0)),
    (104, "C_HDLC", LinkLayer::CiscoHdlc),
    (105, "IEEE802_11", LinkLayer::Wifi),
    (108, "LOOP", LinkLayer::Loopback),
    (109, "ENC", LinkLayer::Ip(12)),
    (113, "LINUX_SLL", LinkLayer::Cooked),
    (117, "PFLOG", LinkLayer::PfLog),
    (119, "IEEE802_11_PRISM", LinkLayer::Prism),
    (127, "IEEE802_11_RADIOTAP", LinkLayer::Radiotap),
    // macOS before 10.10 writes PKTAP under the number of USER2.
    (149, "PKTAP", LinkLayer::PkTap),
    (163, "IEEE802_11_AVS", LinkLayer::Avs),
    (166, "PPP_PPPD", LinkLayer::Ppp(1)),
    (178, "JUNIPER_ETHER", LinkLayer::JuniperEthernet),
    (192, "PPI", LinkLayer::Ppi),
    (204, "PPP_WITH_DIR", LinkLayer::Ppp(1)),
    (226, "IPNET", LinkLayer::Ip(24)),
    (228, "IPV4", LinkLayer::Ip(0)),
    (229, "IPV6", LinkLayer::Ip(0)),
    (239, "NFLOG", LinkLayer::NfLog),
    (240, "NETANALYZER", LinkLayer::Ethernet(4)),
    // The preamble is eight bytes.
    (241, "NETANALYZER_TRANSPARENT", LinkLayer::Ethernet(12)),
    (258, "PKTAP", LinkLayer::PkTap),
    (276, "LINUX_SLL2", LinkLayer::Cooked2),
    (281, "DSA_TAG_BRCM", LinkLayer::SwitchTag(4)),
    (282, "DSA_TAG_BRCM_PREPEND", LinkLayer::Ethernet(4)),
    (283, "DSA_TAG_DSA", LinkLayer::SwitchTag(4)),
    (284, "DSA_TAG_EDSA", LinkLayer::SwitchTag(8)),
];

/// Frequent link layers that are not read, for messages.
const UNREAD: [(u16, &str); 21] = [
    (6, "IEEE802_5"),
    (10, "FDDI"),
    (107, "FRELAY"),
    (123, "SUNATM"),
    (143, "DOCSIS"),
    (147, "USER0"),
    (187, "BLUETOOTH_HCI_H4"),
    (189, "USB_LINUX"),
    (195, "IEEE802_15_4_WITHFCS"),
    (201, "BLUETOOTH_HCI_H4_WITH_PHDR"),
    (220, "USB_LINUX_MMAPPED"),
    (227, "CAN_SOCKETCAN"),
    (230, "IEEE802_15_4_NOFCS"),
    (243, "MPEG_2_TS"),
    (247, "INFINIBAND"),
    (249, "USBPCAP"),
    (251, "BLUETOOTH_LE_LL"),
    (252, "WIRESHARK_UPPER_PDU"),
    (253, "NETLINK"),
    (254, "BLUETOOTH_LINUX_MONITOR"),
    (271, "VSOCK"),
];

/// Returns the name of a link type, if it is a frequent one.
pub(super) fn link_type_name(number: u16) -> Option<&'static str> {
    let read = LINK_LAYERS.into_iter().map(|(number, name, _)| (number, name));
    read.chain(UNREAD).find(|(other, _)| *other == number).map(|(_, name)| name)
}

impl LinkLayer {
    /// Returns the link layer of that number; `None` if it is not read.
    pub fn new(number: u16) -> Option<Self> {
        LINK_LAYERS.into_iter().find(|(other, ..)| *other == number).map(|(.., layer)| layer)
    }

    /// Writes the packet into `frame` as an Ethernet frame. Fills a frame that is shorter than an
    /// Ethernet header with zeroes. Does not set the frame's time. Returns false if the packet ends
    /// within the header of its link layer.
    pub fn to_ethernet(
        self,
        bytes: &[u8],
        packet: &PacketHeader,
        frame: &mut CapturedFrame,
    ) -> bool {
        frame.data.clear();
        let (offset, length) = match self.inner(bytes).unwrap_or(Inner::Packet(0, NONE)) {
            Inner::Frame(offset) => (offset, 0),
            Inner::Packet(offset, ethertype) => {
                frame.data.extend_from_slice(&[0; 12]);
                frame.data.extend_from_slice(&ethertype.to_be_bytes());
                (offset, ETHERNET_HEADER)
            }
        };
        frame.data.extend_from_slice(bytes.get(offset..).unwrap_or_default());
        let is_whole = bytes.len() >= offset && frame.data.len() >= ETHERNET_HEADER;
        frame.data.resize(frame.data.len().max(ETHERNET_HEADER), 0);
        let rest = packet.wire_len.saturating_sub(offset as u32);
        frame.wire_len = rest.saturating_add(length as u32);
        is_whole && !bytes.is_empty()
    }

    /// Finds the packet behind the header. Returns `None` if there is none, or if the header is cut
    /// short.
    fn inner(self, bytes: &[u8]) -> Option<Inner> {
        let ethertype_at = |at: usize, offset| Some(Inner::Packet(offset, be16(bytes, at)?));
        let wifi = |start: usize, padded| {
            let (offset, ethertype) = wifi::data_frame(bytes.get(start..)?, padded)?;
            Some(Inner::Packet(start + offset, ethertype))
        };
        match self {
            Self::Ethernet(offset) => Some(Inner::Frame(offset)),
            Self::SwitchTag(tag) => ethertype_at(12 + tag, 14 + tag),
            Self::Ip(offset) => Some(ip(bytes, offset)),
            Self::Cooked => ethertype_at(14, 16),
            Self::Cooked2 => ethertype_at(0, 20),
            Self::Loopback => Some(Inner::Packet(4, family(bytes)?)),
            Self::Ppp(offset) => ppp(bytes, offset),
            Self::PppOverEthernet => Some(Inner::Packet(0, PPPOE_SESSION)),
            Self::CiscoHdlc => ethertype_at(2, 4),
            Self::Snap => wifi::snap(bytes, 0).map(|(offset, kind)| Inner::Packet(offset, kind)),
            Self::PfLog => Some(ip(bytes, usize::from(*bytes.first()?).next_multiple_of(4))),
            Self::NfLog => Some(ip(bytes, nflog_payload(bytes)?)),
            Self::PkTap => pktap(bytes),
            Self::JuniperEthernet => juniper(bytes),
            Self::Wifi => wifi(0, false),
            Self::Radiotap => {
                let (length, padded) = wifi::radiotap(bytes)?;
                wifi(length, padded)
            }
            Self::Prism => wifi(wifi::prism(bytes)?, false),
            Self::Avs => wifi(wifi::avs(bytes)?, false),
            Self::Ppi => {
                let (length, number) = wifi::ppi(bytes)?;
                nested(bytes, length, number)
            }
        }
    }
}

/// Finds the packet of the link type `number` that begins at `offset`. Headers of a kind that names
/// a link type are not nested in each other.
fn nested(bytes: &[u8], offset: usize, number: u16) -> Option<Inner> {
    let layer = LinkLayer::new(number)?;
    if matches!(layer, LinkLayer::Ppi | LinkLayer::PkTap) {
        return None;
    }
    match layer.inner(bytes.get(offset..)?)? {
        Inner::Frame(more) => Some(Inner::Frame(offset + more)),
        Inner::Packet(more, ethertype) => Some(Inner::Packet(offset + more, ethertype)),
    }
}

/// Returns the packet at an offset where an IP header begins; its version gives the EtherType.
fn ip(bytes: &[u8], offset: usize) -> Inner {
    let ethertype = match bytes.get(offset).map(|byte| byte >> 4) {
        Some(4) => IPV4,
        Some(6) => IPV6,
        _ => NONE,
    };
    Inner::Packet(offset, ethertype)
}

/// Returns the EtherType for the address family in the first four bytes. Families are small
/// numbers, so the byte order that gives the smaller number is the right one. IPv6 is 10 on Linux,
/// 24 on NetBSD and OpenBSD, 28 on FreeBSD, 30 on macOS.
fn family(bytes: &[u8]) -> Option<u16> {
    let chunk = bytes.first_chunk()?;
    match u32::from_be_bytes(*chunk).min(u32::from_le_bytes(*chunk)) {
        2 => Some(IPV4),
        10 | 24 | 28 | 30 => Some(IPV6),
        _ => Some(NONE),
    }
}

/// Reads a PPP header at `start`. It may begin with the address and control bytes FF 03, or those
/// of Cisco's HDLC; the protocol field has one byte if that byte is odd (RFC 1661, 2).
fn ppp(bytes: &[u8], start: usize) -> Option<Inner> {
    let header = bytes.get(start..)?;
    if let [0x0F | 0x8F, 0, high, low, ..] = header {
        return Some(Inner::Packet(start + 4, u16::from_be_bytes([*high, *low])));
    }
    let start = if header.starts_with(&[0xFF, 3]) { start + 2 } else { start };
    let (length, protocol) = match bytes.get(start..)? {
        [short, ..] if short & 1 == 1 => (1, u16::from(*short)),
        [high, low, ..] => (2, u16::from_be_bytes([*high, *low])),
        _ => return None,
    };
    let ethertype = match protocol {
        0x0021 => IPV4,
        0x0057 => IPV6,
        // MPLS unicast and multicast (RFC 3032, 4.3)
        0x0281 => 0x8847,
        0x0283 => 0x8848,
        _ => PPP,
    };
    Some(Inner::Packet(start + length, ethertype))
}

/// Returns the offset of the packet in a netfilter log: the payload among the attributes that
/// follow a header of four bytes. Lengths are in the byte order of the machine that wrote them.
fn nflog_payload(bytes: &[u8]) -> Option<usize> {
    const PAYLOAD: u16 = 9;
    const HEADER: usize = 4;
    let mut at = HEADER;
    loop {
        let raw = be16(bytes, at)?;
        // A length is at least 4, and in the wrong byte order at least 1024.
        let swap = raw.swap_bytes() < raw;
        let native = |value: u16| if swap { value.swap_bytes() } else { value };
        let (length, kind) = (usize::from(native(raw)), native(be16(bytes, at + 2)?));
        if length < HEADER {
            return None;
        }
        if kind == PAYLOAD {
            return Some(at + HEADER);
        }
        at += length.next_multiple_of(4);
    }
}

/// Reads Apple's header: its length, the kind of the record (1: a packet), and the number of the
/// link type, 32 bits each.
fn pktap(bytes: &[u8]) -> Option<Inner> {
    let word = |index: usize| {
        let chunk = bytes.get(index * 4..)?.first_chunk()?;
        u16::try_from(u32::from_le_bytes(*chunk)).ok()
    };
    let (length, kind, number) = (word(0)?, word(1)?, word(2)?);
    if kind != 1 {
        return None;
    }
    nested(bytes, usize::from(length), number)
}

/// Reads Juniper's header: `MGC`, flags, and for a flag an extension with its length.
fn juniper(bytes: &[u8]) -> Option<Inner> {
    const HAS_EXTENSION: u8 = 0x80;
    const WITHOUT_ETHERNET: u8 = 2;
    let flags = match bytes {
        [b'M', b'G', b'C', flags, ..] => *flags,
        _ => return None,
    };
    let header = match flags & HAS_EXTENSION {
        0 => 4,
        _ => 6 + usize::from(be16(bytes, 4)?),
    };
    match flags & WITHOUT_ETHERNET {
        0 => Some(Inner::Frame(header)),
        // Four bytes of an address family stand in its place.
        _ => Some(ip(bytes, header + 4)),
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_be_bytes(*chunk))
}

#[cfg(test)]
mod tests;
