#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# A user without rights sees the list and nothing else: no verb, no console, no configuration.
. "$(dirname "$0")/../lib.sh"

as() { runuser -u "$1" -- "${@:2}" </dev/null; }

start_chvd
create vm 6.12 vmlinux "$(cmdline '' halt)"
chvctl start vm
as alice chvctl list | grep -q vm || fail "the list is not open"
for verb in start shutdown poweroff reboot reset pause resume nmi delete counters console; do
    ! as alice chvctl $verb vm || fail "alice may $verb root's VM"
done
! as alice chvctl create hers --kernel /guest/6.12/vmlinux || fail "alice may create a VM"
config=$(as alice busctl get-property $manager /org/cloudhypervisor/vm/vm \
    org.cloudhypervisor.VM Config 2>&1 || true)
case $config in
*cmdline* | */guest/*) fail "alice reads root's configuration: $config" ;;
esac
has_state vm running || fail "state $(property vm State)"
