// SPDX-License-Identifier: GPL-2.0-only
use super::*;

fn frame(number: u16, bytes: &[u8]) -> CapturedFrame {
    let link = LinkLayer::new(number).unwrap();
    let packet = PacketHeader { time_ns: 0, wire_len: 1000, link };
    let mut frame = CapturedFrame::default();
    link.to_ethernet(bytes, &packet, &mut frame);
    frame
}

/// Builds bytes from parts.
fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// The packets end with these bytes: the first of an IP header and another one.
const V4: &[u8] = &[0x45, 9];
const V6: &[u8] = &[0x60, 9];
const SNAP: &[u8] = &[0xAA, 0xAA, 3, 0, 0, 0];

/// An 802.11 header: frame control, flags, and the rest up to `length`.
fn wifi(control: u8, flags: u8, length: usize) -> Vec<u8> {
    let mut header = vec![0; length];
    (header[0], header[1]) = (control, flags);
    header
}

#[test]
fn every_link_layer_becomes_ethernet() {
    let table: [(u16, Vec<u8>, u16, usize); 41] = [
        (101, bytes(&[V4]), IPV4, 0),
        (228, bytes(&[V4]), IPV4, 0),
        (12, bytes(&[V6]), IPV6, 0),
        (229, bytes(&[V6]), IPV6, 0),
        (14, bytes(&[V4]), IPV4, 0),
        (101, vec![0x00, 9], NONE, 0),
        (113, bytes(&[&[0; 14], &[8, 0], V4]), IPV4, 16),
        (276, bytes(&[&[0x86, 0xDD], &[0; 18], V6]), IPV6, 20),
        (0, bytes(&[&[2, 0, 0, 0], V4]), IPV4, 4),
        (0, bytes(&[&[0, 0, 0, 2], V4]), IPV4, 4),
        (108, bytes(&[&[0, 0, 0, 24], V6]), IPV6, 4),
        (0, bytes(&[&[30, 0, 0, 0], V6]), IPV6, 4),
        (0, bytes(&[&[7, 0, 0, 0], V4]), NONE, 4),
        (9, bytes(&[&[0xFF, 3, 0, 0x21], V4]), IPV4, 4),
        (9, bytes(&[&[0, 0x57], V6]), IPV6, 2),
        (9, bytes(&[&[0x21], V4]), IPV4, 1),
        (9, bytes(&[&[0xC0, 0x21], V4]), PPP, 2),
        (9, bytes(&[&[0x02, 0x81], V4]), 0x8847, 2),
        (50, bytes(&[&[0xFF, 3, 0, 0x21], V4]), IPV4, 4),
        (50, bytes(&[&[0x0F, 0, 8, 0], V4]), IPV4, 4),
        (104, bytes(&[&[0x0F, 0, 0x86, 0xDD], V6]), IPV6, 4),
        (51, bytes(&[&[0x11, 0, 0, 1, 0, 9, 0, 0x21], V4]), PPPOE_SESSION, 0),
        (166, bytes(&[&[1, 0xFF, 3, 0, 0x21], V4]), IPV4, 5),
        (204, bytes(&[&[0, 0x21], V4]), IPV4, 2),
        (8, bytes(&[&[0; 16], V4]), IPV4, 16),
        (109, bytes(&[&[0; 12], V4]), IPV4, 12),
        (226, bytes(&[&[0; 24], V6]), IPV6, 24),
        (100, bytes(&[SNAP, &[8, 0], V4]), IPV4, 8),
        (117, bytes(&[&[61, 2], &[0; 62], V4]), IPV4, 64),
        (239, bytes(&[&[2, 0, 0, 0, 5, 0, 10, 0, b'x', 0, 0, 0, 6, 0, 9, 0], V4]), IPV4, 16),
        (239, bytes(&[&[2, 0, 0, 0, 0, 6, 0, 9], V6]), IPV6, 8),
        (283, bytes(&[&[7; 12], &[1; 4], &[8, 0], V4]), IPV4, 18),
        (284, bytes(&[&[7; 12], &[1; 8], &[8, 0], V4]), IPV4, 22),
        (105, bytes(&[&wifi(0x08, 1, 24), SNAP, &[8, 0], V4]), IPV4, 32),
        (105, bytes(&[&wifi(0x88, 3, 32), SNAP, &[0x86, 0xDD], V6]), IPV6, 40),
        (105, bytes(&[&wifi(0x88, 0x41, 26), SNAP, &[8, 0], V4]), NONE, 0),
        (105, bytes(&[&wifi(0x80, 0, 24), SNAP, &[8, 0], V4]), NONE, 0),
        (127, radiotap(&[0x10]), IPV4, 9 + 26 + 8),
        (127, radiotap(&[0x20]), IPV4, 9 + 28 + 8),
        (119, bytes(&[&[0x44, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0], &in_wifi()]), IPV4, 44),
        (163, bytes(&[&[0x80, 0x21, 0x10, 1, 0, 0, 0, 8], &in_wifi()]), IPV4, 40),
    ];
    for (number, bytes, protocol, header) in table {
        let frame = frame(number, &bytes);
        assert_eq!(frame.wire_len as usize, 1000 - header + 14, "{number} {bytes:x?}");
        assert_eq!(&frame.data[..12], [0; 12], "{number}");
        assert_eq!(&frame.data[12..14], protocol.to_be_bytes(), "{number} {bytes:x?}");
        assert_eq!(frame.data[14..], bytes[header..], "{number} {bytes:x?}");
    }
}

