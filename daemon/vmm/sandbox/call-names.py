#!/usr/bin/env python3
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
"""Prints a C table of the system calls' names by number, from the compiler's <sys/syscall.h>: libseccomp has these names too, but
allocates to tell them, and a handler of SIGSYS cannot."""
import re
import subprocess
import sys

macros = subprocess.run(
    sys.argv[1:] + ["-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"],
    capture_output=True, text=True, check=True).stdout
calls = {int(n): name for name, n in re.findall(r"^#define __NR_(\w+) (\d+)$", macros, re.M)}
print("/* Made by call-names.py. */\n#pragma once\n\nstatic const char *const call_names[] = {")
for n in sorted(calls):
    print(f'        [{n}] = "{calls[n]}",')
print("};")
