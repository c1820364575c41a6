// SPDX-License-Identifier: GPL-2.0-only

//! Captures from anywhere: link types, containers, lengths and clocks as people's files have them. Each has the RTTs that
//! happened, and what is left out is said by reason.

use crate::common::capture_file::{
    block, conversation, interface, merged, packet, pcap, section, Captured, Ends, FileBytes,
    ETHERNET, EXCHANGES, MICROSECONDS, MS, NANOSECONDS, RTTS, SECOND, START_NS,
};
use crate::common::command::{program, Said};
use crate::common::events::data;
use crate::common::replayed::Replayed;
use flate2::{write::GzEncoder, Compression};
use lab::packet::{hosts, Packet, Tcp, ACK};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

/// The counts of conversations that were measured as they happened.
fn whole(conversations: usize) -> BTreeMap<String, usize> {
    [("20", RTTS / 2), ("5", RTTS / 2)].map(|(ms, n)| (ms.to_owned(), n * conversations)).into()
}

const V4: Ends = Ends { client: hosts::ALICE, server: hosts::SERVER, port: 40_000 };
const V6: Ends = Ends { client: hosts::ALICE6, server: hosts::SERVER6, port: 40_000 };

fn talk() -> Vec<Captured> {
    conversation(V4, START_NS)
}

/// Replays a capture that must give the whole conversation.
fn check_whole(what: &str, bytes: &[u8]) {
    let replayed = Replayed::of(bytes);
    assert_eq!(replayed.counts(), whole(1), "{what}: {replayed:?}");
    let text = format!("{0} packets read, {0} measured", 3 * EXCHANGES);
    assert_eq!((replayed.summary, replayed.err), (text, String::new()), "{what}");
}

/// The captures that once gave nothing, or wrong RTTs, with their summaries.
#[test]
fn captures_that_once_were_wrong() {
    lab::require_root();
    let table = [
        ("plain.pcap", "60 packets read, 60 measured"),
        ("sll_all_in.pcap", "60 packets read, 60 measured"),
        ("epb_all_in.pcapng", "60 packets read, 60 measured"),
        ("sll_twice.pcap", "120 packets read, 120 measured"),
        ("wirelen_lost.pcap", "60 packets read, 60 measured"),
        ("mpls.pcap", "60 packets read, 60 measured"),
        ("stepback.pcap", "60 packets read, 60 measured"),
        (
            "can_first.pcapng",
            "61 packets read, 60 measured, 1 left out: 1 of link type 227 (CAN_SOCKETCAN)",
        ),
    ];
    for (name, summary) in table {
        let replayed = Replayed::of_file(&data("captures").join(name), "");
        assert_eq!(replayed.counts(), whole(1), "{name}: {replayed:?}");
        let said = (replayed.code, replayed.summary.as_str(), replayed.err.as_str());
        assert_eq!(said, (0, summary, ""), "{name}");
    }
}

/// The requests of an mtr, of which most hosts answer none: every reply gives an RTT.
#[test]
fn unanswered_echoes() {
    lab::require_root();
    let replayed = Replayed::of_file(&data("captures").join("icmp_mtr.pcap"), "-C");
    assert_eq!(replayed.counts(), BTreeMap::from([("30".to_owned(), 15)]), "{replayed:?}");
    assert_eq!(replayed.summary, "55 packets read, 55 measured");
}

fn snap(ethertype: [u8; 2]) -> Vec<u8> {
    [&[0xAA, 0xAA, 3, 0, 0, 0][..], &ethertype].concat()
}

/// A header of 802.11: a data frame with QoS.
fn wifi(ethertype: [u8; 2]) -> Vec<u8> {
    let mut header = vec![0; 26];
    (header[0], header[1]) = (0x88, 2);
    [header, snap(ethertype)].concat()
}

