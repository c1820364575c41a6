// SPDX-License-Identifier: GPL-2.0-only
//! Makes many changes of a map with few system calls.

use std::ops::Range;

use nix::errno::Errno;
use plain::Plain;

use crate::domain::error::Result;
use crate::kernel::map::Map;

/// `ENOTSUPP` of include/linux/errno.h: the type of the map has no batch calls.
const ENOTSUPP: i32 = 524;

impl<K: Plain + Default + Clone, V: Plain + Default> Map<K, V> {
    /// Sets many entries in the given order, with as few system calls as the kernel allows. Readers see
    /// the same as with [`set`](Self::set): each entry changes from old to new in one step.
    ///
    /// # Errors
    /// As [`set`](Self::set). The entries before the one that fails are set.
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

    /// Removes many keys in the given order, with as few system calls as the kernel allows. Returns the
    /// number of keys that were in the map.
    ///
    /// # Errors
    /// [`Error::Map`](crate::domain::error::Error::Map) with the kernel's reason. The keys before the
    /// one that fails are removed.
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

    /// Removes every entry. Returns the number of removed entries.
    ///
    /// # Errors
    /// [`Error::Map`](crate::domain::error::Error::Map) with the kernel's reason.
    pub fn clear(&self) -> Result<usize> {
        let mut keys = Vec::new();
        self.walk(|key, _| keys.push(key.clone()))?;
        self.remove_all(&keys)
    }
}

/// Processes `len` entries in their order.
///
/// `batch` makes one of the kernel's batch calls on a range of entries. It returns libbpf's result and
/// sets the count to the number of entries that were processed. `single` processes the entry at which a
/// batch stopped: it returns the error of that entry, or it succeeds, because the key was absent, or the
/// kernel's allocator was empty for a moment. After that, the batches go on. If the kernel has no batch
/// call for the map, `single` processes all entries.
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
            // A call that is refused as a whole may leave the count unchanged.
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
    use crate::domain::error::Error;
    use std::cell::RefCell;

    /// Runs `in_batches` with a kernel that stops at the entries `stops`, or that refuses every batch
    /// with the errno `refuses`. Returns the entries of the batches and the single entries.
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
    fn every_entry_is_processed_once_if_batches_stop() {
        assert_eq!(run(0, &[], None), (vec![], vec![]));
        assert_eq!(run(4, &[], None), (vec![0, 1, 2, 3], vec![]));
        assert_eq!(run(4, &[0, 2], None), (vec![1, 3], vec![0, 2]));
        assert_eq!(run(3, &[2], None), (vec![0, 1], vec![2]));
    }

    #[test]
    fn without_batch_calls_every_entry_is_single() {
        for errno in [ENOTSUPP, Errno::EINVAL as i32] {
            assert_eq!(run(3, &[], Some(errno)), (vec![], vec![0, 1, 2]));
        }
    }

    #[test]
    fn the_error_of_a_single_entry_is_returned() {
        let full = |index| match index {
            2 => Err(Error::map("write", "full", "")),
            _ => Ok(()),
        };
        let err = in_batches(5, |_, _| -(Errno::ENOMEM as i32), full).unwrap_err();
        assert_eq!(err.exit_code(), 20);
    }
}
