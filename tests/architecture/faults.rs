// SPDX-License-Identifier: GPL-2.0-only
//! The table of docs/faults.md: the tests that it names exist, and it has every entry.

use super::root;
use std::fs;

/// A row: the entry of FAULTS.md, and the tests that show its right value, as (file, function).
struct Row {
    entry: String,
    tests: Vec<(String, String)>,
}

/// Reads a cell of tests: `` `FILE::TEST` `` or `` `FILE::{TEST, TEST}` ``, separated by anything else.
fn tests_of(cell: &str) -> Vec<(String, String)> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|name| name.split_once("::"))
        .flat_map(|(file, names)| {
            let names = names.trim_matches(['{', '}']).split(',').map(str::trim);
            names.map(move |name| (file.to_owned(), name.to_owned()))
        })
        .collect()
}

fn rows(document: &str) -> Vec<Row> {
    let lines = document.lines().filter(|line| line.starts_with("| P") || line.starts_with("| C"));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            assert_eq!(cells.len(), 4, "four cells: {line}");
            Row { entry: cells[0].to_owned(), tests: tests_of(cells[1]) }
        })
        .collect()
}

/// Returns a row's place in the order P1 to P12, C1 to C13.
fn place(entry: &str) -> (bool, u32) {
    let number: String = entry[1..].chars().take_while(char::is_ascii_digit).collect();
    (entry.starts_with('C'), number.parse().unwrap())
}

/// Returns whether a file has a test of that name that runs: a test that is ignored shows nothing.
fn has_test(text: &str, name: &str) -> bool {
    text.split("#[test]").skip(1).any(|after| {
        let (attributes, function) = after.split_once("fn ").unwrap_or_default();
        function.strip_prefix(name).is_some_and(|rest| rest.starts_with('('))
            && !attributes.contains("#[ignore")
    })
}

#[test]
fn the_table_of_faults_names_tests_that_exist() {
    let document = fs::read_to_string(root().join("docs/faults.md")).unwrap();
    let rows = rows(&document);
    let mut wrong = Vec::new();
    for Row { entry, tests } in &rows {
        if tests.is_empty() {
            wrong.push(format!("{entry} names no test"));
        }
        for (file, name) in tests {
            let text = fs::read_to_string(root().join(file)).unwrap_or_default();
            if !has_test(&text, name) {
                wrong.push(format!("{entry}: {file} has no test {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let places: Vec<_> = rows.iter().map(|row| place(&row.entry)).collect();
    assert!(places.is_sorted(), "not in order: {places:?}");
    let all = (1..=12).map(|number| (false, number)).chain((1..=13).map(|number| (true, number)));
    let without: Vec<_> = all.filter(|place| !places.contains(place)).collect();
    assert!(without.is_empty(), "entries without a row (false: P, true: C): {without:?}");
}

#[test]
fn names_are_read_one_by_one() {
    let found = tests_of("`a/b.rs::x`, `c.rs::{y, z}` (`word`)");
    let expected = [("a/b.rs", "x"), ("c.rs", "y"), ("c.rs", "z")];
    assert_eq!(found, expected.map(|(file, name)| (file.to_owned(), name.to_owned())));
    let text = "#[test]\n#[should_panic]\nfn one_two() {}\nfn helper() {}";
    assert!(has_test(text, "one_two") && !has_test(text, "one") && !has_test(text, "helper"));
    assert!(!has_test(&text.replace("should_panic", "ignore"), "one_two"));
}
