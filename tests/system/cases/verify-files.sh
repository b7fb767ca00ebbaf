#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# Random operations on files (written, mapped, cut, punched, shifted) on a file system on a disk of each format: every byte is
# what memory says, the file system is in order afterwards, and QEMU finds the same files in the image.
# Limit: 600
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../images.sh"

mount /scratch
start_chvd
cd /scratch
names="raw-direct raw-plain $qcow2_images $other_images"
truncate -s 16M base.raw
mke2fs -F -q -t ext4 -b 4096 base.raw # an image with direct=on has sectors of that size
disks=()
for name in $names; do
    make_image "$name" 16M
    [ "$name" = qcow2-based ] || ours convert -n -f raw -O "${name%%-*}" base.raw "$name.img"
    disks+=("${disk_of[$name]}")
done
script="
    work() {
        mkdir /m-\$1; mount -t ext4 -o discard \$(disk \$1) /m-\$1 || { echo WRONG: mount \$1; return; }
        for i in 1 2; do /tmp/exercise file \$((\$i + $RANDOM)) 120 /m-\$1/\$i & done
        for i in 1 2 3 4; do
            cp -r /bin/busybox /m-\$1/x-\$i; mkdir /m-\$1/d-\$i; mv /m-\$1/x-\$i /m-\$1/d-\$i; sync
            [ \$i = 3 ] || rm -r /m-\$1/d-\$i
        done
        wait
        umount /m-\$1; mount -t ext4 \$(disk \$1) /m-\$1
        (cd /m-\$1; cmp -s d-3/x-3 /bin/busybox && sha256sum 1 2 d-3/x-3 | sed \"s/^/sum \$1 /\")
        umount /m-\$1
    }
    for name in $names; do work \$name & done
    wait
    echo all done at \$(cut -d' ' -f1 /proc/uptime)"
create vm 6.12 vmlinux "$guest_line" --cpus boot=2 --memory size=512M --disk "${disks[@]}" "$(guest_disk "$script")"
chvctl start vm
await_text 250 vm '^all done'
chvctl poweroff vm
await_state 20 vm shutdown
! has_text vm WRONG || fail "$(grep -a WRONG "$work/vm.log")"
mkdir /tmp/m
for name in $names; do
    has_text vm "^fine: /m-$name/" 2 || fail "$name: the work did not come to its end"
    check_image "$name" afterwards
    as_raw "$name" seen.raw
    e2fsck -fn seen.raw >/tmp/fsck 2>&1 || fail "$name: $(cat /tmp/fsck)"
    mount -o loop,ro seen.raw /tmp/m
    grep -a -o "^sum $name [0-9a-f]\{64\}  [^ ]*[0-9]" "$work/vm.log" | cut -d' ' -f3- >/tmp/sums
    [ "$(wc -l </tmp/sums)" = 3 ] || fail "$name: the guest lost a file"
    (cd /tmp/m && sha256sum --quiet -c /tmp/sums) || fail "$name holds other files than the guest wrote"
    umount /tmp/m
done
