// SPDX-License-Identifier: GPL-2.0-only
//! Facts about the running kernel and machine.

use std::ffi::c_int;
use std::io::Read;
use std::time::Duration;

use nix::libc;
use nix::time::{clock_getres, clock_gettime, ClockId};

use crate::domain::error::{Error, Result};

/// Returns the number of possible CPUs, including those that are offline: the size of every per-CPU map.
///
/// # Errors
/// [`Error::Other`]: the kernel's list of CPUs cannot be read.
pub fn possible_cpus() -> Result<u32> {
    let cpus = libbpf_rs::num_possible_cpus().map_err(|err| {
        Error::other("count the CPUs", err, "is /sys/devices/system/cpu/possible readable?")
    })?;
    u32::try_from(cpus).map_err(|err| Error::other("count the CPUs", err, ""))
}

/// Returns one more than the highest number of an online CPU: the CPUs that now need room in an array that
/// has a part for each CPU. A hypervisor may make many more CPUs possible than it ever starts.
///
/// # Errors
/// [`Error::Other`]: the kernel's list of CPUs cannot be read.
pub fn online_cpus() -> Result<u32> {
    const LIST: &str = "/sys/devices/system/cpu/online";
    let failed = |why: &dyn std::fmt::Display| {
        Error::other("count the online CPUs", why.to_string(), format!("is {LIST} readable?"))
    };
    let list = std::fs::read_to_string(LIST).map_err(|err| failed(&err))?;
    end_of_cpu_list(&list).ok_or_else(|| failed(&format!("it says '{}'", list.trim())))
}

/// Returns one more than the highest number in a list of CPUs such as `0-3,8`.
fn end_of_cpu_list(list: &str) -> Option<u32> {
    let numbers = list.trim().split([',', '-']).map(|number| number.parse::<u32>().ok());
    numbers.collect::<Option<Vec<u32>>>()?.into_iter().max()?.checked_add(1)
}

/// Returns the length of one jiffy in nanoseconds. It is the resolution of the coarse clock
/// (`KTIME_LOW_RES`, include/linux/hrtimer.h).
///
/// # Errors
/// [`Error::Other`]: the kernel does not know the clock.
pub fn jiffy_ns() -> Result<u32> {
    let resolution = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)
        .map_err(|err| Error::other("read the resolution of the coarse clock", err, ""))?;
    u32::try_from(resolution.tv_nsec())
        .ok()
        .filter(|ns| *ns > 0)
        .ok_or_else(|| Error::other("read the resolution of the coarse clock", "it is 0", ""))
}

/// Returns the clock of `bpf_ktime_get_ns()`: nanoseconds since boot, without the time in suspend.
///
/// # Errors
/// [`Error::Other`]: the kernel does not know the clock.
pub fn ktime_ns() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_err(|err| Error::other("read the monotonic clock", err, ""))?;
    Ok(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

/// Returns 64 random bits.
///
/// # Errors
/// [`Error::Other`]: /dev/urandom cannot be read.
pub fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(|err| Error::other("read /dev/urandom", err, ""))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Waits until every BPF program and every map look-up that is running now has ended: one RCU grace
/// period, about 10 ms. Sleeps 50 ms on kernels that refuse the system call (nohz_full).
pub fn wait_for_bpf_readers() {
    /// include/uapi/linux/membarrier.h
    const MEMBARRIER_CMD_GLOBAL: c_int = 1;
    // SAFETY: the call takes no pointers and changes no memory.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if done != 0 {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Returns hour, minute and second of a Unix time, in the time zone of `TZ` or of the machine. Returns
/// UTC if the year does not fit into `struct tm`.
pub fn local_time(unix_seconds: i64) -> [u8; 3] {
    let mut parts = libc::tm {
        tm_hour: (unix_seconds.rem_euclid(86_400) / 3600) as c_int,
        tm_min: (unix_seconds.rem_euclid(3600) / 60) as c_int,
        tm_sec: unix_seconds.rem_euclid(60) as c_int,
        tm_mday: 0,
        tm_mon: 0,
        tm_year: 0,
        tm_wday: 0,
        tm_yday: 0,
        tm_isdst: 0,
        tm_gmtoff: 0,
        tm_zone: std::ptr::null(),
    };
    let seconds = unix_seconds as libc::time_t;
    // SAFETY: both pointers are to local variables; nothing reads tm_zone. On failure the call writes
    // nothing, and `parts` keeps UTC.
    unsafe { libc::localtime_r(&raw const seconds, &raw mut parts) };
    [parts.tm_hour, parts.tm_min, parts.tm_sec].map(|part| part as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_cpu_of_a_list_counts() {
        for (list, end) in
            [("0\n", Some(1)), ("0-3\n", Some(4)), ("0-1,4-7,64\n", Some(65)), ("2,0-1", Some(3))]
        {
            assert_eq!(end_of_cpu_list(list), end, "{list:?}");
        }
        for list in ["", "\n", "all", "0-", "4294967295"] {
            assert_eq!(end_of_cpu_list(list), None, "{list:?}");
        }
    }

    #[test]
    fn online_cpus_are_possible() {
        assert!((1..=possible_cpus().unwrap()).contains(&online_cpus().unwrap()));
    }
}
