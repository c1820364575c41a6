// SPDX-License-Identifier: GPL-2.0-only
//! Rings among the files of a crate.

use std::collections::BTreeMap;

/// Files by their path below the crate's `src/`, and the module paths that each uses.
type Files<'a> = BTreeMap<&'a str, Vec<Vec<String>>>;

/// Returns the first ring: files of which each imports the next.
pub fn find(files: &Files<'_>) -> Option<Vec<String>> {
    let mut done = Vec::new();
    files.keys().find_map(|file| visit(files, file, &mut Vec::new(), &mut done))
}

fn visit<'a>(
    files: &Files<'a>,
    file: &'a str,
    way: &mut Vec<&'a str>,
    done: &mut Vec<&'a str>,
) -> Option<Vec<String>> {
    if let Some(start) = way.iter().position(|passed| *passed == file) {
        let ring = way[start..].iter().chain([&file]);
        return Some(ring.map(|file| (*file).to_owned()).collect());
    }
    if done.contains(&file) {
        return None;
    }
    way.push(file);
    for path in &files[file] {
        let Some(target) = resolve(files, path).filter(|target| *target != file) else { continue };
        if let Some(ring) = visit(files, target, way, done) {
            return Some(ring);
        }
    }
    way.pop();
    done.push(file);
    None
}

/// The file that the longest beginning of a module path names.
fn resolve<'a>(files: &Files<'a>, path: &[String]) -> Option<&'a str> {
    (1..=path.len()).rev().find_map(|length| {
        let module = path[..length].join("/");
        let names = [format!("{module}.rs"), format!("{module}/mod.rs")];
        names.iter().find_map(|name| files.get_key_value(name.as_str()).map(|(key, _)| *key))
    })
}

#[test]
fn a_ring_is_found_and_named() {
    let path = |text: &str| text.split("::").map(str::to_owned).collect::<Vec<_>>();
    let mut files = Files::from([
        ("a.rs", vec![path("b::c::Thing")]),
        ("b/c.rs", vec![path("d")]),
        ("d/mod.rs", vec![]),
    ]);
    assert_eq!(find(&files), None);
    files.insert("d/mod.rs", vec![path("a::f")]);
    assert_eq!(find(&files).unwrap(), ["a.rs", "b/c.rs", "d/mod.rs", "a.rs"]);
}
