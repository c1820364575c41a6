// SPDX-License-Identifier: GPL-2.0-only
//! Names by which a load recognizes the programs of this family.

/// Kernel names (15 bytes) of the XDP programs of this family, including the predecessors'. A load
/// replaces only programs with these names. The first one steers, the others pass every frame.
pub const XDP_FAMILY: [&str; 3] = ["xdp_iphash_to_c", "xdp_pass", "xdp_pass_func"];

/// Kernel names of the classifiers of this family, including the predecessors'.
pub const TC_FAMILY: [&str; 3] = ["tc_classify", "tc_iphash_to_cp", "tc_cls_prog"];

/// Name of the classifier's program array: it calls the program there after it has classified a
/// packet. `--follow` enters its program there.
pub const FOLLOW_ARRAY: &str = "cpp_follower";
