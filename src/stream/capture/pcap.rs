// SPDX-License-Identifier: GPL-2.0-only
//! Reads pcap, the classic capture format: one header for the file, then a header for each packet
//! (draft-ietf-opsawg-pcap). Numbers are in the byte order of the machine that wrote the file.

use crate::stream::capture::input::{body, header, u32_at, Fault, Input};
use crate::stream::capture::left_out::LinkTypeText;
use crate::stream::capture::link_layer::{LinkLayer, PacketHeader};

/// The first four bytes of a file, in the file's byte order: times in microseconds, in nanoseconds,
/// and Kuznetzov's format of old phones and routers, whose packets have a longer header.
const MICROSECONDS: u32 = 0xA1B2_C3D4;
const NANOSECONDS: u32 = 0xA1B2_3C4D;
const KUZNETZOV: u32 = 0xA1B2_CD34;

/// Length of the fields that Kuznetzov's format adds to a packet's header: an interface, a
/// protocol, a packet type.
const KUZNETZOV_FIELDS: usize = 8;

/// Flag in the field of the link type: frames end with a checksum. Its length is in the top four
/// bits, in units of two bytes.
const HAS_CHECKSUM: u32 = 1 << 26;

/// The header of a file.
#[derive(Clone, Copy, Debug)]
pub struct Pcap {
    big_endian: bool,
    /// Unit of the packets' times, in nanoseconds: 1000 or 1.
    unit_ns: u64,
    /// Length in bytes of a packet's header beyond the usual fields.
    more_header: usize,
    /// Length in bytes of the checksum at the end of each frame.
    checksum: u32,
    link: LinkLayer,
}

impl Pcap {
    /// Reads the file's header. Returns `None` if `magic`, its first bytes, is not that of a pcap
    /// file.
    pub fn begin(magic: [u8; 4], input: &mut Input) -> Result<Option<Self>, Fault> {
        let found =
            [false, true].into_iter().find_map(|big_endian| match u32_at(&magic, 0, big_endian) {
                MICROSECONDS => Some((big_endian, 1000, 0)),
                NANOSECONDS => Some((big_endian, 1, 0)),
                KUZNETZOV => Some((big_endian, 1000, KUZNETZOV_FIELDS)),
                _ => None,
            });
        let Some((big_endian, unit_ns, more_header)) = found else { return Ok(None) };
        let bytes: [u8; 24] = header(input)?.ok_or(Fault::CutShort)?;
        let field = u32_at(&bytes, 20, big_endian);
        let number = (field & 0xFFFF) as u16;
        let checksum = if field & HAS_CHECKSUM == 0 { 0 } else { field >> 28 << 1 };
        let unread = || Fault::Bad(format!("{} carries no IP that we read", LinkTypeText(number)));
        let link = LinkLayer::new(number).ok_or_else(unread)?;
        Ok(Some(Self { big_endian, unit_ns, more_header, checksum, link }))
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
        if self.more_header > 0 {
            body(input, data, self.more_header)?;
        }
        body(input, data, captured as usize)?;
        Ok(Some(PacketHeader {
            time_ns: u64::from(seconds) * 1_000_000_000 + u64::from(units) * self.unit_ns,
            wire_len: wire_len.max(captured).saturating_sub(self.checksum),
            link: self.link,
        }))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::stream::capture::tests::{frames, message, Bytes};

    /// Two packets, the second with less than was on the wire.
    pub(in crate::stream::capture) fn file(big: bool, magic: u32, linktype: u32) -> Vec<u8> {
        let head = Bytes::new(big).u32(magic).u16(2).u16(4).u32(0).u32(0).u32(65535).u32(linktype);
        let more = if magic == KUZNETZOV { vec![0xEE; KUZNETZOV_FIELDS] } else { Vec::new() };
        let first = head.u32(1_600_000_000).u32(5).u32(20).u32(20).raw(&more).raw(&[1; 20]);
        let second = first.u32(1_600_000_001).u32(999_999).u32(16).u32(1500).raw(&more);
        second.raw(&[2; 16]).bytes
    }

    #[test]
    fn every_magic_in_both_byte_orders() {
        let magics = [(MICROSECONDS, 1000), (NANOSECONDS, 1), (KUZNETZOV, 1000)];
        for (big, (magic, unit)) in
            [false, true].into_iter().flat_map(|big| magics.map(|m| (big, m)))
        {
            let (frames, result) = frames(&file(big, magic, 1));
            result.unwrap();
            let times: Vec<_> = frames.iter().map(|frame| frame.time_ns).collect();
            let second = 1_000_000_000;
            let expected =
                [1_600_000_000 * second + 5 * unit, 1_600_000_001 * second + 999_999 * unit];
            assert_eq!(times, expected);
            assert_eq!((frames[0].wire_len, &frames[0].data), (20, &vec![1; 20]));
            assert_eq!((frames[1].wire_len, &frames[1].data), (1500, &vec![2; 16]));
        }
    }

    #[test]
    fn the_checksum_of_a_frame_is_no_part_of_its_length() {
        let (frames, result) = frames(&file(false, MICROSECONDS, 2 << 28 | HAS_CHECKSUM | 1));
        result.unwrap();
        assert_eq!((frames[0].wire_len, frames[1].wire_len), (16, 1496));
    }

    #[test]
    fn faults_name_the_packet() {
        let whole = file(false, MICROSECONDS, 1);
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
        let text = message(&file(false, MICROSECONDS, 189));
        assert!(text.starts_with("read it: link type 189 (USB_LINUX) carries no IP"), "{text}");
        let text = message(&file(false, MICROSECONDS, 9999));
        assert!(text.starts_with("read it: link type 9999 carries no IP"), "{text}");
    }
}
