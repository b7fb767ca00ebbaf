#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# A guest works on a disk that qemu-storage-daemon serves. When that dies while the guest has nothing to ask, the machine runs on;
# when another takes its place, the guest goes on where it was. What it wrote is in the image.
# Limit: 500
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../images.sh"

mount /scratch
start_chvd
cd /scratch
tool qemu-img create -q -f qcow2 served.img 8M
truncate -s 8M twin.img
truncate -s 4K control.img
# writethrough: this daemon tells the guest that it has no write cache, so that nobody flushes, and has one unless told so.
serve() {
    /guest/tools/ld-linux-x86-64.so.2 --library-path /guest/tools /guest/tools/qemu-storage-daemon \
        --blockdev driver=file,node-name=file,filename="$PWD/served.img" \
        --blockdev driver=qcow2,node-name=disk,file=file,discard=unmap \
        --export type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path="$PWD/socket",writable=on,writethrough=on,num-queues=2 \
        >"$work/backend.log" 2>&1 &
    backend=$!
}
serve
await 20 'the back end listens' test -S socket
script="
    work() { /tmp/exercise disk \$1 30 /dev/vda \$twin 0; }
    control=\$(disk control) twin=\$(disk twin) # asks every disk for its name
    work 1; sync; sum=\$(sha256sum </dev/vda); echo \"sum 1 \$sum\"; echo waiting
    until grep -q go \$control; do sleep 1; echo 3 >/proc/sys/vm/drop_caches; echo tick; done
    [ \"\$sum\" = \"\$(sha256sum </dev/vda)\" ] || echo WRONG: other data from the second back end
    work 2; echo all done; sleep 1000"
create vm 6.12 vmlinux "$guest_line" --cpus boot=2 --memory size=256M,shared=on \
    --disk "vhost_user=on,socket=$PWD/socket,num_queues=2" path=$PWD/twin.img,serial=twin,image_type=raw \
    path=$PWD/control.img,serial=control,readonly=on,image_type=raw "$(guest_disk "$script")"
chvctl start vm
await_text 120 vm '^waiting'
kill -KILL $backend
ticks=$(grep -a -c '^tick' "$work/vm.log") || true
await_text 20 vm '^tick' $((ticks + 3))
has_state vm running || fail "state $(property vm State)"
rm -f socket
serve
await 20 'the second back end listens' test -S socket
echo go | dd of=control.img conv=notrunc 2>/dev/null
await_text 120 vm '^all done'
chvctl poweroff vm
await_state 20 vm shutdown
! has_text vm WRONG || fail "$(grep -a WRONG "$work/vm.log")"
has_text vm '^fine: /dev/vda' 2 || fail 'the work did not come to its end'
kill $backend
await 20 'the end of the back end' bash -c "! kill -0 $backend 2>/dev/null"
tool qemu-img check -q -f qcow2 served.img || fail 'the image is broken'
tool qemu-img compare -q -f qcow2 -F raw served.img twin.img || fail 'the image holds other data than the twin'
