#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Tests of the three scripts, in TAP. The devices are veth with four queues and with one, in a network namespace of its
# own. The interrupts are files in a folder, since veth has none. Needs root; exit 1 if a test fails.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../packaging/scripts" && pwd)
readonly here

if [[ ${1:-} != --inside ]]; then
	exec unshare --mount --net --propagation private bash "$(realpath "${BASH_SOURCE[0]}")" --inside
fi

# sysfs shows the network namespace that mounted it.
mount -t sysfs sysfs /sys
work=$(mktemp -d)
readonly work
trap 'rm -rf "$work"' EXIT
unset DEV IFACE SYSFS PROCFS TC IP

count=0 failed=0 out='' err='' status=0

# run COMMAND...: leaves its output, errors and status in the variables.
run() {
	status=0
	"$@" >"$work/out" 2>"$work/err" || status=$?
	out=$(<"$work/out") err=$(<"$work/err")
}

# ok DESCRIPTION CONDITION...: one TAP line; the condition is a command.
ok() {
	local description=$1
	shift
	count=$((count + 1))
	if "$@"; then
		printf 'ok %d - %s\n' "$count" "$description"
		return
	fi
	failed=$((failed + 1))
	printf 'not ok %d - %s\n' "$count" "$description"
	printf '#   condition: %s\n#   status: %s\n' "$*" "$status"
	printf '#   out: %s\n' "${out//$'\n'/$'\n#        '}"
	printf '#   err: %s\n' "${err//$'\n'/$'\n#        '}"
}

is() { [[ $1 == "$2" ]]; }
matches() { [[ $1 =~ $2 ]]; }
lines() { [[ $(wc -l <<<"$1") -eq $2 ]]; }
harmless() { [[ ! $out =~ 'RTNETLINK answers'|'We have an error talking to the kernel' ]]; }

masks() { cat "$sysfs"/class/net/"$1"/queues/tx-*/xps_cpus | tr '\n' ' '; }

test_xps_real() {
	local cpus first
	sysfs=/sys
	cpus=$(nproc --all)
	first='^1 '
	((cpus < 2)) || first='^1 2 '

	run "$here/xps_setup.sh" -d four --default
	ok "xps --default succeeds" is $status 0
	ok "xps --default maps queue n to CPU n" matches "$(masks four)" "$first"
	run "$here/xps_setup.sh" --dev=four --list
	ok "xps --list prints one line a queue" lines "$out" 4
	ok "xps --list shows the CPU" matches "$out" 'NIC=four TXQ:0 \(MQ-leaf :1\) use CPUs in MASK=0x1 => cpu:0'
	run "$here/xps_setup.sh" -d four --default --disable
	ok "xps --default --disable, as LibreQoS calls it" is "$status:$out:$err" 0::
	ok "xps --disable clears every queue" is "$(masks four)" '0 0 0 0 '
	run "$here/xps_setup.sh" --cpu 0 --verbose --txq 3 --dev four
	ok "xps --txq --cpu sets that queue only" is "$(masks four)" '0 0 0 1 '
	ok "xps -v says so, on stderr" matches "$out:$err" '^:.*queue 3: xps_cpus = 1'
	run "$here/xps_setup.sh" -d four --txq 3 --disable --list
	ok "xps --txq --disable clears that queue" is "$(masks four)" '0 0 0 0 '
	ok "xps --list says disabled" matches "$out" 'TXQ:3 .* => disabled'
	run env DEV=four "$here/xps_setup.sh" --dis
	ok "xps takes DEV, unambiguous prefixes and --disable alone" is $status 0

	run "$here/xps_setup.sh" -d one --default --disable
	ok "xps on a one-queue device is no error" is "$status:$out:$err" 0::
	run "$here/xps_setup.sh" -d one --default -v
	ok "xps -v notes what a one-queue device lacks" matches "$status:$err" '^0:.*has no XPS'
	run "$here/xps_setup.sh" -d lo --list
	ok "xps --list on a device without XPS" matches "$status:$out" '^0:NIC=lo TXQ:0 .*no XPS'
}

