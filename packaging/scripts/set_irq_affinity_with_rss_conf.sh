#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The XDP program runs on the CPU that takes the NIC's interrupt. This script puts the interrupts of the RX queues on a
# few chosen CPUs, so that the others are free for the subscribers, and limits RSS to as many queues.
set -euo pipefail
export LC_ALL=C

readonly PROG=${0##*/}
readonly DEFAULT_CONF=/etc/smp_affinity_rss.conf
# The tests set these to folders and a command of their own.
readonly SYS=${SYSFS:-/sys} PROC=${PROCFS:-/proc} ETHTOOL=${ETHTOOL:-ethtool}

usage() {
	cat <<USAGE
Usage: $PROG [-v] [-f CONF] [-c CPULIST] [-n QUEUES] {-i IF | IF}

Spreads the RX queue interrupts of IF over the CPUs of a list, in turn: the CPU
that takes the interrupt runs the XDP program, which only hands packets on, so a
few CPUs do for many subscribers.

  -i IF        the device; else the argument, else the environment variable IFACE
               (as ifupdown sets it)
  -c CPULIST   CPUs for the interrupts, such as 0-3,8
  -n QUEUES    spread received flows over the first QUEUES RX queues only
               (ethtool --set-rxfh-indir IF equal QUEUES). The number of TX
               queues, on which the shaper's HTBs stand, stays as it is
  -f CONF      configuration file, default $DEFAULT_CONF
  -v           say on stderr what is set
  -h           this text

The configuration file has lines NAME=VALUE, and # comments. The options win.

  CPU_LIST="4-5"                as -c
  RSS_INDIR_EQUAL_QUEUES=3      as -n
  DISABLE_VLAN_OFFLOAD_RX=yes   switch hardware VLAN stripping off: XDP cannot
                                see a tag that the NIC has taken away

Stop irqbalance first, or exclude these interrupts from it: it moves them back.

Exit status: 0 done, 1 something could not be set or IF has no interrupts of its
own (veth, bridge, VLAN), 2 bad option or no such device. Called by ifupdown (IF
from the environment), a device or configuration that is not there is a warning
and the status is 0, so that the interface still comes up.
USAGE
}

note() { [[ -z $verbose ]] || printf '# %s\n' "$*" >&2; }
warn() { printf 'WARN: %s: %s\n' "$PROG" "$*" >&2; }

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

# The device has no interrupts: an error for a caller who named it, a remark for ifupdown, which names every device.
not_applicable() {
	[[ -z $from_ifupdown ]] || {
		warn "$2, nothing set"
		exit 0
	}
	fail "$1" "$2"
}

# "0-3,8" -> "0 1 2 3 8"
expand_list() {
	local range first last
	local -a ranges numbers=()
	[[ $1 =~ ^[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*$ ]] || return 1
	IFS=, read -ra ranges <<<"$1"
	for range in "${ranges[@]}"; do
		first=$((10#${range%-*})) last=$((10#${range#*-}))
		((first <= last)) || return 1
		for (( ; first <= last; first++)); do
			numbers+=("$first")
		done
	done
	printf '%s' "${numbers[*]}"
}

# Takes the three known settings out of a file; the file is read, not run.
read_conf() {
	local file=$1 line name value number=0
	while IFS= read -r line || [[ -n $line ]]; do
		number=$((number + 1))
		[[ $line =~ ^[[:space:]]*(#.*)?$ ]] && continue
		[[ $line =~ ^[[:space:]]*(export[[:space:]]+)?([A-Z_]+)=([^#]*)(#.*)?$ ]] ||
			fail 2 "$file:$number: not a line NAME=VALUE: $line"
		name=${BASH_REMATCH[2]} value=${BASH_REMATCH[3]}
		value=${value//[[:space:]\"\']/}
		case $name in
		CPU_LIST) conf_cpu_list=$value ;;
		RSS_INDIR_EQUAL_QUEUES) conf_rss_queues=$value ;;
		DISABLE_VLAN_OFFLOAD_RX) vlan_offload_off=$value ;;
		*) warn "$file:$number: unknown setting $name, ignored" ;;
		esac
	done <"$file"
}

# The interrupts of a PCI function are listed at the function; a virtio device is one level below it.
list_msi_irqs() {
	local dir
	for dir in "$SYS/class/net/$iface/device/msi_irqs" "$SYS/class/net/$iface/device/../msi_irqs"; do
		[[ -d $dir ]] || continue
		ls "$dir"
		return
	done
}

# Prints the driver's name of an interrupt, the last word of its line; nothing if the vector is not in use.
irq_name() {
	awk -v irq="$1:" '$1 == irq { print $NF }' "$PROC/interrupts"
}

# Vectors with names like eth0-TxRx-0, eth0-rx-0, mlx5_comp0@pci:… and virtio0-input.0 receive; the others do not.
receives() {
	local name=${1,,}
	case $name in
	*async* | *fdir* | *misc* | *mgmnt* | *config* | *ctrl* | *control* | *event* | *mbx* | *mailbox* | *asq* | *cmd*) return 1 ;;
	*txrx* | *rxtx* | *tx-rx* | *rx-tx*) return 0 ;;
	*-tx* | *_tx* | *.tx* | *output*) return 1 ;;
	esac
	# A vector with the device's bare name is the link interrupt, if the device has other vectors.
	[[ $1 != "$iface" ]]
}

# Prints lines "NAME IRQ", in the order of the queues.
list_rx_irqs() {
	local irq name
	local -a queues=() others=()
	for irq in $(list_msi_irqs); do
		name=$(irq_name "$irq")
		if [[ -z $name ]]; then
			continue
		elif receives "$name"; then
			queues+=("$name $irq")
		elif [[ $name == "$iface" ]]; then
			others+=("$name $irq")
		fi
	done
	((${#queues[@]})) || queues=("${others[@]}")
	((${#queues[@]})) || return 0
	printf '%s\n' "${queues[@]}" | sort -V
}

pin_irqs() {
	local name irq cpu file reason turn=0
	local -a targets
	read -ra targets <<<"$1"
	while read -r name irq; do
		cpu=${targets[turn % ${#targets[@]}]}
		file=$PROC/irq/$irq/smp_affinity_list
		note "$iface: IRQ $irq ($name) on CPU $cpu"
		if ! reason=$({ printf '%s\n' "$cpu" >"$file"; } 2>&1); then
			warn "cannot put IRQ $irq ($name) on CPU $cpu: ${reason##*: }"
			status=1
		fi
		turn=$((turn + 1))
	done
}

run_ethtool() {
	local reason
	note "$ETHTOOL $*"
	if ! reason=$("$ETHTOOL" "$@" 2>&1); then
		warn "ethtool $*: ${reason//$'\n'/ }"
		status=1
	fi
}

warn_of_irqbalance() {
	if cat "$PROC"/[0-9]*/comm 2>/dev/null | grep -qx irqbalance; then
		warn "irqbalance is running and will move the interrupts: stop it (systemctl disable --now irqbalance)"
	fi
}

iface='' conf='' cpu_list='' rss_queues='' verbose='' from_ifupdown=''
conf_cpu_list='' conf_rss_queues='' vlan_offload_off='' status=0
while getopts :i:f:c:n:vh option; do
	case $option in
	i) iface=$OPTARG ;;
	f) conf=$OPTARG ;;
	c) cpu_list=$OPTARG ;;
	n) rss_queues=$OPTARG ;;
	v) verbose=yes ;;
	h)
		usage
		exit 0
		;;
	:) bad_usage "-$OPTARG needs a value" ;;
	*) bad_usage "unknown option -$OPTARG" ;;
	esac
done
shift $((OPTIND - 1))

if [[ -z $iface && $# -gt 0 ]]; then
	iface=$1
	shift
fi
(($# == 0)) || bad_usage "unexpected argument '$1'"
if [[ -z $iface && -n ${IFACE:-} ]]; then
	iface=$IFACE from_ifupdown=yes
fi
[[ -n $iface ]] || bad_usage "which device? Give -i IF"
[[ $iface != */* && $iface != .* && -d $SYS/class/net/$iface ]] || not_applicable 2 "no such device: $iface"

if [[ -n $conf ]]; then
	[[ -r $conf ]] || not_applicable 2 "cannot read the configuration file $conf"
	read_conf "$conf"
elif [[ -r $DEFAULT_CONF ]]; then
	read_conf "$DEFAULT_CONF"
fi
: "${cpu_list:=$conf_cpu_list}" "${rss_queues:=$conf_rss_queues}"

[[ -n $cpu_list ]] || not_applicable 2 "which CPUs? Give -c CPULIST, or CPU_LIST in $DEFAULT_CONF"
cpus=$(expand_list "$cpu_list") || bad_usage "not a list of CPUs such as 0-3,8: '$cpu_list'"
online=$(expand_list "$(<"$SYS/devices/system/cpu/online")")
for cpu in $cpus; do
	[[ " $online " == *" $cpu "* ]] || fail 2 "CPU $cpu of '$cpu_list' is not online (online are $online)"
done
[[ -z $rss_queues || $rss_queues =~ ^[1-9][0-9]{0,4}$ ]] || bad_usage "not a number of queues: '$rss_queues'"

irqs=$(list_rx_irqs)
[[ -n $irqs ]] || not_applicable 1 "$iface has no interrupts of its own (not a hardware device, or its driver does not list them)"

warn_of_irqbalance
pin_irqs "$cpus" <<<"$irqs"
[[ -z $rss_queues ]] || run_ethtool --set-rxfh-indir "$iface" equal "$rss_queues"
case ${vlan_offload_off,,} in
'' | no | 0 | off | false) ;;
*) run_ethtool -K "$iface" rxvlan off ;;
esac
exit "$status"
