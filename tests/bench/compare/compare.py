#!/usr/bin/env python3
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
"""Measures chvd and its peers side by side in the emulated machine, and writes a report.

  compare.py [--rounds N] [--mode counted|wall|both] [--only PEER]... [--peer NAME=PROGRAM]...
             [--row ROW]... [--out DIRECTORY]

QEMU's q35 and microvm are always among the peers. Counted, the emulated machine takes instructions
for time (one processor, one nanosecond an instruction), so that a run repeats within a percent
whatever else this host does; but QEMU 10.0 does not always come through a boot or a nested guest so,
and what it loses is begun again or given up. By the wall clock it runs freely on three processors.
CHV_STAGE is the staged installation of chvd.
"""

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path

import parts
import report

sys.path.insert(0, str(parts.HERE.parents[1] / 'system'))
import assets  # noqa: E402
import machine  # noqa: E402

TREE = machine.TREE
LIMIT = 6 * 3600
# Of the disks: that of a fast NVMe drive, or none, so that only what the monitors do is counted.
LATENCY_NS = {'wall': 10000, 'counted': 0}
ALWAYS = ['chvd', 'qemu-q35', 'qemu-microvm']
# chvd with an option of the data disk: with --only.
WHEN_NAMED = ['chvd-poll', 'chvd-registered', 'chvd-iopoll']


def adapted(disk, counted):
    """Changes QEMU's command line for the emulated machine: a disk more, and instructions as time."""

    def adapt(argv):
        argv = list(argv)
        argv += ['-drive', f'if=none,id=bench,file={disk}/bench.erofs,format=raw,readonly=on',
                 '-device', 'virtio-blk-pci,drive=bench']
        if counted:
            at = argv.index('-accel')
            argv[at + 1] = 'tcg,thread=single'
            argv[argv.index('-smp') + 1] = '1'
            argv[argv.index('-append') + 1] = machine.KERNEL_WORDS.replace('isolcpus=0', '')
            argv += ['-icount', 'shift=0,sleep=off']
        return argv

    return adapt


class Lines:
    """A sink for the machine's output: whole lines go to a function."""

    def __init__(self, take):
        self.take, self.held = take, b''

    def write(self, data):
        self.held += data
        while b'\n' in self.held:
            line, self.held = self.held.split(b'\n', 1)
            self.take(line.decode(errors='replace'))

    def flush(self):
        pass


def measure(args, peers, mode):
    rows = []

    def take(line):
        if line.startswith('{'):
            rows.append(json.loads(line))
            print(f"# {time.strftime('%T')} {mode}, round {rows[-1]['round']} {rows[-1]['peer']} {rows[-1]['row']}",
                  file=sys.stderr, flush=True)
        elif line:
            print(line, file=sys.stderr, flush=True)

    argv = ['tests/bench/compare/inside.py', args.rounds, LATENCY_NS[mode],
            ','.join(args.row or ['all']), *peers]
    command = (f"mkdir -p /bench && mount -t erofs -o ro /dev/vde /bench && "
               f"export CHV_STAGE={shlex.quote(os.environ['CHV_STAGE'])}; "
               f'exec python3 {shlex.join(str(a) for a in argv)}')
    with tempfile.TemporaryDirectory(prefix='run-', dir=assets.CACHE) as state:
        with machine.Machine(assets.build(), Path(state), restore=False, out=Lines(take),
                             err=Lines(take), adapt=adapted(parts.disk(), mode == 'counted')) as m:
            if int(m.ask(f'mount {shlex.quote(str(TREE))}', 'exit')):
                raise machine.MachineFailed('the checkout cannot be mounted')
            status = m.run(command, TREE, LIMIT)
    if status:
        raise SystemExit(f'the measurement ended with status {status}')
    return rows


def main():
    parser = argparse.ArgumentParser(description='chvd and its peers, measured side by side')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--mode', choices=['counted', 'wall', 'both'], default='wall')
    parser.add_argument('--only', action='append', help='measure these peers alone; also ' + ', '.join(WHEN_NAMED))
    parser.add_argument('--peer', action='append', default=[], metavar='NAME=PROGRAM',
                        help='cloud-hypervisor, firecracker, or chvd-before (a chv-vmm of '
                        'another build), below the checkout')
    parser.add_argument('--row', action='append', help="do these of the guest's works alone")
    parser.add_argument('--out', type=Path, default=Path('build/compare'))
    args = parser.parse_args()
    peers = [p for p in ALWAYS + args.peer if not args.only or p.split('=')[0] in args.only]
    peers += [p for p in WHEN_NAMED if p in (args.only or [])]
    args.out.mkdir(parents=True, exist_ok=True)
    modes = ['counted', 'wall'] if args.mode == 'both' else [args.mode]
    report.write({mode: measure(args, peers, mode) for mode in modes}, args.out)


if __name__ == '__main__':
    main()
