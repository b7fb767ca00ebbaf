#!/usr/bin/env python3
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
"""Makes a table and a plot of what compare.py measured: medians, spread, and the ratio to each peer.

  report.py JSON               prints the table of an earlier run
"""

import json
import statistics
import sys
from html import escape
from math import log2
from pathlib import Path

US = 'chvd'
NS_PER_MS = 1e6

# row of the report: (row of the data, number, unit, whether less is better)


def per_request(row, key):
    def number(v):
        requests = v['iops'] * v['ms'] / 1000 if 'iops' in v else v['amount']
        value = sum(v['exits'].values()) if key == 'exits' else v[key]
        return value / requests if requests else None

    return row, number


def plain(row, key, scale=1.0):
    return row, lambda v: v[key] / scale if key in v else None


def mib_per_s(row):
    return row, lambda v: v['amount'] / 2**20 / (v['ns'] / 1e9) if 'ns' in v else None


def per_mib(row, key):
    def number(v):
        mib = v['amount'] / 2**20
        return (sum(v['exits'].values()) if key == 'exits' else v[key]) / mib

    return row, number


BLOCK = [f'{op}-{size}-{depth}' for op in ('read', 'write') for size in ('4k', '128k')
         for depth in (1, 32)]

MAPPED = ['qcow2-read-4k-32', 'qcow2-write-4k-32']

REPORT = [
    ('start to first instruction', *plain('start', 'start-first-instruction-ns', NS_PER_MS), 'ms',
     True),
    ('start to kernel', *plain('start', 'start-kernel-ns', NS_PER_MS), 'ms', True),
    ('start to user space', *plain('start', 'start-user-space-ns', NS_PER_MS), 'ms', True),
    ('memory, private', *plain('start', 'memory-private-kib'), 'KiB', True),
    ('memory, shared', *plain('start', 'memory-shared-kib'), 'KiB', True),
    ('exits in 5 s of rest', 'idle', lambda v: sum(v['exits'].values()), '', True),
    *((f'{row} rate', *plain(row, 'iops'), '/s', False) for row in BLOCK),
    *((f'{row} instructions', *per_request(row, 'busy-ns'), 'each', True) for row in BLOCK),
    *((f'{row} exits', *per_request(row, 'exits'), 'each', True) for row in BLOCK),
    *((f'{row} switches', *per_request(row, 'switches'), 'each', True) for row in BLOCK),
    *((f'{row} rate', *plain(row, 'iops'), '/s', False) for row in MAPPED),
    *((f'{row} instructions', *per_request(row, 'busy-ns'), 'each', True) for row in MAPPED),
    *((f'{row} exits', *per_request(row, 'exits'), 'each', True) for row in MAPPED),
    *((f'{row} switches', *per_request(row, 'switches'), 'each', True) for row in MAPPED),
    ('fsync rate', *plain('fsync', 'iops'), '/s', False),
    ('fsync exits', *per_request('fsync', 'exits'), 'each', True),
    ('fsync switches', *per_request('fsync', 'switches'), 'each', True),
    ('net send', *mib_per_s('net-send'), 'MiB/s', False),
    ('net receive', *mib_per_s('net-receive'), 'MiB/s', False),
    ('net send exits', *per_mib('net-send', 'exits'), 'per MiB', True),
    ('net receive exits', *per_mib('net-receive', 'exits'), 'per MiB', True),
    ('net send instructions', *per_mib('net-send', 'busy-ns'), 'per MiB', True),
    ('net receive instructions', *per_mib('net-receive', 'busy-ns'), 'per MiB', True),
    ('net request and response', 'net-rr',
     lambda v: v['ns'] / v['amount'] / 1000 if 'ns' in v else None, 'us', True),
    ('net rr exits', *per_request('net-rr', 'exits'), 'each', True),
    ('net rr instructions', *per_request('net-rr', 'busy-ns'), 'each', True),
]


def summary(rows):
    """[(title, unit, less is better, {peer: (median, spread in per cent)})]"""
    peers = list(dict.fromkeys(r['peer'] for r in rows))
    table = []
    for title, row, number, unit, less in REPORT:
        cells = {}
        for peer in peers:
            values = [number(r) for r in rows if r['peer'] == peer and r['row'] == row]
            values = [v for v in values if v is not None]
            if values:
                middle = statistics.median(values)
                spread = (max(values) - min(values)) / middle * 100 if middle else 0.0
                cells[peer] = middle, spread
        if cells:
            table.append((title, unit, less, cells))
    return peers, table


