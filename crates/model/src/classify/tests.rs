// SPDX-License-Identifier: GPL-2.0-only
use super::*;
use crate::frame::{Frame, Length, ACK};
use crate::mapping::v4;

const LAN: u32 = 2;
const WAN: u32 = 3;
const ELSEWHERE: u32 = 4;
const ALICE: [u8; 4] = [100, 64, 0, 2];
const BOB: [u8; 4] = [100, 64, 0, 3];
const CAROL: [u8; 4] = [100, 64, 0, 4];
const STRANGER: [u8; 4] = [203, 0, 113, 9];
const SERVER: [u8; 4] = [192, 0, 2, 1];
const MS: u64 = 1_000_000;

/// Returns a model with Alice on CPU 0, Bob on CPU 1 and Carol on CPU 7, which does not exist. CPU 2 has no
/// queue, CPU 3 no major.
fn model() -> Model {
    let mut model = Model::new(ModelConfig::new(1000));
    model.direction(LAN, Facing::Lan);
    model.direction(WAN, Facing::Wan);
    for cpu in 0..2 {
        model.txq(cpu, cpu as u16 + 1, cpu as u16 + 1);
        model.cpu_available(cpu, true);
    }
    model.txq(2, 0, 3);
    model.txq(3, 4, 0);
    model.map(AddressPrefix::v4(ALICE, 32), 0, 0x1_0010);
    model.map(AddressPrefix::v4(BOB, 32), 1, 0x2_0020);
    model.map(AddressPrefix::v4(CAROL, 32), 7, 0);
    model
}

fn to(address: [u8; 4]) -> Frame {
    Frame::tcp4(SERVER, address)
}

fn from(address: [u8; 4]) -> Frame {
    Frame::tcp4(address, SERVER)
}

fn forwarded(ifindex: u32, cpu: u32) -> Skb {
    Skb { ifindex, ingress_ifindex: 9, priority: 0, cpu }
}

/// Steers a frame. Returns the verdict, the counter and the tc handle that XDP hands to TC.
fn steer(model: &Model, frame: &[u8], ifindex: u32) -> (Verdict, &'static str, Option<u32>) {
    let Steered { verdict, counter, handed_on } = model.steer(frame, ifindex, 0);
    let handle = handed_on.and_then(|found| found.assignment).map(|mapping| mapping.handle);
    (verdict, counter, handle)
}

fn passes(counter: &'static str) -> (Verdict, &'static str, Option<u32>) {
    (Verdict::Pass, counter, (counter == "xdp_no_cpu").then_some(0))
}

fn redirects(cpu: u32, handle: u32) -> (Verdict, &'static str, Option<u32>) {
    (Verdict::Redirect { cpu }, "xdp_redirected", Some(handle))
}

#[test]
fn steering_goes_by_source_on_lan_and_destination_on_wan() {
    let model = model();
    let short = &to(ALICE).build()[..33];
    let rows = [
        ("from Bob", from(BOB).build(), LAN, redirects(1, 0x2_0020)),
        ("to Bob", to(BOB).build(), WAN, redirects(1, 0x2_0020)),
        ("to Bob, by LAN", to(BOB).build(), LAN, passes("xdp_unmapped")),
        ("a stranger", to(STRANGER).build(), WAN, passes("xdp_unmapped")),
        ("Carol's CPU is not there", to(CAROL).build(), WAN, passes("xdp_no_cpu")),
        ("no direction", to(BOB).build(), ELSEWHERE, passes("xdp_no_direction")),
        ("ARP", Frame { ethertype: Some(0x806), ..to(BOB) }.build(), WAN, passes("xdp_not_ip")),
        ("truncated", short.to_vec(), WAN, passes("xdp_truncated")),
        ("truncated, no direction", short.to_vec(), ELSEWHERE, passes("xdp_no_direction")),
        ("malformed", to(BOB).length(Length::Says(3)).build(), WAN, passes("xdp_malformed")),
    ];
    for (what, frame, ifindex, expected) in rows {
        assert_eq!(steer(&model, &frame, ifindex), expected, "{what}");
    }
}

#[test]
fn the_default_entry_steers_strangers() {
    let mut model = model();
    model.map(AddressPrefix::DEFAULT, 1, 5);
    assert_eq!(steer(&model, &to(STRANGER).build(), WAN), redirects(1, 5));
    assert_eq!(steer(&model, &to(CAROL).build(), WAN), passes("xdp_no_cpu"), "no second try");
    assert!(model.unmap(AddressPrefix::DEFAULT));
    assert_eq!(steer(&model, &to(STRANGER).build(), WAN), passes("xdp_unmapped"));
}

#[test]
fn a_mapping_of_the_all_ones_space_is_shared_by_ipv6() {
    let frame = Frame::tcp6([0x20; 16], v4(BOB)).build();
    assert_eq!(steer(&model(), &frame, WAN), redirects(1, 0x2_0020));
}

