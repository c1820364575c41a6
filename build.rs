// SPDX-License-Identifier: GPL-2.0-only
//! Compiles the BPF objects into Rust skeletons. Generates the Rust constants, functions, enums and
//! counter tables from include/*.{h,def}, so that nothing is mirrored by hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use bpf_build::headers::{constants, counter_table, rust_enum, SharedEnum};
use libbpf_cargo::SkeletonBuilder;

/// The BPF objects: `bpf/<name>.bpf.c` becomes `$OUT_DIR/<name>.skel.rs`.
const OBJECTS: [&str; 3] = ["cpumap_pping", "pping", "xdp_pass"];

/// The counter lists: name of `include/<list>.def`, macro of its lines, name of the Rust table.
const COUNTER_LISTS: [(&str, &str, &str); 2] =
    [("counters", "COUNTER", "COUNTERS"), ("stream_counters", "STREAM_COUNTER", "STREAM_COUNTERS")];

/// Headers whose integer constants and shared arithmetic go into `$OUT_DIR/constants.rs`.
const CONSTANTS: [&str; 3] = ["limits", "abi", "stream_config"];

const ENUMS: [SharedEnum; 6] = [
    SharedEnum::new(["abi", "direction", "DIRECTION_", "Direction", "direction"]),
    SharedEnum::new(["abi", "side", "SIDE_", "Side", "side"]),
    SharedEnum::new(["stream", "stream_kind", "STREAM_KIND_", "StreamKind", "stream_enums"]),
    SharedEnum::new(["stream", "stream_reason", "STREAM_REASON_", "StreamReason", "stream_enums"]),
    SharedEnum::new([
        "stream",
        "stream_trigger",
        "STREAM_TRIGGER_",
        "StreamTrigger",
        "stream_enums",
    ]),
    SharedEnum::new(["stream", "stream_class", "STREAM_CLASS_", "StreamClass", "stream_enums"]),
];

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| missing("OUT_DIR"))?);
    for folder in ["bpf", "include"] {
        println!("cargo:rerun-if-changed={folder}");
    }
    for object in OBJECTS {
        build_skeleton(object, &out)?;
    }
    for (list, macro_name, table) in COUNTER_LISTS {
        let source = include(&format!("{list}.def"))?;
        fs::write(out.join(format!("{list}.rs")), counter_table(&source, macro_name, table))?;
    }
    write_constants(&out)?;
    write_enums(&out)
}

fn missing(what: &str) -> io::Error {
    io::Error::other(format!("{what} is not set"))
}

/// Compiles one BPF object and writes its skeleton.
fn build_skeleton(object: &str, out: &Path) -> io::Result<()> {
    let mut clang_args = bpf_build::clang_args();
    clang_args.extend(["-Iinclude".into(), "-Ibpf".into()]);
    SkeletonBuilder::new()
        .source(format!("bpf/{object}.bpf.c"))
        .clang_args(clang_args)
        .build_and_generate(out.join(format!("{object}.skel.rs")))
        .map_err(|error| io::Error::other(format!("bpf/{object}.bpf.c: {error:#}")))
}

fn include(name: &str) -> io::Result<String> {
    fs::read_to_string(format!("include/{name}"))
}

/// Writes the integers and the arithmetic of [`CONSTANTS`].
fn write_constants(out: &Path) -> io::Result<()> {
    let mut text = String::new();
    for header in CONSTANTS {
        text.push_str(&constants(header, &include(&format!("{header}.h"))?));
    }
    fs::write(out.join("constants.rs"), text)
}

/// Writes the enums of [`ENUMS`].
fn write_enums(out: &Path) -> io::Result<()> {
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for wanted in &ENUMS {
        let source = include(&format!("{}.h", wanted.header))?;
        let text = rust_enum(wanted, &source).ok_or_else(|| {
            io::Error::other(format!("include/{}.h: no enum {}", wanted.header, wanted.c_name))
        })?;
        files.entry(wanted.file).or_default().push_str(&text);
    }
    files.iter().try_for_each(|(file, text)| fs::write(out.join(format!("{file}.rs")), text))
}
