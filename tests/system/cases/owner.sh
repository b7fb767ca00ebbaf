#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# A user without rights runs a VM from files in her home, which nobody else can enter: they are opened as her by a
# transient unit that is gone afterwards, what is made for the VM is hers, and what is not hers is refused.
. "$(dirname "$0")/../lib.sh"

alice() { runuser -u alice -- "$@" </dev/null; }
opens() { systemctl list-units --all --no-legend 'chvd-open-*' | grep -q .; }
is_hers() { [ "$(stat -c %U:%a "$1")" = "$2" ] || fail "$1 is $(stat -c %U:%a "$1")"; }

cat >/etc/polkit-1/rules.d/40-alice.rules <<'END2'
polkit.addRule(function(action, subject) {
    if (subject.user == "alice" && action.id == "org.cloudhypervisor.vm-create")
        return polkit.Result.YES;
});
END2
chmod 644 /etc/polkit-1/rules.d/40-alice.rules
home=/home/alice
mkdir -p $home
cp /guest/6.12/vmlinux /guest/6.12/initramfs $home
truncate -s 16M $home/disk.raw
chmod 600 $home/*
chown -R alice: $home
chmod 700 $home
echo secret >/root/secret
chmod 600 /root/secret

start_chvd
! opens || fail "something opens files before there is a VM"
creates() {
    alice chvctl create hers --kernel $home/vmlinux --initramfs $home/initramfs \
        --cmdline "$(cmdline 'cat /proc/partitions; dd if=/dev/urandom of=/dev/vda bs=64k count=1 && echo written' halt)" \
        --disk path=$home/disk.raw --serial file=$home/hers.log --console socket=$home/console.sock \
        --debug-console pty
}
await 20 "alice's rule" creates
ln -s $home/hers.log "$work/hers.log"
alice chvctl start hers
await_text 90 hers written
is_hers $home/hers.log alice:600
is_hers $home/console.sock alice:600
pty=$(alice busctl call $manager /org/cloudhypervisor/vm/hers org.cloudhypervisor.VM GetConsolePaths 'a{sv}' 0 |
    grep -o '/dev/pts/[0-9]*')
is_hers "$pty" alice:600
await 20 "the end of the unit that opens" eval '! opens'
journalctl -q --no-pager -u 'chvd-open-*' | grep -q . || fail "no unit has opened anything"

refused() { # WHY OPTION...
    alice chvctl create refused --kernel $home/vmlinux "${@:2}"
    ! alice chvctl start refused 2>"$work/refused" || fail "alice has ${*:2}"
    grep -q "$1" "$work/refused" || fail "${*:2}: $(cat "$work/refused")"
    alice chvctl delete refused
}
refused "disks\[0\].path.*in use by VM 'hers'" --disk path=$home/disk.raw
alice chvctl poweroff hers
[ ! -e $home/console.sock ] || fail "the console's socket is left"
! cmp -s -n 65536 $home/disk.raw /dev/zero || fail "nothing was written"

refused "disks\[0\].path.*Permission denied for the owner, uid $(id -u alice)" --disk path=/root/secret
alice ln -s /root/secret $home/link
refused "Permission denied" --disk path=$home/link
refused "Permission denied" --disk path=/dev/vdc
refused "leads into /proc" --disk path=/proc/1/root/root/secret
alice mkfifo $home/fifo
refused "neither a regular file" --disk path=$home/fifo
! alice chvctl create refused --kernel $home/vmlinux --net tap=hers0 2>"$work/refused" || fail "alice makes interfaces"
grep -q host-access "$work/refused" || fail "$(cat "$work/refused")"

# An administrator who starts it does not lend it more; a group that she is in does.
alice chvctl create shared --kernel $home/vmlinux --initramfs $home/initramfs --cmdline "$(cmdline '' halt)" \
    --disk path=/srv/shared.raw --serial file=$home/shared.log
truncate -s 1M /srv/shared.raw
chmod 660 /srv/shared.raw
! chvctl start shared 2>"$work/shared" || fail "root lends alice his rights"
grep -q "for the owner" "$work/shared" || fail "$(cat "$work/shared")"
groupadd images
gpasswd -a alice images
chgrp images /srv/shared.raw
chvctl start shared
has_state shared running || fail "state $(property shared State)"
chvctl poweroff shared

# A user who is gone has nothing opened.
chvctl set-owner shared 54321 2>"$work/gone" || busctl call $manager /org/cloudhypervisor/vm/shared \
    org.cloudhypervisor.VM SetOwner 'ua{sv}' 54321 0
! chvctl start shared 2>"$work/gone" || fail "a user who does not exist has files"
grep -q "there is no user of that number" "$work/gone" || fail "$(cat "$work/gone")"
await 20 "the end of all units that open" eval '! opens'
