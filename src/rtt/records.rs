// SPDX-License-Identifier: GPL-2.0-only
//! Reads the RTT records in `cpp_rtt`, and adds to each the samples that still wait in `cpp_rtt_recent`.
//!
//! A line of `cpp_rtt_recent` holds the latest samples of one handle on one CPU. The packet path flushes
//! lines into the records while this module reads. While a flush runs, samples are in the line and in the
//! record, or in only one of them; between the reading of a line and that of its record, a whole flush may
//! have run. In both cases the samples *have moved*: they would count twice, or not at all. So the state of
//! each line is read before and after its record, and a handle whose samples have moved is read again.
//!
//! A flush takes less than a microsecond, but its CPU may stop within it: the hypervisor of a virtual machine
//! stops CPUs for milliseconds. This module waits for such CPUs, for at most [`PATIENCE`] over a whole
//! snapshot, and then leaves their handles out. A wrong total would be worse than a missing one: totals that
//! step back look like a restart.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use libbpf_rs::{MapCore, MapHandle};

use crate::abi::{self, maps, Control, RttHandle, RttRecent, RECENT_FLUSHING, RECENT_SAMPLES};
use crate::domain::error::Result;
use crate::domain::summary::HandleReport;
use crate::kernel::machine::ktime_ns;
use crate::kernel::map::Map;
use crate::kernel::map_set::require_version;
use crate::kernel::memory::MappedArray;
use crate::kernel::pin::PinDir;
use crate::rtt::window;

/// Number of 64-bit words of a line.
const WORDS: usize = size_of::<RttRecent>() / 8;
/// Time that a snapshot waits, in all, for flushes to end.
const PATIENCE: Duration = Duration::from_millis(100);
/// Time between two looks at a flush that does not end.
const PAUSE: Duration = Duration::from_micros(50);
/// Number of times that a handle is read at once, before a pause. Nearly always the first reading is right,
/// because a line is flushed after a dozen samples, and a reading takes microseconds.
const READINGS: usize = 4;

/// The RTT records of all tc handles, with the samples that wait.
pub struct Records {
    records: Map<u32, RttHandle>,
    recent: MappedArray,
    /// Number of CPUs that have lines.
    cpus: usize,
    /// Number of lines of each CPU, a power of two.
    lines: usize,
}

/// What a walk over all records has found.
#[derive(Clone, Debug, Default)]
pub struct Collected<T> {
    /// The results, in no order.
    pub found: Vec<T>,
    /// Number of handles left out, because the flush of their samples did not end in time.
    pub left_out: usize,
}

/// The state of a line at one moment: the handle that used it last, and `rtt_recent.state`.
#[derive(Clone, Copy)]
struct LineState {
    handle: u32,
    state: u32,
}

impl LineState {
    /// Number of flushes that have ended.
    fn flushes(self) -> u64 {
        abi::recent_flushes(self.state.into())
    }

    /// Returns whether a flush runs.
    fn is_flushing(self) -> bool {
        u64::from(self.state) & RECENT_FLUSHING != 0
    }

    fn has_samples(self) -> bool {
        abi::recent_count(self.state.into()) > 0
    }

    /// Returns whether samples of `handle` have moved since the line was in the state `before`, or are
    /// moving now. While a flush runs, the line's handle does not change.
    fn has_moved_since(self, before: Self, handle: u32) -> bool {
        self.flushes() != before.flushes() || self.is_flushing() && self.handle == handle
    }
}

/// The time that one snapshot may still wait.
#[derive(Default)]
struct Patience {
    end: Option<Instant>,
}

impl Patience {
    /// Waits a moment. Returns false without waiting if the time is over.
    fn wait(&mut self) -> bool {
        let now = Instant::now();
        if now >= *self.end.get_or_insert(now + PATIENCE) {
            return false;
        }
        sleep(PAUSE);
        true
    }
}

impl Records {
    /// Opens the pinned maps.
    ///
    /// # Errors
    /// [`Error::MapFile`](crate::domain::error::Error::MapFile): nothing is loaded.
    /// [`Error::Map`](crate::domain::error::Error::Map): another version has made the maps.
    pub fn open(dir: &PinDir) -> Result<Self> {
        require_version(dir)?;
        let records = dir.open::<u32, RttHandle>(maps::RTT)?;
        let recent = dir.open::<u32, RttRecent>(maps::RTT_RECENT)?;
        let control = dir.open::<u32, Control>(maps::CONTROL)?.get(&0)?.unwrap_or_default();
        Self::new(records, recent.handle(), control.recent_lines)
    }

    /// Takes open maps. Each CPU has `lines` lines (`control.recent_lines`).
    ///
    /// # Errors
    /// [`Error::Map`](crate::domain::error::Error::Map): the lines cannot be mapped into memory.
    pub fn new(records: Map<u32, RttHandle>, recent: &MapHandle, lines: u32) -> Result<Self> {
        let lines = 1 << lines.clamp(1, recent.max_entries().max(1)).ilog2();
        let cpus = recent.max_entries() as usize / lines;
        Ok(Self { records, recent: MappedArray::open(recent)?, cpus, lines })
    }