/// The same conversation in every link layer, of IPv4 and of IPv6, each on an interface of its own.
#[test]
fn every_link_layer() {
    lab::require_root();
    let (mut file, mut layers) = (section(false), Vec::new());
    for (ends, kind, ppp, family) in
        [(V4, [0x08, 0x00], [0, 0x21], 2), (V6, [0x86, 0xDD], [0, 0x57], 10)]
    {
        let radiotap = [&[0, 0, 9, 0, 2, 0, 0, 0, 0x10][..], &wifi(kind)].concat();
        let ppi = [&[0, 0, 8, 0, 105, 0, 0, 0][..], &wifi(kind)].concat();
        let apple = |number: u8| [12, 0, 0, 0, 1, 0, 0, 0, number, 0, 0, 0];
        // Direction flags that say nothing: every packet comes in.
        let table: Vec<(u16, Vec<u8>)> = vec![
            (1, [&[2; 12][..], &kind].concat()),
            (1, [&[2; 12][..], &[0x81, 0, 0, 5], &kind].concat()),
            (1, [&[2; 12][..], &[0x88, 0x64, 0x11, 0, 0, 1, 0, 99], &ppp].concat()),
            (101, vec![]),
            (12, vec![]),
            (if ends.client.is_ipv4() { 228 } else { 229 }, vec![]),
            (113, [&[0; 14][..], &kind].concat()),
            (276, [&kind[..], &[0; 18]].concat()),
            (0, vec![family, 0, 0, 0]),
            (108, vec![0, 0, 0, family]),
            (9, [&[0xFF, 3][..], &ppp].concat()),
            (50, [&[0x0F, 0][..], &kind].concat()),
            (51, [&[0x11, 0, 0, 1, 0, 99][..], &ppp].concat()),
            (104, [&[0x0F, 0][..], &kind].concat()),
            (204, [&[1][..], &ppp].concat()),
            (100, snap(kind)),
            (105, wifi(kind)),
            (127, radiotap),
            (192, ppi),
            (117, [&[61, 2][..], &[0; 62]].concat()),
            (239, vec![2, 0, 0, 0, 8, 0, 9, 0]),
            (258, apple(12).to_vec()),
            (258, [&apple(0)[..], &[30, 0, 0, 0]].concat()),
            (283, [&[2; 12][..], &[0xC0; 4], &kind].concat()),
        ];
        for (link_type, header) in table {
            // This header of Apple's has the family of IPv6.
            if ends.client.is_ipv4() && header.ends_with(&[30, 0, 0, 0]) {
                continue;
            }
            let number = layers.len() as u32;
            file.extend(interface(false, link_type, 6, 0));
            for it in conversation(Ends { port: number as u16, ..ends }, START_NS) {
                file.extend(packet(false, number, it.time_ns / 1000, &it.behind(&header)));
            }
            layers.push((number, link_type, RTTS));
        }
    }
    let replayed = Replayed::of(&file);
    let rtts_of = |port: u32| {
        let of_port = |event: &&Value| event["src_port"] == port || event["dest_port"] == port;
        replayed.events.iter().filter(of_port).filter(|event| event["rtt"].is_u64()).count()
    };
    let found: Vec<_> =
        layers.iter().map(|(port, kind, _)| (*port, *kind, rtts_of(*port))).collect();
    assert_eq!(found, layers, "port, link type, RTTs");
    assert_eq!(replayed.counts(), whole(layers.len()));
    let packets = 3 * EXCHANGES * layers.len();
    assert_eq!(replayed.summary, format!("{packets} packets read, {packets} measured"));
}

/// Every magic, byte order and resolution; gzipped, and from a pipe.
#[test]
fn every_container() {
    lab::require_root();
    for big in [false, true] {
        for magic in [MICROSECONDS, NANOSECONDS] {
            check_whole("pcap", &pcap(magic, big, 1, &talk()));
        }
        // Ticks of a microsecond; of 2^-20 s, which are rounded; of a nanosecond with an offset, on one interface each.
        for (resolution, ticks_per_second, offset) in
            [(6, 1_000_000, 0), (0x80 | 30, 1 << 30, 0), (9, SECOND, 1_000_000_000)]
        {
            let ticks = |packet: &Captured| {
                let ns = u128::from(packet.time_ns - offset as u64 * SECOND);
                (ns * u128::from(ticks_per_second) / u128::from(SECOND)) as u64
            };
            let packets = talk();
            let mut file = [section(big), interface(big, 1, resolution, offset)].concat();
            packets.iter().for_each(|it| file.extend(packet(big, 0, ticks(it), it)));
            let replayed = Replayed::of(&file);
            let mut rounded = BTreeMap::new();
            for rtt in replayed.rtts() {
                *rounded.entry((rtt + MS / 2) / MS).or_default() += 1;
            }
            assert_eq!(rounded, BTreeMap::from([(5, RTTS / 2), (20, RTTS / 2)]), "{resolution}");
        }
    }
    let plain = pcap(NANOSECONDS, false, 1, &talk());
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&plain).unwrap();
    let gzipped = gzip.finish().unwrap();
    check_whole("gzipped", &gzipped);
    for bytes in [plain, gzipped] {
        let mut command = Command::new(program("pping"));
        command.args("--read - -r 0 -F jsonl".split(' ')).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || pipe.write_all(&bytes));
        let (said, summary) = Said::from(child.wait_with_output().unwrap()).of_replay();
        writer.join().unwrap().unwrap();
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        assert_eq!(summary, "60 packets read, 60 measured");
        assert_eq!(said.out.matches("\"rtt\":").count(), RTTS);
    }
}

