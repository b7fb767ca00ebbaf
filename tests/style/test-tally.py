#!/usr/bin/env python3
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
"""Proves that tests/tally.py counts what ran, and that a skip nobody allowed is a failure in continuous integration."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

TALLY = pathlib.Path(__file__).resolve().parents[1] / "tally.py"
SKIPS = """# a comment
prog-*  /a/*  no *
whole   -     no /dev/kvm*
"""


def tally(text, ci=False):
    with tempfile.TemporaryDirectory() as folder:
        log, skips = pathlib.Path(folder, "log"), pathlib.Path(folder, "skips")
        log.write_text(text, encoding="utf-8")
        skips.write_text(SKIPS, encoding="utf-8")
        env = dict(os.environ, CHV_SKIPS=str(skips), CI="true" if ci else "")
        done = subprocess.run([TALLY, log], env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip(), done.stderr


def meson(name, out, result="OK"):
    return json.dumps({"name": f"chvd:unit / {name}", "stdout": out, "result": result}) + "\n"


def check(text, usual, in_ci):
    assert tally(text)[0] == usual, tally(text)
    assert tally(text, ci=True)[0] == in_ci, tally(text, ci=True)


def counts():
    check(meson("prog-x", "1..3\nok 1 /a/b\nnot ok 2 /a/c\nok 3 /a/d\n", "FAIL"), "2 1 0", "2 1 0")
    check(meson("prog-x", "1..2\nok 1 /a/b\n", "TIMEOUT"), "1 1 0", "1 1 0")
    check(meson("plain", "", "OK") + meson("plain", "", "FAIL"), "1 1 0", "1 1 0")


def allowed_skips():
    check(meson("prog-x", "1..2\nok 1 /a/b # SKIP no luck\nok 2 /a/c\n"), "1 0 1", "1 0 1")
    check(meson("whole", "1..0 # SKIP /dev/kvm\n", "SKIP"), "0 0 1", "0 1 0")
    check(meson("whole", "1..0 # SKIP no /dev/kvm: gone\n", "SKIP"), "0 0 1", "0 0 1")


def other_skips():
    for name, case, reason in (("prog-x", "/b/c", "no luck"), ("prog-x", "/a/b", "yes"), ("other", "/a/b", "no luck")):
        check(meson(name, f"1..1\nok 1 {case} # SKIP {reason}\n"), "0 0 1", "0 1 0")
    assert "NOT ALLOWED" in tally(meson("other", "1..1\nok 1 /a # SKIP x\n"))[1]
    check(meson("plain", "", "SKIP"), "0 0 1", "0 1 0")


def system_suite():
    check("1..2\nok 1 - boot-x # 3.0 s\nok 2 - package # SKIP no packages\n", "1 0 1", "1 1 0")


def the_list_is_well_formed():
    for number, line in enumerate((TALLY.parent / "skips").read_text(encoding="utf-8").splitlines(), 1):
        if line and line[0] != "#":
            assert len(line.split(maxsplit=2)) == 3, f"tests/skips:{number}: {line}"


TESTS = [counts, allowed_skips, other_skips, system_suite, the_list_is_well_formed]


def main():
    print(f"1..{len(TESTS)}")
    failed = False
    for n, test in enumerate(TESTS, 1):
        try:
            test()
            print(f"ok {n} - {test.__name__}")
        except AssertionError as e:
            failed = True
            print(f"not ok {n} - {test.__name__}")
            for line in str(e).splitlines():
                print(f"# {line}")
    return 1 if failed else 0


sys.exit(main())
