//! Compiles the reference programs (`bpf/*.bpf.c`) into objects.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::{env, io};

use libbpf_cargo::SkeletonBuilder;

const OBJECTS: [&str; 3] = ["empty", "textbook", "predecessor"];

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("OUT_DIR"))?);
    println!("cargo:rerun-if-changed=bpf");
    for object in OBJECTS {
        SkeletonBuilder::new()
            .source(format!("bpf/{object}.bpf.c"))
            .obj(out.join(format!("{object}.o")))
            .clang_args(clang_args())
            .build()
            .map_err(|error| io::Error::other(format!("bpf/{object}.bpf.c: {error:#}")))?;
    }
    Ok(())
}

/// As the project's own build.rs: the host's include folders, which `-target bpf` loses.
fn clang_args() -> Vec<OsString> {
    let mut args: Vec<OsString> =
        ["-mcpu=v3", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"].map(Into::into).into();
    let probe = Command::new(env::var("CLANG").unwrap_or_else(|_| "clang".into()))
        .args(["-E", "-v", "-x", "c", "/dev/null"])
        .output();
    let text = probe.map(|out| String::from_utf8_lossy(&out.stderr).into_owned());
    let text = text.unwrap_or_default();
    let dirs = text.lines().skip_while(|line| !line.starts_with("#include <...>")).skip(1);
    for dir in dirs.take_while(|line| line.starts_with(' ')) {
        args.extend(["-idirafter".into(), dir.trim().into()]);
    }
    args
}
