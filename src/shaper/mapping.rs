// SPDX-License-Identifier: GPL-2.0-only
//! `map_ip_hash`: whose packets go where. Every change raises the generation in `cpp_control`, so
//! that the packet path's caches end with it.

use std::sync::atomic::Ordering;

use crate::abi::{maps, Control, IpMapping, IpPrefix};
use crate::domain::error::{Error, Result};
use crate::domain::{Mapping, Prefix, TcHandle};
use crate::kernel::machine;
use crate::kernel::map::Map;
use crate::kernel::memory::WritableArray;
use crate::kernel::pin::PinDir;
use crate::shaper::changes::Changes;

/// The pinned mapping, for readers and writers.
pub struct Mappings {
    map: Map<IpPrefix, IpMapping>,
    /// `None`: pinned by a predecessor whose programs keep no cache.
    control: Option<WritableArray>,
}

fn key_of(prefix: &Prefix) -> IpPrefix {
    IpPrefix { prefixlen: prefix.prefixlen(), addr: prefix.addr() }
}

fn value_of(mapping: &Mapping) -> IpMapping {
    IpMapping { cpu: mapping.cpu, tc_handle: mapping.tc_handle.0 }
}

/// Entries changed between two moves of the generation: some milliseconds of work.
const CHUNK: usize = 8192;

impl Mappings {
    /// Opens it.
    ///
    /// # Errors
    /// [`Error::MapFile`]: nothing is loaded.
    pub fn open(dir: &PinDir) -> Result<Self> {
        let map = dir.open(maps::IP_HASH)?;
        let control = dir.try_open(maps::CONTROL)?;
        let control = control.map(|handle| WritableArray::open(&handle)).transpose()?;
        Ok(Self { map, control })
    }

    /// Upper limit of entries.
    pub fn max_entries(&self) -> u32 {
        self.map.max_entries()
    }

    /// Adds an entry, or replaces the one of the same prefix.
    ///
    /// # Errors
    /// [`Error::Map`]: full, or the kernel refuses.
    pub fn set(&self, mapping: &Mapping) -> Result<()> {
        self.map.set(&key_of(&mapping.prefix), &value_of(mapping))?;
        self.end_caches();
        Ok(())
    }

    /// Deletes the entry of exactly this prefix.
    ///
    /// # Errors
    /// [`Error::MapKey`]: there is none.
    pub fn remove(&self, prefix: &Prefix) -> Result<()> {
        if !self.map.remove(&key_of(prefix))? {
            let remedy = "xdp_iphash_to_cpu_cmdline --list shows what is mapped";
            return Err(Error::map_key(format!("delete {prefix}"), "it is not mapped", remedy));
        }
        self.end_caches();
        Ok(())
    }

    /// Deletes everything; the number of entries there were.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn clear(&self) -> Result<usize> {
        let removed = self.map.clear();
        self.end_caches();
        removed
    }

    /// Every entry once, in the order of the prefixes: shortest prefix of the lowest address first.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn list(&self) -> Result<Vec<Mapping>> {
        let mut found = Vec::new();
        self.map.walk(|key, value| {
            if let Some(prefix) = Prefix::new(key.addr, key.prefixlen) {
                found.push(Mapping {
                    prefix,
                    cpu: value.cpu,
                    tc_handle: TcHandle(value.tc_handle),
                });
            }
        })?;
        found.sort_by_key(|mapping| mapping.prefix);
        // A walk that met a deletion has seen some twice; what it saw last is newest.
        found.dedup_by(|later, first| {
            let same = later.prefix == first.prefix;
            if same {
                *first = *later;
            }
            same
        });
        Ok(found)
    }

    /// Makes many changes, in the order of [`Changes`], and tells `progress` how many entries each
    /// step did. Whoever looks up meanwhile finds the old or the new entry, never none.
    ///
    /// `deletions_first` is for a map that has no room for both: then there is a gap.
    ///
    /// # Errors
    /// [`Error::Map`], [`Error::MapKey`]: the changes before the one that fails are made.
    pub fn apply(
        &self,
        changes: &Changes,
        deletions_first: bool,
        mut progress: impl FnMut(usize),
    ) -> Result<()> {
        if deletions_first {
            self.remove_all(&changes.deleted, &mut progress)?;
        }
        self.set_all(&changes.added, &mut progress)?;
        self.set_all(&changes.changed, &mut progress)?;
        if deletions_first || changes.deleted.is_empty() {
            return Ok(());
        }
        // Without it, a look-up could pass the place of an added entry before it is there, and reach
        // that of a deleted one after it is gone.
        machine::wait_for_bpf_readers();
        self.remove_all(&changes.deleted, &mut progress)
    }

    fn set_all(&self, mappings: &[Mapping], progress: &mut impl FnMut(usize)) -> Result<()> {
        for chunk in mappings.chunks(CHUNK) {
            let keys: Vec<_> = chunk.iter().map(|mapping| key_of(&mapping.prefix)).collect();
            let values: Vec<_> = chunk.iter().map(value_of).collect();
            let set = self.map.set_all(&keys, &values);
            self.end_caches();
            set?;
            progress(chunk.len());
        }
        Ok(())
    }

    fn remove_all(&self, prefixes: &[Prefix], progress: &mut impl FnMut(usize)) -> Result<()> {
        for chunk in prefixes.chunks(CHUNK) {
            let keys: Vec<_> = chunk.iter().map(key_of).collect();
            // What somebody else has deleted meanwhile is as it should be.
            let removed = self.map.remove_all(&keys);
            self.end_caches();
            removed?;
            progress(chunk.len());
        }
        Ok(())
    }

    fn end_caches(&self) {
        const GENERATION: usize = std::mem::offset_of!(Control, generation) / 8;
        let word = self.control.as_ref().and_then(|control| control.word(GENERATION));
        if let Some(generation) = word {
            generation.fetch_add(1, Ordering::Release);
        }
    }
}
