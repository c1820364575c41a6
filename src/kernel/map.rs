// SPDX-License-Identifier: GPL-2.0-only
//! Typed access to pinned maps: single entries, and whole maps.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use nix::errno::Errno;
use plain::Plain;

use crate::abi::{as_bytes, from_bytes};
use crate::domain::error::{Error, Result};

/// Bytes fetched with one system call at first: few enough to stay in a CPU's cache until they are
/// visited.
const BATCH_BYTES: usize = 1 << 18;
/// include/linux/errno.h: the map's type knows no batches.
const ENOTSUPP: i32 = 524;

/// A map with keys and values of known types. A value may be of another size than `V` only where
/// the map was made by somebody else; [`pin`](crate::kernel::pin) refuses such maps.
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

    /// The map itself.
    pub fn handle(&self) -> &MapHandle {
        &self.handle
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
    /// meanwhile may be seen or not; those that stay are seen, in a hash map once. A trie starts
    /// again when the entry is removed that a batch ended with.
    ///
    /// # Errors
    /// [`Error::Map`] with the kernel's reason.
    pub fn walk(&self, mut visit: impl FnMut(&K, &V)) -> Result<()> {
        let mut cursor = self.cursor()?;
        let mut batch = Batch::default();
        while cursor.fetch(&mut batch)? {
            batch.entries().for_each(|(key, value)| visit(key, value));
        }
        Ok(())
    }

    /// Collects what `visit` makes of every entry, in no order, on two CPUs if there are: one
    /// fetches while the other visits. Sees what [`walk`](Self::walk) sees.
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
            let mut batch = Batch::default();
            let mut found = Vec::new();
            while cursor.lock().unwrap_or_else(PoisonError::into_inner).fetch(&mut batch)? {
                found.extend(batch.entries().filter_map(|(key, value)| visit(key, value)));
            }
            Ok(found)
        };
        thread::scope(|scope| {
            // Without a second thread, the first does it all.
            let second = thread::Builder::new().spawn_scoped(scope, work);
            let mut found = work()?;
            if let Ok(second) = second {
                found.extend(second.join().unwrap_or_else(|panic| resume_unwind(panic))?);
            }
            Ok(found)
        })
    }

    /// At the first entry.
    fn cursor(&self) -> Result<Cursor<'_, K, V>> {
        self.check_sizes()?;
        // A hash map's position is 4 bytes, any other map's is its last key.
        let next = vec![0; size_of::<K>().max(4)];
        Ok(Cursor { map: self, position: None, next, end: false })
    }

    /// Sets many entries in the order given, adding or replacing, with as few system calls as the
    /// kernel allows. What readers see is the same as with [`set`](Self::set): every entry changes
    /// from old to new at once.
    ///
    /// # Errors
    /// As [`set`](Self::set); the entries before the one that fails are set.
    pub fn set_all(&self, keys: &[K], values: &[V]) -> Result<()> {
        self.check_sizes()?;
        let len = keys.len().min(values.len());
        let batch = |range: Range<usize>, count: &mut u32| {
            let (keys, values) = (&keys[range.clone()], &values[range]);
            // SAFETY: both slices hold `count` entries of the map's sizes (check_sizes) and outlive
            // the call, which only reads them.
            unsafe {
                libbpf_sys::bpf_map_update_batch(
                    self.raw_fd(),
                    keys.as_ptr().cast(),
                    values.as_ptr().cast(),
                    count,
                    std::ptr::null(),
                )
            }
        };
        in_batches(len, batch, |index| self.set(&keys[index], &values[index]))
    }

    /// Removes many keys in the order given, with as few system calls as the kernel allows; the
    /// number of those that were there.
    ///
    /// # Errors
    /// [`Error::Map`] with the kernel's reason; the keys before the one that fails are removed.
    pub fn remove_all(&self, keys: &[K]) -> Result<usize> {
        self.check_sizes()?;
        let batch = |range: Range<usize>, count: &mut u32| {
            // SAFETY: the slice holds `count` keys of the map's size (check_sizes) and outlives the
            // call, which only reads it.
            unsafe {
                libbpf_sys::bpf_map_delete_batch(
                    self.raw_fd(),
                    keys[range].as_ptr().cast(),
                    count,
                    std::ptr::null(),
                )
            }
        };
        let mut absent = 0;
        in_batches(keys.len(), batch, |index| {
            absent += usize::from(!self.remove(&keys[index])?);
            Ok(())
        })?;
        Ok(keys.len() - absent)
    }

    /// Removes every entry; the number removed.
    ///
    /// # Errors
    /// [`Error::Map`] with the kernel's reason.
    pub fn clear(&self) -> Result<usize> {
        let mut keys = Vec::new();
        self.walk(|key, _| keys.push(key.clone()))?;
        self.remove_all(&keys)
    }

    fn raw_fd(&self) -> i32 {
        self.handle.as_fd().as_raw_fd()
    }

    /// The kernel copies as many bytes as the map's sizes say, whatever the buffers hold.
    fn check_sizes(&self) -> Result<()> {
        let map = &self.handle;
        let (key_size, value_size) = (map.key_size() as usize, map.value_size() as usize);
        if (key_size, value_size) == (size_of::<K>(), size_of::<V>()) && !map.map_type().is_percpu()
        {
            return Ok(());
        }
        let why = format!("its keys are of {key_size} bytes, its values of {value_size}");
        Err(Error::map(format!("use {}", self.name), why, ""))
    }
}

