#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# systemd-machined knows what runs: machinectl lists and shows it, also after chvd was killed or came later; machinectl reboot, poweroff and
# terminate ask the guest; and what has ended is off the list, to be on it again when it is started again.
# Limit: 400
. "$(dirname "$0")/../lib.sh"

show() { machinectl show --property "$1" --value vm; }
interfaces() {
    busctl get-property org.freedesktop.machine1 /org/freedesktop/machine1/machine/vm org.freedesktop.machine1.Machine NetworkInterfaces
}
is_listed() { [ "$(machinectl list --no-legend --no-pager | awk -v n="$1" '$1 == n { print $2, $3 }')" = 'vm chvd' ]; }
is_not_listed() { ! machinectl list --no-legend --no-pager | grep -q "^$1 "; }
is_served() { busctl status $manager >/dev/null 2>&1; }

start_chvd
create vm 6.12 vmlinux "$(cmdline '' button)" --net tap=vmtap0
chvctl start vm
await 20 "vm on the list" is_listed vm
pid=$(property vm WorkerPID)
[ "$(show Leader) $(show Unit)" = "$pid chv-vm.service" ] || fail "it is $(machinectl show vm)"
[ "$(show Id)" = "$(property vm UUID | tr -d -)" ] || fail "its id is $(show Id)"
[ "$(interfaces)" = "ai 1 $(cat /sys/class/net/vmtap0/ifindex)" ] || fail "its interfaces are $(interfaces)"
machinectl status --no-pager vm >"$work/status.log"
grep -q 'chv-vm.service' "$work/status.log" || fail "its unit is not in the status"
await_text 90 vm 'waiting for the power button'

kill -KILL "$(systemctl show -P MainPID chvd)"
await 30 "another chvd" is_served
await 30 "vm" has_state vm running
is_listed vm || fail "a killed chvd takes its machines off the list"
systemctl stop chvd
busctl call org.freedesktop.machine1 /org/freedesktop/machine1 org.freedesktop.machine1.Manager UnregisterMachine s vm
is_not_listed vm || fail "it cannot be taken off the list"
systemctl start chvd
await 20 "vm on the list again" is_listed vm
[ "$(show Leader) $(interfaces)" = "$pid ai 1 $(cat /sys/class/net/vmtap0/ifindex)" ] || fail "it is $(machinectl show vm)"

machinectl reboot vm
await_text 60 vm 'chv-init: power button'
await_text 90 vm 'waiting for the power button' 2
[ "$(property vm State) $(property vm WorkerPID)" = "running $pid" ] || fail "$(property vm State): $(property vm StateReason)"
is_listed vm || fail "it is off the list after a reboot"

machinectl poweroff vm
await_state 60 vm shutdown
await_text 1 vm 'chv-init: power button' 2
await 20 "vm off the list" is_not_listed vm

chvctl start vm
await 20 "vm on the list once more" is_listed vm
[ "$(show Leader)" = "$(property vm WorkerPID)" ] || fail "its process is of another run"
await_text 90 vm 'waiting for the power button' 3
chvctl reboot vm
await_text 60 vm 'chv-init: power button' 3
await_text 90 vm 'waiting for the power button' 4
await 20 "vm on the list after a reboot" is_listed vm
[ "$(show Leader)" = "$(property vm WorkerPID)" ] || fail "its process is of the run before"
machinectl terminate vm
await_state 60 vm shutdown
await_text 1 vm 'chv-init: power button' 4
await 20 "vm off the list" is_not_listed vm
[ -z "$(systemctl list-units --all --no-legend 'chv-vm*')" ] || fail "the unit is left"

# What is no name of a host runs all the same.
chvctl rename vm web_1
chvctl start web_1
systemctl is-active --quiet chv-web_1 || fail "a name keeps it from running"
is_not_listed web_1 || fail "a name that does not fit is on the list"
chvctl poweroff web_1
mkdir -p /etc/chvd/chvd.conf.d
printf '[Service]\nMachined=no\n' >/etc/chvd/chvd.conf.d/machined.conf
systemctl reload chvd
chvctl rename web_1 vm
chvctl start vm
is_not_listed vm || fail "it is on the list although it should not be told"
rm /etc/chvd/chvd.conf.d/machined.conf
systemctl reload chvd
await 20 "vm on the list when that is wanted" is_listed vm
machinectl kill --signal=KILL vm
await_state 20 vm failed
await 20 "vm off the list" is_not_listed vm
! journalctl -q --no-pager -u chvd | grep -q 'not registered with systemd-machined' || fail "something went wrong on the way"