/// A packet in an 802.11 frame without QoS.
fn in_wifi() -> Vec<u8> {
    bytes(&[&wifi(0x08, 2, 24), SNAP, &[8, 0], V4])
}

/// A packet in an 802.11 frame with QoS behind a radiotap header with these flags.
fn radiotap(flags: &[u8]) -> Vec<u8> {
    let padding = if flags == [0x20] { 2 } else { 0 };
    let header = [0, 0, 9, 0, 2, 0, 0, 0, flags[0]];
    bytes(&[&header, &wifi(0x88, 1, 26), &vec![0; padding], SNAP, &[8, 0], V4])
}

#[test]
fn radiotap_fields_are_aligned() {
    // The timer comes first, at a multiple of eight; a second word of fields precedes it.
    let present = [0x03, 0, 0, 0x80, 0, 0, 0, 0];
    let header = bytes(&[&[0, 0, 25, 0], &present, &[0; 4], &[7; 8], &[0x20]]);
    assert_eq!(header.len(), 25);
    assert_eq!(wifi::radiotap(&header), Some((25, true)));
    for length in 0..header.len() {
        let _ = wifi::radiotap(&header[..length]);
    }
}

#[test]
fn ethernet_frames_are_copied_and_padded() {
    let found = frame(1, &[7; 60]);
    assert_eq!((found.data, found.wire_len), (vec![7; 60], 1000));
    let runt = frame(1, &[7; 3]);
    assert_eq!(runt.data, [&[7; 3][..], &[0; 11]].concat());
}

#[test]
fn ethernet_behind_another_header() {
    let inner = [6; 20];
    let table: [(u16, Vec<u8>); 5] = [
        (240, vec![0; 4]),
        (241, vec![0; 12]),
        (282, vec![0; 4]),
        (178, bytes(&[b"MGC\x81", &[0, 3], &[0; 3]])),
        (192, vec![0, 0, 12, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
    ];
    for (number, header) in table {
        let found = frame(number, &bytes(&[&header, &inner]));
        assert_eq!(found.data, inner, "{number}");
        assert_eq!(found.wire_len as usize, 1000 - header.len(), "{number}");
    }
}

#[test]
fn apples_header_names_the_link_type() {
    let head = |kind: u8, number: u8| [12, 0, 0, 0, kind, 0, 0, 0, number, 0, 0, 0];
    for number in [149, 258] {
        assert_eq!(frame(number, &bytes(&[&head(1, 1), &[6; 20]])).data, [6; 20]);
        // A phone's cellular interface has no link layer, and its VPN a family.
        let cellular = frame(number, &bytes(&[&head(1, 12), V4]));
        assert_eq!(cellular.data[12..], [8, 0, 0x45, 9]);
        let tunnel = frame(number, &bytes(&[&head(1, 0), &[30, 0, 0, 0], V6]));
        assert_eq!(tunnel.data[12..], [0x86, 0xDD, 0x60, 9]);
        let other = frame(number, &bytes(&[&head(2, 1), &[6; 20]]));
        assert_eq!(other.data[12..14], NONE.to_be_bytes());
    }
}

#[test]
fn truncated_headers_still_give_a_frame() {
    for (number, ..) in LINK_LAYERS {
        for byte in [0x00, 0x02, 0x45, 0x88, 0xAA, 0xFF] {
            for length in 0..80 {
                let frame = frame(number, &vec![byte; length]);
                assert!(frame.data.len() >= ETHERNET_HEADER, "{number} {length}");
            }
        }
    }
}

/// The page for users names every link type.
#[test]
fn the_page_names_them_all() {
    let page = include_str!("../../../../docs/CAPTURES.md");
    for (number, name, _) in LINK_LAYERS {
        let names = format!("{number} {name}");
        let listed = page.contains(&names) || page.contains(&format!(" {number}, "));
        let in_list =
            page.contains(&format!(" {number} ")) || page.contains(&format!("| {number}, "));
        assert!(listed || in_list, "{names}");
    }
}

#[test]
fn numbers_and_names_are_known_once() {
    let numbers: Vec<_> = LINK_LAYERS.into_iter().map(|(number, ..)| number).collect();
    assert!(numbers.is_sorted() && UNREAD.is_sorted());
    assert!(UNREAD.iter().all(|(number, _)| !numbers.contains(number)));
    assert_eq!((link_type_name(227), link_type_name(9999)), (Some("CAN_SOCKETCAN"), None));
}
