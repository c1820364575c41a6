// SPDX-License-Identifier: GPL-2.0-only
//! The state of the set-up with the rates of its counters: what `cpumap-pping status` shows.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::abi::COUNTERS;
use crate::domain::error::Result;
use crate::kernel::pin::PinDir;
use crate::shaper::counters::Counters;
use crate::shaper::inventory::{Cpu, Fill, Interface, Inventory};

/// The state of the set-up.
#[derive(Clone, Debug)]
pub struct StatusSnapshot {
    /// By index.
    pub interfaces: Vec<Interface>,
    /// Those that have an entry in any table, by number.
    pub cpus: Vec<Cpu>,
    /// The maps that fill, by name.
    pub maps: BTreeMap<&'static str, Fill>,
    /// Seconds between the two readings of the counters, to a tenth.
    pub interval: f64,
    /// In the order of include/counters.def.
    pub counters: Vec<CounterRate>,
    /// Text shows the counters that are 0, too.
    pub with_zeroes: bool,
}

/// A counter of the packet path, summed over the CPUs.
#[derive(Clone, Debug)]
pub struct CounterRate {
    /// Its name in include/counters.def.
    pub name: &'static str,
    /// The total.
    pub count: u64,
    /// Growth per second over the interval, to a tenth.
    pub per_second: f64,
    /// What it counts.
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

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
