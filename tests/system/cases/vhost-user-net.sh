#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# Two guests talk to each other through DPDK, which serves a network of each over vhost-user: one it waits for, the other waits for
# it. When DPDK is killed both lose their links; with another in its place they talk on. So they do after a pause and a reset.
# Limit: 900
. "$(dirname "$0")/../lib.sh"

# Both ports have two pairs of queues, and what comes in at one goes out at the other.
serve() {
    rm -f /run/a.sock
    tail -f /dev/null | /guest/dpdk/ld-linux-x86-64.so.2 --library-path /guest/dpdk /guest/dpdk/dpdk-testpmd \
        --lcores '0@1,1@2' --no-huge -m 256 --no-pci --no-shconf --no-telemetry \
        -d /guest/dpdk/librte_mempool_ring.so.23 -d /guest/dpdk/librte_net_vhost.so.23 \
        --vdev net_vhost0,iface=/run/a.sock,queues=2 --vdev net_vhost1,iface=/run/b.sock,queues=2,client=1 -- \
        --auto-start --forward-mode=io --no-mlockall --nb-cores=1 --rxq=2 --txq=2 --total-num-mbufs=8192 >>"$work/dpdk.log" 2>&1 &
    await 30 'DPDK listens' test -S /run/a.sock
}
dpdk() { pgrep -f '^/guest/dpdk/ld-linux.*testpmd'; }
kill_dpdk() {
    kill -KILL "$(dpdk)"
    await 20 'the end of DPDK' bash -c '! pgrep -f "^/guest/dpdk/ld-linux.*testpmd"'
}

start_chvd
serve
# a asks, and b sends back what it gets. Each line of a's says which round it was.
create b 6.12 vmlinux "$(cmdline '
    ip link set eth0 up; ip address add 192.168.77.2/24 dev eth0
    ls -d /sys/class/net/eth0/queues/rx-* | wc -l | sed "s/^/pairs: /"
    nc -ll -p 7001 -e cat & echo listening
    while :; do old=$now; now=$(cat /sys/class/net/eth0/carrier); [ "$now" = "$old" ] || echo "link: $now"; sleep 1; done' halt)" \
    --cpus boot=2 --memory size=256M,shared=on \
    --net id=lan,vhost_user=on,socket=/run/b.sock,vhost_mode=server,num_queues=4,mtu=1400
create a 6.12 vmlinux "$(cmdline '
    ip link set eth0 up; ip address add 192.168.77.1/24 dev eth0
    cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu
    head -c 300000 /dev/urandom > /tmp/data; sum=$(sha256sum < /tmp/data)
    n=0; while :; do
        if [ "$(timeout 20 nc 192.168.77.2 7001 < /tmp/data | head -c 300000 | sha256sum)" = "$sum" ]; then
            n=$((n + 1)); echo "round $n"
        fi
        sleep 1
    done' halt)" \
    --cpus boot=2 --memory size=256M,shared=on \
    --net id=lan,vhost_user=on,socket=/run/a.sock,num_queues=4,mac=52:54:00:00:00:0a
rounds() { grep -a -c '^round ' "$work/a.log" || true; }
# They have talked twice since, as what was under way before may end after.
talk() { await 120 "data through DPDK after: $1" more_rounds "$(($(rounds) + 2))"; }
more_rounds() { [ "$(rounds)" -ge "$1" ]; }
state_is() { has_state "$1" "$2" || fail "$1 is $(property "$1" State)"; }

chvctl start b
chvctl start a
[ "$(stat -c %a /run/b.sock 2>/dev/null)" = "" ] || fail 'the socket of a machine that waits no more is still there'
await_text 90 b '^listening'
has_text b '^pairs: 2' || fail 'b has no two pairs of queues'
await_text 20 b '^link: 1'
await_text 90 a '^52:54:00:00:00:0a'
talk start

echo "--- DPDK is killed"
kill_dpdk
await_text 30 b '^link: 0'
state_is a running
state_is b running
sleep 2
serve
await_text 30 b '^link: 1' 2
talk 'another DPDK'

echo "--- pause"
chvctl pause a
sleep 1
chvctl resume a
talk pause

echo "--- reset"
chvctl reset b
await_text 90 b '^listening' 2
talk reset

echo "--- another chvd, and then another DPDK"
systemctl restart chvd
kill_dpdk
serve
talk 'another chvd'

chvctl poweroff a
chvctl poweroff b
await_state 20 a shutdown
await_state 20 b shutdown
kill -0 "$(dpdk)" || fail 'DPDK has ended with the machines'

echo "--- a machine that waits is given up"
kill_dpdk
chvctl start b &
await 20 'b waits' test -S /run/b.sock
[ "$(stat -c %a /run/b.sock)" = 600 ] || fail "the socket is for others, too: $(stat -c %A /run/b.sock)"
state_is b starting
chvctl poweroff b
await_state 20 b shutdown
await 20 'the end of the socket' test ! -e /run/b.sock
