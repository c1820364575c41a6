// SPDX-License-Identifier: GPL-2.0-only
//! The generated skeletons.

/// XDP steering and TC classification (`bpf/cpumap_pping.bpf.c`).
#[allow(missing_docs, clippy::all, clippy::undocumented_unsafe_blocks)]
pub mod cpumap_pping {
    include!(concat!(env!("OUT_DIR"), "/cpumap_pping.skel.rs"));
}

/// The stream of flow events, on one interface or behind the shaper's classifier
/// (`bpf/pping.bpf.c`).
#[allow(missing_docs, clippy::all, clippy::undocumented_unsafe_blocks)]
pub mod pping {
    include!(concat!(env!("OUT_DIR"), "/pping.skel.rs"));
}

/// The program that passes every frame (`bpf/xdp_pass.bpf.c`).
#[allow(missing_docs, clippy::all, clippy::undocumented_unsafe_blocks)]
pub mod xdp_pass {
    include!(concat!(env!("OUT_DIR"), "/xdp_pass.skel.rs"));
}
