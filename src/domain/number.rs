// SPDX-License-Identifier: GPL-2.0-only
//! Reads numbers as C's `strtoul` does: the predecessors' callers rely on its bases.

use crate::domain::error::{Error, Result};

/// Reads a CPU number in C's base 0: decimal, `0x…` hexadecimal, `0…` octal.
///
/// # Errors
/// [`Error::BadCpu`] for anything else and for numbers over 32 bits. [`check_cpu`] tells whether the
/// machine has that CPU.
pub fn parse_cpu(text: &str) -> Result<u32> {
    strtoul(text, 0).and_then(|value| u32::try_from(value).ok()).ok_or_else(|| {
        Error::bad_cpu(
            format!("--cpu '{text}'"),
            "not a CPU number",
            "give a number from 0 up: decimal, 0x hexadecimal or 0 octal",
        )
    })
}

/// Checks a CPU number against the number of possible CPUs of this machine.
///
/// # Errors
/// [`Error::BadCpu`] if `cpu >= possible_cpus`.
pub fn check_cpu(cpu: u32, possible_cpus: u32) -> Result<()> {
    if cpu < possible_cpus {
        return Ok(());
    }
    Err(Error::bad_cpu(
        format!("--cpu {cpu}"),
        format!("this machine has {possible_cpus} possible CPUs"),
        format!("give 0 to {}", possible_cpus.saturating_sub(1)),
    ))
}

/// Reads a 16-bit number in hexadecimal, with or without `0x`. `option` is the command-line option,
/// for the error message.
///
/// # Errors
/// [`Error::Usage`] for anything else.
pub fn parse_u16_hex(option: &str, text: &str) -> Result<u16> {
    strtoul(text, 16).and_then(|value| u16::try_from(value).ok()).ok_or_else(|| {
        Error::usage(format!("{option} '{text}'"), "not a hexadecimal number", "give 0 to ffff")
    })
}

/// Reads a number in C's base 0 that must lie within `min..=max`. `option` is the command-line option,
/// for the error message.
///
/// # Errors
/// [`Error::Usage`] for anything else.
pub fn parse_number(option: &str, text: &str, min: u32, max: u32) -> Result<u32> {
    let in_range = |value: &u32| (min..=max).contains(value);
    strtoul(text, 0).and_then(|value| u32::try_from(value).ok()).filter(in_range).ok_or_else(|| {
        let remedy = format!("give a number from {min} to {max}");
        Error::usage(format!("{option} '{text}'"), "not a number in the allowed range", remedy)
    })
}

/// Reads the whole string as C's `strtoul` does: skips leading white space and one `+`, chooses base
/// 8, 10 or 16 by the prefix if `base` is 0, and accepts `0x` in base 16. Returns `None` if there are
/// no digits, trailing characters, a minus sign, or more than 64 bits.
pub(crate) fn strtoul(text: &str, base: u32) -> Option<u64> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0B', '\x0C', '\r']);
    let text = text.strip_prefix('+').unwrap_or(text);
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = match (base, hex) {
        (0 | 16, Some(digits)) => (digits, 16),
        (0, None) if text.starts_with('0') => (text, 8),
        (0, None) => (text, 10),
        (base, _) => (text, base),
    };
    // from_str_radix alone would accept a second sign.
    if !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::error::exit;

    #[test]
    fn cpus_are_read_in_base_0() {
        let table = [
            ("0", 0),
            ("3", 3),
            ("0x0", 0),
            ("0x1F", 31),
            ("0X1f", 31),
            ("010", 8),
            ("+5", 5),
            (" 7", 7),
            ("4294967295", u32::MAX),
        ];
        for (text, cpu) in table {
            assert_eq!(parse_cpu(text).unwrap(), cpu, "{text}");
        }
        let refused = [
            "",
            " ",
            "-1",
            "--1",
            "+-1",
            "++1",
            "08",
            "0x",
            "0xg",
            "3 ",
            "3\n",
            "1.5",
            "abc",
            "4294967296",
            "0x1ffffffffffffffff",
            "0x+1",
            "1_0",
        ];
        for text in refused {
            assert_eq!(parse_cpu(text).unwrap_err().exit_code(), exit::BAD_CPU, "{text:?}");
        }
    }

    #[test]
    fn cpu_must_be_possible() {
        assert!(check_cpu(1, 2).is_ok());
        let err = check_cpu(2, 2).unwrap_err();
        assert_eq!(err.exit_code(), exit::BAD_CPU);
        assert_eq!(err.to_string(), "--cpu 2: this machine has 2 possible CPUs; give 0 to 1");
    }

    #[test]
    fn hexadecimal_numbers_have_16_bits() {
        for (text, value) in [("0", 0), ("a", 10), ("0xA", 10), ("10", 16), ("ffff", 0xffff)] {
            assert_eq!(parse_u16_hex("-j", text).unwrap(), value, "{text}");
        }
        for text in ["", "0x", "10000", "-1", "g", "1:", "1 "] {
            assert_eq!(parse_u16_hex("-j", text).unwrap_err().exit_code(), exit::USAGE, "{text:?}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for (text, value) in [("1", 1), ("2048", 2048), ("0x10", 16), ("16384", 16384)] {
            assert_eq!(parse_number("--qsize", text, 1, 16384).unwrap(), value);
        }
        for text in ["", "0", "16385", "-1", "2048k"] {
            let err = parse_number("--qsize", text, 1, 16384).unwrap_err();
            assert_eq!(err.exit_code(), exit::USAGE, "{text:?}");
        }
    }
}
