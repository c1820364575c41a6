// SPDX-License-Identifier: GPL-2.0-only
//! Programs on interfaces: their ids, names and modes.

use std::fmt;
use std::os::fd::OwnedFd;

use caps::Capability;

use crate::abi::programs::{TC_FAMILY, XDP_FAMILY};
use crate::domain::error::{Error, Result};
use crate::kernel::program_info::program_info;
use crate::kernel::program_pin::ProgramPin;

/// Stands for the name of a program whose name this process may not read.
const NAMELESS: &str = "?";

/// The mode in which an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachedMode {
    /// In the driver.
    Native,
    /// On socket buffers, after the driver.
    Generic,
    /// In the hardware; programs of ours never run there.
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
    /// The kernel's id of the program.
    pub id: u32,
    /// Its name in the kernel, at most 15 bytes.
    pub name: String,
    /// Its XDP mode; `None` for TC.
    pub mode: Option<AttachedMode>,
}

impl Attached {
    /// Describes the program with this id. Reading a foreign program's name needs CAP_SYS_ADMIN; without
    /// it the program is nameless.
    pub fn new(id: u32, mode: Option<AttachedMode>, pin: &ProgramPin) -> Self {
        let name = open(id, pin).map_or_else(|_| NAMELESS.to_owned(), |(name, _)| name);
        Self { id, name, mode }
    }

    /// Tells whether this is a steering program, ours or a predecessor's.
    pub fn steers(&self) -> bool {
        self.name == XDP_FAMILY[0]
    }

    /// Tells whether this is a program of ours or a predecessor's that passes every frame.
    pub fn passes(&self) -> bool {
        XDP_FAMILY[1..].contains(&self.name.as_str())
    }

    /// Tells whether this is a classifier, ours or a predecessor's.
    pub fn classifies(&self) -> bool {
        TC_FAMILY.contains(&self.name.as_str())
    }

    /// Tells whether the name is unknown because the process lacks CAP_SYS_ADMIN.
    pub fn is_nameless(&self) -> bool {
        self.name == NAMELESS
    }
}

/// Opens the program with this id, by its pin if possible, else by the id. Returns its name and a
/// descriptor that keeps it loaded.
///
/// # Errors
/// [`Error::Other`]; [`Error::Capabilities`] for a program without a pin.
pub fn open(id: u32, pin: &ProgramPin) -> Result<(String, OwnedFd)> {
    let what = || format!("open BPF program {id}");
    let by_id = || {
        libbpf_rs::Program::fd_from_id(id).map_err(|err| {
            let needed = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN];
            let err = Error::other(what(), err, "").or_missing(&needed);
            err.or_missing(&[Capability::CAP_SYS_ADMIN])
        })
    };
    let fd = pin.open(id).map_or_else(by_id, Ok)?;
    let info = program_info(&fd).map_err(|err| Error::other(what(), err, ""))?;
    let name = info.name.iter().take_while(|&&c| c != 0).map(|&c| char::from(c as u8)).collect();
    Ok((name, fd))
}
