// SPDX-License-Identifier: GPL-2.0-only
//! Decides whether a packet of a capture leaves or arrives. Does no I/O.
//!
//! The programs match packets that leave with packets that arrive. If the capture says who sent a
//! packet (the flags of pcapng, the packet type of a cooked header), that decides. Otherwise a
//! packet from the lower to the higher address leaves. This choice is arbitrary, but the two
//! directions of a connection are always opposite, and all packets of a direction go the same way,
//! fragments included. Only if both addresses are equal do the ports decide.

use crate::stream::capture::frame::CapturedFrame;

/// Largest number of tags, and of MPLS labels, before the IP header, the same as in the programs.
const MAX_TAGS: usize = 4;
const MAX_LABELS: usize = 4;

/// Tells whether the packet leaves.
pub fn is_egress(frame: &CapturedFrame) -> bool {
    frame.outgoing.unwrap_or_else(|| lower_to_higher(&frame.data))
}

/// Tells whether the packet goes from a lower to a higher endpoint. Returns false for a packet that
/// is not IP or is cut short.
fn lower_to_higher(frame: &[u8]) -> bool {
    match endpoints(frame) {
        Some((from, to)) => from < to,
        None => false,
    }
}

/// An address in network byte order, and a port, which is 0 unless both addresses are equal.
type Endpoint<'a> = (&'a [u8], u16);

/// Returns source and destination; `None` for a packet that is not IP or is cut short.
fn endpoints(frame: &[u8]) -> Option<(Endpoint<'_>, Endpoint<'_>)> {
    let (version, packet) = network(frame)?;
    let (source, destination, protocol, rest) = match version {
        4 => {
            let header = usize::from(packet.first()? & 0xF) * 4;
            (packet.get(12..16)?, packet.get(16..20)?, packet.get(9)?, packet.get(header..))
        }
        _ => (packet.get(8..24)?, packet.get(24..40)?, packet.get(6)?, packet.get(40..)),
    };
    let (from, to) = match source == destination {
        true => ports(*protocol, rest.unwrap_or_default()),
        false => (0, 0),
    };
    Some(((source, from), (destination, to)))
}

/// Returns the IP version, and the packet from its IP header on.
fn network(frame: &[u8]) -> Option<(u8, &[u8])> {
    let mut rest = frame.get(12..)?;
    for _ in 0..=MAX_TAGS {
        let (protocol, payload) = rest.split_first_chunk()?;
        rest = match u16::from_be_bytes(*protocol) {
            0x0800 => return Some((4, payload)),
            0x86DD => return Some((6, payload)),
            0x8100 | 0x88A8 | 0x9100 => payload.get(2..)?,
            0x8864 => return ppp(payload.get(6..)?),
            0x8847 | 0x8848 => return mpls(payload),
            _ => return None,
        };
    }
    None
}

/// Does the same as [`network`], from the protocol field of PPP on (RFC 1661; 0x0021 is IPv4,
/// 0x0057 IPv6).
fn ppp(rest: &[u8]) -> Option<(u8, &[u8])> {
    let (protocol, payload) = rest.split_first_chunk()?;
    match u16::from_be_bytes(*protocol) {
        0x0021 => Some((4, payload)),
        0x0057 => Some((6, payload)),
        _ => None,
    }
}

/// Does the same as [`network`], from the first MPLS label on (RFC 3032): IP's version follows the bottom
/// of the stack.
fn mpls(stack: &[u8]) -> Option<(u8, &[u8])> {
    let bottom = stack.chunks_exact(4).take(MAX_LABELS).position(|label| label[2] & 1 == 1)?;
    let packet = stack.get((bottom + 1) * 4..)?;
    match packet.first()? >> 4 {
        version @ (4 | 6) => Some((version, packet)),
        _ => None,
    }
}

