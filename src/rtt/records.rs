// SPDX-License-Identifier: GPL-2.0-only
//! The RTT records as they would be if no sample were on its way: `cpp_rtt`, and what `cpp_rtt_recent`
//! holds beside it.
//!
//! A line of recent samples is flushed into its handle's record while we read. Whoever reads the
//! line before and the record after would see its samples twice, so a line's number of flushes is
//! compared after its record was read; if it moved, that handle is read again.

use std::sync::atomic::{fence, AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use libbpf_rs::{MapCore, MapHandle};

use crate::abi::{self, maps, RttHandle, RttRecent, RECENT_SAMPLES};
use crate::domain::error::Result;
use crate::domain::summary::HandleReport;
use crate::kernel::machine::{ktime_ns, possible_cpus};
use crate::kernel::map::Map;
use crate::kernel::memory::MappedArray;
use crate::kernel::pin::PinDir;
use crate::rtt::window;

/// 64-bit words of a line.
const WORDS: usize = size_of::<RttRecent>() / 8;
/// How often a handle is read again whose lines keep moving: a line is flushed after a dozen samples,
/// a reading takes microseconds.
const TRIES: usize = 100;

/// The records of all tc handles.
pub struct Records {
    records: Map<u32, RttHandle>,
    recent: MappedArray,
    cpus: usize,
    /// Lines of each CPU, a power of two.
    lines: usize,
}

/// A line as it was, and the number of flushes that it had seen.
struct Line {
    index: usize,
    flushes: u32,
    content: RttRecent,
}

/// Whose a line was.
struct Owner {
    handle: u32,
    flushes: u32,
    samples: u32,
}

impl Records {
    /// Opens the pinned maps.
    ///
    /// # Errors
    /// [`Error::MapFile`](crate::domain::error::Error::MapFile): nothing is loaded.
    pub fn open(dir: &PinDir) -> Result<Self> {
        let records = dir.open::<u32, RttHandle>(maps::RTT)?;
        let recent = dir.open::<u32, RttRecent>(maps::RTT_RECENT)?;
        Self::new(records, recent.handle(), possible_cpus()?)
    }

    /// Takes open maps, made for so many CPUs.
    ///
    /// # Errors
    /// [`Error::Map`](crate::domain::error::Error::Map): the lines cannot be mapped into memory.
    pub fn new(records: Map<u32, RttHandle>, recent: &MapHandle, cpus: u32) -> Result<Self> {
        let per_cpu = (recent.max_entries() / cpus.max(1)).max(1);
        let (cpus, lines) = (cpus as usize, 1 << per_cpu.ilog2());
        Ok(Self { records, recent: MappedArray::open(recent)?, cpus, lines })
    }

    /// Collects what `visit` makes of each handle's record, in no order. No handle is missed or
    /// doubled, and no sample of a handle, while packets go on changing them.
    ///
    /// # Errors
    /// [`Error::Map`](crate::domain::error::Error::Map) with the kernel's reason.
    pub fn collect<T: Send>(
        &self,
        visit: impl Fn(u32, &RttHandle) -> Option<T> + Sync,
    ) -> Result<Vec<T>> {
        // Before any record: who flushes from now on is read again.
        let before: Vec<Owner> = (0..self.cpus * self.lines).map(|at| self.owner(at)).collect();
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
        // Handles that had samples, but no record when the walk came by.
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

    /// Returns the figures of every tc handle with samples, in the order of the handles; with the
    /// sides apart if `sides_apart`, which takes twice as long.
    ///
    /// # Errors
    /// [`Error::Map`](crate::domain::error::Error::Map) with the kernel's reason.
    pub fn reports(&self, sides_apart: bool) -> Result<Vec<HandleReport>> {
        let now = ktime_ns()?;
        let report = if sides_apart { window::report } else { window::report_both };
        let mut reports = self.collect(|handle, record| report(handle, record, now))?;
        // A report is large: its key is sorted, then each report moves once.
        reports.sort_by_cached_key(|report| report.tc_handle);
        Ok(reports)
    }

    /// The lines that hold samples of a handle whose record was just read; `None` if one of them was
    /// flushed since `before`: the record may hold its samples.
    fn waiting(&self, handle: u32, before: &[Owner]) -> Option<Vec<Line>> {
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

    /// One handle's record with its samples that are on their way.
    fn one(&self, handle: u32) -> Result<RttHandle> {
        let mut record = RttHandle::default();
        for _ in 0..TRIES {
            let before: Vec<Option<Line>> = self.lines_of(handle).map(|at| self.line(at)).collect();
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

    /// Returns the line of each CPU in which a handle's samples wait.
    fn lines_of(&self, handle: u32) -> impl Iterator<Item = usize> {
        let lines = self.lines;
        let slot = abi::recent_slot(handle.into(), lines as u64) as usize;
        (0..self.cpus).map(move |cpu| cpu * lines + slot)
    }

    /// `rtt_recent.state`, before whatever is read after it.
    fn state(&self, line: usize) -> u32 {
        self.recent.load(line * WORDS + 1).map_or(0, |word| (word >> 32) as u32)
    }

    /// The handle is read first: if it changes in between, so does the number of flushes.
    fn owner(&self, line: usize) -> Owner {
        let handle = self.recent.load(line * WORDS).unwrap_or(0) as u32;
        let state = self.state(line);
        let (flushes, samples) = (flushes_of(state), abi::recent_count(state.into()) as u32);
        Owner { handle, flushes, samples }
    }

    /// After whatever was read before.
    fn flushes(&self, line: usize) -> u32 {
        fence(Ordering::Acquire);
        flushes_of(self.state(line))
    }

    /// A line; `None` if it was flushed meanwhile.
    fn line(&self, index: usize) -> Option<Line> {
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
        Some(Line { index, flushes, content })
    }
}

fn flushes_of(state: u32) -> u32 {
    abi::recent_flushes(state.into()) as u32
}
