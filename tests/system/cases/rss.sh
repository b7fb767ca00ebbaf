#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# Linux spreads what it receives over its queues: flows go where its key and its table say, one by one, also after ethtool has
# changed either; and TCP goes on both ways across other tables, fewer queues, a pause, a capture and a reset.
# Runs: 6.1 | 6.12
# Limit: 900
. "$(dirname "$0")/../lib.sh"
kernel=$1

ip tuntap add vmtap0 mode tap vnet_hdr multi_queue
sysctl -qw net.ipv6.conf.vmtap0.disable_ipv6=1
ip address add 192.168.77.1/24 dev vmtap0
ip link set vmtap0 up
dd if=/dev/urandom of=/tmp/data bs=64k count=8 2>/dev/null

counter() { chvctl counters vm | awk -v name="$1" '$2 == "lan" && $3 == name { print $4 }'; }
echoed() { socat -t 60 STDIO TCP:192.168.77.2:7001,retry=40,interval=0.2 </tmp/data >/tmp/back && cmp /tmp/data /tmp/back; }
# In the guest, what it prints.
guest() { socat -t 60 - TCP:192.168.77.2:7002,retry=40,interval=0.2 <<<"$*"; }
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

# Sends datagrams, and says how many of them each queue gets by the guest's own key and table (`ethtool -x`, in a file). The second line is
# for Linux that sends its key with a byte before it and without its last one, such as 6.12.95: 6.19 has "virtio_net: Fix misalignment bug
# in struct virtnet_info".
cat >/tmp/flows.py <<'END'
import re, socket, sys
text = open(sys.argv[1]).read()
table = [int(n) for row in re.findall(r'^ *\d+: +(.*)$', text, re.M) for n in row.split()]
key = int(re.search(r'RSS hash key:\n([0-9a-f:]+)', text).group(1).replace(':', ''), 16)
assert len(table) == 128, table


def toeplitz(key, data):
    result = 0
    for bit in range(8 * len(data)):
        if data[bit // 8] >> (7 - bit % 8) & 1:
            result ^= key >> (320 - 32 - bit) & 0xffffffff
    return result


counts = [0, 0, 0], [0, 0, 0]
for port in range(20000, 20060):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(('192.168.77.1', port))
    s.sendto(b'x' * 100, ('192.168.77.2', 9))
    flow = bytes([192, 168, 77, 1, 192, 168, 77, 2]) + port.to_bytes(2, 'big') + (9).to_bytes(2, 'big')
    for shift in 0, 1:
        counts[shift][table[toeplitz(key >> 8 * shift, flow) & 127]] += 1
for c in counts:
    print(*c)
END

# What was received meanwhile, by the CPUs that took the queues' interrupts, against what the queues were to get (the arguments). Queue 0 also
# gets what has no hash, such as ARP.
cat >/tmp/compare.py <<'END'
import re, sys
taken = {'before': {}, 'after': {}}
received = {'before': {}, 'after': {}}
for when, what in re.findall(r'^(before|after) (.*)', open('/tmp/counts').read(), re.M):
    irq = re.match(r'irq +\d+: +(\d+) +(\d+) +(\d+) .*-input\.(\d+)', what)
    if irq:
        taken[when][int(irq[4])] = [int(n) for n in irq.groups()[:3]]
    else:
        cpu, n = what.split()
        received[when][int(cpu)] = int(n)
wanted, least = {}, {}
for queue, flows in enumerate(map(int, sys.argv[1:])):
    by_cpu = [b - a for a, b in zip(taken['before'][queue], taken['after'][queue])]
    if flows == 0 and sum(by_cpu) == 0:
        continue
    assert [n > 0 for n in by_cpu].count(True) == 1, f'queue {queue} has interrupts {by_cpu} for {flows} flows'
    cpu = by_cpu.index(max(by_cpu))
    wanted[cpu] = wanted.get(cpu, 0) + flows
    if queue == 0:
        least[cpu] = True
got = {cpu: received['after'][cpu] - received['before'][cpu] for cpu in received['after']}
print('received', got, 'wanted', wanted)
for cpu, n in got.items():
    more = n - wanted.get(cpu, 0)
    assert more == 0 or (cpu in least and 0 < more < 5), f'CPU {cpu} has received {n}'
END

compare() { # 1 | 2
    read -r -a flows <<<"$(sed -n "$1p" /tmp/flows)"
    python3 /tmp/compare.py "${flows[@]}"
}

count=0 shift=
# The flows, and that the guest has received them so.
check_flows() { # WHAT
    local counting
    count=$((count + 1))
    guest 'ethtool -x eth0' >/tmp/table
    # An interrupt that is to go to another CPU does so when it has come once more.
    python3 /tmp/flows.py /tmp/table >/dev/null
    guest 'all() {
            i=0; while read n rest; do echo "$1 $i $((0x$n))"; i=$((i + 1)); done < /proc/net/softnet_stat
            grep -e "-input[.]" /proc/interrupts | sed "s/^/$1 irq /"
        }
        sleep 2; before=$(all before); echo counting > /dev/console; sleep 6; after=$(all after)
        echo "$before"; echo "$after"' >/tmp/counts &
    counting=$!
    await_text 60 vm '^counting' "$count"
    sleep 1
    python3 /tmp/flows.py /tmp/table >/tmp/flows
    wait $counting
    # Which of the two it is does not change.
    [ -n "$shift" ] || { compare 1 >/dev/null 2>&1 && shift=1 || shift=2; }
    echo "$1: flows for the queues, without and with that shift: $(paste -sd, /tmp/flows)"
    compare $shift || fail "$1: $(cat /tmp/table /tmp/counts)"
}

