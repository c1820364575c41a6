// SPDX-License-Identifier: GPL-2.0-only
//! The tables of docs/ARCHITECTURE.md: which floor may use which.

use std::collections::{BTreeMap, BTreeSet};

/// A table of floors, the highest first.
#[derive(Debug)]
pub struct Floors {
    /// A name, and the names that it may use.
    allowed: BTreeMap<String, BTreeSet<String>>,
}

impl Floors {
    /// Reads the table below `heading`. Its first column names the things of a floor, its second the
    /// things that they may use: each in backquotes, of rows further down (or of its own row).
    pub fn read(document: &str, heading: &str) -> Self {
        let rows = rows(document, heading);
        for (index, [names, used]) in rows.iter().enumerate() {
            let below: BTreeSet<&String> =
                rows[index..].iter().flat_map(|[names, _]| names).collect();
            let up: Vec<_> = used.iter().filter(|name| !below.contains(name)).collect();
            assert!(up.is_empty(), "{heading}: {names:?} may use {up:?}, which is not below");
        }
        let allowed = rows.into_iter().flat_map(|[names, used]| {
            names.into_iter().map(move |name| (name, used.clone())).collect::<Vec<_>>()
        });
        Self { allowed: allowed.collect() }
    }

    /// Reads the table below `heading` whose rows are floors: the things that the first column names
    /// may use those of lower rows.
    pub fn read_rows(document: &str, heading: &str) -> Self {
        let rows = rows(document, heading);
        let mut below = BTreeSet::new();
        let mut allowed = BTreeMap::new();
        for [names, _] in rows.into_iter().rev() {
            allowed.extend(names.iter().map(|name| (name.clone(), below.clone())));
            below.extend(names);
        }
        Self { allowed }
    }

    pub fn has(&self, name: &str) -> bool {
        self.allowed.contains_key(name)
    }

    pub fn allow(&self, name: &str, used: &str) -> bool {
        self.allowed.get(name).is_some_and(|allowed| allowed.contains(used))
    }
}

/// The backquoted words in the first two cells of each row of the table below `heading`.
fn rows(document: &str, heading: &str) -> Vec<[BTreeSet<String>; 2]> {
    let (_, section) = document.split_once(heading).unwrap_or_else(|| panic!("no {heading}"));
    let table = section.lines().skip_while(|line| !line.starts_with('|')).skip(2);
    let rows: Vec<_> = table
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|');
            [quoted(cells.next().unwrap()), quoted(cells.next().unwrap())]
        })
        .collect();
    assert!(!rows.is_empty(), "no table below {heading}");
    rows
}

/// The words in backquotes of a table's cell, without slashes.
fn quoted(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(|word| word.trim_matches('/').to_owned()).collect()
}

#[test]
#[should_panic(expected = "which is not below")]
fn a_table_that_goes_up_is_refused() {
    Floors::read("### F\n\n| a | b |\n|---|---|\n| `low` | `high` |\n", "### F");
}
