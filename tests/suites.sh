#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# suites.sh all|rust|user: runs the test suites, each to its end, even when one before it failed. Prints a line for each
# suite with its tests and its time, and a summary at the end: "N passed, N failed". Exit 1 if anything failed.
#
#   all   lints, scripts, the parser fuzzer for ten seconds, and every Rust suite (`make test`; needs root)
#   rust  the Rust suites (`make test-rust`; needs root)
#   user  the part that needs neither root nor a tool that is missing here (`make test-user`)
#
# Set CARGO to use another program than cargo.
set -uo pipefail
export LC_ALL=C
cd "$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")" || exit

: "${CARGO:=cargo}"
# Integration tests that any user may run. All others, outside the crates' own source files, need root.
readonly user_suites=(architecture user plans)

passed=0 failed=0 failures=''

# count SUITE PASSED FAILED MICROSECONDS: the line about a suite.
count() {
	passed=$((passed + $2)) failed=$((failed + $3))
	[[ $3 == 0 ]] || failures+=" $1"
	printf '==> suite %s: %d tests, %d failed, %d.%d s\n' "$1" $(($2 + $3)) "$3" $(($4 / 1000000)) $(($4 / 100000 % 10))
}

now() { printf '%s' "${EPOCHREALTIME/[.,]/}"; }

# simple SUITE COMMAND...: a suite that counts as one test.
simple() {
	local started suite=$1
	started=$(now)
	shift
	if "$@"; then
		count "$suite" 1 0 $(($(now) - started))
	else
		count "$suite" 0 1 $(($(now) - started))
	fi
}

# The scripts' suite says TAP.
scripts() {
	local line started good=0 bad=0 planned=''
	started=$(now)
	while IFS= read -r line; do
		printf '%s\n' "$line"
		case $line in
		'ok '*) good=$((good + 1)) ;;
		'not ok '*) bad=$((bad + 1)) ;;
		1..*) planned=${line#1..} ;;
		esac
	done < <(tests/scripts.sh 2>&1)
	# Without a plan the suite ended before its end.
	[[ $planned == $((good + bad)) ]] || bad=$((bad + 1))
	count scripts "$good" "$bad" $(($(now) - started))
}

# The suite that cargo is about to run, from its line: "Running tests/bulk.rs (target/debug/deps/bulk-0123456789abcdef)".
suite_name() {
	local name
	name=${1##*/}
	name=${name%-*}
	[[ $1 != *'Running unittests'* ]] || name="unit tests of ${name//_/-}"
	printf '%s' "$name"
}

# finish_suite: a suite that ends without a result was killed, or crashed.
finish_suite() {
	[[ -z $suite ]] || count "$suite (no result: it crashed)" 0 1 $(($(now) - started))
	suite=''
}

# cargo_test OPTIONS...: runs `cargo test` and counts each of its suites.
cargo_test() {
	local line suite='' started=0 status=1 result before=$failed
	result='^test result: [a-zA-Z]+\. ([0-9]+) passed; ([0-9]+) failed;'
	while IFS= read -r line; do
		if [[ $line =~ ^cargo-status\ ([0-9]+)$ ]]; then
			status=${BASH_REMATCH[1]}
			continue
		fi
		printf '%s\n' "$line"
		if [[ $line =~ ^\ *Running\ .*\(.*\)$ ]]; then
			finish_suite
			suite=$(suite_name "$line") started=$(now)
		elif [[ $line =~ ^\ *Doc-tests\ (.*)$ ]]; then
			finish_suite
			suite="examples in the documentation of ${BASH_REMATCH[1]//_/-}" started=$(now)
		elif [[ $line =~ $result ]]; then
			if ((BASH_REMATCH[1] + BASH_REMATCH[2] > 0)); then
				count "$suite" "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" $(($(now) - started))
			fi
			suite=''
		fi
	done < <("$CARGO" test --workspace --locked --no-fail-fast "$@" 2>&1; echo "cargo-status $?")
	finish_suite
	# For example, the tests do not compile.
	((status == 0 || failed > before)) || count 'cargo test' 0 1 0
}

# have TOOL WHAT: whether a tool is here; without it, says that WHAT is left out.
have() {
	command -v "$1" >/dev/null && return
	printf '==> left out: %s, since %s is not installed (make deps)\n' "$2" "$1"
	return 1
}

lint_as_far_as_possible() {
	have rustfmt 'the lint rustfmt' && simple rustfmt make --no-print-directory lint-rustfmt
	have clang-format 'the lint clang-format' && simple clang-format make --no-print-directory lint-clang-format
	have shellcheck 'the lint shellcheck' && simple shellcheck make --no-print-directory lint-shellcheck
	have cargo-clippy 'the lint clippy' && simple clippy make --no-print-directory lint-clippy
	have jq 'the lint rust-version' && simple rust-version make --no-print-directory lint-rust-version
}

# The integration tests of the workspace, one a line.
integration_suites() {
	"$CARGO" metadata --format-version 1 --locked --no-deps |
		grep -o '"kind":\["test"\],"crate_types":\["bin"\],"name":"[^"]*"' | sed 's/.*"name":"//; s/"$//' | sort
}

# Says how many tests are left out, and of which suites.
say_what_is_left_out() {
	local suite number total=0 listed=''
	while IFS= read -r suite; do
		[[ " ${user_suites[*]} " != *" $suite "* ]] || continue
		number=$("$CARGO" test --workspace --locked --quiet --test "$suite" -- --list 2>/dev/null | grep -c ': test$')
		total=$((total + number)) listed+=", $suite ($number)"
	done < <(integration_suites)
	printf '==> left out: %d tests that need root: %s; and the scripts; sudo make test runs them all\n' \
		"$total" "${listed#, }"
}

need_root() {
	[[ $(id -u) == 0 ]] && return
	printf 'make: the tests make network namespaces and load BPF programs: run them as root (sudo make test);\n' >&2
	printf 'make: make test-user runs the part that any user may run\n' >&2
	exit 1
}

started_all=$(now)
case ${1:-} in
all)
	need_root
	simple lint make --no-print-directory lint
	scripts
	simple 'parser fuzzer' make --no-print-directory test-parser
	cargo_test
	;;
rust)
	need_root
	cargo_test
	;;
user)
	lint_as_far_as_possible
	skip=()
	have jq 'the test jq_reads_it' || skip=(-- --skip jq_reads_it)
	cargo_test --lib --bins "${user_suites[@]/#/--test=}" "${skip[@]}"
	cargo_test --doc
	say_what_is_left_out
	;;
*)
	printf 'usage: suites.sh all|rust|user\n' >&2
	exit 2
	;;
esac

[[ -z $failures ]] || printf '\nfailed:%s\n' "$failures"
printf '\n%d s\n%d passed, %d failed\n' $((($(now) - started_all) / 1000000)) "$passed" "$failed"
((failed == 0))
