// SPDX-License-Identifier: GPL-2.0-only
//! Compiles the BPF objects into Rust skeletons. Generates the Rust constants, functions, enums and
//! counter tables from include/*.{h,def}, so that nothing is mirrored by hand.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use libbpf_cargo::SkeletonBuilder;

/// The BPF objects: `bpf/<name>.bpf.c` becomes `$OUT_DIR/<name>.skel.rs`.
const OBJECTS: [&str; 3] = ["cpumap_pping", "pping", "xdp_pass"];

/// The counter lists: name of `include/<list>.def`, macro of its lines, name of the Rust table.
const COUNTER_LISTS: [(&str, &str, &str); 2] =
    [("counters", "COUNTER", "COUNTERS"), ("stream_counters", "STREAM_COUNTER", "STREAM_COUNTERS")];

/// Headers whose integer constants and shared arithmetic go into `$OUT_DIR/constants.rs`.
const CONSTANTS: [&str; 3] = ["limits", "abi", "stream_config"];

/// A C enum, and the Rust enum that is generated from it.
struct SharedEnum {
    /// Header that defines the enum: `include/<header>.h`.
    header: &'static str,
    c_name: &'static str,
    /// Prefix of the enumerators, which the Rust variants drop.
    prefix: &'static str,
    rust_name: &'static str,
    /// Generated file: `$OUT_DIR/<file>.rs`. Several enums may share one.
    file: &'static str,
}

const fn shared(
    header: &'static str,
    c_name: &'static str,
    prefix: &'static str,
    rust_name: &'static str,
    file: &'static str,
) -> SharedEnum {
    SharedEnum { header, c_name, prefix, rust_name, file }
}

const ENUMS: [SharedEnum; 6] = [
    shared("abi", "direction", "DIRECTION_", "Direction", "direction"),
    shared("abi", "side", "SIDE_", "Side", "side"),
    shared("stream", "stream_kind", "STREAM_KIND_", "StreamKind", "stream_enums"),
    shared("stream", "stream_reason", "STREAM_REASON_", "StreamReason", "stream_enums"),
    shared("stream", "stream_trigger", "STREAM_TRIGGER_", "StreamTrigger", "stream_enums"),
    shared("stream", "stream_class", "STREAM_CLASS_", "StreamClass", "stream_enums"),
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
        let source = fs::read_to_string(format!("include/{list}.def"))?;
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
    SkeletonBuilder::new()
        .source(format!("bpf/{object}.bpf.c"))
        .clang_args(clang_args())
        .build_and_generate(out.join(format!("{object}.skel.rs")))
        .map_err(|error| io::Error::other(format!("bpf/{object}.bpf.c: {error:#}")))
}

/// Returns clang's arguments. `-mcpu=v3` gives the 32-bit jumps, and the atomics that return the old
/// value (kernel 5.12 and later).
fn clang_args() -> Vec<OsString> {
    let mut args: Vec<OsString> =
        ["-mcpu=v3", "-Wall", "-Wextra", "-Werror", "-Iinclude", "-Ibpf"].map(Into::into).into();
    for dir in system_includes() {
        args.push("-idirafter".into());
        args.push(dir.into());
    }
    args
}

/// Returns the folders that clang searches for headers when it compiles for the host. With `-target
/// bpf` clang leaves out the host's architecture folder, where Debian keeps `asm/types.h`.
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

/// Returns the Rust table of a counter list: its `MACRO(name, "help")` lines, in their order.
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

/// Writes the macros of [`CONSTANTS`] that are integers or arithmetic on integers. The skeletons hold
/// types only, no macros.
fn write_constants(out: &Path) -> io::Result<()> {
    let mut text = String::new();
    for header in CONSTANTS {
        let source = fs::read_to_string(format!("include/{header}.h"))?.replace("\\\n", " ");
        for line in source.lines().filter_map(|line| line.strip_prefix("#define ")) {
            let line = line.split("/*").next().unwrap_or_default().trim();
            text.push_str(&constant(header, line).unwrap_or_default());
        }
    }
    fs::write(out.join("constants.rs"), text)
}

