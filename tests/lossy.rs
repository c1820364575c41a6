// SPDX-License-Identifier: GPL-2.0-only

//! Two subscribers behind one shaper, of which one loses packets in both directions: the other's RTT stays right.

mod common;

use common::command::MS;
use common::patience::{agree, ms, patiently};
use common::shaper::Shaper;
use lab::{mq_htb, traffic, Flow, HtbClass, Lab, Pattern, Plan, Server, Subscriber, LAN, WAN};
use std::time::Duration;

const ALICE_RTT: Duration = Duration::from_millis(5);
const BOB_RTT: Duration = Duration::from_millis(40);
const INTERNET_RTT: Duration = Duration::from_millis(20);
/// The share of bob's packets that his line loses each way.
const BOBS_LOSS: f64 = 0.05;

/// Builds a shaper with alice in class 1:5 on CPU 0, and bob, who loses packets, in class 2:6 on CPU 1.
fn lossy_lab() -> Lab {
    let subscribers =
        [Subscriber::new("alice", 1).rtt(ALICE_RTT), Subscriber::new("bob", 2).rtt(BOB_RTT)];
    let lab = Lab::build(Plan::new(subscribers).internet_rtt(INTERNET_RTT)).unwrap();
    let shaper = lab.shaper();
    shaper.attach_both(LAN, WAN);
    for dev in [LAN, WAN] {
        let classes = [HtbClass::new(1, 5, "1gbit"), HtbClass::new(2, 6, "1gbit")];
        mq_htb(shaper.netns(), dev, 2, &classes).unwrap();
    }
    for (host, to) in [("alice", "--cpu 0 --classid 1:5"), ("bob", "--cpu 1 --classid 2:6")] {
        let ip = lab.subscriber(host).v4();
        shaper.ok(&format!("xdp_iphash_to_cpu_cmdline --add --ip {ip} {to}"));
    }
    let line = lab.subscriber("bob").link();
    line.to_shaper.set_loss(BOBS_LOSS);
    line.from_shaper.set_loss(BOBS_LOSS);
    lab
}

/// Runs a paced download and a paced upload of both subscribers at once.
fn run_traffic(lab: &Lab) {
    let server = Server::start(lab.internet().netns(), 0).unwrap();
    // Small segments with pauses, so that no queue adds to the delay.
    let (segment, interval, count) = (400, 3 * MS, 200);
    let flows = [
        Flow::new(Pattern::PacedDownload { segment, interval, count }),
        Flow::new(Pattern::PacedUpload { segment, interval, count }),
    ];
    std::thread::scope(|scope| {
        for host in ["alice", "bob"] {
            for flow in flows {
                let server = &server;
                scope.spawn(move || {
                    let netns = lab.subscriber(host).netns();
                    let report = traffic::run(netns, server, lab.internet().v4(), &flow).unwrap();
                    assert_eq!(report.bytes, u64::from(segment * count), "{host}, {flow:?}");
                });
            }
        }
    });
}

#[test]
fn losses_of_one_subscriber_leave_the_rtt_of_another_alone() {
    lab::require_root();
    patiently(|| {
        // A new lab for each attempt: its RTTs are of this attempt only.
        let lab = lossy_lab();
        run_traffic(&lab);
        let lost = |host: &str| {
            let line = lab.subscriber(host).link();
            line.to_shaper.counters().lost + line.from_shaper.counters().lost
        };
        assert_eq!(lost("alice"), 0);
        assert!(lost("bob") > 10, "bob lost {} packets", lost("bob"));
        let rtts = lab.shaper().rtts();
        for (class, subscriber) in [("1:5", ALICE_RTT), ("2:6", BOB_RTT)] {
            for (side, delay) in [("subscriber", subscriber), ("internet", INTERNET_RTT)] {
                let median = rtts[class][side]["median"].as_f64().unwrap();
                if !agree(median, ms(delay)) {
                    return Err(format!("{class}, {side}: {median} ms for {delay:?}"));
                }
            }
        }
        Ok(())
    });
}