test_xps_errors() {
	run "$here/xps_setup.sh" -d absent --default --disable
	ok "xps: no such device, exit 2, one line" is "$status:$out:$err" "2::ERR: xps_setup.sh: no such device: absent"
	run "$here/xps_setup.sh" -d ../net/four --list
	ok "xps: a path is no device" is $status 2
	run "$here/xps_setup.sh" --default
	ok "xps: without a device, exit 2" matches "$status:$err" '^2:ERR: '
	run "$here/xps_setup.sh" -d four
	ok "xps: without an action, exit 2" matches "$status:$err" '^2:ERR: .*nothing to do'
	run "$here/xps_setup.sh" -d four --bogus
	ok "xps: unknown option, exit 2, nothing on stdout" matches "$status:$out:$err" '^2::ERR: .*Usage'
	run "$here/xps_setup.sh" -d four --txq 1
	ok "xps: --txq alone, exit 2" matches "$status:$err" '^2:ERR: .*needs --cpu'
	run "$here/xps_setup.sh" -d four --txq 4 --cpu 0
	ok "xps: a queue that is not there, exit 2" matches "$status:$err" '^2:ERR: .*no TX queue 4'
	run "$here/xps_setup.sh" -d four --txq 0 --cpu 99999
	ok "xps: a CPU that is not there, exit 2" matches "$status:$err" '^2:ERR: .*no CPU 99999'
	run "$here/xps_setup.sh" -d four --txq 0x1 --cpu 0
	ok "xps: not a number, exit 2" matches "$status:$err" '^2:ERR: .*number'
	run "$here/xps_setup.sh" --help
	ok "xps --help, exit 0, on stdout" matches "$status:$out:$err" '^0:Usage: .*:$'
}

# 72 CPUs and 70 queues: masks of several words, grouped by commas as in the kernel's files.
test_xps_many_cpus() {
	local queue
	sysfs=$work/many
	for queue in {0..69}; do
		mkdir -p "$sysfs/class/net/big/queues/tx-$queue"
		echo 0 >"$sysfs/class/net/big/queues/tx-$queue/xps_cpus"
		echo 0000000f >"$sysfs/class/net/big/queues/tx-$queue/xps_rxqs"
	done
	mkdir -p "$sysfs/devices/system/cpu"
	echo 0-63,66 >"$sysfs/devices/system/cpu/possible"
	run env SYSFS="$sysfs" "$here/xps_setup.sh" -d big --default --list
	big() { cat "$sysfs/class/net/big/queues/tx-$1/$2"; }
	ok "xps: CPU 31 is the top bit of a word" is "$(big 31 xps_cpus)" 80000000
	ok "xps: CPU 32 takes a second word" is "$(big 32 xps_cpus)" 1,00000000
	ok "xps: CPU 66 takes a third word" is "$(big 66 xps_cpus)" 4,00000000,00000000
	ok "xps: a queue beyond the CPUs gets none" is "$(big 65 xps_cpus)" 0
	ok "xps --list reads words back, in queue order" matches "$out" \
		$'TXQ:9 .*cpu:9\nNIC=big TXQ:10 .*TXQ:66 \\(MQ-leaf :43\\) use CPUs in MASK=0x4,00000000,00000000 => cpu:66\n'
	run env SYSFS="$sysfs" "$here/xps_setup.sh" -d big --disable
	ok "xps --disable clears xps_rxqs too" is "$(big 5 xps_rxqs)" 0
	rm "$sysfs/class/net/big/queues/tx-7/xps_cpus"
	mkdir "$sysfs/class/net/big/queues/tx-7/xps_cpus"
	run env SYSFS="$sysfs" "$here/xps_setup.sh" -d big --default
	ok "xps: a queue whose xps_cpus cannot be read is skipped" is "$status:$(big 8 xps_cpus)" 0:100
}

# A NIC with four combined queues and its other vectors.
make_irq_tree() {
	local irq
	mkdir -p "$work/sys/class/net/nic0/device/msi_irqs" "$work/sys/class/net/veth0" "$work/sys/devices/system/cpu" \
		"$work/sys/class/net/vm0" "$work/sys/devices/pci/virtio5" "$work/sys/devices/pci/msi_irqs" "$work/proc/77"
	ln -s ../../../devices/pci/virtio5 "$work/sys/class/net/vm0/device"
	echo 0-3,8 >"$work/sys/devices/system/cpu/online"
	echo bash >"$work/proc/77/comm"
	cat >"$work/proc/interrupts" <<-TABLE
		           CPU0       CPU1
		 98:          0          0 PCI-MSIX 8-edge      nic0-TxRx-0
		 99:          1          0 PCI-MSIX 9-edge      nic0-TxRx-1
		100:          2          0 PCI-MSIX 10-edge      nic0-TxRx-2
		101:          3          0 PCI-MSIX 11-edge      nic0-TxRx-10
		102:          3          0 PCI-MSIX 12-edge      nic0
		103:          3          0 PCI-MSIX 13-edge      nic0-fdir
		110:          3          0 PCI-MSIX 1-edge      virtio5-config
		111:          3          0 PCI-MSIX 2-edge      virtio5-input.0
		112:          3          0 PCI-MSIX 3-edge      virtio5-output.0
	TABLE
	for irq in {98..104} {110..112}; do
		mkdir -p "$work/proc/irq/$irq"
		echo 0-3 >"$work/proc/irq/$irq/smp_affinity_list"
	done
	touch "$work/sys/class/net/nic0/device/msi_irqs/"{98..104} "$work/sys/devices/pci/msi_irqs/"{110..112}
	printf '#!/bin/sh\necho "$@" >>"%s/ethtool.log"\n' "$work" >"$work/ethtool"
	chmod +x "$work/ethtool"
}

