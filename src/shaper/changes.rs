// SPDX-License-Identifier: GPL-2.0-only
//! Computes the changes that a file of edits makes to the mapping. No I/O.

use std::cmp::Reverse;
use std::fmt;

use crate::domain::{Mapping, Prefix};

/// A change that the operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Add this entry, or replace the entry of the same prefix.
    Add(Mapping),
    /// Delete the entry of exactly this prefix.
    Del(Prefix),
}

impl Edit {
    /// Returns the prefix of the entry to change.
    pub fn prefix(&self) -> Prefix {
        match self {
            Self::Add(mapping) => mapping.prefix,
            Self::Del(prefix) => *prefix,
        }
    }
}

/// An edit from one line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EditLine {
    /// Number of the line, from 1.
    pub number: usize,
    /// The edit.
    pub edit: Edit,
}

/// The changes to make to the mapping, in the order in which to make them: add entries from the longest
/// prefix to the shortest, change entries, delete entries from the shortest prefix to the longest.
///
/// In this order, the look-up of any address changes from its old answer to its new answer in a single
/// step. When an entry is added, every longer prefix that will cover the address is already there. When
/// an entry is deleted, no shorter prefix that must be deleted, too, is left to answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New entries, longest prefix first.
    pub added: Vec<Mapping>,
    /// Entries whose CPU or class changes.
    pub changed: Vec<Mapping>,
    /// Prefixes to delete, shortest first.
    pub deleted: Vec<Prefix>,
    /// Number of entries that stay as they are.
    pub unchanged: usize,
}

impl Changes {
    /// Returns the number of entries to write or delete.
    pub fn len(&self) -> usize {
        self.added.len() + self.changed.len() + self.deleted.len()
    }

    /// Tells whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of entries in the mapping after all changes.
    pub fn entries_after(&self) -> usize {
        self.unchanged + self.changed.len() + self.added.len()
    }

    /// Returns the number of entries in the mapping after the additions and before the deletions, the
    /// largest number that it has meanwhile.
    pub fn entries_at_most(&self) -> usize {
        self.entries_after() + self.deleted.len()
    }

    /// Records what changes an entry from `old` to `new`; `None` means that there is no entry.
    fn push(&mut self, old: Option<&Mapping>, new: Option<&Mapping>) {
        match (old, new) {
            (Some(old), Some(new)) if old == new => self.unchanged += 1,
            (Some(_), Some(new)) => self.changed.push(*new),
            (None, Some(new)) => self.added.push(*new),
            (Some(old), None) => self.deleted.push(old.prefix),
            (None, None) => {}
        }
    }

    /// Sorts the changes into the order in which to make them.
    fn in_order(mut self) -> Self {
        self.added.sort_by_key(|mapping| Reverse(mapping.prefix.prefixlen()));
        self.deleted.sort_by_key(Prefix::prefixlen);
        self
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { added, changed, deleted, unchanged } = self;
        let [added, changed, deleted] = [added.len(), changed.len(), deleted.len()];
        write!(f, "added {added}, changed {changed}, deleted {deleted}, unchanged {unchanged}")
    }
}

/// A line that deletes a prefix which the mapping does not have at that point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absent {
    /// Number of the line, from 1.
    pub line: usize,
    /// The prefix.
    pub prefix: Prefix,
}

/// Returns the changes that have the effect of the lines, executed one after another. `current` is sorted
/// by prefix, without duplicates.
///
/// # Errors
/// The first line that deletes a prefix which the mapping does not have at that point.
pub fn batch(current: &[Mapping], lines: Vec<EditLine>) -> Result<Changes, Absent> {
    let mut changes = Changes::default();
    let mut absent: Option<Absent> = None;
    for_each_prefix(current, lines, |old, lines| {
        let mut new = old.copied();
        for line in lines {
            new = match line.edit {
                Edit::Add(mapping) => Some(mapping),
                Edit::Del(prefix) => {
                    let earlier = absent.is_none_or(|found| line.number < found.line);
                    if new.is_none() && earlier {
                        absent = Some(Absent { line: line.number, prefix });
                    }
                    None
                }
            };
        }
        changes.push(old, new.as_ref());
    });
    match absent {
        Some(absent) => Err(absent),
        None => Ok(changes.in_order()),
    }
}

/// A prefix on more than one line of a file. The last line counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated {
    /// Number of the line that counts, from 1.
    pub line: usize,
    /// Number of the line before it with the same prefix, from 1.
    pub before: usize,
    /// The prefix.
    pub prefix: Prefix,
}

