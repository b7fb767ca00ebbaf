#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# With either shape of lock a machine's disk and QEMU exclude one another, whoever comes first.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../images.sh"

mount /scratch
start_chvd
cd /scratch

refused() { # WHAT COMMAND...
    ! "${@:2}" >/tmp/refused 2>&1 || fail "${*:2}"
    grep -q "$1" /tmp/refused || fail "${*:2}: $(cat /tmp/refused)"
}

for shape in byte-range full; do
    # The least that there is, where most of QEMU's bytes are beyond the end, and a usual one.
    for size in 512 1M; do
        disk=$shape-$size.img vm=${shape%-*}$size
        truncate -s $size $disk
        create $vm 6.12 vmlinux "$(cmdline true halt)" \
            --disk path=$PWD/$disk,image_type=raw,lock_granularity=$shape
        chvctl start $vm
        refused 'Failed to lock' tool qemu-img convert -f raw $disk copy.img
        refused 'Failed to lock' tool qemu-img resize -f raw $disk 2M
        refused 'is being written' chvctl image info $disk
        chvctl poweroff $vm
        await_state 20 $vm shutdown
        rm -f socket
        /guest/tools/ld-linux-x86-64.so.2 --library-path /guest/tools /guest/tools/qemu-storage-daemon \
            --blockdev driver=file,node-name=disk,filename=$disk \
            --export type=vhost-user-blk,id=disk,node-name=disk,addr.type=unix,addr.path=socket,writable=on &
        daemon=$!
        await 20 'QEMU has the disk' test -S socket
        refused 'in use by another program' chvctl start $vm
        kill $daemon
        wait $daemon || true
        chvctl start $vm
        chvctl poweroff $vm
    done
done
