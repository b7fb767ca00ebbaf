#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# While a disk is given a size that takes its time, the machine can be asked, paused and ended, its disks go on, and another change
# of that disk is refused. An end in the middle, wanted or not, leaves a sound image of the size before; then it can grow.
# Limit: 400
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../images.sh"

mount /scratch
start_chvd
cd /scratch
truncate -s 256G base.raw
chvctl image create -f qcow2 -o cluster_size=4K -b base.raw -F raw slow.qcow2 16M
truncate -s 16M other.raw
create vm 6.12 vmlinux "$(cmdline '
    dd if=/dev/urandom of=/data bs=64k count=16 2>/dev/null
    tail=0; n=0
    while true; do
        for d in a b; do
            dd if=/data of=/dev/vd$d bs=64k seek=$((n % 15 * 16)) oflag=direct 2>/dev/null || echo WRONG: vd$d
        done
        n=$((n + 1)); echo tick $n
        if [ $tail = 0 ] && [ "$(cat /sys/block/vda/size)" = 131072 ]; then
            tail=1; tr -d "\0" </dev/vda | head -c 1 >/dev/null
            [ "$(dd if=/dev/vda bs=1M skip=16 2>/dev/null | tr -d "\0" | wc -c)" = 0 ] && echo grown
        fi
        sleep 0.2
    done' halt)" --disk path=$PWD/slow.qcow2,image_type=qcow2,backing_files=on,id=slow path=$PWD/other.raw,image_type=raw,id=other

sound() { # WHEN
    tool qemu-img check -q -f qcow2 slow.qcow2 >/tmp/check 2>&1 || fail "$1: $(cat /tmp/check)"
    chvctl image info slow.qcow2 | grep -q "${2:-16777216}" || fail "$1: $(chvctl image info slow.qcow2)"
}
ticks() { grep -a -c '^tick' "$work/vm.log" || true; }
begin() {
    chvctl resize-disk vm slow 200G >/tmp/resize 2>&1 &
    resize=$!
    sleep 3
}
goes_on() { kill -0 $resize 2>/dev/null || fail "$1: the change is over: $(cat /tmp/resize)"; }

chvctl start vm
await_text 90 vm '^tick'
begin
! timeout 10 chvctl resize-disk vm slow 32M >/tmp/second 2>&1 || fail "a second change was taken"
grep -q 'being given another size already' /tmp/second || fail "refused with: $(cat /tmp/second)"
timeout 10 chvctl resize-disk vm other 32M || fail "another disk cannot change its size"
timeout 10 chvctl counters vm >/dev/null || fail "the machine does not answer"
before=$(ticks)
await_text 60 vm '^tick' $((before + 4))
timeout 20 chvctl pause vm || fail "the machine cannot be paused"
has_state vm paused || fail "state $(property vm State)"
timeout 10 chvctl resume vm
before=$(ticks)
await_text 60 vm '^tick' $((before + 4))
goes_on "before the power goes"
timeout 20 chvctl poweroff vm || fail "the machine cannot be ended"
await_state 20 vm shutdown
wait $resize && fail "a change came to its end: $(cat /tmp/resize)"
grep -q 'before the disk had another size' /tmp/resize || fail "ended with: $(cat /tmp/resize)"
sound "after a power-off"

chvctl start vm
before=$(ticks)
await_text 90 vm '^tick' $((before + 2))
begin
goes_on "before the kill"
kill -KILL "$(property vm WorkerPID)"
await_state 20 vm failed
wait $resize && fail "a change came to its end: $(cat /tmp/resize)"
# What a kill leaves behind may be space that nobody has.
chvctl image check -r leaks slow.qcow2 >/tmp/check 2>&1 || fail "after a kill: $(cat /tmp/check)"
sound "after a kill"

chvctl start vm
before=$(ticks)
await_text 90 vm '^tick' $((before + 2))
chvctl resize-disk vm slow 64M
await_text 90 vm '^grown'
chvctl poweroff vm
await_state 20 vm shutdown
! has_text vm WRONG || fail "$(grep -a WRONG "$work/vm.log" | head -n 3)"
sound "at the end" 67108864
