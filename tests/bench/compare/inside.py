#!/usr/bin/env python3
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
"""Runs in the emulated machine: starts each virtual machine monitor in turn with the same guest and
prints what was measured, one JSON object a line.

  inside.py ROUNDS NANOSECONDS WORK PEER...

The block device under every guest's disk answers after so long, or at once if that is 0. WORK is
"all", or names of the guest's works with commas between. PEER is a name of PEERS (chvd-poll and its like are chvd with an option
of the data disk), or cloud-hypervisor=PATH, firecracker=PATH, chvd-before=PATH (a chv-vmm).
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

TREE = Path(__file__).resolve().parents[3]
BENCH = Path('/bench')
WORK = Path('/run/chv-bench')
TRACE = Path('/sys/kernel/tracing')
DATA = '/dev/nullb0'
WORKER = '/usr/libexec/chv-vmm'
# Guests boot from memory: waiting for the emulated machine's own disks would be measured, too.
FILES = ('vmlinux', 'initramfs', 'tools.erofs')
# In memory, so through the page cache for everybody.
IMAGE = WORK / 'image.qcow2'
DATA_MIB = 256
MEMORY_MIB = 256
CMDLINE = 'console=ttyS0 loglevel=4 reboot=t panic=-1 pci=lastbus=0 tsc=reliable'
GUEST_LIMIT = 900
# The emulator (QEMU 10.0) now and then lets a nested guest fault at an instruction that no processor
# would fault at, and where depends on the very instruction count. Such a guest is measured again.
ATTEMPTS = 4
KVMCLOCK_MSR = 0x4b564d01
# What init writes to its console first, and nobody else ever.
SERIAL_PORT, INIT_BYTE = 0x3f8, 2


def run(*argv):
    return subprocess.run([str(a) for a in argv], check=True, stdout=subprocess.PIPE,
                          text=True).stdout


def now():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def write(path, text):
    with open(path, 'w') as f:
        f.write(text)


# What is measured


class Tracer:
    """Counts exits, and notes when a guest first ran, came to its kernel and to user space."""

    def __init__(self):
        if not (TRACE / 'events').exists():
            run('mount', '-t', 'tracefs', 'trace', TRACE)
        self.exit = TRACE / 'events/kvm/kvm_exit/trigger'
        write(self.exit, 'hist:keys=exit_reason:size=256')
        for name in ('first', 'marks'):
            (TRACE / 'instances' / name).mkdir(exist_ok=True)
            write(TRACE / 'instances' / name / 'trace_clock', 'mono')
        marks = TRACE / 'instances/marks/events/kvm'
        write(marks / 'kvm_msr/filter', f'ecx == {KVMCLOCK_MSR} && write == 1')
        write(marks / 'kvm_pio/filter', f'port == {SERIAL_PORT} && val == {INIT_BYTE}')

    def arm(self):
        for name in ('first', 'marks'):
            top = TRACE / 'instances' / name
            write(top / 'trace', '')
            write(top / 'tracing_on', '1')
        entry = TRACE / 'instances/first/events/kvm/kvm_entry'
        write(entry / 'trigger', '!traceoff')
        write(entry / 'trigger', 'traceoff:1')
        write(entry / 'enable', '1')
        for event in ('kvm_msr', 'kvm_pio'):
            write(TRACE / 'instances/marks/events/kvm' / event / 'enable', '1')

    def disarm(self):
        for name, event in (('first', 'kvm_entry'), ('marks', 'kvm_msr'), ('marks', 'kvm_pio')):
            write(TRACE / 'instances' / name / 'events/kvm' / event / 'enable', '0')

    def times(self):
        """When (ns): the first entry, the kernel's clock set-up, init's word."""
        found = {}
        for name in ('first', 'marks'):
            for line in (TRACE / 'instances' / name / 'trace').read_text().splitlines():
                hit = re.search(r' (\d+)\.(\d+): (kvm_\w+): (.*)', line)
                if not hit:
                    continue
                what = {'kvm_entry': 'first-instruction', 'kvm_msr': 'kernel'}.get(hit[3])
                if hit[3] == 'kvm_pio' and re.search(rf'val {INIT_BYTE:#x}\b', hit[4]):
                    what = 'user-space'
                if what:
                    found.setdefault(what, int(hit[1]) * 10**9 + int(hit[2].ljust(9, '0')))
        return found

    def exits(self):
        text = (self.exit.parent / 'hist').read_text()
        return {m[1]: int(m[2])
                for m in re.finditer(r'exit_reason: +(\d+).* hitcount: +(\d+)', text)}


def busy_ns():
    """The processor time of all tasks so far, ours not included."""
    total = sum(int(line.split()[7]) for line in Path('/proc/schedstat').read_text().splitlines()
                if line.startswith('cpu'))
    return total - int(Path('/proc/self/schedstat').read_text().split()[0])


def switches():
    """Of processors from one task to another so far."""
    return int(re.search(r'^ctxt (\d+)', Path('/proc/stat').read_text(), re.M)[1])


def memory_kib(pid):
    """What a process holds beside the guest's memory: private and shared KiB."""
    private = shared = 0
    guest = False
    for line in Path(f'/proc/{pid}/smaps').read_text().splitlines():
        head = re.match(r'([0-9a-f]+)-([0-9a-f]+) ', line)
        if head:
            size = int(head[2], 16) - int(head[1], 16)
            guest = size >= MEMORY_MIB << 19
        elif not guest and line.startswith('Private_'):
            private += int(line.split()[1])
        elif not guest and line.startswith('Shared_'):
            shared += int(line.split()[1])
    return private, shared


