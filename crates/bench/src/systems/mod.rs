//! What is compared: a pair of programs an interface, loaded once and attached in turn.

mod ours;
mod reference;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use cpumap_pping::abi::maps;
use cpumap_pping::abi::{FlowBucket, RttHandle, COUNTERS};
use cpumap_pping::domain::IfName;
use cpumap_pping::kernel::machine::possible_cpus;
use cpumap_pping::kernel::map::Map;
use cpumap_pping::kernel::memory::MappedArray;
use cpumap_pping::kernel::pin::PinDir;
use cpumap_pping::kernel::tc::tc_attach;
use cpumap_pping::kernel::xdp::xdp_attach;
use cpumap_pping::kernel::xdp::XdpMode;
use cpumap_pping::rtt::records::Records;
use lab::Sandbox;
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapInfo};

use crate::Result;

pub use ours::{ours, ours_from, ours_with, Ours};
pub use reference::{reference, Reference};

/// Frames a cpumap queue holds: the tools' default.
const QUEUE: u32 = 2048;

/// Where a program stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Ingress.
    Xdp,
    /// Egress.
    Tc,
}

/// A program and where it stands.
pub struct Placed {
    /// The hook.
    pub hook: Hook,
    /// The interface.
    pub device: &'static str,
    /// The program.
    pub program: OwnedFd,
}

/// Where a system keeps its count of RTT samples.
enum Samples {
    None,
    /// Our counters.
    Counters(MapHandle),
    /// `samples` of each handle's ring.
    Rings(MapHandle),
}

/// Programs, loaded and filled for a load.
pub struct System {
    /// What the report calls it.
    pub name: String,
    /// Under which of the generator's loads it is measured.
    pub load: usize,
    /// Both hooks of both interfaces.
    pub programs: Vec<Placed>,
    /// Its maps by name.
    maps: Vec<(String, MapHandle)>,
    samples: Samples,
}

impl System {
    /// The same, measured under another of the generator's loads.
    pub fn under(self, load: usize) -> Self {
        Self { load, ..self }
    }

    /// One of its maps.
    pub fn map(&self, name: &str) -> Option<&MapHandle> {
        self.maps.iter().find(|(known, _)| known == name).map(|(_, map)| map)
    }

    /// Puts the programs in the place of whatever was attached. Call it in the sandbox.
    pub fn attach(&self) -> Result<()> {
        for placed in &self.programs {
            let device = IfName::parse("", placed.device)?;
            match placed.hook {
                Hook::Xdp => {
                    xdp_attach(
                        &PinDir::default(),
                        &device,
                        placed.program.as_fd(),
                        XdpMode::Native,
                        true,
                    )?;
                }
                Hook::Tc => tc_attach(&PinDir::default(), &device, placed.program.as_fd())?,
            }
        }
        Ok(())
    }

    /// Lets the threads of its cpumap run ahead of ordinary ones, as they do on a shaper that does
    /// nothing else: on a busy machine their queues would overflow.
    pub fn prefer_cpumap_threads(&self) -> Result<()> {
        let Some(map) = self.map(maps::CPU_MAP) else { return Ok(()) };
        let suffix = format!("/map:{}", MapInfo::new(map.as_fd())?.info.id);
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let comm = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            if comm.starts_with("cpumap/") && comm.trim_end().ends_with(&suffix) {
                crate::generator::run_first(pid, 2)?;
            }
        }
        Ok(())
    }

    /// RTT samples so far, where the system takes any.
    pub fn samples(&self) -> Result<Option<u64>> {
        match &self.samples {
            Samples::None => Ok(None),
            Samples::Counters(map) => {
                Ok(Some(counter(map, "rtt_subscriber")? + counter(map, "rtt_internet")?))
            }
            Samples::Rings(map) => {
                let values = map.keys().map(|key| map.lookup(&key, MapFlags::ANY));
                let mut total = 0;
                for value in values {
                    let first = value?.and_then(|bytes| bytes.first_chunk::<4>().copied());
                    total += u64::from(u32::from_ne_bytes(first.unwrap_or_default()));
                }
                Ok(Some(total))
            }
        }
    }

    /// RTT totals of the subscriber side by tc handle: samples and the sum of their times. Ours only.
    pub fn rtt_totals(&self) -> Result<BTreeMap<u32, [u64; 2]>> {
        let recent = self.map(maps::RTT_RECENT).ok_or("a system without our maps")?;
        let records =
            Records::new(self.typed::<u32, RttHandle>(maps::RTT)?, recent, possible_cpus()?)?;
        let totals = records.collect(|handle, record| {
            let total = &record.total[0];
            Some((handle, [total.count, total.sum_ns]))
        })?;
        Ok(totals.into_iter().collect())
    }

    /// Places of the flow table that hold a flow. Ours only.
    pub fn flows_in_table(&self) -> Result<u64> {
        let mut count = 0;
        self.typed::<u32, FlowBucket>(maps::FLOW)?.walk(|_, bucket| {
            count += bucket.way.iter().filter(|flow| flow.tag > 1).count() as u64;
        })?;
        Ok(count)
    }

    fn typed<K, V>(&self, name: &'static str) -> Result<Map<K, V>>
    where
        K: plain::Plain + Default + Clone,
        V: plain::Plain + Default,
    {
        let map = self.map(name).ok_or("a system without our maps")?;
        Ok(Map::new(name, MapHandle::try_from(map)?))
    }
}

/// A counter of ours, over all CPUs.
fn counter(stats: &MapHandle, name: &str) -> Result<u64> {
    let index = COUNTERS.iter().position(|(known, _)| *known == name).ok_or("no such counter")?;
    let memory = MappedArray::open(stats)?;
    let words = stats.value_size() as usize / 8;
    let cpus = 0..stats.max_entries() as usize;
    let values = cpus.filter_map(|cpu| memory.load(cpu * words + index));
    Ok(values.sum())
}

/// Does `work` where the devices are.
pub fn inside<T: Send>(sandbox: &Sandbox, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    sandbox.run(work)?
}

/// Does `work` where the devices are, with an empty bpffs: what it pins is nobody else's, and is gone
/// afterwards but for the descriptors that it keeps.
fn with_own_pins<T: Send>(sandbox: &Sandbox, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    inside(sandbox, || {
        lab::private_bpffs()?;
        work()
    })
}

/// The descriptor's number, for the kernel.
pub fn raw(program: &OwnedFd) -> i32 {
    program.as_raw_fd()
}
