#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# A guest paused for 5 s stands still, then goes on with a clock that never went back, did not jump,
# and timers that fire; its kernel does not complain.
. "$(dirname "$0")/../lib.sh"

start_chvd
create vm 6.12 vmlinux "$(cmdline '
    i=0
    while [ $i -lt 60 ]; do
        read up rest < /proc/uptime
        echo "tick $i $(date +%s) $up"
        i=$((i + 1)); sleep 0.5
        [ -e /sys/class ] && [ $i = 40 ] && dmesg -r | grep "^<[0-4]>" | sed "s/^/kernel: /"
    done' halt)" --cpus boot=2
chvctl start vm
await_text 90 vm 'tick 4 '
chvctl pause vm
has_state vm paused || fail "state $(property vm State)"
before=$(grep -a -c tick "$work/vm.log")
sleep 5
after=$(grep -a -c tick "$work/vm.log")
[ "$after" -le $((before + 1)) ] || fail "a paused guest printed $((after - before)) lines"
chvctl resume vm
has_state vm running || fail "state $(property vm State)"
await_text 60 vm 'tick 45 '
python3 - "$work/vm.log" <<'END'
import re
import sys
rows = [(int(a), float(b)) for a, b in
        re.findall(r'tick \d+ (\d+) ([\d.]+)', open(sys.argv[1], errors='replace').read())]
for (w0, u0), (w1, u1) in zip(rows, rows[1:]):
    assert w1 >= w0 and u1 > u0, f'time went back: {w0} {u0} -> {w1} {u1}'
    assert u1 - u0 < 9, f'time jumped: {u0} -> {u1}'
    assert abs((w1 - w0) - (u1 - u0)) < 7, f'clocks parted: {w0} {u0} -> {w1} {u1}'
END
! grep -a -i -E 'kernel:.*(clocksource|lockup|stall|tsc)' "$work/vm.log" || fail "the kernel complains"
