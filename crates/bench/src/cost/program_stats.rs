// SPDX-License-Identifier: GPL-2.0-only
//! The kernel's figures of a BPF program: run time, number of runs, and its .rodata.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::error::Result;

/// Keeps `kernel.bpf_stats_enabled` on until it is dropped.
pub struct BpfStats {
    _fd: OwnedFd,
}

impl BpfStats {
    /// Switches the statistics on.
    pub fn enable() -> Result<Self> {
        // SAFETY: plain system call that returns a new descriptor.
        let fd = unsafe { libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME) };
        if fd < 0 {
            return Err(format!("enable BPF statistics: errno {}", -fd).into());
        }
        // SAFETY: the descriptor is new, and nothing else owns it.
        Ok(Self { _fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }
}

/// Run time and number of runs of one program, or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Runs {
    /// Run time in nanoseconds.
    pub ns: u64,
    /// Number of runs.
    pub count: u64,
}

impl Runs {
    /// Returns the mean time of a run.
    pub fn ns_per_run(self) -> f64 {
        self.ns as f64 / self.count.max(1) as f64
    }
}

fn info(
    program: &OwnedFd,
    mut info: libbpf_sys::bpf_prog_info,
) -> Result<libbpf_sys::bpf_prog_info> {
    let mut len = size_of_val(&info) as u32;
    let fd = program.as_raw_fd();
    // SAFETY: an open program; info is a struct of `len` bytes whose buffers outlive the call.
    let err = unsafe { libbpf_sys::bpf_prog_get_info_by_fd(fd, &mut info, &mut len) };
    match err {
        0 => Ok(info),
        err => Err(format!("get the info of a program: errno {}", -err).into()),
    }
}

/// Returns run time and number of runs of a program.
pub fn runs(program: &OwnedFd) -> Result<Runs> {
    let info = info(program, Default::default())?;
    Ok(Runs { ns: info.run_time_ns, count: info.run_cnt })
}

/// Returns the .rodata with which a program was loaded.
pub fn rodata(program: &OwnedFd) -> Result<Vec<u8>> {
    let mut ids = [0u32; 64];
    let wanted = libbpf_sys::bpf_prog_info {
        nr_map_ids: ids.len() as u32,
        map_ids: ids.as_mut_ptr() as u64,
        ..Default::default()
    };
    let found = info(program, wanted)?.nr_map_ids as usize;
    for id in &ids[..found.min(ids.len())] {
        let map = MapHandle::from_map_id(*id)?;
        if map.name().to_string_lossy().ends_with(".rodata") {
            return map
                .lookup(&0u32.to_ne_bytes(), MapFlags::ANY)?
                .ok_or("an empty .rodata".into());
        }
    }
    Err("a program without .rodata".into())
}
