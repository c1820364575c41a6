// SPDX-License-Identifier: GPL-2.0-only

//! Maps and programs of other projects, in the places of ours.

use super::shaper::GLOBALS;
use lab::Sandbox;
use libbpf_rs::{MapHandle, MapType};
use std::fs;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};

/// Makes a map of any shape and pins it where ours are pinned, as another project's loader would.
pub fn pin_map(sandbox: &Sandbox, name: &str, map_type: MapType, sizes: [u32; 3]) -> MapHandle {
    let flags = if map_type == MapType::LpmTrie { libbpf_sys::BPF_F_NO_PREALLOC } else { 0 };
    pin_map_with(sandbox, name, map_type, sizes, flags)
}

/// Makes and pins such a map with the flags of `bpf_map_create`.
pub fn pin_map_with(
    sandbox: &Sandbox,
    name: &str,
    map_type: MapType,
    sizes: [u32; 3],
    flags: u32,
) -> MapHandle {
    let [key_size, value_size, max_entries] = sizes;
    let opts = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as u64,
        map_flags: flags,
        ..Default::default()
    };
    let made = MapHandle::create(map_type, Some(name), key_size, value_size, max_entries, &opts);
    let mut map = made.unwrap_or_else(|error| panic!("make {name}: {error}"));
    sandbox
        .run(|| {
            fs::create_dir_all(GLOBALS).expect("the pin directory");
            map.pin(format!("{GLOBALS}/{name}")).expect("pin");
        })
        .expect("enter the sandbox");
    map
}

/// Loads a program that passes every packet, as another project's, and pins it. Returns the path of the pin.
pub fn pin_foreign_program(sandbox: &Sandbox, kind: libbpf_sys::bpf_prog_type) -> String {
    // r0 = XDP_PASS or TC_ACT_OK; exit.
    let verdict = if kind == libbpf_sys::BPF_PROG_TYPE_XDP { 2 } else { 0 };
    let instruction = |code, imm| {
        let mut instruction = libbpf_sys::bpf_insn { code, imm, ..Default::default() };
        instruction.set_dst_reg(0);
        instruction
    };
    let code = [instruction(0xb7, verdict), instruction(0x95, 0)];
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let path = format!("/sys/fs/bpf/foreign{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let pin = std::ffi::CString::new(path.clone()).expect("a path");
    sandbox
        .run(|| {
            // SAFETY: strings and instructions outlive the calls; the descriptor is ours alone.
            unsafe {
                let fd = libbpf_sys::bpf_prog_load(
                    kind,
                    c"somebody_else".as_ptr(),
                    c"GPL".as_ptr(),
                    code.as_ptr(),
                    code.len() as u64,
                    std::ptr::null_mut(),
                );
                assert!(fd >= 0, "load a foreign program: {fd}");
                let fd = <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd);
                assert_eq!(libbpf_sys::bpf_obj_pin(fd.as_raw_fd(), pin.as_ptr()), 0);
            }
        })
        .expect("enter the sandbox");
    path
}
