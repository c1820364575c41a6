// SPDX-License-Identifier: GPL-2.0-only

//! `cpumap-pping status` and `check` on real devices. The tests make each fault, find it, and mend it.

mod common;

use common::command::{json, program, Said};
use common::shaper::{sandbox_with_devices, Shaper};
use cpumap_pping::abi::maps;
use cpumap_pping::abi::RttHandle;
use cpumap_pping::domain::Direction;
use cpumap_pping::kernel::pin::PinDir;
use lab::{HtbClass, Sandbox};
use serde_json::{json, Value};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// Makes a shaper without a fault: `lan` and `wan` with two queues each, mq, an HTB per queue, everything loaded.
fn ready() -> Sandbox {
    let shaper = sandbox_with_devices(2);
    shaper.netns().sysctl("net.ipv4.ip_forward", "0").unwrap();
    shaper.attach_both("lan", "wan");
    ["lan", "wan"].into_iter().for_each(|dev| shape(&shaper, dev));
    map(&shaper, "100.64.0.2", 0, "1:5");
    map(&shaper, "255.255.255.255", 0, "1:2");
    shaper
}

/// Runs a command that must succeed.
fn run(shaper: &Sandbox, line: &str) {
    shaper.ok(line);
}

fn map(shaper: &Sandbox, ip: &str, cpu: u32, class: &str) {
    let to = format!("--cpu {cpu} --classid {class}");
    shaper.ok(&format!("xdp_iphash_to_cpu_cmdline --add --ip {ip} {to}"));
}

fn unmap(shaper: &Sandbox, ip: &str) {
    shaper.ok(&format!("xdp_iphash_to_cpu_cmdline --del --ip {ip}"));
}

fn load(shaper: &Sandbox, dev: &str, options: &str) {
    shaper.ok(&format!("xdp_iphash_to_cpu --dev {dev} --quiet {options}"));
}

fn shape(shaper: &Sandbox, dev: &str) {
    let classes = [HtbClass::new(1, 5, "10mbit"), HtbClass::new(2, 5, "10mbit")];
    lab::mq_htb(shaper.netns(), dev, 2, &classes).unwrap();
}

/// Makes one HTB the root qdisc, with the classes of the first queue.
fn shape_at_the_root(shaper: &Sandbox, dev: &str) {
    shaper.ok(&format!("tc qdisc add dev {dev} root handle 1: htb default 2"));
    shaper.ok(&format!("tc class add dev {dev} parent 1: classid 1:1 htb rate 1gbit"));
    shaper.ok(&format!("tc class add dev {dev} parent 1:1 classid 1:2 htb rate 1gbit"));
    shaper.ok(&format!("tc class add dev {dev} parent 1:1 classid 1:5 htb rate 1gbit"));
}

fn set_direction(shaper: &Sandbox, ifindex: u32, direction: u32) {
    let set = || PinDir::default().open(maps::IFINDEX_TYPE)?.set(&ifindex, &direction);
    shaper.run(set).unwrap().unwrap();
}

fn status_as_json(shaper: &Sandbox) -> Value {
    let said = shaper.call("cpumap-pping status --json --interval 0.1");
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    json(&said.out)
}

fn assert_healthy(shaper: &Sandbox, after: &str) {
    let said = shaper.call("cpumap-pping check");
    let summary = said.out.starts_with("0 errors, 0 warnings; 2 interfaces, 2 mappings checked\n");
    assert!(said.code == 0 && summary, "after {after}: {said:?}");
}

/// Asserts that `check` names `finding` once, with a remedy, and exits with 1 if there is an error.
fn assert_finds(shaper: &Sandbox, finding: &str) {
    let said = shaper.call("cpumap-pping check");
    let found: Vec<_> = said.out.lines().filter(|line| line.contains(finding)).collect();
    assert_eq!(found.len(), 1, "{finding} in {said:?}");
    assert!(found[0].contains("; "), "no remedy: {}", found[0]);
    let errors = said.out.lines().any(|line| line.starts_with("ERROR "));
    assert_eq!(said.code, i32::from(errors), "{said:?}");
    assert_eq!(said.err, "");
}