/// Returns the ports in host byte order. For ICMP returns numbers that make an echo request leave
/// and its reply arrive.
fn ports(protocol: u8, transport: &[u8]) -> (u16, u16) {
    let Some([a, b, c, d]) = transport.first_chunk() else { return (0, 0) };
    match (protocol, a) {
        (6 | 17, _) => (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])),
        (1, 8) | (58, 128) => (0, 1),
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: [u8; 4] = [10, 0, 0, 1];
    const HIGH: [u8; 4] = [192, 0, 2, 1];

    fn v4(from: [u8; 4], to: [u8; 4], protocol: u8, transport: &[u8]) -> Vec<u8> {
        let mut packet = [0; 20];
        (packet[0], packet[9]) = (0x45, protocol);
        packet[12..16].copy_from_slice(&from);
        packet[16..20].copy_from_slice(&to);
        [&packet, transport].concat()
    }

    fn v6(from: u8, to: u8) -> Vec<u8> {
        let mut packet = vec![0; 40];
        (packet[0], packet[6], packet[23], packet[39]) = (0x60, 6, from, to);
        packet
    }

    fn ethernet(tags: &[u8], packet: &[u8]) -> CapturedFrame {
        CapturedFrame { data: [&[0; 12], tags, packet].concat(), ..CapturedFrame::default() }
    }

    const IPV4: [u8; 2] = [8, 0];

    #[test]
    fn directions_are_opposite_behind_every_header() {
        let tags: [(&[u8], bool); 9] = [
            (&[0x08, 0], true),
            (&[0x81, 0, 0, 5, 0x08, 0], true),
            (&[0x88, 0xA8, 0, 1, 0x91, 0, 0, 2, 0x81, 0, 0, 3, 0x81, 0, 0, 4, 0x08, 0], true),
            (&[0x88, 0x64, 0x11, 0, 0, 1, 0, 9, 0, 0x21], true),
            (&[0x81, 0, 0, 5, 0x88, 0x64, 0x11, 0, 0, 1, 0, 9, 0, 0x21], true),
            (&[0x88, 0x47, 0, 6, 0x41, 64], true),
            (&[0x81, 0, 0, 5, 0x88, 0x48, 0, 6, 0x40, 64, 0, 7, 0x41, 64], true),
            (&[0x88, 0x47, 0, 6, 0x41, 64, 0, 0, 0, 0], false),
            (&[0x08, 0x06], false),
        ];
        for (tags, known) in tags {
            let there = is_egress(&ethernet(tags, &v4(LOW, HIGH, 6, &[0; 20])));
            let back = is_egress(&ethernet(tags, &v4(HIGH, LOW, 6, &[0; 20])));
            assert_eq!((there, back), (known, false), "{tags:x?}");
        }
        for tags in [&[0x86, 0xDD][..], &[0x88, 0x64, 0x11, 0, 0, 1, 0, 9, 0, 0x57]] {
            assert!(is_egress(&ethernet(tags, &v6(1, 2))), "{tags:x?}");
            assert!(!is_egress(&ethernet(tags, &v6(2, 1))), "{tags:x?}");
        }
    }

    #[test]
    fn ports_decide_between_the_same_addresses() {
        let between = |protocol, transport: &[u8]| {
            is_egress(&ethernet(&IPV4, &v4(LOW, LOW, protocol, transport)))
        };
        assert!(between(6, &[0, 80, 0xC0, 0]) && !between(6, &[0xC0, 0, 0, 80]));
        assert!(between(17, &[0, 53, 1, 0]) && !between(17, &[1, 0, 0, 53]));
        assert!(between(1, &[8, 0, 0, 0]) && !between(1, &[0, 0, 0, 0]));
        // Between different addresses they do not: fragments have no ports.
        let fragment = v4(HIGH, LOW, 6, &[0, 1, 0, 2]);
        assert!(!is_egress(&ethernet(&IPV4, &fragment)));
    }

    #[test]
    fn the_direction_in_the_capture_comes_first() {
        let mut frame = ethernet(&IPV4, &v4(LOW, HIGH, 6, &[]));
        frame.outgoing = Some(false);
        assert!(!is_egress(&frame));
        frame.outgoing = Some(true);
        assert!(is_egress(&frame));
    }

    #[test]
    fn truncated_and_meaningless_packets_arrive() {
        let whole = ethernet(&[0x81, 0, 0, 5, 0x08, 0], &v4(LOW, LOW, 6, &[0, 1, 0, 2])).data;
        for length in 0..whole.len() {
            let frame =
                CapturedFrame { data: whole[..length].to_vec(), ..CapturedFrame::default() };
            assert!(!is_egress(&frame), "{length}");
        }
        for byte in [0x00, 0x81, 0xFF] {
            let frame = CapturedFrame { data: vec![byte; 200], ..CapturedFrame::default() };
            assert!(!is_egress(&frame));
        }
    }
}
