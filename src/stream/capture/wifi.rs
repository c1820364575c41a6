// SPDX-License-Identifier: GPL-2.0-only
//! IEEE 802.11 frames, and the headers that drivers put in front of them. Phones and laptops
//! capture Wi-Fi in these forms.

/// Finds the packet in a data frame that is not encrypted. Returns its offset and its EtherType;
/// `None` for all other frames.
pub(super) fn data_frame(frame: &[u8], padded: bool) -> Option<(usize, u16)> {
    let [control, flags, ..] = *frame else { return None };
    let (version, kind, subtype) = (control & 3, control >> 2 & 3, control >> 4);
    let (to_and_from, encrypted, order) = (flags & 3 == 3, flags & 0x40 != 0, flags & 0x80 != 0);
    let (without_data, qos) = (subtype & 4 != 0, subtype & 8 != 0);
    if version != 0 || kind != 2 || without_data || encrypted {
        return None;
    }
    let mut header = 24;
    if to_and_from {
        header += 6; // a fourth address
    }
    if qos {
        let aggregated = frame.get(header)? & 0x80 != 0;
        if aggregated {
            return None; // several packets in one frame (A-MSDU)
        }
        header += if order { 6 } else { 2 };
    }
    if padded {
        header = header.next_multiple_of(4);
    }
    snap(frame, header)
}

/// Reads an LLC header with SNAP at `offset` (RFC 1042).
pub(super) fn snap(frame: &[u8], offset: usize) -> Option<(usize, u16)> {
    match frame.get(offset..offset + 8)? {
        [0xAA, 0xAA, 3, 0, 0, 0, high, low] => {
            Some((offset + 8, u16::from_be_bytes([*high, *low])))
        }
        _ => None,
    }
}

/// Returns the length of a radiotap header, and whether the 802.11 header after it is padded to a
/// multiple of four bytes (<https://www.radiotap.org>).
pub(super) fn radiotap(bytes: &[u8]) -> Option<(usize, bool)> {
    const HAS_TIMER: u32 = 1;
    const HAS_FLAGS: u32 = 2;
    const MORE_WORDS: u32 = 1 << 31;
    const PADDED: u8 = 0x20;
    let length = usize::from(le16(bytes, 2)?);
    let present = le32(bytes, 4)?;
    let (mut fields, mut word) = (8, present);
    while word & MORE_WORDS != 0 {
        word = le32(bytes, fields)?;
        fields += 4;
    }
    if present & HAS_TIMER != 0 {
        fields = fields.next_multiple_of(8) + 8;
    }
    let flags = bytes.get(fields).filter(|_| present & HAS_FLAGS != 0 && fields < length);
    Some((length, flags.is_some_and(|flags| flags & PADDED != 0)))
}

/// Returns the length of a Prism header; or that of an AVS header, which some drivers write under
/// the same link type.
pub(super) fn prism(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [0x80, 0x21, 0x10, ..] => avs(bytes),
        _ => length(le32(bytes, 4)?),
    }
}

/// Returns the length of an AVS header.
pub(super) fn avs(bytes: &[u8]) -> Option<usize> {
    length(le32(bytes, 4)?.swap_bytes())
}

/// Returns the length of a PPI header, and the link type of the packet after it.
pub(super) fn ppi(bytes: &[u8]) -> Option<(usize, u16)> {
    Some((usize::from(le16(bytes, 2)?), u16::try_from(le32(bytes, 4)?).ok()?))
}

fn length(number: u32) -> Option<usize> {
    u16::try_from(number).ok().map(usize::from)
}

fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_le_bytes(*chunk))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}
