// SPDX-License-Identifier: GPL-2.0-only
//! The link layers of captures. Each packet becomes an Ethernet frame: a header of 14 bytes
//! replaces the header of its link layer.

use crate::stream::capture::frame::CapturedFrame;

/// Length of an Ethernet header in bytes. The programs do not use its addresses, so the headers
/// made here have zeroes.
const ETHERNET_HEADER: usize = 14;

/// EtherTypes.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86DD;
/// EtherType of PPP (IEEE, listed in RFC 7042), given to PPP packets without IP: the programs count
/// them as packets without IP.
const PPP: u16 = 0x880B;

/// The metadata that a capture holds for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PacketHeader {
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// Length of the packet on the wire, in bytes, with the header of its link layer.
    pub wire_len: u32,
    pub link: LinkLayer,
    /// Whether the packet left the capturing machine; `None` if the file does not say.
    pub outgoing: Option<bool>,
}

/// The link layer of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkLayer {
    Ethernet,
    /// No header: packets begin with the IP header.
    Raw,
    /// LINUX_SLL, which `tcpdump -i any` wrote before libpcap 1.10.
    Cooked,
    /// LINUX_SLL2, which `tcpdump -i any` writes since libpcap 1.10.
    Cooked2,
    /// NULL or LOOP: the header is the address family as a number of 32 bits, in either byte order.
    Loopback,
    /// PPP, with or without HDLC-like framing (RFC 1662).
    Ppp,
}

impl LinkLayer {
    /// Returns the link layer of that number (<https://www.tcpdump.org/linktypes.html>), or the
    /// reason why it cannot be read.
    pub fn new(number: u16) -> Result<Self, String> {
        match number {
            1 => Ok(Self::Ethernet),
            // 101 is RAW. Some BSDs number it 12 or 14. 228 and 229 are IPV4 and IPV6.
            12 | 14 | 101 | 228 | 229 => Ok(Self::Raw),
            113 => Ok(Self::Cooked),
            276 => Ok(Self::Cooked2),
            0 | 108 => Ok(Self::Loopback),
            9 => Ok(Self::Ppp),
            _ => match name(number) {
                Some(name) => {
                    Err(format!("link type {number} ({name}) carries no IP that we read"))
                }
                None => Err(format!("link type {number} is not known")),
            },
        }
    }

    /// Writes the packet into `frame` as an Ethernet frame. Fills a frame that is shorter than an
    /// Ethernet header with zeroes. Does not set the frame's time.
    pub fn to_ethernet(self, bytes: &[u8], packet: &PacketHeader, frame: &mut CapturedFrame) {
        frame.outgoing = packet.outgoing;
        frame.data.clear();
        if self == Self::Ethernet {
            frame.wire_len = packet.wire_len;
            frame.data.extend_from_slice(bytes);
            frame.data.resize(bytes.len().max(ETHERNET_HEADER), 0);
            return;
        }
        let (header, protocol) = self.header(bytes);
        let replaced = packet.wire_len.saturating_sub(header as u32);
        frame.wire_len = replaced.saturating_add(ETHERNET_HEADER as u32);
        frame.outgoing = packet.outgoing.or(self.outgoing(bytes));
        frame.data.extend_from_slice(&[0; 12]);
        frame.data.extend_from_slice(&protocol.to_be_bytes());
        frame.data.extend_from_slice(bytes.get(header..).unwrap_or_default());
    }

    /// Returns the length of the header in bytes, and the EtherType of the packet after it; 0 if
    /// the packet has none.
    fn header(self, bytes: &[u8]) -> (usize, u16) {
        let be16 = |at: usize| match bytes.get(at..at + 2) {
            Some(&[high, low]) => u16::from_be_bytes([high, low]),
            _ => 0,
        };
        match self {
            Self::Ethernet => (ETHERNET_HEADER, be16(12)),
            Self::Raw => (0, ip_version(bytes)),
            Self::Cooked => (16, be16(14)),
            Self::Cooked2 => (20, be16(0)),
            Self::Loopback => (4, family(bytes)),
            Self::Ppp => ppp(bytes),
        }
    }

    /// Returns whether the packet left, by the packet type of a cooked header: 0 to 2 arrived (for
    /// this host, broadcast, multicast), 4 left, and 3, for another host, says nothing.
    fn outgoing(self, bytes: &[u8]) -> Option<bool> {
        let kind = match self {
            Self::Cooked => *bytes.get(1)?,
            Self::Cooked2 => *bytes.get(10)?,
            _ => return None,
        };
        match kind {
            0..=2 => Some(false),
            4 => Some(true),
            _ => None,
        }
    }
}

/// Returns the EtherType of a packet that begins with an IP header.
fn ip_version(bytes: &[u8]) -> u16 {
    match bytes.first().map(|byte| byte >> 4) {
        Some(4) => IPV4,
        Some(6) => IPV6,
        _ => 0,
    }
}

/// Returns the EtherType for the address family in the first four bytes. Families are small
/// numbers, so the byte order that gives the smaller number is the right one. IPv6 is 10 on Linux,
/// 24 on NetBSD and OpenBSD, 28 on FreeBSD, 30 on macOS.
fn family(bytes: &[u8]) -> u16 {
    let Some(chunk) = bytes.first_chunk() else { return 0 };
    let family = u32::from_be_bytes(*chunk).min(u32::from_le_bytes(*chunk));
    match family {
        2 => IPV4,
        10 | 24 | 28 | 30 => IPV6,
        _ => 0,
    }
}

