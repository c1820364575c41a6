// SPDX-License-Identifier: GPL-2.0-only

//! A shaper at work with a default entry, its hosts, and what it made of their packets.

use crate::common::command::MS;
use crate::common::lab_facts::{carried, forget_rtts, no_trouble};
use crate::common::names::Counts;
use crate::common::patience::{agree, ms, patiently};
use crate::common::shaper::Shaper;
use lab::{htb_class_stats, mq_htb, traffic, Flow, Host, HtbClass, Lab, Netns, Pattern, Plan};
use lab::{Server, Subscriber, TransferReport, LAN, WAN, WAN_GATEWAY};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

static TURN: Mutex<()> = Mutex::new(());

/// A tc handle: major, which is also the TX queue and the CPU counted from 1, and minor.
pub type Class = (u16, u16);
pub const ALICE: Class = (1, 5);
pub const BOB: Class = (2, 6);
/// The class of the default entry, which is that of the shaper's own address.
pub const DEFAULT: Class = (1, 13);
/// The classes of the public addresses that belong to one subscriber each.
pub const ALICES_PUBLIC: Class = (1, 14);
pub const BOBS_PUBLIC: Class = (2, 15);

pub const ALICE_RTT: Duration = Duration::from_millis(10);
pub const BOB_RTT: Duration = Duration::from_millis(80);
pub const INTERNET_RTT: Duration = Duration::from_millis(35);

/// The shaper's addresses on the internet's side.
pub const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
pub const PUBLIC6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1));

/// Two subscribers and the internet around a shaper with both programs, classes and mappings.
pub struct World {
    pub lab: Lab,
    before: Tally,
    _turn: MutexGuard<'static, ()>,
}

/// What was counted: by the delay lines, by HTB, by the programs.
struct Tally {
    /// Frames to a host, and from it: alice, bob, the internet.
    hosts: [[u64; 2]; 3],
    /// Packets in classes with a minor above 3, on LAN and on WAN.
    classes: [BTreeMap<Class, u64>; 2],
    counts: Counts,
}

/// What the delay lines carried since the world was made: to a host, and from it.
#[derive(Debug)]
pub struct Carried {
    pub alice: [u64; 2],
    pub bob: [u64; 2],
    pub internet: [u64; 2],
}

/// The shaper's treatment of the hosts' packets.
#[derive(Debug, PartialEq, Eq)]
pub struct Treatment {
    /// Packets in each class on LAN and on WAN; classes without packets are left out.
    pub lan: BTreeMap<Class, u64>,
    pub wan: BTreeMap<Class, u64>,
    pub translated: u64,
    /// Packets for whose mapping XDP's answer was of no use.
    pub looked_up: u64,
    pub wrong_cpu: u64,
}

/// A TCP connection: who opens it, to where, and what it carries.
pub struct Connection<'a> {
    pub client: &'a Netns,
    pub server: SocketAddr,
    pub flow: Flow,
}

impl World {
    /// Makes a world in which the shaper routes.
    pub fn routed() -> Self {
        Self::new(|plan| plan)
    }

