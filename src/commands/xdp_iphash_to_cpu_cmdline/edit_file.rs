// SPDX-License-Identifier: GPL-2.0-only
//! Reads the files of `--batch` and `--replace`. Each line has the options of one `--add` or
//! `--del`, without quotes; `#` starts a comment. Does no I/O.
//!
//! Written by hand, because clap takes 42 µs a line and this takes 0.4 µs. It reads options as clap
//! does, by the rules of GNU getopt_long(3), and takes their names from the command's definition.

use clap::CommandFactory;

use crate::commands::xdp_iphash_to_cpu_cmdline::args::MappingArgs;
use crate::commands::xdp_iphash_to_cpu_cmdline::edit_options::EditOptions;
use crate::domain::error::{Error, Result};
use crate::domain::number::check_cpu;
use crate::shaper::changes::{Edit, EditLine};

/// The edits that a file may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedEdits {
    /// `--add` and `--del`, for `--batch`.
    AddAndDel,
    /// `--add` only, for `--replace`: the file is the whole mapping.
    AddOnly,
}

/// Reads all lines. `name` names the file in messages.
///
/// # Errors
/// That of the first bad line, with its number: [`Error::Usage`], [`Error::BadIp`] or
/// [`Error::BadCpu`], the same as for these options on the command line.
pub fn read(
    name: &str,
    text: &str,
    allowed: AllowedEdits,
    possible_cpus: u32,
) -> Result<Vec<EditLine>> {
    let options = OptionNames::new();
    let mut lines = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let line = line.split_once('#').map_or(line, |(options, _comment)| options);
        let edit = options
            .edit(line)
            .and_then(|edit| edit.map(|edit| checked(edit, allowed, possible_cpus)).transpose())
            .map_err(|err| err.at(format_args!("{name} line {number}")))?;
        lines.extend(edit.map(|edit| EditLine { number, edit }));
    }
    Ok(lines)
}

/// Checks that the file may have this edit, and that the machine has its CPU.
fn checked(edit: Edit, allowed: AllowedEdits, possible_cpus: u32) -> Result<Edit> {
    match (edit, allowed) {
        (Edit::Add(mapping), _) => check_cpu(mapping.cpu, possible_cpus).map(|()| edit),
        (Edit::Del(_), AllowedEdits::AddAndDel) => Ok(edit),
        (Edit::Del(_), AllowedEdits::AddOnly) => {
            let remedy = "leave the prefix out of the file, or use --batch";
            Err(Error::usage("--del", "--replace deletes what the file does not add", remedy))
        }
    }
}

/// An option of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OptionKind {
    Add,
    Del,
    Ip,
    Cpu,
    Classid,
    /// An option that only the command line may have.
    Foreign,
}

/// The names of all options of the command.
struct OptionNames {
    long: Vec<(String, OptionKind)>,
    short: Vec<(char, OptionKind)>,
}

impl OptionNames {
    fn new() -> Self {
        let mut command = MappingArgs::command();
        command.build();
        let (mut long, mut short) = (Vec::new(), Vec::new());
        for arg in command.get_arguments() {
            let kind = match arg.get_id().as_str() {
                "add" => OptionKind::Add,
                "del" => OptionKind::Del,
                "ip" => OptionKind::Ip,
                "cpu" => OptionKind::Cpu,
                "classid" => OptionKind::Classid,
                _ => OptionKind::Foreign,
            };
            let aliases = arg.get_all_aliases().unwrap_or_default();
            let names = arg.get_long().into_iter().chain(aliases);
            long.extend(names.map(|name| (name.to_owned(), kind)));
            short.extend(arg.get_short().map(|name| (name, kind)));
        }
        Self { long, short }
    }

