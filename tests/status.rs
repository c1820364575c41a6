//! `cpumap-pping status` and `check` on real devices: each fault is made, found and mended.

use std::net::UdpSocket;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use cpumap_pping::abi::maps;
use cpumap_pping::abi::RttHandle;
use cpumap_pping::domain::Direction;
use cpumap_pping::kernel::pin::PinDir;
use lab::{HtbClass, Sandbox};
use serde_json::{json, Value};

const ALL: &str = env!("CARGO_BIN_EXE_cpumap-pping");
const STEER: &str = env!("CARGO_BIN_EXE_xdp_iphash_to_cpu");
const MAPPING: &str = env!("CARGO_BIN_EXE_xdp_iphash_to_cpu_cmdline");
const CLASSIFY: &str = env!("CARGO_BIN_EXE_tc_classify");

/// A shaper with `lan` and `wan`: two queues each, mq and an HTB per queue.
struct Shaper(Sandbox);

impl Shaper {
    /// Only the devices.
    fn bare() -> Self {
        let shaper = Self(Sandbox::new().unwrap());
        ["lan", "wan"].into_iter().for_each(|dev| shaper.add_device(dev, 2));
        shaper
    }

    /// Everything loaded, and nothing to complain of.
    fn ready() -> Self {
        let shaper = Self::bare();
        shaper.load("lan", &["--lan"]);
        shaper.load("wan", &["--wan"]);
        ["lan", "wan"].into_iter().for_each(|dev| {
            shaper.ok(CLASSIFY, &["--dev-egress", dev, "--quiet"]);
            shaper.shape(dev);
        });
        shaper.map("100.64.0.2", 0, "1:5");
        shaper.map("255.255.255.255", 0, "1:2");
        shaper
    }

    fn add_device(&self, dev: &str, queues: u32) {
        let peer = format!("{dev}-peer");
        let n = queues.to_string();
        let queues = ["numtxqueues", &n, "numrxqueues", &n];
        let mut words = vec!["link", "add", dev];
        words.extend(queues);
        words.extend(["type", "veth", "peer", "name", &peer]);
        words.extend(queues);
        self.ok("ip", &words);
        self.ok("ip", &["link", "set", dev, "up"]);
        self.ok("ip", &["link", "set", &peer, "up"]);
        self.ok("ethtool", &["-K", dev, "rxvlan", "off"]);
    }

    fn load(&self, dev: &str, options: &[&str]) {
        self.ok(STEER, &[&["--dev", dev, "--quiet"], options].concat());
    }

    fn map(&self, ip: &str, cpu: u32, class: &str) {
        self.ok(MAPPING, &["--add", "--ip", ip, "--cpu", &cpu.to_string(), "--classid", class]);
    }

    fn unmap(&self, ip: &str) {
        self.ok(MAPPING, &["--del", "--ip", ip]);
    }

    fn shape(&self, dev: &str) {
        let classes = [HtbClass::new(1, 5, "10mbit"), HtbClass::new(2, 5, "10mbit")];
        lab::mq_htb(self.0.netns(), dev, 2, &classes).unwrap();
    }

    /// One HTB as the root, with the classes of the first queue.
    fn shape_at_the_root(&self, dev: &str) {
        self.tc(&format!("qdisc add dev {dev} root handle 1: htb default 2"));
        self.tc(&format!("class add dev {dev} parent 1: classid 1:1 htb rate 1gbit"));
        self.tc(&format!("class add dev {dev} parent 1:1 classid 1:2 htb rate 1gbit"));
        self.tc(&format!("class add dev {dev} parent 1:1 classid 1:5 htb rate 1gbit"));
    }

    fn tc(&self, line: &str) {
        self.ok("tc", &line.split_whitespace().collect::<Vec<_>>());
    }

    fn shell(&self, line: &str) {
        self.ok("sh", &["-c", line]);
    }

    fn ifindex(&self, dev: &str) -> u32 {
        self.0.run(|| nix::net::if_::if_nametoindex(dev)).unwrap().unwrap()
    }

    fn set_direction(&self, ifindex: u32, direction: u32) {
        let set = || PinDir::default().open(maps::IFINDEX_TYPE)?.set(&ifindex, &direction);
        self.0.run(set).unwrap().unwrap();
    }

