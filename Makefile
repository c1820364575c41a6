# SPDX-License-Identifier: GPL-2.0-only
# cpumap-pping: build, test, install. `make help` lists the targets.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build

CARGO   ?= cargo
PREFIX  ?= /usr/local
DESTDIR ?=
# Keep these from cargo, which runs the makefiles of libelf and libbpf: they use variables of the same names.
unexport PREFIX DESTDIR
MAKEOVERRIDES =

# The folder of cargo's results, and that of ours.
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR
RELEASE := $(CARGO_TARGET_DIR)/release
BUILD   := build
DIST    := $(BUILD)/dist

BINARIES := $(basename $(notdir $(wildcard src/bin/*.rs)))
SCRIPTS  := $(notdir $(wildcard packaging/scripts/*.sh))
BPF_C    := $(wildcard bpf/*.c bpf/*.h include/*.h crates/bench/bpf/*.c crates/bench/bpf/*.h crates/fuzz/*.c crates/fuzz/*.h crates/fuzz/include/bpf/*.h)
SHELL_FILES := .ci/run $(wildcard tests/*.sh packaging/scripts/*.sh packaging/deb/*.sh)

VERSION := $(shell sed -n '/^\[package\]/,/^\[/s/^version *= *"\(.*\)"/\1/p' Cargo.toml)
# The oldest Rust that compiles the sources and the tests: `make lint` checks it.
RUST    := $(shell sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)

# Debian packages: to compile, to run, to check (each tool that a test runs), to package.
DEPS := clang libclang-rt-dev llvm gcc libc6-dev linux-libc-dev make pkg-config libelf-dev zlib1g-dev ca-certificates \
	iproute2 ethtool procps kmod util-linux \
	clang-format shellcheck jq bpftool nftables iputils-ping tcpdump tshark tcptrace
DEB_DEPS := dpkg-dev fakeroot lintian debootstrap

# $(call step,NAME): prints the name of a step.
step = @printf '\n==> %s\n' "$(1)"

# $(call apt,PACKAGES): installs the packages that are missing, and calls apt only if one is.
define apt
	@missing=$$(for p in $(1); do \
		dpkg-query -W -f '$${db:Status-Status}\n' "$$p" 2>/dev/null | grep -qx installed || printf '%s ' "$$p"; \
	done); \
	if [[ -z $$missing ]]; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
		echo "make: not a Debian system: install the contents of these packages by hand: $$missing" >&2; exit 0; \
	fi; \
	printf '\n==> apt-get install %s\n' "$$missing"; \
	sudo=; if [[ $$(id -u) != 0 ]]; then sudo=sudo; fi; \
	$$sudo apt-get update -qq || echo "make: apt-get update failed, trying with the lists at hand" >&2; \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null
endef

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

## -- build and run

.PHONY: deps
deps: ## install the Debian packages that building and testing need
	$(call apt,$(DEPS))
	@command -v $(CARGO) >/dev/null || { echo "make: no cargo: Rust $(RUST) or later is needed (https://rustup.rs)" >&2; exit 1; }
	@version=$$($(CARGO) --version | cut -d ' ' -f 2); \
	[[ $$(printf '%s\n' $(RUST) "$$version" | sort -V | head -n 1) == $(RUST) ]] || { \
		echo "make: Rust $$version is too old: $(RUST) or later is needed (rustup update)" >&2; exit 1; }

.PHONY: build
build: ## build the programs (target/release)
	$(CARGO) build --release --locked

.PHONY: demo
demo: deps ## a lab with two subscribers, their traffic and their RTTs (needs root)
	$(CARGO) build --release --locked -p cpumap-pping --bins -p cpumap-pping-demo
	$(RELEASE)/cpumap-pping-demo

.PHONY: dist
dist: ## man pages and shell completions, from the command definitions (build/dist)
	$(CARGO) run --quiet --release --locked -p xtask -- dist $(DIST)

.PHONY: readme
readme: ## write the README's table of commands anew, from the list in src/commands/mod.rs
	$(CARGO) run --quiet --locked -p xtask -- readme README.md

## -- check

.PHONY: test
test: deps ## everything: formats, lints, scripts, unit and end-to-end tests (needs root)
	@CARGO="$(CARGO)" tests/suites.sh all

.PHONY: test-rust
test-rust: ## every Rust suite (needs root)
	@CARGO="$(CARGO)" tests/suites.sh rust

.PHONY: test-user
test-user: ## the tests that any user may run; says how many it leaves out
	@CARGO="$(CARGO)" tests/suites.sh user

.PHONY: test-scripts
test-scripts: ## the three shell scripts, on veth devices of their own (needs root)
	$(call step,tests/scripts.sh)
	@tests/scripts.sh

.PHONY: lint lint-rustfmt lint-clang-format lint-shellcheck lint-clippy lint-rust-version
lint: lint-rustfmt lint-clang-format lint-shellcheck lint-clippy lint-rust-version ## formats and lints only

lint-rustfmt:
	$(call step,cargo fmt --check)
	@$(CARGO) fmt --all -- --check

lint-clang-format:
	$(call step,clang-format)
	@clang-format --dry-run -Werror $(BPF_C)

lint-shellcheck:
	$(call step,shellcheck)
	@shellcheck $(SHELL_FILES)

# clippy reads rust-version, too: its lint incompatible_msrv names what is newer than that.
lint-clippy:
	$(call step,cargo clippy)
	@$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

# A jq program: the packages of `cargo metadata` that need a later Rust than $ours.
NEEDS_LATER := def number: split(".")[:2] | map(tonumber); \
	.packages[] | select((.rust_version // "0" | number) > ($$ours | number)) | \
	"make: \(.name) \(.version) needs Rust \(.rust_version): raise rust-version in Cargo.toml"

lint-rust-version:
	$(call step,no crate in Cargo.lock needs a later Rust than $(RUST))
	@$(CARGO) metadata --format-version 1 --locked | jq -r --arg ours $(RUST) '$(NEEDS_LATER)' | { ! grep . >&2; }

.PHONY: fresh-check
fresh-check: deps ## demo and test in a new Debian 12 root, then the tests beside a loaded shaper (20 minutes; needs root)
	$(call apt,debootstrap git)
	@tests/fresh-check.sh $(BUILD)

.PHONY: bench
bench: deps ## measure what a packet costs, beside reference programs: writes docs/reports/bench.txt (BENCH="--only NAME"; needs root)
	$(CARGO) build --release --locked -p cpumap-pping --bins -p cpumap-pping-bench
	$(RELEASE)/cpumap-pping-bench $(BENCH)

.PHONY: accuracy
accuracy: deps ## measure how right the RTTs are, beside known delays and the kernel: writes docs/reports/accuracy.md (needs root)
	$(CARGO) build --release --locked -p cpumap-pping --bins -p cpumap-pping-bench
	$(RELEASE)/cpumap-pping-accuracy

.PHONY: fuzz
fuzz: ## the BPF programs beside the reference model, until interrupted (FUZZ_SEED=N repeats; needs root)
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),0) $(CARGO) test --locked --test differential fresh_seed

# Coverage-guided: bpf/parse.h for the host beside the reference model, both instrumented.
FUZZ     := $(BUILD)/fuzz
FINDINGS := crates/fuzz/artifacts/parser
CLANG    ?= clang
# The options of rustc that correspond to clang's for libFuzzer.
COVERAGE := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
# Packets are not aligned; neither BPF nor the host needs that.
SANITIZE := -fsanitize=fuzzer,address,undefined -fno-sanitize=alignment -fno-sanitize-recover=undefined

.PHONY: parser-fuzzer
parser-fuzzer:
	$(call step,the fuzzer of bpf/parse.h for the host)
	@RUSTFLAGS='$(COVERAGE)' $(CARGO) build --quiet --release --locked -p cpumap-pping-fuzz --lib --target-dir $(FUZZ)/target
	@$(CARGO) run --quiet --locked -p cpumap-pping-fuzz --bin seeds -- $(FUZZ)/seeds
	@$(CLANG) -O1 -g -Wall -Wextra -Werror $(SANITIZE) -Icrates/fuzz/include -Iinclude -Ibpf \
		crates/fuzz/parser.c $(FUZZ)/target/release/liboracle.a -o $(FUZZ)/parser

# $(call fuzz-parser,SECONDS): puts findings into $(FINDINGS), and inputs that reach new code into crates/fuzz/corpus.
define fuzz-parser
	@mkdir -p crates/fuzz/corpus/parser $(FINDINGS)
	@$(FUZZ)/parser -max_total_time=$(1) -max_len=640 -timeout=5 -print_final_stats=1 \
		-artifact_prefix=$(FINDINGS)/ -dict=crates/fuzz/parser.dict crates/fuzz/corpus/parser $(FUZZ)/seeds 2>&1 | \
		sed -u '/^#[0-9]*\t\(NEW\|REDUCE\|pulse\)/d; /^###.* Recommended/,/^###.* End/d' || { \
		echo "make: a finding in $(FINDINGS): $(FUZZ)/parser FILE repeats it" >&2; exit 1; }
endef

.PHONY: fuzz-parser
fuzz-parser: deps parser-fuzzer ## the C parser for the host beside the model, guided by coverage (FUZZ_SECONDS=60; 0: until interrupted)
	$(call fuzz-parser,$(or $(FUZZ_SECONDS),60))

.PHONY: test-parser
test-parser: parser-fuzzer ## the same for ten seconds
	$(call fuzz-parser,10)

## -- install and package

BINDIR := $(DESTDIR)$(PREFIX)/bin
SHARE  := $(DESTDIR)$(PREFIX)/share
DOCDIR := $(SHARE)/doc/cpumap-pping

.PHONY: install
install: build dist ## install below $(DESTDIR)$(PREFIX), default /usr/local
	install -d $(BINDIR) $(SHARE)/man/man8 $(DOCDIR)/examples $(SHARE)/bash-completion/completions \
		$(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	install -m 755 $(BINARIES:%=$(RELEASE)/%) $(SCRIPTS:%=packaging/scripts/%) $(BINDIR)
	install -m 644 $(DIST)/man/*.8 $(SHARE)/man/man8
	install -m 644 $(DIST)/bash/* $(SHARE)/bash-completion/completions
	install -m 644 $(DIST)/zsh/* $(SHARE)/zsh/site-functions
	install -m 644 $(DIST)/fish/* $(SHARE)/fish/vendor_completions.d
	install -m 644 $(wildcard README.md CHANGELOG.md docs/*.md docs/reports/*.md) $(DOCDIR)
	install -m 644 packaging/examples/* $(DOCDIR)/examples

.PHONY: uninstall
uninstall: dist ## remove the files of install
	rm -f $(BINARIES:%=$(BINDIR)/%) $(SCRIPTS:%=$(BINDIR)/%)
	for f in $(DIST)/man/*.8; do rm -f $(SHARE)/man/man8/$${f##*/}; done
	for f in $(DIST)/bash/*; do rm -f $(SHARE)/bash-completion/completions/$${f##*/}; done
	for f in $(DIST)/zsh/*; do rm -f $(SHARE)/zsh/site-functions/$${f##*/}; done
	for f in $(DIST)/fish/*; do rm -f $(SHARE)/fish/vendor_completions.d/$${f##*/}; done
	rm -rf $(DOCDIR)

