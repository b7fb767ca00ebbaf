#!/usr/bin/env python3
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
"""How fast virtual machines start one after the other, and what each of many costs.

  dbus-run-session -- density.py BUILD [NUMBER] [cloud-hypervisor=PROGRAM] [firecracker=PROGRAM]

Runs on this host's KVM with a guest that does nothing: 1 vCPU, 128 MiB, a disk, and as root a network.
A worker's memory is what it holds beside the guest's: private pages, and its share of what all have
in common (PSS). One that is alone would have its program's pages for itself. Where a qemu-system-x86_64 is installed, its microvm does the same, and so do other
monitors that are given.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MEMORY_MIB = 128
SKIPPED = 77


def memory_kib(pid):
    """Private KiB and PSS of a process without the guest's memory."""
    private = pss = 0
    guest = False
    for line in Path(f'/proc/{pid}/smaps').read_text().splitlines():
        head = re.match(r'([0-9a-f]+)-([0-9a-f]+) ', line)
        if head:
            guest = int(head[2], 16) - int(head[1], 16) >= MEMORY_MIB << 20
        elif not guest and line.startswith('Private_'):
            private += int(line.split()[1])
        elif not guest and line.startswith('Pss:'):
            pss += int(line.split()[1])
    return private, pss


def show(name, started, pids):
    rates = [1 / (b - a) for a, b in zip(started, started[1:])]
    print(f'# {name}: {len(pids)} started, median {statistics.median(rates):.1f} a second')
    figures = [memory_kib(p) for p in pids]
    print(f'# {name}: each holds {statistics.median(f[0] for f in figures):.0f} KiB private, '
          f'{statistics.median(f[1] for f in figures):.0f} KiB PSS')


class Chvd:
    name = 'chvd'

    def __init__(self, build, work, guest):
        self.ctl, self.work, self.guest = build / 'chvctl/chvctl', work, guest
        self.worker = build / 'daemon/vmm/chv-vmm'
        for folder in ('state', 'run', 'conf'):
            (work / folder).mkdir()
        os.environ['XDG_RUNTIME_DIR'] = str(work / 'run')
        os.environ['CHV_OPENER'] = str(build / 'daemon/chvd/chv-open')
        self.log = open(work / 'log', 'w')
        self.service = subprocess.Popen(
            [build / 'daemon/chvd/chvd', '--session', f'--worker={self.worker}', '--units=no',
             f"--state-dir={work / 'state'}", f"--runtime-dir={work / 'run'}",
             f"--config-dir={work / 'conf'}"], stderr=self.log, stdout=self.log)
        time.sleep(1)

    def prepare(self, i, disk, tap):
        subprocess.run([self.ctl, '--user', 'create', '--name', f'm{i}', '--kernel', self.guest,
                        '--cpus', 'boot=1', '--memory', f'size={MEMORY_MIB}M',
                        '--disk', f'path={disk},image_type=raw',
                        *(['--net', f'tap={tap}'] if tap else []),
                        '--serial', 'null', '--console', 'off'], check=True)

    def start(self, i):
        subprocess.run([self.ctl, '--user', 'start', f'm{i}'], check=True)

    def pids(self):
        found = []
        for p in Path('/proc').iterdir():
            try:
                if p.name.isdigit() and (p / 'exe').resolve() == self.worker.resolve() and \
                        len(list((p / 'task').iterdir())) > 3:
                    found.append(int(p.name))
            except OSError:
                continue
        return found

    def end(self):
        for p in self.pids():
            os.kill(p, 9)
        self.service.terminate()
        self.service.wait()


