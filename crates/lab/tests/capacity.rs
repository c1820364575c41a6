// SPDX-License-Identifier: GPL-2.0-only

//! The load that a delay line carries. `cargo run --release -p cpumap-pping-lab --example measure` measures its limits.

use lab::{traffic, Lab, Plan, Server, Subscriber, UdpReceiver};
use std::net::SocketAddr;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_steady_stream_arrives_whole() {
    lab::require_root();
    let plan = Plan::new([Subscriber::new("alice", 1).rtt(100 * MS)]).internet_rtt(100 * MS);
    let lab = Lab::build(plan).unwrap();
    let (alice, internet) = (lab.subscriber("alice"), lab.internet());
    let receiver = UdpReceiver::start(alice.netns()).unwrap();
    let target = SocketAddr::new(alice.v6(), receiver.port());
    let sent = traffic::send_udp(internet.netns(), target, 10_000, 200, 1000 * MS).unwrap();
    let report = receiver.finish(sent, 400 * MS).unwrap();
    assert_eq!((report.received, report.lost, report.duplicates), (10_000, 0, 0));
    assert_eq!((report.reordered, lab.dropped_frames()), (0, 0));
}

#[test]
fn many_short_flows_all_end() {
    lab::require_root();
    let lab = Lab::build(Plan::new([Subscriber::new("alice", 1).rtt(MS)])).unwrap();
    let server = Server::start(lab.internet().netns(), 0).unwrap();
    let alice = lab.subscriber("alice").netns();
    let reports = traffic::short_flows(alice, &server, lab.internet().v4(), 50, 5000).unwrap();
    assert!(reports.iter().all(|report| report.bytes == 5000));
}