# The monitors


class Peer:
    name = ''
    program = ''

    def __init__(self):
        self.log = WORK / f'{self.name}.log'
        self.tap = 'tap-' + self.name.replace('qemu-', 'q')[:11]

    def prepare(self, work):
        self.log.unlink(missing_ok=True)
        self.log.touch(0o666)
        IMAGE.unlink(missing_ok=True)
        shutil.copy(BENCH / 'image.qcow2', IMAGE)
        IMAGE.chmod(0o666)

    def make_tap(self):
        subprocess.run(['ip', 'link', 'del', self.tap], stderr=subprocess.DEVNULL)
        run('ip', 'tuntap', 'add', 'mode', 'tap', 'vnet_hdr', 'name', self.tap)
        run('ip', 'address', 'add', '10.9.8.1/24', 'dev', self.tap)
        run('ip', 'link', 'set', self.tap, 'up')

    def start(self, work):
        self.process = subprocess.Popen([str(a) for a in self.line(work)],
                                        stdin=subprocess.DEVNULL, env=self.environment(),
                                        stdout=open(WORK / f'{self.name}.out', 'w'),
                                        stderr=subprocess.STDOUT)

    def environment(self):
        return dict(os.environ)

    def pid(self):
        return self.process.pid

    def is_over(self):
        return self.process.poll() is not None

    def finish(self):
        self.process.terminate()
        self.process.wait()
        subprocess.run(['ip', 'link', 'del', self.tap], stderr=subprocess.DEVNULL)

    def cmdline(self, work):
        return f'{CMDLINE} work={work}'


class Chvd(Peer):
    name = 'chvd'
    data_options = ''

    def prepare(self, work):
        super().prepare(work)
        if not Path('/usr/bin/chvctl').exists():
            run('bash', '-c', f'. {TREE}/tests/system/lib.sh; start_chvd')
        run('chvctl', 'create', '--name', 'bench', '--kernel', WORK / 'vmlinux',
            '--initramfs', WORK / 'initramfs', '--cmdline', self.cmdline(work),
            '--cpus', 'boot=1', '--memory', f'size={MEMORY_MIB}M',
            '--disk', f'path={DATA},direct=on,serial=data,image_type=raw{self.data_options}',
            f'path={WORK}/tools.erofs,readonly=on,serial=tools,image_type=raw',
            f'path={IMAGE},serial=qcow2,image_type=qcow2',
            '--net', f'tap={self.tap},ip=10.9.8.1,mask=255.255.255.0',
            '--serial', f'file={self.log}', '--console', 'off')

    def start(self, work):
        run('chvctl', 'start', 'bench')

    def pid(self):
        return run('pgrep', '-n', 'chv-vmm').strip()

    def is_over(self):
        return False

    def finish(self):
        subprocess.run(['chvctl', 'poweroff', 'bench'], stderr=subprocess.DEVNULL)
        # It may be on its way down by itself.
        for _ in range(100):
            if subprocess.run(['chvctl', 'delete', 'bench']).returncode == 0:
                return
            time.sleep(0.3)
        raise SystemExit('a VM that was powered off does not stop')


class ChvdPoll(Chvd):
    name = 'chvd-poll'
    data_options = ',poll=200'


class ChvdRegistered(Chvd):
    name = 'chvd-registered'
    data_options = ',registered_buffers=on'


class ChvdIopoll(Chvd):
    """The device answers at once then: null_blk does when it is polled."""
    name = 'chvd-iopoll'
    data_options = ',iopoll=on'


class ChvdBefore(Chvd):
    """chvd with another build's worker: what a change brought, in one run."""
    name = 'chvd-before'

    def start(self, work):
        run('mount', '--bind', self.program, WORKER)
        super().start(work)

    def finish(self):
        super().finish()
        subprocess.run(['umount', WORKER], stderr=subprocess.DEVNULL)


