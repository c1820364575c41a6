// SPDX-License-Identifier: GPL-2.0-only
//! Pins new maps, also in place of pinned ones: each pin holds the old map or the new one at any time.
//!
//! All maps are pinned under temporary names first, then each pin takes its place by rename(2).
//! `cpp_control` comes last in both passes. So while its temporary pin exists, the set may be a mixture
//! ([`was_interrupted`]), and the next load replaces it as a whole.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use libbpf_rs::MapHandle;

use crate::abi::maps;
use crate::domain::error::{Cause, Error, Result};
use crate::kernel::pin::{pin, take_rights, PinDir};
use crate::kernel::undo::Undo;

/// A map to be pinned.
pub struct NewPin<'a> {
    /// Name of the pin.
    pub name: &'a str,
    /// The map.
    pub map: &'a MapHandle,
    /// The map that has this pin now; `None` if there is no such pin.
    pub old: Option<&'a MapHandle>,
}

/// Pins maps, and replaces the pins that exist. New pins have owner and rights of those they replace.
/// Adds the steps back to `undo`, also those of an attempt that fails.
///
/// # Errors
/// [`Error::Bpffs`] with the path.
pub fn put_pins<'a>(dir: &PinDir, pins: &[NewPin<'a>], undo: &mut Undo<'a>) -> Result<()> {
    let mut pins: Vec<_> = pins.iter().map(|new| Pin::new(dir, new)).collect();
    pins.sort_by_key(|pin| pin.is_last);
    for pin in &pins {
        let temporary = pin.temporary.clone();
        // An error is ignored, here and below: there is nothing to remove, or pinning fails, too.
        let _ = fs::remove_file(&temporary);
        undo.add(move || drop(fs::remove_file(temporary)));
        pin.place(pin.map).map_err(|err| failed(&pin.path, err))?;
    }
    for pin in pins {
        fs::rename(&pin.temporary, &pin.path).map_err(|err| failed(&pin.path, err.into()))?;
        undo.add(move || pin.restore());
    }
    Ok(())
}

/// Tells whether the last [`put_pins`] was interrupted, so that the pins may be of several sets.
pub fn was_interrupted(dir: &PinDir) -> bool {
    fs::symlink_metadata(temporary_name(&dir.path_of(maps::CONTROL))).is_ok()
}

/// bpffs refuses names with dots.
fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push("_new");
    name.into()
}

fn failed(path: &Path, err: Cause) -> Error {
    Error::bpffs(format!("pin {}", path.display()), err, "make bpffs writable for this user")
}

/// One pin on its way.
struct Pin<'a> {
    path: PathBuf,
    temporary: PathBuf,
    map: &'a MapHandle,
    /// The map that has the pin now, with the pin's owner and rights.
    old: Option<(&'a MapHandle, Option<Metadata>)>,
    is_last: bool,
}

impl<'a> Pin<'a> {
    fn new(dir: &PinDir, new: &NewPin<'a>) -> Self {
        let path = dir.path_of(new.name);
        let old = new.old.map(|map| (map, fs::symlink_metadata(&path).ok()));
        let temporary = temporary_name(&path);
        Self { path, temporary, map: new.map, old, is_last: new.name == maps::CONTROL }
    }

    /// Pins a map under the temporary name, with the owner and the rights of the old pin.
    fn place(&self, map: &MapHandle) -> std::result::Result<(), Cause> {
        pin(map, &self.temporary)?;
        if let Some((_, Some(old))) = &self.old {
            take_rights(&self.temporary, old)?;
        }
        Ok(())
    }

    /// Puts the old map back, or removes the pin if there was none.
    fn restore(self) {
        let Some((old, _)) = self.old else { return drop(fs::remove_file(&self.path)) };
        if self.place(old).is_ok() {
            let _ = fs::rename(&self.temporary, &self.path);
        }
    }
}
