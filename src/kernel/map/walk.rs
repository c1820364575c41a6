// SPDX-License-Identifier: GPL-2.0-only
//! Reads whole maps, many entries with each system call.
//!
//! libbpf-rs's `lookup_batch` takes a short batch for the last one and so loses entries of hash maps.
//! This module makes the system call itself: it reads on until ENOENT, and enlarges the buffer on
//! ENOSPC (a hash bucket that does not fit).

use std::ffi::c_void;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;

use nix::errno::Errno;
use plain::Plain;

use crate::domain::error::{Error, Result};
use crate::kernel::errno::{check, KernelResult};
use crate::kernel::map::Map;

/// Number of bytes that the first system call fetches: few enough to stay in a CPU's cache until the
/// entries are visited.
const BATCH_BYTES: usize = 1 << 18;

impl<K: Plain + Default + Clone, V: Plain + Default> Map<K, V> {
    /// Calls `visit` with every entry that is in the map during the whole walk: once in a hash map; once
    /// or more in a trie, where the walk starts again if the last entry of a batch is removed. An entry
    /// that is added or removed meanwhile may be visited or not.
    ///
    /// # Errors
    /// [`Error::Map`] with the kernel's reason.
    pub fn walk(&self, mut visit: impl FnMut(&K, &V)) -> Result<()> {
        let mut cursor = self.cursor()?;
        let mut batch = EntryBatch::default();
        while cursor.fetch(&mut batch)? {
            batch.entries().for_each(|(key, value)| visit(key, value));
        }
        Ok(())
    }

    /// Collects the results of `visit`, which is called with the entries that [`walk`](Self::walk)
    /// visits, in no order. Works on two threads: one fetches entries while the other visits them.
    ///
    /// # Errors
    /// [`Error::Map`] with the kernel's reason.
    pub fn collect<T: Send>(&self, visit: impl Fn(&K, &V) -> Option<T> + Sync) -> Result<Vec<T>>
    where
        K: Send + Sync,
        V: Send + Sync,
    {
        let cursor = Mutex::new(self.cursor()?);
        let work = || {
            let mut batch = EntryBatch::default();
            let mut found = Vec::new();
            while cursor.lock().unwrap_or_else(PoisonError::into_inner).fetch(&mut batch)? {
                found.extend(batch.entries().filter_map(|(key, value)| visit(key, value)));
            }
            Ok(found)
        };
        thread::scope(|scope| {
            // If no second thread can be started, the first does all the work.
            let second = thread::Builder::new().spawn_scoped(scope, work);
            let mut found = work()?;
            if let Ok(second) = second {
                found.extend(second.join().unwrap_or_else(|panic| resume_unwind(panic))?);
            }
            Ok(found)
        })
    }

    /// Returns a cursor at the first entry.
    fn cursor(&self) -> Result<MapCursor<'_, K, V>> {
        self.check_sizes()?;
        // The position in a hash map has 4 bytes; in any other map it is the last key.
        let next = vec![0; size_of::<K>().max(4)];
        Ok(MapCursor { map: self, position: None, next, end: false })
    }
}

/// The entries of one system call.
struct EntryBatch<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
    /// Number of entries that are filled.
    count: usize,
}

impl<K, V> Default for EntryBatch<K, V> {
    fn default() -> Self {
        Self { keys: Vec::new(), values: Vec::new(), count: 0 }
    }
}

impl<K: Default, V: Default> EntryBatch<K, V> {
    /// Replaces the buffers by buffers for `len` entries.
    fn make_room(&mut self, len: usize) {
        (self.keys, self.values) = (defaults(len), defaults(len));
    }

    fn entries(&self) -> impl Iterator<Item = (&K, &V)> {
        self.keys.iter().zip(&self.values).take(self.count)
    }
}

/// The position of a walk in its map.
struct MapCursor<'a, K, V> {
    map: &'a Map<K, V>,
    /// Position after the last batch, in the kernel's own form; `None` at the start.
    position: Option<Vec<u8>>,
    /// Buffer for the position after the next batch.
    next: Vec<u8>,
    /// The last batch was fetched.
    end: bool,
}

impl<K: Plain + Default + Clone, V: Plain + Default> MapCursor<'_, K, V> {
    /// Fetches the next entries. Returns false at the end of the map.
    fn fetch(&mut self, batch: &mut EntryBatch<K, V>) -> Result<bool> {
        if self.end {
            return Ok(false);
        }
        if batch.keys.is_empty() {
            let fits = BATCH_BYTES / (size_of::<K>() + size_of::<V>());
            batch.make_room(fits.min(self.map.max_entries() as usize).max(16));
        }
        loop {
            match self.lookup_batch(batch) {
                Ok(()) => return Ok(true),
                Err(Errno::ENOSPC) => batch.make_room(batch.keys.len() * 2),
                Err(err) => return Err(Error::map(format!("read {}", self.map.name), err, "")),
            }
        }
    }

    fn lookup_batch(&mut self, batch: &mut EntryBatch<K, V>) -> KernelResult<()> {
        let mut count = batch.keys.len() as u32;
        let from = self.position.as_ref().map_or(std::ptr::null(), |position| position.as_ptr());
        // SAFETY: all buffers outlive the call. `next` has room for a position: a key, at least 4
        // bytes. Keys and values have room for `count` entries of the map's sizes (check_sizes), and
        // any bytes are a Plain value. The kernel does not write to `from`.
        let result = unsafe {
            libbpf_sys::bpf_map_lookup_batch(
                self.map.raw_fd(),
                from as *mut c_void,
                self.next.as_mut_ptr().cast(),
                batch.keys.as_mut_ptr().cast(),
                batch.values.as_mut_ptr().cast(),
                &mut count,
                std::ptr::null(),
            )
        };
        match check(result) {
            Err(Errno::ENOENT) => self.end = true,
            other => other?,
        }
        batch.count = count as usize;
        let next = &self.next;
        self.position.get_or_insert_with(|| next.clone()).copy_from_slice(next);
        Ok(())
    }
}

fn defaults<T: Default>(len: usize) -> Vec<T> {
    std::iter::repeat_with(T::default).take(len).collect()
}
