#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# Every way a running guest ends or starts over.
# Runs: guest-poweroff | guest-reboot | button | reset | reboot | reboot-force | poweroff
. "$(dirname "$0")/../lib.sh"

case $1 in
guest-poweroff) end=poweroff ;;
guest-reboot) end=reboot ;;
button | reboot) end=button ;;
*) end=halt ;;
esac
start_chvd
create vm 6.12 vmlinux "$(cmdline '' $end)" --cpus boot=2
chvctl start vm
await_text 90 vm 'chv-init: up'
case $1 in
guest-poweroff)
    await_state 30 vm shutdown
    ;;
guest-reboot)
    await_text 90 vm 'chv-init: up' 2
    await_text 90 vm 'chv-init: up' 3
    has_state vm running || has_state vm starting || fail "state $(property vm State)"
    ;;
button)
    await_text 30 vm 'waiting for the power button'
    chvctl shutdown vm
    await_text 30 vm 'chv-init: power button'
    await_state 30 vm shutdown
    ;;
reset)
    busctl call $manager /org/cloudhypervisor/vm/vm org.cloudhypervisor.VM Reset 'a{sv}' 0
    await_text 90 vm 'chv-init: up' 2
    has_state vm running || fail "state $(property vm State)"
    ;;
reboot) # through the guest's own power-off
    await_text 30 vm 'waiting for the power button'
    chvctl reboot vm
    has_text vm 'chv-init: power button'
    await_text 90 vm 'chv-init: up' 2
    has_state vm running || fail "state $(property vm State)"
    ;;
reboot-force) # a guest that does not listen
    chvctl reboot --force vm
    await_text 90 vm 'chv-init: up' 2
    has_state vm running || fail "state $(property vm State)"
    ;;
poweroff)
    chvctl poweroff vm
    await_state 20 vm shutdown
    chvctl start vm
    await_text 90 vm 'chv-init: up' 2
    ;;
esac
chvctl poweroff vm 2>/dev/null || true
await_state 20 vm shutdown
chvctl delete vm
! busctl get-property $manager /org/cloudhypervisor/vm/vm org.cloudhypervisor.VM State 2>/dev/null ||
    fail "the VM is still there"