    /// Reads a line, already without its comment. Returns `None` if it is blank.
    fn edit(&self, line: &str) -> Result<Option<Edit>> {
        let mut words = line.split_ascii_whitespace().peekable();
        if words.peek().is_none() {
            return Ok(None);
        }
        let mut edit = EditOptions::default();
        while let Some(word) = words.next() {
            if let Some(name) = word.strip_prefix("--").filter(|name| !name.is_empty()) {
                let (name, value) = match name.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (name, None),
                };
                set(&mut edit, self.find_long(name, word)?, word, value, || words.next())?;
            } else if let Some(cluster) = word.strip_prefix('-').filter(|word| *word != "-") {
                self.short_options(&mut edit, cluster, word, || words.next())?;
            } else {
                let remedy =
                    "a value follows its option, e.g. --ip 100.64.0.2; quotes are not needed";
                return Err(Error::usage(format!("'{word}'"), "not an option", remedy));
            }
        }
        edit.edit().map(Some)
    }

    /// Finds a long option by its name or an unambiguous prefix. `word` is the whole word, for
    /// messages.
    fn find_long(&self, name: &str, word: &str) -> Result<OptionKind> {
        if let Some((_, kind)) = self.long.iter().find(|(long, _)| long == name) {
            return Ok(*kind);
        }
        let mut begin = self.long.iter().filter(|(long, _)| long.starts_with(name));
        match (begin.next(), begin.next()) {
            (Some((_, kind)), None) => Ok(*kind),
            (Some((one, _)), Some((other, _))) => {
                let why = format!("can be --{one} and --{other}");
                Err(Error::usage(format!("'{word}'"), why, "write it out"))
            }
            (None, _) => Err(unknown(word)),
        }
    }

    /// Reads a cluster such as `ai10.0.0.1` of `-ai10.0.0.1`: flags, then possibly an option whose
    /// value is the rest of the word or the next word.
    fn short_options<'a>(
        &self,
        options: &mut EditOptions<'a>,
        cluster: &'a str,
        word: &str,
        mut next: impl FnMut() -> Option<&'a str>,
    ) -> Result<()> {
        let mut rest = cluster;
        while let Some(name) = rest.chars().next() {
            rest = &rest[name.len_utf8()..];
            let found = self.short.iter().find(|(short, _)| *short == name);
            let kind = found.map(|(_, kind)| *kind).ok_or_else(|| unknown(word))?;
            if matches!(kind, OptionKind::Add | OptionKind::Del | OptionKind::Foreign) {
                set(options, kind, word, None, &mut next)?;
                continue;
            }
            let value = Some(rest.strip_prefix('=').unwrap_or(rest)).filter(|_| !rest.is_empty());
            return set(options, kind, word, value, next);
        }
        Ok(())
    }
}

fn unknown(word: &str) -> Error {
    let remedy =
        "a line is --add --ip ADDR[/LEN] --cpu N --classid MAJ:MIN, or --del --ip ADDR[/LEN]";
    Error::usage(format!("'{word}'"), "no such option", remedy)
}

