#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# customize.sh ROOT: turns a plain Debian root into the emulated machine's. Nothing that a test
# does not need is started, because every instruction costs; what tests talk to is up before the
# machine's state is saved.
set -eu
root=$1
units=$root/etc/systemd/system
wants=$units/multi-user.target.wants
here=$(dirname "$(readlink -f "$0")")

masked="getty.target getty@tty1.service console-getty.service serial-getty@ttyS0.service
    serial-getty@hvc0.service e2scrub_reap.service e2scrub_all.timer apt-daily.timer
    apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer systemd-pstore.service
    systemd-timesyncd.service systemd-update-utmp.service systemd-update-utmp-runlevel.service
    systemd-random-seed.service systemd-rfkill.service systemd-rfkill.socket
    systemd-machine-id-commit.service systemd-firstboot.service systemd-sysusers.service
    systemd-boot-system-token.service systemd-hwdb-update.service systemd-journal-flush.service
    systemd-journal-catalog-update.service systemd-update-done.service ldconfig.service
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-remount-fs.service
    systemd-quotacheck.service remote-fs.target swap.target systemd-ask-password-console.path
    systemd-ask-password-wall.path dev-hugepages.mount sys-kernel-debug.mount
    sys-kernel-tracing.mount sys-fs-fuse-connections.mount sys-kernel-config.mount
    modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service
    modprobe@efi_pstore.service modprobe@fuse.service modprobe@loop.service
    systemd-tmpfiles-clean.timer networking.service systemd-networkd-wait-online.service
    systemd-repart.service systemd-pcrmachine.service systemd-pcrphase.service
    systemd-pcrphase-sysinit.service systemd-network-generator.service
    systemd-udev-trigger.service systemd-udev-settle.service systemd-sysctl.service
    systemd-modules-load.service"
for unit in $masked; do
    ln -sf /dev/null "$units/$unit"
done

mkdir -p "$wants" "$root/scratch" "$root/guest" "$units.conf.d"
echo l1 >"$root/etc/hostname"
echo 11111111111111111111111111111111 >"$root/etc/machine-id"
echo '127.0.0.1 localhost l1' >"$root/etc/hosts"
# The scratch disk may only be mounted after the state is restored: its writes are thrown away.
echo '/dev/vdd /scratch ext4 noauto 0 0' >"$root/etc/fstab"
cat >"$root/etc/systemd/journald.conf" <<END
[Journal]
Storage=volatile
RuntimeMaxUse=64M
RateLimitIntervalSec=0
END
cat >"$units.conf.d/l1.conf" <<END
[Manager]
ShowStatus=no
DefaultTimeoutStopSec=10s
DefaultDeviceTimeoutSec=20s
END

install -m 755 "$here/agent" "$root/usr/local/sbin/l1-agent"
cat >"$units/l1-agent.service" <<END
[Unit]
Description=run commands for the host of this machine
After=dbus.socket systemd-udevd.service
Wants=dbus.socket
[Service]
ExecStart=/usr/local/sbin/l1-agent
StandardInput=null
KillMode=process
Delegate=yes
END
# Loaded under a running udevd, so that the device nodes get their owners and modes.
cat >"$units/l1-modules.service" <<END
[Unit]
After=systemd-udevd.service
Before=l1-agent.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/sbin/modprobe -a kvm_amd vhost_net vhost_vsock vsock_loopback tun 9p 9pnet_virtio \
    ext4 virtio_net
END
for unit in l1-agent.service l1-modules.service; do
    ln -sf "../$unit" "$wants/$unit"
done
for unit in polkit.service systemd-machined.service; do
    ln -sf "/lib/systemd/system/$unit" "$wants/$unit"
done
ln -sf /lib/systemd/system/multi-user.target "$units/default.target"
for user in alice bob; do
    chroot "$root" useradd -m -s /bin/bash "$user"
done
