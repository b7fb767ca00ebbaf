#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# A Debian root on virtio-blk reaches multi-user with nothing failed; root logs in on the serial
# port and on the virtio console, and powers off.
# Limit: 500
# Runs: 6.1 bzImage 1 | 6.12 vmlinux 2
. "$(dirname "$0")/../lib.sh"
kernel=$1 image=$2 cpus=$3

start_chvd
chvctl create --name vm --cpus boot="$cpus" --memory size=768M --disk path=/dev/vdc \
    --kernel "/guest/$kernel/$image" --initramfs "/guest/$kernel/initramfs" \
    --cmdline "console=ttyS0 loglevel=4 root=/dev/vda" --serial pty --console pty
chvctl start vm
expect 200 chvctl console vm serial <<'END' || fail "no login on ttyS0"
< ttyS0
< login: $
> root
< # $
> tty; systemctl is-system-running --wait; systemctl --no-pager --failed --plain --no-legend; echo end=$?
< /dev/ttyS0
< running
< end=0
END
expect 60 chvctl console vm console <<'END' || fail "no login on hvc0"
>
< hvc0
< login: $
> root
< # $
> tty; systemctl is-active multi-user.target
< /dev/hvc0
< active
> systemctl poweroff
< is off
END
await_state 60 vm shutdown
