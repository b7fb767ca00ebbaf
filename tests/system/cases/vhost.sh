#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# The host's kernel moves a network's frames: TCP both ways through it, and across everything that takes the rings away from it for a
# while: a pause, a capture, limits, a reset of the guest. chvd's restart changes nothing, and with vhost=off the worker does it.
# Limit: 600
. "$(dirname "$0")/../lib.sh"

ip tuntap add vmtap0 mode tap vnet_hdr multi_queue
ip address add 192.168.77.1/24 dev vmtap0
ip link set vmtap0 up
dd if=/dev/urandom of=/tmp/data bs=64k count=16 2>/dev/null

counter() { chvctl counters vm | awk -v name="$1" '$2 == "lan" && $3 == name { print $4 }'; }
is() { [ "$(counter "$1")" = "$2" ]; }
# By the kernel, or not.
by_kernel() { await 20 "vhost_pairs is $1, not $(counter vhost_pairs)" is vhost_pairs "$1"; }
echoed() { socat -t 60 STDIO TCP:192.168.77.2:7001,retry=40,interval=0.2 </tmp/data >/tmp/back && cmp /tmp/data /tmp/back; }
# While data goes round and round, the command; and all data is as it was.
amidst() {
    rm -f /tmp/enough
    { until [ -e /tmp/enough ]; do echoed || exit 1; done; } &
    local rounds=$!
    sleep 0.3
    "$@"
    touch /tmp/enough
    wait $rounds || fail "other data came back across: $*"
}
threads() { ps -eLo comm= | grep -c "^vhost-"; }

start_chvd
script='
    ip link set eth0 up; ip address add 192.168.77.2/24 dev eth0
    ls -d /sys/class/net/eth0/queues/rx-* | wc -l | sed "s/^/pairs: /"
    nc -ll -p 7001 -e cat & echo listening; wait'
create vm 6.12 vmlinux "$(cmdline "$script" halt)" --cpus boot=2 --net id=lan,tap=vmtap0,num_queues=4,vhost=on
chvctl start vm
await_text 90 vm '^listening'
has_text vm 'pairs: 2'
by_kernel 2
[ "$(threads)" -ge 1 ] || fail "no thread of the kernel's"
ping -c 3 -W 5 192.168.77.2
before=$(counter vhost_frames)
echoed
after=$(counter vhost_frames)
[ "$after" -gt $((before + 20)) ] || fail "the kernel moved $((after - before)) frames"
[ "$(counter tx_bytes)" -gt $((1 << 20)) ] && [ "$(counter rx_bytes)" -gt $((1 << 20)) ] || fail "bytes are not counted"

echo "--- pause"
pause() { chvctl pause vm; sleep 1; is vhost_pairs 0 || fail "the kernel serves a paused guest"; chvctl resume vm; }
amidst pause
by_kernel 2

echo "--- capture"
capture() { chvctl capture vm lan --output /tmp/frames --count 20 --snaplen 64; }
amidst capture
[ "$(stat -c %s /tmp/frames)" -gt $((24 + 20 * 58)) ] || fail "a capture of $(stat -c %s /tmp/frames) bytes"
by_kernel 2

echo "--- limits"
limit() { chvctl update vm lan bw_size=400K bw_refill_time=100; is vhost_pairs 0 || fail "limits are not the kernel's"; sleep 1; }
amidst limit
amidst chvctl update vm lan bw_size=0 bw_refill_time=0
by_kernel 2

echo "--- another chvd"
amidst systemctl restart chvd
by_kernel 2

echo "--- reset"
frames=$(counter vhost_switches)
chvctl reset vm
await_text 90 vm '^listening' 2
by_kernel 2
echoed
[ "$frames" -gt 4 ] || fail "pairs have changed hands $frames times"
chvctl poweroff vm
await_state 20 vm shutdown
[ "$(threads)" = 0 ] || fail "threads of the kernel's are left"
chvctl delete vm

echo "--- off"
create vm 6.12 vmlinux "$(cmdline "$script" halt)" --net id=lan,tap=vmtap1,ip=192.168.78.1,mask=255.255.255.0,vhost=off
chvctl start vm
await_text 90 vm '^listening' 3
[ -z "$(counter vhost_pairs)" ] && [ "$(threads)" = 0 ] || fail "the kernel serves with vhost=off"
