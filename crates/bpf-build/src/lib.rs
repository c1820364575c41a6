// SPDX-License-Identifier: GPL-2.0-only
//! For build scripts: how clang compiles BPF programs, and [`headers`]: Rust text from C headers.
//!
//! A build script adds its own arguments, such as `-I`:
//!
//! ```no_run
//! let mut args = bpf_build::clang_args();
//! args.extend(["-Iinclude".into(), "-Ibpf".into()]);
//! ```

pub mod headers;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// Returns the arguments of clang that every BPF program of this project needs.
///
/// `-mcpu=v3` allows 32-bit jumps and fetching atomics (kernel 5.12 and later).
pub fn clang_args() -> Vec<OsString> {
    let mut args: Vec<OsString> =
        ["-mcpu=v3", "-Wall", "-Wextra", "-Werror"].map(OsString::from).into();
    for folder in system_includes() {
        args.extend(["-idirafter".into(), folder.into()]);
    }
    args
}

/// Returns the compiler: `$CLANG`, or `clang`.
fn clang() -> OsString {
    env::var_os("CLANG").unwrap_or_else(|| "clang".into())
}

/// Returns the include folders of the host's compiler. With `-target bpf`, clang does not search the
/// host's architecture folder, where Debian keeps `asm/types.h`.
fn system_includes() -> Vec<PathBuf> {
    let probe = Command::new(clang()).args(["-E", "-v", "-x", "c", "/dev/null"]).output();
    let stderr = probe.map(|output| output.stderr).unwrap_or_default();
    search_path(&String::from_utf8_lossy(&stderr))
}

/// Reads the include folders from the output of `clang -v`.
fn search_path(text: &str) -> Vec<PathBuf> {
    text.lines()
        .skip_while(|line| !line.starts_with("#include <...>"))
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .map(|line| line.trim().into())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_path_is_the_indented_lines() {
        let text =
            "clang version 14\n#include \"...\" search starts here:\n#include <...> search starts \
                    here:\n /usr/lib/clang/14/include\n /usr/include\nEnd of search list.\n x\n";
        let expected = ["/usr/lib/clang/14/include", "/usr/include"].map(PathBuf::from);
        assert_eq!(search_path(text), expected);
        assert!(search_path("no such compiler").is_empty());
    }
}