/// A function that makes a fault, the finding of `check`, and a function that mends the fault.
type Fault = (fn(&Sandbox), &'static str, fn(&Sandbox));

fn check_each(shaper: &Sandbox, faults: &[Fault]) {
    for (make, finding, mend) in faults {
        make(shaper);
        assert_finds(shaper, finding);
        mend(shaper);
        assert_healthy(shaper, finding);
    }
}

#[test]
fn faults_of_devices() {
    lab::require_root();
    let shaper = ready();
    assert_healthy(&shaper, "set-up");
    let faults: [Fault; 8] = [
        (
            |s| s.shell("echo 1 > /sys/class/net/lan/queues/tx-0/xps_cpus"),
            "ERROR lan: XPS is on",
            |s| s.shell("echo 0 > /sys/class/net/lan/queues/tx-0/xps_cpus"),
        ),
        (
            |s| s.shell("ethtool -K wan rxvlan on"),
            "WARN  wan: receive VLAN offload is on",
            |s| s.shell("ethtool -K wan rxvlan off"),
        ),
        (
            |s| load(s, "lan", "--lan --skb-mode"),
            "WARN  lan: XDP is attached in generic mode",
            |s| load(s, "lan", "--lan"),
        ),
        (
            |s| {
                run(s, "tc qdisc del dev lan root");
                shape_at_the_root(s, "lan");
            },
            "WARN  lan: its root qdisc is htb, not mq",
            |s| shape(s, "lan"),
        ),
        (
            |s| run(s, "tc qdisc del dev lan root"),
            "ERROR lan: it has no HTB for the 2 mapped classes",
            |s| shape(s, "lan"),
        ),
        (
            |s| run(s, "tc_classify --cpu 0 -m 2 -j 1"),
            "ERROR lan: CPU 0 sends to queue 2, but its HTB 1: is at queue 1",
            |s| run(s, "tc_classify --base-setup --quiet"),
        ),
        (
            |s| {
                s.add_device("solo", 1);
                shape_at_the_root(s, "solo");
                load(s, "solo", "--lan");
                run(s, "tc_classify --dev-egress solo --quiet");
            },
            "WARN  solo: it has one TX queue",
            |s| {
                run(s, "xdp_iphash_to_cpu --dev solo --remove --quiet");
                run(s, "ip link del solo");
            },
        ),
        (
            |s| set_direction(s, 4000, Direction::Lan.to_abi()),
            "WARN  interface 4000: gone, but still LAN",
            |s| set_direction(s, 4000, Direction::NONE),
        ),
    ];
    check_each(&shaper, &faults);
}

#[test]
fn faults_of_attachment() {
    lab::require_root();
    let shaper = ready();
    let faults: [Fault; 6] = [
        (
            |s| load(s, "wan", "--lan"),
            "ERROR lan, wan: all of them are LAN, none is WAN",
            |s| load(s, "wan", "--wan"),
        ),
        (
            |s| set_direction(s, s.ifindex("wan"), Direction::NONE),
            "ERROR lan: it is LAN, but no interface is WAN",
            |s| set_direction(s, s.ifindex("wan"), Direction::Wan.to_abi()),
        ),
        (
            |s| set_direction(s, s.ifindex("wan"), Direction::NONE),
            "ERROR wan: our programs are attached but it has no direction",
            |s| load(s, "wan", "--wan"),
        ),
        (
            |s| run(s, "ip link set lan xdp off"),
            "ERROR lan: no XDP program of ours",
            |s| load(s, "lan", "--lan"),
        ),
        (
            |s| run(s, "tc qdisc del dev lan clsact"),
            "ERROR lan: no classifier",
            |s| run(s, "tc_classify --dev-egress lan --quiet"),
        ),
        (
            |s| {
                s.shell("rm /sys/fs/bpf/tc/globals/map_ip_hash");
                load(s, "lan", "--lan");
                run(s, "tc_classify --dev-egress lan --quiet");
            },
            "ERROR wan: its programs use other maps than the pinned ones",
            |s| {
                load(s, "wan", "--wan");
                run(s, "tc_classify --dev-egress wan --quiet");
                map(s, "100.64.0.2", 0, "1:5");
                map(s, "255.255.255.255", 0, "1:2");
            },
        ),
    ];
    check_each(&shaper, &faults);
}

#[test]
fn faults_of_the_mapping() {
    lab::require_root();
    let shaper = ready();
    let unmap_again: fn(&Sandbox) = |s| unmap(s, "100.64.0.3");
    let faults: [Fault; 7] = [
        (
            |s| unmap(s, "255.255.255.255"),
            "WARN  map_ip_hash: no default entry",
            // Any prefix that contains the all-ones address is a default entry.
            |s| map(s, "::/0", 0, "1:2"),
        ),
        (
            |s| load(s, "lan", "--lan --cpu 1"),
            "ERROR CPU 0: 2 mappings name it, but it has no entry in cpu_map",
            |s| load(s, "lan", "--lan --all-cpus"),
        ),
        (
            |s| map(s, "100.64.0.3", 0, "2:5"),
            "ERROR CPU 0: 1 mappings have another major than its HTB 1:, so they miss their class: 100.64.0.3/32 → 2:5",
            unmap_again,
        ),
        (
            |s| map(s, "100.64.0.3", 0, "1:77"),
            "ERROR lan: 1 of the 3 mapped classes are not leaf classes of its HTB, so the default class gets their packets: 1:77",
            unmap_again,
        ),
        (
            // An inner class takes no packets.
            |s| map(s, "100.64.0.3", 0, "1:1"),
            "ERROR wan: 1 of the 3 mapped classes are not leaf classes",
            unmap_again,
        ),
        (
            |s| s.netns().sysctl("net.ipv4.ip_forward", "1").unwrap(),
            "WARN  packets: the kernel sets their minor from their type of service when it routes them, so any sender \
             can pick a mapped class: 1:5; sysctl net.ipv4.ip_forward_update_priority=0",
            |s| s.netns().sysctl("net.ipv4.ip_forward_update_priority", "0").unwrap(),
        ),
        (
            |s| {
                run(s, "tc_classify --cpu 1 -m 9 -j 2");
                map(s, "100.64.0.3", 1, "2:5");
            },
            "ERROR lan: it has 2 TX queues, fewer than the CPUs with mappings use: CPU 1 → queue 9",
            |s| {
                run(s, "tc_classify --base-setup --quiet");
                unmap(s, "100.64.0.3");
            },
        ),
    ];
    check_each(&shaper, &faults);
}

#[test]
fn nothing_loaded() {
    lab::require_root();
    let shaper = sandbox_with_devices(2);
    for words in ["check", "status", "status --json"] {
        let Said { code, out, err } = shaper.call(&format!("cpumap-pping {words}"));
        assert_eq!(code, 22, "{words:?}");
        assert!(
            err.contains("nothing is loaded yet; load first") && err.lines().count() == 1,
            "{err}"
        );
        assert_eq!(
            out,
            if words == "status --json" { "{\"loaded\":false}\n" } else { "" },
            "{words:?}"
        );
    }
}

#[test]
fn pins_that_are_not_in_this_bpffs() {
    lab::require_root();
    let shaper = ready();
    let line = format!("mount -t bpf bpf /sys/fs/bpf && exec {} check", program("cpumap-pping"));
    let Said { code, out, err } =
        Said::by(shaper.command("unshare").args(["-m", "sh", "-c", &line]));
    assert_eq!((code, out.as_str()), (22, ""));
    assert!(
        err.contains("programs are attached to lan, wan, but their maps are not here"),
        "{err}"
    );
}

#[test]
fn missing_rights_are_named() {
    lab::require_root();
    let shaper = ready();
    let without = |caps: &str, command: &str| {
        let binary = program("cpumap-pping");
        shaper.call(&format!("setpriv --bounding-set {caps} {binary} {command}"))
    };
    let Said { code, out, err } = without("-net_admin", "check");
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("WARN  this process: it lacks CAP_NET_ADMIN"), "{out}");
    // The kernel tells the names of programs only with CAP_SYS_ADMIN: without it, `check` takes a program in our place
    // for ours.
    let Said { code, out, err } = without("-sys_admin", "check");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    // The pins belong to another user, and the process has no right that would open them.
    shaper.ok("chown -R 65534 /sys/fs/bpf/tc");
    let Said { code, out, err } =
        without("-bpf,-sys_admin,-dac_override,-dac_read_search", "status");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("ERR: missing CAP_BPF") && err.lines().count() == 1, "{err}");
}

