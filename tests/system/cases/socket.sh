#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# The service's own socket: it starts the service, root does there what she does on the bus, users don't get in, and
# chvctl finds it when there is no bus.
. "$(dirname "$0")/../lib.sh"

install_chvd
systemctl start chvd.socket
[ "$(systemctl show -P ActiveState chvd)" = inactive ] || fail "chvd runs already"
chvctl --socket /run/chvd/bus version | grep -q '^chvd [0-9]' || fail "the socket does not start the service"
[ "$(systemctl show -P ActiveState chvd)" = active ] || fail "not started as a unit"
status=0
runuser -u alice -- chvctl --socket /run/chvd/bus list </dev/null || status=$?
[ $status = 5 ] || fail "alice gets in, or not in another way: $status"

create vm 6.12 vmlinux "$(cmdline '' halt)"
chvctl --socket /run/chvd/bus start vm
await_text 90 vm 'chv-init: up'
# Here and there it is the same.
has_state vm running || fail "state $(property vm State)"
DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent chvctl list | grep -q '^vm  *running' || fail "no way without a bus"
chvctl --socket /run/chvd/bus poweroff vm
has_state vm shutdown || fail "state $(property vm State)"
systemctl restart chvd
chvctl --socket /run/chvd/bus delete vm
! property vm State 2>/dev/null || fail "the VM is still there"
