// SPDX-License-Identifier: GPL-2.0-only

//! The parser in both hooks: the subscriber of a packet, and its timestamps.

use crate::common::rig::{LoadOptions, Measured};
use crate::common::scene::{with_scene, with_scene_of, Scene, ALICE_CLASS, UNTOUCHED};
use crate::common::test_run::{TC_ACT_OK, XDP_PASS, XDP_REDIRECT};
use crate::fixtures::{in_link, links, segment};
use lab::packet::{
    hosts::*, Extension, Packet, Tcp, TcpOption, ETH_P_8021Q, ETH_P_MPLS_MC, ETH_P_MPLS_UC,
    ETH_P_PPP_SES,
};
use model::SampleSide;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Asserts that the packet is Alice's in both hooks and both directions, and that `notes` is counted beside.
fn assert_alices(scene: &Scene, description: &str, packet: &Packet, notes: &str) {
    for (packet, from, skb) in [
        (packet.clone(), scene.lan, scene.to_internet()),
        (packet.clone().reply(), scene.wan, scene.to_subscriber()),
    ] {
        let frame = packet.build();
        let xdp = scene.steer(&frame, from);
        assert_eq!(xdp.counters.fate(), "xdp_redirected", "{description}, XDP");
        assert_eq!(xdp.verdict, XDP_REDIRECT, "{description}");
        assert_eq!(
            xdp.metadata.map(|metadata| metadata.tc_handle),
            Some(ALICE_CLASS),
            "{description}"
        );
        let tc = scene.classify(&frame, skb);
        assert_eq!(tc.counters.fate(), "tc_classified", "{description}, TC");
        assert_eq!(tc.priority, ALICE_CLASS, "{description}");
        assert_eq!(tc.counters.notes(), notes, "{description}");
    }
}

/// Asserts that the packet passes unchanged in both hooks and both directions, for this reason.
fn assert_nobodys(scene: &Scene, description: &str, frame: &[u8], reason: &str) {
    for (from, skb) in [(scene.lan, scene.to_internet()), (scene.wan, scene.to_subscriber())] {
        let xdp = scene.steer(frame, from);
        assert_eq!(xdp.counters.fate(), format!("xdp_{reason}"), "{description}");
        assert_eq!((xdp.verdict, xdp.metadata), (XDP_PASS, None), "{description}");
        assert_eq!(xdp.counters.notes(), "", "{description}");
        let tc = scene.classify(frame, skb);
        assert_eq!(tc.counters.fate(), format!("tc_{reason}"), "{description}");
        assert_eq!((tc.verdict, tc.priority), (TC_ACT_OK, UNTOUCHED), "{description}");
        assert_eq!(tc.counters.notes(), "", "{description}");
    }
}

/// Asserts that the timestamps are found: `packet(tsval, tsecr)` opens a sample, and its reply ends it.
fn assert_measured(scene: &Scene, description: &str, packet: impl Fn(u32, u32) -> Packet) {
    const RTT: Duration = Duration::from_millis(7);
    let up = |tsval, tsecr| {
        scene.classify(&packet(tsval, tsecr).payload(10).build(), scene.to_internet())
    };
    let join = up(0x0a0b_0c0d, 0x0101_0101);
    assert_eq!(join.counters.notes(), "", "{description}");
    assert_eq!(join.counters.of("rtt_flow_new"), 1, "{description}: timestamps not found");
    assert_eq!(up(0x0a0b_0c0e, 0x0101_0101).samples, [], "{description}");
    scene.advance(RTT);
    let reply = packet(0x0f0f_0f0f, 0x0a0b_0c0e).reply().build();
    let samples = scene.classify(&reply, scene.to_subscriber()).samples;
    let expected = Measured { handle: ALICE_CLASS, side: SampleSide::Internet, rtt: RTT };
    assert_eq!(samples, [expected], "{description}");
}

