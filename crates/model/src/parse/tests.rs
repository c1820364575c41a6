// SPDX-License-Identifier: GPL-2.0-only
use super::*;
use crate::frame::{timestamps_option, ExtensionHeader, Frame, Label, Length, ACK, SYN};

const CLIENT: [u8; 4] = [100, 64, 0, 2];
const SERVER: [u8; 4] = [192, 0, 2, 1];
const CLIENT6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const SERVER6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];

fn tcp4() -> Frame {
    Frame::tcp4(SERVER, CLIENT).timestamps(7, 9).payload(100)
}

fn tcp6() -> Frame {
    Frame::tcp6(SERVER6, CLIENT6).timestamps(7, 9).payload(100)
}

fn parse(frame: &[u8]) -> Result<Transport, FrameFault> {
    network(frame).map(|ip| transport(frame, &ip))
}

fn is_segment(frame: &[u8]) -> bool {
    matches!(parse(frame), Ok(Transport::ModelSegment(s)) if (s.payload, s.tsval, s.tsecr) == (100, 7, 9))
}

/// Checks rows of description, frame and expected result.
fn check(rows: &[(&str, Vec<u8>, Result<Transport, FrameFault>)]) {
    for (what, frame, expected) in rows {
        assert_eq!(parse(frame), *expected, "{what}");
    }
}

fn edit(frame: &Frame, at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = frame.build();
    bytes[at] = byte;
    bytes
}

#[test]
fn a_segment_is_read_completely() {
    let frame = tcp4().ports(443, 50_000).flags(SYN | ACK).build();
    let segment = ModelSegment {
        source_port: 443,
        destination_port: 50_000,
        syn: true,
        ack: true,
        payload: 100,
        tsval: 7,
        tsecr: 9,
    };
    assert_eq!(parse(&frame), Ok(Transport::ModelSegment(segment)));
    let ip = network(&frame).unwrap();
    assert_eq!((ip.source, ip.destination), (v4(SERVER), v4(CLIENT)));
    let ip = network(&tcp6().build()).unwrap();
    assert_eq!((ip.source, ip.destination), (SERVER6, CLIENT6));
}

#[test]
fn up_to_four_tags_and_pppoe_are_stepped_over() {
    for base in [tcp4(), tcp6()] {
        for tags in 0..=4 {
            let tpids = &[0x88a8, 0x8100, 0x9100, 0x8100][..tags];
            let tagged = base.clone().tags(tpids);
            assert!(is_segment(&tagged.build()), "{tags} tags");
            assert!(is_segment(&tagged.pppoe().build()), "{tags} tags, PPPoE");
        }
        let five = base.tags(&[0x8100; 5]).build();
        assert_eq!(network(&five), Err(FrameFault::NotIp));
        assert_eq!(
            network(&five[..30]),
            Err(FrameFault::NotIp),
            "the parser does not look behind a fifth tag"
        );
    }
}

#[test]
fn up_to_four_labels_are_stepped_over() {
    for base in [tcp4(), tcp6()] {
        for (depth, tags) in (1..=4).flat_map(|depth| (0..=4).map(move |tags| (depth, tags))) {
            let frame = base.clone().tags(&[0x8100; 4][..tags]).labels(&Label::stack(depth));
            assert!(is_segment(&frame.build()), "{depth} labels in {tags} tags");
            let upstream = Frame { ethertype: Some(0x8848), ..frame };
            assert!(is_segment(&upstream.build()), "{depth} labels in {tags} tags, 0x8848");
        }
        let five = base.clone().labels(&Label::stack(5)).build();
        assert_eq!(network(&five), Err(FrameFault::NotIp), "five labels");
        assert_eq!(network(&five[..30]), Err(FrameFault::NotIp), "the fifth is not looked at");
        assert_eq!(network(&five[..29]), Err(FrameFault::Truncated));
        let early = [Label { label: 1, bottom: true }, Label { label: 2, bottom: true }];
        assert_eq!(network(&base.labels(&early).build()), Err(FrameFault::NotIp), "a bottom above");
    }
    let control_word = edit(&tcp4().labels(&Label::stack(2)), 22, 0x00);
    let channel_header = edit(&tcp4().labels(&Label::stack(2)), 22, 0x10);
    for frame in [control_word, channel_header] {
        assert_eq!(network(&frame), Err(FrameFault::NotIp));
        assert_eq!(network(&frame[..23]), Err(FrameFault::NotIp));
        assert_eq!(network(&frame[..22]), Err(FrameFault::Truncated));
    }
}

