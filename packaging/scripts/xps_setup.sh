#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# XPS (Transmit Packet Steering) decides which TX queue a CPU sends on and, when it is on, overrides the queue that the
# classifier chose. A shaper needs it off. This script switches it off, sets it one to one, or shows it.
set -euo pipefail
export LC_ALL=C

readonly PROG=${0##*/}
# The tests set this to a folder of their own.
readonly SYS=${SYSFS:-/sys}

usage() {
	cat <<USAGE
Usage: $PROG --dev IF ACTION...

Shows or sets which CPU sends on which TX queue of a network device, through
/sys/class/net/IF/queues/tx-*/xps_cpus. An active XPS overrides the queue that
tc_classify chooses: a shaper runs with it disabled.

  -d, --dev IF          the device (else the environment variable DEV)

      --default         one to one: queue 0 to CPU 0, queue 1 to CPU 1, ...
                        (queues without a CPU of their own get none)
      --disable         no mapping: write the mask 0 for every queue, or for the
                        one of --txq; with --default it means every queue
      --txq N --cpu M   let CPU M, and only it, select queue N (from 0)
  -l, --list            print the queues and their CPUs, after any change

  -v, --verbose         say on stderr what is written and what is skipped
  -h, --help            this text

A device with one queue, or without XPS, has nothing to set: that is no error.

Exit status: 0 done or nothing to do, 1 a mask could not be written,
             2 bad option or no such device.

  $PROG --dev eth0 --default --disable
USAGE
}

note() { [[ -z $verbose ]] || printf '# %s\n' "$*" >&2; }

fail() {
	local status=$1
	shift
	printf 'ERR: %s: %s\n' "$PROG" "$*" >&2
	exit "$status"
}

bad_usage() {
	printf 'ERR: %s: %s\n' "$PROG" "$*" >&2
	usage >&2
	exit 2
}

need_number() {
	[[ $2 =~ ^(0|[1-9][0-9]{0,5})$ ]] || bad_usage "$1 takes a number from 0, not '$2'"
}

# Prints the kernel's notation of "this CPU only": 32-bit hexadecimal words, the highest first, separated by commas.
cpu_to_mask() {
	local cpu=$1 words mask
	mask=$(printf '%x' $((1 << (cpu % 32))))
	for ((words = cpu / 32; words > 0; words--)); do
		mask+=,00000000
	done
	printf '%s' "$mask"
}

# The inverse: "3,00000000" -> "32 33". Prints nothing for an empty mask.
mask_to_cpus() {
	local -a words cpus=()
	local i bit value
	IFS=, read -ra words <<<"$1"
	for ((i = ${#words[@]} - 1; i >= 0; i--)); do
		value=$((16#${words[i]}))
		for ((bit = 0; bit < 32; bit++)); do
			((value >> bit & 1)) && cpus+=($(((${#words[@]} - 1 - i) * 32 + bit)))
		done
	done
	printf '%s' "${cpus[*]-}"
}

# True if the kernel knows this CPU number; "0-3,8" is its notation.
cpu_possible() {
	local cpu=$1 range
	local -a ranges
	IFS=, read -ra ranges <"$SYS/devices/system/cpu/possible" || return 0
	for range in "${ranges[@]}"; do
		((cpu >= ${range%-*} && cpu <= ${range#*-})) && return 0
	done
	return 1
}

# The file exists, but reading it fails (ENOENT on a one-queue device, EOPNOTSUPP, ...): the queue has no XPS.
read_mask() { cat "$1" 2>/dev/null; }

write_mask() {
	local file=$1 mask=$2 reason
	if ! reason=$({ printf '%s\n' "$mask" >"$file"; } 2>&1); then
		fail 1 "cannot write $mask to $file: ${reason##*: } (root is needed, and a CPU that exists)"
	fi
}

# Sets one queue, unless it has no XPS.
set_queue() {
	local queue=$1 mask=$2 dir=$queues/tx-$1 rxqs
	if ! read_mask "$dir/xps_cpus" >/dev/null; then
		note "$dev: queue $queue has no XPS, nothing to set"
		return 0
	fi
	note "$dev: queue $queue: xps_cpus = $mask"
	write_mask "$dir/xps_cpus" "$mask"
	# The map by RX queue overrides the one by CPU: disable both.
	if [[ $mask == 0 ]] && rxqs=$(read_mask "$dir/xps_rxqs") && [[ $rxqs =~ [1-9a-f] ]]; then
		note "$dev: queue $queue: xps_rxqs = 0"
		write_mask "$dir/xps_rxqs" 0
	fi
}

set_all_queues() {
	local queue mask
	for ((queue = 0; queue < queue_count; queue++)); do
		mask=0
		if [[ -z $disable ]]; then
			if cpu_possible "$queue"; then
				mask=$(cpu_to_mask "$queue")
			else
				note "$dev: queue $queue: there is no CPU $queue, left without one"
			fi
		fi
		set_queue "$queue" "$mask"
	done
}

# Prints one line a queue. mq numbers the class of a queue from 1, in hexadecimal.
list_queues() {
	local queue mask cpus text
	for ((queue = 0; queue < queue_count; queue++)); do
		if mask=$(read_mask "$queues/tx-$queue/xps_cpus"); then
			cpus=$(mask_to_cpus "$mask")
			text="CPUs in MASK=0x$mask => ${cpus:+cpu:${cpus// / cpu:}}"
			[[ -n $cpus ]] || text+="disabled"
		else
			text="no XPS"
		fi
		printf 'NIC=%s TXQ:%d (MQ-leaf :%x) use %s\n' "$dev" "$queue" $((queue + 1)) "$text"
	done
}

parse_options() {
	local parsed
	parsed=$(getopt --name "ERR: $PROG" --options d:vlh \
		--longoptions dev:,default,disable,txq:,cpu:,list,verbose,help -- "$@") || {
		usage >&2
		exit 2
	}
	eval set -- "$parsed"
	while [[ $1 != -- ]]; do
		case $1 in
		-d | --dev) dev=$2 && shift ;;
		--default) default=yes ;;
		--disable) disable=yes ;;
		--txq) need_number "$1" "$2" && txq=$2 && shift ;;
		--cpu) need_number "$1" "$2" && cpu=$2 && shift ;;
		-l | --list) list=yes ;;
		-v | --verbose) verbose=yes ;;
		-h | --help)
			usage
			exit 0
			;;
		esac
		shift
	done
	shift
	(($# == 0)) || bad_usage "unexpected argument '$1'"
}

check_options() {
	[[ -n $dev ]] || bad_usage "which device? Give --dev IF"
	[[ -n $default$disable$txq$list ]] || bad_usage "nothing to do: give --default, --disable, --txq or --list"
	[[ -z $txq || -z $default ]] || bad_usage "--txq sets one queue and --default all of them: give one"
	[[ -z $txq || -n $cpu$disable ]] || bad_usage "--txq needs --cpu N or --disable"
	[[ -z $cpu || -n $txq ]] || bad_usage "--cpu needs --txq N"
	[[ -z $cpu || -z $disable ]] || bad_usage "--cpu and --disable exclude each other"
}

dev=${DEV:-} default='' disable='' txq='' cpu='' list='' verbose=''
parse_options "$@"
check_options

[[ $dev != */* && $dev != .* && -d $SYS/class/net/$dev ]] || fail 2 "no such device: $dev"
queues=$SYS/class/net/$dev/queues
queue_count=0
while [[ -d $queues/tx-$queue_count ]]; do
	queue_count=$((queue_count + 1))
done

if [[ -n $txq ]]; then
	((txq < queue_count)) || fail 2 "$dev has no TX queue $txq: it has $queue_count, counted from 0"
	[[ -z $cpu ]] || cpu_possible "$cpu" || fail 2 "this machine has no CPU $cpu"
	if [[ -n $disable ]]; then
		set_queue "$txq" 0
	else
		set_queue "$txq" "$(cpu_to_mask "$cpu")"
	fi
elif [[ -n $default$disable ]]; then
	set_all_queues
fi
[[ -z $list ]] || list_queues
