//! What the kernel knows of a program: run time, runs, and its maps.

use std::os::fd::{FromRawFd, OwnedFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::systems::{raw, Hook, System};
use crate::Result;

/// `kernel.bpf_stats_enabled`, as long as this lives.
pub struct BpfStats {
    _fd: OwnedFd,
}

impl BpfStats {
    /// Switches it on.
    pub fn enable() -> Result<Self> {
        // SAFETY: plain system call that returns a new descriptor.
        let fd = unsafe { libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME) };
        if fd < 0 {
            return Err(format!("enable BPF statistics: errno {}", -fd).into());
        }
        // SAFETY: the descriptor is new and owned by nobody else.
        Ok(Self { _fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }
}

/// Time and runs of a program or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Runs {
    /// Run time.
    pub ns: u64,
    /// Runs.
    pub count: u64,
}

impl Runs {
    /// Mean time of a run.
    pub fn ns_per_run(self) -> f64 {
        self.ns as f64 / self.count.max(1) as f64
    }
}

fn info(
    program: &OwnedFd,
    mut info: libbpf_sys::bpf_prog_info,
) -> Result<libbpf_sys::bpf_prog_info> {
    let mut len = size_of_val(&info) as u32;
    // SAFETY: an open program; info is a struct of `len` bytes whose buffers outlive the call.
    let err = unsafe { libbpf_sys::bpf_prog_get_info_by_fd(raw(program), &mut info, &mut len) };
    match err {
        0 => Ok(info),
        err => Err(format!("look at a program: errno {}", -err).into()),
    }
}

fn runs(program: &OwnedFd) -> Result<Runs> {
    let info = info(program, Default::default())?;
    Ok(Runs { ns: info.run_time_ns, count: info.run_cnt })
}

/// Runs of a system's programs, in their order.
pub fn of_system(system: &System) -> Result<Vec<Runs>> {
    system.programs.iter().map(|placed| runs(&placed.program)).collect()
}

/// What happened between two looks, over the programs that `wanted` picks.
pub fn between(
    system: &System,
    before: &[Runs],
    after: &[Runs],
    wanted: impl Fn(Hook, &str) -> bool,
) -> Runs {
    let mut sum = Runs::default();
    for ((placed, before), after) in system.programs.iter().zip(before).zip(after) {
        if wanted(placed.hook, placed.device) {
            sum.ns += after.ns - before.ns;
            sum.count += after.count - before.count;
        }
    }
    sum
}

/// The .rodata that a program was loaded with.
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