#[test]
fn without_a_link_header_the_version_decides() {
    for frame in [tcp4(), tcp6()] {
        let (frame, packet) = (frame.build(), &frame.build()[14..]);
        let (framed, bare) = (network(&frame).unwrap(), bare_network(packet).unwrap());
        assert_eq!((bare.source, bare.destination), (framed.source, framed.destination));
        assert_eq!((bare.start, bare.end), (0, framed.end - 14));
        assert_eq!(transport(packet, &bare), transport(&frame, &framed));
        for length in 0..bare.end {
            assert_eq!(bare_network(&packet[..length]), Err(FrameFault::Truncated), "{length}");
        }
    }
    for first in [0x00, 0x10, 0x50, 0x70, 0xf0] {
        assert_eq!(bare_network(&[first; 60]), Err(FrameFault::NotIp), "{first:#x}");
    }
}

#[test]
fn truncation_at_every_byte() {
    for base in [tcp4(), tcp6()] {
        let encapsulations = [
            base.clone(),
            base.clone().tags(&[0x88a8, 0x8100]),
            base.clone().tags(&[0x8100]).pppoe(),
            base.clone().labels(&Label::stack(1)),
            base.tags(&[0x88a8, 0x8100]).labels(&Label::stack(4)),
        ];
        for frame in encapsulations.map(|frame| frame.build()) {
            let ip = network(&frame).unwrap();
            for length in 0..frame.len() {
                let expected = match length < ip.end {
                    true => Err(FrameFault::Truncated),
                    false => Ok(Transport::Truncated),
                };
                assert_eq!(parse(&frame[..length]), expected, "{length} of {}", frame.len());
            }
        }
    }
}

#[test]
fn frames_that_are_not_ip() {
    let other = |ethertype| Frame { ethertype: Some(ethertype), ..tcp4() }.build();
    for ethertype in [0x0806, 0x8863, 0x0100, 0x05dc, 0x88cc, 0xffff] {
        assert_eq!(network(&other(ethertype)), Err(FrameFault::NotIp), "{ethertype:#x}");
    }
    let ppp = tcp4().pppoe();
    check(&[
        ("PPP LCP", edit(&ppp, 20, 0xc0), Err(FrameFault::NotIp)),
        ("PPPoE version 2", edit(&ppp, 14, 0x21), Err(FrameFault::Malformed)),
        ("PPPoE code of discovery", edit(&ppp, 15, 0x09), Err(FrameFault::Malformed)),
    ]);
}

#[test]
fn ip_headers_that_contradict_themselves() {
    check(&[
        ("IPv4, version 6", edit(&tcp4(), 14, 0x65), Err(FrameFault::Malformed)),
        ("IPv4, header of 16 bytes", edit(&tcp4(), 14, 0x44), Err(FrameFault::Malformed)),
        ("total length 19", tcp4().length(Length::Says(19)).build(), Err(FrameFault::Malformed)),
        ("total length 20", tcp4().length(Length::Says(20)).build(), Ok(Transport::Malformed)),
        ("IPv6, version 4", edit(&tcp6(), 14, 0x45), Err(FrameFault::Malformed)),
    ]);
}

#[test]
fn ipv4_options_are_stepped_over_and_may_be_truncated() {
    for ip_option_words in 1..=10 {
        let frame = Frame { ip_option_words, ..tcp4() };
        assert!(is_segment(&frame.build()));
        let end = 34 + usize::from(ip_option_words) * 4;
        assert_eq!(network(&frame.build()[..end - 1]), Err(FrameFault::Truncated));
        assert!(network(&frame.build()[..end]).is_ok());
    }
    let too_short = Frame { ip_option_words: 2, length: Length::Says(27), ..tcp4() };
    assert_eq!(network(&too_short.build()), Err(FrameFault::Malformed));
}

#[test]
fn a_length_of_zero_means_that_of_the_frame() {
    for frame in [tcp4(), tcp6()] {
        let frame = frame.length(Length::Zero);
        assert!(is_segment(&frame.build()));
        let padded = frame.padding(6).build();
        assert!(matches!(parse(&padded), Ok(Transport::ModelSegment(s)) if s.payload == 106));
    }
}