#[test]
fn status_shows_what_is_there() {
    lab::require_root();
    let shaper = ready();
    load(&shaper, "wan", "--wan --skb-mode");
    set_direction(&shaper, 4000, Direction::Wan.to_abi());
    let record = || {
        let records = PinDir::default().open(maps::RTT)?;
        records.set(&0x1_0005_u32, &RttHandle::default())
    };
    shaper.run(record).unwrap().unwrap();

    let status = status_as_json(&shaper);
    assert_eq!(status["loaded"], true);
    let interfaces = status["interfaces"].as_array().unwrap();
    let rows: Vec<_> = interfaces
        .iter()
        .map(|i| {
            json!([i["name"], i["direction"], i["xdp"]["name"], i["xdp"]["mode"], i["pinned_maps"]])
        })
        .collect();
    let expected = [
        json!(["lan", "lan", "xdp_iphash_to_c", "native", true]),
        json!(["wan", "wan", "xdp_iphash_to_c", "generic", true]),
        json!([null, "wan", null, null, null]),
    ];
    assert_eq!(rows, expected);
    assert_eq!(interfaces[0]["classifier"]["name"], "tc_classify");
    assert_eq!(interfaces[2]["ifindex"], 4000);
    let cpu = json!({"cpu": 0, "available": true, "queue_size": 2048, "tx_queue": 1, "htb_major": 1, "mappings": 2});
    assert_eq!(status["cpus"][0], cpu);
    assert_eq!(status["maps"]["map_ip_hash"], json!({"used": 2, "limit": 1_048_576}));
    assert_eq!(status["maps"]["map_ifindex_type"]["used"], 3);
    assert_eq!(status["maps"]["cpp_rtt"]["used"], 1);
    assert_eq!(status["maps"]["cpp_flow"], json!({"used": 0, "limit": 262_144}));

    let Said { code, out: text, err } = shaper.call("cpumap-pping status --interval 0.1");
    assert_eq!((code, err.as_str()), (0, ""));
    for part in ["gone (index 4000)", "generic)", "tc_classify (id ", "map_ip_hash", "0.0 %"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(!text.contains("rtt_no_slot"), "a counter that is 0 in\n{text}");
    let text = shaper.call("cpumap-pping status --interval 0.1 --all").out;
    assert!(text.contains("rtt_no_slot"), "{text}");
}

#[test]
fn counters_have_rates() {
    lab::require_root();
    let shaper = ready();
    shaper.ok("ip addr add 192.0.2.1/24 dev lan");
    shaper.ok("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev lan");
    let stop = Arc::new(AtomicBool::new(false));
    let until = stop.clone();
    let send = move || {
        let socket = UdpSocket::bind("192.0.2.1:0").unwrap();
        while !until.load(Ordering::Relaxed) {
            socket.send_to(b"x", "192.0.2.2:9").unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let sender = shaper.spawn("sender", send).unwrap();
    let Said { code, out, err } = shaper.call("cpumap-pping status --json --interval 0.5");
    stop.store(true, Ordering::Relaxed);
    sender.join().unwrap().unwrap();
    assert_eq!(code, 0, "{err}");
    let status = json(&out);
    let host = &status["counters"]["tc_host"];
    assert!(host["count"].as_u64().unwrap() > 0, "{host}");
    let rate = host["per_second"].as_f64().unwrap();
    assert!((10.0..=210.0).contains(&rate), "{host}");
    assert!(host["help"].as_str().unwrap().contains("this host"));
    assert_eq!(status["counters"]["tc_classified"]["per_second"], 0.0);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    lab::require_root();
    let shaper = ready();
    let binary = program("cpumap-pping");
    let line = format!("{binary} status --interval 0.1 | true; exit ${{PIPESTATUS[0]}}");
    let said = Said::by(shaper.command("bash").args(["-c", &line]));
    assert_eq!(said.parts(), (0, "", ""));
}