class Peer:
    """A monitor of one machine: a process that says so when its machine runs."""
    running = b''

    def __init__(self, work, guest, program):
        self.work, self.guest, self.program = work, guest, program
        self.lines, self.processes = [], []

    def start(self, i):
        p = subprocess.Popen(self.lines[i], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.processes.append(p)
        for line in p.stdout:
            if self.running in line:
                return
        raise SystemExit(f'{self.name} does not start here')

    def pids(self):
        return [p.pid for p in self.processes]

    def end(self):
        for p in self.processes:
            p.kill()
            p.wait()


class Qemu(Peer):
    name = 'qemu-microvm'
    running = b'QMP'

    def prepare(self, i, disk, tap):
        self.lines.append([
            self.program, '-M', 'microvm', '-accel', 'kvm', '-smp', '1',
            '-cpu', 'host,arch-capabilities=off', '-m', f'{MEMORY_MIB}M', '-nodefaults',
            '-no-user-config', '-display', 'none', '-kernel', self.guest, '-serial', 'null',
            '-blockdev', f'driver=file,filename={disk},node-name=d', '-device',
            'virtio-blk-device,drive=d',
            *(['-netdev', f'tap,id=n,ifname={tap},script=no,downscript=no', '-device',
               'virtio-net-device,netdev=n'] if tap else []), '-qmp', 'stdio'])


class CloudHypervisor(Peer):
    name = 'cloud-hypervisor'
    running = b'"booted"'

    def prepare(self, i, disk, tap):
        self.lines.append([
            self.program, '--cpus', 'boot=1', '--memory', f'size={MEMORY_MIB}M', '--kernel',
            self.guest, '--disk', f'path={disk},image_type=raw',
            *(['--net', f'tap={tap}'] if tap else []), '--serial', 'null', '--console', 'off',
            '--event-monitor', 'path=/dev/stdout'])


class Firecracker(Peer):
    name = 'firecracker'
    running = b'Successfully started microvm'

    def prepare(self, i, disk, tap):
        config = self.work / f'firecracker{i}.json'
        config.write_text(json.dumps({
            'boot-source': {'kernel_image_path': str(self.guest)},
            'drives': [{'drive_id': 'd', 'path_on_host': str(disk), 'is_root_device': False,
                        'is_read_only': False}],
            'machine-config': {'vcpu_count': 1, 'mem_size_mib': MEMORY_MIB},
            'network-interfaces': [{'iface_id': 'n', 'host_dev_name': tap}] if tap else [],
        }))
        self.lines.append([self.program, '--no-api', '--config-file', config, '--level', 'Info'])


def measure(monitor, number, taps):
    started = []
    try:
        for i in range(number):
            disk = Path(os.environ['TMPDIR']) / f'{monitor.name}{i}.raw'
            with open(disk, 'wb') as f:
                f.truncate(64 << 20)
            monitor.prepare(i, disk, taps[i])
        for i in range(number):
            started.append(time.monotonic())
            monitor.start(i)
        started.append(time.monotonic())
        time.sleep(2)
        show(monitor.name, started, monitor.pids())
    finally:
        monitor.end()


def main():
    build = Path(sys.argv[1]).resolve()
    number = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    given = dict(word.split('=', 1) for word in sys.argv[3:])
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        print('# this host has no KVM for us')
        sys.exit(SKIPPED)
    taps = [f'chvd{os.getpid()}-{i}'[:15] if os.geteuid() == 0 else None for i in range(number)]
    with tempfile.TemporaryDirectory(prefix='chvd-density-') as tmp:
        os.environ['TMPDIR'] = tmp
        try:
            for tap in filter(None, taps):
                subprocess.run(['ip', 'tuntap', 'add', 'mode', 'tap', 'vnet_hdr', 'name', tap],
                               check=True)
            guest = build / 'tests/guest/guest-idle'
            measure(Chvd(build, Path(tmp), guest), number, taps)
            for kind in (Qemu, CloudHypervisor, Firecracker):
                program = given.get(kind.name)
                if kind is Qemu:
                    program = shutil.which('qemu-system-x86_64')
                if program:
                    measure(kind(Path(tmp), guest, program), number, taps)
        finally:
            for tap in filter(None, taps):
                subprocess.run(['ip', 'link', 'del', tap], stderr=subprocess.DEVNULL)


if __name__ == '__main__':
    main()
