// SPDX-License-Identifier: GPL-2.0-only
//! Reads pcapng, the newer capture format (draft-ietf-opsawg-pcapng): a list of blocks, each with a
//! type and a length. Interfaces have a block each, with a link layer and a clock of their own.

use crate::stream::capture::input::{body, header, u16_at, u32_at, Fault, Input};
use crate::stream::capture::left_out::LeftOut;
use crate::stream::capture::link_layer::{LinkLayer, PacketHeader};

/// Types of blocks. Other blocks hold no packets and are skipped.
const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// The byte-order magic: the first number of a section, in the section's byte order.
const BYTE_ORDER: u32 = 0x1A2B_3C4D;

/// Options of an interface: the resolution of its clock (if_tsresol), and its offset in seconds
/// (if_tsoffset).
const TSRESOL: u16 = 9;
const TSOFFSET: u16 = 14;
/// Length in bytes of the fields of a packet block before the packet.
const PACKET_HEADER: usize = 20;
/// Length in bytes of a block's type and its two lengths.
const FRAMING: usize = 12;

/// Tells whether `bytes`, the first of a file, are those of a pcapng file.
pub fn is_magic(bytes: [u8; 4]) -> bool {
    u32::from_le_bytes(bytes) == SECTION
}

/// The current section.
#[derive(Debug, Default)]
pub struct PcapNg {
    big_endian: bool,
    interfaces: Vec<CaptureInterface>,
}

#[derive(Clone, Debug)]
struct CaptureInterface {
    /// The link layer, or the number of a link type that is not read.
    link: Result<LinkLayer, u16>,
    /// Ticks of its clock in a second. 0: the resolution is out of range, so times cannot be
    /// converted.
    ticks: u128,
    /// Offset of its clock in seconds, to be added.
    offset_s: i64,
}

/// A packet block: the packet's header, or the reason why the packet cannot be read.
pub(super) type PacketBlock = Result<PacketHeader, LeftOut>;

