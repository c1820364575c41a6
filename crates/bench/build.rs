// SPDX-License-Identifier: GPL-2.0-only
//! Compiles the reference programs (`bpf/*.bpf.c`) into objects.

use std::path::PathBuf;
use std::{env, io};

use libbpf_cargo::SkeletonBuilder;

const OBJECTS: [&str; 3] = ["empty", "textbook", "predecessor"];

fn main() -> io::Result<()> {
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("OUT_DIR is not set"))?;
    println!("cargo:rerun-if-changed=bpf");
    let mut clang_args = bpf_build::clang_args();
    clang_args.push("-Wno-unused-parameter".into());
    for object in OBJECTS {
        SkeletonBuilder::new()
            .source(format!("bpf/{object}.bpf.c"))
            .obj(PathBuf::from(&out).join(format!("{object}.o")))
            .clang_args(&clang_args)
            .build()
            .map_err(|error| io::Error::other(format!("bpf/{object}.bpf.c: {error:#}")))?;
    }
    Ok(())
}