/// Packets of which the capture holds the headers only, with and without their length on the wire.
#[test]
fn snapped_packets() {
    lab::require_root();
    for (ends, headers) in [(V4, 66), (V6, 86)] {
        for bytes in [headers, headers + 2, 96] {
            let packets: Vec<_> = conversation(ends, START_NS)
                .into_iter()
                .map(|packet| packet.snapped(bytes))
                .collect();
            check_whole("snapped", &pcap(MICROSECONDS, false, 1, &packets));
            let lost: Vec<_> = packets
                .into_iter()
                .map(|packet| Captured { wire_len: packet.bytes.len() as u32, ..packet })
                .collect();
            check_whole("length lost", &pcap(MICROSECONDS, false, 1, &lost));
        }
    }
    // A byte less, and the timestamps are not whole.
    let short: Vec<_> = talk().into_iter().map(|packet| packet.snapped(65)).collect();
    let replayed = Replayed::of(&pcap(MICROSECONDS, false, 1, &short));
    let summary = "60 packets read, 0 measured, 60 left out: 60 cut short within a header";
    assert_eq!((replayed.rtts().count(), replayed.summary.as_str()), (0, summary));
}

/// Where the length on the wire is lost, IP says which segments carry data; and the bytes of the aggregates.
#[test]
fn the_length_that_ip_says() {
    lab::require_root();
    let cut = |packet: Captured| Captured { wire_len: 66, ..packet.snapped(66) };
    let [known, lost] = [talk(), talk().into_iter().map(cut).collect()]
        .map(|packets| Replayed::with(&pcap(MICROSECONDS, false, 1, &packets), "-a 10"));
    let bytes = |replayed: &Replayed| {
        let counters = replayed.events.iter().map(|event| &event["protocol_counters"]["TCP"]);
        counters.filter_map(|tcp| tcp["bytes"].as_u64()).sum::<u64>()
    };
    assert_eq!(bytes(&known), 20 * (166 + 266 + 66));
    assert_eq!(bytes(&lost), bytes(&known));
}

/// A super-packet (TSO) may have no length in its IP header: then the capture says whether it carries data.
#[test]
fn super_packets_without_a_length() {
    lab::require_root();
    let mut packets = talk();
    for packet in &mut packets {
        packet.bytes[ETHERNET + 2..][..2].fill(0);
        packet.wire_len += 3000 * u32::from(packet.bytes.len() > 66);
    }
    check_whole("TSO", &pcap(MICROSECONDS, false, 1, &packets));
}

/// Ethernet pads short frames: an acknowledgement carries no data for that.
#[test]
fn padding_is_no_data() {
    lab::require_root();
    let mut packets = talk();
    for packet in &mut packets {
        packet.bytes.extend([0; 6]);
        packet.wire_len += 6;
    }
    check_whole("padding", &pcap(MICROSECONDS, false, 1, &packets));
}

/// A router sees each packet twice, a firewall four times; a mirror may see them in both VLANs.
#[test]
fn packets_seen_more_than_once() {
    lab::require_root();
    for times in [2, 4] {
        let copies = (0..times).map(|copy| {
            let later =
                |packet: Captured| Captured { time_ns: packet.time_ns + copy * 30_000, ..packet };
            talk().into_iter().map(later).collect()
        });
        let replayed = Replayed::of(&pcap(MICROSECONDS, false, 1, &merged(copies)));
        // The first copy of a packet counts.
        assert_eq!(replayed.counts(), whole(1), "{replayed:?}");
    }
}