impl PcapNg {
    /// Reads the next packet: its bytes into `data`. Returns `None` at the end of the file.
    pub fn next(
        &mut self,
        input: &mut Input,
        data: &mut Vec<u8>,
    ) -> Result<Option<PacketBlock>, Fault> {
        while let Some(kind) = self.block(input, data)? {
            match kind {
                SECTION => self.interfaces.clear(),
                INTERFACE => {
                    let interface = CaptureInterface::new(data, self.big_endian);
                    self.interfaces.push(interface);
                }
                ENHANCED_PACKET | OBSOLETE_PACKET => return Ok(Some(self.packet(kind, data))),
                SIMPLE_PACKET => return Ok(Some(Err(LeftOut::NoTime))),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Reads a block: its body into `data`. Returns its type; `None` at the end of the file.
    fn block(&mut self, input: &mut Input, data: &mut Vec<u8>) -> Result<Option<u32>, Fault> {
        let Some(head) = header::<8>(input)? else { return Ok(None) };
        // A section's type reads the same in both byte orders. The byte-order magic comes after its
        // length.
        let mut order = [0; 4];
        let section = u32_at(&head, 0, false) == SECTION;
        if section {
            order = header(input)?.ok_or(Fault::CutShort)?;
            self.big_endian = match u32::from_le_bytes(order) {
                BYTE_ORDER => false,
                order if order.swap_bytes() == BYTE_ORDER => true,
                _ => return Err(bad("malformed: its section has no byte order")),
            };
        }
        let kind = u32_at(&head, 0, self.big_endian);
        let length = u32_at(&head, 4, self.big_endian) as usize;
        let done = FRAMING + if section { order.len() } else { 0 };
        let Some(rest) = length.checked_sub(done).filter(|rest| rest % 4 == 0) else {
            return Err(bad("malformed: its block has an impossible length"));
        };
        body(input, data, rest)?;
        let tail: [u8; 4] = header(input)?.ok_or(Fault::CutShort)?;
        if u32_at(&tail, 0, self.big_endian) as usize != length {
            return Err(bad("malformed: its block has two different lengths"));
        }
        Ok(Some(kind))
    }

    /// Decodes a packet block from its body in `data`, and leaves only the packet in `data`.
    fn packet(&self, kind: u32, data: &mut Vec<u8>) -> PacketBlock {
        let field = |index: usize| u32_at(data, index * 4, self.big_endian);
        let id = match kind {
            OBSOLETE_PACKET => u32::from(u16_at(data, 0, self.big_endian)),
            _ => field(0),
        };
        let interface = self.interfaces.get(id as usize).ok_or(LeftOut::UnknownInterface)?;
        let link = interface.link.map_err(LeftOut::LinkType)?;
        let ticks = u64::from(field(1)) << 32 | u64::from(field(2));
        let time_ns = interface.time_ns(ticks).ok_or(LeftOut::TimeOutOfRange)?;
        let (captured, wire_len) = (field(3), field(4));
        let end = PACKET_HEADER.saturating_add(captured as usize);
        if data.len() < end {
            return Err(LeftOut::MalformedBlock);
        }
        data.truncate(end);
        data.drain(..PACKET_HEADER);
        Ok(PacketHeader { time_ns, wire_len: wire_len.max(captured), link })
    }
}

impl CaptureInterface {
    /// Decodes the body of an interface block.
    fn new(data: &[u8], big_endian: bool) -> Self {
        let number = u16_at(data, 0, big_endian);
        let options = data.get(8..).unwrap_or_default();
        let resolution = option(options, TSRESOL, big_endian).and_then(|value| value.first());
        let offset = option(options, TSOFFSET, big_endian);
        let offset = offset.and_then(|value| value.first_chunk().copied());
        let to_seconds = if big_endian { i64::from_be_bytes } else { i64::from_le_bytes };
        Self {
            link: LinkLayer::new(number).ok_or(number),
            ticks: ticks_per_second(resolution.copied().unwrap_or(6)).unwrap_or(0),
            offset_s: offset.map_or(0, to_seconds),
        }
    }

    /// Converts a time of this interface to nanoseconds since 1970; `None` if it is out of range.
    fn time_ns(&self, ticks: u64) -> Option<u64> {
        let ns = (u128::from(ticks) * 1_000_000_000).checked_div(self.ticks)?;
        let offset_ns = i128::from(self.offset_s) * 1_000_000_000;
        u64::try_from(i128::try_from(ns).ok()? + offset_ns).ok()
    }
}

/// Decodes if_tsresol: a negative power of ten, or of two if the highest bit is set. Returns `None`
/// if the number of ticks has more than 128 bits.
fn ticks_per_second(resolution: u8) -> Option<u128> {
    let exponent = u32::from(resolution & 0x7F);
    match resolution & 0x80 {
        0 => 10_u128.checked_pow(exponent),
        _ => 1_u128.checked_shl(exponent),
    }
}

/// Returns the value of the first option with the code `wanted`.
fn option(mut options: &[u8], wanted: u16, big_endian: bool) -> Option<&[u8]> {
    while options.len() >= 4 {
        let code = u16_at(options, 0, big_endian);
        let length = usize::from(u16_at(options, 2, big_endian));
        let value = options.get(4..4 + length)?;
        match code {
            0 => return None,
            code if code == wanted => return Some(value),
            _ => options = options.get(4 + length.next_multiple_of(4)..)?,
        }
    }
    None
}

fn bad(why: &str) -> Fault {
    Fault::Bad(why.to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::stream::capture::tests::{frames, message, read_all, Bytes};

    fn block(big: bool, kind: u32, body: Bytes) -> Vec<u8> {
        let length = (body.bytes.len() + FRAMING) as u32;
        Bytes::new(big).u32(kind).u32(length).raw(&body.bytes).u32(length).bytes
    }

    fn section(big: bool) -> Vec<u8> {
        block(big, SECTION, Bytes::new(big).u32(BYTE_ORDER).u16(1).u16(0).raw(&[0xFF; 8]))
    }

    fn interface(big: bool, linktype: u16, options: &[u8]) -> Vec<u8> {
        block(big, INTERFACE, Bytes::new(big).u16(linktype).u16(0).u32(0).raw(options))
    }

    /// Makes a packet block: 21 bytes of a packet that had 100 on the wire.
    fn packet(big: bool, interface: u32, ticks: u64) -> Vec<u8> {
        let head = Bytes::new(big).u32(interface).u32((ticks >> 32) as u32).u32(ticks as u32);
        let body = head.u32(21).u32(100).raw(&[7; 21]).raw(&[0; 3]);
        // Options: a comment, the direction, an end.
        let options = body.u16(1).u16(2).raw(b"ab\0\0").u16(2).u16(4).u32(1).u32(0);
        block(big, ENHANCED_PACKET, options)
    }

    pub(in crate::stream::capture) fn file(big: bool) -> Vec<u8> {
        let nanoseconds = Bytes::new(big).u16(TSRESOL).u16(1).raw(&[9, 0, 0, 0]).u32(0).bytes;
        let parts = [
            section(big),
            interface(big, 1, &[]),
            interface(big, 1, &nanoseconds),
            packet(big, 0, 1_600_000_000_000_005),
            block(big, 5, Bytes::new(big).u32(1)),
            packet(big, 1, 1_600_000_000_000_000_007),
            packet(big, 1, 1_600_000_000_000_000_008),
        ];
        parts.concat()
    }

    #[test]
    fn interfaces_have_clocks() {
        for big in [false, true] {
            let (frames, result) = frames(&file(big));
            result.unwrap();
            let times: Vec<_> = frames.iter().map(|frame| frame.time_ns % 1_000_000_000).collect();
            assert_eq!(times, [5000, 7, 8]);
            for frame in &frames {
                assert_eq!((frame.wire_len, &frame.data), (100, &vec![7; 21]));
            }
        }
    }

    #[test]
    fn sections_of_both_byte_orders_in_one_file() {
        let (frames, result) = frames(&[file(false), file(true), file(false)].concat());
        result.unwrap();
        assert_eq!(frames.len(), 9);
    }

    #[test]
    fn obsolete_packet_blocks_are_read() {
        let body = Bytes::new(false).u16(0).u16(3).u32(0).u32(8).u32(16).u32(16).raw(&[9; 16]);
        let parts = [section(false), interface(false, 1, &[]), block(false, OBSOLETE_PACKET, body)];
        let (frames, result) = frames(&parts.concat());
        result.unwrap();
        assert_eq!((frames[0].time_ns, &frames[0].data), (8000, &vec![9; 16]));
    }

    #[test]
    fn times_are_converted_by_resolution_and_offset() {
        let with = |resolution, offset_s| {
            let ticks = ticks_per_second(resolution).unwrap_or(0);
            CaptureInterface { link: LinkLayer::new(1).ok_or(1), ticks, offset_s }
        };
        let table = [
            (6, 0, 1_500_000, Some(1_500_000_000)),
            (9, 2, 5, Some(2_000_000_005)),
            (0, -1, 3, Some(2_000_000_000)),
            (12, 0, 1_999, Some(1)),
            (0x80 | 10, 0, 1536, Some(1_500_000_000)),
            (0x80 | 127, 0, u64::MAX, Some(0)),
            (38, 0, u64::MAX, Some(0)),
            (39, 0, 1, None),
            (0, 0, u64::MAX, None),
            (6, -5, 1, None),
        ];
        for (resolution, offset_s, ticks, expected) in table {
            assert_eq!(with(resolution, offset_s).time_ns(ticks), expected, "{resolution}");
        }
    }

    #[test]
    fn faults_name_the_packet() {
        let fine = [section(false), interface(false, 1, &[]), packet(false, 0, 1)].concat();
        let with = |more: Vec<u8>| message(&[fine.clone(), more].concat());
        let mut lengths = packet(false, 0, 1);
        *lengths.last_mut().unwrap() = 1;
        let odd = Bytes::new(false).u32(6).u32(13).bytes;
        let table = [
            (lengths, "malformed: its block has two different lengths"),
            (odd, "malformed: its block has an impossible length"),
            (Bytes::new(false).u32(6).u32(8).bytes, "malformed: its block has an impossible"),
            (Bytes::new(false).u32(6).u32(1 << 30).bytes, "malformed: it claims to have"),
            (Bytes::new(false).u32(SECTION).u32(28).u32(7).bytes, "malformed: its section"),
            (packet(false, 0, 1)[..9].to_vec(), "the file ends within it"),
        ];
        for (more, why) in table {
            let text = with(more);
            assert!(text.starts_with(&format!("read it, packet 2: {why}")), "{text}");
        }
    }

    /// Packets that cannot be read are left out, by reason, and the rest is read.
    #[test]
    fn packets_that_cannot_be_read() {
        let fine = packet(false, 0, 1);
        let mut long = packet(false, 0, 1);
        long[8 + 12] = 250;
        let unknown_blocks = [4, 5, 9, 0xBAD, 0x4000_0BAD, 0x8000_0001]
            .map(|kind| block(false, kind, Bytes::new(false).u32(7)))
            .concat();
        let seconds = Bytes::new(false).u16(TSRESOL).u16(1).raw(&[0, 0, 0, 0]).u32(0).bytes;
        let parts = [
            section(false),
            interface(false, 1, &[]),
            interface(false, 227, &[]),
            interface(false, 1, &seconds),
            packet(false, 1, 1),
            fine.clone(),
            block(false, SIMPLE_PACKET, Bytes::new(false).u32(16).raw(&[9; 16])),
            unknown_blocks,
            packet(false, 3, 1),
            packet(false, 1, 2),
            packet(false, 2, u64::MAX),
            long,
            block(false, ENHANCED_PACKET, Bytes::new(false).u32(0)),
            fine,
        ];
        let (frames, counts) = read_all(&parts.concat());
        assert_eq!(frames.len(), 2);
        let expected = [
            (LeftOut::LinkType(227), 2),
            (LeftOut::NoTime, 1),
            (LeftOut::TimeOutOfRange, 1),
            (LeftOut::UnknownInterface, 1),
            (LeftOut::MalformedBlock, 2),
        ];
        assert_eq!(counts.iter().collect::<Vec<_>>(), expected);
    }
}
