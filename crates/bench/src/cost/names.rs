// SPDX-License-Identifier: GPL-2.0-only
//! Names that both the parts and the targets use.

/// Our programs with everything on.
pub const OURS: &str = "ours";
/// Our programs with the RTT measurement off.
pub const RTT_OFF: &str = "ours, RTT off";
/// Our programs under the live mix, in the same rounds as another load.
pub const OURS_LIVE_MIX: &str = "ours, live mix";
/// Our programs with the sizes that a machine of [`MANY_CPUS`] CPUs gets for each of its CPUs.
pub const OURS_MANY: &str = "ours, sizes of 64 CPUs";
/// See [`OURS_MANY`].
pub const MANY_CPUS: u32 = 64;
/// The part `live-mix`.
pub const LIVE_MIX: &str = "live-mix";
/// The part `cold`.
pub const COLD: &str = "cold";
/// The part `mappings`.
pub const MAPPINGS: &str = "mappings";
/// The system with the smallest mapping.
pub const FEWEST: &str = "ours, 1000 mappings";
/// The system with the largest mapping.
pub const MOST: &str = "ours, 1 000 000 mappings";
/// Bulk: `--replace` from no mappings to 65 000.
pub const ADD_65K: &str = "--replace: 65 000 mappings added";
/// Bulk: `--replace` from no mappings to 1 000 000.
pub const ADD_1M: &str = "--replace: 1 000 000 mappings added";
/// Bulk: `--list`.
pub const LIST: &str = "--list of 65 000 mappings";
/// Bulk: the snapshot of all RTTs.
pub const SNAPSHOT: &str = "xdp_pping over 65 000 active handles";
