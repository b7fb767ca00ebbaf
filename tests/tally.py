#!/usr/bin/env python3
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
"""tally.py FILE: counts test results for ./dev.

FILE is meson's testlog.json or the TAP output of one program. Prints "passed failed skipped" on
standard output, counting subtests; the reason of every skipped and the output of every failed one
go to standard error.
"""

import json
import re
import sys

RESULT = re.compile(r'^(not )?ok\b(?: +\d+)?(?: +- *| +)?([^#]*)(?:# *(SKIP)\b *(.*))?', re.I)


def count_tap(name, text):
    """Counts of a TAP text as [passed, failed, skipped]; None when it has no result."""
    counts = [0, 0, 0]
    for line in text.splitlines():
        bail = line.startswith('Bail out!')
        m = RESULT.match(line)
        if m and m.group(3):
            counts[2] += 1
            print(f'  skipped: {name} {m.group(2).strip()}: {m.group(4)}', file=sys.stderr)
        elif m or bail:
            counts[1 if bail or m.group(1) else 0] += 1
        elif re.match(r'^1\.\.0\b', line):
            counts[2] += 1
            print(f"  skipped: {name}: {line.partition('#')[2].strip()}", file=sys.stderr)
    return counts if any(counts) else None


def count_meson(text):
    total = [0, 0, 0]
    for line in text.splitlines():
        test = json.loads(line)
        result, out = test['result'], test.get('stdout', '')
        counts = count_tap(test['name'], out)
        if counts is None:
            counts = {'OK': [1, 0, 0], 'EXPECTEDFAIL': [1, 0, 0],
                      'SKIP': [0, 0, 1]}.get(result, [0, 1, 0])
            if counts[2]:
                print(f"  skipped: {test['name']}: {out.strip() or 'no reason given'}",
                      file=sys.stderr)
        elif result not in ('OK', 'SKIP', 'EXPECTEDFAIL') and not counts[1]:
            # Every line was fine, yet the program crashed, ran too long or stopped half-way.
            counts[1] = 1
        if counts[1]:
            print(f"--- {test['name']}: {result}\n{out}{test.get('stderr', '')}", file=sys.stderr)
        total = [a + b for a, b in zip(total, counts)]
    return total


def main():
    with open(sys.argv[1], encoding='utf-8', errors='replace') as f:
        text = f.read()
    if text.startswith('{'):
        counts = count_meson(text)
    else:
        counts = count_tap('', text) or [0, 0, 0]
    print(*counts)


main()
