//! What callers in the field do, word for word (CONTRACT.md, section 1), twice in a row and under traffic.

#[path = "common/shaper.rs"]
mod shaper;

use lab::{
    htb_class_stats, mq_htb, traffic, Flow, Host, HostLink as Link, HtbClass, Lab, Netns, Pattern,
    Plan, Sandbox, Server, Subscriber, UdpReceiver, LAN, WAN,
};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use shaper::{
    cpumap_threads, map_id, pin_foreign_program, pin_map, sandbox_with_devices, Said, Shaper,
    TempDir, MS, PROGRAMS,
};
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::symlink;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, sleep};
use std::time::Instant;

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// The tree below a shaper's working directory, as `make compat` stages it.
fn compat_tree() -> TempDir {
    let dir = TempDir::new();
    let built = dir.path().join("target");
    fs::create_dir_all(built.join("release")).unwrap();
    for (name, path) in PROGRAMS {
        symlink(path, built.join("release").join(name)).unwrap();
    }
    let mut make = Command::new("make");
    // The binaries of this test run stand where `cargo build --release` would put them.
    make.args(["--no-print-directory", "-C", REPOSITORY, "compat", "CARGO=true"]);
    make.arg(format!("CARGO_TARGET_DIR={}", built.display()));
    make.arg(format!("DESTDIR={}", dir.path().join("cpumap-pping").display()));
    let said = Said::by(make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL"));
    assert_eq!(said.code, 0, "{said:?}");
    dir
}

/// A caller: a working directory, and shell lines run in it as the shapers' Python does it.
struct Caller<'a> {
    shaper: &'a Sandbox,
    cwd: &'a Path,
    children: Vec<Child>,
}

impl<'a> Caller<'a> {
    fn new(shaper: &'a Sandbox, cwd: &'a Path) -> Self {
        Self { shaper, cwd, children: Vec::new() }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = self.shaper.command("sh");
        command.args(["-c", line]).current_dir(self.cwd);
        command
    }

    /// Reads stdout to its end, which is all that LibreQoS's `shell()` does.
    fn shell(&self, line: &str) -> String {
        let said = Said::by(&mut self.command(line));
        assert!(!line.starts_with("./") || said.code == 0, "{line}: {said:?}");
        said.out
    }

    /// Starts a process and does not wait for it.
    fn leave(&mut self, line: &str) {
        let mut command = self.command(line);
        self.children.push(command.stdout(Stdio::null()).spawn().unwrap());
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        for mut child in self.children.drain(..) {
            let _ = child.wait();
        }
    }
}

const SUBSCRIBERS: u32 = 64;

/// LibreQoS's `linux_tc.txt`: mq, a tree for each queue, a class and a leaf for each circuit.
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

/// The prefix, CPU and class of subscriber `number`: alternately on the two CPUs.
fn subscriber(number: u32) -> (String, u32, u32) {
    (format!("100.64.1.{}", 2 + number), number % 2, 8 + number / 2)
}

