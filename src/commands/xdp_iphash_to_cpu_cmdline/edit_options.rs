// SPDX-License-Identifier: GPL-2.0-only
//! Checks the options of one edit, from the command line or from a line of a file.

use crate::commands::options::{exactly_one, required};
use crate::domain::error::Result;
use crate::domain::handle::parse_tc_handle;
use crate::domain::number::parse_cpu;
use crate::domain::prefix::parse_cidr;
use crate::domain::Mapping;
use crate::shaper::changes::Edit;

/// The options of one edit, not yet checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct EditOptions<'a> {
    pub add: bool,
    pub del: bool,
    pub ip: Option<&'a str>,
    pub cpu: Option<&'a str>,
    pub classid: Option<&'a str>,
}

impl EditOptions<'_> {
    /// Checks the options.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::domain::error::Error::Usage),
    /// [`BadIp`](crate::domain::error::Error::BadIp) or
    /// [`BadCpu`](crate::domain::error::Error::BadCpu).
    pub fn edit(&self) -> Result<Edit> {
        match exactly_one(&[("--add", self.add), ("--del", self.del)])? {
            "--add" => self.mapping().map(Edit::Add),
            // Callers also pass --cpu and --classid with --del; only the prefix is used.
            _ => parse_cidr(required("--ip", self.ip)?).map(Edit::Del),
        }
    }

    fn mapping(&self) -> Result<Mapping> {
        let ip = required("--ip", self.ip)?;
        let cpu = required("--cpu", self.cpu)?;
        let classid = required("--classid", self.classid)?;
        Ok(Mapping {
            tc_handle: parse_tc_handle(classid)?,
            cpu: parse_cpu(cpu)?,
            prefix: parse_cidr(ip)?,
        })
    }
}