start_chvd
chvctl create --name bad --kernel "/guest/$kernel/vmlinux" --net tap=vmtap0,rss=on,vhost=on 2>/tmp/error &&
    fail "rss=on with vhost=on was taken"
grep 'vhost: the kernel does not hash frames; needs rss=off' /tmp/error

create vm "$kernel" vmlinux "$(cmdline '
    mkdir -p /tools; mount -t ext4 -o ro /dev/vda /tools
    printf "#!/bin/sh\nexec /tools/ld-linux-x86-64.so.2 --library-path /tools /tools/ethtool \"\$@\"\n" > /bin/ethtool
    chmod 755 /bin/ethtool
    ip link set eth0 up; ip address add 192.168.77.2/24 dev eth0
    read f < /sys/class/net/eth0/device/features; echo "hashes ${f:57:1} steers ${f:60:1}"
    ethtool -L eth0 combined 3
    nc -ll -p 7002 -e sh & nc -ll -p 7001 -e cat & echo listening; wait' halt)" --cpus boot=3 \
    --disk path=/guest/fio.ext4,readonly=on,image_type=raw \
    --net id=lan,tap=vmtap0,num_queues=6,rss=on
chvctl start vm
await_text 120 vm '^listening'
has_text vm 'hashes 1 steers 1'
[ -z "$(counter vhost_pairs)" ] || fail "the kernel moves the frames"

guest 'ethtool -K eth0 rxhash on; ethtool -k eth0' | grep 'receive-hashing: on'
guest 'ethtool -X eth0 equal 3; ethtool -x eth0' | head -20
check_flows 'equal 3'
[ "${flows[0]}" -gt 5 ] && [ "${flows[1]}" -gt 5 ] && [ "${flows[2]}" -gt 5 ] || fail "flows are not spread"
guest 'ethtool -X eth0 weight 1 0 5'
check_flows 'weight 1 0 5'
guest 'ethtool -X eth0 hkey 6d:5a:56:da:25:5b:0e:c2:41:67:25:3d:43:a3:8f:b0:d0:ca:2b:cb:ae:7b:30:b4:77:cb:2d:a3:80:30:f2:0c:6a:42:b7:3b:be:ac:01:fa equal 3'
check_flows 'another key'
guest 'ethtool -X eth0 start 2 equal 1'
check_flows 'one queue'
[ "${flows[*]}" = "0 0 60" ] || fail "flows for ${flows[*]}"
[ "$(counter rx_steered)" -gt 20 ] || fail "only $(counter rx_steered) frames have changed queues"

echo "--- amidst data"
amidst guest 'for i in 1 2 3; do ethtool -X eth0 equal 3; ethtool -X eth0 weight 0 1 1; ethtool -X eth0 equal 2; done'
pause() { chvctl pause vm; sleep 1; chvctl resume vm; }
amidst pause
amidst guest 'ethtool -L eth0 combined 2; sleep 1; ethtool -L eth0 combined 3; ethtool -X eth0 equal 3'
check_flows 'after a change of queues'
capture() { chvctl capture vm lan --output /tmp/frames --count 20 --snaplen 64; }
amidst capture
[ "$(stat -c %s /tmp/frames)" -gt $((24 + 20 * 58)) ] || fail "a capture of $(stat -c %s /tmp/frames) bytes"
amidst chvctl update vm lan bw_size=400K bw_refill_time=100
amidst chvctl update vm lan bw_size=0 bw_refill_time=0

echo "--- reset"
chvctl reset vm
await_text 120 vm '^listening' 2
guest 'ethtool -X eth0 equal 3'
check_flows 'after a reset'
echoed
! grep -a -E 'is not a head|id .* out of range|RSS' "$work/vm.log" || fail "the kernel complains"