    fn output(&self, program: &str, words: &[&str]) -> Output {
        self.0.command(program).args(words).output().unwrap()
    }

    fn ok(&self, program: &str, words: &[&str]) {
        let output = self.output(program, words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {words:?}: {said}");
    }

    /// Exit code, stdout and stderr of `cpumap-pping`.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        texts(self.output(ALL, words))
    }

    fn json(&self) -> Value {
        let (code, out, err) = self.run(&["status", "--json", "--interval", "0.1"]);
        assert_eq!((code, err.as_str()), (0, ""));
        serde_json::from_str(&out).unwrap()
    }

    fn assert_healthy(&self, after: &str) {
        let (code, out, err) = self.run(&["check"]);
        let summary = out.starts_with("0 errors, 0 warnings; 2 interfaces, 2 mappings checked\n");
        assert!(code == 0 && summary, "after {after}: {code}\n{out}{err}");
    }

    /// `check` says `finding`, once, with a remedy, and exits with 1 if it is an error.
    fn assert_finds(&self, finding: &str) {
        let (code, out, err) = self.run(&["check"]);
        let found: Vec<_> = out.lines().filter(|line| line.contains(finding)).collect();
        assert_eq!(found.len(), 1, "{finding} in\n{out}{err}");
        assert!(found[0].contains("; "), "no remedy: {}", found[0]);
        let errors = out.lines().any(|line| line.starts_with("ERROR "));
        assert_eq!(code, i32::from(errors), "{out}{err}");
        assert_eq!(err, "");
    }
}

fn texts(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// How a fault is made, what `check` says then, how it is mended.
type Fault = (fn(&Shaper), &'static str, fn(&Shaper));

fn check_each(shaper: &Shaper, faults: &[Fault]) {
    for (make, finding, mend) in faults {
        make(shaper);
        shaper.assert_finds(finding);
        mend(shaper);
        shaper.assert_healthy(finding);
    }
}

#[test]
fn faults_of_devices() {
    if !lab::privileged() {
        return;
    }
    let shaper = Shaper::ready();
    shaper.assert_healthy("set-up");
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
            |s| s.load("lan", &["--lan", "--skb-mode"]),
            "WARN  lan: XDP is attached in generic mode",
            |s| s.load("lan", &["--lan"]),
        ),
        (
            |s| {
                s.tc("qdisc del dev lan root");
                s.shape_at_the_root("lan");
            },
            "WARN  lan: its root qdisc is htb, not mq",
            |s| s.shape("lan"),
        ),
        (
            |s| s.tc("qdisc del dev lan root"),
            "ERROR lan: it has no HTB for the 2 mapped classes",
            |s| s.shape("lan"),
        ),
        (
            |s| s.ok(CLASSIFY, &["--cpu", "0", "-m", "2", "-j", "1"]),
            "ERROR lan: CPU 0 sends to queue 2, but its HTB 1: is at queue 1",
            |s| s.ok(CLASSIFY, &["--base-setup", "--quiet"]),
        ),
        (
            |s| {
                s.add_device("solo", 1);
                s.shape_at_the_root("solo");
                s.load("solo", &["--lan"]);
                s.ok(CLASSIFY, &["--dev-egress", "solo", "--quiet"]);
            },
            "WARN  solo: it has one TX queue",
            |s| {
                s.ok(STEER, &["--dev", "solo", "--remove", "--quiet"]);
                s.ok("ip", &["link", "del", "solo"]);
            },
        ),
        (
            |s| s.set_direction(4000, Direction::Lan.to_abi()),
            "WARN  interface 4000: gone, but still LAN",
            |s| s.set_direction(4000, Direction::NONE),
        ),
    ];
    check_each(&shaper, &faults);
}

