#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# What a guest writes to a block device in each mode of a disk's engine is what it reads, by fio's sums and on the device itself, and each mode is
# in use when it was asked for: by default a thread sleeps, with poll= it looks, and with
# registered_buffers= the memory is pinned, with iopoll= the device is polled for what ends.
# Limit: 400
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../images.sh"

modprobe null_blk nr_devices=5 gb=1 memory_backed=1 queue_mode=2 irqmode=2 completion_nsec=20000 poll_queues=1
mkdir -p /var/lib/chv-test/disks
cd /var/lib/chv-test/disks
start_chvd
modes="plain poll registered iopoll both"
script="
    mount -t ext4 -o ro \$(disk fio) /ro
    cat >/tmp/job <<END
[global]
direct=1
ioengine=io_uring
thread=1
verify=crc32c
verify_fatal=1
verify_state_save=0
randrepeat=0
END
    for name in $modes; do
        printf '[%s-random]\nfilename=%s\nrw=randwrite\nbsrange=512-48k\niodepth=16\nsize=2m\nfsync=16\n' \$name \$(disk \$name)
        printf '[%s-one]\nfilename=%s\nrw=randrw\nbs=4k\niodepth=1\noffset=8m\nsize=1m\n' \$name \$(disk \$name)
        printf '[%s-row]\nfilename=%s\nrw=write\nbs=512k\niodepth=4\noffset=4m\nsize=4m\n' \$name \$(disk \$name)
    done >>/tmp/job
    /ro/ld-linux-x86-64.so.2 --library-path /ro /ro/fio --output-format=terse /tmp/job >/tmp/out 2>&1 &&
        echo sums are fine || { echo WRONG: fio; cut -c1-60 /tmp/out; }
    for name in $modes; do
        blkdiscard -o 32M -l 1M \$(disk \$name) || echo WRONG: discard
        dd if=/dev/urandom of=/tmp/data bs=64k count=32 2>/dev/null
        dd if=/tmp/data of=\$(disk \$name) bs=64k seek=160 conv=fsync 2>/dev/null
        echo \"data of \$name \$(sha256sum </tmp/data)\"
    done
    echo all done"
create vm 6.12 vmlinux "$guest_line" --cpus boot=2 --memory size=256M --disk \
    path=/dev/nullb0,serial=plain,image_type=raw,direct=on \
    path=/dev/nullb1,serial=poll,image_type=raw,direct=on,poll=200,num_queues=2 \
    path=/dev/nullb2,serial=registered,image_type=raw,direct=on,registered_buffers=on,num_queues=2 \
    path=/dev/nullb3,serial=iopoll,image_type=raw,direct=on,iopoll=on,num_queues=2 \
    path=/dev/nullb4,serial=both,image_type=raw,direct=on,iopoll=on,registered_buffers=on,poll=50 \
    "$(guest_disk "$script")" path=/guest/fio.ext4,serial=fio,readonly=on,image_type=raw
chvctl start vm
await_text 120 vm '^sums are fine'
await_text 30 vm '^all done'
counter() { chvctl counters vm | awk -v disk="_disk$1" -v name="$2" '$2 == disk && $3 == name { print $4 }'; }
[ "$(counter 0 poll_hits)" = 0 ] || fail "a thread that was to sleep looked"
[ "$(counter 1 poll_hits)" -gt 100 ] || fail "looking found work $(counter 1 poll_hits) times"
[ "$(counter 0 registered_ops)" = 0 ] || fail "a disk used registered memory without being told to"
[ "$(counter 2 registered_ops)" -gt 500 ] || fail "$(counter 2 registered_ops) transfers to registered memory"
for n in 3 4; do
    [ "$(counter $n iopoll_ops)" -gt 500 ] || fail "disk $n: $(counter $n iopoll_ops) transfers were polled for"
done
[ "$(counter 2 iopoll_ops)" = 0 ] || fail "a disk was polled for without being told to"
[ "$(counter 3 registered_ops)" = 0 ] && [ "$(counter 4 registered_ops)" -gt 500 ] ||
    fail "registered with iopoll: $(counter 3 registered_ops) and $(counter 4 registered_ops)"
pinned=$(awk '/^VmPin/ { print $2 }' "/proc/$(pgrep -n chv-vmm)/status")
[ "$pinned" -ge $((256 << 10)) ] || fail "$pinned KiB are pinned of a guest of 256 MiB"
[ "$(systemctl show -P LimitMEMLOCK chv-vm.service)" = infinity ] || fail "the unit may not pin memory"

# With a guest that does nothing no thread looks: what the worker takes of the processor is next to nothing.
ticks() { awk '{ print $14 + $15 }' "/proc/$(pgrep -n chv-vmm)/stat"; }
sleep 3
before=$(ticks)
sleep 5
[ $(($(ticks) - before)) -lt 100 ] || fail "an idle worker ran for $(($(ticks) - before)) ticks of 500"

chvctl poweroff vm
await_state 20 vm shutdown
! has_text vm WRONG || fail "$(grep -a WRONG "$work/vm.log")"
n=0
for name in $modes; do
    sum=$(dd if=/dev/nullb$n bs=64k skip=160 count=32 2>/dev/null | sha256sum | cut -d' ' -f1)
    has_text vm "^data of $name $sum" || fail "/dev/nullb$n holds other data than the guest wrote"
    n=$((n + 1))
done

# What cannot be polled is refused before the machine is there.
truncate -s 4M loop.raw
loop=$(losetup --show -f loop.raw)
refuse() { # WORDS OPTIONS
    create refused 6.12 vmlinux 'console=ttyS0' --disk "$2"
    ! chvctl start refused 2>/tmp/why || fail "a VM started with $2"
    grep -q "$1" /tmp/why || fail "$(cat /tmp/why)"
    chvctl delete refused
}
refuse 'disks\[0\].path: .*no queues for polling' "path=$loop,image_type=raw,direct=on,iopoll=on"

# The engine by itself, on a file system whose device can be polled.
mkfs.ext4 -q /dev/nullb3
mount /dev/nullb3 /mnt
mkdir /mnt/tmp
TMPDIR=/mnt/tmp "${stage%/stage}/tests/unit/block/test-block-engine" -p /engine/iopoll/io -p /engine/iopoll/registered \
    >/tmp/engine 2>&1 || fail "$(cat /tmp/engine)"
[ "$(grep -v SKIP /tmp/engine | grep -c '^ok .* /engine/iopoll/')" = 2 ] || fail "$(cat /tmp/engine)"
