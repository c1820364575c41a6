// SPDX-License-Identifier: GPL-2.0-only
//! The library's errors, and the one place where they become exit codes.
//!
//! Every error answers three questions: what was being done, why it failed, and what the operator
//! can do about it. [`Display`](fmt::Display) prints them on one line, `what: why; remedy`. The
//! `ERR: ` in front belongs to the command-line layer (`commands::main_exit`).

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// A result with this library's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// A cause of any type; strings convert into it as well as `io::Error` and `nix::errno::Errno`.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// Everything the commands of this package can exit with: code and meaning, ascending.
///
/// Help texts and man pages print this table; [`Error::exit_code`] returns nothing else.
pub const EXIT_CODES: [(u8, &str); 11] = [
    (exit::SUCCESS, "success"),
    (exit::FAILURE, "failure (also: missing capability)"),
    (exit::USAGE, "bad option or value"),
    (exit::XDP_ATTACH, "XDP program could not be attached or detached"),
    (exit::MAP, "BPF map could not be read or written"),
    (exit::MAP_KEY, "no such entry in the map, or the kernel refused it"),
    (exit::MAP_FILE, "pinned map is missing: nothing is loaded yet"),
    (exit::BPFFS, "BPF file system is missing or not usable"),
    (exit::BAD_IP, "bad IP address or prefix"),
    (exit::BAD_CPU, "bad CPU number"),
    (exit::BPF_LOAD, "BPF program could not be loaded"),
];

/// The exit codes that callers test for. They never change.
pub mod exit {
    /// Done.
    pub const SUCCESS: u8 = 0;
    /// Anything that has no code of its own.
    pub const FAILURE: u8 = 1;
    /// Unknown option, missing option, options that exclude each other, malformed value.
    pub const USAGE: u8 = 2;
    /// XDP attach or detach.
    pub const XDP_ATTACH: u8 = 3;
    /// A map as a whole.
    pub const MAP: u8 = 20;
    /// One key of a map.
    pub const MAP_KEY: u8 = 21;
    /// The pin of a map.
    pub const MAP_FILE: u8 = 22;
    /// The BPF file system that holds the pins.
    pub const BPFFS: u8 = 23;
    /// Value of `--ip`.
    pub const BAD_IP: u8 = 30;
    /// Value of `--cpu`.
    pub const BAD_CPU: u8 = 31;
    /// Verifier, BTF or program load.
    pub const BPF_LOAD: u8 = 40;
}

/// What went wrong, why, and what to do about it.
#[derive(Debug)]
pub struct Detail {
    /// What was being done, with its object: `--qsize 0`, `open
    /// /sys/fs/bpf/tc/globals/map_ip_hash`.
    pub what: String,
    /// Why it failed: the kernel's error or the rule that was broken.
    pub why: Cause,
    /// What the operator can do; empty if there is nothing to add.
    pub remedy: String,
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)?;
        if self.remedy.is_empty() {
            return Ok(());
        }
        write!(f, "; {}", self.remedy)
    }
}

/// The library's error, one variant per meaning (and per exit code).
#[derive(Debug)]
pub enum Error {
    /// Options or their values make no sense (exit 2). The command-line layer adds the usage.
    Usage(Detail),
    /// XDP attach or detach (exit 3).
    XdpAttach(Detail),
    /// A map as a whole: wrong shape, full, not readable (exit 20).
    Map(Detail),
    /// One key of a map: absent on delete, refused on insert (exit 21).
    MapKey(Detail),
    /// A pinned map that is not there (exit 22).
    MapFile(Detail),
    /// The BPF file system (exit 23).
    Bpffs(Detail),
    /// Not an IP address or prefix (exit 30).
    BadIp(Detail),
    /// Not a CPU number of this machine (exit 31).
    BadCpu(Detail),
    /// The kernel refused a program (exit 40).
    BpfLoad(Detail),
    /// Rights that the process does not have (exit 1): names such as `CAP_BPF`, never empty.
    Capabilities(Vec<String>),
    /// Results could not be written to standard output (exit 1; a reader that went away is not an
    /// error).
    Output(io::Error),
    /// Anything else (exit 1).
    Other(Detail),
}

/// One constructor per variant that carries a [`Detail`].
macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $variant:ident),+ $(,)?) => {
        $(
            $(#[$doc])*
            ///
            /// `why` is a string, an `io::Error`, an `Errno`, …; an empty `remedy` is left out of
            /// the message.
            pub fn $name(
                what: impl Into<String>,
                why: impl Into<Cause>,
                remedy: impl Into<String>,
            ) -> Self {
                Self::$variant(Detail { what: what.into(), why: why.into(), remedy: remedy.into() })
            }
        )+
    };
}

