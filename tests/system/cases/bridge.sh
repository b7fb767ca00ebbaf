#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# Two guests and the host on a bridge that chvd attaches their interfaces to: each reaches both others, and the
# interfaces vanish with the guests.
. "$(dirname "$0")/../lib.sh"

ip link add br0 type bridge
ip address add 192.168.78.1/24 dev br0
ip link set br0 up
mac=$(cat /sys/class/net/br0/address)

start_chvd
guest() { # NAME NUMBER OTHER
    create "$1" 6.12 vmlinux "$(cmdline "
        ip link set eth0 up; ip address add 192.168.78.$2/24 dev eth0
        for to in 1 $3; do
            until ping -c 1 -W 2 192.168.78.\$to; do sleep 1; done
            echo \"\$to answers $2\"
        done" button)" --net tap="$1"0,bridge=br0
    chvctl start "$1"
}
guest left 2 3
guest right 3 2
for name in left right; do
    await_text 120 $name '^1 answers'
done
await_text 60 left '^3 answers 2'
await_text 60 right '^2 answers 3'
for port in left0 right0; do
    [ "$(basename "$(readlink /sys/class/net/$port/master)")" = br0 ] || fail "$port is not on the bridge"
done
ping -c 1 -W 5 192.168.78.2
[ "$(ip neigh show 192.168.78.3 dev br0 | wc -l)" = 1 ] || ping -c 1 -W 5 192.168.78.3
chvctl poweroff left
[ ! -e /sys/class/net/left0 ] || fail "left0 is still there"
[ -e /sys/class/net/right0 ] || fail "right0 is gone"
chvctl delete --force right
await 10 "the end of right0" test ! -e /sys/class/net/right0
[ -e /sys/class/net/br0 ] || fail "the bridge is gone"
echo "the bridge was $mac and is $(cat /sys/class/net/br0/address)"
