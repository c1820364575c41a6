// SPDX-License-Identifier: GPL-2.0-only
//! Reads the counters of the packet path.

use libbpf_rs::MapCore;

use crate::abi::{self, maps};
use crate::domain::error::Result;
use crate::kernel::memory::MappedArray;
use crate::kernel::pin::PinDir;

/// The counters at one moment: a row for each CPU, in the order of [`abi::COUNTERS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(Vec<Vec<u64>>);

impl Counters {
    /// Reads all counters. Returns no rows if the map is not pinned.
    ///
    /// # Errors
    /// [`Error::Map`](crate::domain::error::Error::Map): the map cannot be opened or mapped into memory.
    pub fn read(dir: &PinDir) -> Result<Self> {
        let Some(handle) = dir.try_open(maps::STATS)? else { return Ok(Self::default()) };
        let memory = MappedArray::open(&handle)?;
        let row = |cpu: usize| {
            let first = cpu * abi::STATS_SIZE / 8;
            (first..first + abi::COUNTERS.len()).map_while(|index| memory.load(index)).collect()
        };
        Ok(Self((0..handle.max_entries() as usize).map(row).collect()))
    }

    /// Returns the sum over all CPUs of the counter with this name; `None` if there is none.
    pub fn of(&self, name: &str) -> Option<u64> {
        let index = abi::COUNTERS.iter().position(|(known, _)| *known == name)?;
        Some(self.total(index))
    }

    /// Makes the counters of one CPU from names and counts; the others are 0.
    #[cfg(test)]
    pub fn from_counts(counts: &[(&str, u64)]) -> Self {
        let count = |name| counts.iter().find(|(known, _)| *known == name).map_or(0, |(_, n)| *n);
        Self(vec![abi::COUNTERS.iter().map(|(name, _)| count(*name)).collect()])
    }

    /// Returns the sum over all CPUs of the counter with this index in [`abi::COUNTERS`].
    pub fn total(&self, counter: usize) -> u64 {
        self.0.iter().filter_map(|row| row.get(counter)).sum()
    }
}