/// Returns the changes after which the mapping holds exactly the added entries of `lines`, and the
/// prefixes that are on more than one line. `current` is sorted by prefix, without duplicates.
pub fn replace(current: &[Mapping], lines: Vec<EditLine>) -> (Changes, Vec<Repeated>) {
    let mut changes = Changes::default();
    let mut repeated = Vec::new();
    for_each_prefix(current, lines, |old, lines| {
        let new = lines.last().and_then(|line| match &line.edit {
            Edit::Add(mapping) => Some(mapping),
            Edit::Del(_) => None,
        });
        changes.push(old, new);
        if let [.., before, last] = lines {
            let (line, before) = (last.number, before.number);
            repeated.push(Repeated { line, before, prefix: last.edit.prefix() });
        }
    });
    repeated.sort_unstable_by_key(|repeated| repeated.line);
    (changes.in_order(), repeated)
}

/// Visits every prefix of `current` and `lines`, with its entry and its lines, in the order of the
/// prefixes.
fn for_each_prefix<'a>(
    current: &'a [Mapping],
    mut lines: Vec<EditLine>,
    mut visit: impl FnMut(Option<&'a Mapping>, &[EditLine]),
) {
    lines.sort_by_key(|line| line.edit.prefix());
    let mut current = current.iter().peekable();
    for group in lines.chunk_by(|a, b| a.edit.prefix() == b.edit.prefix()) {
        let prefix = group[0].edit.prefix();
        while let Some(old) = current.next_if(|old| old.prefix < prefix) {
            visit(Some(old), &[]);
        }
        visit(current.next_if(|old| old.prefix == prefix), group);
    }
    current.for_each(|old| visit(Some(old), &[]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::prefix::parse_cidr;
    use crate::domain::TcHandle;

    fn prefix(cidr: &str) -> Prefix {
        parse_cidr(cidr).unwrap()
    }

    fn mapping(cidr: &str, minor: u32) -> Mapping {
        Mapping { prefix: prefix(cidr), cpu: 0, tc_handle: TcHandle(0x1_0000 | minor) }
    }

    fn add(cidr: &str, minor: u32) -> Edit {
        Edit::Add(mapping(cidr, minor))
    }

    fn del(cidr: &str) -> Edit {
        Edit::Del(prefix(cidr))
    }

    fn lines<const N: usize>(edits: [Edit; N]) -> Vec<EditLine> {
        edits.into_iter().zip(1..).map(|(edit, number)| EditLine { number, edit }).collect()
    }

    fn current() -> Vec<Mapping> {
        let mut current =
            vec![mapping("10.0.0.0/24", 1), mapping("10.0.0.7", 2), mapping("2001:db8::/32", 3)];
        current.sort_by_key(|mapping| mapping.prefix);
        current
    }

    #[test]
    fn a_file_replaces_the_mapping() {
        let file = lines([
            add("10.0.1.0/24", 9),
            add("10.0.0.7", 5),
            add("2001:db8::/32", 3),
            add("10.0.1.9", 8),
        ]);
        let (changes, repeated) = replace(&current(), file);
        assert_eq!(changes.added, [mapping("10.0.1.9", 8), mapping("10.0.1.0/24", 9)]);
        assert_eq!(changes.changed, [mapping("10.0.0.7", 5)]);
        assert_eq!(changes.deleted, [prefix("10.0.0.0/24")]);
        assert_eq!(changes.to_string(), "added 2, changed 1, deleted 1, unchanged 1");
        assert_eq!((changes.entries_after(), changes.entries_at_most()), (4, 5));
        assert_eq!(repeated, []);
    }

    #[test]
    fn equal_mappings_need_no_change() {
        let same = current().into_iter().map(Edit::Add).zip(1..);
        let same = same.map(|(edit, number)| EditLine { number, edit }).collect();
        let (changes, _) = replace(&current(), same);
        assert!(changes.is_empty());
        assert_eq!(changes.unchanged, 3);
        assert_eq!(batch(&current(), vec![]).unwrap(), changes);
    }

    #[test]
    fn an_empty_file_deletes_all_entries_shortest_prefix_first() {
        let (changes, _) = replace(&current(), vec![]);
        let order = ["2001:db8::/32", "10.0.0.0/24", "10.0.0.7"].map(prefix);
        assert_eq!(changes.deleted, order);
    }

    #[test]
    fn the_last_line_of_a_prefix_counts_and_is_reported() {
        let file = lines([
            add("10.0.0.7", 1),
            add("10.0.0.9", 1),
            add("10.0.0.7/32", 2),
            add("10.0.0.9", 4),
            add("10.0.0.7", 2),
        ]);
        let (changes, repeated) = replace(&current(), file);
        assert_eq!(changes.added, [mapping("10.0.0.9", 4)]);
        assert_eq!(changes.unchanged, 1);
        let expected = [
            Repeated { line: 4, before: 2, prefix: prefix("10.0.0.9") },
            Repeated { line: 5, before: 3, prefix: prefix("10.0.0.7") },
        ];
        assert_eq!(repeated, expected);
    }

    #[test]
    fn a_batch_executes_its_lines_one_after_another() {
        let file = lines([
            del("10.0.0.7"),
            add("10.0.0.7", 7),
            add("10.0.0.8", 8),
            del("10.0.0.8"),
            del("10.0.0.0/24"),
            add("10.0.0.9", 9),
        ]);
        let changes = batch(&current(), file).unwrap();
        assert_eq!(changes.added, [mapping("10.0.0.9", 9)]);
        assert_eq!(changes.changed, [mapping("10.0.0.7", 7)]);
        assert_eq!(changes.deleted, [prefix("10.0.0.0/24")]);
        assert_eq!(changes.unchanged, 1);
    }

    #[test]
    fn the_first_line_that_deletes_nothing_is_reported() {
        let table = [
            (lines([del("10.0.0.8"), del("1.1.1.1")]), 1, "10.0.0.8"),
            (lines([del("10.0.0.7"), del("10.0.0.7"), del("1.1.1.1")]), 2, "10.0.0.7"),
            (lines([add("10.0.0.8", 1), del("10.0.0.8"), del("10.0.0.8")]), 3, "10.0.0.8"),
            // A line deletes only an equal prefix, not one that covers it.
            (lines([del("10.0.0.0/25")]), 1, "10.0.0.0/25"),
        ];
        for (lines, line, cidr) in table {
            assert_eq!(batch(&current(), lines), Err(Absent { line, prefix: prefix(cidr) }));
        }
    }

    /// Returns the longest match, as the trie finds it.
    fn answer(entries: &[Mapping], addr: Prefix) -> Option<Mapping> {
        let covers = |entry: &&Mapping| {
            let cut = Prefix::new(addr.addr(), entry.prefix.prefixlen());
            cut == Some(entry.prefix)
        };
        entries.iter().filter(covers).max_by_key(|entry| entry.prefix.prefixlen()).copied()
    }

    /// Applies one change at a time, and looks up every address after each.
    #[test]
    fn every_answer_changes_from_old_to_new_in_one_step() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        let addresses: Vec<_> = (0..16).map(|n| prefix(&format!("10.0.0.{n}"))).collect();
        for _ in 0..300 {
            let mut draw = || {
                let count = random(12);
                let mut drawn: Vec<_> = (0..count)
                    .map(|_| {
                        mapping(
                            &format!("10.0.0.{}/{}", random(16), 27 + random(6)),
                            1 + random(3) as u32,
                        )
                    })
                    .collect();
                drawn.sort_by_key(|mapping| mapping.prefix);
                drawn.dedup_by_key(|mapping| mapping.prefix);
                drawn
            };
            let (old, new) = (draw(), draw());
            let file =
                new.iter().zip(1..).map(|(m, number)| EditLine { number, edit: Edit::Add(*m) });
            let (changes, _) = replace(&old, file.collect());
            let mut now = old.clone();
            let mut done = vec![false; addresses.len()];
            let mut check = |now: &[Mapping]| {
                for (addr, done) in addresses.iter().zip(&mut done) {
                    let (was, found, will) =
                        (answer(&old, *addr), answer(now, *addr), answer(&new, *addr));
                    *done |= found == will;
                    assert_eq!(found, if *done { will } else { was }, "{addr}: {old:?} to {new:?}");
                }
            };
            for mapping in changes.added.iter().chain(&changes.changed) {
                now.retain(|entry| entry.prefix != mapping.prefix);
                now.push(*mapping);
                check(&now);
            }
            for prefix in &changes.deleted {
                now.retain(|entry| entry.prefix != *prefix);
                check(&now);
            }
            now.sort_by_key(|mapping| mapping.prefix);
            assert_eq!(now, new);
        }
    }
}
