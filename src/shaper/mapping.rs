// SPDX-License-Identifier: GPL-2.0-only
//! Reads and changes the mapping, `map_ip_hash`. Each change raises the generation in `cpp_control`, which
//! ends the packet path's caches.

use std::sync::atomic::Ordering;

use crate::abi::{maps, Control, IpMapping, IpPrefix};
use crate::domain::error::{Error, Result};
use crate::domain::{Mapping, Prefix, TcHandle};
use crate::kernel::machine;
use crate::kernel::map::Map;
use crate::kernel::memory::WritableArray;
use crate::kernel::pin::PinDir;
use crate::shaper::changes::Changes;

/// The pinned mapping.
pub struct Mappings {
    map: Map<IpPrefix, IpMapping>,
    /// The map `cpp_control`. `None` if a predecessor pinned the mapping: its programs have no cache.
    control: Option<WritableArray>,
}

fn key_of(prefix: &Prefix) -> IpPrefix {
    IpPrefix { prefixlen: prefix.prefixlen(), addr: prefix.addr() }
}

fn value_of(mapping: &Mapping) -> IpMapping {
    IpMapping { cpu: mapping.cpu, tc_handle: mapping.tc_handle.0 }
}

/// Number of entries that are changed before the generation is raised: a few milliseconds of work.
const CHUNK: usize = 8192;

impl Mappings {
    /// Opens the mapping.
    ///
    /// # Errors
    /// [`Error::MapFile`]: nothing is loaded.
    pub fn open(dir: &PinDir) -> Result<Self> {
        let map = dir.open(maps::IP_HASH)?;
        let control = dir.try_open(maps::CONTROL)?;
        let control = control.map(|handle| WritableArray::open(&handle)).transpose()?;
        Ok(Self { map, control })
    }

    /// Returns the largest number of entries.
    pub fn max_entries(&self) -> u32 {
        self.map.max_entries()
    }

    /// Adds an entry, or replaces the entry of the same prefix.
    ///
    /// # Errors
    /// [`Error::Map`]: the map is full. [`Error::MapKey`]: the kernel refuses the entry.
    pub fn set(&self, mapping: &Mapping) -> Result<()> {
        self.map.set(&key_of(&mapping.prefix), &value_of(mapping))?;
        self.end_caches();
        Ok(())
    }

    /// Deletes the entry of exactly this prefix.
    ///
    /// # Errors
    /// [`Error::MapKey`]: there is no such entry.
    pub fn remove(&self, prefix: &Prefix) -> Result<()> {
        if !self.map.remove(&key_of(prefix))? {
            let remedy = "xdp_iphash_to_cpu_cmdline --list shows what is mapped";
            return Err(Error::map_key(format!("delete {prefix}"), "it is not mapped", remedy));
        }
        self.end_caches();
        Ok(())
    }

    /// Deletes all entries. Returns their number.
    ///
    /// # Errors
    /// [`Error::Map`] with the kernel's reason.
    pub fn clear(&self) -> Result<usize> {
        let removed = self.map.clear();
        self.end_caches();
        removed
    }

    /// Returns every entry once, sorted by prefix: by address, then by length.
    ///
    /// # Errors
    /// [`Error::Map`] with the kernel's reason.
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
        // A walk that starts again after a deletion sees entries twice. The last value is the newest.
        found.dedup_by(|later, first| {
            let same = later.prefix == first.prefix;
            if same {
                *first = *later;
            }
            same
        });
        Ok(found)
    }

    /// Makes many changes, in the order of [`Changes`], and calls `progress` with the number of entries of
    /// each step. A look-up meanwhile finds the old or the new entry, never none.
    ///
    /// `deletions_first` is for a map without room for old and new entries together: then look-ups may
    /// find no entry for a moment.
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
        // Without the wait, a look-up that runs now could pass the place of an added entry before the
        // addition, and reach the place of a deleted entry after the deletion, and so find neither.
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
            // The number of removed keys does not matter: another process may have deleted some.
            let removed = self.map.remove_all(&keys);
            self.end_caches();
            removed?;
            progress(chunk.len());
        }
        Ok(())
    }

    /// Raises the generation, so that the packet path looks up every cached address again.
    fn end_caches(&self) {
        const GENERATION: usize = std::mem::offset_of!(Control, generation) / 8;
        let word = self.control.as_ref().and_then(|control| control.word(GENERATION));
        if let Some(generation) = word {
            generation.fetch_add(1, Ordering::Release);
        }
    }
}
