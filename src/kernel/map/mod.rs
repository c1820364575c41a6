// SPDX-License-Identifier: GPL-2.0-only
//! Typed access to BPF maps: single entries here, whole maps in `walk`, many changes in `bulk`.

mod bulk;
mod walk;

use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use nix::errno::Errno;
use plain::Plain;

use crate::abi::{as_bytes, from_bytes};
use crate::domain::error::{Error, Result};
use crate::kernel::errno::{check, KernelResult};

/// A map with keys of type `K` and values of type `V`. [`pin`](crate::kernel::pin) refuses to open a
/// map whose entries have other sizes.
pub struct Map<K, V> {
    handle: MapHandle,
    name: &'static str,
    types: PhantomData<(K, V)>,
}

impl<K: Plain + Default + Clone, V: Plain + Default> Map<K, V> {
    /// Takes an open map. `name` is the map's name in messages.
    pub fn new(name: &'static str, handle: MapHandle) -> Self {
        Self { handle, name, types: PhantomData }
    }

    /// Returns the largest number of entries that the map can hold.
    pub fn max_entries(&self) -> u32 {
        self.handle.max_entries()
    }

    /// Returns the untyped handle.
    pub fn handle(&self) -> &MapHandle {
        &self.handle
    }

    /// Returns the file descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// Returns the value of `key`; `None` if the map has no such key.
    ///
    /// # Errors
    /// [`Error::Map`] with the kernel's reason.
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        self.handle
            .lookup(as_bytes(key), MapFlags::ANY)
            .map(|found| found.map(|bytes| from_bytes(&bytes)))
            .map_err(|err| Error::map(format!("read {}", self.name), err, ""))
    }

    /// Sets the value of `key`: adds an entry or replaces its value.
    ///
    /// # Errors
    /// [`Error::Map`] if the map is full, [`Error::MapKey`] if the kernel refuses the key.
    pub fn set(&self, key: &K, value: &V) -> Result<()> {
        let what = || format!("write to {}", self.name);
        match self.update(as_bytes(key), as_bytes(value)) {
            Ok(()) => Ok(()),
            Err(Errno::ENOSPC) => {
                let why = format!("it is full ({} entries)", self.max_entries());
                Err(Error::map(what(), why, "remove entries, or rebuild the pinned map larger"))
            }
            Err(errno) => Err(Error::map_key(what(), errno, "")),
        }
    }

    /// Makes the system call. libbpf-rs cannot be used: its errors do not tell a full map from other
    /// failures.
    fn update(&self, key: &[u8], value: &[u8]) -> KernelResult<()> {
        let sizes = (self.handle.key_size() as usize, self.handle.value_size() as usize);
        if sizes != (key.len(), value.len()) || self.handle.map_type().is_percpu() {
            return Err(Errno::EINVAL);
        }
        let (key, value) = (key.as_ptr().cast(), value.as_ptr().cast());
        // SAFETY: the map is open; key and value have the map's sizes and outlive the call.
        check(unsafe { libbpf_sys::bpf_map_update_elem(self.raw_fd(), key, value, 0) })
    }

    /// Removes `key`. Returns false if the map has no such key.
    ///
    /// # Errors
    /// [`Error::Map`] with the kernel's reason.
    pub fn remove(&self, key: &K) -> Result<bool> {
        match self.handle.delete(as_bytes(key)) {
            Ok(()) => Ok(true),
            Err(err) if err.kind() == libbpf_rs::ErrorKind::NotFound => Ok(false),
            Err(err) => Err(Error::map(format!("delete from {}", self.name), err, "")),
        }
    }

    fn raw_fd(&self) -> i32 {
        self.handle.as_fd().as_raw_fd()
    }

    /// Checks that entries in the map have the sizes of `K` and `V`. The batch calls need this: the
    /// kernel copies as many bytes as the map's sizes say, whatever the buffers hold.
    fn check_sizes(&self) -> Result<()> {
        let map = &self.handle;
        let (key_size, value_size) = (map.key_size() as usize, map.value_size() as usize);
        if (key_size, value_size) == (size_of::<K>(), size_of::<V>()) && !map.map_type().is_percpu()
        {
            return Ok(());
        }
        let why = format!("it has {key_size}-byte keys and {value_size}-byte values");
        Err(Error::map(format!("use {}", self.name), why, ""))
    }
}
