// SPDX-License-Identifier: GPL-2.0-only
//! The names by which a load knows programs of this family.

/// Kernel names (15 bytes) of the XDP programs of this family, the predecessors' included: a load may
/// replace these, and only these. The first steers, the others pass everything.
pub const XDP_FAMILY: [&str; 3] = ["xdp_iphash_to_c", "xdp_pass", "xdp_pass_func"];

/// The same for the classifiers.
pub const TC_FAMILY: [&str; 3] = ["tc_classify", "tc_iphash_to_cp", "tc_cls_prog"];

/// The program array behind each classifier that a follower enters its program into.
pub const FOLLOW_ARRAY: &str = "cpp_follow";
