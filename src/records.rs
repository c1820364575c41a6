//! The RTT records as they would be if no sample were on its way: `cpp_rtt`, and what `cpp_rtt_recent`
//! holds beside it.
//!
//! A line of recent samples is flushed into its handle's record while we read. Whoever reads the
//! line before and the record after would see its samples twice, so a line's number of flushes is
//! compared after its record was read; if it moved, that handle is read again.

use std::collections::HashMap;
use std::sync::atomic::{fence, AtomicBool, Ordering};
use std::sync::Mutex;

use libbpf_rs::{MapCore, MapHandle};

use crate::abi::{RttHandle, RttRecent, RECENT_COUNT_BITS, RECENT_SAMPLES};
use crate::error::Result;
use crate::loader::maps;
use crate::map::{Map, MappedArray};
use crate::pin::PinDir;
use crate::rtt;

/// 64-bit words of a line.
const WORDS: usize = size_of::<RttRecent>() / 8;
/// How often a handle is read again whose lines keep moving: a line is flushed after a dozen samples,
/// a reading takes microseconds.
const TRIES: usize = 100;

/// The records of all tc handles.
pub struct Records {
    records: Map<u32, RttHandle>,
    recent: MappedArray,
    lines: usize,
}

/// A line as it was, and the number of flushes that it had seen.
struct Line {
    index: usize,
    flushes: u32,
    content: RttRecent,
}

/// The lines of a handle, and whether its record was met among the others.
#[derive(Default)]
struct Pending {
    lines: Vec<Line>,
    settled: AtomicBool,
}

impl Records {
    /// Opens the pinned maps.
    ///
    /// # Errors
    /// [`Error::MapFile`](crate::error::Error::MapFile): nothing is loaded.
    pub fn open(dir: &PinDir) -> Result<Self> {
        let records = dir.open::<u32, RttHandle>(maps::RTT)?;
        let recent = dir.open::<u32, RttRecent>(maps::RTT_RECENT)?;
        Self::new(records, recent.handle())
    }

    /// Takes open maps.
    ///
    /// # Errors
    /// [`Error::Map`](crate::error::Error::Map): the lines cannot be mapped into memory.
    pub fn new(records: Map<u32, RttHandle>, recent: &MapHandle) -> Result<Self> {
        let lines = recent.max_entries() as usize;
        Ok(Self { records, recent: MappedArray::new(recent, false)?, lines })
    }

    /// Collects what `visit` makes of each handle's record, in no order. No handle is missed or
    /// doubled, and no sample of a handle, while packets go on changing them.
    ///
    /// # Errors
    /// [`Error::Map`](crate::error::Error::Map) with the kernel's reason.
    pub fn collect<T: Send>(
        &self,
        visit: impl Fn(u32, &RttHandle) -> Option<T> + Sync,
    ) -> Result<Vec<T>> {
        let pending = self.pending();
        let moved = Mutex::new(Vec::new());
        let mut found = self.records.collect(|&handle, record| {
            let Some(pending) = pending.get(&handle) else { return visit(handle, record) };
            pending.settled.store(true, Ordering::Relaxed);
            let mut record = *record;
            pending.lines.iter().for_each(|line| rtt::add_recent(&mut record, &line.content));
            if pending.lines.iter().all(|line| self.flushes(line.index) == line.flushes) {
                return visit(handle, &record);
            }
            moved.lock().unwrap_or_else(|poison| poison.into_inner()).push(handle);
            None
        })?;
        let mut again = moved.into_inner().unwrap_or_else(|poison| poison.into_inner());
        let unmet = pending.iter().filter(|(_, pending)| !pending.settled.load(Ordering::Relaxed));
        again.extend(unmet.map(|(handle, _)| *handle));
        for handle in again {
            let lines = pending[&handle].lines.iter().map(|line| line.index);
            found.extend(visit(handle, &self.one(handle, &lines.collect::<Vec<_>>())?));
        }
        Ok(found)
    }

    /// One handle's record with the samples of `lines`.
    fn one(&self, handle: u32, lines: &[usize]) -> Result<RttHandle> {
        let mut record = RttHandle::default();
        for _ in 0..TRIES {
            let before: Vec<Line> = lines.iter().filter_map(|index| self.line(*index)).collect();
            record = self.records.get(&handle)?.unwrap_or_default();
            let own = before.iter().filter(|line| line.content.tc_handle == handle);
            own.for_each(|line| rtt::add_recent(&mut record, &line.content));
            if before.len() == lines.len()
                && before.iter().all(|line| self.flushes(line.index) == line.flushes)
            {
                break;
            }
        }
        Ok(record)
    }

    /// Every line that holds samples, by its handle.
    fn pending(&self) -> HashMap<u32, Pending> {
        let mut pending: HashMap<u32, Pending> = HashMap::new();
        for index in 0..self.lines {
            if self.state(index) & ((1 << RECENT_COUNT_BITS) - 1) == 0 {
                continue;
            }
            // A line that is just being flushed may come as what it was or as what it becomes.
            if let Some(line) = (0..TRIES).find_map(|_| self.line(index)) {
                pending.entry(line.content.tc_handle).or_default().lines.push(line);
            }
        }
        pending
    }

    /// `rtt_recent.state`, before whatever is read after it.
    fn state(&self, line: usize) -> u32 {
        let word = self.recent.word(line * WORDS + 1);
        word.map_or(0, |word| (word.load(Ordering::Acquire) >> 32) as u32)
    }

    /// After whatever was read before.
    fn flushes(&self, line: usize) -> u32 {
        fence(Ordering::Acquire);
        self.state(line) >> RECENT_COUNT_BITS
    }

    /// A line; `None` if it was flushed meanwhile.
    fn line(&self, index: usize) -> Option<Line> {
        let flushes = self.flushes(index);
        let load =
            |word| self.recent.word(index * WORDS + word).map_or(0, |w| w.load(Ordering::Relaxed));
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