#[test]
fn every_depth_and_kind_of_tag_with_and_without_pppoe() {
    with_scene(|scene| {
        for (port, (link, tags, pppoe)) in (1000..).zip(links()) {
            for ipv6 in [false, true] {
                let description = format!("{link} IPv6 {ipv6}");
                let dressed =
                    |tsval, tsecr| in_link(segment(ipv6, port, tsval, tsecr), &tags, pppoe);
                assert_measured(scene, &description, dressed);
                assert_alices(scene, &description, &dressed(1, 2), "");
            }
        }
    });
}

/// On a device without a link header, frames begin with the IP header; any other beginning is not IP.
#[test]
fn frames_without_a_link_header() {
    let options = LoadOptions { no_link_header: true, ..LoadOptions::default() };
    with_scene_of(options, |scene| {
        for (ipv6, port) in [(false, 1000), (true, 1001)] {
            let bare = |tsval, tsecr| {
                let packet = segment(ipv6, port, tsval, tsecr).payload(10);
                (packet.build()[14..].to_vec(), packet.reply().build()[14..].to_vec())
            };
            for tsval in [20, 21] {
                let (up, _) = bare(tsval, 7);
                let xdp = scene.steer(&up, scene.lan);
                assert_eq!(xdp.counters.fate(), "xdp_redirected", "IPv6 {ipv6}");
                let metadata = xdp.metadata.expect("metadata");
                assert_eq!((metadata.tc_handle, metadata.port), (ALICE_CLASS, port));
                let tc = scene.classify(&up, scene.to_internet());
                assert_eq!((tc.counters.fate(), tc.priority), ("tc_classified", ALICE_CLASS));
            }
            scene.advance(Duration::from_millis(7));
            let (_, down) = bare(9, 21);
            let tc = scene.classify(&down, scene.to_subscriber());
            assert_eq!((tc.counters.fate(), tc.priority), ("tc_classified", ALICE_CLASS));
            let rtt = Duration::from_millis(7);
            let expected = Measured { handle: ALICE_CLASS, side: SampleSide::Internet, rtt };
            assert_eq!(tc.samples, [expected], "IPv6 {ipv6}");
        }
        let in_ethernet = segment(false, 1000, 20, 10).build();
        let other_version = [&[0x50; 40][..], &[0; 20]].concat();
        for (description, frame) in [("Ethernet", in_ethernet), ("version 5", other_version)] {
            assert_nobodys(scene, description, &frame, "not_ip");
        }
    });
}

#[test]
fn up_to_four_labels_in_up_to_four_tags() {
    with_scene(|scene| {
        let depths = (1..=4).flat_map(|labels| (0..=4).map(move |tags| (labels, tags)));
        for (port, (labels, tags)) in (1000..).zip(depths) {
            for (ipv6, ethertype) in [
                (false, ETH_P_MPLS_UC),
                (true, ETH_P_MPLS_UC),
                (false, ETH_P_MPLS_MC),
                (true, ETH_P_MPLS_MC),
            ] {
                let port = port + 100 * (ethertype - ETH_P_MPLS_UC);
                let description =
                    format!("{labels} labels {ethertype:04x} in {tags} tags IPv6 {ipv6}");
                let dressed = |tsval, tsecr| {
                    let packet = segment(ipv6, port, tsval, tsecr);
                    let stack = [0, 2, 0xf_ffff, 100]; // explicit nulls, too: the version says it
                    in_link(packet, &[ETH_P_8021Q; 4][..tags], false)
                        .mpls(&stack[..labels])
                        .ethertype(ethertype)
                };
                assert_measured(scene, &description, dressed);
                assert_alices(scene, &description, &dressed(1, 2), "");
            }
        }
    });
}

