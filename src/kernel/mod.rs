// SPDX-License-Identifier: GPL-2.0-only
//! Access to the kernel: maps, pins, programs, attachments, devices. Only these modules make system
//! calls for the packet path.

pub mod attachments;
pub mod bpffs;
pub mod capability;
pub mod device;
pub mod errno;
pub mod hook;
pub mod libbpf;
pub mod link;
pub mod load;
pub mod machine;
pub mod map;
pub mod map_set;
pub mod memory;
pub mod netlink;
pub mod new_pins;
pub mod open_files;
pub mod pin;
pub mod pping_filters;
pub mod program;
pub mod program_config;
pub mod program_info;
pub mod program_pin;
pub mod replacement;
pub mod tc;
pub mod undo;
pub mod xdp;
