#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# A network over a macvtap: named, with two pairs of queues that the kernel serves, and one that the worker serves; and as
# descriptors that chvctl was started with. The interface has the guest's address; TCP goes both ways; it is one machine's at a time.
# Limit: 600
. "$(dirname "$0")/../lib.sh"

ip link add v0 type veth peer name v1
ip address add 192.168.79.1/24 dev v1
ip link set v0 up
ip link set v1 up
ip link add link v0 name mv0 type macvtap mode bridge
await 20 "the macvtap's device" test -c "/dev/tap$(cat /sys/class/net/mv0/ifindex)"
dd if=/dev/urandom of=/tmp/data bs=64k count=8 2>/dev/null

counter() { chvctl counters "$1" | awk -v name="$2" '$2 == "lan" && $3 == name { print $4 }'; }
is() { [ "$(counter "$1" "$2")" = "$3" ]; }
echoed() { socat -t 60 STDIO TCP:192.168.79.2:7001,retry=40,interval=0.2 </tmp/data >/tmp/back && cmp /tmp/data /tmp/back; }
address() { cat /sys/class/net/mv0/address; }
refused() { # TEXT COMMAND...
    local text=$1
    shift
    ! "$@" >/tmp/refusal 2>&1 || fail "not refused: $*"
    grep -q -e "$text" /tmp/refusal || fail "refused otherwise: $(cat /tmp/refusal)"
}
line=$(cmdline '
    ip link set eth0 up; ip address add 192.168.79.2/24 dev eth0
    sed "s/^/address /" /sys/class/net/eth0/address
    ls -d /sys/class/net/eth0/queues/rx-* | wc -l | sed "s/^/pairs: /"
    nc -ll -p 7001 -e cat & echo listening; wait' halt)
# talks NAME PAIRS: its guest has the interface's address, and sends back what it gets.
talks() {
    await_text 90 "$1" '^listening'
    has_text "$1" "^pairs: $2" || fail "$1 has other pairs of queues than $2"
    has_text "$1" "^address $(address)" || fail "the guest has another address than $(address)"
    echoed
    [ "$(counter "$1" rx_bytes)" -gt 500000 ] && [ "$(counter "$1" tx_bytes)" -gt 500000 ] ||
        fail "bytes are not counted: $(counter "$1" rx_bytes), $(counter "$1" tx_bytes)"
}
end() {
    chvctl poweroff "$1"
    await_state 20 "$1" shutdown
}

start_chvd
echo "--- by the kernel"
create kernel 6.12 vmlinux "$line" --cpus boot=2 --net id=lan,tap=mv0,num_queues=4,vhost=on
chvctl start kernel
talks kernel 2
await 20 "two pairs of the kernel's" is kernel vhost_pairs 2
[ "$(counter kernel vhost_frames)" -gt 20 ] || fail "the kernel moved $(counter kernel vhost_frames) frames"

create worker 6.12 vmlinux "$line" --net id=lan,tap=mv0,mac=52:54:00:79:00:02
refused "in use by VM 'kernel'" chvctl start worker
end kernel

echo "--- by the worker"
chvctl start worker
[ "$(address)" = 52:54:00:79:00:02 ] || fail "the interface has address $(address)"
talks worker 1
chvctl reset worker
await_text 90 worker '^listening' 2
echoed
end worker

create no 6.12 vmlinux "$line" --net tap=mv0,ip=192.168.79.3,mask=255.255.255.0
refused 'no ip' chvctl start no

echo "--- descriptors"
exec 7<>"/dev/tap$(cat /sys/class/net/mv0/ifindex)"
refused 'mac=52:54:00:79:00:02' create no2 6.12 vmlinux "$line" --net id=lan,fd=7,mac=52:54:00:79:00:03
create given 6.12 vmlinux "$line" --net id=lan,fd=7,mac=52:54:00:79:00:02,vhost=off
exec 7<&-
chvctl start given
talks given 1
end given
