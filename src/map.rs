//! Typed access to pinned maps: single entries, whole maps, and memory-mapped arrays.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use nix::errno::Errno;
use nix::sys::mman::{mmap, munmap, MapFlags as MmapFlags, ProtFlags};
use plain::Plain;

use crate::abi::{as_bytes, from_bytes};
use crate::error::{Error, Result};

/// Entries fetched with one system call at first.
const BATCH: usize = 4096;

/// A map with keys and values of known types. A value may be of another size than `V` only where
/// the map was made by somebody else; [`pin`](crate::pin) refuses such maps.
pub struct Map<K, V> {
    handle: MapHandle,
    name: &'static str,
    types: PhantomData<(K, V)>,
}

impl<K: Plain + Default + Clone, V: Plain + Default> Map<K, V> {
    /// Takes an open map. `name` is for messages.
    pub fn new(name: &'static str, handle: MapHandle) -> Self {
        Self { handle, name, types: PhantomData }
    }

    /// Upper limit of entries.
    pub fn max_entries(&self) -> u32 {
        self.handle.max_entries()
    }

    /// The file descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// The value of `key`, if there is one.
    ///
    /// # Errors
    /// [`Error::Map`] with the kernel's reason.
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        self.handle
            .lookup(as_bytes(key), MapFlags::ANY)
            .map(|found| found.map(|bytes| from_bytes(&bytes)))
            .map_err(|err| Error::map(format!("read {}", self.name), err, ""))
    }

    /// Sets the value of `key`, adding or replacing it.
    ///
    /// # Errors
    /// [`Error::Map`] when the map is full, [`Error::MapKey`] when the kernel refuses the key.
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

    /// The system call: libbpf-rs does not tell "full" from other failures.
    fn update(&self, key: &[u8], value: &[u8]) -> std::result::Result<(), Errno> {
        let sizes = (self.handle.key_size() as usize, self.handle.value_size() as usize);
        if sizes != (key.len(), value.len()) {
            return Err(Errno::EINVAL);
        }
        let fd = self.handle.as_fd().as_raw_fd();
        let (key, value) = (key.as_ptr().cast(), value.as_ptr().cast());
        // SAFETY: an open map, and a key and a value of its sizes that outlive the call.
        match unsafe { libbpf_sys::bpf_map_update_elem(fd, key, value, 0) } {
            0 => Ok(()),
            err => Err(Errno::from_raw(-err)),
        }
    }

    /// Removes `key`. False: it was not there.
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

    /// Calls `visit` with every entry, a batch at a time. Entries that writers add or remove
    /// meanwhile may be seen or not; those that stay are seen once.
    ///
    /// libbpf-rs's `lookup_batch` takes a short batch for the last one and loses entries, so this
    /// goes to the system call: on until ENOENT, with a larger buffer on ENOSPC (a bucket that does
    /// not fit).
    ///
    /// # Errors
    /// [`Error::Map`] with the kernel's reason.
    pub fn walk(&self, mut visit: impl FnMut(&K, &V)) -> Result<()> {
        let (key_size, value_size) = (size_of::<K>(), size_of::<V>());
        let mut room = BATCH.min(self.max_entries() as usize).max(1);
        let mut keys = vec![0; room * key_size];
        let mut values = vec![0; room * value_size];
        // A hash map's position is 4 bytes, any other map's is its last key.
        let mut position: Option<Vec<u8>> = None;
        loop {
            let mut next = vec![0; key_size.max(4)];
            let (count, end) =
                match self.batch(position.as_deref(), &mut next, &mut keys, &mut values, room) {
                    Err(Errno::ENOSPC) => {
                        room *= 2;
                        keys.resize(room * key_size, 0);
                        values.resize(room * value_size, 0);
                        continue;
                    }
                    result => {
                        result.map_err(|err| Error::map(format!("read {}", self.name), err, ""))?
                    }
                };
            let found = keys.chunks_exact(key_size).zip(values.chunks_exact(value_size));
            for (key, value) in found.take(count) {
                visit(&from_bytes(key), &from_bytes(value));
            }
            if end {
                return Ok(());
            }
            position = Some(next);
        }
    }

    /// One batch: how many entries came, and whether they were the last.
    fn batch(
        &self,
        position: Option<&[u8]>,
        next: &mut [u8],
        keys: &mut [u8],
        values: &mut [u8],
        room: usize,
    ) -> std::result::Result<(usize, bool), Errno> {
        let mut count = room as u32;
        let from = position.map_or(std::ptr::null(), <[u8]>::as_ptr);
        // SAFETY: all buffers outlive the call; `next` holds a position of the map's key size (at
        // least 4 bytes), keys and values hold `room` entries of the map's sizes each.
        let result = unsafe {
            libbpf_sys::bpf_map_lookup_batch(
                self.handle.as_fd().as_raw_fd(),
                from as *mut c_void,
                next.as_mut_ptr().cast(),
                keys.as_mut_ptr().cast(),
                values.as_mut_ptr().cast(),
                &mut count,
                std::ptr::null(),
            )
        };
        match result {
            0 => Ok((count as usize, false)),
            err if err == -(Errno::ENOENT as i32) => Ok((count as usize, true)),
            err => Err(Errno::from_raw(-err)),
        }
    }

    /// Removes every entry; the number removed.
    ///
    /// # Errors
    /// [`Error::Map`] with the kernel's reason.
    pub fn clear(&self) -> Result<usize> {
        let mut keys = Vec::new();
        self.walk(|key, _| keys.push(key.clone()))?;
        let mut removed = 0;
        for key in &keys {
            removed += usize::from(self.remove(key)?);
        }
        Ok(removed)
    }
}

/// An array map made with `BPF_F_MMAPABLE`, seen as memory: no system call to read it, and its
/// 64-bit words can be changed atomically beside the BPF programs.
pub struct MappedArray {
    memory: NonNull<c_void>,
    len: usize,
}

impl MappedArray {
    /// Maps the whole array of `handle`.
    ///
    /// # Errors
    /// [`Error::Map`]: the map was made without the flag, or memory is short.
    pub fn new(handle: &MapHandle, writable: bool) -> Result<Self> {
        let stride = (handle.value_size() as usize).next_multiple_of(8);
        let len = stride * handle.max_entries() as usize;
        let failed = |why: Errno| Error::map("map an array's memory", why, "");
        let size = NonZeroUsize::new(len).ok_or_else(|| failed(Errno::EINVAL))?;
        let mut protection = ProtFlags::PROT_READ;
        protection.set(ProtFlags::PROT_WRITE, writable);
        // SAFETY: a fresh shared mapping at an address that the kernel chooses.
        let memory = unsafe {
            mmap(None, size, protection, MmapFlags::MAP_SHARED, handle.as_fd(), 0)
                .map_err(failed)?
        };
        Ok(Self { memory, len })
    }

    /// The 64-bit word number `index`, as an atomic: BPF programs write beside us.
    ///
    /// `None` beyond the end. Storing needs a writable mapping.
    pub fn word(&self, index: usize) -> Option<&std::sync::atomic::AtomicU64> {
        if (index + 1) * 8 > self.len {
            return None;
        }
        // SAFETY: in bounds, aligned (the mapping starts on a page), and alive as long as self;
        // all access from this process goes through atomics.
        Some(unsafe { &*self.memory.as_ptr().cast::<std::sync::atomic::AtomicU64>().add(index) })
    }
}

impl Drop for MappedArray {
    fn drop(&mut self) {
        // SAFETY: exactly what new() mapped; every borrow of it has ended.
        let _ = unsafe { munmap(self.memory, self.len) };
    }
}