    /// Makes a world of any plan with these subscribers.
    pub fn new(plan: impl FnOnce(Plan) -> Plan) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let subscribers =
            [Subscriber::new("alice", 1).rtt(ALICE_RTT), Subscriber::new("bob", 2).rtt(BOB_RTT)];
        let lab = Lab::build(plan(Plan::new(subscribers).internet_rtt(INTERNET_RTT))).unwrap();
        lab.shaper().attach_both(LAN, WAN);
        let classes = [ALICE, BOB, DEFAULT, ALICES_PUBLIC, BOBS_PUBLIC];
        let classes = classes.map(|(queue, minor)| HtbClass::new(queue, minor, "1gbit"));
        for dev in [LAN, WAN] {
            mq_htb(lab.shaper().netns(), dev, 2, &classes).unwrap();
        }
        let before = Tally::of(&lab);
        let world = Self { lab, before, _turn: turn };
        world.map("::/0", DEFAULT);
        for (host, class) in [("alice", ALICE), ("bob", BOB)] {
            world.map(&world.host(host).v4().to_string(), class);
            world.map(&world.host(host).v6().to_string(), class);
        }
        world
    }

    /// Maps a prefix to a class and its CPU.
    pub fn map(&self, prefix: &str, (major, minor): Class) {
        let to = format!("--cpu {} --classid {major:x}:{minor:x}", major - 1);
        self.lab.shaper().ok(&format!("xdp_iphash_to_cpu_cmdline --add --ip {prefix} {to}"));
    }

    /// Feeds rules to nft(8) in the shaper's namespace.
    pub fn nft(&self, rules: &str) {
        self.lab.shaper().shell(&format!("nft -f - <<'END'\n{rules}\nEND"));
    }

    /// Gives the shaper its public addresses. They are its only ones on the WAN, so that masquerade takes them.
    pub fn public_addresses(&self) {
        let shaper = self.lab.shaper();
        for (address, length) in [(PUBLIC, 32), (PUBLIC6, 128)] {
            shaper.ok(&format!("ip addr add {address}/{length} dev {WAN}"));
        }
        shaper.ok(&format!("ip addr del {WAN_GATEWAY}/32 dev {WAN}"));
    }

    /// Starts a server at alice and one at bob, and leads ports 80 and 81 of the packets that `matching` names to them,
    /// where the servers have other ports. `chains` are more chains of the table.
    pub fn forward_ports(&self, matching: &str, chains: &str) -> [Server; 2] {
        let hosts = ["alice", "bob"].map(|host| self.host(host));
        let servers = hosts.map(|host| Server::start(host.netns(), 0).unwrap());
        let [alice, bob] =
            [0, 1].map(|host| SocketAddr::new(hosts[host].v4(), servers[host].port()));
        self.nft(&format!(
            "table ip shaper {{
                chain pre {{
                    type nat hook prerouting priority dstnat
                    {matching} tcp dport 80 dnat to {alice}
                    {matching} tcp dport 81 dnat to {bob}
                }}
                {chains}
            }}"
        ));
        servers
    }

    pub fn host(&self, name: &str) -> &Host {
        self.lab.subscriber(name)
    }

    /// Runs the connections at once until the RTTs of `check` are right (see `patiently`), and asserts that each of them
    /// was one flow to the shaper, that it was carried whole and that the classes are those of `expected`.
    pub fn check<'a>(
        &'a self,
        connections: impl Fn(u16) -> Vec<Connection<'a>>,
        expected: impl Fn(&Carried) -> Treatment,
        check: impl Fn(&Rtts) -> Result<(), String>,
    ) {
        let (mut attempt, mut opened) = (0, 0);
        patiently(|| {
            forget_rtts(self.lab.shaper());
            let connections = connections(attempt);
            let reports = run(&connections);
            for (report, Connection { flow, .. }) in reports.iter().zip(&connections) {
                assert_eq!(report.bytes, payload_of(flow));
            }
            attempt += 1;
            opened += reports.len() as u64;
            check(&self.rtts())
        });
        self.check_treatment(expected);
        let counts = self.counts();
        no_trouble(&counts);
        // One flow, seen from both sides of the NAT.
        assert_eq!(counts.of("rtt_flow_new"), opened, "{counts:?}");
    }

    /// Asserts that the shaper treated every frame that the delay lines carried as expected, and dropped none.
    fn check_treatment(&self, expected: impl Fn(&Carried) -> Treatment) {
        let start = Instant::now();
        // The last frames may still be under way.
        loop {
            let now = Tally::of(&self.lab);
            let carried = self.carried(&now);
            let (found, expected) = (self.treatment(&now), expected(&carried));
            let counts = now.counts.since(&self.before.counts);
            let all_done = ["xdp_redirected", "tc_classified"]
                .iter()
                .all(|fate| counts.of(fate) == carried.all());
            if found == expected && all_done && carried.is_whole() {
                println!("{carried:?}\n{found:?}\n{counts:?}");
                return self.check_drops();
            }
            if start.elapsed() > Duration::from_secs(10) {
                assert_eq!(found, expected, "{carried:?}");
                panic!("frames were lost: {carried:?} {counts:?}");
            }
            sleep(20 * MS);
        }
    }

    fn check_drops(&self) {
        for dev in [LAN, WAN] {
            let stats = htb_class_stats(self.lab.shaper().netns(), dev).unwrap();
            assert!(stats.values().all(|class| class.dropped == 0), "{dev}: {stats:?}");
        }
        assert_eq!(self.lab.dropped_frames(), 0);
    }

    fn counts(&self) -> Counts {
        self.lab.shaper().counters().since(&self.before.counts)
    }

    fn carried(&self, now: &Tally) -> Carried {
        let since = |host: usize| {
            let [to, from] = now.hosts[host];
            [to - self.before.hosts[host][0], from - self.before.hosts[host][1]]
        };
        Carried { alice: since(0), bob: since(1), internet: since(2) }
    }

    fn treatment(&self, now: &Tally) -> Treatment {
        let counts = now.counts.since(&self.before.counts);
        let [lan, wan] = now.classes.clone();
        Treatment {
            lan,
            wan,
            translated: counts.of("tc_translated"),
            looked_up: counts.of("tc_looked_up"),
            wrong_cpu: counts.of("tc_wrong_cpu"),
        }
    }

    fn rtts(&self) -> Rtts {
        Rtts(self.lab.shaper().rtts())
    }
}

