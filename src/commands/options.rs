// SPDX-License-Identifier: GPL-2.0-only
//! Helpers that check options: which ones exclude each other, and values that several commands
//! take.

use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::domain::error::{Error, Result};
use crate::domain::format::NamedFormat;

/// The longest time in seconds that the eBPF pping accepts: seven days.
pub const WEEK: f64 = 604_800.0;

/// A value of an option that takes one of several words: the word, its help text, the value.
pub type Choice<T> = (&'static str, &'static str, T);

/// Returns a clap parser that accepts the words of `choices`.
pub fn one_of<T: Copy + Send + Sync + 'static>(
    choices: &'static [Choice<T>],
) -> impl TypedValueParser<Value = T> {
    let words = choices.iter().map(|(word, help, _)| PossibleValue::new(*word).help(*help));
    PossibleValuesParser::new(words).try_map(|given| {
        let found = choices.iter().find(|(word, ..)| *word == given);
        found.map(|(_, _, value)| *value).ok_or("not one of the values")
    })
}

/// Returns a clap parser that accepts the names of `formats`.
pub fn format_of<R: 'static>(
    formats: &'static [&'static NamedFormat<R>],
) -> impl TypedValueParser<Value = &'static NamedFormat<R>> {
    let names = formats.iter().map(|format| PossibleValue::new(format.name).help(format.help));
    PossibleValuesParser::new(names).try_map(|given| {
        formats.iter().find(|format| format.name == given).copied().ok_or("no such format")
    })
}

/// Refuses two options that exclude each other. Each is its name, and whether it was given.
///
/// # Errors
/// [`Error::Usage`] that names both.
pub fn exclusive(a: (&str, bool), b: (&str, bool)) -> Result<()> {
    if a.1 && b.1 {
        let what = format!("{} with {}", a.0, b.0);
        return Err(Error::usage(what, "they exclude each other", "give one of them"));
    }
    Ok(())
}

/// Returns the option of `group` that was given. Each is its name, and whether it was given.
///
/// # Errors
/// [`Error::Usage`] if none was given, or with the first two if several were.
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

/// Returns the first option of `group` that was given.
pub fn first_given<'a>(group: &[(&'a str, bool)]) -> Option<&'a str> {
    group.iter().find(|(_, given)| *given).map(|(name, _)| *name)
}

/// Returns the value of an option that must be given.
///
/// # Errors
/// [`Error::Usage`] if it is not.
pub fn required<T>(option: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| missing(option, "required option"))
}

/// Makes the error of an option that is missing.
pub fn missing(option: &str, why: &str) -> Error {
    Error::usage(format!("missing {option}"), why, "see --help for examples")
}

/// Reads a time in seconds from 0.1 to 86400, one day. `option` names it in the error.
///
/// # Errors
/// [`Error::Usage`].
pub fn parse_interval(option: &str, text: &str) -> Result<Duration> {
    parse_real(option, text, 0.1, 86_400.0, "seconds").map(Duration::from_secs_f64)
}

/// Reads a decimal number from `min` to `max`, with or without a fraction, without sign or
/// exponent. `option` and `unit`, a plural, name it in the error.
///
/// # Errors
/// [`Error::Usage`].
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
    fn intervals_are_a_tenth_of_a_second_to_one_day() {
        for (text, seconds) in [("0.1", 0.1), ("5", 5.0), ("86400", 86_400.0)] {
            let interval = parse_interval("--watch", text).unwrap();
            assert_eq!(interval, Duration::from_secs_f64(seconds), "{text}");
        }
        let err = parse_interval("--watch", "86401").unwrap_err();
        let text = "--watch '86401': out of range; give seconds from 0.1 to 86400";
        assert_eq!(err.to_string(), text);
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