impl Caller<'_> {
    /// LibreQoS, at start and at each reload; its own tc calls through `around`.
    fn libreqos(&mut self, around: impl Fn(&dyn Fn())) {
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

    /// Its calls of our commands before the qdiscs.
    fn reload(&mut self) {
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

    /// Every circuit's mapping: processes that nobody waits for, in no order.
    fn storm(&mut self) {
        for number in 0..SUBSCRIBERS {
            let (ip, cpu, minor) = subscriber(number * 37 % SUBSCRIBERS);
            let major = cpu + 1;
            self.leave(&format!(
                "./cpumap-pping/src/xdp_iphash_to_cpu_cmdline --add --ip {ip} --cpu 0x{cpu:x} --classid 0x{major:x}:0x{minor:x}"
            ));
        }
    }

    fn wait_for_the_storm(&mut self) {
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

/// Attachments of both devices: programs and filter handles.
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
    if !lab::privileged() {
        return;
    }
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
        let snapshot = shaper::json(&caller.shell("./cpumap-pping/src/xdp_pping"));
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

/// What became of the traffic while something was done.
#[derive(Debug)]
struct Toll {
    /// Numbered UDP packets, both directions.
    sent: u64,
    lost: u64,
    /// Frames of all traffic into the shaper and out of it.
    frames: [u64; 2],
}

/// What the streams do.
#[derive(Default)]
struct Conductor {
    stop: AtomicBool,
    rest: AtomicBool,
}

impl Conductor {
    /// Runs `work` while the numbered packets pause, and none is under way.
    fn resting<T>(&self, work: impl FnOnce() -> T) -> T {
        self.rest.store(true, Relaxed);
        sleep(50 * MS);
        let result = work();
        self.rest.store(false, Relaxed);
        result
    }

    /// 1000 packets a second from `from`, until told to stop; how many.
    fn send(&self, from: &Netns, target: SocketAddr) -> u64 {
        let send = || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect(target).unwrap();
            let (mut due, mut sent) = (Instant::now(), 0u64);
            while !self.stop.load(Relaxed) {
                due += MS;
                sleep(due.saturating_duration_since(Instant::now()));
                if self.rest.load(Relaxed) {
                    continue;
                }
                let mut packet = [0; 200];
                packet[..8].copy_from_slice(&sent.to_be_bytes());
                socket.send(&packet).unwrap();
                sent += 1;
            }
            sent
        };
        from.run(send).unwrap()
    }

    /// Short connections, one after the other.
    fn connect(&self, lab: &Lab, server: &Server, flow: &Flow) {
        let (alice, internet) = (lab.subscriber("alice"), lab.internet());
        while !self.stop.load(Relaxed) {
            let report = traffic::run(alice.netns(), server, internet.v4(), flow).unwrap();
            assert_eq!(report.bytes, 20 * 500);
        }
    }
}

/// Frames of the two hosts into the shaper and out of it.
fn frames(lab: &Lab) -> [u64; 2] {
    let links = [lab.subscriber("alice").link(), lab.internet().link()];
    let sum = |of: fn(&Link) -> u64| links.iter().map(|link| of(link)).sum();
    [
        sum(|link| link.to_shaper.counters().forwarded),
        sum(|link| link.from_shaper.counters().forwarded),
    ]
}

/// A constant-rate UDP stream in each direction and TCP in both, while `work` runs.
fn under_traffic(lab: &Lab, server: &Server, work: impl FnOnce(&Conductor)) -> Toll {
    let (alice, internet) = (lab.subscriber("alice"), lab.internet());
    let (conductor, before) = (Conductor::default(), frames(lab));
    let (count, interval, segment) = (20, 5 * MS, 500);
    let flows = [
        Flow::new(Pattern::PacedDownload { segment, interval, count }),
        Flow::new(Pattern::PacedUpload { segment, interval, count }),
    ];
    let (sent, lost) = thread::scope(|scope| {
        let conductor = &conductor;
        let stream = |from: &'_ Host, to: &'_ Host| {
            let receiver = UdpReceiver::start(to.netns()).unwrap();
            let target = SocketAddr::new(to.v4(), receiver.port());
            let sent = conductor.send(from.netns(), target);
            (sent, receiver.finish(sent, 300 * MS).unwrap().lost)
        };
        let streams = [(alice, internet), (internet, alice)]
            .map(|(from, to)| scope.spawn(move || stream(from, to)));
        let transfers =
            flows.map(|flow| scope.spawn(move || conductor.connect(lab, server, &flow)));
        sleep(200 * MS);
        let done = catch_unwind(AssertUnwindSafe(|| work(conductor)));
        sleep(200 * MS);
        conductor.stop.store(true, Relaxed);
        let streams = streams.map(|stream| stream.join().unwrap());
        transfers.into_iter().for_each(|transfer| transfer.join().unwrap());
        done.unwrap_or_else(|panic| resume_unwind(panic));
        streams.iter().fold((0, 0), |sum, (sent, lost)| (sum.0 + sent, sum.1 + lost))
    });
    let after = frames(lab);
    Toll { sent, lost, frames: [0, 1].map(|way| after[way] - before[way]) }
}

fn traffic_lab() -> (Lab, Server) {
    let plan = Plan::new([Subscriber::new("alice", 1).rtt(4 * MS)]).internet_rtt(6 * MS);
    let lab = Lab::build(plan).unwrap();
    let server = Server::start(lab.internet().netns(), 0).unwrap();
    (lab, server)
}

#[test]
fn a_reload_loses_no_packet() {
    if !lab::privileged() {
        return;
    }
    let ((lab, server), tree) = (traffic_lab(), compat_tree());
    let shaper = lab.shaper();
    let mut caller = Caller::new(shaper, tree.path());
    caller.libreqos(|tc| tc());
    caller.wait_for_the_storm();
    let facts = || {
        let cpus = shaper.map("cpu_map");
        let programs = [LAN, WAN].map(|dev| shaper.xdp(dev).unwrap().0);
        (cpumap_threads(map_id(&cpus)), shaper.pins(), programs)
    };
    let (threads, pins, programs) = facts();
    assert_eq!(threads.len(), 2, "a thread for each CPU");
    // Our part of the sequence, under everything.
    let toll = under_traffic(&lab, &server, |_| {
        caller.reload();
        caller.storm();
        caller.wait_for_the_storm();
    });
    assert_eq!(toll.lost, 0, "{toll:?}");
    assert_eq!(toll.frames[0], toll.frames[1], "TCP included: {toll:?}");
    assert!(toll.sent > 500, "{toll:?}");
    // All of it. The kernel itself loses packets while it exchanges a root qdisc (it runs the device on
    // noop meanwhile): the numbered ones pause there, TCP does not.
    let toll = under_traffic(&lab, &server, |conductor| {
        caller.libreqos(|tc| conductor.resting(tc));
        caller.wait_for_the_storm();
    });
    assert_eq!(toll.lost, 0, "{toll:?}");
    assert!(toll.sent > 500, "{toll:?}");
    let (threads_after, pins_after, programs_after) = facts();
    assert_eq!(threads_after, threads, "the cpumap's threads are the same");
    assert_eq!(pins_after, pins);
    assert!(programs_after.iter().all(|id| !programs.contains(id)), "new programs");
    assert_eq!(lab.dropped_frames(), 0);
}

#[test]
fn bracketqos() {
    if !lab::privileged() {
        return;
    }
    let ((lab, server), tree) = (traffic_lab(), compat_tree());
    let shaper = lab.shaper();
    let caller = Caller::new(shaper, tree.path());
    caller.shell("./cpumap-pping/src/xdp_iphash_to_cpu --dev lan --lan");
    caller.shell("./cpumap-pping/src/xdp_iphash_to_cpu --dev wan --wan");
    caller.shell("./cpumap-pping/src/tc_classify --dev-egress lan");
    caller.shell("./cpumap-pping/src/tc_classify --dev-egress wan");
    let filters = || [LAN, WAN].map(|dev| shaper.filters(dev, "egress"));
    let before = filters();
    // Its root qdiscs come after the classifier, each in place of another.
    for dev in [LAN, WAN] {
        for _ in 0..2 {
            caller.shell(&format!("tc qdisc delete dev {dev} root"));
            mq_htb(shaper.netns(), dev, 2, &[HtbClass::new(2, 0x12, "100mbit")]).unwrap();
        }
    }
    assert_eq!(filters(), before, "the same filters, the same programs");
    // One thread a CPU, each with its own list; digits that are read as hexadecimal.
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
    if !lab::privileged() {
        return;
    }
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
    // ::/0 serves everybody whom no other entry names, IPv4 included.
    let [everybody, _, none, neither] = run();
    assert!(everybody >= 40, "{everybody}");
    assert_eq!((none, neither), (0, 0));
    // And so does the all-ones address; a longer prefix wins.
    shaper.ok("xdp_iphash_to_cpu_cmdline --clear");
    shaper.ok("xdp_iphash_to_cpu_cmdline --add --ip 255.255.255.255 --cpu 0 --classid 1:8");
    shaper.ok("xdp_iphash_to_cpu_cmdline --add --ip fd00:64::/32 --cpu 1 --classid 2:9");
    let [ipv4, ipv6, none, neither] = run();
    assert!(ipv4 >= 20 && ipv6 >= 20, "{ipv4} {ipv6}");
    assert_eq!((none, neither), (0, 0));
}

#[test]
fn what_is_not_ours_stays() {
    if !lab::privileged() {
        return;
    }
    let sandbox = sandbox_with_devices(2);
    let foreign = pin_foreign_program(&sandbox, libbpf_sys::BPF_PROG_TYPE_SCHED_CLS);
    sandbox.ok("tc qdisc add dev lan clsact");
    for (hook, priority, handle) in [("egress", 7, 1), ("egress", 1, 9), ("ingress", 1, 1)] {
        let at = format!("dev lan {hook} prio {priority} handle {handle}");
        sandbox.ok(&format!("tc filter add {at} bpf da pinned {foreign}"));
    }
    let theirs = |hook: &str| {
        let mut filters = sandbox.filters("lan", hook);
        filters.retain(|filter| {
            hook == "ingress" || (filter.priority, filter.handle.as_str()) != (1, "0x1")
        });
        filters
    };
    let ours = || {
        let filters = sandbox.filters("lan", "egress");
        filters.into_iter().find(|filter| (filter.priority, filter.handle.as_str()) == (1, "0x1"))
    };
    let before = ["egress", "ingress"].map(theirs);
    assert_eq!((before[0].len(), before[1].len()), (2, 1));
    let mut last = None;
    for _ in 0..3 {
        sandbox.ok("tc_classify --dev-egress lan");
        assert_eq!(["egress", "ingress"].map(theirs), before, "filters, handles and programs");
        let now = ours().expect("our filter");
        assert_ne!(last, Some(now.id), "a new program");
        last = Some(now.id);
    }
    // XDP of somebody else, then ours, then in place of our own.
    let foreign = pin_foreign_program(&sandbox, libbpf_sys::BPF_PROG_TYPE_XDP);
    sandbox.ok(&format!("ip link set dev lan xdp pinned {foreign}"));
    let theirs = sandbox.xdp("lan");
    assert_eq!(sandbox.call("xdp_iphash_to_cpu --dev lan --lan").code, 3);
    assert_eq!(sandbox.xdp("lan"), theirs);
    assert_eq!(direction_of(&sandbox, "lan"), 0, "a refused load leaves the direction");
    sandbox.ok("ip link set dev lan xdp off");
    sandbox.ok("xdp_iphash_to_cpu --dev lan --lan");
    let first = sandbox.xdp("lan").unwrap().0;
    sandbox.ok("xdp_iphash_to_cpu --dev lan --wan");
    assert_ne!(sandbox.xdp("lan").unwrap().0, first);
    assert_eq!(direction_of(&sandbox, "lan"), 1);
    sandbox.ok("xdp_iphash_to_cpu --dev lan --remove");
    assert_eq!((sandbox.xdp("lan"), direction_of(&sandbox, "lan")), (None, 0));
}

/// The entry of an interface in `map_ifindex_type`.
fn direction_of(sandbox: &Sandbox, dev: &str) -> u32 {
    let link = shaper::json(&sandbox.ok(&format!("ip -j link show dev {dev}")));
    let ifindex = link[0]["ifindex"].as_u64().unwrap() as u32;
    read_u32(&sandbox.map("map_ifindex_type"), ifindex)[0]
}

fn read_u32(map: &MapHandle, key: u32) -> Vec<u32> {
    let value = map.lookup(&key.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
    value.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect()
}

/// The predecessor's pins: its sizes, an entry in each, and maps of its own.
#[test]
fn an_upgrade_keeps_the_predecessors_maps() {
    if !lab::privileged() {
        return;
    }
    let (lab, server) = traffic_lab();
    let shaper = lab.shaper();
    let maps = [
        ("map_ip_hash", MapType::LpmTrie, [20, 8, 65534]),
        ("map_ifindex_type", MapType::Array, [4, 4, 256]),
        ("map_txq_config", MapType::Array, [4, 4, 64]),
        ("cpu_map", MapType::Cpumap, [4, 4, 64]),
        ("packet_ts", MapType::Hash, [48, 16, 1000]),
        ("flow_state", MapType::Hash, [44, 200, 1000]),
        ("rtt_tracker", MapType::Hash, [4, 300, 1000]),
    ];
    let pinned = maps.map(|(name, map_type, sizes)| {
        // A cpumap beyond the kernel's CPU limit cannot exist: the predecessor's was cut to it.
        let made = pin_map(shaper, name, map_type, sizes);
        (name, made)
    });
    let map = |name: &str| &pinned.iter().find(|(known, _)| *known == name).unwrap().1;
    let write =
        |name, key: &[u8], value: &[u8]| map(name).update(key, value, MapFlags::ANY).unwrap();
    // 100.64.1.2/32 -> CPU 1, 2:9; CPU 1 has queue 2, major 2; a foreign value that nobody else would write.
    let mut alice = 128u32.to_ne_bytes().to_vec();
    alice.extend([0xff; 12]);
    alice.extend([100, 64, 1, 2]);
    let to = [1u32.to_ne_bytes(), 0x2_0009u32.to_ne_bytes()].concat();
    write("map_ip_hash", &alice, &to);
    write("map_txq_config", &0u32.to_ne_bytes(), &[1, 0, 1, 0]);
    write("map_txq_config", &1u32.to_ne_bytes(), &[2, 0, 2, 0]);
    write("map_txq_config", &63u32.to_ne_bytes(), &[64, 0, 64, 0]);
    write("map_ifindex_type", &255u32.to_ne_bytes(), &2u32.to_ne_bytes());
    for cpu in 0..2u32 {
        write("cpu_map", &cpu.to_ne_bytes(), &2048u32.to_ne_bytes());
    }
    let threads = cpumap_threads(map_id(map("cpu_map")));
    shaper.attach_both(LAN, WAN);
    for (name, before) in &pinned {
        let after = shaper.map(name);
        assert_eq!(map_id(&after), map_id(before), "{name} is the same map");
        assert_eq!(after.max_entries(), before.max_entries());
    }
    assert_eq!(shaper.mappings()["100.64.1.2/32"], (1, "2".into(), "9".into()));
    assert_eq!(read_u32(map("map_ifindex_type"), 255), [2]);
    assert_eq!(read_u32(map("map_txq_config"), 63), [64 << 16 | 64]);
    assert_eq!(cpumap_threads(map_id(map("cpu_map"))), threads, "entries that are right stay");
    // And it works: every packet in the class of the old entry.
    for dev in [LAN, WAN] {
        mq_htb(shaper.netns(), dev, 2, &[HtbClass::new(2, 9, "100mbit")]).unwrap();
    }
    let flow = Flow::request_response(20, MS);
    traffic::run(lab.subscriber("alice").netns(), &server, lab.internet().v4(), &flow).unwrap();
    let stats = htb_class_stats(shaper.netns(), LAN).unwrap();
    assert!(stats[&(2, 9)].packets >= 20 && stats[&(2, 2)].packets == 0, "{stats:?}");
    assert_eq!(shaper.counters().of("tc_wrong_cpu"), 0);
    assert!(shaper.rtts().contains_key("2:9"));
}

/// A writer who knows nothing of our caches is seen within a second.
#[test]
fn a_foreign_writer_takes_effect_within_a_second() {
    if !lab::privileged() {
        return;
    }
    let (lab, server) = traffic_lab();
    let shaper = lab.shaper();
    shaper.attach_both(LAN, WAN);
    shaper.ok("xdp_iphash_to_cpu_cmdline --add --ip 100.64.1.2 --cpu 1 --classid 2:9");
    let classes = [HtbClass::new(2, 9, "100mbit"), HtbClass::new(2, 10, "100mbit")];
    for dev in [LAN, WAN] {
        mq_htb(shaper.netns(), dev, 2, &classes).unwrap();
    }
    let packets = |minor| htb_class_stats(shaper.netns(), LAN).unwrap()[&(2, minor)].packets;
    let run = || {
        let flow = Flow::request_response(20, MS);
        traffic::run(lab.subscriber("alice").netns(), &server, lab.internet().v4(), &flow).unwrap();
    };
    run();
    assert!(packets(9) >= 20 && packets(10) == 0);
    let pin = format!("{}/map_ip_hash", shaper::GLOBALS);
    let key = "key hex 80 00 00 00 ff ff ff ff ff ff ff ff ff ff ff ff 64 40 01 02";
    shaper.ok(&format!("bpftool map update pinned {pin} {key} value hex 01 00 00 00 0a 00 02 00"));
    sleep(1000 * MS);
    let before = packets(9);
    run();
    assert_eq!(packets(9), before);
    assert!(packets(10) >= 20);
    // Our own tools' changes count at once. (The connection's last ACK is through by then.)
    sleep(100 * MS);
    shaper.ok("xdp_iphash_to_cpu_cmdline --add --ip 100.64.1.2 --cpu 1 --classid 2:9");
    let before = packets(10);
    run();
    assert_eq!(packets(10), before);
}
