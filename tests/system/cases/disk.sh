#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# What a guest wrote and flushed is there after a power cut, and in the file; a read-only disk
# cannot be written. What the guest gives up is given back to the host.
. "$(dirname "$0")/../lib.sh"

mount /scratch
truncate -s 256M /scratch/data.raw
truncate -s 16M /scratch/fixed.raw
start_chvd
disks=(--disk path=/scratch/data.raw path=/scratch/fixed.raw,readonly=on)
create vm 6.12 vmlinux "$(cmdline '
    if mount -t ext4 /dev/vda /new 2>/dev/null; then
        sha256sum -c /new/sum && echo verified
        dd if=/dev/zero of=/new/more bs=1M count=100 2>/dev/null; sync; rm /new/more; sync
        fstrim /new && echo trimmed; umount /new
    else
        mke2fs -F -q /dev/vda >/dev/null 2>&1; mount -t ext4 /dev/vda /new
        dd if=/dev/urandom of=/new/data bs=64k count=400 2>/dev/null
        sha256sum /new/data > /new/sum; sync; cat /new/sum; echo flushed
    fi
    dd if=/dev/zero of=/dev/vdb bs=4k count=1 2>/dev/null && sync && echo written: wrong
    blockdev --getro /dev/vdb | sed "s/^/readonly /"' halt)" "${disks[@]}"
chvctl start vm
await_text 90 vm '^flushed'
chvctl poweroff vm
await_state 20 vm shutdown
chvctl start vm
await_text 90 vm '^verified'
await_text 60 vm '^trimmed'
await_text 10 vm '^readonly 1'
! has_text vm 'written: wrong' || fail "a read-only disk took a write"
counter() { chvctl counters vm | awk -v name="$1" '$2 == "_disk0" && $3 == name { print $4 }'; }
[ "$(counter write_bytes)" -ge 100000000 ] && [ "$(counter discard_bytes)" -ge 100000000 ] ||
    fail "written $(counter write_bytes), discarded $(counter discard_bytes)"
chvctl poweroff vm
await_state 20 vm shutdown
used=$(du -k /scratch/data.raw | cut -f1)
[ "$used" -lt 60000 ] || fail "$used KiB are used after the guest gave 100 MiB up"
[ "$(tr -d '\0' </scratch/fixed.raw | wc -c)" = 0 ] || fail "the read-only file changed"
mkdir /tmp/m
mount -o loop /scratch/data.raw /tmp/m
sum=$(sha256sum </tmp/m/data | cut -d' ' -f1)
has_text vm "$sum" || fail "the file holds other data than the guest wrote"
