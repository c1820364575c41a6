// SPDX-License-Identifier: GPL-2.0-only

//! Tests that any user may run: options, help, and the recorded texts of `pping`. They need no root, so `make test-user`
//! runs them.

#[path = "../common/mod.rs"]
mod common;
mod recorded;

use common::command::{program, programs, refused, Said};
use std::process::Command;

#[test]
fn help_is_on_stdout() {
    for name in programs().filter(|name| *name != "cpumap-pping") {
        for option in ["--help", "-h", "--he"] {
            let said = Said::by(Command::new(program(name)).arg(option));
            assert_eq!((said.code, said.err.as_str()), (0, ""), "{name} {option}");
            for part in ["Usage: ", "Examples:", "Exit codes:"] {
                assert!(said.out.contains(part), "{name} {option}: {}", said.out);
            }
        }
    }
}

/// Options and values that `pping` refuses before it asks for a right.
#[test]
fn bad_options_and_values_of_pping() {
    let table = [
        ("", "missing --interface, --read"),
        ("-i lo --read x", "--interface with --read"),
        ("-i lo -F xml", "'xml'"),
        ("-i lo -r -1", "--rate-limit '-1'"),
        ("-i lo -R x", "--rtt-rate 'x'"),
        ("-i lo -t mean", "'mean'"),
        ("-i lo -I egress", "'egress'"),
        ("-i lo -x skb", "'skb'"),
        ("-i lo -c never", "--cleanup-interval 'never'"),
        ("-i lo -a 0", "--aggregate '0'"),
        ("-i lo -a 1 --aggregate-subnets-v4 33", "--aggregate-subnets-v4 '33'"),
        ("-i lo -a 1 --aggregate-subnets-v6 129", "--aggregate-subnets-v6 '129'"),
        ("-i lo -a 1 --aggregate-timeout -1", "--aggregate-timeout '-1'"),
        ("-i lo --aggregate-reverse", "--aggregate-reverse: "),
        ("-i lo -a 1 -F ppviz", "--aggregate with --format ppviz"),
        ("-i name-of-an-interface", "--interface 'name-of-an-interface'"),
        ("-i lo surplus", "'surplus'"),
    ];
    for (options, part) in table {
        let mut command = Command::new(program("pping"));
        refused(&Said::by(command.args(options.split_whitespace())), 2, part);
    }
}
