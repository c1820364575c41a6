#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# check.sh BUILD VERSION: installs BUILD/cpumap-pping_VERSION_ARCH.deb in a new minimal Debian 12, runs every command
# there, removes the package, and fails if anything of it is left.
set -euo pipefail
export LC_ALL=C

build=$1 version=$2
deb=$build/cpumap-pping_${version}_$(dpkg --print-architecture).deb
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

fail() {
	printf 'deb-check: %s\n' "$*" >&2
	exit 1
}

inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"; }

files() { (cd "$root" && find etc usr var/lib -xdev ! -path 'var/lib/dpkg/*' ! -path 'var/lib/apt/*' | sort); }

# The packages that apt would install with ours: the first alternative of each dependency, without versions.
dependencies=$(dpkg-deb --field "$deb" Depends | sed 's/([^)]*)//g; s/|[^,]*//g; s/[[:space:]]//g')

printf '==> debootstrap bookworm, with %s\n' "$dependencies"
debootstrap --variant=minbase --include="$dependencies" bookworm "$root" >"$root.log" 2>&1 || {
	tail -n 20 "$root.log" >&2
	fail "debootstrap failed (the whole output is in $root.log)"
}
rm -f "$root.log"
files >"$root/before"

printf '==> dpkg --install %s\n' "${deb##*/}"
cp "$deb" "$root/package.deb"
inside dpkg --install /package.deb >/dev/null

for command in xdp_iphash_to_cpu xdp_iphash_to_cpu_cmdline tc_classify xdp_pping xdp_pass cpumap-pping pping \
	xps_setup.sh set_irq_affinity_with_rss_conf.sh tc_mq_htb_setup_example.sh; do
	option=--help
	[[ $command != set_irq* ]] || option=-h
	help=$(inside "$command" "$option") || fail "$command $option: exit status $?"
	[[ $help == *Usage:* ]] || fail "$command $option does not tell its usage: $help"
	printf 'ok - %s %s\n' "$command" "$option"
	# minbase installs manual pages but not man(1): look for the file.
	[[ -s $root/usr/share/man/man8/$command.8.gz ]] || fail "no manual page of $command"
done

printf '==> dpkg --purge\n'
inside dpkg --purge cpumap-pping >/dev/null
files >"$root/after"
diff "$root/before" "$root/after" || fail "the removed package left changes behind (see above)"
printf 'ok - %s installs, runs and leaves a clean Debian 12\n' "${deb##*/}"
