//! What callers in the field do, word for word (CONTRACT.md, section 1), twice in a row and under traffic.

#[path = "common/shaper.rs"]
mod shaper;

use lab::{
    htb_class_stats, traffic, Flow, Host, Lab, Link, Netns, Pattern, Plan, Sandbox, Server,
    Subscriber, UdpReceiver, LAN, WAN,
};
use shaper::{cpumap_threads, map_id, Said, Shaper, TempDir, MS, PROGRAMS};
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
