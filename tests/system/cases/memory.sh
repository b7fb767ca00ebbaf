#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# The guest gets the memory it was promised, below and above the hole, and can use both.
# Runs: 128M | 1G | 4G
. "$(dirname "$0")/../lib.sh"
size=$1
declare -A least=([128M]=80000 [1G]=950000 [4G]=3900000)

start_chvd
create vm 6.12 vmlinux "$(cmdline '
    awk "/MemTotal/ { print \"total\", \$2, \"kB\" }" /proc/meminfo
    grep "System RAM" /proc/iomem
    dd if=/dev/urandom of=/tmp/a bs=64k count=200 2>/dev/null
    cp /tmp/a /tmp/b
    cmp /tmp/a /tmp/b && echo memory is fine' poweroff)" --memory size="$size"
chvctl start vm
await_text 90 vm 'memory is fine'
total=$(sed -n 's/^total \([0-9]*\) kB.*/\1/p' "$work/vm.log")
[ "$total" -ge "${least[$size]}" ] || fail "the guest has $total kB"
if [ "$size" = 4G ]; then
    # 3 GiB below the hole, the last one from 4 GiB on.
    grep -a -q '^100000000-13fffffff : System RAM' "$work/vm.log" || fail "nothing above the hole"
    ! grep -a -q '^c0000000.* : System RAM' "$work/vm.log" || fail "RAM in the hole"
fi
await_state 20 vm shutdown
