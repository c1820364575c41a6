// SPDX-License-Identifier: GPL-2.0-only
//! Array maps with the flag `BPF_F_MMAPABLE`, mapped into memory: reading an entry takes no system call.
//!
//! A mapping keeps its map alive, also after the map's descriptor is closed. BPF programs write to the
//! memory at any time, so this process accesses it through atomics only.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{fence, AtomicU64, Ordering};

use libbpf_rs::{MapCore, MapHandle};
use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use plain::Plain;

use crate::abi::from_bytes;
use crate::domain::error::{Cause, Error, Result};

// Rust allows relaxed loads from read-only memory up to the size of a register
// (std::sync::atomic, "Atomic accesses to read-only memory").
const _: () = assert!(cfg!(target_pointer_width = "64"), "a 64-bit load may write on this target");

/// An array map in read-only memory.
pub struct MappedArray {
    memory: MmapRaw,
}

impl MappedArray {
    /// Maps the whole array into memory, for reading.
    ///
    /// # Errors
    /// [`Error::Map`] if the map was made without `BPF_F_MMAPABLE`, or if memory is short.
    pub fn open(handle: &MapHandle) -> Result<Self> {
        let options = whole_array(handle)?;
        let memory = options.map_raw_read_only(handle.as_fd().as_raw_fd()).map_err(failed)?;
        Ok(Self { memory })
    }

    /// Loads the 64-bit word with this index; returns `None` beyond the end. The load has acquire
    /// semantics: later loads return values at least as new.
    pub fn load(&self, index: usize) -> Option<u64> {
        if index >= self.memory.len() / size_of::<u64>() {
            return None;
        }
        let words = self.memory.as_ptr().cast::<AtomicU64>();
        // SAFETY: the word is in bounds, aligned (the mapping starts on a page) and mapped as long as
        // `self` lives. The memory is read-only, so this is not `AtomicU64::from_ptr`, which demands
        // writable memory; a relaxed load is the only access.
        let word = unsafe { &*words.add(index) }.load(Ordering::Relaxed);
        // Read-only memory allows no load with Ordering::Acquire: the fence has its effect.
        fence(Ordering::Acquire);
        Some(word)
    }

    /// Reads the element with this index, one word at a time: a program may change it between two
    /// words. `T` is the type of the map's values. Returns `None` beyond the end.
    pub fn read<T: Plain + Default>(&self, index: usize) -> Option<T> {
        let words = size_of::<T>().div_ceil(size_of::<u64>());
        let first = index.checked_mul(words)?;
        let word = |at| self.load(first + at).map(u64::to_ne_bytes);
        let bytes: Option<Vec<[u8; 8]>> = (0..words).map(word).collect();
        bytes.map(|bytes| from_bytes(bytes.as_flattened()))
    }
}

/// An array map in memory that this process may write to.
pub struct WritableArray {
    memory: MmapRaw,
}

impl WritableArray {
    /// Maps the whole array into memory, for reading and writing.
    ///
    /// # Errors
    /// As [`MappedArray::open`].
    pub fn open(handle: &MapHandle) -> Result<Self> {
        let options = whole_array(handle)?;
        let memory = options.map_raw(handle.as_fd().as_raw_fd()).map_err(failed)?;
        Ok(Self { memory })
    }

    /// Returns the 64-bit word with this index; `None` beyond the end.
    pub fn word(&self, index: usize) -> Option<&AtomicU64> {
        if index >= self.memory.len() / size_of::<u64>() {
            return None;
        }
        // SAFETY: the word is in bounds, aligned (the mapping starts on a page), writable, and mapped
        // as long as `self` lives; this process accesses it through atomics only.
        Some(unsafe { AtomicU64::from_ptr(self.memory.as_mut_ptr().cast::<u64>().add(index)) })
    }
}

/// Returns options that map every element of the array. The kernel places elements at multiples of 8
/// bytes (kernel/bpf/arraymap.c).
fn whole_array(handle: &MapHandle) -> Result<MmapOptions> {
    let stride = (handle.value_size() as usize).next_multiple_of(8);
    let len = stride * handle.max_entries() as usize;
    if len == 0 {
        return Err(failed(Errno::EINVAL.into()));
    }
    let mut options = MmapOptions::new();
    options.len(len);
    Ok(options)
}

fn failed(err: io::Error) -> Error {
    // An Errno, because the messages of all system calls show its name.
    let why: Cause = match err.raw_os_error() {
        Some(code) => Errno::from_raw(code).into(),
        None => err.into(),
    };
    Error::map("map an array into memory", why, "")
}
