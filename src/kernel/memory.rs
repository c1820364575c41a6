// SPDX-License-Identifier: GPL-2.0-only
//! Array maps that were made with `BPF_F_MMAPABLE`, seen as memory: reading them takes no system call.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{fence, AtomicU64, Ordering};

use libbpf_rs::{MapCore, MapHandle};
use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use plain::Plain;

use crate::abi::from_bytes;
use crate::domain::error::{Error, Result};

/// An array map as memory that this process reads, word by word, while BPF programs write it.
pub struct MappedArray {
    memory: MmapRaw,
}

impl MappedArray {
    /// Maps the whole array of `handle` for reading.
    ///
    /// # Errors
    /// [`Error::Map`]: the map was made without the flag, or memory is short.
    pub fn open(handle: &MapHandle) -> Result<Self> {
        let options = options(handle)?;
        let memory = options.map_raw_read_only(handle.as_fd().as_raw_fd()).map_err(failed)?;
        Ok(Self { memory })
    }

    /// Loads the 64-bit word number `index`; `None` beyond the end. Nothing that the program reads
    /// afterwards is older.
    pub fn load(&self, index: usize) -> Option<u64> {
        if (index + 1) * 8 > self.memory.len() {
            return None;
        }
        // SAFETY: in bounds, aligned (the mapping starts on a page) and alive as long as self. A
        // relaxed load of 64 bits is what Rust allows on read-only memory; the fence orders it.
        let word =
            unsafe { AtomicU64::from_ptr(self.memory.as_mut_ptr().cast::<u64>().add(index)) }
                .load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        Some(word)
    }

    /// Reads element number `index`, word by word, while others write it; `None` beyond the end.
    pub fn read<T: Plain + Default>(&self, index: usize) -> Option<T> {
        let words = size_of::<T>().div_ceil(8);
        let word = |at| self.load(index * words + at).map(u64::to_ne_bytes);
        let bytes: Option<Vec<[u8; 8]>> = (0..words).map(word).collect();
        bytes.map(|bytes| from_bytes(bytes.as_flattened()))
    }
}

/// An array map as memory that this process changes, too.
pub struct WritableArray {
    memory: MmapRaw,
}

impl WritableArray {
    /// Maps the whole array of `handle` for reading and writing.
    ///
    /// # Errors
    /// As [`MappedArray::open`].
    pub fn open(handle: &MapHandle) -> Result<Self> {
        let options = options(handle)?;
        let memory = options.map_raw(handle.as_fd().as_raw_fd()).map_err(failed)?;
        Ok(Self { memory })
    }

    /// Returns the 64-bit word number `index`, as an atomic: BPF programs write beside this process.
    /// `None` beyond the end.
    pub fn word(&self, index: usize) -> Option<&AtomicU64> {
        if (index + 1) * 8 > self.memory.len() {
            return None;
        }
        // SAFETY: in bounds, aligned (the mapping starts on a page), writable, and alive as long as
        // self; all access from this process goes through atomics.
        Some(unsafe { AtomicU64::from_ptr(self.memory.as_mut_ptr().cast::<u64>().add(index)) })
    }
}

/// The kernel places array elements at multiples of 8 bytes (kernel/bpf/arraymap.c).
fn options(handle: &MapHandle) -> Result<MmapOptions> {
    let stride = (handle.value_size() as usize).next_multiple_of(8);
    let len = stride * handle.max_entries() as usize;
    if len == 0 {
        return Err(failed(Errno::EINVAL.into()));
    }
    let mut options = MmapOptions::new();
    options.len(len);
    Ok(options)
}

fn failed(why: std::io::Error) -> Error {
    // As everywhere else, the kernel's errno is the cause.
    let why = Errno::from_raw(why.raw_os_error().unwrap_or(0));
    Error::map("map an array's memory", why, "")
}
