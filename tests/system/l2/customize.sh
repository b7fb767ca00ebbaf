#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# customize.sh ROOT: turns a plain Debian root into a guest's disk: logins on the serial port and
# the virtio console, root without a password.
set -eu
root=$1
units=$root/etc/systemd/system

for unit in e2scrub_reap.service e2scrub_all.timer apt-daily.timer apt-daily-upgrade.timer \
    dpkg-db-backup.timer fstrim.timer getty@tty1.service systemd-machined.service \
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount; do
    ln -sf /dev/null "$units/$unit"
done
echo guest >"$root/etc/hostname"
echo 22222222222222222222222222222222 >"$root/etc/machine-id"
echo '127.0.0.1 localhost guest' >"$root/etc/hosts"
echo '/dev/vda / ext4 rw,noatime 0 1' >"$root/etc/fstab"
chroot "$root" passwd -q -d root
ln -sf /lib/systemd/system/multi-user.target "$units/default.target"
mkdir -p "$units/getty.target.wants"
for tty in ttyS0 hvc0; do
    ln -sf /lib/systemd/system/serial-getty@.service \
        "$units/getty.target.wants/serial-getty@$tty.service"
done
