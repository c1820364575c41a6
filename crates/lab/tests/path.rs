// SPDX-License-Identifier: GPL-2.0-only

//! Two hosts, two delay lines and a shaper that routes, bridges, or handles encapsulations.

use lab::{traffic, Amount, Encapsulation, Flow, Lab, Plan, Server, Subscriber, UdpReceiver};
use std::net::SocketAddr;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// Returns a plan with alice at 5 ms and the internet at 20 ms.
fn plan() -> Plan {
    Plan::new([Subscriber::new("alice", 1).rtt(5 * MS)]).internet_rtt(20 * MS)
}

/// Asserts that TCP over both families has an RTT of 25 ms within 1 ms + 5 %, and that transfers arrive whole.
fn check_path(plan: Plan) {
    lab::require_root();
    let lab = Lab::build(plan).unwrap();
    let server = Server::start(lab.internet().netns(), 0).unwrap();
    let alice = lab.subscriber("alice").netns();
    for address in [lab.internet().v4(), lab.internet().v6()] {
        let run = |flow: Flow| traffic::run(alice, &server, address, &flow).unwrap();
        let ping_pong = run(Flow::request_response(30, 2 * MS));
        println!("{address}: {:?}", ping_pong.client);
        assert_eq!(ping_pong.exchanges.len(), 30);
        // On a busy machine the hosts answer late now and then; the smallest RTT is the path's.
        let best = ping_pong.exchanges.iter().min().copied().unwrap_or_default();
        for rtt in [ping_pong.client.min_rtt, best] {
            assert!(rtt >= 25 * MS, "{address}: {ping_pong:?}");
            assert!(rtt < 25 * MS + MS + 25 * MS / 20, "{address}: {ping_pong:?}");
        }
        for flow in [Flow::download(Amount::Bytes(300_000)), Flow::upload(Amount::Bytes(300_000))] {
            let report = run(flow.rate(2_000_000));
            assert_eq!(report.bytes, 300_000);
            assert!(report.server.is_some());
        }
    }
    assert_eq!(lab.dropped_frames(), 0);
}

#[test]
fn routed() {
    check_path(plan());
}

#[test]
fn bridged() {
    check_path(plan().bridged());
}

#[test]
fn one_vlan_tag() {
    check_path(plan().encapsulation(&Encapsulation::vlan(&[(0x8100, 100)])));
}

#[test]
fn two_vlan_tags() {
    check_path(plan().encapsulation(&Encapsulation::vlan(&[(0x88a8, 100), (0x8100, 7)])));
}

#[test]
fn pppoe() {
    check_path(plan().encapsulation(&Encapsulation::pppoe(42)));
}

#[test]
fn pppoe_in_two_vlan_tags() {
    let tags = Encapsulation::vlan(&[(0x88a8, 100), (0x8100, 7)]);
    check_path(plan().encapsulation(&tags.with_pppoe(42)));
}

#[test]
fn the_two_sides_move_independently() {
    lab::require_root();
    let subscribers = [Subscriber::new("alice", 1).rtt(2 * MS), Subscriber::new("bob", 2)];
    let lab = Lab::build(Plan::new(subscribers).internet_rtt(3 * MS)).unwrap();
    let server = Server::start(lab.internet().netns(), 0).unwrap();
    let min_rtt = |name| {
        let flow = Flow::request_response(10, MS);
        let client = lab.subscriber(name).netns();
        traffic::run(client, &server, lab.internet().v4(), &flow).unwrap().client.min_rtt
    };
    let near = |rtt: Duration, expected: Duration| {
        assert!(rtt.abs_diff(expected) < MS + expected / 20, "{rtt:?} for {expected:?}");
    };
    near(min_rtt("alice"), 5 * MS);
    near(min_rtt("bob"), 3 * MS);
    lab.subscriber("alice").link().set_rtt(40 * MS);
    near(min_rtt("alice"), 43 * MS);
    lab.internet().link().set_rtt(Duration::ZERO);
    near(min_rtt("alice"), 40 * MS);
    near(min_rtt("bob"), Duration::ZERO);
}

#[test]
fn impairments_are_counted() {
    lab::require_root();
    let lab = Lab::build(Plan::new([Subscriber::new("alice", 1)])).unwrap();
    let (alice, internet) = (lab.subscriber("alice"), lab.internet());
    let direction = &alice.link().to_shaper;
    direction.set_loss(0.2);
    direction.set_duplicate(0.1);
    direction.set_reorder(0.1, 5 * MS);
    let receiver = UdpReceiver::start(internet.netns()).unwrap();
    let target = SocketAddr::new(internet.v4(), receiver.port());
    let sent = traffic::send_udp(alice.netns(), target, 2000, 100, 1000 * MS).unwrap();
    let report = receiver.finish(sent, 100 * MS).unwrap();
    let counters = direction.counters();
    println!("{report:?} {counters:?}");
    assert_eq!(sent, 2000);
    assert_eq!((report.lost, report.duplicates), (counters.lost, counters.duplicated));
    assert_eq!(counters.forwarded, sent - counters.lost + counters.duplicated);
    assert!((300..500).contains(&report.lost), "{report:?}");
    assert!((100..220).contains(&report.duplicates), "{report:?}");
    assert!(report.reordered > 0 && counters.reordered > 0, "{report:?}");
}

#[test]
fn timestamps_can_be_off_at_one_end() {
    lab::require_root();
    let lab = Lab::build(Plan::new([Subscriber::new("alice", 1)])).unwrap();
    let server = Server::start(lab.internet().netns(), 0).unwrap();
    let alice = lab.subscriber("alice");
    for on in [true, false] {
        alice.tcp_timestamps(on).unwrap();
        let flow = Flow::request_response(1, MS);
        let report = traffic::run(alice.netns(), &server, lab.internet().v6(), &flow).unwrap();
        assert_eq!(report.client.timestamps, on);
        assert_eq!(report.server.unwrap().timestamps, on);
    }
}

/// A host that pauses for less than the 40 ms of a delayed ACK acknowledges an answer with its next request, unless the
/// plan asks for prompt ACKs.
#[test]
fn prompt_acks() {
    lab::require_root();
    let rtt = |plan: Plan| {
        let lab = Lab::build(plan).unwrap();
        let server = Server::start(lab.internet().netns(), 0).unwrap();
        let alice = lab.subscriber("alice").netns();
        let flow = Flow::request_response(30, 20 * MS);
        let report = traffic::run(alice, &server, lab.internet().v4(), &flow).unwrap();
        report.server.unwrap().rtt
    };
    let (prompt, usual) = (rtt(plan().prompt_acks()), rtt(plan()));
    assert!(prompt >= 25 * MS && prompt + 10 * MS < usual, "{prompt:?} {usual:?}");
    assert!(Lab::build(plan().bridged().prompt_acks()).is_err());
}
