// SPDX-License-Identifier: GPL-2.0-only
//! Imports go down only. The tables in docs/ARCHITECTURE.md say which floor may use which others;
//! these tests hold the `crate::` paths of `src/` and the `#include`s of `bpf/` against them, and
//! refuse import cycles between the files of any crate.
//!
//! Unit tests (`#[cfg(test)]`) may look up: they try a floor with what stands on it.

mod cycles;
mod faults;
mod imports;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use imports::{c_includes, is_test_module, rust_imports, Import};
use table::Floors;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with that ending: its path from the project's root, and its text.
fn files(folder: &str, ending: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|found| found == ending) {
                let name = entry.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&entry).unwrap());
            }
        }
    }
    found
}

fn floors(heading: &str) -> Floors {
    let document = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    Floors::read(&document, heading)
}

/// The floor of a file of `src/`: the folder below it.
fn rust_floor(path: &str) -> &str {
    let below = path.strip_prefix("src/").unwrap();
    below.split_once('/').map_or(below, |(folder, _)| folder)
}

/// Lines of a Rust file that use a floor which the table does not allow.
fn rust_violations(floors: &Floors, path: &str, text: &str) -> Vec<String> {
    let floor = rust_floor(path);
    let imports = rust_imports(path.strip_prefix("src/").unwrap(), text);
    let bad = imports.iter().filter(|import| {
        let target = import.path.first().map_or("", String::as_str);
        target != floor && !floors.allow(floor, target)
    });
    bad.map(|Import { line, text, .. }| format!("{path}:{line}: `{text}`: {floor} may not use it"))
        .collect()
}

/// Returns whether the parent of a file declares it as a module of unit tests.
fn is_unit_tests(files: &BTreeMap<String, String>, path: &str) -> bool {
    let Some(folder) = path.strip_suffix("/tests.rs") else { return false };
    let parents = [format!("{folder}.rs"), format!("{folder}/mod.rs")];
    parents.iter().any(|parent| files.get(parent).is_some_and(|it| is_test_module(it, "tests")))
}

#[test]
fn src_imports_go_down_only() {
    let floors = floors("### Floors of `src/`");
    let mut violations = Vec::new();
    let files = files("src", "rs");
    assert!(files.len() > 50, "{} files below src/", files.len());
    for (path, text) in &files {
        if path != "src/lib.rs" && !is_unit_tests(&files, path) {
            violations.extend(rust_violations(&floors, path, text));
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn every_folder_of_src_is_a_floor() {
    let floors = floors("### Floors of `src/`");
    for path in files("src", "rs").keys().filter(|path| *path != "src/lib.rs") {
        assert!(floors.has(rust_floor(path)), "{path}: its folder is not in the table");
    }
}

#[test]
fn an_import_that_goes_up_is_named_by_its_line() {
    let floors = floors("### Floors of `src/`");
    let text = "//! Text.\nuse crate::abi::maps;\nuse crate::commands::{self, main};\n\
                fn f() { crate::format::number::push(); }\n#[cfg(test)]\nmod tests {\n\
                use crate::commands::main;\n}\n";
    let found = rust_violations(&floors, "src/kernel/sample.rs", text);
    assert_eq!(
        found,
        [
            "src/kernel/sample.rs:3: `use crate::commands::{self, main};`: kernel may not use it",
            "src/kernel/sample.rs:3: `use crate::commands::{self, main};`: kernel may not use it",
            "src/kernel/sample.rs:4: `fn f() { crate::format::number::push(); }`: kernel may not use it",
        ]
    );
}

/// Files of a crate import each other without a ring.
fn check_cycles(source: &str) {
    let files = files(source, "rs");
    let modules: BTreeMap<&str, Vec<Vec<String>>> = files
        .iter()
        .map(|(path, text)| {
            let path = path.strip_prefix(source).unwrap().trim_start_matches('/');
            (path, rust_imports(path, text).into_iter().map(|import| import.path).collect())
        })
        .collect();
    let ring = cycles::find(&modules);
    assert!(ring.is_none(), "{source}: an import ring: {}", ring.unwrap().join(" -> "));
}

#[test]
fn no_files_import_each_other_in_a_ring() {
    check_cycles("src");
    for krate in fs::read_dir(root().join("crates")).unwrap() {
        let name = krate.unwrap().file_name().into_string().unwrap();
        let source = format!("crates/{name}/src");
        if Path::new(&root().join(&source)).is_dir() {
            check_cycles(&source);
        }
    }
}

/// The includes that are not the system's.
fn our_includes(text: &str) -> Vec<(usize, &str)> {
    let ours = |name: &str| {
        ["bpf", "include"].iter().any(|folder| root().join(folder).join(name).is_file())
    };
    c_includes(text).into_iter().filter(|(_, name)| ours(name)).collect()
}

/// Lines of a C file that include a file which the table does not allow.
fn c_violations(floors: &Floors, path: &str, text: &str) -> Vec<String> {
    let name = path.rsplit('/').next().unwrap();
    let bad = our_includes(text).into_iter().filter(|(_, included)| !floors.allow(name, included));
    bad.map(|(line, included)| format!("{path}:{line}: {name} may not include {included}"))
        .collect()
}

#[test]
fn bpf_includes_go_down_only() {
    let document = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let floors = Floors::read_rows(&document, "### Floors of `bpf/`");
    let mut violations = Vec::new();
    let sources = ["h", "c"].map(|ending| files("bpf", ending));
    assert!(sources.iter().all(|files| !files.is_empty()));
    for (path, text) in sources.iter().flatten() {
        let name = path.rsplit('/').next().unwrap();
        assert!(floors.has(name), "{path} is not in the table");
        violations.extend(c_violations(&floors, path, text));
    }
    for (path, text) in files("include", "h").into_iter().chain(files("include", "def")) {
        let shared = |included: &str| root().join("include").join(included).is_file();
        let bad = our_includes(&text).into_iter().filter(|(_, included)| !shared(included));
        violations.extend(bad.map(|(line, included)| format!("{path}:{line}: {included}")));
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

/// Each file says its licence in the first line that can.
#[test]
fn every_file_has_its_spdx_line() {
    let folders = ["src", "bpf", "include", "tests", "crates", "packaging"];
    let mut without = Vec::new();
    for folder in folders {
        for ending in ["rs", "c", "h", "def", "sh", "toml"] {
            for (path, text) in files(folder, ending) {
                let head: Vec<&str> = text.lines().take(3).collect();
                if !head.iter().any(|line| line.contains("SPDX-License-Identifier: GPL-2.0")) {
                    without.push(path);
                }
            }
        }
    }
    for path in ["build.rs", "Cargo.toml", "Makefile"] {
        let text = fs::read_to_string(root().join(path)).unwrap();
        if !text.lines().take(3).any(|line| line.contains("SPDX-License-Identifier: GPL-2.0")) {
            without.push(path.to_owned());
        }
    }
    assert!(without.is_empty(), "{without:#?}");
}
