// SPDX-License-Identifier: GPL-2.0-only
//! Reads the imports of a file, as text.

/// A path from the crate's root that a line of Rust uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Line of the file, from 1.
    pub line: usize,
    /// The line.
    pub text: String,
    /// The names after `crate::`.
    pub path: Vec<String>,
}

/// Returns every `crate::` path outside comments and unit tests; each name of a `use {…}` by itself.
pub fn rust_imports(text: &str) -> Vec<Import> {
    let mut found = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    let mut index = 0;
    while index < lines.len() {
        let line = lines[index].trim();
        if line.starts_with("#[cfg(test)]") && is_module(lines.get(index + 1)) {
            break;
        }
        if line.starts_with("//") {
            index += 1;
            continue;
        }
        let mut statement = line.to_owned();
        let first = index;
        let is_use = line.starts_with("use ") || line.starts_with("pub use ");
        while is_use && !statement.contains(';') && index + 1 < lines.len() {
            index += 1;
            statement.push_str(lines[index].trim());
        }
        for path in crate_paths(&statement) {
            found.push(Import { line: first + 1, text: line.to_owned(), path });
        }
        index += 1;
    }
    found
}

fn is_module(line: Option<&&str>) -> bool {
    line.is_some_and(|line| line.split_whitespace().any(|word| word == "mod"))
}

/// The paths of every `crate::` in a statement. `$crate::` is a macro's.
fn crate_paths(statement: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (at, _) in statement.match_indices("crate::") {
        let before = statement[..at].chars().next_back();
        if before.is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == '$')) {
            expand(&statement[at + "crate::".len()..], &mut Vec::new(), &mut paths);
        }
    }
    paths
}

/// Reads `a::{b, c::d}` into its paths; returns what follows.
fn expand<'a>(
    mut rest: &'a str,
    prefix: &mut Vec<String>,
    paths: &mut Vec<Vec<String>>,
) -> &'a str {
    let length = prefix.len();
    loop {
        rest = rest.trim_start();
        if let Some(group) = rest.strip_prefix('{') {
            rest = group;
            loop {
                rest = expand(rest, prefix, paths).trim_start();
                match rest.strip_prefix(',') {
                    Some(next) => rest = next,
                    None => break,
                }
            }
            prefix.truncate(length);
            return rest.strip_prefix('}').unwrap_or(rest);
        }
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '*'));
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        if !name.is_empty() {
            prefix.push(name.to_owned());
        }
        match after.strip_prefix("::") {
            Some(next) if !name.is_empty() => rest = next,
            _ => {
                if !name.is_empty() {
                    paths.push(prefix.clone());
                }
                prefix.truncate(length);
                let renamed = after.trim_start().strip_prefix("as ").map(str::trim_start);
                return renamed.map_or(after, |after| {
                    after.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
                });
            }
        }
    }
}

/// Returns the line and the name of every `#include "…"`.
pub fn c_includes(text: &str) -> Vec<(usize, &str)> {
    let name = |line: &'_ str| {
        let (_, rest) = line.trim().strip_prefix("#include")?.split_once('"')?;
        rest.split_once('"').map(|(name, _)| name.len())
    };
    let mut found = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if let Some(length) = name(line) {
            let start = line.find('"').unwrap() + 1;
            found.push((number, &line[start..start + length]));
        }
    }
    found
}

#[test]
fn paths_are_read_from_every_form_of_use() {
    let paths = |text: &str| -> Vec<String> {
        rust_imports(text).into_iter().map(|import| import.path.join("::")).collect()
    };
    assert_eq!(paths("use crate::a::b;"), ["a::b"]);
    assert_eq!(
        paths("pub use crate::a::{self, b, c::{d, e as f}, g};"),
        ["a::self", "a::b", "a::c::d", "a::c::e", "a::g"]
    );
    assert_eq!(paths("use crate::{\n    a,\n    b::c,\n};"), ["a", "b::c"]);
    assert_eq!(paths("let x = crate::a::b(crate::c::D);"), ["a::b", "c::D"]);
    assert_eq!(paths("// use crate::a;\n$crate::b; my_crate::c;"), [""; 0]);
    assert_eq!(
        c_includes("#include <x.h>\n# include \"y.h\"\n#include \"a/z.h\"\n"),
        [(3, "a/z.h")]
    );
}
