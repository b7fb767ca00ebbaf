#!/usr/bin/env python3
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
"""tally.py FILE: counts test results for ./dev.

FILE is meson's testlog.json or the TAP output of the system suite. Prints "passed failed skipped" on
standard output, counting subtests; the reason of every skipped and the output of every failed one
go to standard error.

A skip that no line of tests/skips (CHV_SKIPS: another file) allows is pointed out, and with CI=true it
counts as failed: a suite that quietly runs less proves less.
"""

import fnmatch
import json
import os
import pathlib
import re
import sys

RESULT = re.compile(r'^(not )?ok\b(?: +\d+)?(?: +- *| +)?([^#]*)(?:# *(SKIP)\b *(.*))?', re.I)


CI = os.environ.get('CI') == 'true'


def read_allowed():
    path = os.environ.get('CHV_SKIPS') or pathlib.Path(__file__).with_name('skips')
    with open(path, encoding='utf-8') as f:
        return [line.split(maxsplit=2) for line in map(str.strip, f) if line and line[0] != '#']


ALLOWED = read_allowed()


def count_skip(counts, name, case, reason):
    """Adds a skip to counts. name: of the program; case: within it, '-' for all of it."""
    program = name.rpartition(' / ')[2]
    reason = reason.strip() or 'no reason given'
    allowed = any(fnmatch.fnmatchcase(program, p) and fnmatch.fnmatchcase(case, c) and
                  fnmatch.fnmatchcase(reason, r) for p, c, r in ALLOWED)
    counts[1 if CI and not allowed else 2] += 1
    print(f"  skipped: {name} {case}: {reason}{'' if allowed else ' (NOT ALLOWED by tests/skips)'}",
          file=sys.stderr)


def count_tap(name, text):
    """Counts of a TAP text as [passed, failed, skipped]; None when it has no result."""
    counts = [0, 0, 0]
    for line in text.splitlines():
        bail = line.startswith('Bail out!')
        m = RESULT.match(line)
        if m and m.group(3):
            count_skip(counts, name, m.group(2).strip() or '-', m.group(4))
        elif m or bail:
            counts[1 if bail or m.group(1) else 0] += 1
        elif re.match(r'^1\.\.0\b', line):
            count_skip(counts, name, '-', re.sub(r'^SKIP\b', '', line.partition('#')[2].strip()))
    return counts if any(counts) else None


def count_meson(text):
    total = [0, 0, 0]
    for line in text.splitlines():
        test = json.loads(line)
        result, out = test['result'], test.get('stdout', '')
        counts = count_tap(test['name'], out)
        if counts is None:
            counts = {'OK': [1, 0, 0], 'EXPECTEDFAIL': [1, 0, 0],
                      'SKIP': [0, 0, 0]}.get(result, [0, 1, 0])
            if result == 'SKIP':
                count_skip(counts, test['name'], '-', out)
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
        counts = count_tap('system', text) or [0, 0, 0]
    print(*counts)


main()