#[test]
fn faults_of_attachment() {
    if !lab::privileged() {
        return;
    }
    let shaper = Shaper::ready();
    let faults: [Fault; 6] = [
        (
            |s| s.load("wan", &["--lan"]),
            "ERROR lan, wan: all of them are LAN, none is WAN",
            |s| s.load("wan", &["--wan"]),
        ),
        (
            |s| s.set_direction(s.ifindex("wan"), Direction::NONE),
            "ERROR lan: it is LAN, but no interface is WAN",
            |s| s.set_direction(s.ifindex("wan"), Direction::Wan.to_abi()),
        ),
        (
            |s| s.set_direction(s.ifindex("wan"), Direction::NONE),
            "ERROR wan: our programs are attached but it has no direction",
            |s| s.load("wan", &["--wan"]),
        ),
        (
            |s| s.ok("ip", &["link", "set", "lan", "xdp", "off"]),
            "ERROR lan: no XDP program of ours",
            |s| s.load("lan", &["--lan"]),
        ),
        (
            |s| s.tc("qdisc del dev lan clsact"),
            "ERROR lan: no classifier",
            |s| s.ok(CLASSIFY, &["--dev-egress", "lan", "--quiet"]),
        ),
        (
            |s| {
                s.shell("rm /sys/fs/bpf/tc/globals/map_ip_hash");
                s.load("lan", &["--lan"]);
                s.ok(CLASSIFY, &["--dev-egress", "lan", "--quiet"]);
            },
            "ERROR wan: its programs use other maps than the pinned ones",
            |s| {
                s.load("wan", &["--wan"]);
                s.ok(CLASSIFY, &["--dev-egress", "wan", "--quiet"]);
                s.map("100.64.0.2", 0, "1:5");
                s.map("255.255.255.255", 0, "1:2");
            },
        ),
    ];
    check_each(&shaper, &faults);
}

#[test]
fn faults_of_the_mapping() {
    if !lab::privileged() {
        return;
    }
    let shaper = Shaper::ready();
    let unmap: fn(&Shaper) = |s| s.unmap("100.64.0.3");
    let faults: [Fault; 6] = [
        (
            |s| s.unmap("255.255.255.255"),
            "WARN  map_ip_hash: no default entry",
            // Any prefix over the all-ones address serves.
            |s| s.map("::/0", 0, "1:2"),
        ),
        (
            |s| s.load("lan", &["--lan", "--cpu", "1"]),
            "ERROR CPU 0: 2 mappings name it, but it has no entry in cpu_map",
            |s| s.load("lan", &["--lan", "--all-cpus"]),
        ),
        (
            |s| s.map("100.64.0.3", 0, "2:5"),
            "ERROR CPU 0: 1 mappings have another major than its HTB 1:, so they miss their class: 100.64.0.3/32 → 2:5",
            unmap,
        ),
        (
            |s| s.map("100.64.0.3", 0, "1:77"),
            "ERROR lan: 1 of the 3 mapped classes are not leaf classes of its HTB, so the default class gets their packets: 1:77",
            unmap,
        ),
        (
            // A class that other classes hang from takes no packets.
            |s| s.map("100.64.0.3", 0, "1:1"),
            "ERROR wan: 1 of the 3 mapped classes are not leaf classes",
            unmap,
        ),
        (
            |s| {
                s.ok(CLASSIFY, &["--cpu", "1", "-m", "9", "-j", "2"]);
                s.map("100.64.0.3", 1, "2:5");
            },
            "ERROR lan: it has 2 TX queues, fewer than the CPUs with mappings use: CPU 1 → queue 9",
            |s| {
                s.ok(CLASSIFY, &["--base-setup", "--quiet"]);
                s.unmap("100.64.0.3");
            },
        ),
    ];
    check_each(&shaper, &faults);
}

#[test]
fn nothing_loaded() {
    if !lab::privileged() {
        return;
    }
    let shaper = Shaper::bare();
    for words in [&["check"][..], &["status"], &["status", "--json"]] {
        let (code, out, err) = shaper.run(words);
        assert_eq!(code, 22, "{words:?}");
        assert!(
            err.contains("nothing is loaded yet; load first") && err.lines().count() == 1,
            "{err}"
        );
        assert_eq!(out, if words.len() == 2 { "{\"loaded\":false}\n" } else { "" }, "{words:?}");
    }
}

