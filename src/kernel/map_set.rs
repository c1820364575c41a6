// SPDX-License-Identifier: GPL-2.0-only
//! The set of maps that the programs share, as the pins of the moment say it.
//!
//! Our own maps, `cpp_*`, are used all together or not at all: they must be of this ABI version, of the
//! right shapes, and complete. Otherwise a load makes new ones ([`load`](crate::kernel::load)). The
//! contract's maps are always used as they are.

use std::collections::BTreeMap;
use std::mem::offset_of;

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::abi::{self, from_bytes, maps, Control, FLOW_WAYS};
use crate::domain::error::{Error, Result};
use crate::kernel::new_pins::was_interrupted;
use crate::kernel::pin::{PinDir, Shape, RELOAD};

/// The name, type and sizes that this version gives a map.
pub type Wanted = (String, Shape);

/// The pinned maps, by name.
#[derive(Debug, Default)]
pub struct MapSet {
    /// The maps that a load uses: those of the contract, and ours if they are fit.
    used: BTreeMap<String, MapHandle>,
    /// Our own maps if they are not fit: a load replaces them.
    unfit: BTreeMap<String, MapHandle>,
    /// Why they are not fit.
    fault: Option<String>,
}

impl MapSet {
    /// Reads the pins. `wanted` names all maps.
    ///
    /// # Errors
    /// [`Error::Map`]: a map of the contract has another shape, or a pin cannot be opened.
    pub fn read(dir: &PinDir, wanted: &[Wanted]) -> Result<Self> {
        let mut set = Self::default();
        let mut own = BTreeMap::new();
        for (name, shape) in wanted {
            match (dir.try_open(name)?, maps::is_ours(name)) {
                (Some(pinned), false) => {
                    dir.check_shape(name, &pinned, *shape)?;
                    set.used.insert(name.clone(), pinned);
                }
                (Some(pinned), true) => drop(own.insert(name.clone(), pinned)),
                (None, _) => {}
            }
        }
        set.fault = fault(dir, &own, wanted);
        let place = if set.fault.is_none() { &mut set.used } else { &mut set.unfit };
        place.append(&mut own);
        Ok(set)
    }

    /// Returns the pinned map of this name that a load uses.
    pub fn used(&self, name: &str) -> Option<&MapHandle> {
        self.used.get(name)
    }

    /// Returns the pinned map of this name that a load replaces.
    pub fn unfit(&self, name: &str) -> Option<&MapHandle> {
        self.unfit.get(name)
    }

    /// Tells whether nothing of ours is pinned.
    pub fn is_bare(&self) -> bool {
        self.fault.is_some() && self.unfit.is_empty()
    }

    /// Returns why a load does not use our own pinned maps; `None` if it uses them.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Returns the kernel's number of a map that a load uses.
    pub fn id(&self, name: &str) -> Option<u32> {
        Some(self.used(name)?.info().ok()?.info.id)
    }

    /// Returns the size of the pinned flow table in flows, also of one that is to be replaced.
    pub fn flows(&self) -> Option<u32> {
        let table = self.used(maps::FLOW).or_else(|| self.unfit(maps::FLOW))?;
        Some(table.max_entries().saturating_mul(FLOW_WAYS as u32))
    }

    /// Returns the record that all programs share; `None` if a load makes a new one.
    pub fn control(&self) -> Option<Control> {
        let bytes = self.used(maps::CONTROL)?.lookup(&0u32.to_ne_bytes(), MapFlags::ANY);
        Some(from_bytes(&bytes.ok()??))
    }
}

/// Returns the first reason not to use our own pinned maps.
fn fault(dir: &PinDir, own: &BTreeMap<String, MapHandle>, wanted: &[Wanted]) -> Option<String> {
    if own.is_empty() {
        return Some("none was pinned".to_owned());
    }
    match own.get(maps::CONTROL).map(version_of) {
        Some(Some(version)) if u64::from(version) == abi::ABI_VERSION => {}
        Some(Some(version)) if version != 0 => return Some(format!("ABI version {version}")),
        _ => return Some("unfinished".to_owned()),
    }
    if was_interrupted(dir) {
        return Some("unfinished".to_owned());
    }
    wanted.iter().filter(|(name, _)| maps::is_ours(name)).find_map(|(name, shape)| {
        match own.get(name).map(Shape::of) {
            None => Some(format!("without {name}")),
            Some(found) if found != *shape => Some(format!("{name} was a {found}")),
            Some(_) => None,
        }
    })
}

/// Returns the ABI version in a `cpp_control` of any version. 0: the map was never filled.
fn version_of(control: &MapHandle) -> Option<u32> {
    const AT: usize = offset_of!(Control, abi_version);
    let bytes = control.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).ok()??;
    Some(u32::from_ne_bytes(bytes.get(AT..AT + 4)?.try_into().ok()?))
}

/// Refuses our own pinned maps if they are of another ABI version: a command that reads them would
/// misread them. Does nothing if none are pinned.
///
/// # Errors
/// [`Error::Map`] with the remedy.
pub fn require_version(dir: &PinDir) -> Result<()> {
    let Some(control) = dir.try_open(maps::CONTROL)? else { return Ok(()) };
    let why = match version_of(&control) {
        Some(version) if u64::from(version) == abi::ABI_VERSION => return Ok(()),
        Some(0) | None => "a load was interrupted before it had filled them".to_owned(),
        Some(version) => {
            format!("they have ABI version {version}, this command needs {}", abi::ABI_VERSION)
        }
    };
    Err(Error::map("use the pinned cpp_* maps", why, RELOAD))
}
