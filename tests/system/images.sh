# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced after lib.sh by cases about disks of every format: images in the current folder, made by us and by QEMU, and a
# guest that works on them with the program `exercise`, which it gets with its script as an archive on a disk.

raw_images="raw raw-direct raw-plain"
qcow2_images="qcow2 qcow2-direct qcow2-small qcow2-big qcow2-parts qcow2-lazy qcow2-based qcow2-apart"
other_images="vhd vhd-fixed vhdx vhdx-fixed vmdk"
declare -A disk_of # NAME: what --disk gets
exercise=${stage%/stage}/tests/system/exercise

# tool PROGRAM...: one of QEMU's.
tool() { /guest/tools/ld-linux-x86-64.so.2 --library-path /guest/tools "/guest/tools/$1" "${@:2}"; }
ours() { chvctl image "$@" >/tmp/ours 2>&1 || fail "chvctl image $*: $(cat /tmp/ours)"; }

# make_image NAME SIZE: NAME.img. What qcow2-based is based on is base.raw.
make_image() {
    local file=$1.img more=image_type=${1%%-*}
    case $1 in
    raw) truncate -s "$2" "$file" ;;
    raw-direct) truncate -s "$2" "$file" && more+=,direct=on ;;
    raw-plain) truncate -s "$2" "$file" && more+=,_disable_io_uring=on ;;
    qcow2) tool qemu-img create -q -f qcow2 "$file" "$2" ;;
    qcow2-direct) ours create -f qcow2 "$file" "$2" && more+=,direct=on ;;
    qcow2-small) ours create -f qcow2 -o cluster_size=4K "$file" "$2" && more+=,_disable_io_uring=on ;;
    qcow2-big) tool qemu-img create -q -f qcow2 -o cluster_size=2M "$file" "$2" ;;
    qcow2-parts) ours create -f qcow2 -o extended_l2=on,cluster_size=128K "$file" "$2" ;;
    qcow2-lazy) tool qemu-img create -q -f qcow2 -o lazy_refcounts=on "$file" "$2" ;;
    qcow2-based) ours create -f qcow2 -b base.raw -F raw "$file" "$2" && more+=,backing_files=on ;;
    qcow2-apart)
        truncate -s 0 apart.data
        ours create -f qcow2 -o data_file=apart.data "$file" "$2" && more+=,backing_files=on
        ;;
    vhd) ours create -f vhd "$file" "$2" ;;
    vhd-fixed) ours create -f vhd -o subformat=fixed "$file" "$2" ;;
    vhdx) tool qemu-img create -q -f vhdx -o block_size=1M "$file" "$2" ;;
    vhdx-fixed) ours create -f vhdx -o subformat=fixed,block_size=1M "$file" "$2" ;;
    vmdk) tool qemu-img create -q -f vmdk -o subformat=monolithicFlat "$file" "$2" && more+=,backing_files=on ;;
    esac
    disk_of[$1]="path=$PWD/$file,serial=$1,$more"
}

qemu_format() { # NAME
    case $1 in
    vhd | vhd-*) echo vpc ;;
    *) echo "${1%%-*}" ;;
    esac
}

# check_image NAME WHEN: nothing is wrong with it; space may be lost.
check_image() {
    local status=0
    chvctl image check -f "${1%%-*}" "$1.img" >/tmp/check 2>&1 || status=$?
    [[ $status =~ ^(0|3|63)$ ]] || fail "$2: $1: $(cat /tmp/check)"
    [[ $1 = qcow2* ]] || return 0
    status=0
    tool qemu-img check -f qcow2 "$1.img" >/tmp/check 2>&1 || status=$?
    [[ $status =~ ^(0|3)$ ]] || fail "$2: $1, as QEMU sees it: $(cat /tmp/check)"
}

# as_raw NAME FILE: what QEMU finds in it.
as_raw() {
    local from=$1.img
    if [[ $1 = vhdx* ]]; then # its log may have to be replayed, which QEMU does in place
        cp --sparse=always "$from" copy.img && from=copy.img
        tool qemu-img check -q -r all -f vhdx "$from" >/tmp/check 2>&1 || [ $? = 3 ] || fail "$1: $(cat /tmp/check)"
    fi
    tool qemu-img convert -f "$(qemu_format "$1")" -O raw "$from" "$2"
}

# guest_disk SCRIPT: the disk that carries a script; guest_line is the kernel's command line that runs it.
guest_disk() {
    mkdir -p carried
    cp "$exercise" carried/
    # disk NAME: its node in the guest.
    cat >carried/script <<END
disk() { for d in /sys/block/vd*; do [ "\$(cat \$d/serial)" != \$1 ] || echo /dev/\${d##*/}; done; }
$1
END
    tar -cf carried.img -C carried exercise script
    echo "path=$PWD/carried.img,serial=carried,readonly=on,image_type=raw"
}
guest_line=$(cmdline '
    for d in /sys/block/vd*; do [ "$(cat $d/serial)" != carried ] || tar -xf /dev/${d##*/} -C /tmp; done
    sh /tmp/script' halt)
