// SPDX-License-Identifier: GPL-2.0-only
//! The kernel threads of a cpumap.

use std::fs;
use std::os::fd::AsFd;

use lab::scheduling::{run_ahead, RealtimePolicy};
use libbpf_rs::{MapHandle, MapInfo};

use crate::error::Result;

/// Lets the threads of a cpumap run ahead of ordinary threads. A shaper in production has its CPUs to
/// itself; on a busy machine the queues of the cpumap would overflow.
pub fn prefer(cpu_map: &MapHandle, policy: RealtimePolicy, priority: i32) -> Result<()> {
    let suffix = format!("/map:{}", MapInfo::new(cpu_map.as_fd())?.info.id);
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if comm.starts_with("cpumap/") && comm.trim_end().ends_with(&suffix) {
            run_ahead(pid, policy, priority)?;
        }
    }
    Ok(())
}
