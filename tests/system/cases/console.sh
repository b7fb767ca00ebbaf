#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# chvctl console: a late watcher gets the earlier output, a second one watches, one writes, Ctrl-]
# leaves and the guest goes on. A guest knows the size of the terminal that writes to its virtio console.
. "$(dirname "$0")/../lib.sh"

start_chvd
chvctl create --name vm --kernel /guest/6.12/vmlinux --initramfs /guest/6.12/initramfs \
    --cmdline "console=hvc0 console=ttyS0 loglevel=4 chv.run=shell" --serial pty --console pty
chvctl start vm
expect 90 chvctl console vm serial >"$work/first.log" <<'END' || fail "no shell on the console"
< chv-init: shell
< # $
> echo sum=$((40 + 2))
< sum=42
^ ]
END
expect 20 chvctl console vm serial >"$work/second.log" <<'END' || fail "a late watcher missed the output"
< chv-init: up
< sum=42
END
has_state vm running || fail "state $(property vm State)"
expect 30 chvctl console vm console >"$work/size.log" <<'END' || fail "the guest does not learn the size of the terminal"
@ 30 111
>
< #
> sleep 1; echo size=$(stty size)
< size=30 111
@ 50 132
> sleep 1; echo size=$(stty size)
< size=50 132
^ ]
END
expect 30 chvctl console vm serial >"$work/third.log" <<'END' || fail "the shell did not power off"
< sum=42\n
< #
> poweroff -f
< is off
END
await_state 20 vm shutdown