#[test]
fn what_is_not_ip_passes_unclassified() {
    with_scene(|scene| {
        let ip = || segment(false, 1000, 20, 10);
        let v4 = |addr| match addr {
            std::net::IpAddr::V4(v4) => v4,
            std::net::IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        for (description, packet) in [
            ("five tags", in_link(ip(), &[ETH_P_8021Q; 5], false)),
            ("five tags and PPPoE", in_link(ip(), &[ETH_P_8021Q; 5], true)),
            ("ARP", Packet::arp(v4(ALICE), v4(SERVER))),
            ("tagged ARP", Packet::arp(v4(ALICE), v4(SERVER)).tag(ETH_P_8021Q, 5)),
            ("five labels", ip().mpls(&[100; 5])),
            ("a control word below labels", pseudo_wire(0x00)),
            ("an associated channel below labels", pseudo_wire(0x10)),
            ("PPPoE below a label", Packet::raw(ETH_P_MPLS_UC, &[0, 6, 0x41, 64, 0x11, 0, 0, 1])),
            ("802.3 with a length", ip().ethertype(60)),
            ("PPPoE discovery", ip().ethertype(0x8863)),
            ("LCP", ip().pppoe_as(0, 5, Some(0xc021))),
            ("IPCP", ip().pppoe_as(0, 5, Some(0x8021))),
            ("PPPoE in PPPoE", ip().pppoe_as(0, 5, Some(ETH_P_PPP_SES))),
            ("an EtherType as PPP protocol", ip().pppoe_as(0, 5, Some(0x0800))),
        ] {
            assert_nobodys(scene, description, &packet.build(), "not_ip");
        }
    });
}

/// Returns a frame of a pseudo-wire: two labels, four bytes that begin with `first`, Alice's frame.
fn pseudo_wire(first: u8) -> Packet {
    let labels = [0, 6, 0x40, 64, 0, 6, 0x51, 64];
    let inner = segment(false, 1000, 20, 10).build();
    Packet::raw(ETH_P_MPLS_UC, &[&labels, [first, 0, 0, 0].as_slice(), &inner].concat())
}

/// Returns a frame with one byte changed, counted from the IP header.
fn broken(packet: Packet, at: isize, value: u8) -> Vec<u8> {
    let mut frame = packet.build();
    frame[packet.layout().network.wrapping_add_signed(at)] = value;
    frame
}

#[test]
fn headers_that_contradict_themselves_pass_unclassified() {
    with_scene(|scene| {
        let v4 = || segment(false, 1000, 20, 10);
        let v6 = || segment(true, 1000, 20, 10);
        for (description, frame) in [
            ("IPv4 version 5", broken(v4(), 0, 0x55)),
            ("IPv4 that is version 6", broken(v4(), 0, 0x65)),
            ("IPv4 header of 16 bytes", broken(v4(), 0, 0x44)),
            ("IPv4 header of 0 bytes", broken(v4(), 0, 0x40)),
            ("IPv4 total length below the header's", v4().ip_length(19).build()),
            (
                "IPv4 total length below the options'",
                v4().ipv4_options(&[1; 8]).ip_length(27).build(),
            ),
            ("IPv6 version 4", broken(v6(), 0, 0x40)),
            ("IPv6 under IPv4's EtherType", v6().ethertype(0x0800).build()),
            ("IPv4 under IPv6's EtherType", v4().ethertype(0x86dd).payload(40).build()),
            ("PPPoE PADT in a session frame", v4().pppoe_as(0xa7, 5, None).build()),
            ("PPPoE version 2", broken(v4().pppoe(5), -8, 0x21)),
        ] {
            assert_nobodys(scene, description, &frame, "malformed");
        }
    });
}

#[test]
fn ipv4_options_and_fragments() {
    with_scene(|scene| {
        let v4 = |port| segment(false, port, 20, 10);
        for (port, words) in (1000..).zip(0..=10) {
            let description = format!("{words} words of IPv4 options");
            assert_measured(scene, &description, |tsval, tsecr| {
                segment(false, port, tsval, tsecr).ipv4_options(&vec![1; words * 4])
            });
        }
        assert_measured(scene, "first fragment", |tsval, tsecr| {
            segment(false, 2000, tsval, tsecr).fragment(0, true)
        });
        for (description, packet, notes) in [
            ("later fragment", v4(3000).fragment(1480, true), "rtt_no_ports"),
            ("last fragment", v4(3000).fragment(2960, false), "rtt_no_ports"),
            ("later fragment of 8 bytes", v4(3000).fragment(8, false), "rtt_no_ports"),
            ("UDP fragment", Packet::new(ALICE, SERVER).udp(1, 2).fragment(1480, false), ""),
        ] {
            assert_alices(scene, description, &packet.payload(8), notes);
        }
    });
}

#[test]
fn ipv6_extension_headers() {
    use Extension::{Authentication, Destination, Fragment, HopByHop, Routing};
    with_scene(|scene| {
        let chains: [&[Extension]; 13] = [
            &[HopByHop(8)],
            &[HopByHop(16), Destination(8), Routing(24), Destination(24)],
            &[Authentication(16)],
            &[Authentication(24), Destination(8)],
            &[Fragment(0, true)],
            &[Fragment(0, false)],
            &[HopByHop(8), Fragment(0, true), Destination(8)],
            &[Routing(40), Authentication(32)],
            &[Destination(8); 5],
            &[Destination(8); 6],
            &[Destination(128)],
            &[HopByHop(152)],
            &[HopByHop(64), Destination(64), Routing(40)],
        ];
        for (port, chain) in (1000..).zip(chains) {
            assert_measured(scene, &format!("{chain:?}"), |tsval, tsecr| {
                chain
                    .iter()
                    .fold(segment(true, port, tsval, tsecr), |packet, ext| packet.extension(*ext))
            });
        }
        let v6 = || segment(true, 2000, 20, 10).payload(100);
        for (description, packet, notes) in [
            ("later fragment", v6().extension(Fragment(1480, true)), "rtt_no_ports"),
            (
                "later fragment behind options",
                v6().extension(HopByHop(8)).extension(Fragment(8, false)),
                "rtt_no_ports",
            ),
            (
                "UDP fragment",
                Packet::new(ALICE6, SERVER6).udp(1, 2).extension(Fragment(8, false)).payload(8),
                "",
            ),
            (
                "UDP too far out",
                Packet::new(ALICE6, SERVER6).extension(HopByHop(600)).udp(1, 2),
                "",
            ),
            ("no next header", Packet::new(ALICE6, SERVER6), ""),
            ("UDP", Packet::new(ALICE6, SERVER6).extension(HopByHop(8)).udp(1, 2), ""),
        ] {
            assert_alices(scene, description, &packet, notes);
        }
    });
}

/// With headers longer than the parser follows, the subscriber is still known, the missing RTT is counted, and none is made
/// up from the bytes inside. (An offset that wraps would find a TCP header there.)
#[test]
fn ipv6_chains_beyond_the_limits_give_no_rtt() {
    use Extension::{Authentication, Destination, HopByHop};
    with_scene(|scene| {
        let chains: [&[Extension]; 6] = [
            &[Destination(8); 7],
            &[HopByHop(600)],
            &[HopByHop(2048), Destination(104)],
            &[HopByHop(304), Destination(304)],
            &[Authentication(960)],
            &[HopByHop(448)],
        ];
        for (port, chain) in (1000..).zip(chains) {
            let packet = chain
                .iter()
                .fold(segment(true, port, 20, 10), |packet, ext| packet.extension(*ext));
            let packet = packet.payload(600);
            let mut frame = packet.build();
            let layout = packet.layout();
            // A TCP header at every place where a wrapped offset may look.
            let decoy = segment(true, 9999, 20, 10);
            let tcp = &decoy.build()[decoy.layout().transport..];
            for offset in [layout.transport & 0x1ff, layout.transport & 0xff] {
                if offset > layout.network + 42 && offset + tcp.len() < layout.transport {
                    frame[offset..offset + tcp.len()].copy_from_slice(tcp);
                }
            }
            let xdp = scene.steer(&frame, scene.lan);
            assert_eq!(xdp.verdict, XDP_REDIRECT, "{chain:?}");
            let tc = scene.classify(&frame, scene.to_internet());
            assert_eq!(tc.counters.fate(), "tc_classified", "{chain:?}");
            assert_eq!(tc.priority, ALICE_CLASS, "{chain:?}");
            assert_eq!(tc.counters.of("rtt_flow_new"), 0, "{chain:?}: {:?}", tc.counters);
            assert_eq!(tc.counters.notes(), "rtt_too_deep", "{chain:?}");
        }
    });
}

fn with_options(ipv6: bool, port: u16, options: &[TcpOption]) -> Packet {
    let (alice, server) = if ipv6 { (ALICE6, SERVER6) } else { (ALICE, SERVER) };
    Packet::new(alice, server).tcp(Tcp::new(port, 443).options(options.to_vec()))
}

#[test]
fn tcp_options_in_any_order() {
    use TcpOption::{End, Mss, Nop, Sack, SackPermitted, Timestamps, Unknown, WindowScale};
    let stamps = Timestamps(0, 0);
    let mut orders: Vec<Vec<TcpOption>> = vec![
        vec![stamps.clone()],
        vec![Nop, Nop, stamps.clone()],
        vec![Nop, Nop, stamps.clone(), Nop, Nop, Sack(2)],
        vec![Nop, Nop, stamps.clone(), Nop, Nop, Sack(3)],
        vec![Nop, Nop, Sack(3), stamps.clone()],
        vec![Sack(3), Nop, Nop, stamps.clone()],
        vec![stamps.clone(), End, Unknown(0, 9)],
        vec![Unknown(253, 1), stamps.clone(), Nop],
        vec![Unknown(254, 3), Unknown(253, 0), stamps.clone()],
        vec![Unknown(254, 28), stamps.clone()],
        vec![Unknown(8 + 1, 5), stamps.clone(), Unknown(77, 2)],
        vec![stamps.clone(), Timestamps(0xdead_beef, 0xdead_beef)],
        vec![Nop, stamps.clone(), Nop],
    ];
    orders.extend((0..=30).map(|nops| [vec![Nop; nops], vec![stamps.clone()]].concat()));
    let syn = [Mss(1460), SackPermitted, stamps, Nop, WindowScale(7)];
    orders.extend(permutations(&syn));
    with_scene(|scene| {
        for (port, order) in (1000..).zip(&orders) {
            for ipv6 in [false, true] {
                assert_measured(scene, &format!("{order:?} IPv6 {ipv6}"), |tsval, tsecr| {
                    let fill = |option: &TcpOption| match option {
                        Timestamps(0, 0) => Timestamps(tsval, tsecr),
                        other => other.clone(),
                    };
                    with_options(ipv6, port, &order.iter().map(fill).collect::<Vec<_>>())
                });
            }
        }
    });
}

fn permutations(items: &[TcpOption]) -> Vec<Vec<TcpOption>> {
    if items.is_empty() {
        return vec![vec![]];
    }
    let with_first = |first: usize| {
        let mut rest = items.to_vec();
        let item = rest.remove(first);
        permutations(&rest).into_iter().map(move |order| [vec![item.clone()], order].concat())
    };
    (0..items.len()).flat_map(with_first).collect()
}

#[test]
fn tcp_without_usable_timestamps_is_counted_by_reason() {
    use TcpOption::{End, Mss, Nop, Raw, Sack, SackPermitted, Timestamps, Unknown};
    let stamps = Timestamps(20, 10);
    let rows: Vec<(&str, Vec<TcpOption>, &str)> = vec![
        ("no options", vec![], "rtt_no_timestamps"),
        ("MSS only", vec![Mss(1460)], "rtt_no_timestamps"),
        ("SACK only", vec![Nop, Nop, Sack(3)], "rtt_no_timestamps"),
        ("NOPs only", vec![Nop; 40], "rtt_no_timestamps"),
        ("end of list first", vec![End, stamps.clone()], "rtt_no_timestamps"),
        ("end of list between", vec![SackPermitted, End, stamps.clone()], "rtt_no_timestamps"),
        ("timestamps inside another option", vec![Unknown(253, 10)], "rtt_no_timestamps"),
        ("size 0", vec![Raw(vec![253, 0]), stamps.clone()], "rtt_tcp_malformed"),
        ("size 1", vec![Raw(vec![253, 1]), stamps.clone()], "rtt_tcp_malformed"),
        ("size beyond the header", vec![Raw(vec![253, 41]), Nop, Nop], "rtt_tcp_malformed"),
        ("size one beyond the header", vec![Raw(vec![253, 5]), Nop, Nop], "rtt_tcp_malformed"),
        ("size 255", vec![stamps_raw(255)], "rtt_tcp_malformed"),
        ("timestamps of 9 bytes", vec![stamps_raw(9)], "rtt_tcp_malformed"),
        ("timestamps of 11 bytes", vec![stamps_raw(11)], "rtt_tcp_malformed"),
        ("timestamps of 2 bytes", vec![Raw(vec![8, 2]), Nop, Nop], "rtt_tcp_malformed"),
        (
            "timestamps cut by the header's end",
            vec![Nop, Nop, Raw(vec![8, 10, 1, 2, 3, 4])],
            "rtt_tcp_malformed",
        ),
        ("kind without size", vec![Nop, Nop, Nop, Raw(vec![8])], "rtt_tcp_malformed"),
    ];
    with_scene(|scene| {
        for (description, options, notes) in rows {
            for ipv6 in [false, true] {
                for payload in [0, 20] {
                    let packet = with_options(ipv6, 1000, &options).payload(payload);
                    assert_alices(scene, description, &packet, notes);
                }
            }
        }
        for ipv6 in [false, true] {
            let tcp = |words| Tcp::new(1000, 443).timestamps(20, 10).data_offset(words);
            let (alice, server) = if ipv6 { (ALICE6, SERVER6) } else { (ALICE, SERVER) };
            for (description, words, payload, notes) in [
                ("data offset 0", 0, 10, "rtt_tcp_malformed"),
                ("data offset 4", 4, 10, "rtt_tcp_malformed"),
                ("data offset beyond the frame", 15, 0, "rtt_tcp_truncated"),
                ("data offset without the options", 5, 0, "rtt_no_timestamps"),
            ] {
                let packet = Packet::new(alice, server).tcp(tcp(words)).payload(payload);
                assert_alices(scene, description, &packet, notes);
            }
            let short = |length| Packet::new(alice, server).tcp(tcp(8)).ip_length(length);
            let header = if ipv6 { 0 } else { 20 };
            assert_alices(
                scene,
                "IP ends before TCP's options",
                &short(header + 31),
                "rtt_tcp_malformed",
            );
            assert_alices(scene, "IP ends before TCP", &short(header + 8), "rtt_tcp_malformed");
            assert_alices(
                scene,
                "IP claims more than there is",
                &short(header + 99),
                "rtt_tcp_truncated",
            );
        }
    });
}

fn stamps_raw(size: u8) -> TcpOption {
    TcpOption::Raw([vec![8, size], vec![7; 10]].concat())
}

#[test]
fn ethernet_padding_is_no_payload() {
    with_scene(|scene| {
        let ack = |tsval, tsecr| {
            let mut frame = segment(false, 1000, tsval, tsecr).build();
            frame.resize(120, 0);
            frame
        };
        for tsval in [20, 21, 22] {
            scene.classify(&ack(tsval, 10), scene.to_internet());
        }
        let echo = segment(false, 1000, 50, 22).reply().build();
        assert_eq!(scene.classify(&echo, scene.to_subscriber()).samples, []);
    });
}

#[test]
fn big_tcp_says_no_length() {
    with_scene(|scene| {
        for (port, ipv6) in [(1000, false), (1001, true)] {
            assert_measured(scene, "BIG TCP", |tsval, tsecr| {
                segment(ipv6, port, tsval, tsecr).ip_length(0)
            });
        }
    });
}
