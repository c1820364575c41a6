// SPDX-License-Identifier: GPL-2.0-only
//! A lab in which one kind of traffic is measured: a subscriber, the internet, and a shaper with our
//! programs between them.

use std::ops::Range;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cpumap_pping::abi::maps;
use cpumap_pping::kernel::machine::ktime_ns;
use cpumap_pping::kernel::pin::PinDir;
use cpumap_pping::rtt::records::Records;
use lab::scheduling::RealtimePolicy;
use lab::{mq_htb, Host, HtbClass, Lab, Plan, Programs, Server, Subscriber, LAN, WAN};

use crate::accuracy::cases::{Acks, Case, ShaperSide, SIDES};
use crate::accuracy::drive::drive;
use crate::accuracy::figures::SideFigures;
use crate::accuracy::row::{AccuracyRow, KernelRtt};
use crate::accuracy::traffic_kind::TrafficKind;
use crate::cpumap_threads;
use crate::error::Result;
use crate::machine::CpuTime;

const STEER: &str = "xdp_iphash_to_cpu";
const CMDLINE: &str = "xdp_iphash_to_cpu_cmdline";
const CLASSIFY: &str = "tc_classify";

const SUBSCRIBER: &str = "subscriber";
/// Minors of the subscriber's classes; the major is the number of its queue. Each measurement has a class
/// of its own, so that its record holds no samples of another measurement.
const MINORS: Range<u16> = 0x10..0x50;
/// Number of queues of mq and HTB. The subscribers of the labs are spread over them.
const QUEUES: u16 = 2;

/// A lab for one kind of traffic.
pub struct MeasuredLab {
    pub traffic: TrafficKind,
    server: Server,
    lab: Lab,
    programs: Programs,
    cpu: u16,
    minors: Mutex<Range<u16>>,
    records: Records,
}

impl MeasuredLab {
    /// Builds the lab and sets up the shaper as an operator does. `number` selects the subscriber's queue.
    pub fn new(number: u16, traffic: TrafficKind, acks: Acks) -> Result<Self> {
        let mut plan = Plan::new([Subscriber::new(SUBSCRIBER, 1)]).queues(QUEUES);
        if acks == Acks::Prompt {
            plan = plan.prompt_acks();
        }
        let lab = Lab::build(plan)?;
        // The kernel must not use the metrics of one case for the congestion window of the next.
        for host in [lab.subscriber(SUBSCRIBER), lab.internet()] {
            host.netns().sysctl("net.ipv4.tcp_no_metrics_save", "1")?;
        }
        let cpu = number % QUEUES;
        let programs = Programs::beside_this_one(&[STEER, CMDLINE, CLASSIFY])?;
        set_up(&lab, &programs, cpu)?;
        let cpu_map = lab.shaper().run(|| PinDir::default().try_open(maps::CPU_MAP))??;
        let cpu_map = cpu_map.ok_or("no cpu_map")?;
        cpumap_threads::prefer(&cpu_map, RealtimePolicy::RoundRobin, 1)?;
        let records = lab.shaper().run(|| Records::open(&PinDir::default()))??;
        let server = Server::start(lab.internet().netns(), 0)?;
        let minors = Mutex::new(MINORS);
        Ok(Self { traffic, server, lab, programs, cpu, minors, records })
    }

    /// Runs the traffic at these delays.
    pub fn measure(&self, case: Case, usual: Duration) -> Result<AccuracyRow> {
        self.set_links(case);
        let time = case.time(usual);
        let dropped = self.lab.dropped_frames();
        let handle = self.next_class()?;
        let (before, start) = (CpuTime::now()?, Instant::now());
        let subscriber = self.lab.subscriber(SUBSCRIBER).netns();
        let internet = [self.lab.internet().v4(), self.lab.internet().v6()];
        let connections =
            drive(subscriber, &self.server, internet, self.traffic.flows(time, case.path()), time)?;
        let (elapsed, stolen) = (start.elapsed(), CpuTime::now()?.stolen_since(before));
        let record = self.records.collect(|of, record| (of == handle).then_some(*record))?;
        let record = record.found.first().ok_or("not one sample")?;
        if self.lab.dropped_frames() > dropped {
            return Err("the delay lines dropped frames: the machine is too busy".into());
        }
        let now_ns = ktime_ns()?;
        let figures = |side| SideFigures::of(record, handle, side, case.delay(side), now_ns);
        let towards = |side| {
            let connections = connections.iter().filter(move |seen| seen.towards == side);
            KernelRtt::of(connections.map(|seen| seen.tcp))
        };
        Ok(AccuracyRow {
            case,
            traffic: self.traffic,
            time: elapsed,
            figures: SIDES.map(figures),
            kernel: SIDES.map(towards),
            stolen,
            tries: 1,
        })
    }

    /// Moves the subscriber into a class without samples and returns its tc handle.
    fn next_class(&self) -> Result<u32> {
        let minor = self.minors.lock().map_err(|_| "a measurement panicked")?.next();
        let (minor, major) = (minor.ok_or("no class is left")?, self.cpu + 1);
        let host = self.lab.subscriber(SUBSCRIBER);
        for ip in [host.v4(), host.v6()] {
            let (ip, class) = (ip.to_string(), format!("{major:x}:{minor:x}"));
            let cpu = self.cpu.to_string();
            let args = ["--add", "--ip", &ip, "--cpu", &cpu, "--classid", &class];
            self.programs.run(self.lab.shaper(), CMDLINE, &args)?;
        }
        Ok(u32::from(major) << 16 | u32::from(minor))
    }

    fn host(&self, side: ShaperSide) -> &Host {
        match side {
            ShaperSide::Subscriber => self.lab.subscriber(SUBSCRIBER),
            ShaperSide::Internet => self.lab.internet(),
        }
    }

    /// Waits until no frame is on its way, then sets delays and impairments.
    fn set_links(&self, case: Case) {
        let last: Duration = SIDES.iter().map(|side| self.host(*side).link().rtt()).sum();
        sleep(last * 2 + Duration::from_millis(200));
        for side in SIDES {
            let link = self.host(side).link();
            let traffic = if side == case.varied { self.traffic } else { TrafficKind::Bulk };
            traffic.impair(link);
            link.set_rtt(case.delay(side));
        }
    }
}

/// Attaches the programs and makes the classes.
fn set_up(lab: &Lab, programs: &Programs, cpu: u16) -> Result<()> {
    for (device, side) in [(LAN, "--lan"), (WAN, "--wan")] {
        // No frame here has a VLAN tag. Without the offload, the commands print no warning about it.
        let _ = lab.shaper().command("ethtool").args(["-K", device, "rxvlan", "off"]).output();
        programs.run(lab.shaper(), STEER, &["--dev", device, side])?;
        programs.run(lab.shaper(), CLASSIFY, &["--dev-egress", device])?;
        let classes: Vec<_> = MINORS.map(|minor| HtbClass::new(cpu + 1, minor, "1gbit")).collect();
        mq_htb(lab.shaper().netns(), device, QUEUES, &classes)?;
    }
    Ok(())
}
