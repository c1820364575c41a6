// SPDX-License-Identifier: GPL-2.0-only

//! BracketQoS, and the other forms of the commands' options.

use crate::caller::{compat_tree, Caller};
use crate::common::command::MS;
use crate::common::shaper::Shaper;
use crate::traffic_lab;
use lab::{htb_class_stats, mq_htb, traffic, Flow, HtbClass, LAN, WAN};
use std::thread;

#[test]
fn bracketqos() {
    lab::require_root();
    let ((lab, server), tree) = (traffic_lab(), compat_tree());
    let shaper = lab.shaper();
    let caller = Caller::new(shaper, tree.path());
    caller.shell("./cpumap-pping/src/xdp_iphash_to_cpu --dev lan --lan");
    caller.shell("./cpumap-pping/src/xdp_iphash_to_cpu --dev wan --wan");
    caller.shell("./cpumap-pping/src/tc_classify --dev-egress lan");
    caller.shell("./cpumap-pping/src/tc_classify --dev-egress wan");
    let filters = || [LAN, WAN].map(|dev| shaper.filters(dev, "egress"));
    let before = filters();
    // BracketQoS makes its root qdiscs after the classifier, and replaces them.
    for dev in [LAN, WAN] {
        for _ in 0..2 {
            caller.shell(&format!("tc qdisc delete dev {dev} root"));
            mq_htb(shaper.netns(), dev, 2, &[HtbClass::new(2, 0x12, "100mbit")]).unwrap();
        }
    }
    assert_eq!(filters(), before, "the same filters, the same programs");
    // BracketQoS has one thread a CPU, each with its own list. It writes minors in digits that we read as hexadecimal.
    thread::scope(|scope| {
        for cpu in 0..2 {
            let caller = &caller;
            scope.spawn(move || {
                for host in 0..8 {
                    let (ip, major) = (format!("100.64.{cpu}.{}", 2 + host), cpu + 1);
                    let to = format!("--cpu {cpu} --classid {major}:{}", 12 + host);
                    caller.shell(&format!(
                        "./cpumap-pping/src/xdp_iphash_to_cpu_cmdline --add --ip {ip} {to}"
                    ));
                }
            });
        }
    });
    let found = shaper.mappings();
    assert_eq!(found.len(), 16);
    assert_eq!(found["100.64.1.2/32"], (1, "2".into(), "12".into()), "4:12 is minor 0x12");
    let flow = Flow::request_response(20, MS);
    traffic::run(lab.subscriber("alice").netns(), &server, lab.internet().v4(), &flow).unwrap();
    for dev in [LAN, WAN] {
        let stats = htb_class_stats(shaper.netns(), dev).unwrap();
        assert!(stats[&(2, 0x12)].packets >= 20, "{dev}: {stats:?}");
        assert_eq!((stats[&(1, 2)].packets, stats[&(2, 2)].packets), (0, 0), "{dev}: {stats:?}");
    }
}

#[test]
fn other_forms() {
    lab::require_root();
    let (lab, server) = traffic_lab();
    let shaper = lab.shaper();
    for (line, out) in [
        ("xdp_iphash_to_cpu --dev lan --all-cpus --lan --quiet", ""),
        ("xdp_iphash_to_cpu --dev wan --all-cpus --wan --quiet", ""),
        ("tc_classify --dev-egress lan --base-setup --quiet", ""),
        ("tc_classify --dev-egress wan --base-setup --quiet", ""),
        ("xdp_iphash_to_cpu_cmdline --add --ip ::/0 --cpu 0 --classid 1:8", ""),
    ] {
        assert_eq!(shaper.ok(line), out, "{line}");
    }
    let classes = [HtbClass::new(1, 8, "100mbit"), HtbClass::new(2, 9, "100mbit")];
    let run = || {
        for dev in [LAN, WAN] {
            mq_htb(shaper.netns(), dev, 2, &classes).unwrap();
        }
        let flow = Flow::request_response(20, MS);
        for address in [lab.internet().v4(), lab.internet().v6()] {
            traffic::run(lab.subscriber("alice").netns(), &server, address, &flow).unwrap();
        }
        let stats = [LAN, WAN].map(|dev| htb_class_stats(shaper.netns(), dev).unwrap());
        let packets = |class: (u16, u16)| stats.iter().map(|stats| stats[&class].packets).min();
        [(1, 8), (2, 9), (1, 2), (2, 2)].map(|class| packets(class).unwrap_or_default())
    };
    // ::/0 is the default entry for IPv4, too.
    let [everybody, _, none, neither] = run();
    assert!(everybody >= 40, "{everybody}");
    assert_eq!((none, neither), (0, 0));
    // The all-ones address is a default entry, too; a longer prefix wins.
    shaper.ok("xdp_iphash_to_cpu_cmdline --clear");
    shaper.ok("xdp_iphash_to_cpu_cmdline --add --ip 255.255.255.255 --cpu 0 --classid 1:8");
    shaper.ok("xdp_iphash_to_cpu_cmdline --add --ip fd00:64::/32 --cpu 1 --classid 2:9");
    let [ipv4, ipv6, none, neither] = run();
    assert!(ipv4 >= 20 && ipv6 >= 20, "{ipv4} {ipv6}");
    assert_eq!((none, neither), (0, 0));
}