/// Every packet is either measured or left out for one reason.
#[test]
fn everything_that_is_left_out() {
    lab::require_root();
    let udp = Packet::new(hosts::ALICE, hosts::SERVER).udp(53, 53).payload(30).build();
    let echo = Packet::new(hosts::ALICE, hosts::SERVER).echo(1).build();
    let bare = Packet::new(hosts::ALICE, hosts::SERVER).tcp(Tcp::new(1, 2).flags(ACK)).build();
    let fragment = Packet::new(hosts::ALICE, hosts::SERVER)
        .fragment(100, false)
        .tcp(Tcp::new(1, 2))
        .payload(50);
    let arp = Packet::raw(0x0806, &[0; 28]).build();
    let mut malformed = bare.clone();
    malformed[ETHERNET] = 0x41;
    let others = [
        arp,
        udp,
        echo,
        bare.clone(),
        fragment.build(),
        malformed,
        bare[..40].to_vec(),
        bare[..20].to_vec(),
        bare[..5].to_vec(),
    ];
    let big = false;
    let mut file = [
        section(big),
        interface(big, 1, 6, 0),
        interface(big, 227, 6, 0),
        interface(big, 9999, 6, 0),
        interface(big, 1, 0, 0),
    ]
    .concat();
    for it in talk() {
        file.extend(packet(big, 0, it.time_ns / 1000, &it));
    }
    for (number, bytes) in others.into_iter().enumerate() {
        file.extend(packet(big, 0, START_NS / 1000 + number as u64, &Captured::new(0, bytes)));
    }
    let some = Captured::new(0, vec![0; 60]);
    for (id, count) in [(1, 3), (2, 2), (7, 1)] {
        (0..count).for_each(|_| file.extend(packet(big, id, 1, &some)));
    }
    file.extend(packet(big, 3, u64::MAX, &some));
    file.extend(block(big, 3, FileBytes::new(big).u32(60).raw(&[0; 60])));
    let longer = FileBytes::new(big).u32(0).u32(0).u32(0).u32(500).u32(500).raw(&[0; 60]);
    file.extend(block(big, 6, longer));
    for kind in [4, 5, 9, 10, 0xBAD, 0x4000_0BAD, 0x8000_1234] {
        file.extend(block(big, kind, FileBytes::new(big).u32(1).u32(2)));
    }
    let replayed = Replayed::of(&file);
    assert_eq!(replayed.counts(), whole(1), "{replayed:?}");
    assert_eq!(
        replayed.summary,
        "78 packets read, 60 measured, 18 left out: 3 of link type 227 (CAN_SOCKETCAN), \
         2 of link type 9999, 1 without a time, 1 with an impossible time, \
         1 of an interface that is not described, 1 in a malformed block, 1 without IP, \
         2 of other protocols, 1 of TCP without timestamps, 1 fragments after the first, \
         1 with malformed headers, 3 cut short within a header"
    );
    let with_icmp = Replayed::with(&file, "-C");
    assert!(with_icmp.summary.contains(", 64 of other protocols, "), "{}", with_icmp.summary);
}

/// On a terminal the progress is shown, and wiped out before the summary.
#[test]
fn progress_on_a_terminal() {
    lab::require_root();
    lab::require_tool("script");
    let folder = tempfile::TempDir::new().unwrap();
    let out = folder.path().join("out");
    let line =
        format!("{} --read {} -w {}", program("pping"), data("run.pcap").display(), out.display());
    let said = Said::by(Command::new("script").args(["-qec", &line, "/dev/null"]));
    assert_eq!(said.code, 0, "{said:?}");
    let (shown, rest) = said.out.split_once("\r\x1b[K").expect("a line that is wiped out");
    assert!(shown.starts_with('\r') && shown.contains(" % of 7.7 kB, "), "{said:?}");
    assert!(rest.contains(" packets read, "), "{said:?}");
    assert!(!std::fs::read_to_string(&out).unwrap().contains('%'));
}

/// Faults that end the reading: the events before them are printed, the summary has their packets, the error names the
/// packet.
#[test]
fn files_that_end_badly() {
    lab::require_root();
    let whole_file = pcap(MICROSECONDS, false, 1, &talk());
    let pcapng = |more: &[u8]| {
        let mut file = [section(false), interface(false, 1, 6, 0)].concat();
        talk().iter().for_each(|it| file.extend(packet(false, 0, it.time_ns / 1000, it)));
        [&file, more].concat()
    };
    let huge = FileBytes::new(false).u32(0).u32(0).u32(0x7FFF_FFFF).u32(0x7FFF_FFFF).bytes;
    let table = [
        (whole_file[..whole_file.len() - 1].to_vec(), 59, "packet 60: the file ends within it"),
        (
            [&whole_file[..], &huge].concat(),
            60,
            "packet 61: malformed: it claims to have 2147483647",
        ),
        (pcapng(&[6, 0, 0, 0]), 60, "packet 61: the file ends within it"),
        (pcapng(&[0; 12]), 60, "packet 61: malformed: its block has an impossible length"),
        (pcapng(b"garbage garbage garbage"), 60, "packet 61: malformed: "),
    ];
    for (bytes, packets, why) in table {
        let replayed = Replayed::of(&bytes);
        assert_eq!(replayed.code, 1, "{replayed:?}");
        assert!(replayed.rtts().count() >= RTTS - 1, "{replayed:?}");
        assert_eq!(replayed.summary, format!("{packets} packets read, {packets} measured"));
        assert!(replayed.err.contains(why), "{why}: {replayed:?}");
    }
    for (bytes, why) in [
        (&b""[..], "neither pcap nor pcapng"),
        (&whole_file[..20], "it ends within its header"),
        (&pcap(MICROSECONDS, false, 227, &[]), "link type 227 (CAN_SOCKETCAN) carries no IP"),
    ] {
        let replayed = Replayed::of(bytes);
        assert!(replayed.code == 1 && replayed.err.contains(why), "{replayed:?}");
        assert_eq!(replayed.summary, "");
    }
    assert_eq!(Replayed::of(&whole_file[..24]).summary, "0 packets read, 0 measured");
}
