//! `map_ip_hash`: whose packets go where. Every change raises the generation in `cpp_control`, so
//! that the packet path's caches end with it.

use std::sync::atomic::Ordering;

use crate::abi::{IpMapping, IpPrefix};
use crate::error::{Error, Result};
use crate::loader::maps;
use crate::map::{Map, MappedArray};
use crate::pin::PinDir;
use crate::values::{Mapping, Prefix, TcHandle};

/// The pinned mapping, for readers and writers.
pub struct Mappings {
    map: Map<IpPrefix, IpMapping>,
    /// `None`: pinned by a predecessor whose programs keep no cache.
    control: Option<MappedArray>,
}

fn key_of(prefix: &Prefix) -> IpPrefix {
    IpPrefix { prefixlen: prefix.prefixlen(), addr: prefix.addr() }
}

impl Mappings {
    /// Opens it.
    ///
    /// # Errors
    /// [`Error::MapFile`]: nothing is loaded.
    pub fn open(dir: &PinDir) -> Result<Self> {
        let map = dir.open(maps::IP_HASH)?;
        let control = dir.try_open(maps::CONTROL)?;
        let control = control.map(|handle| MappedArray::new(&handle, true)).transpose()?;
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
        let Mapping { prefix, cpu, tc_handle } = mapping;
        self.map.set(&key_of(prefix), &IpMapping { cpu: *cpu, tc_handle: tc_handle.0 })?;
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

    /// Every entry, shortest prefix of the lowest address first.
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
        found.sort_by_key(|mapping| (mapping.prefix.addr(), mapping.prefix.prefixlen()));
        Ok(found)
    }

    fn end_caches(&self) {
        // Word 0 of struct control is the generation.
        if let Some(generation) = self.control.as_ref().and_then(|control| control.word(0)) {
            generation.fetch_add(1, Ordering::Release);
        }
    }
}
