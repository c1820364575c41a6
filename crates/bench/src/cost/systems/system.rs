// SPDX-License-Identifier: GPL-2.0-only
//! A system that is compared: an XDP and a TC program for each interface. The programs are loaded once
//! and attached in turn with those of other systems.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use cpumap_pping::abi::maps;
use cpumap_pping::abi::{Control, FlowBucket, RttHandle, COUNTERS};
use cpumap_pping::domain::IfName;
use cpumap_pping::kernel::map::Map;
use cpumap_pping::kernel::memory::MappedArray;
use cpumap_pping::kernel::pin::PinDir;
use cpumap_pping::kernel::tc::tc_attach;
use cpumap_pping::kernel::xdp::xdp_attach;
use cpumap_pping::kernel::xdp::XdpMode;
use cpumap_pping::rtt::records::Records;
use lab::scheduling::RealtimePolicy;
use lab::Sandbox;
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::cost::program_stats::{runs, Runs};
use crate::cpumap_threads;
use crate::error::Result;

/// Frames that the queue of a cpumap entry holds: the default of our commands.
pub(super) const QUEUE: u32 = 2048;

/// The point at which a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachPoint {
    /// Ingress.
    Xdp,
    /// Egress.
    Tc,
}

/// A program and its place.
pub struct Placed {
    /// The attach point.
    pub hook: AttachPoint,
    /// The interface.
    pub device: &'static str,
    /// The program.
    pub program: OwnedFd,
}

/// The map in which a system counts its RTT samples.
pub(super) enum SampleCount {
    /// The system takes no samples.
    None,
    /// Our counters.
    Counters(MapHandle),
    /// The field `samples` of each handle's ring.
    Rings(MapHandle),
}

/// Loaded programs, and maps that are filled for a load.
pub struct System {
    /// The system's name in the report.
    pub name: String,
    /// Index of the generator's load under which the system is measured.
    pub load: usize,
    /// The programs of both attach points of both interfaces.
    pub programs: Vec<Placed>,
    /// The maps by name.
    pub(super) maps: Vec<(String, MapHandle)>,
    pub(super) samples: SampleCount,
}

impl System {
    /// Sets another of the generator's loads.
    pub fn under(self, load: usize) -> Self {
        Self { load, ..self }
    }

    /// Returns one of the maps.
    pub fn map(&self, name: &str) -> Option<&MapHandle> {
        self.maps.iter().find(|(known, _)| known == name).map(|(_, map)| map)
    }

    /// Attaches the programs in the place of those that were attached before. Call it in the sandbox.
    pub fn attach(&self) -> Result<()> {
        for placed in &self.programs {
            let device = IfName::parse("", placed.device)?;
            match placed.hook {
                AttachPoint::Xdp => {
                    xdp_attach(
                        &PinDir::default(),
                        &device,
                        placed.program.as_fd(),
                        XdpMode::Native,
                        true,
                    )?;
                }
                AttachPoint::Tc => tc_attach(&PinDir::default(), &device, placed.program.as_fd())?,
            }
        }
        Ok(())
    }

    /// Returns the runs of the programs, in their order.
    pub fn runs(&self) -> Result<Vec<Runs>> {
        self.programs.iter().map(|placed| runs(&placed.program)).collect()
    }

    /// Sums up the runs between two calls of [`runs`](Self::runs), of those programs that `wanted` picks by
    /// attach point and interface.
    pub fn between(
        &self,
        before: &[Runs],
        after: &[Runs],
        wanted: impl Fn(AttachPoint, &str) -> bool,
    ) -> Runs {
        let mut sum = Runs::default();
        for ((placed, before), after) in self.programs.iter().zip(before).zip(after) {
            if wanted(placed.hook, placed.device) {
                sum.ns += after.ns - before.ns;
                sum.count += after.count - before.count;
            }
        }
        sum
    }

    /// Lets the threads of the system's cpumap run ahead of ordinary threads and of the generator.
    pub fn prefer_cpumap_threads(&self) -> Result<()> {
        let Some(map) = self.map(maps::CPU_MAP) else { return Ok(()) };
        cpumap_threads::prefer(map, RealtimePolicy::Fifo, 2)
    }

    /// Returns the number of RTT samples so far; None if the system takes none.
    pub fn samples(&self) -> Result<Option<u64>> {
        match &self.samples {
            SampleCount::None => Ok(None),
            SampleCount::Counters(map) => {
                Ok(Some(counter(map, "rtt_subscriber")? + counter(map, "rtt_internet")?))
            }
            SampleCount::Rings(map) => {
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

    /// Returns the RTT totals of the subscriber side by tc handle: the number of samples and the sum of
    /// their times. Our programs only.
    pub fn rtt_totals(&self) -> Result<BTreeMap<u32, [u64; 2]>> {
        let recent = self.map(maps::RTT_RECENT).ok_or("a system without our maps")?;
        let control = self.typed::<u32, Control>(maps::CONTROL)?.get(&0)?.unwrap_or_default();
        let rtts = self.typed::<u32, RttHandle>(maps::RTT)?;
        let records = Records::new(rtts, recent, control.recent_lines)?;
        let totals = records.collect(|handle, record| {
            let total = &record.total[0];
            Some((handle, [total.count, total.sum_ns]))
        })?;
        Ok(totals.found.into_iter().collect())
    }

    /// Returns how many places of the flow table hold a flow. Our programs only.
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

/// Returns one of our counters, summed over all CPUs.
fn counter(stats: &MapHandle, name: &str) -> Result<u64> {
    let index = COUNTERS.iter().position(|(known, _)| *known == name).ok_or("no such counter")?;
    let memory = MappedArray::open(stats)?;
    let words = stats.value_size() as usize / 8;
    let cpus = 0..stats.max_entries() as usize;
    let values = cpus.filter_map(|cpu| memory.load(cpu * words + index));
    Ok(values.sum())
}

/// Runs `work` in the sandbox.
pub fn inside<T: Send>(sandbox: &Sandbox, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    sandbox.run(work)?
}

/// Runs `work` in the sandbox with an empty bpffs, so that its pins do not meet those of another system.
/// The pins are gone afterwards; descriptors that `work` returns stay valid.
pub(super) fn with_own_pins<T: Send>(
    sandbox: &Sandbox,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    inside(sandbox, || {
        lab::private_bpffs()?;
        work()
    })
}