/// Translates one macro: `NAME integer` to a constant, `NAME(a, b) expression` to a function. The
/// operators that such expressions use mean the same in C and in Rust. Returns `None` for any other
/// macro.
fn constant(header: &str, line: &str) -> Option<String> {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
    let (name, rest) = line.split_at(end);
    let doc = format!("/// `{name}` of include/{header}.h.\n");
    let Some(rest) = rest.strip_prefix('(') else {
        let value = without_suffixes(rest.trim());
        let value = value.strip_prefix('(').and_then(|v| v.strip_suffix(')')).unwrap_or(&value);
        return is_arithmetic(value, &[])
            .then(|| format!("{doc}pub const {name}: u64 = {value};\n"));
    };
    let (parameters, body) = rest.split_once(')')?;
    let parameters: Vec<&str> = parameters.split(',').map(str::trim).collect();
    let body = without_suffixes(body.trim());
    let declared: Vec<String> = parameters.iter().map(|name| format!("{name}: u64")).collect();
    is_arithmetic(&body, &parameters).then(|| {
        format!(
            "{doc}#[allow(unused_parens, clippy::precedence)]\npub const fn {}({}) -> u64 {{\n    {body}\n}}\n",
            name.to_lowercase(),
            declared.join(", ")
        )
    })
}

/// Removes the suffixes `U` and `L` from numbers: `1ULL << 32` becomes `1 << 32`.
fn without_suffixes(expression: &str) -> String {
    let mut out = String::new();
    let mut in_number = false;
    for c in expression.chars() {
        if in_number && matches!(c, 'U' | 'L') {
            continue;
        }
        let continues = out.ends_with(|last: char| last.is_ascii_alphanumeric() || last == '_');
        in_number = if continues { in_number } else { c.is_ascii_digit() };
        out.push(c);
    }
    out
}

/// Tells whether an expression holds only numbers, `names`, constants and operators on integers.
fn is_arithmetic(expression: &str, names: &[&str]) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let known = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_digit())
            || names.contains(&word)
            || word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    let operators = |c: char| is_word(c) || " ()<>|&^+-*/%".contains(c);
    let words = expression.split(|c| !is_word(c)).filter(|word| !word.is_empty());
    !expression.is_empty() && expression.chars().all(operators) && words.clone().all(known)
}

/// Writes the enums of [`ENUMS`].
fn write_enums(out: &Path) -> io::Result<()> {
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for wanted in &ENUMS {
        let source = fs::read_to_string(format!("include/{}.h", wanted.header))?;
        let text = rust_enum(wanted, &source).ok_or_else(|| {
            io::Error::other(format!("include/{}.h: no enum {}", wanted.header, wanted.c_name))
        })?;
        files.entry(wanted.file).or_default().push_str(&text);
    }
    files.iter().try_for_each(|(file, text)| fs::write(out.join(format!("{file}.rs")), text))
}

/// Translates one enum; returns `None` if `source` does not define it. The enumerator `<PREFIX>NONE`
/// of value 0 becomes a constant and not a variant: in Rust, `Option::None` takes its place.
fn rust_enum(wanted: &SharedEnum, source: &str) -> Option<String> {
    let SharedEnum { header, c_name, prefix, rust_name, .. } = wanted;
    let (_, body) = source.split_once(&format!("\nenum {c_name} {{\n"))?;
    let (body, _) = body.split_once("\n}")?;
    let (mut variants, mut arms, mut none) = (String::new(), String::new(), "");
    for line in body.lines().map(str::trim) {
        let Some((name, rest)) = line.split_once(" = ") else { continue };
        let (value, comment) = rest.split_once(',').unwrap_or((rest, ""));
        let Some(name) = name.strip_prefix(prefix) else { continue };
        if name == "NONE" && value.trim() == "0" {
            none = "    /// The C value for \"no value\".\n    pub const NONE: u32 = 0;\n\n";
            continue;
        }
        let comment = comment.trim().trim_start_matches("/*").trim_end_matches("*/").trim();
        let doc = if comment.is_empty() { format!("`{prefix}{name}`.") } else { comment.into() };
        let (name, value) = (camel_case(name), value.trim());
        let _ = writeln!(variants, "    /// {doc}\n    {name} = {value},");
        let _ = writeln!(arms, "            {value} => Some(Self::{name}),");
    }
    Some(format!(
        "/// `enum {c_name}` of include/{header}.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum {rust_name} {{
{variants}}}

impl {rust_name} {{
{none}    /// Converts a C value. Returns `None` for an unknown value, and for 0 if that means \"no value\".
    pub fn from_abi(value: u32) -> Option<Self> {{
        match value {{
{arms}            _ => None,
        }}
    }}

    /// Returns the C value.
    pub const fn to_abi(self) -> u32 {{
        self as u32
    }}
}}
"
    ))
}

/// Converts a name in capitals to camel case: `SYN_ACK` becomes `SynAck`.
fn camel_case(name: &str) -> String {
    let mut out = String::new();
    for word in name.split('_') {
        let lower = word.to_lowercase();
        let mut letters = lower.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.extend(letters);
    }
    out
}