irq_script() {
	run env SYSFS="$work/sys" PROCFS="$work/proc" ETHTOOL="$work/ethtool" "$here/set_irq_affinity_with_rss_conf.sh" "$@"
}

affinity() {
	local irq
	for irq; do
		printf '%s ' "$(<"$work/proc/irq/$irq/smp_affinity_list")"
	done
}

test_irq() {
	make_irq_tree
	irq_script -i nic0 -c 1-2,8
	ok "irq: pins quietly" is "$status:$out:$err" 0::
	ok "irq: queues in turn, in the order of their numbers" is "$(affinity 98 99 100 101)" '1 2 8 1 '
	ok "irq: link, flow director and unused vectors stay" is "$(affinity 102 103 104)" '0-3 0-3 0-3 '
	ok "irq: without -n, ethtool is not called" test ! -e "$work/ethtool.log"
	irq_script -i vm0 -c 3 -v
	ok "irq: a virtio device's vectors are at its PCI function; receive only" is "$(affinity 110 111 112)" '0-3 3 0-3 '
	ok "irq -v says what" matches "$err" 'vm0: IRQ 111 \(virtio5-input.0\) on CPU 3'

	cat >"$work/conf" <<-'CONF'
		# a comment
		CPU_LIST="2-3"   # another
		RSS_INDIR_EQUAL_QUEUES=3
		DISABLE_VLAN_OFFLOAD_RX=yes
	CONF
	irq_script -f "$work/conf" nic0
	ok "irq: CPUs from the file, device as argument" is "$status:$(affinity 98 99 100 101)" '0:2 3 2 3 '
	ok "irq: RSS and VLAN settings from the file" is "$(<"$work/ethtool.log")" \
		$'--set-rxfh-indir nic0 equal 3\n-K nic0 rxvlan off'
	irq_script -f "$work/conf" -c 0 -n 1 -i nic0
	ok "irq: options win over the file" is "$status:$(affinity 98 99):$(sed -n 3p "$work/ethtool.log")" \
		'0:0 0 :--set-rxfh-indir nic0 equal 1'
	ETHTOOL_FAILS=$work/failing
	printf '#!/bin/sh\necho "Cannot set: Operation not supported" >&2\nexit 95\n' >"$ETHTOOL_FAILS"
	chmod +x "$ETHTOOL_FAILS"
	run env SYSFS="$work/sys" PROCFS="$work/proc" ETHTOOL="$ETHTOOL_FAILS" \
		"$here/set_irq_affinity_with_rss_conf.sh" -i nic0 -c 0 -n 2
	ok "irq: what ethtool refuses is said, exit 1" matches "$status:$err" '^1:WARN: .*Operation not supported'
	echo irqbalance >"$work/proc/77/comm"
	irq_script -i nic0 -c 0
	ok "irq: warns of irqbalance" matches "$status:$err" '^0:WARN: .*irqbalance is running'
}

test_irq_errors() {
	irq_script -i veth0 -c 0
	ok "irq: a device without interrupts, exit 1, one line" matches "$status:$err" '^1:ERR: [^'$'\n'']*no interrupts of its own'
	run env IFACE=veth0 SYSFS="$work/sys" PROCFS="$work/proc" "$here/set_irq_affinity_with_rss_conf.sh" -c 0
	ok "irq: ifupdown is not held up by it" matches "$status:$err" '^0:WARN: '
	irq_script -i absent -c 0
	ok "irq: no such device, exit 2" matches "$status:$err" '^2:ERR: .*no such device'
	irq_script -i nic0 -c 0-9
	ok "irq: a CPU that is not online, exit 2" matches "$status:$err" '^2:ERR: .*CPU 4 .*not online'
	irq_script -i nic0 -c '1;reboot'
	ok "irq: not a CPU list, exit 2" matches "$status:$err" '^2:ERR: .*not a list'
	irq_script -i nic0 -f "$work/absent.conf" -c 0
	ok "irq: a configuration file that is not there, exit 2" matches "$status:$err" '^2:ERR: .*absent.conf'
	# shellcheck disable=SC2016 # the file must contain the command itself
	printf 'CPU_LIST=0\ntouch %s/owned\n' "$work" >"$work/evil"
	irq_script -i nic0 -f "$work/evil"
	ok "irq: the file is read, not run" test "$status" = 2 -a ! -e "$work/owned"
	irq_script -i nic0 -c 0 -n 0
	ok "irq: zero queues, exit 2" matches "$status:$err" '^2:ERR: '
	irq_script -x
	ok "irq: unknown option, exit 2, nothing on stdout" matches "$status:$out:$err" '^2::ERR: '
	irq_script -h
	ok "irq -h, exit 0" matches "$status:$out" '^0:Usage: '
}

