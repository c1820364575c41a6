// SPDX-License-Identifier: GPL-2.0-only
use crate::packet::builder::{NetworkHeader, Packet, PacketLayout, TransportHeader};
use crate::packet::checksum::checksum;
use crate::packet::hosts::{ALICE, ALICE6, SERVER, SERVER6};
use crate::packet::ip::Extension;
use crate::packet::numbers::{ACK, ETH_P_8021AD, ETH_P_8021Q};
use crate::packet::tcp::{Tcp, TcpOption};

fn data() -> Packet {
    Packet::new(ALICE, SERVER).tcp(Tcp::new(1000, 443).timestamps(0x01020304, 0x05060708))
}

#[test]
fn a_plain_tcp_segment_byte_by_byte() {
    let frame = data().payload(3).build();
    assert_eq!(frame[..14], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    assert_eq!(frame[14..26], [0x45, 0, 0, 55, 0, 0, 0, 0, 64, 6, frame[24], frame[25]]);
    assert_eq!(frame[26..34], [100, 64, 1, 1, 198, 51, 100, 80]);
    assert_eq!(frame[34..38], [3, 232, 1, 187]);
    assert_eq!(frame[46..48], [0x80, ACK]);
    assert_eq!(frame[54..66], [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(frame[66..], [0, 1, 2]);
}

#[test]
fn checksums_add_up_to_nothing() {
    for (source, destination) in [(ALICE, SERVER), (ALICE6, SERVER6)] {
        let packet = Packet::new(source, destination).payload(5);
        for packet in [
            packet.clone().tcp(Tcp::new(1, 2).options([TcpOption::Mss(1460)])),
            packet.clone().udp(53, 53),
            packet.clone().echo(9),
        ] {
            let (frame, layout) = packet.assemble();
            let NetworkHeader::Ip(ip) = &packet.network else { unreachable!() };
            let content = &frame[layout.transport..];
            let (protocol, pseudo) = match (&packet.transport, source.is_ipv4()) {
                (TransportHeader::Tcp(_), _) => (6, true),
                (TransportHeader::Udp(..), _) => (17, true),
                (_, v4) => (58, !v4),
            };
            let start = if pseudo { ip.pseudo_header(protocol, content.len()) } else { 0 };
            assert_eq!(checksum(start, content), 0, "{packet:?}");
            if source.is_ipv4() {
                assert_eq!(checksum(0, &frame[14..34]), 0, "{packet:?}");
            }
        }
    }
}

#[test]
fn link_headers_from_the_outside_in() {
    let packet = data().tag(ETH_P_8021AD, 100).tag(ETH_P_8021Q, 7).pppoe(5);
    let expected = [0x88, 0xa8, 0, 100, 0x81, 0, 0, 7, 0x88, 0x64, 0x11, 0, 0, 5, 0, 54, 0, 0x21];
    assert_eq!(packet.build()[12..30], expected);
    assert_eq!(packet.layout(), PacketLayout { network: 30, transport: 50, payload: 82 });
}

#[test]
fn extension_headers_name_their_successor() {
    let frame = Packet::new(ALICE6, SERVER6)
        .extension(Extension::HopByHop(8))
        .extension(Extension::Routing(24))
        .extension(Extension::Authentication(16))
        .extension(Extension::Fragment(0, true))
        .udp(1, 2)
        .build();
    assert_eq!(frame[18..21], [0, 8 + 24 + 16 + 8 + 8, 0]);
    assert_eq!(frame[54..56], [43, 0]);
    assert_eq!(frame[62..64], [51, 2]);
    assert_eq!(frame[86..88], [44, 2]);
    assert_eq!(frame[102..106], [17, 0, 0, 1]);
}

#[test]
fn only_the_first_fragment_has_a_transport_header() {
    let first = data().payload(16).fragment(0, true).build();
    let later = data().payload(16).fragment(48, false).build();
    assert_eq!((first[20], first[21]), (0x20, 0));
    assert_eq!((later[20], later[21]), (0, 6));
    assert_eq!(first.len() - later.len(), 32);
}

#[test]
fn a_reply_goes_back() {
    let there = data().build();
    let back = data().reply().build();
    assert_eq!(there[..6], back[6..12]);
    assert_eq!(there[26..30], back[30..34]);
    assert_eq!(there[34..36], back[36..38]);
    assert_eq!(data().reply().reply().build(), there);
}

#[test]
fn odd_options_are_filled_up() {
    let tcp = Tcp::new(1, 2).options([TcpOption::WindowScale(7), TcpOption::Timestamps(1, 2)]);
    let header = tcp.header();
    assert_eq!(header.len(), 36);
    assert_eq!(header[12], 9 << 4);
    assert_eq!(header[20..26], [3, 3, 7, 8, 10, 0]);
    assert_eq!(header[33..], [0, 0, 0]);
}
