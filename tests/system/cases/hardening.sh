#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# The protections of chvd.service leave room for everything that a VM may be made of, wherever it is kept, and are in
# force: for chvd and for the VMs' processes.
. "$(dirname "$0")/../lib.sh"

start_chvd
image() {
    mkdir -p "$(dirname "$1")"
    truncate -s 16M "$1"
    chown alice "$1"
    chmod 600 "$1"
}
image /home/alice/disk.raw
image /tmp/disk.raw
image /srv/images/disk.raw
ip tuntap add dev own0 mode tap
create vm 6.12 vmlinux "$(cmdline 'cat /proc/partitions' halt)" --cpus boot=2,affinity=[0@[2],1@[1]] \
    --disk path=/home/alice/disk.raw path=/tmp/disk.raw path=/srv/images/disk.raw,_disable_io_uring=on \
    path=/dev/vdd,readonly=on,direct=on --net tap=own0 tap=made0,ip=192.168.249.1,mask=255.255.255.0,host_mac=02:00:00:00:00:01,mtu=1400 \
    --console pty --rng src=/dev/urandom --debug-console file=/root/debug.log
chvctl start vm
await_text 90 vm 'chv-init: up'
await_text 20 vm ' vdd'
[ -e /root/debug.log ] || fail "no debug console"
ip -4 addr show dev made0 | grep -q 'inet 192.168.249.1/24' || fail "the tap has no address"

pid=$(property vm WorkerPID)
chvd=$(systemctl show -P MainPID chvd)
masks=$(grep -h Cpus_allowed_list "/proc/$pid"/task/*/status | cut -f2 | sort -u)
grep -qx 1 <<<"$masks" && grep -qx 2 <<<"$masks" || fail "vCPUs are not bound: $masks"

for p in "$chvd" "$pid"; do
    grep -q '^Seccomp:.*2$' "/proc/$p/status" || fail "no filter of system calls in $p"
    grep -q '^NoNewPrivs:.*1$' "/proc/$p/status" || fail "$p may get new privileges"
    # CAP_DAC_OVERRIDE and CAP_NET_ADMIN
    [ $((0x$(grep '^CapBnd:' "/proc/$p/status" | cut -f2) & ~0x1002)) = 0 ] || fail "too many capabilities in $p"
    [ "$(readlink "/proc/$p/ns/mnt")" != "$(readlink /proc/self/ns/mnt)" ] || fail "$p sees the host's mounts"
done
for ns in pid cgroup; do
    [ "$(readlink "/proc/$pid/ns/$ns")" != "$(readlink /proc/self/ns/$ns)" ] || fail "the worker has the host's $ns namespace"
done
# Those of systemd and of stage 2 are on every thread; those of vCPUs, queues and, since the guest runs, the main one have another.
# A thread of GLib's may end meanwhile: nothing is said of it then.
filters() { { grep ^Seccomp_filters: "$1/status" || true; } 2>/dev/null | cut -f2; }
fewest=$(for t in /proc/"$pid"/task/*; do filters "$t"; done | grep . | sort -n | head -1)
kinds=
for t in /proc/"$pid"/task/*; do
    name=$(cat "$t/comm" 2>/dev/null) || continue
    echo "$name: $(filters "$t")" >>"$work/threads.log"
    case $name in
    gmain | gdbus | pool*) continue ;;
    esac
    [ "$(filters "$t")" -gt "$fewest" ] || fail "no filter of its own for $name"
    kinds="$kinds $name"
done
case " $kinds " in
*' chv-vmm '*' vcpu'*) ;;
*) fail "not all kinds of thread were seen:$kinds" ;;
esac
# What a process of the unit sees.
inside() { nsenter -t "$chvd" -m -- "$@"; }
! inside touch /usr/tested /etc/tested 2>/dev/null || fail "/usr and /etc can be written"
! inside sh -c 'echo 1 >/proc/sys/kernel/sysrq' 2>/dev/null || fail "/proc/sys can be written"
! inside test -e /proc/meminfo || fail "/proc shows more than processes"
chvctl poweroff vm
