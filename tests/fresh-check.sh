#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# fresh-check.sh BUILD: shows that the two commands of the README work on a bare machine, and that the tests leave a
# working shaper alone. Needs root, about 20 minutes and 8 GB below BUILD.
#
# 1. Makes a Debian 12 root (debootstrap, minbase) with git, make and this machine's Rust toolchain added, clones HEAD
#    into it, and runs `make demo` and `make test` there.
# 2. Loads a shaper in a network and mount namespace of that root, runs `make test` in the same namespaces, and compares
#    pins, programs, qdiscs, filters, mappings and settings before and after.
#
# All mounts are made in a mount namespace of their own: they end with this script, however it ends.
set -euo pipefail
export LC_ALL=C

readonly suite=bookworm
self=$(realpath "${BASH_SOURCE[0]}")
repository=$(dirname "$(dirname "$self")")
readonly self repository

fail() {
	printf 'fresh-check: %s\n' "$*" >&2
	exit 1
}

step() { printf '\n==> fresh-check: %s\n' "$*"; }

# --- in the mount namespace, outside the fresh root

# inside COMMAND...: what a root user types on the bare machine: none of this machine's variables but the proxies. The
# fresh root becomes the root of a mount namespace. (A chroot is not enough: setns(2) would lead out of it.)
inside() {
	local variable environment=()
	for variable in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
		[[ -z ${!variable:-} ]] || environment+=("$variable=${!variable}")
	done
	# shellcheck disable=SC2016 # the inner shell expands it
	unshare --mount --propagation private bash -c '
		cd "$1" && pivot_root . mnt && cd / && umount --lazy /mnt && shift && exec /usr/bin/env -i "$@"' inside "$root" \
		"${environment[@]}" HOME=/root USER=root SHELL=/bin/bash TERM="${TERM:-dumb}" \
		PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# The machine's Debian mirror, if apt knows one; otherwise debootstrap takes its own default.
mirror() {
	# shellcheck disable=SC2016 # apt-get expands it
	apt-get indextargets --format '$(SITE)' "Codename: $suite" 2>/dev/null | grep '/debian/\?$' | head -n 1 || :
}

# How this machine reaches the network: names, proxies, certificates, a registry in place of crates.io.
copy_network_settings() {
	local config
	cp --dereference /etc/resolv.conf /etc/hosts "$root/etc/"
	apt-config dump | grep -i '^Acquire::.*\(proxy\|check-\)' >"$root/etc/apt/apt.conf.d/90host" || :
	mkdir -p "$root/usr/local/share/ca-certificates" "$root/root/.cargo"
	cp -r /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/" 2>/dev/null || :
	for config in "${CARGO_HOME:-$HOME/.cargo}"/config{,.toml}; do
		[[ ! -f $config ]] || cp "$config" "$root/root/.cargo/"
	done
}

make_root() {
	local base=$build/$suite.tar from
	if [[ ! -f $base ]]; then
		step "debootstrap $suite"
		from=$(mirror)
		# debootstrap leaves a sources.list of the mirror that it used.
		debootstrap --variant=minbase "$suite" "$root" ${from:+"$from"} >"$build/debootstrap.log" 2>&1 || {
			tail -n 20 "$build/debootstrap.log" >&2
			fail "debootstrap failed; its whole output is in $build/debootstrap.log"
		}
		tar -C "$root" -cf "$base.new" .
		mv "$base.new" "$base"
	else
		tar -C "$root" -xf "$base"
	fi
	copy_network_settings
}

# What a root shell finds mounted on a bare machine.
mount_root() {
	# pivot_root(2) takes nothing but a mount point.
	mount --bind "$root" "$root"
	mount --rbind /dev "$root/dev"
	mount -t proc proc "$root/proc"
	mount -t sysfs sysfs "$root/sys"
	mount -t bpf bpf "$root/sys/fs/bpf"
	mount -t tmpfs tmpfs "$root/tmp"
	mount -t tmpfs tmpfs "$root/run"
	mkdir -p "$root/opt/rust"
	mount --bind "$toolchain" "$root/opt/rust"
	mount -o remount,bind,ro "$root/opt/rust"
}

# What the README names: git, make, Rust. (git's recommended packages bring the certificates that https needs.)
add_what_the_readme_names() {
	step "apt-get install git make; Rust from $toolchain"
	inside apt-get update -qq
	inside env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq git make >"$build/apt.log" 2>&1 ||
		fail "apt-get install failed; its whole output is in $build/apt.log"
	inside update-ca-certificates >/dev/null 2>&1
	git -C "$repository" bundle create --quiet "$root/root/origin.bundle" HEAD
	inside git clone --quiet /root/origin.bundle /root/cpumap-pping
	printf 'clone of %s, %s\n' "$(git -C "$repository" rev-parse --short HEAD)" "$(inside rustc --version)"
}

# timed NAME COMMAND...: runs a command in the fresh root; its output goes to the terminal and to BUILD/NAME.log.
timed() {
	local name=$1 started=$SECONDS
	shift
	step "$*"
	inside "$@" 2>&1 | tee "$build/$name.log" || fail "$* failed after $((SECONDS - started)) s (see $build/$name.log)"
	printf 'fresh-check: %s passed in %d s\n' "$*" $((SECONDS - started))
}

# readme_command NAME: the line of the README that starts with `make NAME`, as a newcomer types it.
readme_command() {
	local line
	line=$(sed -n "/^[a-z ]*make $1 /{s/ *#.*//p;q}" "$repository/README.md")
	[[ -n $line ]] || fail "the README has no line \"make $1\""
	printf '%s\n' "$line"
}

outside() {
	local demo test
	demo=$(readme_command demo)
	test=$(readme_command test)
	make_root
	mount_root
	add_what_the_readme_names
	timed demo bash -c "cd /root/cpumap-pping && $demo"
	timed test bash -c "cd /root/cpumap-pping && $test"
	step "the tests beside a loaded shaper"
	timed beside unshare --net --mount --propagation private \
		bash /root/cpumap-pping/tests/fresh-check.sh --beside
	printf '\nfresh-check: passed in %d s\n' "$SECONDS"
}

# --- in the fresh root, in a network and mount namespace: the tests beside a loaded shaper

load_shaper() {
	local dev
	mount -t sysfs sysfs /sys
	mount -t bpf bpf /sys/fs/bpf
	ip link set lo up
	for dev in lan wan; do
		ip link add "$dev" numtxqueues 2 numrxqueues 2 type veth peer name "$dev-peer" numtxqueues 2 numrxqueues 2
		ip link set "$dev" up
		ip link set "$dev-peer" up
		ethtool -K "$dev" rxvlan off
	done
	ip addr add 100.64.0.1/24 dev lan
	ip addr add 192.0.2.254/24 dev wan
	"$programs/xdp_iphash_to_cpu" --dev lan --lan
	"$programs/xdp_iphash_to_cpu" --dev wan --wan
	for dev in lan wan; do
		"$programs/tc_classify" --dev-egress "$dev"
		packaging/scripts/tc_mq_htb_setup_example.sh "$dev"
	done
	"$programs/xdp_iphash_to_cpu_cmdline" --add --ip 100.64.0.0/24 --cpu 0 --classid 1:2a
	"$programs/xdp_iphash_to_cpu_cmdline" --add --ip 2001:db8:1::/48 --cpu 1 --classid 2:2a
	"$programs/xdp_iphash_to_cpu_cmdline" --add --ip ::/0 --cpu 0 --classid 1:2
	# The link-local addresses are tentative at first.
	sleep 3
}

# Everything that the tests could disturb, as text: a difference names what changed. Traffic counters are left out.
snapshot() {
	local pin dev hook
	printf '# pins\n'
	find /sys/fs/bpf -printf '%p %y %U:%G %m\n' | sort
	printf '# pinned maps and programs\n'
	# Not the kernel's own maps.debug and progs.debug, which are no maps.
	find /sys/fs/bpf/tc -type f | sort | while IFS= read -r pin; do
		{ bpftool map show pinned "$pin" || bpftool prog show pinned "$pin"; } 2>/dev/null |
			sed "s|^|$pin: |; s| run_time_ns .*||"
	done
	printf '# devices, addresses and XDP programs\n'
	ip -d addr show | sed 's/ valid_lft .*//'
	for dev in lan wan; do
		printf '# offloads, XPS, qdiscs, classes and filters of %s\n' "$dev"
		ethtool -k "$dev"
		grep . /sys/class/net/"$dev"/queues/tx-*/xps_cpus
		tc qdisc show dev "$dev"
		tc class show dev "$dev"
		for hook in ingress egress; do
			tc filter show dev "$dev" "$hook"
		done
	done
	printf '# mappings, queues, findings\n'
	"$programs/xdp_iphash_to_cpu_cmdline" --list
	"$programs/tc_classify" --list
	"$programs/cpumap-pping" check || :
	printf '# settings\n'
	# Not settings but counts, and what a kernel gives out at random.
	sysctl --all --pattern '^net' 2>/dev/null | grep -v 'nf_conntrack_count\|stable_secret\|\.dev_weight\|random' | sort
	printf '# files in /tmp\n'
	find /tmp -mindepth 1 | sort
}

beside() {
	cd "$repository"
	programs=${PROGRAMS:-target/release}
	load_shaper
	snapshot >/run/before
	# The fuzzer has had its time in the first run.
	FUZZ_SECONDS=2 CARGO_NET_OFFLINE=true make test
	snapshot >/run/after
	diff -u /run/before /run/after || fail "the tests changed the loaded shaper (see above)"
	printf 'fresh-check: the loaded shaper is as it was: %d lines compared\n' "$(wc -l </run/before)"
}

# --- the start

if [[ ${1:-} == --beside ]]; then
	beside
	exit
fi

[[ $# -ge 1 ]] || fail "usage: fresh-check.sh BUILD"
[[ $(id -u) == 0 ]] || fail "needs root (mounts, network namespaces): sudo make fresh-check"
for tool in debootstrap git rustc tar pivot_root unshare; do
	command -v "$tool" >/dev/null || fail "needs $tool: install it (Debian: apt-get install $tool)"
done
toolchain=$(rustc --print sysroot)
[[ $toolchain != /usr ]] || fail "needs a Rust toolchain in a folder of its own, as rustup installs it"
[[ -x $toolchain/bin/cargo ]] || fail "needs a Rust toolchain with cargo: $toolchain/bin/cargo is missing"
mkdir -p "$1/fresh-check"
build=$(realpath "$1/fresh-check")
root=$build/root

if [[ ${2:-} == --outside ]]; then
	outside
	exit
fi

exec {lock}>"$build/lock"
flock --nonblock "$lock" || fail "runs already"
# The mounts belong to the namespace of the command below, so nothing is mounted here when the root is removed.
remove_root() { rm -rf --one-file-system "$root"; }
trap remove_root EXIT
trap 'exit 130' INT TERM
[[ -z $(git -C "$repository" status --porcelain) ]] ||
	printf 'fresh-check: there are changes that are not committed: HEAD is tested without them\n' >&2
remove_root
mkdir -p "$root"
unshare --mount --propagation private bash "$self" "$1" --outside