/// Entries as one system call fetches them.
struct Batch<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
    count: usize,
}

impl<K, V> Default for Batch<K, V> {
    fn default() -> Self {
        Self { keys: Vec::new(), values: Vec::new(), count: 0 }
    }
}

impl<K: Default, V: Default> Batch<K, V> {
    fn make_room(&mut self, len: usize) {
        (self.keys, self.values) = (zeroes(len), zeroes(len));
    }

    fn entries(&self) -> impl Iterator<Item = (&K, &V)> {
        self.keys.iter().zip(&self.values).take(self.count)
    }
}

/// How far a walk is.
///
/// libbpf-rs's `lookup_batch` takes a short batch for the last one and loses entries, so this goes
/// to the system call: on until ENOENT, with a larger buffer on ENOSPC (a bucket that does not fit).
struct Cursor<'a, K, V> {
    map: &'a Map<K, V>,
    position: Option<Vec<u8>>,
    next: Vec<u8>,
    end: bool,
}

impl<K: Plain + Default + Clone, V: Plain + Default> Cursor<'_, K, V> {
    /// Fetches what comes next; false at the end.
    fn fetch(&mut self, batch: &mut Batch<K, V>) -> Result<bool> {
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

    fn lookup_batch(&mut self, batch: &mut Batch<K, V>) -> std::result::Result<(), Errno> {
        let mut count = batch.keys.len() as u32;
        let from = self.position.as_ref().map_or(std::ptr::null(), |position| position.as_ptr());
        // SAFETY: all buffers outlive the call; `next` holds a position of the map's key size (at
        // least 4 bytes), keys and values hold `count` entries of the map's sizes each
        // (check_sizes), and any bytes are a value of a Plain type.
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
        match Errno::from_raw(-result) {
            Errno::ENOENT => self.end = true,
            err if result != 0 => return Err(err),
            _ => {}
        }
        batch.count = count as usize;
        let next = &self.next;
        self.position.get_or_insert_with(|| next.clone()).copy_from_slice(next);
        Ok(())
    }
}

fn zeroes<T: Default>(len: usize) -> Vec<T> {
    std::iter::repeat_with(T::default).take(len).collect()
}

/// Works through `len` entries. `batch` is one of the kernel's batch calls on a range: libbpf's
/// result, and how many entries it did. The entry that stops a batch is for `single`: it says why,
/// or does it all the same (the kernel's allocator can run dry for a moment, an absent key does not
/// matter); then the batches go on. Where the kernel knows no batches, all entries are for `single`.
fn in_batches(
    len: usize,
    batch: impl Fn(Range<usize>, &mut u32) -> i32,
    mut single: impl FnMut(usize) -> Result<()>,
) -> Result<()> {
    let mut done = 0;
    let mut supported = true;
    while done < len {
        if supported {
            let asked = (len - done) as u32;
            let mut count = asked;
            let result = batch(done..len, &mut count);
            if result == 0 {
                return Ok(());
            }
            // A call refused as a whole can leave the count as it was.
            done += if count < asked { count as usize } else { 0 };
            supported = ![ENOTSUPP, Errno::EINVAL as i32].contains(&-result);
        }
        single(done)?;
        done += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// A kernel that stops at certain entries, or knows no batches: which entries came, and how.
    fn run(len: usize, stops: &[usize], refuses: Option<i32>) -> (Vec<usize>, Vec<usize>) {
        let batched = RefCell::new(Vec::new());
        let mut singles = Vec::new();
        let batch = |range: Range<usize>, count: &mut u32| match refuses {
            Some(errno) => -errno,
            None => {
                let stop = range.clone().find(|index| stops.contains(index));
                let done = range.start..stop.unwrap_or(range.end);
                *count = done.len() as u32;
                batched.borrow_mut().extend(done);
                if stop.is_some() {
                    -(Errno::ENOENT as i32)
                } else {
                    0
                }
            }
        };
        in_batches(len, batch, |index| {
            singles.push(index);
            Ok(())
        })
        .unwrap();
        (batched.into_inner(), singles)
    }

    #[test]
    fn every_entry_comes_once_whatever_stops_a_batch() {
        assert_eq!(run(0, &[], None), (vec![], vec![]));
        assert_eq!(run(4, &[], None), (vec![0, 1, 2, 3], vec![]));
        assert_eq!(run(4, &[0, 2], None), (vec![1, 3], vec![0, 2]));
        assert_eq!(run(3, &[2], None), (vec![0, 1], vec![2]));
    }

    #[test]
    fn without_batches_all_are_single() {
        for errno in [ENOTSUPP, Errno::EINVAL as i32] {
            assert_eq!(run(3, &[], Some(errno)), (vec![], vec![0, 1, 2]));
        }
    }

    #[test]
    fn the_error_of_one_entry_ends_it() {
        let full = |index| match index {
            2 => Err(Error::map("write", "full", "")),
            _ => Ok(()),
        };
        let err = in_batches(5, |_, _| -(Errno::ENOMEM as i32), full).unwrap_err();
        assert_eq!(err.exit_code(), 20);
    }
}
