//! From the first byte of the frame to the TCP timestamps.
//!
//! Two steps. [`network`] finds the addresses: all that steering and classification need. [`transport`]
//! finds the TCP timestamps, for RTT only: what fails there costs a sample, never a class.
//!
//! IEEE 802.3 and 802.1Q (framing), RFC 2516 (PPPoE), RFC 791 (IPv4), RFC 8200 and 4302 (IPv6 and its
//! extension headers), RFC 9293 and 7323 (TCP and its timestamps).

use crate::mapping::{v4, Address};

const MAX_TAGS: usize = 4;
const MAX_EXTENSIONS: usize = 6;
/// A TCP header of 60 bytes behind the extension headers must start within 512 bytes of the frame.
const MAX_CHAIN: usize = 511 - 60;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_PPPOE_SESSION: u16 = 0x8864;
const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;

const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_TIMESTAMPS: u8 = 8;
const TIMESTAMPS_LENGTH: u8 = 10;

/// Why a frame has no addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Carries something else.
    NotIp,
    /// Ends before its IP header does.
    Truncated,
    /// Contradicts itself.
    Malformed,
}

/// A frame whose network header is in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip {
    pub is_ipv6: bool,
    pub source: Address,
    pub destination: Address,
    /// IPv4: protocol. IPv6: next header of the fixed header.
    pub protocol: u8,
    /// IPv4: not the first fragment. IPv6 says so in an extension header.
    pub later_fragment: bool,
    /// Where the IP header starts in the frame, and where it ends.
    pub start: usize,
    pub end: usize,
    /// Bytes from `start` that belong to the packet, by its own account; may exceed the frame.
    pub length: usize,
}

/// What follows the IP header, as far as RTT cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Segment(Segment),
    /// Not TCP, or not known to be.
    Other,
    /// TCP without its header.
    NoPorts,
    Truncated,
    Malformed,
    NoTimestamps,
}

/// A TCP segment with timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub source_port: u16,
    pub destination_port: u16,
    pub syn: bool,
    pub ack: bool,
    pub payload: usize,
    pub tsval: u32,
    pub tsecr: u32,
}

/// Ethernet, tags, PPPoE, IP.
pub fn network(frame: &[u8]) -> Result<Ip, Fault> {
    let mut at = 14;
    let mut ethertype = u16_at(frame, 12).ok_or(Fault::Truncated)?;
    for _ in 0..MAX_TAGS {
        if !is_tag(ethertype) {
            break;
        }
        ethertype = u16_at(frame, at + 2).ok_or(Fault::Truncated)?;
        at += 4;
    }
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(frame, at),
        ETHERTYPE_IPV6 => ipv6(frame, at),
        ETHERTYPE_PPPOE_SESSION => pppoe(frame, at),
        _ => Err(Fault::NotIp),
    }
}

fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, 0x8100 | 0x88a8 | 0x9100)
}

/// RFC 2516, section 4: version and type 1, code 0 in the session stage; then the PPP protocol.
fn pppoe(frame: &[u8], at: usize) -> Result<Ip, Fault> {
    let header: [u8; 8] = bytes(frame, at).ok_or(Fault::Truncated)?;
    if header[0] != 0x11 || header[1] != 0 {
        return Err(Fault::Malformed);
    }
    match u16::from_be_bytes([header[6], header[7]]) {
        PPP_IPV4 => ipv4(frame, at + 8),
        PPP_IPV6 => ipv6(frame, at + 8),
        _ => Err(Fault::NotIp),
    }
}

fn ipv4(frame: &[u8], start: usize) -> Result<Ip, Fault> {
    let header: [u8; 20] = bytes(frame, start).ok_or(Fault::Truncated)?;
    let header_length = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || header_length < 20 {
        return Err(Fault::Malformed);
    }
    let on_the_wire = frame.len() - start;
    if header_length > on_the_wire {
        return Err(Fault::Truncated);
    }
    let total_length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if total_length != 0 && total_length < header_length {
        return Err(Fault::Malformed);
    }
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = header;
    Ok(Ip {
        is_ipv6: false,
        source: v4([s0, s1, s2, s3]),
        destination: v4([d0, d1, d2, d3]),
        protocol: header[9],
        later_fragment: u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0,
        start,
        end: start + header_length,
        length: if total_length == 0 { on_the_wire } else { total_length }, // 0: BIG TCP
    })
}

fn ipv6(frame: &[u8], start: usize) -> Result<Ip, Fault> {
    let header: [u8; 8] = bytes(frame, start).ok_or(Fault::Truncated)?;
    let source = bytes(frame, start + 8).ok_or(Fault::Truncated)?;
    let destination = bytes(frame, start + 24).ok_or(Fault::Truncated)?;
    if header[0] >> 4 != 6 {
        return Err(Fault::Malformed);
    }
    let payload_length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    Ok(Ip {
        is_ipv6: true,
        source,
        destination,
        protocol: header[6],
        later_fragment: false,
        start,
        end: start + 40,
        length: if payload_length == 0 { frame.len() - start } else { 40 + payload_length },
    })
}

