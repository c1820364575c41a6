// SPDX-License-Identifier: GPL-2.0-only

//! LibreQoS: its start, its reload, an update of one circuit, its end.

use crate::caller::{compat_tree, Caller};
use crate::common::command::{json, Said, MS};
use crate::common::shaper::Shaper;
use crate::traffic_lab;
use lab::{htb_class_stats, traffic, Flow, Sandbox, LAN, WAN};
use std::fs;

const SUBSCRIBERS: u32 = 64;

/// Returns LibreQoS's `linux_tc.txt`: mq, a tree for each queue, a class and a leaf for each circuit.
fn linux_tc(dev: &str) -> String {
    let mut lines = vec![format!("qdisc replace dev {dev} root handle 7FFF: mq")];
    for queue in 1..=2 {
        lines.extend([
            format!("qdisc add dev {dev} parent 7FFF:0x{queue:x} handle 0x{queue:x}: htb default 2"),
            format!("class add dev {dev} parent 0x{queue:x}: classid 0x{queue:x}:1 htb rate 10000mbit ceil 10000mbit"),
            format!("qdisc add dev {dev} parent 0x{queue:x}:1 pfifo"),
            format!("class add dev {dev} parent 0x{queue:x}:1 classid 0x{queue:x}:2 htb rate 2500mbit ceil 10000mbit prio 5"),
            format!("qdisc add dev {dev} parent 0x{queue:x}:2 pfifo"),
        ]);
        for circuit in 0..SUBSCRIBERS / 2 {
            let (queue, minor) = (format!("0x{queue:x}"), format!("0x{:x}", 8 + circuit));
            lines.extend([
                format!("class add dev {dev} parent {queue}:1 classid {minor} htb rate 50mbit ceil 100mbit prio 3"),
                format!("qdisc add dev {dev} parent {queue}:{minor} pfifo limit 1000"),
            ]);
        }
    }
    lines.join("\n") + "\n"
}

/// Returns address, CPU and minor of subscriber `number`; subscribers alternate between the two CPUs.
fn subscriber(number: u32) -> (String, u32, u32) {
    (format!("100.64.1.{}", 2 + number), number % 2, 8 + number / 2)
}

impl Caller<'_> {
    /// Does what LibreQoS does at its start and at each reload; passes its own tc calls to `around`.
    pub fn libreqos(&mut self, around: impl Fn(&dyn Fn())) {
        let [a, b] = [LAN, WAN];
        around(&|| {
            self.shell(&format!("tc qdisc delete dev {a} root"));
            self.shell(&format!("tc qdisc delete dev {b} root"));
        });
        self.reload();
        fs::write(self.cwd.join("linux_tc.txt"), linux_tc(a) + &linux_tc(b)).unwrap();
        around(&|| drop(self.shell("tc -f -b linux_tc.txt")));
        self.storm();
    }

    /// Calls our commands as LibreQoS does before it makes its qdiscs.
    pub fn reload(&mut self) {
        let [a, b] = [LAN, WAN];
        Said::by(&mut self.command("./cpumap-pping/src/xdp_iphash_to_cpu_cmdline --clear"));
        for dev in [a, b] {
            self.shell(&format!("./cpumap-pping/bin/xps_setup.sh -d {dev} --default --disable"));
        }
        self.shell(&format!("./cpumap-pping/src/xdp_iphash_to_cpu --dev {a} --lan"));
        self.shell(&format!("./cpumap-pping/src/xdp_iphash_to_cpu --dev {b} --wan"));
        for dev in [a, b] {
            self.shell(&format!("./cpumap-pping/src/tc_classify --dev-egress {dev}"));
        }
    }

    /// Adds every circuit's mapping, each by a process of its own, in no order, without waiting.
    pub fn storm(&mut self) {
        for number in 0..SUBSCRIBERS {
            let (ip, cpu, minor) = subscriber(number * 37 % SUBSCRIBERS);
            let major = cpu + 1;
            self.leave(&format!(
                "./cpumap-pping/src/xdp_iphash_to_cpu_cmdline --add --ip {ip} --cpu 0x{cpu:x} --classid 0x{major:x}:0x{minor:x}"
            ));
        }
    }

    /// Waits for the processes of `storm`; then every mapping is there.
    pub fn wait_for_the_storm(&mut self) {
        for mut child in self.children.drain(..) {
            assert!(child.wait().unwrap().success());
        }
        let found = self.shaper.mappings();
        assert_eq!(found.len(), SUBSCRIBERS as usize);
        for number in 0..SUBSCRIBERS {
            let (ip, cpu, minor) = subscriber(number);
            let wanted = (u64::from(cpu), format!("{:X}", cpu + 1), format!("{minor:X}"));
            assert_eq!(found.get(&format!("{ip}/32")), Some(&wanted));
        }
    }
}