class Qemu(Peer):
    lib = 'lib/x86_64-linux-gnu'
    bus = 'pci'
    no_rom = ''

    def prepare(self, work):
        super().prepare(work)
        self.make_tap()

    def environment(self):
        return {**os.environ, 'QEMU_MODULE_DIR': f'{BENCH}/qemu/usr/{self.lib}/qemu'}

    def line(self, work):
        q = BENCH / 'qemu'
        return [q / 'lib64/ld-linux-x86-64.so.2', '--library-path',
                f'{q}/{self.lib}:{q}/usr/{self.lib}', q / 'usr/bin/qemu-system-x86_64',
                '-L', q / 'usr/share/qemu', '-L', q / 'usr/share/seabios',
                '-M', self.machine, '-accel', 'kvm', '-cpu', 'host', '-smp', '1',
                '-m', f'{MEMORY_MIB}M', '-nodefaults', '-no-user-config', '-display', 'none',
                '-no-reboot', '-serial', f'file:{self.log}', '-kernel', WORK / 'vmlinux',
                '-initrd', WORK / 'initramfs', '-append', self.cmdline(work),
                '-object', 'iothread,id=io',
                '-blockdev', f'driver=host_device,filename={DATA},node-name=data,aio=io_uring,'
                'cache.direct=on', '-device', f'virtio-blk-{self.bus},drive=data,serial=data,'
                'iothread=io',
                '-blockdev', f'driver=file,filename={WORK}/tools.erofs,node-name=tools,'
                'read-only=on', '-device', f'virtio-blk-{self.bus},drive=tools,serial=tools',
                '-blockdev', f'driver=qcow2,node-name=qcow2,file.driver=file,file.filename={IMAGE},'
                'file.aio=io_uring', '-device', f'virtio-blk-{self.bus},drive=qcow2,serial=qcow2,'
                'iothread=io',
                '-netdev', f'tap,id=n,ifname={self.tap},script=no,downscript=no,vhost=on',
                '-device', f'virtio-net-{self.bus},netdev=n' + self.no_rom]


class QemuQ35(Qemu):
    name = 'qemu-q35'
    machine = 'q35,sata=off,smbus=off'
    no_rom = ',romfile='


class QemuMicrovm(Qemu):
    name = 'qemu-microvm'
    machine = 'microvm,x-option-roms=off,pit=off,pic=off,rtc=on'
    bus = 'device'


class CloudHypervisor(Peer):
    name = 'cloud-hypervisor'

    def prepare(self, work):
        super().prepare(work)
        self.make_tap()

    def line(self, work):
        return [self.program, '--kernel', WORK / 'vmlinux', '--initramfs', WORK / 'initramfs',
                '--cmdline', self.cmdline(work), '--cpus', 'boot=1',
                '--memory', f'size={MEMORY_MIB}M',
                '--disk', f'path={DATA},direct=on,serial=data,image_type=raw',
                f'path={WORK}/tools.erofs,readonly=on,serial=tools,image_type=raw',
                f'path={IMAGE},serial=qcow2,image_type=qcow2',
                '--net', f'tap={self.tap}', '--serial', f'file={self.log}', '--console', 'off']


class Firecracker(Peer):
    name = 'firecracker'

    def prepare(self, work):
        super().prepare(work)
        self.make_tap()
        config = {
            'boot-source': {'kernel_image_path': f'{WORK}/vmlinux',
                            'initrd_path': f'{WORK}/initramfs', 'boot_args': self.cmdline(work)},
            # It has no serial numbers: the guest takes the writable disk for the data.
            'drives': [{'drive_id': 'data', 'path_on_host': DATA, 'is_root_device': False,
                        'is_read_only': False, 'io_engine': 'Async'},
                       {'drive_id': 'tools', 'path_on_host': f'{WORK}/tools.erofs',
                        'is_root_device': False, 'is_read_only': True}],
            'machine-config': {'vcpu_count': 1, 'mem_size_mib': MEMORY_MIB},
            'network-interfaces': [{'iface_id': 'n', 'host_dev_name': self.tap}],
        }
        write(WORK / 'firecracker.json', json.dumps(config))

    def line(self, work):
        return [self.program, '--no-api', '--config-file', WORK / 'firecracker.json']

    def start(self, work):
        super().start(work)
        # The serial port is its standard output.
        self.log = WORK / f'{self.name}.out'


PEERS = {p.name: p for p in (Chvd, ChvdPoll, ChvdRegistered, ChvdIopoll, ChvdBefore, QemuQ35, QemuMicrovm, CloudHypervisor,
                             Firecracker)}


# One guest


class GuestLost(Exception):
    pass


