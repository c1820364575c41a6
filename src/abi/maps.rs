// SPDX-License-Identifier: GPL-2.0-only
//! Names of the pinned maps (docs/ABI.md).

/// Subscriber address → CPU and class.
pub const IP_HASH: &str = "map_ip_hash";
/// Interface index → direction.
pub const IFINDEX_TYPE: &str = "map_ifindex_type";
/// CPU → TX queue and HTB major.
pub const TXQ_CONFIG: &str = "map_txq_config";
/// CPU → length of its queue; the cpumap that frames are redirected through.
pub const CPU_MAP: &str = "cpu_map";
/// CPU → 1 if frames may be redirected to it.
pub const CPUS_AVAILABLE: &str = "cpus_available";
/// One record that all programs share: generation, hash seed, cookie, ABI version.
pub const CONTROL: &str = "cpp_control";
/// Cache of answers of the mapping, for each CPU.
pub const ADDR_CACHE: &str = "cpp_addr_cache";
/// TCP flows.
pub const FLOW: &str = "cpp_flow";
/// tc handle → RTT record.
pub const RTT: &str = "cpp_rtt";
/// Latest samples of each CPU, which wait to be added to the RTT records.
pub const RTT_RECENT: &str = "cpp_rtt_recent";
/// Counters of each CPU.
pub const STATS: &str = "cpp_stats";
/// Tells whether a map is ours, so that its layout may change with the ABI version: the maps of the
/// contract and `cpus_available` keep theirs.
pub fn is_ours(name: &str) -> bool {
    name.starts_with("cpp_")
}

/// Names of all pinned maps.
pub const ALL: [&str; 11] = [
    IP_HASH,
    IFINDEX_TYPE,
    TXQ_CONFIG,
    CPU_MAP,
    CPUS_AVAILABLE,
    CONTROL,
    ADDR_CACHE,
    FLOW,
    RTT,
    RTT_RECENT,
    STATS,
];