#[test]
fn padding_is_no_payload() {
    for frame in [tcp4(), tcp6()] {
        assert!(is_segment(&frame.clone().padding(46).build()));
        let empty = frame.payload(0).padding(8).build();
        assert!(matches!(parse(&empty), Ok(Transport::ModelSegment(s)) if s.payload == 0));
    }
}

#[test]
fn lengths_beyond_the_frame_and_short_of_the_headers() {
    check(&[
        (
            "IPv4: one byte missing",
            tcp4().length(Length::Says(153)).build(),
            Ok(Transport::Truncated),
        ),
        (
            "IPv4: into the options",
            tcp4().length(Length::Says(51)).build(),
            Ok(Transport::Malformed),
        ),
        (
            "IPv6: one byte missing",
            tcp6().length(Length::Says(133)).build(),
            Ok(Transport::Truncated),
        ),
        (
            "IPv6: into the options",
            tcp6().length(Length::Says(31)).build(),
            Ok(Transport::Malformed),
        ),
    ]);
    let headers_only = parse(&tcp4().length(Length::Says(52)).build());
    assert!(matches!(headers_only, Ok(Transport::ModelSegment(s)) if s.payload == 0));
}

#[test]
fn other_protocols_and_fragments() {
    let later = |protocol| Frame { fragment_offset: 1, ..tcp4().protocol(protocol) }.build();
    let first = Frame { fragment_offset: 0x2000, ..tcp4() };
    check(&[
        ("UDP", tcp4().protocol(17).build(), Ok(Transport::Other)),
        ("IPv4 does not have extension headers", tcp4().protocol(0).build(), Ok(Transport::Other)),
        ("a later fragment of TCP", later(6), Ok(Transport::NoPorts)),
        ("a later fragment of UDP", later(17), Ok(Transport::Other)),
    ]);
    assert!(is_segment(&first.build()), "the first fragment has the ports");
    let dont_fragment = Frame { fragment_offset: 0x4000, ..tcp4() };
    assert!(is_segment(&dont_fragment.build()));
}

#[test]
fn extension_headers_are_walked() {
    let kinds = [(0, 0), (43, 1), (60, 2), (51, 4), (51, 0), (44, 255)];
    for (kind, length) in kinds {
        let frame = tcp6().extensions(&[ExtensionHeader::new(kind, length)]);
        assert!(is_segment(&frame.build()), "{kind}, {length}");
    }
    let all = kinds.map(|(kind, length)| ExtensionHeader::new(kind, length));
    assert!(is_segment(&tcp6().extensions(&all[..5]).build()));
    check(&[
        ("UDP behind one", tcp6().extensions(&all[..1]).protocol(17).build(), Ok(Transport::Other)),
        ("ESP is no extension here", tcp6().protocol(50).build(), Ok(Transport::Other)),
        ("no next header", tcp6().protocol(59).build(), Ok(Transport::Other)),
    ]);
}

#[test]
fn six_extension_headers_are_followed_and_no_more() {
    let options = [ExtensionHeader::new(60, 0); 7];
    assert!(is_segment(&tcp6().extensions(&options[..6]).build()));
    check(&[
        (
            "six, then UDP",
            tcp6().extensions(&options[..6]).protocol(17).build(),
            Ok(Transport::Other),
        ),
        ("seven, then TCP", tcp6().extensions(&options).build(), Ok(Transport::TooDeep)),
        (
            "seven, then UDP",
            tcp6().extensions(&options).protocol(17).build(),
            Ok(Transport::TooDeep),
        ),
    ]);
}

#[test]
fn a_later_fragment_of_ipv6_ends_the_walk() {
    let later = ExtensionHeader::fragment(1);
    let first = ExtensionHeader::fragment(0);
    let hop = ExtensionHeader::new(0, 0);
    check(&[
        ("alone", tcp6().extensions(&[later]).build(), Ok(Transport::NoPorts)),
        ("behind another", tcp6().extensions(&[hop, later]).build(), Ok(Transport::NoPorts)),
        ("of UDP", tcp6().extensions(&[later]).protocol(17).build(), Ok(Transport::Other)),
        ("of options", tcp6().extensions(&[later, hop]).build(), Ok(Transport::Other)),
    ]);
    assert!(is_segment(&tcp6().extensions(&[hop, first]).build()));
}