def ratio(less, ours, theirs):
    """Above 1: chvd is better."""
    if not ours or not theirs:
        return None
    return theirs / ours if less else ours / theirs


HEADS = {
    'counted': 'Instructions taken for time, one processor.',
    'wall': 'By the clock, three emulated processors: noisy, compare the ratios.',
}


def table_text(rows):
    peers, table = summary(rows)
    lines = [f"{'':30}{'':9}" + ''.join(f'{p:>24}' for p in peers)]
    for title, unit, less, cells in table:
        line = f'{title:30}{unit:9}'
        for peer in peers:
            if peer not in cells:
                line += f"{'-':>24}"
                continue
            middle, spread = cells[peer]
            cell = f'{middle:.4g} ±{spread:.1f}%'
            r = ratio(less, cells[US][0], middle) if US in cells and peer != US else None
            line += f"{cell + (f' ({r:.2f})' if r else ''):>24}"
        lines.append(line)
    return '\n'.join(lines) + '\n'


def text(modes):
    parts = ['Median, spread (max - min) and in brackets how many times better chvd is than the '
             'peer.\n']
    for mode, rows in modes.items():
        rounds = len({r['round'] for r in rows})
        parts.append(f"{HEADS[mode]} {rounds} interleaved round{'s' if rounds > 1 else ''}.\n\n" +
                     table_text(rows))
    return '\n'.join(parts)


def svg(rows):
    """A bar for each row and peer: how many times better chvd is, on a scale of powers of two."""
    peers, table = summary(rows)
    others = [p for p in peers if p != US]
    colours = ['#3465a4', '#73d216', '#f57900', '#75507b']
    bar, left, width = 9, 230, 560
    rows_out, y = [], 40
    for title, _, less, cells in table:
        rows_out.append(f'<text x="{left - 8}" y="{y + bar * len(others) / 2 + 3:.0f}" '
                        f'text-anchor="end">{escape(title)}</text>')
        for i, peer in enumerate(others):
            r = ratio(less, cells[US][0], cells[peer][0]) if US in cells and peer in cells else None
            if not r:
                continue
            x = max(-3.0, min(3.0, log2(r))) * width / 6
            start = left + width / 2 + min(x, 0)
            rows_out.append(f'<rect x="{start:.1f}" y="{y + i * bar}" width="{abs(x):.1f}" '
                            f'height="{bar - 1}" fill="{colours[i % 4]}"/>')
        y += bar * len(others) + 8
    grid = ''.join(f'<line x1="{left + width * i / 6:.0f}" x2="{left + width * i / 6:.0f}" y1="30" '
                   f'y2="{y}" stroke="#bbb"/><text x="{left + width * i / 6:.0f}" y="24" '
                   f'text-anchor="middle">{label}</text>'
                   for i, label in enumerate(('1/8', '1/4', '1/2', '1', '2', '4', '8')))
    legend = ''.join(f'<rect x="{left + 160 * i}" y="{y + 12}" width="12" height="12" '
                     f'fill="{colours[i % 4]}"/><text x="{left + 160 * i + 18}" y="{y + 22}">'
                     f'against {escape(p)}</text>' for i, p in enumerate(others))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 30}" '
            f'height="{y + 40}" font-family="sans-serif" font-size="11">'
            f'<rect width="100%" height="100%" fill="white"/>'
            f'<text x="8" y="14">Right of 1: chvd is better, so many times.</text>'
            f"{grid}{''.join(rows_out)}{legend}</svg>\n")


def write(modes, out):
    """modes: {'counted': rows, 'wall': rows}, one or both."""
    (out / 'report.json').write_text(json.dumps(modes, indent=1) + '\n')
    (out / 'report.txt').write_text(text(modes))
    (out / 'report.svg').write_text(svg(next(iter(modes.values()))))
    print(text(modes))
    print(f'# written: {out}/report.json, .txt and .svg')


if __name__ == '__main__':
    print(text(json.loads(Path(sys.argv[1]).read_text())), end='')