impl Tally {
    fn of(lab: &Lab) -> Self {
        let classes = [LAN, WAN].map(|dev| {
            let stats = htb_class_stats(lab.shaper().netns(), dev).unwrap().into_iter();
            let used = stats.map(|(class, stats)| (class, stats.packets));
            used.filter(|((_, minor), packets)| *minor > 3 && *packets > 0).collect()
        });
        let hosts = [lab.subscriber("alice"), lab.subscriber("bob"), lab.internet()].map(carried);
        Self { hosts, classes, counts: lab.shaper().counters() }
    }
}

impl Carried {
    /// Returns whether every frame that a host sent has reached another.
    fn is_whole(&self) -> bool {
        let sum = |index: usize| self.alice[index] + self.bob[index] + self.internet[index];
        sum(0) == sum(1) && sum(0) > 0
    }

    /// Returns how many frames all hosts sent.
    pub fn all(&self) -> u64 {
        self.alice[1] + self.bob[1] + self.internet[1]
    }
}

/// Runs connections at once, and returns their reports without the server's part: NAT hides the client from the server.
fn run(connections: &[Connection]) -> Vec<TransferReport> {
    scope(|scope| {
        let start = |&Connection { client, server, flow }: &Connection| {
            let (client, server, flow) = (client.clone(), server, flow);
            scope.spawn(move || client.run(|| traffic::transfer(server, &flow)).unwrap().unwrap())
        };
        let running: Vec<_> = connections.iter().map(start).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Returns two flows of small paced segments, one each way, of which no queue builds.
pub fn steady() -> [Flow; 2] {
    let (segment, interval, count) = (400, 5 * MS, 100);
    [
        Flow::new(Pattern::PacedDownload { segment, interval, count }),
        Flow::new(Pattern::PacedUpload { segment, interval, count }),
    ]
}

fn payload_of(flow: &Flow) -> u64 {
    match flow.pattern {
        Pattern::PacedDownload { segment, count, .. }
        | Pattern::PacedUpload { segment, count, .. } => u64::from(segment) * u64::from(count),
        other => panic!("not a steady flow: {other:?}"),
    }
}

/// The shaper's RTTs.
pub struct Rtts(BTreeMap<String, Value>);

/// The side of an RTT.
pub const SUBSCRIBER: &str = "subscriber";
pub const INTERNET: &str = "internet";

impl Rtts {
    /// Checks that these RTTs are there, and nothing else. The smallest must be the delay. The median may be longer: a
    /// machine that other programs use is late in truth.
    pub fn are(&self, expected: &[(Class, &[(&str, Duration)])]) -> Result<(), String> {
        println!("{:?}", self.0);
        let classes: Vec<_> =
            expected.iter().map(|((major, minor), _)| format!("{major}:{minor}")).collect();
        assert!(self.0.keys().eq(&classes), "RTTs of {classes:?} alone: {:?}", self.0);
        for (class, (_, sides)) in classes.iter().zip(expected) {
            for side in [SUBSCRIBER, INTERNET] {
                let delay = sides.iter().find(|(name, _)| *name == side).map(|(_, delay)| *delay);
                check_side(class, side, &self.0[class][side], delay)?;
            }
        }
        Ok(())
    }
}

fn check_side(
    class: &str,
    side: &str,
    figures: &Value,
    delay: Option<Duration>,
) -> Result<(), String> {
    let samples = figures["samples"].as_u64().unwrap_or(0);
    let Some(delay) = delay else {
        assert_eq!(samples, 0, "{class} has no {side}: {figures}");
        return Ok(());
    };
    assert!(samples >= 5, "{class}, {side}: {figures}");
    let figure = |name: &str| figures[name].as_f64().unwrap_or(f64::NAN);
    let (min, median, delay) = (figure("min"), figure("median"), ms(delay));
    if agree(min, delay) && median >= delay - 1.0 && median <= delay * 1.5 + 20.0 {
        return Ok(());
    }
    Err(format!("{class}, {side}: {figures} for {delay} ms"))
}