def marks(peer, deadline):
    """The guest's words as they come, up to the last."""
    at = starts = 0
    over = False
    while not over and time.monotonic() < deadline:
        over = peer.is_over()
        data = peer.log.read_bytes()
        end = data.rfind(b'\n') + 1
        for line in data[at:end].decode(errors='replace').splitlines():
            words = line.strip().split()
            starts += words == ['mark', 'user-space']
            if starts > 1:
                over = True
                break
            if words[:1] in (['mark'], ['result']):
                yield words
            if words[:2] == ['mark', 'done']:
                return
        at = end
        time.sleep(0.05)
    said = ''.join(f.read_text(errors='replace')[-3000:]
                   for f in (peer.log, WORK / f'{peer.name}.out') if f.exists())
    raise GuestLost(f'{peer.name}: the guest did not come to its end:\n{said}')


def fio_numbers(row, text):
    """fio's terse line, version 3: I/Os and milliseconds of reads, then of writes."""
    f = text.split(';')
    base = 5 if int(f[5]) > 0 else 46
    kib, iops, ms = int(f[base]), float(f[base + 2]), int(f[base + 3])
    numbers = {'kib': kib, 'iops': iops, 'ms': ms}
    if row == 'fsync':
        numbers['iops'] = float(f[base + 2])
    return numbers


def measure_start(peer, tracer, work):
    peer.prepare('none')
    tracer.arm()
    begin = now()
    peer.start('none')
    result = {}
    for words in marks(peer, time.monotonic() + GUEST_LIMIT):
        if words[1] == 'idle':
            private, shared = memory_kib(peer.pid())
            result.update({'memory-private-kib': private, 'memory-shared-kib': shared})
    tracer.disarm()
    for name, when in tracer.times().items():
        result[f'start-{name}-ns'] = when - begin
    peer.finish()
    yield 'start', result


def measure_work(peer, tracer, work):
    peer.prepare(work)
    peer.start(work)
    before = numbers = None
    for words in marks(peer, time.monotonic() + GUEST_LIMIT):
        if words[-1] == 'begin':
            before = tracer.exits(), busy_ns(), now(), switches()
        elif words[-1] == 'end':
            switched, exits, busy, wall = switches(), tracer.exits(), busy_ns(), now()
            numbers = {
                'exits': {k: n - before[0].get(k, 0) for k, n in exits.items()
                          if n > before[0].get(k, 0)},
                'busy-ns': busy - before[1], 'wall-ns': wall - before[2],
                'switches': switched - before[3],
            }
        elif words[0] == 'result':
            row, text = words[1], ' '.join(words[2:])
            if ';' in text:
                numbers.update(fio_numbers(row, text))
            elif row.startswith('net-'):
                amount, ns = text.split()
                numbers.update({'amount': int(amount), 'ns': int(ns)})
            yield row, numbers
    peer.finish()


def attempts(measure, peer, tracer, work):
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return list(measure(peer, tracer, work))
        except GuestLost as e:
            if attempt == ATTEMPTS:
                raise SystemExit(str(e)) from None
            print(f'{peer.name}: attempt {attempt} lost its guest', file=sys.stderr, flush=True)
            tracer.disarm()
            peer.finish()
            time.sleep(0.1 * attempt)
    return []


def set_up(latency_ns):
    WORK.mkdir(exist_ok=True)
    WORK.chmod(0o755)
    for name in FILES:
        shutil.copy(BENCH / name, WORK)
    for name in (BENCH / 'modules/order').read_text().split():
        subprocess.run(['insmod', BENCH / 'modules' / name, *(['nr_devices=0'] if 'null' in name
                                                             else [])])
    config = Path('/sys/kernel/config')
    if not (config / 'nullb').exists():
        run('mount', '-t', 'configfs', 'config', config)
    disk = config / 'nullb/nullb0'
    disk.mkdir()
    for key, value in (('size', DATA_MIB), ('memory_backed', 1), ('blocksize', 512),
                       ('queue_mode', 2), ('irqmode', 2 if latency_ns else 0),
                       ('completion_nsec', latency_ns),
                       ('hw_queue_depth', 256), ('poll_queues', 1), ('power', 1)):
        write(disk / key, str(value))
    os.chmod(DATA, 0o666)
    return subprocess.Popen([BENCH / 'netload', 'serve'])


def main():
    rounds, latency_ns, work = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    peers = []
    for word in sys.argv[4:]:
        name, _, path = word.partition('=')
        peer = PEERS[name]()
        peer.program = path
        peers.append(peer)
    server = set_up(latency_ns)
    tracer = Tracer()
    for number in range(rounds):
        for peer in peers:
            for measure in (measure_start, measure_work):
                for row, values in attempts(measure, peer, tracer, work):
                    print(json.dumps({'round': number, 'peer': peer.name, 'row': row, **values}),
                          flush=True)
    server.send_signal(signal.SIGTERM)
    shutil.rmtree(WORK)


if __name__ == '__main__':
    main()
