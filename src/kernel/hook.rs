// SPDX-License-Identifier: GPL-2.0-only
//! The places of an interface where a program can be attached.

use libbpf_sys::{BPF_TCX_EGRESS, BPF_TCX_INGRESS, BPF_TC_EGRESS, BPF_TC_INGRESS, BPF_XDP};

/// A place where a program can be attached.
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
    /// Returns the name that pins and messages use.
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

    /// Returns libbpf's attach point on clsact; XDP has none (0).
    pub fn attach_point(self) -> u32 {
        match self {
            Self::Xdp => 0,
            Self::Ingress => BPF_TC_INGRESS,
            Self::Egress => BPF_TC_EGRESS,
        }
    }
}
