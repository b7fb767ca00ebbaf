#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# With every device there is, the guest's kernel log has no error and no warning of our making.
# Runs: 6.1 bzImage | 6.1 vmlinux | 6.12 bzImage | 6.12 vmlinux
. "$(dirname "$0")/../lib.sh"
kernel=$1 image=$2

# What the same kernels say on any machine without a real firmware, and what nested virtualisation
# on an emulated CPU makes them say: none of it is about tables or devices.
known='Spectre|RETBleed|retbleed|Speculative|MDS|TAA|MMIO Stale|SRSO|Register File Data'
known="$known|mitigation|Mitigation|unprivileged eBPF|regulatory|cfg80211|platform eisa"
known="$known|hrtimer: interrupt took|module verification|loading out-of-tree|tainting kernel|HugeTLB"

ip tuntap add vmtap0 mode tap vnet_hdr
ip link set vmtap0 up
truncate -s 64M "/var/tmp/disk.raw"
start_chvd
create vm "$kernel" "$image" "$(cmdline '
    ip link set eth0 up; dd if=/dev/vda of=/dev/null bs=64k count=16 2>/dev/null
    dd if=/dev/hwrng of=/dev/null bs=64 count=1 2>/dev/null
    echo log-begin; dmesg -r | grep "^<[0-4]>"; echo log-end; dmesg' poweroff)" \
    --cpus boot=2 --disk path=/var/tmp/disk.raw --net tap=vmtap0 --rng src=/dev/urandom \
    --console pty
chvctl start vm
await_state 120 vm shutdown
has_text vm log-end || fail "no log"
bad=$(sed -n '/^log-begin/,/^log-end/{/^</p}' "$work/vm.log" | grep -v -E "$known" || true)
[ -z "$bad" ] || { echo "$bad" && fail "the kernel complains"; }