/// Extension headers, TCP, timestamps.
pub fn transport(frame: &[u8], ip: &Ip) -> Transport {
    let reached = if ip.is_ipv6 { extensions(frame, ip) } else { Some(ipv4_payload(ip)) };
    let Some(reached) = reached else { return Transport::Truncated };
    match reached {
        Reached { protocol: TCP, header: Some(at) } => {
            tcp(frame, ip, at).unwrap_or_else(|fault| fault)
        }
        Reached { protocol: TCP, header: None } => Transport::NoPorts,
        _ => Transport::Other,
    }
}

/// Where the walk over the network headers ended.
struct Reached {
    protocol: u8,
    /// Where the header of `protocol` starts, unless it is in another fragment or was not walked to.
    header: Option<usize>,
}

fn ipv4_payload(ip: &Ip) -> Reached {
    Reached { protocol: ip.protocol, header: (!ip.later_fragment).then_some(ip.end) }
}

/// RFC 8200, section 4. After six extension headers the walk ends, if need be at a seventh, which is
/// then nothing that we know. `None`: the frame cuts one of them short.
fn extensions(frame: &[u8], ip: &Ip) -> Option<Reached> {
    let (mut protocol, mut at) = (ip.protocol, ip.end);
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(protocol) {
            break;
        }
        let extension = extension(frame, protocol, at)?;
        if extension.is_later_fragment || extension.end > MAX_CHAIN {
            return Some(Reached { protocol: extension.next, header: None });
        }
        (protocol, at) = (extension.next, extension.end);
    }
    Some(Reached { protocol, header: Some(at) })
}

fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}

struct Extension {
    /// Protocol of the next header.
    next: u8,
    /// Where that starts.
    end: usize,
    /// It does not: an earlier fragment has it. (It names the fragmented part's first header all the same.)
    is_later_fragment: bool,
}

/// `None` if the frame is cut short.
fn extension(frame: &[u8], protocol: u8, at: usize) -> Option<Extension> {
    let header: [u8; 8] = bytes(frame, at)?;
    let length = match protocol {
        FRAGMENT => 8,
        AUTHENTICATION => (usize::from(header[1]) + 2) * 4, // RFC 4302, section 2.2
        _ => (usize::from(header[1]) + 1) * 8,
    };
    let offset = u16::from_be_bytes([header[2], header[3]]) & 0xfff8;
    let is_later_fragment = protocol == FRAGMENT && offset != 0;
    let end = at + length;
    (end <= frame.len()).then_some(Extension { next: header[0], end, is_later_fragment })
}

fn tcp(frame: &[u8], ip: &Ip, at: usize) -> Result<Transport, Transport> {
    let header: [u8; 20] = bytes(frame, at).ok_or(Transport::Truncated)?;
    let header_length = usize::from(header[12] >> 4) * 4;
    if header_length < 20 {
        return Err(Transport::Malformed);
    }
    let options = frame.get(at + 20..at + header_length).ok_or(Transport::Truncated)?;
    if ip.length > frame.len() - ip.start {
        return Err(Transport::Truncated);
    }
    let headers = at + header_length - ip.start;
    let payload = ip.length.checked_sub(headers).ok_or(Transport::Malformed)?;
    let (tsval, tsecr) = timestamps(options)?;
    Ok(Transport::Segment(Segment {
        source_port: u16::from_be_bytes([header[0], header[1]]),
        destination_port: u16::from_be_bytes([header[2], header[3]]),
        syn: header[13] & 0x02 != 0,
        ack: header[13] & 0x10 != 0,
        payload,
        tsval,
        tsecr,
    }))
}

/// RFC 9293, section 3.1 (options) and RFC 7323, section 3.2: the first timestamps option.
fn timestamps(options: &[u8]) -> Result<(u32, u32), Transport> {
    let mut rest = options;
    loop {
        match *rest {
            [] | [OPTION_END, ..] => return Err(Transport::NoTimestamps),
            [OPTION_NOP, ..] => rest = &rest[1..],
            [OPTION_TIMESTAMPS, TIMESTAMPS_LENGTH, v0, v1, v2, v3, e0, e1, e2, e3, ..] => {
                let tsval = u32::from_be_bytes([v0, v1, v2, v3]);
                return Ok((tsval, u32::from_be_bytes([e0, e1, e2, e3])));
            }
            [OPTION_TIMESTAMPS, ..] => return Err(Transport::Malformed),
            [_, length, ..] if length >= 2 => {
                rest = rest.get(usize::from(length)..).ok_or(Transport::Malformed)?;
            }
            _ => return Err(Transport::Malformed),
        }
    }
}

fn bytes<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..at + N)?.try_into().ok()
}

fn u16_at(frame: &[u8], at: usize) -> Option<u16> {
    bytes(frame, at).map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests;
