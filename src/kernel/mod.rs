// SPDX-License-Identifier: GPL-2.0-only
//! The kernel's side: maps, pins, programs, attachments, devices. Everything that makes a system call
//! for the packet path is here.

pub mod capability;
pub mod device;
pub mod hook;
pub mod libbpf;
pub mod link;
pub mod load;
pub mod machine;
pub mod map;
pub mod memory;
pub mod netlink;
pub mod pin;
pub mod program;
pub mod program_info;
pub mod program_pin;
pub mod tc;
pub mod xdp;
