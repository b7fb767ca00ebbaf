#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# The journal tells the story of a VM by its name, the catalog explains it; systemd sees how many VMs there are; a reload
# takes new limits and disturbs no VM; a call that was refused and a fault of the configuration are told; logind waits for
# VMs that run.
. "$(dirname "$0")/../lib.sh"

start_chvd
journalctl --update-catalog
create web1 6.12 vmlinux "$(cmdline '' halt)"
create web2 6.12 vmlinux "$(cmdline '' halt)"
status() { systemctl show -P StatusText chvd; }
has_status() { [ "$(status)" = "$1" ]; }
await 20 "two VMs in the status" has_status "2 virtual machines, 0 running"
chvctl start web1
systemctl show -P LogExtraFields chv-web1 | grep -q "CHV_VM=web1.*CHV_VM_UUID=$(property web1 UUID)" ||
    fail "what its process says has $(systemctl show -P LogExtraFields chv-web1)"
await 20 "a running VM in the status" has_status "2 virtual machines, 1 running"
[ "$(systemctl show -P WatchdogUSec chvd)" = 1min ] || fail "no watchdog"
has_lock() { systemd-inhibit --list --no-legend --no-pager | grep 'chvd.*shutdown.*delay'; }
await 20 "a lock of logind" has_lock
pid=$(property web1 WorkerPID)

mkdir -p /etc/chvd/chvd.conf.d
printf '[Limits]\nMaxVMsTotal=1\nMaxVMs=some\n' >/etc/chvd/chvd.conf.d/10-test.conf
systemctl reload chvd
await 20 "the end of the reload" has_status "2 virtual machines, 1 running"
! create web3 6.12 vmlinux "" 2>"$work/limit" || fail "the limit is not held"
grep -q 'MaxVMsTotal=1$' "$work/limit" || fail "the limit is not named: $(cat "$work/limit")"
[ "$(property web1 State) $(property web1 WorkerPID)" = "running $pid" ] || fail "the reload disturbed a VM"

status=0
runuser -u alice -- chvctl poweroff web1 </dev/null || status=$?
[ $status = 4 ] || fail "alice's poweroff ends with $status"
chvctl poweroff web1
! has_lock || await 20 "the end of the lock" eval '! has_lock'
chvctl delete web1

told() { journalctl -q --no-pager -o cat "$@"; }
has_line() { told CHV_VM=web1 _COMM=chvd | grep -x -F "$1"; }
for line in "VM 'web1' was created" "VM 'web1' has started" "VM 'web1' has stopped: powered off" "VM 'web1' was deleted"; do
    await 20 "$line" has_line "$line"
done
! told CHV_VM=web2 | grep web1 || fail "messages of another VM"
[ "$(told CHV_VM=web2 MESSAGE_ID=30ee3bfef1984a23aa369fe6a67461d1)" = "VM 'web2' was created" ] || fail "no message by its id"
uuid=$(property web2 UUID)
[ -n "$(told "CHV_VM_UUID=$uuid")" ] || fail "no message by the UUID"
told MESSAGE_ID=2db39c3959604bf5a8aa325ffbd75463 CHV_VM=web1 "CHV_CALLER_UID=$(id -u alice)" | grep -q 'PowerOff' ||
    fail "alice's call is not told"
told MESSAGE_ID=840815148ef74279a2084ba2d3ff8e35 | grep -q "10-test.conf:3: MaxVMs='some'" || fail "the fault is not told"
journalctl -q --no-pager -x CHV_VM=web1 MESSAGE_ID=1407f2b4dee445b09ace88a1ab8ed5de |
    grep -q 'Subject: Virtual machine web1 has started' || fail "no catalog"