/// Asserts that both devices have native XDP and one filter, ours, on their egress.
fn check_attached(shaper: &Sandbox) {
    for dev in [LAN, WAN] {
        assert_eq!(shaper.xdp(dev).map(|(_, native)| native), Some(true), "{dev}");
        let filters = shaper.filters(dev, "egress");
        let [filter] = &filters[..] else { panic!("{dev}: {filters:?}") };
        assert_eq!(
            (filter.priority, filter.handle.as_str(), filter.direct_action),
            (1, "0x1", true)
        );
    }
}

#[test]
fn libreqos_starts_reloads_and_stops() {
    lab::require_root();
    let (lab, server) = traffic_lab();
    let (shaper, tree) = (lab.shaper(), compat_tree());
    let mut caller = Caller::new(shaper, tree.path());
    let flow = Flow::request_response(50, MS);
    for start in 0..2 {
        caller.libreqos(|tc| tc());
        caller.wait_for_the_storm();
        check_attached(shaper);
        let before = htb_class_stats(shaper.netns(), LAN).unwrap()[&(1, 8)].packets;
        traffic::run(lab.subscriber("alice").netns(), &server, lab.internet().v4(), &flow).unwrap();
        let stats = htb_class_stats(shaper.netns(), LAN).unwrap();
        assert!(stats[&(1, 8)].packets >= before + 50, "start {start}: {stats:?}");
        // The caller's parser: an array whose last object is empty, handles in decimal.
        let snapshot = json(&caller.shell("./cpumap-pping/src/xdp_pping"));
        let [rtt, end] = &snapshot.as_array().unwrap()[..] else { panic!("{snapshot}") };
        assert_eq!((rtt["tc"].as_str(), end), (Some("1:8"), &serde_json::json!({})));
        for key in ["avg", "min", "max", "median"] {
            assert!(rtt[key].as_f64() > Some(3.0), "{rtt}");
        }
        assert!(rtt["samples"].as_u64() >= Some(50), "{rtt}");
    }
    // An update of one circuit.
    caller.shell("./cpumap-pping/src/xdp_iphash_to_cpu_cmdline --del --ip 100.64.1.2");
    assert_eq!(shaper.mappings().len(), SUBSCRIBERS as usize - 1);
    caller.shell("./cpumap-pping/src/xdp_iphash_to_cpu_cmdline --add --ip 100.64.1.2 --cpu 0x1 --classid 0x2:0x9");
    assert_eq!(shaper.mappings()["100.64.1.2/32"], (1, "2".into(), "9".into()));
    // The teardown.
    caller.shell("./cpumap-pping/src/xdp_iphash_to_cpu_cmdline --clear");
    for dev in [LAN, WAN] {
        assert_eq!(caller.shell(&format!("ip link set dev {dev} xdp off")), "");
        assert_eq!(shaper.xdp(dev), None, "{dev}: xdp off detaches");
        caller.shell(&format!("tc qdisc delete dev {dev} root"));
        assert_eq!(shaper.filters(dev, "egress").len(), 1, "{dev}: the classifier stays");
    }
    assert!(shaper.mappings().is_empty());
    let after = traffic::run(lab.subscriber("alice").netns(), &server, lab.internet().v4(), &flow);
    assert_eq!(after.unwrap().exchanges.len(), 50, "traffic goes on without us");
}