#[test]
fn pins_that_are_not_in_this_bpffs() {
    if !lab::privileged() {
        return;
    }
    let shaper = Shaper::ready();
    let line = format!("mount -t bpf bpf /sys/fs/bpf && exec {ALL} check");
    let (code, out, err) = texts(shaper.output("unshare", &["-m", "sh", "-c", &line]));
    assert_eq!((code, out.as_str()), (22, ""));
    assert!(
        err.contains("programs are attached to lan, wan, but their maps are not here"),
        "{err}"
    );
}

#[test]
fn missing_rights_are_named() {
    if !lab::privileged() {
        return;
    }
    let shaper = Shaper::ready();
    let without = |caps: &str, command: &str| {
        texts(shaper.output("setpriv", &["--bounding-set", caps, ALL, command]))
    };
    let (code, out, err) = without("-net_admin", "check");
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("WARN  this process: it lacks CAP_NET_ADMIN"), "{out}");
    // Names of programs take CAP_SYS_ADMIN: without it, a program where ours belongs is taken for it.
    let (code, out, err) = without("-sys_admin", "check");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    // Somebody else's pins, and no right that would open them.
    shaper.ok("chown", &["-R", "65534", "/sys/fs/bpf/tc"]);
    let (code, out, err) = without("-bpf,-sys_admin,-dac_override,-dac_read_search", "status");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("ERR: missing CAP_BPF") && err.lines().count() == 1, "{err}");
}

#[test]
fn status_shows_what_is_there() {
    if !lab::privileged() {
        return;
    }
    let shaper = Shaper::ready();
    shaper.load("wan", &["--wan", "--skb-mode"]);
    shaper.set_direction(4000, Direction::Wan.to_abi());
    let record = || {
        let records = PinDir::default().open(maps::RTT)?;
        records.set(&0x1_0005_u32, &RttHandle::default())
    };
    shaper.0.run(record).unwrap().unwrap();

    let status = shaper.json();
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

    let (code, text, err) = shaper.run(&["status", "--interval", "0.1"]);
    assert_eq!((code, err.as_str()), (0, ""));
    for part in ["gone (index 4000)", "generic)", "tc_classify (id ", "map_ip_hash", "0.0 %"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(!text.contains("rtt_no_slot"), "a counter that is 0 in\n{text}");
    let (_, text, _) = shaper.run(&["status", "--interval", "0.1", "--all"]);
    assert!(text.contains("rtt_no_slot"), "{text}");
}

#[test]
fn counters_have_rates() {
    if !lab::privileged() {
        return;
    }
    let shaper = Shaper::ready();
    shaper.ok("ip", &["addr", "add", "192.0.2.1/24", "dev", "lan"]);
    let neighbour = "neigh replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev lan";
    shaper.ok("ip", &neighbour.split(' ').collect::<Vec<_>>());
    let stop = Arc::new(AtomicBool::new(false));
    let until = stop.clone();
    let send = move || {
        let socket = UdpSocket::bind("192.0.2.1:0").unwrap();
        while !until.load(Ordering::Relaxed) {
            socket.send_to(b"x", "192.0.2.2:9").unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let sender = shaper.0.spawn("sender", send).unwrap();
    let (code, out, err) = shaper.run(&["status", "--json", "--interval", "0.5"]);
    stop.store(true, Ordering::Relaxed);
    sender.join().unwrap().unwrap();
    assert_eq!(code, 0, "{err}");
    let status: Value = serde_json::from_str(&out).unwrap();
    let host = &status["counters"]["tc_host"];
    assert!(host["count"].as_u64().unwrap() > 0, "{host}");
    let rate = host["per_second"].as_f64().unwrap();
    assert!((10.0..=210.0).contains(&rate), "{host}");
    assert!(host["help"].as_str().unwrap().contains("this host"));
    assert_eq!(status["counters"]["tc_classified"]["per_second"], 0.0);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    if !lab::privileged() {
        return;
    }
    let shaper = Shaper::ready();
    let line = format!("{ALL} status --interval 0.1 | true; exit ${{PIPESTATUS[0]}}");
    let mut command: Command = shaper.0.command("bash");
    let output = command.args(["-c", &line]).output().unwrap();
    assert_eq!(texts(output), (0, String::new(), String::new()));
}
