// SPDX-License-Identifier: GPL-2.0-only
//! The names of the pinned maps (docs/ABI.md).

/// Subscriber address → CPU and class.
pub const IP_HASH: &str = "map_ip_hash";
/// Interface → direction.
pub const IFINDEX_TYPE: &str = "map_ifindex_type";
/// CPU → TX queue and HTB major.
pub const TXQ_CONFIG: &str = "map_txq_config";
/// CPU → queue length: the redirect itself.
pub const CPU_MAP: &str = "cpu_map";
/// CPU → takes frames.
pub const CPUS_AVAILABLE: &str = "cpus_available";
/// Shared by all programs.
pub const CONTROL: &str = "cpp_control";
/// Cache in front of the mapping.
pub const ADDR_CACHE: &str = "cpp_addr_cache";
/// TCP flows.
pub const FLOW: &str = "cpp_flow";
/// tc handle → RTT record.
pub const RTT: &str = "cpp_rtt";
/// Samples on their way to the records.
pub const RTT_RECENT: &str = "cpp_rtt_recent";
/// Counters of each CPU.
pub const STATS: &str = "cpp_stats";
/// All of them.
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
