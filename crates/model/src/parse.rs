// SPDX-License-Identifier: GPL-2.0-only
//! Parses a frame from its first byte to the TCP timestamps.
//!
//! [`network`] finds the addresses, which steering and classification need. [`transport`] finds the TCP
//! timestamps, which only the RTT measurement needs: if it fails, a sample is lost, but never a class.
//!
//! IEEE 802.3 and 802.1Q (framing), RFC 2516 (PPPoE), RFC 3032 (MPLS), RFC 791 (IPv4), RFC 8200 and 4302 (IPv6 and its
//! extension headers), RFC 9293 and 7323 (TCP and its timestamps).

use crate::mapping::{v4, Address};

const MAX_TAGS: usize = 4;
const MAX_LABELS: usize = 4;
const MAX_EXTENSIONS: usize = 6;
/// A TCP header of 60 bytes behind the extension headers must start within 512 bytes of the frame.
const MAX_CHAIN: usize = 511 - 60;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_PPPOE_SESSION: u16 = 0x8864;
const ETHERTYPE_MPLS: u16 = 0x8847;
const ETHERTYPE_MPLS_UPSTREAM: u16 = 0x8848; // multicast before RFC 5332
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

/// The reason why a frame has no addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFault {
    /// The frame carries another protocol.
    NotIp,
    /// The frame ends before its IP header does.
    Truncated,
    /// The headers contradict themselves.
    Malformed,
}

/// The network header of a frame, which is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip {
    pub is_ipv6: bool,
    pub source: Address,
    pub destination: Address,
    /// IPv4: protocol. IPv6: next header of the fixed header.
    pub protocol: u8,
    /// Whether it is an IPv4 fragment other than the first. IPv6 has an extension header for that.
    pub later_fragment: bool,
    /// The offset at which the IP header starts in the frame.
    pub start: usize,
    /// The offset at which it ends.
    pub end: usize,
    /// Bytes of the packet from `start` on, by its length field; may be more than the frame has.
    pub length: usize,
}

/// The transport header, as far as the RTT measurement needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A TCP segment with timestamps.
    ModelSegment(ModelSegment),
    /// Not TCP, or not known to be TCP.
    Other,
    /// TCP, but the header is in another fragment.
    NoPorts,
    /// TCP, or not known, behind more extension headers than are walked.
    TooDeep,
    /// TCP, but the frame ends too early.
    Truncated,
    /// TCP, but the header contradicts itself.
    Malformed,
    /// TCP without timestamps.
    NoTimestamps,
}

/// A TCP segment with timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelSegment {
    pub source_port: u16,
    pub destination_port: u16,
    pub syn: bool,
    pub ack: bool,
    pub payload: usize,
    pub tsval: u32,
    pub tsecr: u32,
}

/// Parses Ethernet, VLAN tags, PPPoE or MPLS, and IP.
pub fn network(frame: &[u8]) -> Result<Ip, FrameFault> {
    let mut at = 14;
    let mut ethertype = u16_at(frame, 12).ok_or(FrameFault::Truncated)?;
    for _ in 0..MAX_TAGS {
        if !is_tag(ethertype) {
            break;
        }
        ethertype = u16_at(frame, at + 2).ok_or(FrameFault::Truncated)?;
        at += 4;
    }
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(frame, at),
        ETHERTYPE_IPV6 => ipv6(frame, at),
        ETHERTYPE_PPPOE_SESSION => pppoe(frame, at),
        ETHERTYPE_MPLS | ETHERTYPE_MPLS_UPSTREAM => mpls(frame, at),
        _ => Err(FrameFault::NotIp),
    }
}

/// Parses IP of a device whose frames have no link header.
pub fn bare_network(packet: &[u8]) -> Result<Ip, FrameFault> {
    bare_ip(packet, 0)
}

fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, 0x8100 | 0x88a8 | 0x9100)
}

/// Parses PPPoE (RFC 2516, section 4): version and type 1, code 0 in the session stage; then the PPP
/// protocol.
fn pppoe(frame: &[u8], at: usize) -> Result<Ip, FrameFault> {
    let header: [u8; 8] = bytes(frame, at).ok_or(FrameFault::Truncated)?;
    if header[0] != 0x11 || header[1] != 0 {
        return Err(FrameFault::Malformed);
    }
    match u16::from_be_bytes([header[6], header[7]]) {
        PPP_IPV4 => ipv4(frame, at + 8),
        PPP_IPV6 => ipv6(frame, at + 8),
        _ => Err(FrameFault::NotIp),
    }
}

/// Parses MPLS (RFC 3032): labels of four bytes up to the one with the S bit. The stack does not say what
/// follows. IP does, by its version; a control word (RFC 4385) never has one of IP's two.
fn mpls(frame: &[u8], at: usize) -> Result<Ip, FrameFault> {
    let mut stack = frame.get(at..).unwrap_or_default().chunks(4).take(MAX_LABELS).zip(1..);
    let bottom = stack.find_map(|(label, depth)| match *label {
        [_, _, low, _] if low & 1 == 1 => Some(Ok(at + 4 * depth)),
        [_, _, _, _] => None,
        _ => Some(Err(FrameFault::Truncated)),
    });
    let start = match bottom {
        Some(start) => start?,
        None if frame.len() < at + 4 * MAX_LABELS => return Err(FrameFault::Truncated),
        None => return Err(FrameFault::NotIp),
    };
    bare_ip(frame, start)
}