/// The detail of a variant that has one, borrowed as the error is.
macro_rules! detail_of {
    ($error:expr) => {
        match $error {
            Self::Usage(detail)
            | Self::XdpAttach(detail)
            | Self::Map(detail)
            | Self::MapKey(detail)
            | Self::MapFile(detail)
            | Self::Bpffs(detail)
            | Self::BadIp(detail)
            | Self::BadCpu(detail)
            | Self::BpfLoad(detail)
            | Self::Other(detail) => Some(detail),
            Self::Capabilities(_) | Self::Output(_) => None,
        }
    };
}

impl Error {
    constructors! {
        /// Options or their values make no sense.
        usage => Usage,
        /// XDP attach or detach failed.
        xdp_attach => XdpAttach,
        /// A map as a whole failed.
        map => Map,
        /// One key of a map failed.
        map_key => MapKey,
        /// A pinned map is not there.
        map_file => MapFile,
        /// The BPF file system is not usable.
        bpffs => Bpffs,
        /// Not an IP address or prefix.
        bad_ip => BadIp,
        /// Not a CPU number of this machine.
        bad_cpu => BadCpu,
        /// The kernel refused a program.
        bpf_load => BpfLoad,
        /// Anything else.
        other => Other,
    }

    /// The process exit code: the contract's table, in one place.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => exit::USAGE,
            Self::XdpAttach(_) => exit::XDP_ATTACH,
            Self::Map(_) => exit::MAP,
            Self::MapKey(_) => exit::MAP_KEY,
            Self::MapFile(_) => exit::MAP_FILE,
            Self::Bpffs(_) => exit::BPFFS,
            Self::BadIp(_) => exit::BAD_IP,
            Self::BadCpu(_) => exit::BAD_CPU,
            Self::BpfLoad(_) => exit::BPF_LOAD,
            Self::Capabilities(_) | Self::Output(_) | Self::Other(_) => exit::FAILURE,
        }
    }

    /// The parts of the message, for variants that have them.
    pub fn detail(&self) -> Option<&Detail> {
        detail_of!(self)
    }

    fn detail_mut(&mut self) -> Option<&mut Detail> {
        detail_of!(self)
    }

    /// Puts a place, such as a file and a line of it, in front of the message.
    pub fn at(mut self, place: fmt::Arguments<'_>) -> Self {
        if let Some(detail) = self.detail_mut() {
            detail.what = format!("{place}: {}", detail.what);
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capabilities(missing) => {
                let missing = missing.join(", ");
                write!(f, "missing {missing}: run as root or grant them with ")?;
                f.write_str("setcap/AmbientCapabilities=")
            }
            Self::Output(err) => write!(f, "write to standard output: {err}"),
            _ => self.detail().map_or(Ok(()), |detail| detail.fmt(f)),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Output(err) => Some(err),
            _ => self.detail().map(|d| d.why.as_ref() as &(dyn StdError + 'static)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn one_line_of_what_why_remedy() {
        let err = Error::map_file("open /pin", Errno::ENOENT, "load first");
        assert_eq!(err.to_string(), "open /pin: ENOENT: No such file or directory; load first");
        assert_eq!(Error::other("a", "b", "").to_string(), "a: b");
    }

    #[test]
    fn a_place_stands_in_front() {
        let err = Error::bad_ip("--ip 'x'", "not an IP address", "give one");
        let err = err.at(format_args!("FILE line {}", 17));
        assert_eq!(err.to_string(), "FILE line 17: --ip 'x': not an IP address; give one");
        assert_eq!(err.exit_code(), 30);
    }

    #[test]
    fn exit_codes_are_the_contract() {
        type Constructor = fn(&'static str, &'static str, &'static str) -> Error;
        let table: [(Constructor, u8); 10] = [
            (Error::usage, 2),
            (Error::xdp_attach, 3),
            (Error::map, 20),
            (Error::map_key, 21),
            (Error::map_file, 22),
            (Error::bpffs, 23),
            (Error::bad_ip, 30),
            (Error::bad_cpu, 31),
            (Error::bpf_load, 40),
            (Error::other, 1),
        ];
        for (make, code) in table {
            let err = make("what", "why", "remedy");
            assert_eq!(err.exit_code(), code, "{err:?}");
            assert!(EXIT_CODES.iter().any(|&(known, _)| known == code));
        }
        assert_eq!(Error::Capabilities(vec!["CAP_BPF".into()]).exit_code(), 1);
        assert_eq!(Error::Output(io::ErrorKind::WriteZero.into()).exit_code(), 1);
    }

    #[test]
    fn names_the_missing_rights() {
        assert_eq!(
            Error::Capabilities(vec!["CAP_BPF".into(), "CAP_NET_ADMIN".into()]).to_string(),
            "missing CAP_BPF, CAP_NET_ADMIN: run as root or grant them with setcap/AmbientCapabilities="
        );
    }
}
