#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# A worker that is killed in the middle of a guest's writing, time and again, takes nothing along that the guest had flushed, with disks of every
# format at work at once. What is on an image then is checked by its own rules, from outside, and by the guest.
# Limit: 600
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../images.sh"

mount /scratch
start_chvd
cd /scratch
names="raw qcow2 qcow2-direct qcow2-small qcow2-parts qcow2-based vhd vhdx vmdk"
truncate -s 4M base.raw
dd if=/dev/urandom of=base.raw bs=1M count=2 conv=notrunc 2>/dev/null
truncate -s 4K control.img
disks=()
for name in $names; do
    make_image "$name" 4M
    disks+=("${disk_of[$name]}")
done
script="
    for name in $names; do
        /tmp/exercise journal \$name \$(disk \$name) \$(disk control) &
    done
    wait"
create vm 6.12 vmlinux "$guest_line" --cpus boot=2 --memory size=512M --disk "${disks[@]}" \
    path=$PWD/control.img,serial=control,readonly=on,image_type=raw "$(guest_disk "$script")"

last_word() { # RUN NAME.PART
    grep -a -o "^synced $1 $2 [0-9]\+" "$work/vm.log" | tail -n 1 | cut -d' ' -f4
}

is_under_way() { # RUN: each part of each disk has something to lose
    ! has_text vm WRONG || fail "$(grep -a WRONG "$work/vm.log")"
    [ "$(awk -v run="$1" '$1 == "synced" && $2 == run && ++n[$3] == 1' "$work/vm.log" | wc -l)" = \
        $((2 * $(wc -w <<<"$names"))) ]
}

# After a run has ended, in whatever way: what the guest was told is there. The next guest looks at every disk; from outside a third of them is
# looked at, each in its turn, and all of them at the end.
verify() { # RUN [all]
    local name part turn=0
    {
        echo "run $1"
        for name in $names; do
            for part in 0 1; do
                echo "$name.$part $(last_word "$1" "$name.$part")"
            done
        done
    } >control.img
    cat control.img
    truncate -s 4K control.img
    for name in $names; do
        [ "${2-}" = all ] || [ $((++turn % 3)) = $(($1 % 3)) ] || continue
        check_image "$name" "run $1"
        as_raw "$name" seen.raw
        "$exercise" check "$name" seen.raw control.img || fail "$name lost something in run $1"
    done
}

# Each run has another moment; all of them lose what they had not flushed.
for ((run = 1; run <= 5; run++)); do
    chvctl start vm
    [ $run = 1 ] || for name in $names; do
        await_text 150 vm "^verified $((run - 1)) $name "
    done
    await 150 "work of run $run" is_under_way $run
    sleep "0.$((RANDOM % 900 + 100))"
    kill -KILL "$(property vm WorkerPID)"
    await_state 20 vm failed
    verify $run
done
chvctl start vm
for name in $names; do
    await_text 150 vm "^verified 5 $name "
done
await 150 'work of the last run' is_under_way 6
chvctl poweroff vm
await_state 30 vm shutdown
verify 6 all
