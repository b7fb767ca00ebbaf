#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# A stock Debian kernel boots from an initramfs, counts its CPUs, and powers its machine off.
# Runs: 6.1 bzImage 1 | 6.1 bzImage 2 | 6.1 bzImage 4 | 6.1 bzImage 8
# Runs: 6.1 vmlinux 1 | 6.1 vmlinux 2 | 6.1 vmlinux 4
# Runs: 6.12 bzImage 1 | 6.12 bzImage 2 | 6.12 bzImage 4
# Runs: 6.12 vmlinux 1 | 6.12 vmlinux 2 | 6.12 vmlinux 4 | 6.12 vmlinux 8
. "$(dirname "$0")/../lib.sh"
kernel=$1 image=$2 cpus=$3

start_chvd
create vm "$kernel" "$image" "$(cmdline 'cat /proc/version' poweroff)" --cpus boot="$cpus"
chvctl start vm
await_text 90 vm "chv-init: up $kernel\..* cpus $cpus "
await_text 20 vm "Linux version $kernel\."
await_state 20 vm shutdown
has_text vm 'reboot: Power down' || true
