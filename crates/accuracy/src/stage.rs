//! One lab with a shaper at work: a subscriber, the internet, our programs between them.

use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs};

use cpumap_pping::abi::maps;
use cpumap_pping::kernel::machine::ktime_ns;
use cpumap_pping::kernel::pin::PinDir;
use cpumap_pping::rtt::records::Records;
use lab::{mq_htb, Host, HtbClass, Lab, Plan, Server, Subscriber, LAN, WAN};
use libbpf_rs::MapCore;

use crate::drive::drive;
use crate::figures::Figures;
use crate::machine::CpuTime;
use crate::plan::{Acks, Case, Side, Traffic, SIDES};
use crate::row::{Kernel, Row};
use crate::Result;

const SUBSCRIBER: &str = "subscriber";
/// Of the subscriber's classes, beside its queue's number as the major. Each measurement has a class of its
/// own, so that no sample of another is in it.
const MINORS: Range<u16> = 0x10..0x50;
/// mq's and HTB's; the labs' subscribers take turns.
const QUEUES: u16 = 2;

pub struct Stage {
    pub traffic: Traffic,
    server: Server,
    lab: Lab,
    cpu: u16,
    minors: Mutex<Range<u16>>,
    records: Records,
}

impl Stage {
    /// Builds the lab and sets the shaper up, as an operator does. `number` spreads the subscribers.
    pub fn new(number: u16, traffic: Traffic, acks: Acks) -> Result<Self> {
        let mut plan = Plan::new([Subscriber::new(SUBSCRIBER, 1)]).queues(QUEUES);
        if acks == Acks::Prompt {
            plan = plan.prompt_acks();
        }
        let lab = Lab::build(plan)?;
        // What one case teaches the kernel must not decide the next one's windows.
        for host in [lab.subscriber(SUBSCRIBER), lab.internet()] {
            host.netns().sysctl("net.ipv4.tcp_no_metrics_save", "1")?;
        }
        let cpu = number % QUEUES;
        set_up(&lab, cpu)?;
        prefer_cpumap_threads(&lab)?;
        let records = lab.shaper().run(|| Records::open(&PinDir::default()))??;
        let server = Server::start(lab.internet().netns(), 0)?;
        Ok(Self { traffic, server, lab, cpu, minors: Mutex::new(MINORS), records })
    }

    /// Runs the traffic at these delays.
    pub fn measure(&self, case: Case, usual: Duration) -> Result<Row> {
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
        let record = record.first().ok_or("not one sample")?;
        if self.lab.dropped_frames() > dropped {
            return Err("the delay lines could not keep up".into());
        }
        let now_ns = ktime_ns()?;
        let figures = |side| Figures::of(record, handle, side, case.delay(side), now_ns);
        let towards = |side| {
            let connections = connections.iter().filter(move |seen| seen.towards == side);
            Kernel::of(connections.map(|seen| seen.tcp))
        };
        Ok(Row {
            case,
            traffic: self.traffic,
            time: elapsed,
            figures: SIDES.map(figures),
            kernel: SIDES.map(towards),
            stolen,
            tries: 1,
        })
    }

    /// Moves the subscriber into a class that has measured nothing yet: its tc handle.
    fn next_class(&self) -> Result<u32> {
        let minor = self.minors.lock().map_err(|_| "a measurement panicked")?.next();
        let (minor, major) = (minor.ok_or("no class is left")?, self.cpu + 1);
        let host = self.lab.subscriber(SUBSCRIBER);
        for ip in [host.v4(), host.v6()] {
            let (ip, class) = (ip.to_string(), format!("{major:x}:{minor:x}"));
            let cpu = self.cpu.to_string();
            let args = ["--add", "--ip", &ip, "--cpu", &cpu, "--classid", &class];
            command(&self.lab, "xdp_iphash_to_cpu_cmdline", &args)?;
        }
        Ok(u32::from(major) << 16 | u32::from(minor))
    }

    fn host(&self, side: Side) -> &Host {
        match side {
            Side::Subscriber => self.lab.subscriber(SUBSCRIBER),
            Side::Internet => self.lab.internet(),
        }
    }

    /// Delays and impairments, once nothing is under way any more.
    fn set_links(&self, case: Case) {
        let last: Duration = SIDES.iter().map(|side| self.host(*side).link().rtt()).sum();
        sleep(last * 2 + Duration::from_millis(200));
        for side in SIDES {
            let link = self.host(side).link();
            let traffic = if side == case.moved { self.traffic } else { Traffic::Bulk };
            traffic.impair(link);
            link.set_rtt(case.delay(side));
        }
    }
}

/// Attaches the programs, makes the classes.
fn set_up(lab: &Lab, cpu: u16) -> Result<()> {
    for (device, side) in [(LAN, "--lan"), (WAN, "--wan")] {
        // Tags are no subject here: spare the reader the warning about the offload.
        let _ = lab.shaper().command("ethtool").args(["-K", device, "rxvlan", "off"]).output();
        command(lab, "xdp_iphash_to_cpu", &["--dev", device, side])?;
        command(lab, "tc_classify", &["--dev-egress", device])?;
        let classes: Vec<_> = MINORS.map(|minor| HtbClass::new(cpu + 1, minor, "1gbit")).collect();
        mq_htb(lab.shaper().netns(), device, QUEUES, &classes)?;
    }
    Ok(())
}

/// Lets the cpumap's threads run before ordinary ones, as the delay lines do: a shaper has its CPUs to
/// itself, and what else keeps this machine busy is not to be measured.
fn prefer_cpumap_threads(lab: &Lab) -> Result<()> {
    let map = lab.shaper().run(|| PinDir::default().try_open(maps::CPU_MAP))??;
    let id = map.ok_or("no cpu_map")?.info()?.info.id;
    let suffix = format!("/map:{id}");
    for entry in fs::read_dir("/proc")?.flatten() {
        let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if comm.starts_with("cpumap/") && comm.trim_end().ends_with(&suffix) {
            let mut chrt = Command::new("chrt");
            let status = chrt.args(["--rr", "--pid", "1"]).arg(entry.file_name()).status();
            let status = status.map_err(|err| format!("chrt: {err}"))?;
            if !status.success() {
                return Err(format!("chrt: {status}").into());
            }
        }
    }
    Ok(())
}

/// Runs one of our commands in the shaper.
fn command(lab: &Lab, program: &str, args: &[&str]) -> Result<()> {
    let path = binaries()?.join(program);
    let output = lab.shaper().command(&path.to_string_lossy()).args(args).output();
    let output = output.map_err(|err| format!("{}: {err}", path.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", args.join(" "), said.trim()).into())
}

/// Where cargo put the commands: beside this program.
fn binaries() -> Result<PathBuf> {
    let here = env::current_exe()?;
    Ok(here.parent().ok_or("this program is in no folder")?.to_owned())
}
