// SPDX-License-Identifier: GPL-2.0-only
//! How much a delay line carries, and how exact its delays are.

use lab::{traffic, Amount, Flow, Lab, Plan, Server, Subscriber, UdpReceiver};
use std::net::SocketAddr;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_steady_stream_arrives_whole() {
    if !lab::privileged() {
        return;
    }
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
    if !lab::privileged() {
        return;
    }
    let lab = Lab::build(Plan::new([Subscriber::new("alice", 1).rtt(MS)])).unwrap();
    let server = Server::start(lab.internet().netns(), 0).unwrap();
    let alice = lab.subscriber("alice").netns();
    let reports = traffic::short_flows(alice, &server, lab.internet().v4(), 50, 5000).unwrap();
    assert!(reports.iter().all(|report| report.bytes == 5000));
}

/// Prints measurements and asserts nothing. Run it with
/// `cargo test -p cpumap-pping-lab -- --ignored --nocapture --test-threads=1`.
#[test]
#[ignore = "a measurement"]
fn measure() {
    let lab = Lab::build(Plan::new([Subscriber::new("alice", 1)])).unwrap();
    let (alice, internet) = (lab.subscriber("alice"), lab.internet());
    let server = Server::start(internet.netns(), 0).unwrap();
    for rtt in [0, 1, 10, 100] {
        alice.link().set_rtt(rtt * MS / 2);
        internet.link().set_rtt(rtt * MS / 2);
        let flow = Flow::request_response(50, 3 * MS);
        let client = traffic::run(alice.netns(), &server, internet.v4(), &flow).unwrap().client;
        println!("{rtt} ms: rtt {:?} min {:?} var {:?}", client.rtt, client.min_rtt, client.rttvar);
    }
    alice.link().set_rtt(5 * MS);
    for rate in [20_000, 50_000, 80_000] {
        let receiver = UdpReceiver::start(internet.netns()).unwrap();
        let target = SocketAddr::new(internet.v4(), receiver.port());
        let sent = traffic::send_udp(alice.netns(), target, rate, 200, 2000 * MS).unwrap();
        println!("{rate}/s: {:?}", receiver.finish(sent, 500 * MS).unwrap());
    }
    let download = Flow::download(Amount::For(2000 * MS));
    let report = traffic::run(alice.netns(), &server, internet.v4(), &download).unwrap();
    let rate = report.bytes as f64 * 8e-6 / report.duration.as_secs_f64();
    println!("download {rate:.0} Mbit/s, server {:?}", report.server);
    println!("dropped {}, down {:?}", lab.dropped_frames(), alice.link().from_shaper.counters());
}
