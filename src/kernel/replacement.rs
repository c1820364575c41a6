// SPDX-License-Identifier: GPL-2.0-only
//! What a load has replaced besides the program that it was asked for, in words.

use std::fmt;

use crate::abi::ABI_VERSION;
use crate::domain::IfName;
use crate::kernel::attachments::Attachment;
use crate::kernel::hook::Hook;
use crate::kernel::map_set::MapSet;

/// What a load has replaced: our own maps with the programs that used them, or programs that used other
/// maps than the pinned ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// Why new maps took the place of the pinned ones; `None` if the pinned ones stayed.
    fault: Option<String>,
    /// Every program that has been replaced.
    programs: Vec<(IfName, Hook)>,
    /// The programs that have options of this load, because their own could not be read.
    guessed: Vec<(IfName, Hook)>,
}

impl Replacement {
    /// Describes a load of the program of `place` over the pins `set`. `strays` are the other programs
    /// that it replaces, each with whether its options are known. Returns `None` if there is nothing to
    /// tell: the first load, or a reload.
    pub fn new(
        set: &MapSet,
        place: (IfName, Hook),
        strays: &[(&Attachment, bool)],
    ) -> Option<Self> {
        if strays.is_empty() && (set.fault().is_none() || set.is_bare()) {
            return None;
        }
        let place_of = |stray: &Attachment| (stray.dev.clone(), stray.hook);
        let mut programs: Vec<_> = strays.iter().map(|(stray, _)| place_of(stray)).collect();
        if set.fault().is_some() {
            programs.insert(0, place);
        }
        let unknown = strays.iter().filter(|(_, known)| !known);
        let guessed = unknown.map(|(stray, _)| place_of(stray)).collect();
        Some(Self { fault: set.fault().map(str::to_owned), programs, guessed })
    }
}

impl fmt::Display for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let programs = list(&self.programs);
        match &self.fault {
            Some(fault) => write!(
                f,
                "{programs}: new cpp_* maps (ABI version {ABI_VERSION}) in place of the old ones \
                 ({fault}): RTT figures start anew, mappings stay"
            )?,
            None => write!(
                f,
                "{programs}: used other cpp_* maps than the pinned ones, and uses these now: RTT \
                 figures of its traffic start anew"
            )?,
        }
        if !self.guessed.is_empty() {
            let guessed = list(&self.guessed);
            write!(f, "; {guessed}: RTT options of this command, for want of CAP_SYS_ADMIN")?;
        }
        Ok(())
    }
}

/// Lists hooks by interface: `lan (xdp, egress), wan (egress)`.
fn list(programs: &[(IfName, Hook)]) -> String {
    let mut by_dev: Vec<(&IfName, Vec<&str>)> = Vec::new();
    for (dev, hook) in programs {
        match by_dev.iter_mut().find(|(known, _)| *known == dev) {
            Some((_, hooks)) => hooks.push(hook.name()),
            None => by_dev.push((dev, vec![hook.name()])),
        }
    }
    let words = by_dev.into_iter().map(|(dev, hooks)| format!("{dev} ({})", hooks.join(", ")));
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(places: &[(&str, Hook)]) -> Vec<(IfName, Hook)> {
        let place = |(dev, hook): &(&str, Hook)| (IfName::parse("--dev", dev).unwrap(), *hook);
        places.iter().map(place).collect()
    }

    #[test]
    fn the_line_names_versions_and_interfaces() {
        let programs = places(&[("lan", Hook::Egress), ("wan", Hook::Xdp), ("lan", Hook::Xdp)]);
        let mut replacement =
            Replacement { fault: Some("ABI version 1".to_owned()), programs, guessed: Vec::new() };
        let line = format!(
            "lan (egress, xdp), wan (xdp): new cpp_* maps (ABI version {ABI_VERSION}) in place of \
             the old ones (ABI version 1): RTT figures start anew, mappings stay"
        );
        assert_eq!(replacement.to_string(), line);
        replacement.guessed = places(&[("wan", Hook::Xdp)]);
        assert_eq!(
            replacement.to_string(),
            line + "; wan (xdp): RTT options of this command, for want of CAP_SYS_ADMIN"
        );
    }
}
