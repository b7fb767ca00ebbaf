#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# Ping and TCP, from the guest and to it, over a tap.
. "$(dirname "$0")/../lib.sh"

ip tuntap add vmtap0 mode tap vnet_hdr
ip address add 192.168.77.1/24 dev vmtap0
ip link set vmtap0 up
dd if=/dev/urandom of=/tmp/data bs=64k count=64 2>/dev/null
sum=$(sha256sum </tmp/data | cut -d' ' -f1)
socat -u OPEN:/tmp/data TCP-LISTEN:7001,reuseaddr &

start_chvd
create vm 6.12 vmlinux "$(cmdline '
    ip link set eth0 up; ip address add 192.168.77.2/24 dev eth0
    cat /sys/class/net/eth0/address
    ping -c 3 -W 5 192.168.77.1 && echo ping is fine
    nc 192.168.77.1 7001 > /tmp/d; sha256sum < /tmp/d
    nc -l -p 7002 < /tmp/d & echo listening; wait; echo sent' poweroff)" \
    --net tap=vmtap0,mac=52:54:00:77:00:02
chvctl start vm
await_text 90 vm 'ping is fine'
await_text 60 vm "$sum"
await_text 20 vm '^listening'
ping -c 3 -W 5 192.168.77.2
# busybox sends to whoever connects; the tap's other direction carries the same bytes back.
socat -u TCP:192.168.77.2:7002,retry=20,interval=0.2 OPEN:/tmp/back,creat
cmp /tmp/data /tmp/back
has_text vm '52:54:00:77:00:02'
await_state 30 vm shutdown