/// Parses a packet that begins with its IP header, which says its version.
fn bare_ip(frame: &[u8], start: usize) -> Result<Ip, FrameFault> {
    match frame.get(start).ok_or(FrameFault::Truncated)? >> 4 {
        4 => ipv4(frame, start),
        6 => ipv6(frame, start),
        _ => Err(FrameFault::NotIp),
    }
}

fn ipv4(frame: &[u8], start: usize) -> Result<Ip, FrameFault> {
    let header: [u8; 20] = bytes(frame, start).ok_or(FrameFault::Truncated)?;
    let header_length = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || header_length < 20 {
        return Err(FrameFault::Malformed);
    }
    let on_the_wire = frame.len() - start;
    if header_length > on_the_wire {
        return Err(FrameFault::Truncated);
    }
    let total_length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if total_length != 0 && total_length < header_length {
        return Err(FrameFault::Malformed);
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

fn ipv6(frame: &[u8], start: usize) -> Result<Ip, FrameFault> {
    let header: [u8; 8] = bytes(frame, start).ok_or(FrameFault::Truncated)?;
    let source = bytes(frame, start + 8).ok_or(FrameFault::Truncated)?;
    let destination = bytes(frame, start + 24).ok_or(FrameFault::Truncated)?;
    if header[0] >> 4 != 6 {
        return Err(FrameFault::Malformed);
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

/// Parses IPv6 extension headers, TCP and its timestamps.
pub fn transport(frame: &[u8], ip: &Ip) -> Transport {
    let reached = if ip.is_ipv6 { extensions(frame, ip) } else { Some(ipv4_payload(ip)) };
    let Some(reached) = reached else { return Transport::Truncated };
    match reached {
        Reached { protocol: TCP, header: Header::At(at) } => {
            tcp(frame, ip, at).unwrap_or_else(|fault| fault)
        }
        Reached { protocol: TCP, header: Header::InAnotherFragment } => Transport::NoPorts,
        Reached { protocol, header: Header::TooDeep }
            if protocol == TCP || is_extension(protocol) =>
        {
            Transport::TooDeep
        }
        _ => Transport::Other,
    }
}

/// Returns the TCP ports, source and destination, of a packet whose TCP header follows the IP header at once.
pub fn tcp_ports(frame: &[u8], ip: &Ip) -> Option<(u16, u16)> {
    let [s0, s1, d0, d1] = bytes(frame, ip.end)?;
    let is_tcp = ip.protocol == TCP && !ip.later_fragment;
    is_tcp.then_some((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])))
}

/// The place where the walk over the network headers ended.
struct Reached {
    protocol: u8,
    header: Header,
}

/// The place of the header of the protocol that was reached.
enum Header {
    /// At this offset of the frame.
    At(usize),
    InAnotherFragment,
    /// The walk does not go that far.
    TooDeep,
}

fn ipv4_payload(ip: &Ip) -> Reached {
    let header = if ip.later_fragment { Header::InAnotherFragment } else { Header::At(ip.end) };
    Reached { protocol: ip.protocol, header }
}

/// Walks over IPv6 extension headers (RFC 8200, section 4). The walk ends at a seventh, or when they take
/// too many bytes. Returns `None` if the frame ends within a header.
fn extensions(frame: &[u8], ip: &Ip) -> Option<Reached> {
    let (mut protocol, mut at) = (ip.protocol, ip.end);
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(protocol) {
            break;
        }
        let extension = extension(frame, protocol, at)?;
        let next = |header| Some(Reached { protocol: extension.next, header });
        if extension.is_later_fragment {
            return next(Header::InAnotherFragment);
        }
        if extension.end > MAX_CHAIN {
            return next(Header::TooDeep);
        }
        (protocol, at) = (extension.next, extension.end);
    }
    let header = if is_extension(protocol) { Header::TooDeep } else { Header::At(at) };
    Some(Reached { protocol, header })
}

fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}

/// One extension header.
struct WalkedExtension {
    /// Protocol of the next header.
    next: u8,
    /// The offset of the next header.
    end: usize,
    /// Whether the next header is not in this frame, because this is a later fragment. (`next` is then the
    /// first header of the fragmented part.)
    is_later_fragment: bool,
}

/// Parses one extension header; returns `None` if the frame ends within it.
fn extension(frame: &[u8], protocol: u8, at: usize) -> Option<WalkedExtension> {
    let header: [u8; 8] = bytes(frame, at)?;
    let length = match protocol {
        FRAGMENT => 8,
        AUTHENTICATION => (usize::from(header[1]) + 2) * 4, // RFC 4302, section 2.2
        _ => (usize::from(header[1]) + 1) * 8,
    };
    let offset = u16::from_be_bytes([header[2], header[3]]) & 0xfff8;
    let is_later_fragment = protocol == FRAGMENT && offset != 0;
    let end = at + length;
    (end <= frame.len()).then_some(WalkedExtension { next: header[0], end, is_later_fragment })
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
    Ok(Transport::ModelSegment(ModelSegment {
        source_port: u16::from_be_bytes([header[0], header[1]]),
        destination_port: u16::from_be_bytes([header[2], header[3]]),
        syn: header[13] & 0x02 != 0,
        ack: header[13] & 0x10 != 0,
        payload,
        tsval,
        tsecr,
    }))
}

/// Returns TSval and TSecr of the first timestamps option (RFC 9293, section 3.1, and RFC 7323, section
/// 3.2).
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
