#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# A guest on a qcow2 image with a base: what it wrote and flushed is there after a power cut and a
# reboot, what it trims comes back, the base stays as it is, and a check finds nothing wrong. A VHD
# beside it takes what it is given.
# Limit: 600
. "$(dirname "$0")/../lib.sh"

mount /scratch
start_chvd
cd /scratch
truncate -s 256M base.raw
mke2fs -F -q base.raw
base_sum=$(sha256sum <base.raw)
chvctl image create -f qcow2 -b base.raw -F raw disk.qcow2
chvctl image create -f vhd disk.vhd 64M
check() { # $1 when
    chvctl image check -f qcow2 disk.qcow2 >/tmp/check 2>&1 || fail "$1: $(cat /tmp/check)"
}

create off 6.12 vmlinux "$(cmdline 'true' halt)" --disk path=/scratch/disk.qcow2
! chvctl start off 2>/tmp/refused || fail "a base was opened without backing_files"
grep -q 'base.raw.*backing_files is off' /tmp/refused || fail "refused with: $(cat /tmp/refused)"

disks=(--disk path=/scratch/disk.qcow2,image_type=qcow2,backing_files=on path=/scratch/disk.vhd)
create vm 6.12 vmlinux "$(cmdline '
    mount -t ext4 /dev/vda /new || echo mount: wrong
    if [ -e /new/sum ]; then
        sha256sum -c /new/sum && echo verified
        dd if=/dev/zero bs=1M count=60 2>/dev/null | tr "\0" x > /new/more; sync
        rm /new/more; sync; fstrim /new && echo trimmed
        umount /new; dd if=/dev/vdb bs=1M skip=7 count=3 2>/dev/null | sha256sum | cut -c1-64; echo compared
    else
        dd if=/dev/urandom of=/new/data bs=64k count=200 2>/dev/null
        sha256sum /new/data > /new/sum; sync
        dd if=/new/data of=/dev/vdb bs=1M seek=7 count=3 2>/dev/null; sync
        dd if=/new/data bs=1M count=3 2>/dev/null | sha256sum | cut -c1-64; echo flushed
    fi' halt)" "${disks[@]}"
chvctl start vm
await_text 90 vm '^flushed'
chvctl poweroff vm
await_state 20 vm shutdown
check "after the power cut"
chvctl start vm
await_text 90 vm '^verified'
await_text 60 vm '^trimmed'
await_text 60 vm '^compared'
chvctl poweroff vm
await_state 20 vm shutdown
! has_text vm 'mount: wrong' || fail "the file system of the base is not there"
check "after the second run"
[ "$(sha256sum <base.raw)" = "$base_sum" ] || fail "the base was written"
used=$(du -k disk.qcow2 | cut -f1)
[ "$used" -lt 50000 ] || fail "$used KiB are used after the guest gave 60 MiB up"
chvctl image convert -f qcow2 -O raw disk.qcow2 flat.raw
chvctl image convert -f vhd -O raw disk.vhd vhd.raw
mkdir /tmp/m
mount -o loop flat.raw /tmp/m
(cd /tmp/m && sed 's,/new/,,' sum | sha256sum -c --quiet) || fail "the image holds other data than the guest wrote"
sum=$(dd if=vhd.raw bs=1M skip=7 count=3 2>/dev/null | sha256sum | cut -c1-64)
has_text vm "$sum" || fail "the VHD holds other data than the guest wrote"
