// SPDX-License-Identifier: GPL-2.0-only
//! Many changes of the mapping at once: what a file of edits makes of the entries there are. Pure.

use std::cmp::Reverse;
use std::fmt;

use crate::domain::{Mapping, Prefix};

/// One change that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Add this entry, or replace the one of the same prefix.
    Add(Mapping),
    /// Delete the entry of exactly this prefix.
    Del(Prefix),
}

impl Edit {
    /// Whose entry it is about.
    pub fn prefix(&self) -> Prefix {
        match self {
            Self::Add(mapping) => mapping.prefix,
            Self::Del(prefix) => *prefix,
        }
    }
}

/// An edit and where it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EditLine {
    /// EditLine of the file, from 1.
    pub number: usize,
    /// What it says.
    pub edit: Edit,
}

/// What has to be done to the mapping, in the order in which it has to be done.
///
/// In that order (entries added from the longest prefix to the shortest, then changed in place,
/// then deleted from the shortest to the longest) the answer for any address goes from the old one
/// to the new one in a single step: an added entry never hides behind it a longer one that is still
/// to come, and a deleted one never uncovers another that is still to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New prefixes, longest first.
    pub added: Vec<Mapping>,
    /// Prefixes that stay, with another CPU or class.
    pub changed: Vec<Mapping>,
    /// Prefixes that go, shortest first.
    pub deleted: Vec<Prefix>,
    /// Entries that stay as they are.
    pub unchanged: usize,
}

impl Changes {
    /// Entries to write or delete.
    pub fn len(&self) -> usize {
        self.added.len() + self.changed.len() + self.deleted.len()
    }

    /// Everything is as it should be already.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries of the mapping when all is done.
    pub fn entries_after(&self) -> usize {
        self.unchanged + self.changed.len() + self.added.len()
    }

    /// Entries of the mapping before anything is deleted.
    pub fn entries_at_most(&self) -> usize {
        self.entries_after() + self.deleted.len()
    }

    fn push(&mut self, old: Option<&Mapping>, new: Option<&Mapping>) {
        match (old, new) {
            (Some(old), Some(new)) if old == new => self.unchanged += 1,
            (Some(_), Some(new)) => self.changed.push(*new),
            (None, Some(new)) => self.added.push(*new),
            (Some(old), None) => self.deleted.push(old.prefix),
            (None, None) => {}
        }
    }

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

/// A line that deletes what is not there when its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absent {
    /// Its number.
    pub line: usize,
    /// What it would delete.
    pub prefix: Prefix,
}

/// What the lines amount to, each done after the one before it. `current` is in the order of its
/// prefixes, each there once.
///
/// # Errors
/// The first line that deletes a prefix which neither the mapping nor a line before it has.
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

/// A prefix that a file gives more than once: the last line counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated {
    /// EditLine that counts.
    pub line: usize,
    /// The one before it that does not.
    pub before: usize,
    /// What both are about.
    pub prefix: Prefix,
}

/// What makes the mapping exactly the added entries of `lines`, and which prefixes they give more
/// than once. `current` is in the order of its prefixes, each there once.
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

/// Visits every prefix of either, with its entry and its lines.
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
    fn nothing_to_do() {
        let same = current().into_iter().map(Edit::Add).zip(1..);
        let same = same.map(|(edit, number)| EditLine { number, edit }).collect();
        let (changes, _) = replace(&current(), same);
        assert!(changes.is_empty());
        assert_eq!(changes.unchanged, 3);
        assert_eq!(batch(&current(), vec![]).unwrap(), changes);
    }

    #[test]
    fn an_empty_file_deletes_everything_the_shortest_prefix_first() {
        let (changes, _) = replace(&current(), vec![]);
        let order = ["2001:db8::/32", "10.0.0.0/24", "10.0.0.7"].map(prefix);
        assert_eq!(changes.deleted, order);
    }

    #[test]
    fn the_last_line_of_a_prefix_counts_and_is_named() {
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
    fn a_batch_is_its_lines_one_after_another() {
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
    fn the_first_line_that_deletes_nothing_is_named() {
        let table = [
            (lines([del("10.0.0.8"), del("1.1.1.1")]), 1, "10.0.0.8"),
            (lines([del("10.0.0.7"), del("10.0.0.7"), del("1.1.1.1")]), 2, "10.0.0.7"),
            (lines([add("10.0.0.8", 1), del("10.0.0.8"), del("10.0.0.8")]), 3, "10.0.0.8"),
            // The prefix must be the same, not only cover it.
            (lines([del("10.0.0.0/25")]), 1, "10.0.0.0/25"),
        ];
        for (lines, line, cidr) in table {
            assert_eq!(batch(&current(), lines), Err(Absent { line, prefix: prefix(cidr) }));
        }
    }

    /// The longest match, as the trie finds it.
    fn answer(entries: &[Mapping], addr: Prefix) -> Option<Mapping> {
        let covers = |entry: &&Mapping| {
            let cut = Prefix::new(addr.addr(), entry.prefix.prefixlen());
            cut == Some(entry.prefix)
        };
        entries.iter().filter(covers).max_by_key(|entry| entry.prefix.prefixlen()).copied()
    }

    /// Applies one change at a time and asks for every address in between.
    #[test]
    fn every_answer_goes_from_old_to_new_in_one_step() {
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
