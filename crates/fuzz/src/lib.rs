// SPDX-License-Identifier: GPL-2.0-only
//! The reference model's result of parsing a frame, for crates/fuzz/parser.c, which compares it with the C
//! parser's.

use model::parse::{bare_network, network, transport, FrameFault, Ip, ModelSegment, Transport};

/// `enum parse_result` of bpf/cursor.h.
mod result {
    pub const OK: u32 = 0;
    pub const OTHER: u32 = 1;
    pub const TRUNCATED: u32 = 2;
    pub const MALFORMED: u32 = 3;
    pub const FRAGMENT: u32 = 4;
    pub const TOO_DEEP: u32 = 5;
}

/// `struct parsed` of crates/fuzz/oracle.h. Fields that do not apply are 0, so that the bytes of both sides
/// can be compared.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parsed {
    pub network: u32,
    pub transport: u32,
    pub is_ipv6: u32,
    pub protocol: u32,
    pub l3_offset: u32,
    pub l3_end: u32,
    pub l3_length: u32,
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub has_timestamps: u32,
    pub source_port: u32,
    pub destination_port: u32,
    pub payload: u32,
    pub tsval: u32,
    pub tsecr: u32,
    pub syn: u32,
    pub ack: u32,
}

/// Returns all fields that the TC program reads from a frame.
pub fn parse(frame: &[u8]) -> Parsed {
    parsed(frame, network(frame))
}

/// Returns the same from a packet without a link header.
pub fn parse_bare(packet: &[u8]) -> Parsed {
    parsed(packet, bare_network(packet))
}

fn parsed(frame: &[u8], network: Result<Ip, FrameFault>) -> Parsed {
    match network {
        Ok(ip) => parse_ip(frame, &ip),
        Err(fault) => {
            let network = match fault {
                FrameFault::NotIp => result::OTHER,
                FrameFault::Truncated => result::TRUNCATED,
                FrameFault::Malformed => result::MALFORMED,
            };
            Parsed { network, ..Parsed::default() }
        }
    }
}

fn parse_ip(frame: &[u8], ip: &Ip) -> Parsed {
    let parsed = Parsed {
        is_ipv6: ip.is_ipv6.into(),
        protocol: ip.protocol.into(),
        l3_offset: ip.start as u32,
        l3_end: ip.end as u32,
        l3_length: ip.length as u32,
        source: ip.source,
        destination: ip.destination,
        ..Parsed::default()
    };
    let transport = match transport(frame, ip) {
        Transport::ModelSegment(segment) => return with_segment(parsed, segment),
        Transport::NoTimestamps => result::OK,
        Transport::Other => result::OTHER,
        Transport::NoPorts => result::FRAGMENT,
        Transport::TooDeep => result::TOO_DEEP,
        Transport::Truncated => result::TRUNCATED,
        Transport::Malformed => result::MALFORMED,
    };
    Parsed { transport, ..parsed }
}

fn with_segment(parsed: Parsed, segment: ModelSegment) -> Parsed {
    Parsed {
        has_timestamps: 1,
        source_port: segment.source_port.into(),
        destination_port: segment.destination_port.into(),
        payload: segment.payload as u32,
        tsval: segment.tsval,
        tsecr: segment.tsecr,
        syn: segment.syn.into(),
        ack: segment.ack.into(),
        ..parsed
    }
}

/// [`parse`] for C; with `bare`, [`parse_bare`].
///
/// # Safety
///
/// `frame` must point to `length` readable bytes, `parsed` to room for a [`Parsed`].
#[no_mangle]
pub unsafe extern "C" fn model_parse(
    frame: *const u8,
    length: usize,
    bare: bool,
    parsed: *mut Parsed,
) {
    let frame: &[u8] = if length == 0 {
        &[]
    } else {
        // SAFETY: the caller promises that `frame` points to `length` readable bytes.
        unsafe { std::slice::from_raw_parts(frame, length) }
    };
    let result = if bare { parse_bare(frame) } else { parse(frame) };
    // SAFETY: the caller promises that `parsed` has room for a Parsed.
    unsafe { parsed.write(result) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Frame;

    #[test]
    fn a_segment_with_timestamps() {
        let frame = Frame::tcp4([192, 0, 2, 1], [100, 64, 0, 2]).timestamps(7, 9).payload(100);
        let parsed = parse(&frame.build());
        assert_eq!((parsed.network, parsed.transport, parsed.has_timestamps), (0, 0, 1));
        assert_eq!((parsed.l3_offset, parsed.l3_end, parsed.l3_length), (14, 34, 152));
        assert_eq!((parsed.tsval, parsed.tsecr, parsed.payload), (7, 9, 100));
        assert_eq!((parsed.source_port, parsed.destination_port), (1000, 2000));
        assert_eq!(parsed.destination[12..], [100, 64, 0, 2]);
    }

    #[test]
    fn fields_that_do_not_apply_are_zero() {
        let truncated = Parsed { network: result::TRUNCATED, ..Parsed::default() };
        assert_eq!(parse(&[]), truncated);
        assert_eq!(parse(&[2; 13]), truncated);
        let bare = Frame::tcp4([192, 0, 2, 1], [100, 64, 0, 2]).build();
        let parsed = parse(&bare);
        assert_eq!((parsed.transport, parsed.has_timestamps, parsed.source_port), (0, 0, 0));
    }

    #[test]
    fn the_c_interface_is_the_same() {
        let frame = Frame::tcp6([0x20; 16], [0xfd; 16]).timestamps(1, 2).build();
        let mut parsed = Parsed::default();
        // SAFETY: pointer and length are those of the frame; `parsed` is a Parsed.
        unsafe { model_parse(frame.as_ptr(), frame.len(), false, &mut parsed) };
        assert_eq!(parsed, parse(&frame));
        // SAFETY: the same for the packet in the frame.
        unsafe { model_parse(frame[14..].as_ptr(), frame.len() - 14, true, &mut parsed) };
        assert_eq!((parsed, parsed.l3_offset), (parse_bare(&frame[14..]), 0));
        // SAFETY: with length 0 no byte is read.
        unsafe { model_parse(std::ptr::null(), 0, false, &mut parsed) };
        assert_eq!(parsed, parse(&[]));
    }
}
