// SPDX-License-Identifier: GPL-2.0-only
//! Appends numbers and addresses to a buffer. Written by hand (integers by `itoa`), because
//! `std::fmt` would take most of the time at 100 000 events a second or with 65 000 classes in a
//! snapshot.

use std::fmt;
use std::io::Write;
use std::net::IpAddr;

use crate::domain::TcHandle;

/// Appends an integer in decimal.
pub fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends `number / 10^digits` with `digits` decimals. `digits` is at most 19.
pub fn push_decimal(out: &mut Vec<u8>, number: u64, digits: u32) {
    let unit = 10_u64.pow(digits);
    push_number(out, number / unit);
    out.push(b'.');
    push_fraction(out, number % unit, unit);
}

/// Appends `rest / unit` as decimals, without the point, one digit for each zero of `unit`. `unit`
/// is a power of ten, and `rest` is less.
pub fn push_fraction(out: &mut Vec<u8>, mut rest: u64, mut unit: u64) {
    while unit > 1 {
        unit /= 10;
        out.push(b'0' + (rest / unit) as u8);
        rest %= unit;
    }
}

/// Appends nanoseconds as milliseconds with two decimals, rounded as [`Milliseconds`] is.
pub fn push_ms(out: &mut Vec<u8>, ns: u64) {
    push_decimal(out, Milliseconds(ns).hundredths(), 2);
}

/// Appends an address. IPv6 comes from `std::fmt`, which writes the shortest form (RFC 5952).
pub fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (index, byte) in v4.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                push_number(out, byte.into());
            }
        }
        IpAddr::V6(v6) => push_text(out, format_args!("{v6}")),
    }
}

/// Appends a tc handle with both halves in decimal, as JSON has it.
pub fn push_decimal_handle(out: &mut Vec<u8>, handle: TcHandle) {
    push_number(out, handle.major().into());
    out.push(b':');
    push_number(out, handle.minor().into());
}

/// Appends formatted text.
pub fn push_text(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    let _ = out.write_fmt(text);
}

/// Nanoseconds that are displayed as milliseconds with two decimals, rounded half up. The
/// arithmetic is in integers, so the text is never `NaN` or `-0.00`.
pub struct Milliseconds(pub u64);

impl Milliseconds {
    fn hundredths(&self) -> u64 {
        self.0.saturating_add(5_000) / 10_000
    }
}

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = self.hundredths();
        write!(f, "{}.{:02}", hundredths / 100, hundredths % 100)
    }
}

/// Returns what `write` appends.
#[cfg(test)]
pub fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_handles() {
        let table = [
            ("192.0.2.1", "192.0.2.1"),
            ("0.0.0.0", "0.0.0.0"),
            ("255.255.255.255", "255.255.255.255"),
            ("2001:DB8:0:0::1", "2001:db8::1"),
            ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
        ];
        for (address, expected) in table {
            assert_eq!(text(|out| push_address(out, address.parse().unwrap())), expected);
        }
        let mut out = Vec::new();
        push_decimal_handle(&mut out, TcHandle(0x12_00ab));
        assert_eq!(out, b"18:171");
    }

    #[test]
    fn milliseconds_are_rounded_half_up() {
        let table = [
            (0, "0.00"),
            (4_999, "0.00"),
            (5_000, "0.01"),
            (994_999, "0.99"),
            (995_000, "1.00"),
            (12_345_678, "12.35"),
            (u64::MAX, "18446744073709.55"),
        ];
        for (ns, ms) in table {
            assert_eq!(Milliseconds(ns).to_string(), ms, "{ns}");
            let mut line = Vec::new();
            push_ms(&mut line, ns);
            assert_eq!(line, ms.as_bytes(), "{ns}");
        }
    }

    #[test]
    fn numbers_keep_all_their_decimals() {
        for (number, digits, expected) in
            [(0, 9, "0.000000000"), (1, 6, "0.000001"), (u64::MAX, 9, "18446744073.709551615")]
        {
            assert_eq!(text(|out| push_decimal(out, number, digits)), expected);
        }
    }
}