#[test]
fn a_chain_that_ends_too_far_out_is_not_followed() {
    let options = |length| ExtensionHeader::new(60, length);
    let (near, far) = (options((448 - 54) as u8 / 8 - 1), options(49)); // ends at 446 and 454
    assert!(is_segment(&tcp6().extensions(&[near]).build()));
    let frame = tcp6().extensions(&[far]).build();
    check(&[
        ("TCP", frame.clone(), Ok(Transport::TooDeep)),
        ("UDP", tcp6().extensions(&[far]).protocol(17).build(), Ok(Transport::Other)),
        ("yet another", tcp6().extensions(&[far, options(0)]).build(), Ok(Transport::TooDeep)),
        ("cut", frame[..453].to_vec(), Ok(Transport::Truncated)),
    ]);
}

#[test]
fn a_truncated_extension_header() {
    let frame = tcp6().extensions(&[ExtensionHeader::new(60, 1)]).build();
    for length in 54..=70 {
        assert_eq!(parse(&frame[..length]), Ok(Transport::Truncated), "{length}");
    }
}

#[test]
fn data_offsets() {
    check(&[
        ("of 16 bytes", edit(&tcp4(), 46, 0x40), Ok(Transport::Malformed)),
        ("of 20 bytes: no options", edit(&tcp4(), 46, 0x50), Ok(Transport::NoTimestamps)),
    ]);
    let beyond = Frame { payload: 0, ..tcp4() };
    check(&[
        ("beyond the frame", edit(&beyond, 46, 0xf0), Ok(Transport::Truncated)),
        ("beyond the packet", edit(&beyond.padding(60), 46, 0xf0), Ok(Transport::Malformed)),
    ]);
}

#[test]
fn options_in_every_order() {
    let ts = timestamps_option(7, 9);
    let before: [&[u8]; 8] = [
        &[],
        &[1],
        &[1, 1],
        &[1, 1, 1],
        &[2, 4, 5, 0xb4],
        &[2, 4, 5, 0xb4, 4, 2],
        &[254, 2],
        &[5, 10, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    let after: [&[u8]; 5] = [&[], &[0], &[1, 3, 3, 7], &[8, 9], &[3, 0]];
    for before in before {
        for after in after {
            let options = [before, &ts, after].concat();
            assert!(is_segment(&tcp4().tcp_options(&options).build()), "{options:?}");
        }
    }
}

#[test]
fn options_without_timestamps_or_wrong() {
    let ts = timestamps_option(7, 9);
    let end_first = [&[0][..], &ts].concat();
    let missing_byte = [&[1, 1, 1, 1, 1, 1][..], &ts[..2]].concat();
    let filled = [&[1; 39][..], &[2]].concat();
    let rows: [(&str, &[u8], Transport); 12] = [
        ("none", &[], Transport::NoTimestamps),
        ("NOPs only", &[1; 40], Transport::NoTimestamps),
        ("end before timestamps", &end_first, Transport::NoTimestamps),
        ("others only", &[2, 4, 5, 0xb4, 3, 3, 7, 0], Transport::NoTimestamps),
        ("length 0", &[2, 0, 0, 0], Transport::Malformed),
        ("length 1", &[2, 1, 0, 0], Transport::Malformed),
        ("length beyond the header", &[2, 5, 0, 0], Transport::Malformed),
        ("up to the header's end", &[2, 4, 0, 0], Transport::NoTimestamps),
        ("kind in the last byte", &filled, Transport::Malformed),
        ("timestamps of 9", &[8, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Transport::Malformed),
        ("timestamps of 11", &[8, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Transport::Malformed),
        ("timestamps beyond the header", &missing_byte, Transport::Malformed),
    ];
    for (what, options, expected) in rows {
        assert_eq!(parse(&tcp4().tcp_options(options).build()), Ok(expected), "{what}");
    }
}

#[test]
fn the_first_timestamps_count() {
    let options = [timestamps_option(7, 9), timestamps_option(1, 2)].concat();
    assert!(is_segment(&tcp4().tcp_options(&options).build()));
}

#[test]
fn nothing_makes_it_panic() {
    let frame = tcp6().tags(&[0x8100]).extensions(&[ExtensionHeader::new(0, 0)]).build();
    for at in 0..frame.len() {
        for byte in 0..=255 {
            let mut mutated = frame.clone();
            mutated[at] = byte;
            let _ = parse(&mutated);
            let _ = parse(&mutated[..at]);
        }
    }
}