.PHONY: compat
compat: build ## stage $(DESTDIR)/src and $(DESTDIR)/bin as callers of the predecessor expect them
	@[[ -n "$(DESTDIR)" ]] || { echo "make compat: give DESTDIR=DIR" >&2; exit 2; }
	install -d $(DESTDIR)/src $(DESTDIR)/bin
	install -m 755 $(BINARIES:%=$(RELEASE)/%) $(DESTDIR)/src
	install -m 755 $(SCRIPTS:%=packaging/scripts/%) $(DESTDIR)/bin

.PHONY: deb
deb: deps ## build a Debian package (build/*.deb) and check it with lintian
	$(call apt,$(filter-out debootstrap,$(DEB_DEPS)))
	rm -rf $(BUILD)/deb-root.new
	$(MAKE) --no-print-directory install PREFIX=/usr DESTDIR=$(CURDIR)/$(BUILD)/deb-root.new
	packaging/deb/build.sh $(BUILD) $(VERSION)

.PHONY: deb-check
deb-check: deb ## install the package in a clean Debian 12 root, run it, remove it (needs root)
	$(call apt,$(DEB_DEPS))
	packaging/deb/check.sh $(BUILD) $(VERSION) $(BINARIES) $(SCRIPTS)

.PHONY: clean
clean: ## remove everything built
	$(CARGO) clean
	rm -rf $(BUILD)
