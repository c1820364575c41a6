// SPDX-License-Identifier: GPL-2.0-only
//! `make accuracy`: how right the RTTs are.

use std::process::ExitCode;

fn main() -> ExitCode {
    measure::accuracy::main()
}
