#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# The process of a VM is a unit of systemd with a user of its own, an empty root and nothing it may do but run its guest; what it has of
# the host is held by its cgroup, also when that is changed while it runs; stopping the unit powers the guest off; how it ended is seen.
# Limit: 400
. "$(dirname "$0")/../lib.sh"

start_chvd
create vm 6.12 vmlinux "$(cmdline '' button)"
options() { busctl call $manager /org/cloudhypervisor/vm/vm org.cloudhypervisor.VM SetOptions 'a{sv}' "$@"; }
options 2 tasks-max u 300 cpu-weight u 70
chvctl start vm
await_text 90 vm "waiting for the power button"

[ "$(property vm Unit)" = chv-vm.service ] || fail "its unit is '$(property vm Unit)'"
pid=$(systemctl show -P MainPID chv-vm)
[ "$pid" = "$(property vm WorkerPID)" ] || fail "the unit's process is another"
[ "$(systemctl show -P Slice chv-vm)" = chv.slice ] || fail "not in its slice"
status() { grep "^$1:" "/proc/$pid/status" | cut -f2-; }
[ "$(status Uid | cut -f1)" -ge 61184 ] || fail "its user is $(status Uid)"
for set in CapBnd CapEff CapPrm CapInh CapAmb; do
    [ $((0x$(status $set))) = 0 ] || fail "$set is $(status $set)"
done
[ "$(status NoNewPrivs) $(status Seccomp)" = '1 2' ] || fail "it may get new privileges or calls"
for ns in mnt pid net ipc uts cgroup user; do
    [ "$(readlink "/proc/$pid/ns/$ns")" != "$(readlink /proc/self/ns/$ns)" ] || fail "it has the host's $ns namespace"
done
[ "$(status NSpid)" = "$pid	1" ] || fail "it is not the first process of its namespace: $(status NSpid)"
[ "$(pgrep -c chv-vmm)" = 1 ] || fail "it left a process behind"
for path in etc/passwd home run/chvd/vm dev/kvm dev/net/tun usr/bin sys/kernel tmp; do
    [ ! -e "/proc/$pid/root/$path" ] || fail "it sees /$path"
done
systemd-analyze security --no-pager --threshold=10 chv-vm.service >"$work/exposure.log" || fail "its exposure"

cgroup=/sys/fs/cgroup$(systemctl show -P ControlGroup chv-vm)
[ "$(cat "$cgroup/pids.max") $(cat "$cgroup/cpu.weight")" = '300 70' ] || fail "limits of the start"
options 4 cpu-weight u 250 cpu-quota u 150 memory-max s auto tasks-max u 400
[ "$(cat "$cgroup/cpu.weight") $(cat "$cgroup/pids.max")" = '250 400' ] || fail "limits of a running machine"
[ "$(cat "$cgroup/cpu.max")" = '150000 100000' ] || fail "its quota is $(cat "$cgroup/cpu.max")"
[ "$(cat "$cgroup/memory.max")" = "$(property vm MemoryMax)" ] || fail "its memory"
options 1 memory-max s infinity
[ "$(cat "$cgroup/memory.max")" = max ] || fail "its memory is limited"

chvctl limits vm cpu-weight=33 cpu-quota=default memory-max=3G io-weight=44
[ "$(systemctl show -P CPUWeight chv-vm) $(systemctl show -P IOWeight chv-vm)" = '33 44' ] || fail "weights of the verb"
[ "$(cat "$cgroup/cpu.weight") $(cat "$cgroup/cpu.max")" = '33 max 100000' ] || fail "limits of the verb"
[ "$(systemctl show -P MemoryMax chv-vm)" = $((3 << 30)) ] || fail "its memory by the verb"
chvctl limits vm | grep -q 'In force for chv-vm.service' || fail "its limits are shown as not in force"
status=0
chvctl limits vm cpu-weight=34 tasks-max=0 || status=$?
[ "$status $(systemctl show -P CPUWeight chv-vm)" = '2 33' ] || fail "half a change, status $status"
chvctl limits vm cpu-weight=
[ "$(systemctl show -P CPUWeight chv-vm)" = '[not set]' ] || fail "its weight is still $(systemctl show -P CPUWeight chv-vm)"
# Without a weight and a quota there may be no such file.
[ "$(cat "$cgroup/cpu.weight" 2>/dev/null || echo 100) $(property vm CPUWeight)" = '100 100' ] || fail "its weight is not taken back"

kill -KILL "$pid"
await_state 20 vm failed
property vm StateReason | grep -q 'killed by signal 9' || fail "$(property vm StateReason)"
[ -z "$(property vm Unit)" ] || fail "it still has a unit"
chvctl start vm
await_text 90 vm 'waiting for the power button' 2
systemctl stop chv-vm
await_state 20 vm shutdown
await_text 1 vm 'chv-init: power button'
[ -z "$(systemctl list-units --all --no-legend 'chv-vm*')" ] || fail "the unit is left"

# What became of it while no chvd ran is known from systemd, which remembers those that failed.
chvctl start vm
await_text 90 vm 'waiting for the power button' 3
systemctl stop chvd
systemctl stop chv-vm
systemctl start chvd
[ "$(property vm State) $(property vm StateReason)" = 'shutdown its unit was stopped while the service was away' ] ||
    fail "stopped meanwhile: $(property vm State) $(property vm StateReason)"
chvctl start vm
await_text 90 vm 'waiting for the power button' 4
systemctl stop chvd
kill -KILL "$(systemctl show -P MainPID chv-vm)"
await 20 "the end of its process" eval '[ "$(systemctl show -P ActiveState chv-vm)" = failed ]'
systemctl start chvd
[ "$(property vm State)" = failed ] || fail "killed meanwhile: $(property vm State)"
property vm StateReason | grep -q 'while the service was away: .*killed by signal 9' || fail "killed meanwhile: $(property vm StateReason)"
[ -z "$(systemctl list-units --all --no-legend 'chv-vm*')" ] || fail "the unit that failed is left"