/// Sets one option. Its value is `value`, or the word that `next` returns.
fn set<'a>(
    options: &mut EditOptions<'a>,
    kind: OptionKind,
    word: &str,
    value: Option<&'a str>,
    next: impl FnOnce() -> Option<&'a str>,
) -> Result<()> {
    let refused = |why: &str, remedy: &str| Err(Error::usage(format!("'{word}'"), why, remedy));
    let flag = match kind {
        OptionKind::Add => &mut options.add,
        OptionKind::Del => &mut options.del,
        OptionKind::Foreign => {
            return refused("for the command line only", "a line is one --add or --del")
        }
        _ => {
            let slot = match kind {
                OptionKind::Ip => &mut options.ip,
                OptionKind::Cpu => &mut options.cpu,
                _ => &mut options.classid,
            };
            *slot = value.or_else(next);
            return if slot.is_some() { Ok(()) } else { refused("its value is missing", "add it") };
        }
    };
    if value.is_some() {
        return refused("takes no value", "leave the value out");
    }
    *flag = true;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::command_line::{words, CommandLine as _};
    use crate::commands::xdp_iphash_to_cpu_cmdline::MappingRequest;

    fn lines(text: &str) -> Result<Vec<EditLine>> {
        read("FILE", text, AllowedEdits::AddAndDel, 64)
    }

    /// Reads the same options as a command line. Returns the edit, or the exit code.
    fn command_line(line: &str) -> std::result::Result<Edit, u8> {
        match MappingRequest::parse(words(line)) {
            Ok(MappingRequest::Edit(edit)) => Ok(edit),
            Ok(other) => panic!("{line}: {other:?}"),
            Err(exit) => Err(exit.code),
        }
    }

    #[test]
    fn a_line_reads_as_the_same_command_line_does() {
        let table = [
            "--add --ip 100.64.1.0/24 --cpu 0x0 --classid 0x1:0x8",
            "--add --ip 100.64.1.5 --cpu 3 --classid 4:12",
            "--add --ip ::/0 --cpu 0 --classid 1:2",
            "--del --ip 100.64.1.0/24",
            "--add --ip=10.0.0.1 --cpu=1 --classid=2:5",
            "--class 2:5 --cp 1 --i 10.0.0.1 --ad",
            "-a -i 10.0.0.1 -c 1 -t 2:5",
            "-ai10.0.0.1 -c1 -t2:5",
            "-ai=10.0.0.1 -c=1 -t=2:5",
            "-t 2:5 -c 1 -i 10.0.0.1 -a -a",
            "-a -i bogus -i 10.0.0.1 -c 9 -c 1 -t 1:1 -t 2:5",
            "-xi 10.0.0.1 -c 1 -t 1:1",
            "--d --ip 10.0.0.1",
            "--de --ip 10.0.0.1",
            "--add",
            "--add --ip",
            "--add --ip 10.0.0.1",
            "--add --ip 10.0.0.1 --cpu 1",
            "--add --cpu 1 --classid 1:1",
            "--del",
            "--ip 10.0.0.1",
            "--add --del --ip 10.0.0.1",
            "--add=1 --ip 10.0.0.1 --cpu 1 --classid 1:1",
            "--add --ip 10.0.0.1 --c 1 --classid 1:1",
            "--add --ip 10.0.0.1 --cpu 1 --cl 1:1",
            "--add --ip 10.0.0.1 --cpu 1 --classid=",
            "--add --ip 10.0.0.1 --cpu 1 --classid 10000:1",
            "--add --ip 10.0.0.1/33 --cpu 1 --classid 1:1",
            "--add --ip= --cpu 1 --classid 1:1",
            "--add --ip localhost --cpu 1 --classid 1:1",
            "--del --ip example.com",
            "--add --ip 10.0.0.1 --cpu -1 --classid 1:1",
            "--add --ip 10.0.0.1 --cpu=-1 --classid 1:1",
            "--add --ip 10.0.0.1 -c-1 --classid 1:1",
            "--add --ip 10.0.0.1 --cpu 1x --classid 1:1",
            "--add --ip --cpu --cpu 1 --classid 1:1",
            "--bogus",
            "-Z",
            "-",
            "--",
            "-- --add",
            "stray",
            "add 10.0.0.1",
            "\"--add\"",
            "--add --ip '10.0.0.1' --cpu 1 --classid 1:1",
        ];
        for line in table {
            let from_file = match lines(line) {
                Ok(lines) => Ok(lines[0].edit),
                Err(err) => Err(err.exit_code()),
            };
            assert_eq!(from_file, command_line(line), "{line}");
        }
    }

    #[test]
    fn other_options_are_refused_in_a_file() {
        for option in
            ["--list", "-l", "--clear", "-e", "--help", "-h", "--version", "--batch", "--dry-run"]
        {
            let err = lines(&format!("{option} x")).unwrap_err();
            let start = format!("FILE line 1: '{option}': for the command line only; ");
            assert!(err.to_string().starts_with(&start), "{err}");
            assert_eq!(err.exit_code(), 2);
        }
    }

    #[test]
    fn comments_blank_lines_and_line_ends_are_skipped() {
        let text = "# subscribers\n\n \t \r\n  --add --ip 10.0.0.1 --cpu 1 --classid 2:5 # alice\r\n#--bogus\n--del --ip ::1#\n-xi 10.0.0.1";
        let lines = lines(text).unwrap();
        assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [4, 6, 7]);
        assert_eq!(command_line("--del --ip ::1"), Ok(lines[1].edit));
        assert_eq!(read("FILE", "", AllowedEdits::AddOnly, 1).unwrap(), []);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let good = "--add --ip 10.0.0.1 --cpu 1 --classid 2:5\n".repeat(16);
        let table = [
            (
                "--add --ip 10.0.0.300 --cpu 1 --classid 2:5",
                30,
                "--ip '10.0.0.300': not an IP address",
            ),
            ("--add --ip 10.0.0.1 --cpu 64 --classid 2:5", 31, "--cpu 64: this machine has 64"),
            ("--add --ip 10.0.0.1 --cpu 1 --classid x", 2, "--classid 'x': not hexadecimal"),
            ("--add --ip 10.0.0.1 --cpu 1", 2, "missing --classid: "),
            ("--del --ip 10.0.0.1 --ip", 2, "'--ip': its value is missing"),
        ];
        for (line, code, what) in table {
            let err = lines(&format!("{good}{line}\n--worse")).unwrap_err();
            assert_eq!(err.exit_code(), code, "{err}");
            assert!(err.to_string().starts_with(&format!("FILE line 17: {what}")), "{err}");
        }
    }

    #[test]
    fn a_file_for_replace_has_no_deletions() {
        let err = read("FILE", "\n-xi ::1", AllowedEdits::AddOnly, 1).unwrap_err();
        assert!(err.to_string().starts_with("FILE line 2: --del: "), "{err}");
        assert_eq!(err.exit_code(), 2);
    }
}
