#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# Linux drives disk, network, console and entropy source with packed rings: data is what was written and sent, also across
# a pause under load and after the drivers reset their devices.
. "$(dirname "$0")/../lib.sh"

ip tuntap add vmtap0 mode tap vnet_hdr
ip address add 192.168.77.1/24 dev vmtap0
ip link set vmtap0 up
dd if=/dev/urandom of=/tmp/data bs=64k count=64 2>/dev/null
sum=$(sha256sum </tmp/data | cut -d' ' -f1)
# The other way round all connections would share one offset in the file.
socat -U TCP-LISTEN:7001,reuseaddr,fork OPEN:/tmp/data &

mount /scratch
truncate -s 128M /scratch/packed.raw
start_chvd
create vm 6.12 vmlinux "$(cmdline '
    for d in /sys/bus/virtio/devices/*; do
        read f < $d/features; read t < $d/device; echo "device $t packed ${f:34:1}"
    done
    dd if=/dev/hwrng bs=64 count=4 2>/dev/null | wc -c | sed "s/^/entropy /"
    fetch() {
        ip link set eth0 up; ip address replace 192.168.77.2/24 dev eth0
        nc 192.168.77.1 7001 > /tmp/d; echo "$1 $(sha256sum < /tmp/d)"
    }
    write() {
        for i in 1 2 3 4 5 6 7 8; do
            (dd if=/tmp/d of=/dev/vda bs=64k seek=$((i * 64)) conv=fsync,notrunc 2>/dev/null) &
        done; wait; echo 3 > /proc/sys/vm/drop_caches
        for i in 1 2 3 4 5 6 7 8; do
            dd if=/dev/vda bs=64k skip=$((i * 64)) count=64 2>/dev/null | sha256sum
        done | sort -u | sed "s/^/$1 /"
    }
    fetch net1; write disk1
    echo "load begins"
    for i in 1 2 3 4; do fetch load; write load; done; echo "load ends"
    rebind() {
        for p in $1; do d=${p##*/}; drv=${p%/*}; echo $d > $drv/unbind; echo $d > $drv/bind; done
    }
    rebind "/sys/bus/virtio/drivers/virtio_blk/virtio*"; rebind "/sys/bus/virtio/drivers/virtio_net/virtio*"
    fetch net2; write disk2; echo all is done' poweroff)" \
    --disk path=/scratch/packed.raw,packed=on \
    --net tap=vmtap0,mac=52:54:00:77:00:02,packed=on \
    --rng src=/dev/urandom,packed=on
chvctl start vm
await_text 90 vm '^device 0x0002 packed 1'
await_text 10 vm '^device 0x0001 packed 1'
await_text 10 vm '^device 0x0004 packed 1'
await_text 30 vm '^entropy 256'
await_text 90 vm "^net1 $sum"
await_text 60 vm "^disk1 $sum"
await_text 20 vm '^load begins'
for _ in 1 2 3 4; do
    chvctl pause vm
    has_state vm paused || fail "state $(property vm State)"
    sleep 0.5
    chvctl resume vm
    sleep 1
done
await_text 180 vm '^load ends'
await_text 90 vm "^net2 $sum"
await_text 90 vm "^disk2 $sum"
await_text 20 vm '^all is done'
[ "$(grep -a -c "^load $sum" "$work/vm.log")" = 8 ] || fail "data changed under load"
! grep -a -E 'is not a head|id .* out of range|blk_update_request|I/O error' "$work/vm.log" ||
    fail "the kernel complains of a ring"
await_state 30 vm shutdown
cmp -n 4194304 -i 0:4194304 /tmp/data /scratch/packed.raw
umount /scratch
