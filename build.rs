//! Compiles the BPF objects into Rust skeletons, and include/*.{h,def} into the
//! constants and the counter table that user space shares with them.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use libbpf_cargo::SkeletonBuilder;

/// Each becomes `$OUT_DIR/<name>.skel.rs`.
const OBJECTS: [&str; 3] = ["cpumap_pping", "pping", "xdp_pass"];

/// `include/<list>.def`, the macro of its lines, and the Rust table made of it.
const COUNTER_LISTS: [(&str, &str, &str); 2] =
    [("counters", "COUNTER", "COUNTERS"), ("stream_counters", "STREAM_COUNTER", "STREAM_COUNTERS")];

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| missing("OUT_DIR"))?);
    for folder in ["bpf", "include"] {
        println!("cargo:rerun-if-changed={folder}");
    }
    for object in OBJECTS {
        build_skeleton(object, &out)?;
    }
    for (list, macro_name, table) in COUNTER_LISTS {
        let source = fs::read_to_string(format!("include/{list}.def"))?;
        fs::write(out.join(format!("{list}.rs")), counter_table(&source, macro_name, table))?;
    }
    fs::write(out.join("limits.rs"), constants(&fs::read_to_string("include/limits.h")?)?)
}

fn missing(what: &str) -> io::Error {
    io::Error::other(format!("{what} is not set"))
}

fn build_skeleton(object: &str, out: &Path) -> io::Result<()> {
    SkeletonBuilder::new()
        .source(format!("bpf/{object}.bpf.c"))
        .clang_args(clang_args())
        .build_and_generate(out.join(format!("{object}.skel.rs")))
        .map_err(|error| io::Error::other(format!("bpf/{object}.bpf.c: {error:#}")))
}

/// v3 brings the 32-bit jumps and the fetching atomics (kernel 5.12 and later).
fn clang_args() -> Vec<OsString> {
    let mut args: Vec<OsString> =
        ["-mcpu=v3", "-Wall", "-Wextra", "-Werror", "-Iinclude", "-Ibpf"].map(Into::into).into();
    for dir in system_includes() {
        args.push("-idirafter".into());
        args.push(dir.into());
    }
    args
}

/// With `-target bpf` clang loses the host's architecture folder, where Debian
/// keeps `asm/types.h`: ask the compiler for its ordinary search path.
fn system_includes() -> Vec<String> {
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let probe = Command::new(clang).args(["-E", "-v", "-x", "c", "/dev/null"]).output();
    let text =
        probe.map(|out| String::from_utf8_lossy(&out.stderr).into_owned()).unwrap_or_default();
    text.lines()
        .skip_while(|line| !line.starts_with("#include <...>"))
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .map(|line| line.trim().to_owned())
        .collect()
}

/// `MACRO(name, "help")` lines, in order.
fn counter_table(source: &str, macro_name: &str, table_name: &str) -> String {
    let mut table =
        String::from("/// Name and meaning of each counter, in the order of the C side's enum.\n");
    let _ = writeln!(table, "pub const {table_name}: &[(&str, &str)] = &[");
    let start = format!("{macro_name}(");
    for line in source.lines().filter_map(|line| line.strip_prefix(&start)) {
        if let Some((name, help)) = line.trim_end_matches(')').split_once(", ") {
            let _ = writeln!(table, "    (\"{name}\", {help}),");
        }
    }
    table.push_str("];\n");
    table
}

/// `#define NAME integer` lines: the skeleton does not carry macros over.
fn constants(source: &str) -> io::Result<String> {
    let mut out = String::new();
    for line in source.lines().filter_map(|line| line.strip_prefix("#define ")) {
        let mut words = line.split_whitespace();
        let (Some(name), Some(value)) = (words.next(), words.next()) else { continue };
        let digits = value.trim_end_matches(['U', 'L']);
        let value: u64 = digits
            .parse()
            .map_err(|_| io::Error::other(format!("include/limits.h: {name} is no integer")))?;
        let _ =
            writeln!(out, "/// `{name}` of include/limits.h.\npub const {name}: u64 = {value};");
    }
    Ok(out)
}
