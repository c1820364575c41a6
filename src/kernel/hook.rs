// SPDX-License-Identifier: GPL-2.0-only
//! Hooks of an interface, to which programs are attached.

use libbpf_sys::{BPF_TCX_EGRESS, BPF_TCX_INGRESS, BPF_TC_EGRESS, BPF_TC_INGRESS, BPF_XDP};

/// A hook of an interface, to which a program can be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP, ingress.
    Xdp,
    /// TC, ingress.
    Ingress,
    /// TC, egress.
    Egress,
}

impl Hook {
    /// Returns the name in pins and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    /// Returns the `enum bpf_attach_type` of a link to this hook.
    pub fn attach_type(self) -> u32 {
        match self {
            Self::Xdp => BPF_XDP,
            Self::Ingress => BPF_TCX_INGRESS,
            Self::Egress => BPF_TCX_EGRESS,
        }
    }

    /// Returns libbpf's `enum bpf_tc_attach_point` on clsact; 0 for XDP, which is not on clsact.
    pub fn attach_point(self) -> u32 {
        match self {
            Self::Xdp => 0,
            Self::Ingress => BPF_TC_INGRESS,
            Self::Egress => BPF_TC_EGRESS,
        }
    }
}
