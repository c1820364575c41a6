// SPDX-License-Identifier: GPL-2.0-only
//! `make bench`: what a packet costs.

use std::process::ExitCode;

fn main() -> ExitCode {
    measure::cost::main()
}
