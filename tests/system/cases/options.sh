#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# What the configuration says of topology, memory, platform, PCI and queues is what a stock kernel
# sees: every value is read back in the guest.
# Runs: 6.1 vmlinux | 6.12 bzImage
. "$(dirname "$0")/../lib.sh"
kernel=$1 image=$2

truncate -s 16M /var/tmp/a.raw /var/tmp/b.raw
start_chvd
create vm "$kernel" "$image" "$(cmdline '
    echo "threads $(cat /sys/devices/system/cpu/cpu0/topology/thread_siblings_list)"
    echo "package $(cat /sys/devices/system/cpu/cpu0/topology/package_cpus_list)"
    echo "svm $(grep -c -w svm /proc/cpuinfo)"
    for f in product_serial product_uuid product_name sys_vendor product_version product_family \
        product_sku chassis_asset_tag; do echo "$f=$(cat /sys/class/dmi/id/$f)"; done
    for d in /sys/bus/pci/devices/*; do echo "pci ${d##*/} $(cat $d/vendor) $(cat $d/device)"; done
    for d in vda vdb; do
        echo "$d $(cat /sys/block/$d/serial) ro $(cat /sys/block/$d/ro) queues $(ls /sys/block/$d/mq | wc -l)"
        readlink -f /sys/block/$d/device | sed "s/^/$d is /"
    done
    echo "mtu $(cat /sys/class/net/eth0/mtu) tx $(ls -d /sys/class/net/eth0/queues/tx-* | wc -l)"
    dd if=/dev/zero of=/dev/vda bs=4k count=1 conv=fsync 2>/dev/null || echo write to vda refused
    dd if=/dev/vdb of=/dev/null bs=4k count=16 2>/dev/null && echo read from vdb
    echo all read' poweroff)" \
    --cpus boot=4,topology=2:1:1:2,nested=off,max_phys_bits=42 \
    --memory size=512M,shared=on,prefault=on,thp=off \
    --platform 'num_pci_segments=2,serial_number=SN-17,uuid=0e6f3a1e-5c4b-4f5e-9d64-0b1c2d3e4f50,system_manufacturer=Maker,system_product_name=Thing,system_version=V2,system_family=Fam,system_sku_number=SKU9,chassis_asset_tag=ASSET7' \
    --disk path=/var/tmp/a.raw,serial=first,num_queues=4,pci_segment=1,pci_device_id=7 \
    --disk path=/var/tmp/b.raw,serial=second,readonly=on,pci_device_id=9 \
    --net mtu=1400,num_queues=4,mac=52:54:00:00:00:31
chvctl start vm
await_text 120 vm '^all read'
chvctl info vm
# Linux 6.1 asks AMD processors for their threads only if they have TOPOEXT; an emulated host has not.
if [ "$kernel" != 6.1 ] || grep -q -w topoext /proc/cpuinfo; then
    has_text vm '^threads 0-1' || fail "threads"
fi
for wanted in 'package 0-1' 'svm 0' 'product_serial=SN-17' \
    'product_uuid=0e6f3a1e-5c4b-4f5e-9d64-0b1c2d3e4f50' product_name=Thing sys_vendor=Maker \
    product_version=V2 product_family=Fam product_sku=SKU9 chassis_asset_tag=ASSET7 \
    'pci 0001:00:07.0 0x1af4 0x1042' 'pci 0000:00:09.0 0x1af4 0x1042' \
    'pci 0000:00:00.0 0x8086 0x0d57' 'vda second ro 1 queues 1' 'vdb first ro 0 queues 4' \
    'vdb is .*0001:00:07.0' 'mtu 1400 tx 2' 'write to vda refused' 'read from vdb'; do
    has_text vm "^$wanted" || fail "the guest did not say: $wanted"
done
cmp -n 16777216 /var/tmp/b.raw /dev/zero
await_state 30 vm shutdown
