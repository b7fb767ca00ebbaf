#!/usr/bin/env python3
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
"""expect.py SECONDS COMMAND...: talks to a program on a terminal as a person would.

Standard input is the script: "< TEXT" waits until the program has printed TEXT (a regular
expression; escape sequences are left out) since the last match, "> TEXT" types it and Enter,
"^ X" types Ctrl-X, "@ ROWS COLUMNS" gives the terminal another size. What the program prints is
passed on. The end of the script hangs up. Status: 0 when the script was played through, 1 when a
text did not come in time or the program ended first.
"""

import os
import pty
import re
import select
import signal
import sys
import termios
import time

ESCAPES = re.compile(r'\x1b\[[0-9;?]*[A-Za-z]|\r')


def main():
    limit, argv = float(sys.argv[1]), sys.argv[2:]
    script = [line.rstrip('\n') for line in sys.stdin if line.strip()]
    pid, fd = pty.fork()
    if pid == 0:
        try:
            os.execvp(argv[0], argv)
        except OSError as e:
            print(f'{argv[0]}: {e.strerror}')
            os._exit(127)
    deadline = time.monotonic() + limit
    seen = ''

    def wait_for(pattern):
        nonlocal seen
        while True:
            match = re.search(pattern, seen)
            if match:
                seen = seen[match.end():]
                return
            left = max(0, deadline - time.monotonic())
            if not select.select([fd], [], [], left)[0]:
                sys.exit(f'\nexpect: no "{pattern}" within {limit:g} s')
            try:
                data = os.read(fd, 65536)
            except OSError:
                sys.exit(f'\nexpect: no "{pattern}": the program ended')
            sys.stdout.buffer.write(data)
            sys.stdout.flush()
            seen = ESCAPES.sub('', seen + data.decode(errors='replace'))

    for line in script:
        verb, text = line[0], line[2:]
        if verb == '<':
            wait_for(text)
        elif verb == '>':
            os.write(fd, text.encode() + b'\r')
        elif verb == '^':
            os.write(fd, bytes([ord(text[0].upper()) ^ 0x40]))
        elif verb == '@':
            termios.tcsetwinsize(fd, tuple(map(int, text.split())))
        else:
            sys.exit(f'expect: bad line "{line}"')
    time.sleep(0.1)
    os.kill(pid, signal.SIGHUP)


main()
