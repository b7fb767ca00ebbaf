#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# Where processes of VMs are no units, a user's chvd divides the control group that was handed over to it: limits of a machine hold from
# its start on, are changed while it runs, also by a later chvd, and its group goes with it. In a group that is not chvd's to divide
# nothing is touched, and the log says why.
. "$(dirname "$0")/../lib.sh"

install_chvd
chmod 666 /dev/kvm
home=/home/alice
cp /guest/6.12/{vmlinux,initramfs} $home
chown alice $home/{vmlinux,initramfs}
bus=unix:path=$home/bus
runuser -u alice -- dbus-daemon --session --fork --address=$bus --print-address >/dev/null
as_alice() { runuser -u alice -- env DBUS_SESSION_BUS_ADDRESS=$bus XDG_RUNTIME_DIR=$home HOME=$home "$@"; }
chvctl() { as_alice /usr/bin/chvctl --user "$@"; }
property() {
    as_alice busctl --user get-property $manager "/org/cloudhypervisor/vm/$1" org.cloudhypervisor.VM "$2" | cut -d' ' -f2- | tr -d '"'
}
has_service() { as_alice busctl --user status $manager >/dev/null 2>&1; }
has_none() { ! has_service; }
is_ended() { [ "$(systemctl show -P ActiveState "$1")" = failed ]; }
is_gone() { [ ! -e "$1" ]; }
serve() { # UNIT [PROPERTY...]
    local unit=$1 p properties=()
    shift
    for p in "$@"; do properties+=(-p "$p"); done
    systemd-run --quiet --unit="$unit" -p User=alice -p KillMode=process "${properties[@]}" -E DBUS_SESSION_BUS_ADDRESS=$bus -E HOME=$home \
        -E XDG_RUNTIME_DIR=$home /usr/libexec/chvd --session
    await 20 "chvd of $unit" has_service
}
said() { journalctl -q --no-pager -o cat -u "$1" | grep -c "$2" || true; }

# Not handed over.
serve bare
chvctl create --name vm --kernel $home/vmlinux --initramfs $home/initramfs --cmdline "$(cmdline '' halt)" \
    --serial file=$home/vm.log
chvctl limits vm cpu-weight=70 tasks-max=300
chvctl start vm
chvctl poweroff vm
chvctl start vm
[ "$(property vm LimitsInForce)" = false ] || fail "limits that nobody holds"
chvctl limits vm | grep -q '^Not in force' || fail "not told"
[ "$(said bare 'there are no limits for VMs: control group /sys/fs/cgroup/system.slice/bare.service is systemd')" = 1 ] || fail "not said, or not once"
[ -z "$(find /sys/fs/cgroup/system.slice/bare.service -mindepth 1 -type d)" ] || fail "groups where they should not be"
chvctl poweroff vm
systemctl stop bare
await 20 "the bus without chvd" has_none

# Handed over.
serve own Delegate=yes
place=/sys/fs/cgroup/system.slice/own.service
mkdir $place/chv-before && chown alice $place/chv-before
chvctl start vm
has_state vm running || fail "it is $(property vm State)"
[ "$(property vm LimitsInForce) $(property vm Unit)" = 'true ' ] || fail "limits are not in force, or it is a unit"
pid=$(property vm WorkerPID)
grep -qx "0::/system.slice/own.service/chv-vm" "/proc/$pid/cgroup" || fail "it is in $(cat "/proc/$pid/cgroup")"
grep -qx "0::/system.slice/own.service/chvd" "/proc/$(systemctl show -P MainPID own)/cgroup" || fail "chvd is not in its own"
[ ! -e $place/chv-before ] || fail "what was left over is still there"
[ "$(readlink "/proc/$pid/ns/pid")" != "$(readlink /proc/self/ns/pid)" ] || fail "it has the host's pid namespace"
see() { (cd $place/chv-vm && cat "$@" | tr '\n' ' '); }
[ "$(see cpu.weight pids.max cpu.max memory.max)" = '70 300 max 100000 max ' ] || fail "at the start: $(see cpu.weight pids.max cpu.max memory.max)"
chvctl limits vm cpu-weight=250 cpu-quota=150% memory-max=1G tasks-max=400 io-weight=44
[ "$(see cpu.weight pids.max cpu.max memory.max)" = '250 400 150000 100000 1073741824 ' ] || fail "live: $(see cpu.weight pids.max cpu.max memory.max)"
[ "$(see io.weight | cut -d' ' -f1-2)" = 'default 44' ] || fail "io: $(see io.weight)"
chvctl limits vm | grep -q '^In force' || fail "not told"
chvctl limits vm cpu-weight=default cpu-quota=default memory-max=infinity
[ "$(see cpu.weight cpu.max memory.max)" = '100 max 100000 max ' ] || fail "taken back: $(see cpu.weight cpu.max memory.max)"

# Another chvd, which did not make the group. systemd removes what is empty in the group of a unit that ended.
systemctl kill --kill-whom=main --signal=KILL own
await 20 "the end of the first" is_ended own
await 20 "the bus without chvd" has_none
mkdir -p $place/chvd
chown alice $place/chvd{,/cgroup.procs}
(
    echo "$BASHPID" >$place/chvd/cgroup.procs
    as_alice /usr/libexec/chvd --session
) >"$work/chvd.log" 2>&1 &
await 20 "the next chvd" has_service
[ "$(property vm State) $(property vm LimitsInForce) $(property vm WorkerPID)" = "running true $pid" ] || fail "it is not found again as it was"
chvctl limits vm cpu-weight=33
[ "$(see cpu.weight)" = '33 ' ] || fail "by the next: $(see cpu.weight)"
chvctl create --name other --kernel $home/vmlinux --initramfs $home/initramfs --cmdline "$(cmdline '' halt)" --serial null
chvctl start other
[ -d $place/chv-other ] || fail "no group for another"
kill -KILL "$pid"
await_state 20 vm failed
await 20 "its group goes" is_gone $place/chv-vm
chvctl poweroff other
await 20 "the other's group goes" is_gone $place/chv-other
