#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# What a guest writes to a disk of each format is what it reads: by fio's sums, by random requests of several processes at once
# (zeroed, discarded and flushed in between) that are checked against memory, and afterwards by QEMU, which compares the
# image with a raw twin that had the same requests.
# Limit: 600
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../images.sh"

mount /scratch
start_chvd
cd /scratch
mib=5
names="$raw_images $qcow2_images $other_images"
truncate -s ${mib}M base.raw
dd if=/dev/urandom of=base.raw bs=1M seek=1 count=3 conv=notrunc 2>/dev/null
truncate -s 100M twins.raw
disks=()
for name in $names; do
    make_image "$name" ${mib}M
    disks+=("${disk_of[$name]}")
done
script="
    mount -t ext4 -o ro \$(disk fio) /ro
    cat >/tmp/job <<END
[global]
direct=1
ioengine=io_uring
iodepth=16
thread=1
verify=crc32c
verify_fatal=1
verify_state_save=0
randrepeat=0
END
    for name in $names; do
        printf '[%s-random]\nfilename=%s\nrw=randwrite\nbsrange=%d-48k\nsize=512k\nfsync=16\n' \$name \$(disk \$name) \
            \$(blockdev --getss \$(disk \$name))
        printf '[%s-row]\nfilename=%s\nrw=write\nbs=128k\noffset=2m\nsize=1m\n' \$name \$(disk \$name)
    done >>/tmp/job
    /ro/ld-linux-x86-64.so.2 --library-path /ro /ro/fio --output-format=terse /tmp/job >/tmp/out 2>&1 &&
        echo sums are fine at \$(cut -d' ' -f1 /proc/uptime) || { echo WRONG: fio; cut -c1-60 /tmp/out; }
    n=0
    for name in $names; do
        /tmp/exercise disk $RANDOM\$n 25 \$(disk \$name) \$(disk twins) \$((n * $mib << 20)) &
        n=\$((n + 1))
    done
    wait
    echo all done at \$(cut -d' ' -f1 /proc/uptime)"
create vm 6.12 vmlinux "$guest_line" --cpus boot=2 --memory size=512M --disk "${disks[@]}" \
    path=$PWD/twins.raw,serial=twins,image_type=raw "$(guest_disk "$script")" \
    path=/guest/fio.ext4,serial=fio,readonly=on,image_type=raw
chvctl start vm
await_text 150 vm '^sums are fine'
await_text 120 vm '^all done'
chvctl poweroff vm
await_state 20 vm shutdown
! has_text vm WRONG || fail "$(grep -a WRONG "$work/vm.log")"
has_text vm '^fine: ' "$(wc -w <<<"$names")" || fail "not every disk came to its end"
n=0
for name in $names; do
    check_image "$name" afterwards
    dd if=twins.raw of=twin.raw bs=1M skip=$((n * mib)) count=$mib 2>/dev/null
    tool qemu-img compare -q -f "$(qemu_format "$name")" -F raw "$name.img" twin.raw ||
        fail "$name holds other data than its twin"
    n=$((n + 1))
done
