#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# One HTB for the whole device means one lock for all CPUs. mq gives every TX queue a qdisc of its own, so that each CPU
# shapes its own subscribers: this script builds such a tree, with one subscriber as an example.
set -euo pipefail
export LC_ALL=C

readonly PROG=${0##*/}
readonly TC=${TC:-tc} IP=${IP:-ip} SYS=${SYSFS:-/sys}

usage() {
	cat <<USAGE
Usage: $PROG [OPTION]... IF

Replaces the root qdisc of IF by mq (handle 7FFF:) with one HTB per TX queue:
queue q (from 1, in hexadecimal) carries the HTB q:, with

  q:1   root class, the limit of the queue
  q:2   default class: everything that no mapping claims
  q:3   the shaper's own traffic (tc_classify puts it there)
  2:2a  an example subscriber, on the second queue (CPU 1)

Leaves are fq_codel where the kernel has it, else pfifo. Rates are as tc writes
them. Running it again builds the same tree anew; the classifier on clsact stays.

  -d, --dev IF            the device (or as the argument, or in DEV)
      --root-rate RATE    rate of each queue            (ROOT_RATE, 2500mbit)
      --root-ceil RATE    ceiling of each queue         (ROOT_CEIL, 3000mbit)
      --def-rate RATE     rate of the default class     (DEF_RATE,  100mbit)
      --def-ceil RATE     ceiling of the default class  (DEF_CEIL,  150mbit)
      --sub-rate RATE     rate of the example           (SUB_RATE,  2mbit)
      --sub-ceil RATE     ceiling of the example        (SUB_CEIL,  3mbit)
  -n, --dry-run           print the commands, change nothing
  -v, --verbose           print the commands as well
  -h, --help              this text

The names in capitals are environment variables with the default. TC and IP name
the commands to use.

Exit status: 0 done, 1 the tree cannot be built (one TX queue: mq needs more),
             2 bad option or no such device.
USAGE
}

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

# Runs tc, or prints the command. Prints an error of tc in one line, without the words that callers scan for.
call_tc() {
	local reason
	[[ -z $show ]] || printf '%s %s\n' "$TC" "$*"
	[[ -z $dry_run ]] || return 0
	if ! reason=$("$TC" "$@" 2>&1); then
		reason=${reason%%$'\n'*}
		# Half a tree shapes wrongly: go back to the kernel's default.
		"$TC" qdisc del dev "$dev" root >/dev/null 2>&1 || :
		fail 1 "$TC $*: ${reason#RTNETLINK answers: }"
	fi
}

count_tx_queues() {
	local count=0
	while [[ -d $SYS/class/net/$dev/queues/tx-$count ]]; do
		count=$((count + 1))
	done
	printf '%d' "$count"
}

# Chooses the leaf qdisc once, by trying it in its place.
choose_leaf() {
	leaf=fq_codel
	[[ -n $dry_run ]] && return
	"$TC" qdisc add dev "$dev" parent 1:2 fq_codel >/dev/null 2>&1 || leaf=pfifo
	"$TC" qdisc del dev "$dev" parent 1:2 >/dev/null 2>&1 || :
}

# add_class PARENT CLASSID RATE CEIL: adds a class, and its queue unless it is a root class. Sets the quantum: HTB would
# derive one from the rate and log a warning if it is large.
add_class() {
	call_tc class add dev "$dev" parent "$1" classid "$2" htb rate "$3" ceil "$4" quantum 3000
}

build_queue() {
	local major=$1
	call_tc qdisc add dev "$dev" parent "7fff:$major" handle "$major:" htb default 2
	add_class "$major:" "$major:1" "$root_rate" "$root_ceil"
	add_class "$major:1" "$major:2" "$def_rate" "$def_ceil"
	add_class "$major:1" "$major:3" "$def_rate" "$def_ceil"
	[[ $major != 1 ]] || choose_leaf
	call_tc qdisc add dev "$dev" parent "$major:2" "$leaf"
	call_tc qdisc add dev "$dev" parent "$major:3" "$leaf"
}

build_tree() {
	local queue
	# Fails where the root qdisc is the kernel's default: then there is nothing to delete.
	[[ -n $dry_run ]] || "$TC" qdisc del dev "$dev" root >/dev/null 2>&1 || :
	call_tc qdisc add dev "$dev" root handle 7fff: mq
	for ((queue = 1; queue <= queue_count; queue++)); do
		build_queue "$(printf '%x' "$queue")"
	done
	add_class 2:1 2:2a "$sub_rate" "$sub_ceil"
	call_tc qdisc add dev "$dev" parent 2:2a "$leaf"
}

parse_options() {
	local parsed
	parsed=$(getopt --name "ERR: $PROG" --options d:nvh --longoptions \
		dev:,root-rate:,root-ceil:,def-rate:,def-ceil:,sub-rate:,sub-ceil:,dry-run,verbose,help -- "$@") || {
		usage >&2
		exit 2
	}
	eval set -- "$parsed"
	while [[ $1 != -- ]]; do
		case $1 in
		-d | --dev) dev=$2 && shift ;;
		--root-rate) root_rate=$2 && shift ;;
		--root-ceil) root_ceil=$2 && shift ;;
		--def-rate) def_rate=$2 && shift ;;
		--def-ceil) def_ceil=$2 && shift ;;
		--sub-rate) sub_rate=$2 && shift ;;
		--sub-ceil) sub_ceil=$2 && shift ;;
		-n | --dry-run) dry_run=yes show=yes ;;
		-v | --verbose) show=yes ;;
		-h | --help)
			usage
			exit 0
			;;
		esac
		shift
	done
	shift
	if (($# > 0)); then
		dev=$1
		shift
	fi
	(($# == 0)) || bad_usage "unexpected argument '$1'"
}

dev=${DEV:-} dry_run='' show='' leaf=''
root_rate=${ROOT_RATE:-2500mbit} root_ceil=${ROOT_CEIL:-3000mbit}
def_rate=${DEF_RATE:-100mbit} def_ceil=${DEF_CEIL:-150mbit}
sub_rate=${SUB_RATE:-2mbit} sub_ceil=${SUB_CEIL:-3mbit}
parse_options "$@"

[[ -n $dev ]] || bad_usage "which device? Give it as the argument"
"$IP" link show dev "$dev" >/dev/null 2>&1 || fail 2 "no such device: $dev"
queue_count=$(count_tx_queues)
((queue_count > 1)) ||
	fail 1 "$dev has one TX queue: mq cannot be used (give it more: ethtool -L $dev combined N, or numtxqueues N for veth)"
((queue_count < 0x7fff)) || fail 1 "$dev has $queue_count TX queues: the handles end at 7ffe"

build_tree
cat <<HINT
$dev: $queue_count TX queues, each with an HTB of $root_rate (ceiling $root_ceil), leaves $leaf.
Next: attach the classifier and map the example subscriber to class 2:2a, CPU 1:
  tc_classify --dev-egress $dev
  xdp_iphash_to_cpu_cmdline --add --ip 192.0.2.42 --cpu 1 --classid 2:2a
HINT