/// A row: description, frame, packet, and the expected priority, queue and counters.
type Row = (&'static str, Vec<u8>, Skb, u32, Option<u16>, &'static [&'static str]);

fn check(rows: Vec<Row>) {
    for (what, frame, skb, priority, queue, counters) in rows {
        let result = model().classify(&frame, skb, 0);
        assert_eq!(result.priority, priority, "{what}");
        assert_eq!(result.queue, queue, "{what}");
        assert_eq!(result.counters, counters, "{what}");
    }
}

#[test]
fn packets_of_this_host_keep_their_minor() {
    let host = |priority, cpu| Skb { ifindex: LAN, ingress_ifindex: 0, priority, cpu };
    let frame = || to(ALICE).build();
    check(vec![
        ("no priority", frame(), host(0, 1), 0x2_0003, Some(2), &["tc_host"]),
        ("a minor", frame(), host(7, 1), 0x2_0007, Some(2), &["tc_host"]),
        ("any minor", frame(), host(0x9_0bad, 1), 0x2_0bad, Some(2), &["tc_host"]),
        ("major only", frame(), host(0x9_0000, 1), 0x2_0000, Some(2), &["tc_host"]),
        ("no queue", frame(), host(0, 2), 0, None, &["tc_no_queue", "tc_host"]),
        ("no txq entry", frame(), host(8, 9), 8, None, &["tc_no_queue", "tc_host"]),
        ("no major", frame(), host(8, 3), 8, Some(4), &["tc_host"]),
        ("not even IP", vec![0; 14], host(0, 0), 0x1_0003, Some(1), &["tc_host"]),
    ]);
}

#[test]
fn minors_three_to_nine_are_kept() {
    let marked = |priority| Skb { priority, ..forwarded(ELSEWHERE, 1) };
    let frame = || to(ALICE).build();
    check(vec![
        ("2", frame(), marked(2), 2, Some(2), &["tc_no_direction"]),
        ("3", frame(), marked(3), 0x2_0003, Some(2), &["tc_priority_kept"]),
        ("9", frame(), marked(0x5_0009), 0x2_0009, Some(2), &["tc_priority_kept"]),
        ("10", frame(), marked(10), 10, Some(2), &["tc_no_direction"]),
    ]);
}

#[test]
fn classes_go_by_destination_on_lan_and_source_on_wan() {
    let udp = |frame: Frame| frame.protocol(17).build();
    check(vec![
        ("to Alice", udp(to(ALICE)), forwarded(LAN, 0), 0x1_0010, Some(1), &["tc_classified"]),
        ("from Bob", udp(from(BOB)), forwarded(WAN, 1), 0x2_0020, Some(2), &["tc_classified"]),
        ("unmapped", udp(to(STRANGER)), forwarded(LAN, 0), 0, Some(1), &["tc_unmapped"]),
        (
            "on the wrong CPU",
            udp(to(BOB)),
            forwarded(LAN, 0),
            0x2_0020,
            Some(2),
            &["tc_wrong_cpu", "tc_classified"],
        ),
        (
            "no class, and its CPU has no queue",
            udp(to(CAROL)),
            forwarded(LAN, 2),
            0,
            None,
            &["tc_no_queue", "tc_wrong_cpu", "tc_no_queue", "tc_no_class"],
        ),
        (
            "no class, its CPU has no queue: this CPU's stays",
            udp(to(CAROL)),
            Skb { priority: 0x77, ..forwarded(LAN, 0) },
            0x77,
            Some(1),
            &["tc_wrong_cpu", "tc_no_queue", "tc_no_class"],
        ),
    ]);
}

#[test]
fn packets_that_cannot_be_parsed_are_left_alone() {
    let arp = Frame { ethertype: Some(0x806), ..to(ALICE) }.build();
    let skb = Skb { priority: 0x1234, ..forwarded(LAN, 0) };
    let malformed = to(ALICE).length(Length::Says(3)).build();
    check(vec![
        ("ARP", arp, skb, 0x1234, Some(1), &["tc_not_ip"]),
        ("cut", to(ALICE).build()[..20].to_vec(), skb, 0x1234, Some(1), &["tc_truncated"]),
        ("malformed", malformed, skb, 0x1234, Some(1), &["tc_malformed"]),
    ]);
}

#[test]
fn a_bad_transport_header_costs_the_sample_and_not_the_class() {
    let later = Frame { fragment_offset: 9, ..to(ALICE) }.build();
    let mut cut = to(ALICE).build();
    cut.truncate(40);
    let bad_option = to(ALICE).tcp_options(&[2, 1, 0, 0]).build();
    let skb = forwarded(LAN, 0);
    check(vec![
        ("fragment", later, skb, 0x1_0010, Some(1), &["tc_classified", "rtt_no_ports"]),
        ("cut", cut, skb, 0x1_0010, Some(1), &["tc_classified", "rtt_tcp_truncated"]),
        ("option", bad_option, skb, 0x1_0010, Some(1), &["tc_classified", "rtt_tcp_malformed"]),
        (
            "no timestamps",
            to(ALICE).build(),
            skb,
            0x1_0010,
            Some(1),
            &["tc_classified", "rtt_no_timestamps"],
        ),
    ]);
}

/// Sends data to a subscriber by LAN and its ACK by WAN, 20 ms later. Returns the sample.
fn round_trip(model: &mut Model, who: [u8; 4], cpu: u32) -> Option<Sample> {
    let data = |tsval| to(who).ports(443, 5000).timestamps(tsval, 1).payload(10).build();
    let ack = from(who).ports(5000, 443).flags(ACK).timestamps(1, 11).build();
    assert_eq!(model.classify(&data(10), forwarded(LAN, cpu), 0).sample, None);
    assert_eq!(model.classify(&data(11), forwarded(LAN, cpu), 50 * MS).sample, None);
    model.classify(&ack, forwarded(WAN, cpu), 70 * MS).sample
}

#[test]
fn the_subscribers_echo_is_a_sample_of_its_side() {
    let mut model = model();
    let sample = Sample { handle: 0x2_0020, side: SampleSide::Subscriber, rtt_ns: 20 * MS };
    assert_eq!(round_trip(&mut model, BOB, 0), Some(sample));
    assert_eq!(model.flow_count(), 1);
    let histogram = model.histogram(0x2_0020, SampleSide::Subscriber).unwrap();
    assert_eq!((histogram.count, histogram.sum_ns), (1, 20 * MS));
    assert!(model.histogram(0x2_0020, SampleSide::Internet).is_none());
}

#[test]
fn the_servers_echo_is_a_sample_of_the_internet_side() {
    let mut model = model();
    let data = |tsval| from(ALICE).ports(5000, 443).timestamps(tsval, 1).payload(10).build();
    model.classify(&data(10), forwarded(WAN, 0), MS);
    model.classify(&data(11), forwarded(WAN, 0), MS);
    let ack = to(ALICE).ports(443, 5000).timestamps(1, 11).build();
    let result = model.classify(&ack, forwarded(LAN, 0), 8 * MS);
    let sample = Sample { handle: 0x1_0010, side: SampleSide::Internet, rtt_ns: 7 * MS };
    assert_eq!(result.sample, Some(sample));
    assert_eq!(result.counters, ["tc_classified", "rtt_internet"]);
}

#[test]
fn a_sample_belongs_to_the_handle_of_its_echo() {
    let mut model = model();
    let data = |tsval| to(ALICE).ports(443, 5000).timestamps(tsval, 1).payload(10).build();
    model.classify(&data(10), forwarded(LAN, 0), 0);
    model.classify(&data(11), forwarded(LAN, 0), 0);
    model.map(AddressPrefix::v4(ALICE, 32), 0, 0x1_0099);
    let ack = from(ALICE).ports(5000, 443).timestamps(1, 11).build();
    let sample = model.classify(&ack, forwarded(WAN, 0), MS).sample.unwrap();
    assert_eq!(sample.handle, 0x1_0099);
}

#[test]
fn without_a_class_or_with_rtt_off_nothing_is_measured() {
    let mut model = model();
    model.map(AddressPrefix::v4(ALICE, 32), 0, 0);
    assert_eq!(round_trip(&mut model, ALICE, 0), None);
    model.config.rtt = false;
    assert_eq!(round_trip(&mut model, BOB, 1), None);
    assert_eq!(model.flow_count(), 0);
}

#[test]
fn between_subscribers_the_sample_is_of_the_sender() {
    let mut model = model();
    let hairpin = Skb { ingress_ifindex: LAN, ..forwarded(LAN, 0) };
    let data = |tsval| {
        Frame::tcp(ALICE.into(), BOB.into())
            .ports(5000, 6000)
            .timestamps(tsval, 1)
            .payload(9)
            .build()
    };
    model.classify(&data(10), hairpin, 0);
    model.classify(&data(11), hairpin, 0);
    let echo = Frame::tcp(BOB.into(), ALICE.into()).ports(6000, 5000).timestamps(1, 11).build();
    let result = model.classify(&echo, hairpin, MS);
    let bob = model.mappings.lookup(&crate::mapping::address(BOB.into())).unwrap().handle;
    assert_ne!(result.priority, bob, "the class is the receiver's");
    let sample = result.sample.unwrap();
    assert_eq!((sample.handle, sample.side), (bob, SampleSide::Subscriber));
}

#[test]
fn flows_differ_by_port_address_and_family() {
    let mut model = model();
    model.map(AddressPrefix::v6([0; 16], 0), 0, 5);
    let tcp =
        |source, destination| to(ALICE).ports(source, destination).timestamps(1, 1).payload(1);
    let frames = [
        tcp(1, 2),
        tcp(2, 1),
        to(BOB).ports(1, 2).timestamps(1, 1).payload(1),
        Frame::tcp6(v4(SERVER), v4(ALICE)).ports(1, 2).timestamps(1, 1).payload(1),
    ];
    for frame in frames.iter().chain(&frames) {
        model.classify(&frame.build(), forwarded(LAN, 0), 0);
    }
    assert_eq!(model.flow_count(), 4);
}