tree() { tc qdisc show dev "$1" | awk '{ print $2, $3, $4, $5 }' | sort; }
classes() { tc class show dev "$1" | grep -o '^class htb [^ ]*' | sort | tr '\n' ' '; }

test_tc() {
	local before
	run "$here/tc_mq_htb_setup_example.sh" four
	ok "tc: builds the tree" is "$status:$err" 0:
	ok "tc: stdout has nothing that callers take for an error" harmless
	ok "tc: mq at the root, handle 7fff:" matches "$(tree four)" 'mq 7fff: root'
	ok "tc: an HTB under each queue" is "$(grep -c '^htb [1-4]: parent 7fff:[1-4]$' <(tree four))" 4
	ok "tc: the default class is 2" matches "$(tc qdisc show dev four)" 'htb 1: parent 7fff:1 .*default 0x2'
	ok "tc: root, default, host and example classes" matches "$(classes four)" \
		'class htb 1:1 class htb 1:2 class htb 1:3 class htb 2:1 class htb 2:2 class htb 2:2a class htb 2:3 .*class htb 4:3 $'
	before=$(tree four | sed 's/^\([a-z_]*\) [0-9a-f]*:/\1/')
	run "$here/tc_mq_htb_setup_example.sh" -v --sub-rate 5mbit --sub-ceil 7mbit --dev four
	ok "tc: a second time gives the same tree" is "$status:$(tree four | sed 's/^\([a-z_]*\) [0-9a-f]*:/\1/')" "0:$before"
	ok "tc: rates are options" matches "$(tc class show dev four classid 2:2a)" 'rate 5Mbit ceil 7Mbit'
	ok "tc -v prints the commands" matches "$out" 'tc qdisc add dev four root handle 7fff: mq'
	run env ROOT_RATE=1gbit ROOT_CEIL=1gbit DEV=four "$here/tc_mq_htb_setup_example.sh"
	ok "tc: rates and device are variables" matches "$(tc class show dev four classid 1:1)" 'rate 1Gbit ceil 1Gbit'
	run "$here/tc_mq_htb_setup_example.sh" four --def-rate bogus
	ok "tc: a bad rate, exit 1, and no half tree" matches "$status:$err:$(tree four)" '^1:ERR: .*bogus'
	ok "tc: no half tree after an error" is "$(tree four | grep -c '^mq 7fff\|^htb' || :)" 0
}

test_tc_errors() {
	run "$here/tc_mq_htb_setup_example.sh" --dry-run four
	ok "tc --dry-run prints the commands" is "$status:$(grep -c '^tc class add' <<<"$out")" 0:13
	ok "tc --dry-run changes nothing" is "$(tree four | grep -c '^htb' || :)" 0
	run "$here/tc_mq_htb_setup_example.sh" one
	ok "tc: one queue, exit 1, one line" matches "$status:$out:$err" '^1::ERR: [^'$'\n'']*one has one TX queue: mq cannot be used'
	run "$here/tc_mq_htb_setup_example.sh" absent
	ok "tc: no such device, exit 2" is "$status:$err" "2:ERR: tc_mq_htb_setup_example.sh: no such device: absent"
	run "$here/tc_mq_htb_setup_example.sh"
	ok "tc: without a device, exit 2" matches "$status:$err" '^2:ERR: '
	run "$here/tc_mq_htb_setup_example.sh" --bogus four
	ok "tc: unknown option, exit 2, nothing on stdout" matches "$status:$out:$err" '^2::ERR: '
	run "$here/tc_mq_htb_setup_example.sh" --help
	ok "tc --help, exit 0" matches "$status:$out" '^0:Usage: '
}

ip link add four numtxqueues 4 numrxqueues 4 type veth peer name one numtxqueues 1 numrxqueues 1
ip link set four up
ip link set one up

test_xps_real
test_xps_errors
test_xps_many_cpus
test_irq
test_irq_errors
test_tc
test_tc_errors

printf '1..%d\n' "$count"
((failed == 0)) || {
	printf '# %d of %d failed\n' "$failed" "$count"
	exit 1
}
