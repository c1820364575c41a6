// SPDX-License-Identifier: GPL-2.0-only
//! Programs on interfaces: their numbers, names and modes.

use std::fmt;
use std::os::fd::OwnedFd;

use caps::Capability;

use crate::abi::programs::{TC_FAMILY, XDP_FAMILY};
use crate::domain::error::{Error, Result};
use crate::kernel::program_info::program_info;
use crate::kernel::program_pin::ProgramPin;

/// The name of a program that the process may not ask for.
const NAMELESS: &str = "?";

/// The mode in which an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachedMode {
    /// In the driver.
    Native,
    /// On socket buffers, after the driver.
    Generic,
    /// In the hardware; never ours.
    Offloaded,
}

impl fmt::Display for AttachedMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offloaded => "offloaded",
        })
    }
}

/// A program on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The kernel's number of the program.
    pub id: u32,
    /// Its name in the kernel, 15 bytes at most.
    pub name: String,
    /// Its mode; `None` for TC.
    pub mode: Option<AttachedMode>,
}

impl Attached {
    /// Names the program number `id`. A foreign program's name takes CAP_SYS_ADMIN; without it the
    /// program has no name here, and is still known to be there.
    pub fn new(id: u32, mode: Option<AttachedMode>, pin: &ProgramPin) -> Self {
        let name = open(id, pin).map_or_else(|_| NAMELESS.to_owned(), |(name, _)| name);
        Self { id, name, mode }
    }

    /// Tells whether it hands frames to their subscriber's CPU, ours or a predecessor's.
    pub fn steers(&self) -> bool {
        self.name == XDP_FAMILY[0]
    }

    /// Tells whether it passes everything.
    pub fn passes(&self) -> bool {
        XDP_FAMILY[1..].contains(&self.name.as_str())
    }

    /// Tells whether it is a classifier, ours or a predecessor's.
    pub fn classifies(&self) -> bool {
        TC_FAMILY.contains(&self.name.as_str())
    }

    /// Tells whether its name takes CAP_SYS_ADMIN, which the process does not have.
    pub fn is_nameless(&self) -> bool {
        self.name == NAMELESS
    }
}

/// Opens the program number `id`, by its pin or by its number: its name, and a descriptor that keeps
/// it.
///
/// # Errors
/// [`Error::Other`], or the missing capability.
pub fn open(id: u32, pin: &ProgramPin) -> Result<(String, OwnedFd)> {
    let what = || format!("look at BPF program {id}");
    let by_number = || {
        libbpf_rs::Program::fd_from_id(id).map_err(|err| {
            let needed = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN];
            let err = Error::other(what(), err, "").or_missing(&needed);
            err.or_missing(&[Capability::CAP_SYS_ADMIN])
        })
    };
    let fd = pin.open(id).map_or_else(by_number, Ok)?;
    let info = program_info(&fd).map_err(|err| Error::other(what(), err, ""))?;
    let name = info.name.iter().take_while(|&&c| c != 0).map(|&c| char::from(c as u8)).collect();
    Ok((name, fd))
}
