// SPDX-License-Identifier: GPL-2.0-only
//! Memory that a flow needs, by the kernel's own count of the maps' memory.

use std::os::fd::{AsFd, AsRawFd};

use cpumap_pping::abi::maps;
use cpumap_pping::abi::FLOW_WAYS;
use libbpf_rs::{MapCore, MapHandle};
use serde::Serialize;

use crate::cost::systems::system::System;
use crate::error::Result;

/// Memory of our maps after a load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MapMemory {
    /// `memlock` of the flow table. The kernel allocates all of it when the map is made.
    pub flow_table_bytes: u64,
    /// Number of flows that the flow table has places for.
    pub flow_capacity: u64,
    /// `memlock` of the RTT records, and of the samples on their way to them.
    pub rtt_bytes: u64,
    /// Number of tc handles that have a record.
    pub handles: u64,
}

impl MapMemory {
    /// Returns the bytes of the flow table for each place.
    pub fn table_bytes_a_flow(&self) -> f64 {
        self.flow_table_bytes as f64 / self.flow_capacity as f64
    }

    /// Returns the same plus the RTT records of the load's handles, divided by the places of the flow
    /// table.
    pub fn all_bytes_a_flow(&self) -> f64 {
        (self.flow_table_bytes + self.rtt_bytes) as f64 / self.flow_capacity as f64
    }
}

/// Reads the memory of our maps.
pub fn memory(ours: &System) -> Result<MapMemory> {
    let map = |name| ours.map(name).ok_or("a system without our maps");
    let flow_table = map(maps::FLOW)?;
    Ok(MapMemory {
        flow_table_bytes: memlock(flow_table)?,
        flow_capacity: u64::from(flow_table.max_entries()) * FLOW_WAYS,
        rtt_bytes: memlock(map(maps::RTT)?)? + memlock(map(maps::RTT_RECENT)?)?,
        handles: ours.rtt_totals()?.len() as u64,
    })
}

fn memlock(map: &MapHandle) -> Result<u64> {
    let path = format!("/proc/self/fdinfo/{}", map.as_fd().as_raw_fd());
    let text = std::fs::read_to_string(path)?;
    Ok(field(&text, "memlock:").ok_or("a map without memlock in its fdinfo")?)
}

/// Returns the number after a name, as in fdinfo.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fdinfo_is_read() {
        let text = "pos:\t0\nmap_type:\t2\nmax_entries:\t32768\nmemlock:\t16777544\nmap_id:\t7\n";
        assert_eq!(field(text, "memlock:"), Some(16_777_544));
        assert_eq!(field(text, "frozen:"), None);
    }

    #[test]
    fn records_are_shared_out_among_the_flows() {
        let memory =
            MapMemory { flow_table_bytes: 6400, flow_capacity: 100, rtt_bytes: 3200, handles: 1 };
        assert_eq!((memory.table_bytes_a_flow(), memory.all_bytes_a_flow()), (64.0, 96.0));
    }
}
