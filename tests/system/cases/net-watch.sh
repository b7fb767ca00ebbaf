#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# A network that is limited, captured, paused and lied on: limits change while it runs, frames come as a file, a guest is
# announced after a pause, and none leaves from an address that is not the guest's.
. "$(dirname "$0")/../lib.sh"

ip tuntap add vmtap0 mode tap vnet_hdr
ip address add 192.168.77.1/24 dev vmtap0
ip link set vmtap0 up

start_chvd
create vm 6.12 vmlinux "$(cmdline '
    ip link set eth0 up; ip address add 192.168.77.2/24 dev eth0
    until ping -c 1 -W 2 192.168.77.1; do sleep 1; done; echo first ping
    until ping -c 1 -W 2 192.168.77.1 -s 1000; do sleep 1; done; echo second ping
    nc -l -p 7003; echo lying
    ip link set eth0 down; ip link set eth0 address 52:54:00:77:00:99; ip link set eth0 up
    ping -c 2 -W 2 192.168.77.1 || echo nobody answers' poweroff)" \
    --net tap=vmtap0,mac=52:54:00:77:00:02,id=lan,ops_size=1000,ops_refill_time=100
chvctl start vm
await_text 90 vm 'first ping'
await_text 60 vm 'second ping'

chvctl capture vm lan --output /tmp/frames --count 6 --snaplen 64 &
sleep 1
ping -c 4 -W 5 -s 200 192.168.77.2
wait $!
[ "$(od -An -tx4 -N4 /tmp/frames)" = " a1b23c4d" ] || fail "that is no pcap file"
size=$(stat -c %s /tmp/frames)
[ "$size" -gt $((24 + 6 * (16 + 42))) ] && [ "$size" -le $((24 + 6 * (16 + 64))) ] || fail "a capture of $size bytes"

chvctl update vm lan ops_size=0 ops_refill_time=0 bw_size=20K bw_refill_time=100
chvctl dump vm | grep '"bw_size"' || fail "the limit is not stored"
ping -c 3 -W 5 192.168.77.2
chvctl pause vm
chvctl resume vm
ping -c 3 -W 5 192.168.77.2

socat -u /dev/null TCP:192.168.77.2:7003,retry=20,interval=0.2
await_text 60 vm 'lying'
for _ in $(seq 40); do
    spoofed=$(chvctl counters vm | awk '/tx_spoofed/ { print $NF }')
    [ "${spoofed:-0}" -gt 0 ] && break
    sleep 0.5
done
[ "${spoofed:-0}" -gt 0 ] || fail "no frame from another address was dropped"
await_text 60 vm 'nobody answers'
await_state 30 vm shutdown
