// SPDX-License-Identifier: GPL-2.0-only
//! Helpers that read options: which may stand together, and values that no command owns.

use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::domain::error::{Error, Result};
use crate::domain::format::NamedFormat;

/// Seconds of the longest period that the eBPF pping takes: seven days.
pub const WEEK: f64 = 604_800.0;

/// A value of an option that takes one of several words: the word, its help, the value.
pub type Choice<T> = (&'static str, &'static str, T);

/// Returns a parser that takes one of the words of `choices`.
pub fn one_of<T: Copy + Send + Sync + 'static>(
    choices: &'static [Choice<T>],
) -> impl TypedValueParser<Value = T> {
    let words = choices.iter().map(|(word, help, _)| PossibleValue::new(*word).help(*help));
    PossibleValuesParser::new(words).try_map(|given| {
        let found = choices.iter().find(|(word, ..)| *word == given);
        found.map(|(_, _, value)| *value).ok_or("not one of the values")
    })
}

/// Returns a parser that takes the name of one of `formats`.
pub fn format_of<R: 'static>(
    formats: &'static [&'static NamedFormat<R>],
) -> impl TypedValueParser<Value = &'static NamedFormat<R>> {
    let names = formats.iter().map(|format| PossibleValue::new(format.name).help(format.help));
    PossibleValuesParser::new(names).try_map(|given| {
        formats.iter().find(|format| format.name == given).copied().ok_or("no such format")
    })
}

/// Refuses two options that exclude each other, naming both.
pub fn exclusive(a: (&str, bool), b: (&str, bool)) -> Result<()> {
    if a.1 && b.1 {
        let what = format!("{} with {}", a.0, b.0);
        return Err(Error::usage(what, "they exclude each other", "give one of them"));
    }
    Ok(())
}

/// The one option of `group` that was given; refuses none and the first two of several.
pub fn exactly_one<'a>(group: &[(&'a str, bool)]) -> Result<&'a str> {
    let mut given = group.iter().filter(|(_, given)| *given);
    match (given.next(), given.next()) {
        (Some((only, _)), None) => Ok(only),
        (Some(&a), Some(&b)) => exclusive(a, b).map(|()| a.0),
        (None, _) => {
            let names: Vec<_> = group.iter().map(|(name, _)| *name).collect();
            Err(missing(&names.join(", "), "one of them is required"))
        }
    }
}

/// The value of an option that must be there.
pub fn required<T>(option: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| missing(option, "required option"))
}

pub fn missing(option: &str, why: &str) -> Error {
    Error::usage(format!("missing {option}"), why, "see --help for examples")
}

/// Reads a time in seconds, 0.1 to one day; `option` names it in the error.
pub fn parse_interval(option: &str, text: &str) -> Result<Duration> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let seconds = text.parse().ok().filter(|s| plain && (0.1..=86_400.0).contains(s));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| {
        let what = format!("{option} '{text}'");
        Error::usage(what, "not an interval", "give seconds from 0.1 to 86400")
    })
}

/// Reads a decimal number, with or without a fraction, that must lie within `min..=max`; `option`
/// and `unit` name it in the error.
pub fn parse_real(option: &str, text: &str, min: f64, max: f64, unit: &str) -> Result<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let bad = |why: &str| {
        let remedy = format!("give {unit} from {min} to {max}");
        Error::usage(format!("{option} '{text}'"), why, remedy)
    };
    match text.parse().ok().filter(|_| plain) {
        Some(number) if (min..=max).contains(&number) => Ok(number),
        Some(_) => Err(bad("out of range")),
        None => Err(bad("not a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_exclude_each_other_are_both_named() {
        let group = [("--add", true), ("--del", false), ("--list", true)];
        let err = exactly_one(&group).unwrap_err();
        assert_eq!(err.to_string(), "--add with --list: they exclude each other; give one of them");
        assert_eq!(exactly_one(&group[..2]).unwrap(), "--add");
        let err = exactly_one(&[("--wan", false), ("--lan", false)]).unwrap_err();
        assert_eq!(
            err.to_string(),
            "missing --wan, --lan: one of them is required; see --help for examples"
        );
    }

    #[test]
    fn real_numbers_keep_to_their_range() {
        for (text, value) in [("0", 0.0), ("0.5", 0.5), (".5", 0.5), ("010", 10.0), ("100", 100.0)]
        {
            assert_eq!(parse_real("-r", text, 0.0, 100.0, "it").unwrap(), value, "{text}");
        }
        for text in ["", ".", "-1", "+1", "1e1", "inf", "nan", "0x10", "1,5", " 1", "100.1"] {
            let err = parse_real("-r", text, 0.0, 100.0, "it").unwrap_err();
            assert_eq!(err.exit_code(), 2, "{text:?}");
        }
    }
}
