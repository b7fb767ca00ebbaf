#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# The Debian packages: installed, the bus starts the service when somebody asks for it, and a user of the group chvd runs a
# VM; an upgrade restarts the service and leaves the VM running; removed, nothing of it runs; purged, nothing of it is left.
. "$(dirname "$0")/../lib.sh"

packages=$(dirname "$stage")/packages
ls "$packages"/chvd_*.deb >/dev/null 2>&1 || skip "no packages in $packages: run ./dev package"
debs=("$packages"/*.deb)
mkdir -p "$work"

apt() { DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 "$@" >"$work/apt.log" 2>&1; }

# Everything but what dpkg and apt write down about themselves, and what the test makes.
files() {
    find / -xdev \( -path /proc -o -path /tmp -o -path "$work" -o -path /var/lib/dpkg -o -path /var/log -o \
        -path /var/cache -o -path /var/lib/apt \) -prune -o -print | grep -v -e '^/etc/g\(roup\|shadow\)-$' | sort
    ls -d /run/chvd* /run/systemd/system/chv* 2>/dev/null || true
    cat /etc/group /etc/passwd
}

home=/home/alice
mkdir -p $home
cp /guest/6.12/vmlinux /guest/6.12/initramfs $home
chown -R alice: $home
files >"$work/before"
apt install --no-install-recommends "${debs[@]}"
dpkg --verify chvd chvctl chvd-dev | grep -v ' /usr/share/\(doc\|man\)/' && fail "files are not as packaged"
[ "$(systemctl is-enabled chvd)" = enabled ] || fail "not enabled"
! grep 'Could not execute' "$work/apt.log" || fail "something of it was not started"
[ "$(systemctl is-active chvd.socket)" = active ] || fail "the socket is not there"
getent group chvd >/dev/null || fail "there is no group chvd"

systemctl stop chvd
chvctl version | grep -q '^chvd [0-9]' || fail "the bus does not start the service"
[ "$(systemctl show -P ActiveState chvd)" = active ] || fail "not started as a unit"
[ "$(systemctl show -P Slice chvd)" = chv.slice ] || fail "not in its slice"

alice() { runuser -u alice -- "$@" </dev/null; }
her_vm() {
    alice chvctl create vm --kernel $home/vmlinux --initramfs $home/initramfs --cpus boot=2 \
        --cmdline "$(cmdline '(i=0; while :; do i=$((i + 1)); echo tick $i; sleep 0.2; done) &' button)" \
        --serial file=$home/vm.log
}
! her_vm 2>/dev/null || fail "anybody may create a VM"
gpasswd -a alice chvd >/dev/null
await 20 "the rule of the group" her_vm
alice chvctl start vm
ln -s $home/vm.log "$work/vm.log"
await_text 90 vm 'tick 3'
pid=$(property vm WorkerPID)
service=$(systemctl show -P MainPID chvd)
[ "$(systemctl show -P MainPID chv-vm)" = "$pid" ] || fail "the VM is not the unit chv-vm.service"

apt install --reinstall --no-install-recommends "${debs[@]}"
[ "$(systemctl show -P MainPID chvd)" != "$service" ] || fail "the upgrade did not restart the service"
now="$(property vm State) $(property vm WorkerPID)"
[ "$now" = "running $pid" ] || fail "the upgrade disturbed a VM: $now, not running $pid"
ticks=$(grep -c tick "$work/vm.log")
more() { [ "$(grep -c tick "$work/vm.log")" -gt $((ticks + 3)) ]; }
await 20 "the guest going on" more
[ "$(grep -o 'tick [0-9]*' "$work/vm.log" | cut -d' ' -f2 | awk '$1 != NR' | wc -l)" = 0 ] || fail "the guest lost output"
alice chvctl info vm | grep -q running || fail "alice has lost her VM"

apt remove chvd chvctl chvd-dev
[ ! -d "/proc/$pid" ] || fail "the VM outlived the package"
! pgrep -x 'chvd|chv-vmm' || fail "something of it still runs"
! busctl call --timeout=5 $manager /org/cloudhypervisor/Manager org.freedesktop.DBus.Peer Ping 2>/dev/null ||
    fail "the bus still starts it"
[ -d /var/lib/chvd ] || fail "removing the package removed what it keeps"
[ ! -e /run/chvd ] || fail "/run/chvd is left"

rm -f $home/vm.log
dpkg --purge chvd chvctl chvd-dev >"$work/dpkg.log" 2>&1
files >"$work/after"
diff "$work/before" "$work/after" >"$work/diff.log" || fail "left behind: what diff shows with >"
