#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# Disks of a guest that runs get larger, raw, qcow2, a block device, and qcow2 on a block device that has got larger: it sees that and uses what it got, and the images
# are sound. A disk does not shrink unless that is said; a host without space leaves all as it was, and when there is some it goes on.
# What waits for the limits of a group goes on when they are changed.
# Limit: 600
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../images.sh"

mount /scratch
start_chvd
cd /scratch
truncate -s 64M disk.raw lv.raw
chvctl image create -f qcow2 disk.qcow2 64M
chvctl image create -f vhd other.vhd 16M
mkdir small
truncate -s 24M small.ext4
mke2fs -F -q -m 0 small.ext4
mount -o loop small.ext4 small
chvctl image create -f qcow2 -o cluster_size=4K small/disk.qcow2 16M
dd if=/dev/zero of=small/rest bs=64k 2>/dev/null || dd if=/dev/zero of=small/rests bs=1k 2>/dev/null || true # all there is
loop=$(losetup --show -f lv.raw)
truncate -s 8M held.raw
held=$(losetup --show -f held.raw)
tool qemu-img create -q -f qcow2 "$held" 16M

disks=(--rate-limit-group id=both,ops_size=100000,ops_refill_time=100
    --disk path=/scratch/disk.raw,image_type=raw,id=raw,rate_limit_group=both path=/scratch/disk.qcow2,id=qcow2,rate_limit_group=both
    path="$loop",id=device,image_type=raw path=/scratch/other.vhd,id=vhd path=/scratch/small/disk.qcow2,id=small
    path="$held",id=held,image_type=qcow2)
create vm 6.12 vmlinux "$(cmdline '
    sizes() { cat /sys/block/vda/size /sys/block/vdb/size /sys/block/vdc/size | xargs; }
    dd if=/dev/urandom of=/data bs=64k count=64 2>/dev/null
    for d in a b c; do dd if=/data of=/dev/vd$d bs=1M seek=60 2>/dev/null; done; sync; echo written $(sizes)
    while [ "$(sizes)" != "262144 262144 196608" ]; do sleep 0.2; done; echo grown
    for d in a b c; do
        dd if=/dev/vd$d bs=1M skip=60 count=4 2>/dev/null | cmp - /data && dd if=/data of=/dev/vd$d bs=1M seek=90 2>/dev/null && echo used $d
    done
    sync; echo synced
    # Of the device 8 MiB are there, of the disk 16.
    dd if=/data of=/dev/vdf bs=1M seek=12 oflag=direct 2>/dev/null && dd if=/data of=/dev/vdf bs=1M seek=4 oflag=direct 2>/dev/null && echo room: wrong
    while [ "$(cat /sys/block/vdf/size)" != 98304 ]; do sleep 0.2; done
    while [ "$(sizes)" != "163840 163840 196608" ]; do sleep 0.2; done; echo shrunk
    dd if=/data of=/dev/vdf bs=1M seek=40 oflag=direct 2>/dev/null && dd if=/data of=/dev/vdf bs=1M seek=0 oflag=direct 2>/dev/null &&
        dd if=/data of=/dev/vdf bs=1M seek=8 oflag=direct 2>/dev/null && sync && echo held all
    for d in a b; do
        dd if=/dev/vd$d bs=1M skip=60 count=4 2>/dev/null | cmp - /data && echo kept $d
        dd if=/data of=/dev/vd$d bs=1M seek=80 count=1 oflag=direct 2>/dev/null && echo beyond $d: wrong
    done
    sha256sum /data | cut -c1-64; echo over' halt)" "${disks[@]}"
chvctl start vm
await_text 90 vm '^written 131072 131072 131072'

refused() { # $1 status $2 what it says, the rest: words of resize-disk
    local status=0 expected=$1 text=$2
    shift 2
    chvctl resize-disk "$@" >/tmp/refused 2>&1 || status=$?
    [ "$status" = "$expected" ] && grep -q "$text" /tmp/refused ||
        fail "resize-disk $*: status $status, $(cat /tmp/refused)"
}
refused 2 'cut off the last' vm raw 32M
refused 2 'cut off the last' vm qcow2 32M
refused 2 'another size than its block device' vm device 128M
refused 1 'vhd image cannot be resized' vm vhd 32M
refused 1 'No space left' vm small 64G
[ "$(busctl get-property $manager /org/cloudhypervisor/vm/vm/device/small org.cloudhypervisor.Device Size)" = "t 16777216" ] ||
    fail "a disk that could not grow has another size"
rm small/rest*
chvctl resize-disk vm small 64G
refused 3 'chvctl image resize' vm none 32M

# One request a day, until that is changed.
chvctl update-group vm both ops_size=1 ops_refill_time=86400000
chvctl monitor --lines 3 vm >/tmp/events &
monitor=$!
sleep 0.5
chvctl resize-disk vm raw 128M
chvctl resize-disk vm qcow2 +64M
truncate -s 96M lv.raw
losetup -c "$loop"
chvctl resize-disk vm device
await_text 60 vm '^grown'
sleep 1
! has_text vm '^used' || fail "the limits of a group are not in force"
chvctl update-group vm both ops_size=100000 ops_refill_time=100
for d in a b c; do await_text 30 vm "^used $d"; done
await_text 30 vm '^synced'
wait $monitor
[ "$(grep -c resized /tmp/events)" = 3 ] || fail "events: $(cat /tmp/events)"

# A disk that has no room left gets some, and is larger.
sleep 2
truncate -s 32M held.raw
losetup -c "$held"
chvctl resize-disk vm held 48M
chvctl resize-disk --shrink vm raw 80M
chvctl resize-disk --shrink vm qcow2 80M
await_text 60 vm '^over'
for d in a b; do has_text vm "^kept $d" || fail "vd$d lost what it keeps"; done
has_text vm '^held all' || fail "the room of a larger block device is not used"
! has_text vm 'wrong' || fail "a write beyond the end was taken"
chvctl poweroff vm
await_state 20 vm shutdown

[ "$(stat -c %s disk.raw)" = $((80 << 20)) ] || fail "the raw file has $(stat -c %s disk.raw) bytes"
for image in disk.qcow2 small/disk.qcow2; do
    chvctl image check -f qcow2 $image >/tmp/check 2>&1 || fail "$image: $(cat /tmp/check)"
    if command -v qemu-img >/dev/null; then
        qemu-img check -f qcow2 $image >/tmp/check 2>&1 || fail "$image: $(cat /tmp/check)"
    fi
done
tool qemu-img check -q -f qcow2 "$held" >/tmp/check 2>&1 || fail "$held: $(cat /tmp/check)"
tool qemu-img convert -f qcow2 -O raw "$held" held.flat
[ "$(stat -c %s held.flat)" = $((48 << 20)) ] || fail "the disk on a block device has $(stat -c %s held.flat) bytes"
# What has to be the same as in the file is what the guest has written there.
chvctl image convert -f qcow2 -O raw disk.qcow2 flat.raw
cmp disk.raw flat.raw || fail "raw and qcow2 differ"
sum=$(dd if=lv.raw bs=1M skip=90 count=4 2>/dev/null | sha256sum | cut -c1-64)
has_text vm "$sum" || fail "the device holds other data than the guest wrote"
for at in 0 8 12 40; do
    [ "$(dd if=held.flat bs=1M skip=$at count=4 2>/dev/null | sha256sum | cut -c1-64)" = "$sum" ] ||
        fail "the disk on a block device holds other data at $at MiB than the guest wrote"
done
