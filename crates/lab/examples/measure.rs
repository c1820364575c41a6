// SPDX-License-Identifier: GPL-2.0-only

//! Measures the delay lines on this machine: how exact their delays are, and what they carry. Needs root.
//!
//! `cargo run --release -p cpumap-pping-lab --example measure`

use lab::{traffic, Amount, Flow, Lab, Plan, Server, Subscriber, UdpReceiver};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn main() -> io::Result<()> {
    lab::require_root();
    let lab = Lab::build(Plan::new([Subscriber::new("alice", 1)]))?;
    let (alice, internet) = (lab.subscriber("alice"), lab.internet());
    let server = Server::start(internet.netns(), 0)?;
    for rtt in [0, 1, 10, 100] {
        alice.link().set_rtt(rtt * MS / 2);
        internet.link().set_rtt(rtt * MS / 2);
        let flow = Flow::request_response(50, 3 * MS);
        let client = traffic::run(alice.netns(), &server, internet.v4(), &flow)?.client;
        println!("{rtt} ms: rtt {:?} min {:?} var {:?}", client.rtt, client.min_rtt, client.rttvar);
    }
    alice.link().set_rtt(5 * MS);
    for rate in [20_000, 50_000, 80_000] {
        let receiver = UdpReceiver::start(internet.netns())?;
        let target = SocketAddr::new(internet.v4(), receiver.port());
        let sent = traffic::send_udp(alice.netns(), target, rate, 200, 2000 * MS)?;
        println!("{rate}/s: {:?}", receiver.finish(sent, 500 * MS)?);
    }
    let download = Flow::download(Amount::For(2000 * MS));
    let report = traffic::run(alice.netns(), &server, internet.v4(), &download)?;
    let rate = report.bytes as f64 * 8e-6 / report.duration.as_secs_f64();
    println!("download {rate:.0} Mbit/s, server {:?}", report.server);
    println!("dropped {}, down {:?}", lab.dropped_frames(), alice.link().from_shaper.counters());
    Ok(())
}