    /// Collects the results of `visit`, which is called once with the record of each handle, in no order.
    /// Each record holds every sample exactly once, although packets go on changing it. (The sample of a CPU
    /// without lines may be in some of a record's figures only, while that CPU records it.)
    ///
    /// # Errors
    /// [`Error::Map`](crate::domain::error::Error::Map) with the kernel's reason.
    pub fn collect<T: Send>(
        &self,
        visit: impl Fn(u32, &RttHandle) -> Option<T> + Sync,
    ) -> Result<Collected<T>> {
        // Read before any record, so that every later flush is noticed.
        let before: Vec<LineState> = (0..self.cpus * self.lines).map(|at| self.state(at)).collect();
        let met: Vec<AtomicBool> = before.iter().map(|_| AtomicBool::new(false)).collect();
        let moved = Mutex::new(Vec::new());
        let found = self.records.collect(|&handle, record| {
            let lines = self.lines_of(handle).map(|index| (index, before[index]));
            for (index, _) in lines.clone().filter(|(_, line)| line.handle == handle) {
                met[index].store(true, Ordering::Relaxed);
            }
            match self.waiting(handle, lines) {
                Some(waiting) if waiting.is_empty() => visit(handle, record),
                Some(waiting) => visit(handle, &with_samples(*record, &waiting)),
                None => {
                    moved.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
                    None
                }
            }
        })?;
        let mut again = moved.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Handles with samples in a line, whose record did not exist when the walk passed.
        let lines = before.iter().zip(&met);
        let unmet = lines.filter(|(line, met)| line.has_samples() && !met.load(Ordering::Relaxed));
        again.extend(unmet.map(|(line, _)| line.handle));
        again.sort_unstable();
        again.dedup();
        self.read_again(&again, found, visit)
    }

    /// Adds the results of `visit` for handles whose samples have moved.
    fn read_again<T>(
        &self,
        handles: &[u32],
        mut found: Vec<T>,
        visit: impl Fn(u32, &RttHandle) -> Option<T>,
    ) -> Result<Collected<T>> {
        let (mut patience, mut left_out) = (Patience::default(), 0);
        for handle in handles {
            match self.one(*handle, &mut patience)? {
                Some(record) => found.extend(visit(*handle, &record)),
                None => left_out += 1,
            }
        }
        Ok(Collected { found, left_out })
    }

    /// Returns the figures of every tc handle with samples in the window, in the order of the handles.
    /// `sides_apart` also gives the figures of each side, and takes twice as long.
    ///
    /// # Errors
    /// [`Error::Map`](crate::domain::error::Error::Map) with the kernel's reason.
    pub fn reports(&self, sides_apart: bool) -> Result<Collected<HandleReport>> {
        let now = ktime_ns()?;
        let report = if sides_apart { window::report } else { window::report_both };
        let mut reports = self.collect(|handle, record| report(handle, record, now))?;
        // A report is large: this sorts the keys, and moves each report once.
        reports.found.sort_by_cached_key(|report| report.tc_handle);
        Ok(reports)
    }

    /// Returns the lines with samples of a handle whose record has just been read. `lines` are the indexes of
    /// the handle's lines, and their states before the record was read. Returns `None` if samples of the
    /// handle have moved since.
    fn waiting(
        &self,
        handle: u32,
        lines: impl Iterator<Item = (usize, LineState)>,
    ) -> Option<Vec<RttRecent>> {
        let mut waiting = Vec::new();
        for (index, before) in lines {
            let now = self.state(index);
            if now.has_moved_since(before, handle) {
                return None;
            }
            if now.handle == handle && now.has_samples() {
                waiting.push(self.line(index, now)?);
            }
        }
        Some(waiting)
    }

    /// Reads the record of one handle, and adds the samples that wait in its lines. Returns `None` if they
    /// move all the time.
    fn one(&self, handle: u32, patience: &mut Patience) -> Result<Option<RttHandle>> {
        loop {
            for _ in 0..READINGS {
                let states: Vec<_> =
                    self.lines_of(handle).map(|index| (index, self.state(index))).collect();
                let record = self.records.get(&handle)?.unwrap_or_default();
                if let Some(waiting) = self.waiting(handle, states.into_iter()) {
                    return Ok(Some(with_samples(record, &waiting)));
                }
            }
            if !patience.wait() {
                return Ok(None);
            }
        }
    }

    /// Returns the indexes of the lines in which a handle's samples wait, one for each CPU.
    fn lines_of(&self, handle: u32) -> impl Iterator<Item = usize> + Clone {
        let lines = self.lines;
        let slot = abi::recent_slot(handle.into(), lines as u64) as usize;
        (0..self.cpus).map(move |cpu| cpu * lines + slot)
    }

    /// Reads a word of a line. Later reads see memory at least as new.
    fn word(&self, line: usize, word: usize) -> u64 {
        self.recent.load(line * WORDS + word).unwrap_or(0)
    }

    /// Reads the state of a line, and the handle that belongs to it: the packet path changes the handle of an
    /// empty line before it raises the state.
    fn state(&self, line: usize) -> LineState {
        let state = || (self.word(line, 1) >> 32) as u32;
        let mut before = state();
        loop {
            let handle = self.word(line, 0) as u32;
            let after = state();
            if after == before {
                return LineState { handle, state: after };
            }
            before = after;
        }
    }

    /// Copies a line that was in the state `before`. Returns `None` if its samples have moved meanwhile.
    fn line(&self, index: usize, before: LineState) -> Option<RttRecent> {
        let words: [u64; WORDS] = std::array::from_fn(|word| self.word(index, word));
        if self.state(index).has_moved_since(before, before.handle) {
            return None;
        }
        let mut sample = [0; RECENT_SAMPLES as usize];
        for (pair, word) in sample.chunks_mut(2).zip(&words[2..]) {
            pair.copy_from_slice(&[*word as u32, (word >> 32) as u32]);
        }
        let [first, second, ..] = words;
        Some(RttRecent {
            tc_handle: first as u32,
            epoch: (first >> 32) as u32,
            last_tick: second as u32,
            state: (second >> 32) as u32,
            sample,
        })
    }
}

/// Returns a record with the samples of lines that have not been flushed yet.
fn with_samples(mut record: RttHandle, lines: &[RttRecent]) -> RttHandle {
    lines.iter().for_each(|line| window::add_recent(&mut record, line));
    record
}
