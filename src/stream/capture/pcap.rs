// SPDX-License-Identifier: GPL-2.0-only
//! Reads pcap, the classic capture format: one header for the file, then a header for each packet
//! (draft-ietf-opsawg-pcap). Numbers are in the byte order of the machine that wrote the file.

use crate::stream::capture::input::{body, header, u32_at, Fault, Input};
use crate::stream::capture::link_layer::{LinkLayer, PacketHeader};

/// The first four bytes of a file with times in microseconds, in the file's byte order.
const MICROSECONDS: u32 = 0xA1B2_C3D4;
/// The first four bytes of a file with times in nanoseconds.
const NANOSECONDS: u32 = 0xA1B2_3C4D;

/// The header of a file.
#[derive(Clone, Copy, Debug)]
pub struct Pcap {
    big_endian: bool,
    /// Unit of the packets' times, in nanoseconds: 1000 or 1.
    unit_ns: u64,
    link: LinkLayer,
}

impl Pcap {
    /// Reads the file's header. Returns `None` if `magic`, its first bytes, is not that of a pcap
    /// file.
    pub fn begin(magic: [u8; 4], input: &mut Input) -> Result<Option<Self>, Fault> {
        let found =
            [false, true].into_iter().find_map(|big_endian| match u32_at(&magic, 0, big_endian) {
                MICROSECONDS => Some((big_endian, 1000)),
                NANOSECONDS => Some((big_endian, 1)),
                _ => None,
            });
        let Some((big_endian, unit_ns)) = found else { return Ok(None) };
        let bytes: [u8; 24] = header(input)?.ok_or(Fault::CutShort)?;
        // The upper 16 bits tell whether frames end with a checksum.
        let link =
            LinkLayer::new((u32_at(&bytes, 20, big_endian) & 0xFFFF) as u16).map_err(Fault::Bad)?;
        Ok(Some(Self { big_endian, unit_ns, link }))
    }

    /// Reads the next packet: its bytes into `data`. Returns `None` at the end of the file.
    pub fn next(
        &mut self,
        input: &mut Input,
        data: &mut Vec<u8>,
    ) -> Result<Option<PacketHeader>, Fault> {
        let Some(bytes) = header::<16>(input)? else { return Ok(None) };
        let field = |index: usize| u32_at(&bytes, index * 4, self.big_endian);
        let (seconds, units, captured, wire_len) = (field(0), field(1), field(2), field(3));
        body(input, data, captured as usize)?;
        Ok(Some(PacketHeader {
            time_ns: u64::from(seconds) * 1_000_000_000 + u64::from(units) * self.unit_ns,
            wire_len: wire_len.max(captured),
            link: self.link,
            outgoing: None,
        }))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::stream::capture::tests::{frames, message, Bytes};

    /// Two packets, the second with less than was on the wire.
    pub(in crate::stream::capture) fn file(big: bool, nanoseconds: bool, linktype: u32) -> Vec<u8> {
        let magic = if nanoseconds { NANOSECONDS } else { MICROSECONDS };
        let head = Bytes::new(big).u32(magic).u16(2).u16(4).u32(0).u32(0).u32(65535).u32(linktype);
        let first = head.u32(1_600_000_000).u32(5).u32(20).u32(20).raw(&[1; 20]);
        first.u32(1_600_000_001).u32(999_999).u32(16).u32(1500).raw(&[2; 16]).bytes
    }

    #[test]
    fn both_units_and_byte_orders() {
        for (big, nanoseconds) in [(false, false), (false, true), (true, false), (true, true)] {
            let (frames, result) = frames(&file(big, nanoseconds, 1));
            result.unwrap();
            let unit = if nanoseconds { 1 } else { 1000 };
            let times: Vec<_> = frames.iter().map(|frame| frame.time_ns).collect();
            let second = 1_000_000_000;
            let expected =
                [1_600_000_000 * second + 5 * unit, 1_600_000_001 * second + 999_999 * unit];
            assert_eq!(times, expected);
            assert_eq!((frames[0].wire_len, &frames[0].data), (20, &vec![1; 20]));
            assert_eq!((frames[1].wire_len, &frames[1].data), (1500, &vec![2; 16]));
            assert_eq!(frames[0].outgoing, None);
        }
    }

    #[test]
    fn faults_name_the_packet() {
        let whole = file(false, false, 1);
        let text = message(&whole[..whole.len() - 1]);
        assert!(text.starts_with("read it, packet 2: the file ends within it"), "{text}");
        let text = message(&whole[..24 + 10]);
        assert!(text.starts_with("read it, packet 1: the file ends within it"), "{text}");
        let mut huge = whole;
        huge[24 + 8 + 3] = 0x7F;
        let text = message(&huge);
        assert_eq!(text, "read it, packet 1: malformed: it claims to have 2130706452 bytes");
        assert_eq!(message(&huge[..20]), "read it: it ends within its header");
    }

    #[test]
    fn a_link_layer_without_ip() {
        let text = message(&file(false, false, 189));
        assert!(text.starts_with("read it: link type 189 (USB_LINUX) carries no IP"), "{text}");
    }
}
