#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# build.sh BUILD VERSION: makes BUILD/cpumap-pping_VERSION_ARCH.deb of what `make install PREFIX=/usr` staged in
# BUILD/deb-root.new, and checks it with lintian. The same sources give the same bytes.
set -euo pipefail
export LC_ALL=C
umask 022

build=$1 version=$2
here=$(cd "$(dirname "$0")" && pwd)
arch=$(dpkg --print-architecture)
root=$build/deb-root
deb=$build/cpumap-pping_${version}_$arch.deb
doc=usr/share/doc/cpumap-pping
# The time of the files in the package: the environment's, or that of the last commit.
: "${SOURCE_DATE_EPOCH:=$(git -C "$here" log -1 --format=%ct 2>/dev/null || date +%s)}"
export SOURCE_DATE_EPOCH

# fill SOURCE TARGET NAME=VALUE...: a file with its @NAME@s replaced
fill() {
	local text pair
	text=$(<"$1")
	for pair in "${@:3}"; do
		text=${text//@${pair%%=*}@/${pair#*=}}
	done
	printf '%s\n' "$text" >"$2"
}

# Moves and compresses the installed files as Debian wants them.
arrange() {
	mkdir -p "$root/usr/share/zsh" "$root/usr/share/lintian/overrides"
	mv "$root/usr/share/zsh/site-functions" "$root/usr/share/zsh/vendor-completions"
	install -m 644 "$here/copyright" "$root/$doc/copyright"
	install -m 644 "$here/lintian-overrides" "$root/usr/share/lintian/overrides/cpumap-pping"
	fill "$here/changelog" "$root/$doc/changelog" \
		"VERSION=$version" "DATE=$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
	find "$root/$doc" -maxdepth 1 \( -name 'changelog' -o -name CHANGELOG.md \) -exec gzip -9n {} +
	find "$root/usr/share/man" -type f -exec gzip -9n {} +
	find "$root/usr/bin" -type f ! -name '*.sh' \
		-exec strip --strip-unneeded --remove-section=.comment --remove-section=.note {} +
}

# Prints the packages of the libraries that the binaries link to. dpkg-shlibdeps needs a debian/control.
depends() {
	local scratch
	scratch=$(mktemp -d)
	mkdir "$scratch/debian"
	printf 'Source: cpumap-pping\n\nPackage: cpumap-pping\nArchitecture: any\n' >"$scratch/debian/control"
	find "$(realpath "$root")/usr/bin" -type f ! -name '*.sh' -print0 |
		(cd "$scratch" && xargs -0 dpkg-shlibdeps -O) | sed -n 's/^shlibs:Depends=//p'
	rm -r "$scratch"
}

write_control() {
	mkdir "$root/DEBIAN"
	fill "$here/control.in" "$root/DEBIAN/control" "VERSION=$version" "ARCH=$arch" \
		"SIZE=$(du -k -s --apparent-size "$root/usr" | cut -f1)" "DEPENDS=$(depends)"
	(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
}

rm -rf "$root" "$deb"
mv "$build/deb-root.new" "$root"
arrange
write_control
find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group --build "$root" "$deb" >/dev/null
lintian --allow-root --fail-on error "$deb"
printf 'built %s\n' "$deb"