/// Returns the length of a PPP header and its EtherType. The header may begin with the address and
/// control bytes FF 03; the protocol field has one byte if that byte is odd (RFC 1661, 2).
fn ppp(bytes: &[u8]) -> (usize, u16) {
    let start = if bytes.starts_with(&[0xFF, 0x03]) { 2 } else { 0 };
    let (length, protocol) = match bytes.get(start..) {
        Some([short, ..]) if short & 1 == 1 => (1, u16::from(*short)),
        Some([high, low, ..]) => (2, u16::from_be_bytes([*high, *low])),
        _ => (0, 0),
    };
    let protocol = match protocol {
        0x0021 => IPV4,
        0x0057 => IPV6,
        _ => PPP,
    };
    (start + length, protocol)
}

/// Returns the name of a frequent link layer that carries no IP or is not supported, for the
/// message.
fn name(number: u16) -> Option<&'static str> {
    let known = [
        (6, "IEEE802_5"),
        (10, "FDDI"),
        (50, "PPP_HDLC"),
        (51, "PPP_ETHER"),
        (105, "IEEE802_11"),
        (117, "PFLOG"),
        (119, "IEEE802_11_PRISM"),
        (127, "IEEE802_11_RADIOTAP"),
        (143, "DOCSIS"),
        (147, "USER0"),
        (187, "BLUETOOTH_HCI_H4"),
        (189, "USB_LINUX"),
        (192, "PPI"),
        (195, "IEEE802_15_4"),
        (201, "BLUETOOTH_HCI_H4_WITH_PHDR"),
        (220, "USB_LINUX_MMAPPED"),
        (227, "CAN_SOCKETCAN"),
        (239, "NFLOG"),
        (249, "USBPCAP"),
        (252, "WIRESHARK_UPPER_PDU"),
        (253, "NETLINK"),
        (258, "PKTAP"),
        (271, "VSOCK"),
    ];
    known.into_iter().find(|(other, _)| *other == number).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u16, bytes: &[u8]) -> CapturedFrame {
        let link = LinkLayer::new(number).unwrap();
        let packet = PacketHeader { time_ns: 0, wire_len: 100, link, outgoing: None };
        let mut frame = CapturedFrame::default();
        link.to_ethernet(bytes, &packet, &mut frame);
        frame
    }

    fn cooked(kind: u8) -> Vec<u8> {
        [&[0, kind][..], &[0; 12], &[0x08, 0x00], &[0x45]].concat()
    }

    fn cooked2(kind: u8) -> Vec<u8> {
        [&[0x86, 0xDD][..], &[0; 8], &[kind], &[0; 9], &[0x45]].concat()
    }

    #[test]
    fn every_link_layer_becomes_ethernet() {
        let table: [(u16, &[u8], u16, u32); 16] = [
            (101, &[0x45, 9], IPV4, 114),
            (228, &[0x45, 9], IPV4, 114),
            (12, &[0x60, 9], IPV6, 114),
            (229, &[0x60, 9], IPV6, 114),
            (101, &[0x00, 9], 0, 114),
            (113, &[&cooked(0)[..], &[9]].concat(), IPV4, 98),
            (276, &[&cooked2(0)[..], &[9]].concat(), IPV6, 94),
            (0, &[2, 0, 0, 0, 0x45, 9], IPV4, 110),
            (0, &[0, 0, 0, 2, 0x45, 9], IPV4, 110),
            (108, &[0, 0, 0, 24, 0x45, 9], IPV6, 110),
            (0, &[30, 0, 0, 0, 0x45, 9], IPV6, 110),
            (0, &[7, 0, 0, 0, 0x45, 9], 0, 110),
            (9, &[0xFF, 3, 0, 0x21, 0x45, 9], IPV4, 110),
            (9, &[0, 0x57, 0x45, 9], IPV6, 112),
            (9, &[0x21, 0x45, 9], IPV4, 113),
            (9, &[0xC0, 0x21, 0x45, 9], PPP, 112),
        ];
        for (number, bytes, protocol, wire_len) in table {
            let frame = frame(number, bytes);
            assert_eq!(frame.wire_len, wire_len, "{number} {bytes:?}");
            assert_eq!(&frame.data[..12], [0; 12]);
            assert_eq!(&frame.data[12..14], protocol.to_be_bytes(), "{number} {bytes:?}");
            assert!(frame.data.ends_with(&[9]) && frame.data.len() == 16, "{number} {bytes:?}");
        }
    }

    #[test]
    fn ethernet_frames_are_copied_and_padded() {
        let found = frame(1, &[7; 60]);
        assert_eq!((found.data, found.wire_len), (vec![7; 60], 100));
        let runt = frame(1, &[7; 3]);
        assert_eq!(runt.data, [&[7; 3][..], &[0; 11]].concat());
    }

    #[test]
    fn truncated_headers_still_give_a_frame() {
        for number in [1, 101, 113, 276, 0, 108, 9] {
            for length in 0..24 {
                assert!(frame(number, &vec![0xFF; length]).data.len() >= 14, "{number} {length}");
            }
        }
    }

    #[test]
    fn cooked_headers_give_the_direction() {
        for (kind, outgoing) in
            [(0, Some(false)), (1, Some(false)), (2, Some(false)), (3, None), (4, Some(true))]
        {
            assert_eq!(frame(113, &cooked(kind)).outgoing, outgoing);
            assert_eq!(frame(276, &cooked2(kind)).outgoing, outgoing);
        }
    }

    #[test]
    fn other_link_layers_are_named_in_the_message() {
        let text = LinkLayer::new(127).unwrap_err();
        assert_eq!(text, "link type 127 (IEEE802_11_RADIOTAP) carries no IP that we read");
        assert_eq!(LinkLayer::new(9999).unwrap_err(), "link type 9999 is not known");
    }
}
