// SPDX-License-Identifier: GPL-2.0-only
//! Reads the state that `cpumap-pping status` shows: the set-up, and the rates of the counters.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::abi::COUNTERS;
use crate::domain::error::Result;
use crate::kernel::pin::PinDir;
use crate::shaper::counters::Counters;
use crate::shaper::inventory::{Cpu, Fill, Interface, Inventory};

/// The state of the set-up, and the rates of the counters.
#[derive(Clone, Debug)]
pub struct StatusSnapshot {
    /// Interfaces, in the order of their indexes.
    pub interfaces: Vec<Interface>,
    /// CPUs with an entry in any table, in the order of their numbers.
    pub cpus: Vec<Cpu>,
    /// Fill of each pinned map, by name.
    pub maps: BTreeMap<&'static str, Fill>,
    /// Time between the two readings of the counters in seconds, rounded to tenths.
    pub interval: f64,
    /// Counters, in the order of include/counters.def.
    pub counters: Vec<CounterRate>,
    /// Show counters that are 0, too. Only the text format looks at this.
    pub with_zeroes: bool,
}

/// A counter of the packet path, summed over the CPUs.
#[derive(Clone, Debug)]
pub struct CounterRate {
    /// Name in include/counters.def.
    pub name: &'static str,
    /// Sum over the CPUs.
    pub count: u64,
    /// Growth per second during the interval, rounded to tenths.
    pub per_second: f64,
    /// Description, from include/counters.def.
    pub help: &'static str,
}

impl StatusSnapshot {
    /// Reads the counters twice, `interval` apart.
    ///
    /// # Errors
    /// [`Error::Map`](crate::domain::error::Error::Map): the counters cannot be read.
    pub fn read(
        dir: &PinDir,
        inventory: Inventory,
        interval: Duration,
        with_zeroes: bool,
    ) -> Result<Self> {
        let (start, before) = (Instant::now(), Counters::read(dir)?);
        sleep(interval);
        let (interval, after) = (start.elapsed().as_secs_f64(), Counters::read(dir)?);
        let counter = |(index, &(name, help)): (usize, &(&'static str, &'static str))| {
            let count = after.total(index);
            // A smaller total means that the map was replaced in between.
            let grown = count.saturating_sub(before.total(index));
            CounterRate { name, count, per_second: tenths(grown as f64 / interval), help }
        };
        let counters = COUNTERS.iter().enumerate().map(counter).collect();
        let Inventory { interfaces, cpus, maps, .. } = inventory;
        Ok(Self { interfaces, cpus, maps, interval: tenths(interval), counters, with_zeroes })
    }
}

/// Rounds to tenths.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
