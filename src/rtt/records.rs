// SPDX-License-Identifier: GPL-2.0-only
//! Reads the RTT records in `cpp_rtt`, and adds to each the samples that still wait in `cpp_rtt_recent`.
//!
//! A line of `cpp_rtt_recent` holds the latest samples of one handle on one CPU. The packet path flushes
//! lines into the records while this module reads. If it flushes a line between the reading of the line
//! and the reading of its record, the line's samples are counted twice (line read first) or not at all
//! (record read first). So the number of flushes of each line is read before and after its record; if it
//! has changed, the handle is read again.

use std::sync::atomic::{fence, AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use libbpf_rs::{MapCore, MapHandle};

use crate::abi::{self, maps, RttHandle, RttRecent, RECENT_SAMPLES};
use crate::domain::error::Result;
use crate::domain::summary::HandleReport;
use crate::kernel::machine::{ktime_ns, possible_cpus};
use crate::kernel::map::Map;
use crate::kernel::map_set::require_version;
use crate::kernel::memory::MappedArray;
use crate::kernel::pin::PinDir;
use crate::rtt::window;

/// Number of 64-bit words of a line.
const WORDS: usize = size_of::<RttRecent>() / 8;
/// Number of times that a handle is read again while its lines are flushed. A line is flushed after a
/// dozen samples, and a reading takes microseconds, so a few readings are enough.
const TRIES: usize = 100;

/// The RTT records of all tc handles, with the samples that wait.
pub struct Records {
    records: Map<u32, RttHandle>,
    recent: MappedArray,
    cpus: usize,
    /// Number of lines of each CPU, a power of two.
    lines: usize,
}

/// A copy of a line, with its number of flushes at that time.
struct RecentLine {
    index: usize,
    flushes: u32,
    content: RttRecent,
}

/// The state of a line: the handle that used it last.
struct LineOwner {
    handle: u32,
    /// Number of flushes so far.
    flushes: u32,
    /// Number of samples in the line.
    samples: u32,
}

impl Records {
    /// Opens the pinned maps.
    ///
    /// # Errors
    /// [`Error::MapFile`](crate::domain::error::Error::MapFile): nothing is loaded.
    /// [`Error::Map`](crate::domain::error::Error::Map): the maps are of another ABI version.
    pub fn open(dir: &PinDir) -> Result<Self> {
        require_version(dir)?;
        let records = dir.open::<u32, RttHandle>(maps::RTT)?;
        let recent = dir.open::<u32, RttRecent>(maps::RTT_RECENT)?;
        Self::new(records, recent.handle(), possible_cpus()?)
    }

    /// Takes open maps, which were made for `cpus` CPUs.
    ///
    /// # Errors
    /// [`Error::Map`](crate::domain::error::Error::Map): the lines cannot be mapped into memory.
    pub fn new(records: Map<u32, RttHandle>, recent: &MapHandle, cpus: u32) -> Result<Self> {
        let per_cpu = (recent.max_entries() / cpus.max(1)).max(1);
        let (cpus, lines) = (cpus as usize, 1 << per_cpu.ilog2());
        Ok(Self { records, recent: MappedArray::open(recent)?, cpus, lines })
    }

    /// Collects the results of `visit`, which is called once with the record of each handle, in no order.
    /// Each record holds every sample exactly once, although packets go on changing it.
    ///
    /// # Errors
    /// [`Error::Map`](crate::domain::error::Error::Map) with the kernel's reason.
    pub fn collect<T: Send>(
        &self,
        visit: impl Fn(u32, &RttHandle) -> Option<T> + Sync,
    ) -> Result<Vec<T>> {
        // Read before any record, so that every later flush is noticed.
        let before: Vec<LineOwner> = (0..self.cpus * self.lines).map(|at| self.owner(at)).collect();
        let met: Vec<AtomicBool> = before.iter().map(|_| AtomicBool::new(false)).collect();
        let moved = Mutex::new(Vec::new());
        let mut found = self.records.collect(|&handle, record| {
            for index in self.lines_of(handle).filter(|index| before[*index].handle == handle) {
                met[index].store(true, Ordering::Relaxed);
            }
            match self.waiting(handle, &before) {
                Some(lines) if lines.is_empty() => return visit(handle, record),
                Some(lines) => {
                    let mut record = *record;
                    lines.iter().for_each(|line| window::add_recent(&mut record, &line.content));
                    return visit(handle, &record);
                }
                None => {}
            }
            moved.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
            None
        })?;
        let mut again = moved.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Handles with samples in a line, whose record did not exist when the walk passed.
        let lines = before.iter().zip(&met);
        let unmet = lines.filter(|(line, met)| line.samples > 0 && !met.load(Ordering::Relaxed));
        again.extend(unmet.map(|(line, _)| line.handle));
        again.sort_unstable();
        again.dedup();
        for handle in again {
            found.extend(visit(handle, &self.one(handle)?));
        }
        Ok(found)
    }

    /// Returns the figures of every tc handle with samples in the window, in the order of the handles.
    /// `sides_apart` also gives the figures of each side, and takes twice as long.
    ///
    /// # Errors
    /// [`Error::Map`](crate::domain::error::Error::Map) with the kernel's reason.
    pub fn reports(&self, sides_apart: bool) -> Result<Vec<HandleReport>> {
        let now = ktime_ns()?;
        let report = if sides_apart { window::report } else { window::report_both };
        let mut reports = self.collect(|handle, record| report(handle, record, now))?;
        // A report is large: this sorts the keys, and moves each report once.
        reports.sort_by_cached_key(|report| report.tc_handle);
        Ok(reports)
    }

    /// Returns the lines with samples of a handle whose record has just been read. Returns `None` if one of
    /// its lines was flushed since `before`, because the record may hold the samples of that line, too.
    fn waiting(&self, handle: u32, before: &[LineOwner]) -> Option<Vec<RecentLine>> {
        let mut waiting = Vec::new();
        for index in self.lines_of(handle) {
            let now = self.owner(index);
            if now.flushes != before[index].flushes {
                return None;
            }
            if now.handle == handle && now.samples > 0 {
                let line = self.line(index)?;
                (line.flushes == now.flushes).then(|| waiting.push(line))?;
            }
        }
        Some(waiting)
    }

    /// Reads the record of one handle, and adds the samples that wait in its lines.
    fn one(&self, handle: u32) -> Result<RttHandle> {
        let mut record = RttHandle::default();
        for _ in 0..TRIES {
            let before: Vec<Option<RecentLine>> =
                self.lines_of(handle).map(|at| self.line(at)).collect();
            record = self.records.get(&handle)?.unwrap_or_default();
            let lines = before.iter().flatten();
            let own = lines.clone().filter(|line| line.content.tc_handle == handle);
            own.for_each(|line| window::add_recent(&mut record, &line.content));
            let stayed = lines.filter(|line| self.flushes(line.index) == line.flushes);
            if stayed.count() == self.cpus {
                break;
            }
        }
        Ok(record)
    }

    /// Returns the indexes of the lines in which a handle's samples wait, one for each CPU.
    fn lines_of(&self, handle: u32) -> impl Iterator<Item = usize> {
        let lines = self.lines;
        let slot = abi::recent_slot(handle.into(), lines as u64) as usize;
        (0..self.cpus).map(move |cpu| cpu * lines + slot)
    }

    /// Reads `rtt_recent.state`. Later reads see memory at least as new.
    fn state(&self, line: usize) -> u32 {
        self.recent.load(line * WORDS + 1).map_or(0, |word| (word >> 32) as u32)
    }

    /// Reads the state of a line. Reads the handle first: the packet path flushes a line before it changes
    /// the handle, so a change in between also changes the number of flushes.
    fn owner(&self, line: usize) -> LineOwner {
        let handle = self.recent.load(line * WORDS).unwrap_or(0) as u32;
        let state = self.state(line);
        let (flushes, samples) = (flushes_of(state), abi::recent_count(state.into()) as u32);
        LineOwner { handle, flushes, samples }
    }

    /// Reads the number of flushes of a line, after all earlier reads.
    fn flushes(&self, line: usize) -> u32 {
        fence(Ordering::Acquire);
        flushes_of(self.state(line))
    }

    /// Copies a line. Returns `None` if it was flushed meanwhile.
    fn line(&self, index: usize) -> Option<RecentLine> {
        let flushes = self.flushes(index);
        let load = |word| self.recent.load(index * WORDS + word).unwrap_or(0);
        let words: [u64; WORDS] = std::array::from_fn(load);
        if self.flushes(index) != flushes {
            return None;
        }
        let mut sample = [0; RECENT_SAMPLES as usize];
        for (pair, word) in sample.chunks_mut(2).zip(&words[2..]) {
            pair.copy_from_slice(&[*word as u32, (word >> 32) as u32]);
        }
        let [first, second, ..] = words;
        let content = RttRecent {
            tc_handle: first as u32,
            epoch: (first >> 32) as u32,
            last_tick: second as u32,
            state: (second >> 32) as u32,
            sample,
        };
        Some(RecentLine { index, flushes, content })
    }
}

/// Returns the number of flushes in `rtt_recent.state`.
fn flushes_of(state: u32) -> u32 {
    abi::recent_flushes(state.into()) as u32
}
