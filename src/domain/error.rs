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

/// A cause of any type. Strings, `io::Error` and `nix::errno::Errno` convert into it.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// Every exit code of the commands of this package with its meaning, in ascending order.
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
    /// Success.
    pub const SUCCESS: u8 = 0;
    /// Any failure without a code of its own.
    pub const FAILURE: u8 = 1;
    /// Unknown option, missing option, options that exclude each other, malformed value.
    pub const USAGE: u8 = 2;
    /// An XDP program could not be attached or detached.
    pub const XDP_ATTACH: u8 = 3;
    /// A map could not be read or written.
    pub const MAP: u8 = 20;
    /// One key of a map: it is absent, or the kernel refused it.
    pub const MAP_KEY: u8 = 21;
    /// The pin of a map is missing.
    pub const MAP_FILE: u8 = 22;
    /// The BPF file system, which holds the pins, is missing or not usable.
    pub const BPFFS: u8 = 23;
    /// The value of `--ip` is bad.
    pub const BAD_IP: u8 = 30;
    /// The value of `--cpu` is bad.
    pub const BAD_CPU: u8 = 31;
    /// A program could not be loaded (verifier, BTF).
    pub const BPF_LOAD: u8 = 40;
}

/// What went wrong, why, and what to do about it.
#[derive(Debug)]
pub struct Detail {
    /// The operation that failed, with its object: `--qsize 0`, `open
    /// /sys/fs/bpf/tc/globals/map_ip_hash`.
    pub what: String,
    /// Why it failed: the kernel's error or the rule that was broken.
    pub why: Cause,
    /// The remedy: what the operator can do. Empty if there is nothing to add.
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

/// The library's error: one variant for each meaning.
#[derive(Debug)]
pub enum Error {
    /// Options or their values make no sense (exit 2). The command-line layer adds the usage.
    Usage(Detail),
    /// An XDP program could not be attached or detached (exit 3).
    XdpAttach(Detail),
    /// A map that has the wrong shape, is full or cannot be read (exit 20).
    Map(Detail),
    /// A key of a map that is absent on delete or refused on insert (exit 21).
    MapKey(Detail),
    /// A pinned map that is not there (exit 22).
    MapFile(Detail),
    /// The BPF file system is missing or not usable (exit 23).
    Bpffs(Detail),
    /// Not an IP address or prefix (exit 30).
    BadIp(Detail),
    /// Not a CPU number of this machine (exit 31).
    BadCpu(Detail),
    /// The kernel refused a program (exit 40).
    BpfLoad(Detail),
    /// Names of the capabilities that the process lacks, such as `CAP_BPF` (exit 1). Never empty.
    Capabilities(Vec<String>),
    /// Results could not be written to standard output (exit 1). A reader that closed the pipe is not
    /// an error.
    Output(io::Error),
    /// Anything else (exit 1).
    Other(Detail),
}

/// Defines a constructor for each variant that carries a [`Detail`].
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

/// Returns the [`Detail`] of an error, if its variant has one, as a reference of the same kind as
/// `$error`. A macro, so that `&self` and `&mut self` share one list of variants.
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
        /// A map has the wrong shape, is full or cannot be read.
        map => Map,
        /// A key of a map is absent or refused.
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

    /// Returns the exit code of the process. Only this function assigns codes to errors.
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

    /// Returns the parts of the message; `None` for the variants without parts.
    pub fn detail(&self) -> Option<&Detail> {
        detail_of!(self)
    }

    fn detail_mut(&mut self) -> Option<&mut Detail> {
        detail_of!(self)
    }

    /// Prefixes the message with a place, such as a file name and a line number. Changes nothing in the
    /// variants without [`Detail`].
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
    fn message_is_operation_cause_and_remedy() {
        let err = Error::map_file("open /pin", Errno::ENOENT, "load first");
        assert_eq!(err.to_string(), "open /pin: ENOENT: No such file or directory; load first");
        assert_eq!(Error::other("a", "b", "").to_string(), "a: b");
    }

    #[test]
    fn at_prefixes_the_message() {
        let err = Error::bad_ip("--ip 'x'", "not an IP address", "give one");
        let err = err.at(format_args!("FILE line {}", 17));
        assert_eq!(err.to_string(), "FILE line 17: --ip 'x': not an IP address; give one");
        assert_eq!(err.exit_code(), 30);
    }

    #[test]
    fn exit_codes_match_the_contract() {
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
    fn message_names_the_missing_capabilities() {
        assert_eq!(
            Error::Capabilities(vec!["CAP_BPF".into(), "CAP_NET_ADMIN".into()]).to_string(),
            "missing CAP_BPF, CAP_NET_ADMIN: run as root or grant them with setcap/AmbientCapabilities="
        );
    }
}
