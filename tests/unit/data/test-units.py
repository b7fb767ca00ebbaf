#!/usr/bin/env python3
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
"""Proves what systemd itself thinks of the units: nothing in them is unknown or wrong, what chvd.service and the unit
of a VM's process may do stays within limits, and each protection that they do without is spoken of in their files.

usage: test-units.py CHVD WORKER UNIT...  (prints TAP)
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

# Tenths, as `systemd-analyze security` shows it.
LIMITS = {"chvd.service": 25, "chv-web1.service": 10, "chvd-open-1-1.service": 31, "chvd-passt-1-1.service": 31}

# What is read for which transient unit, and what chvd sets of that one at run time, beside the program.
TRANSIENT = {
    "10-worker.conf": ("chv-.service.d", "chv-web1.service", "Type=forking\n"),
    "50-passt.conf": ("chvd-passt-.service.d", "chvd-passt-1-1.service", "User=daemon\n"),
    "50-opener.conf": ("chvd-open-.service.d", "chvd-open-1-1.service", "Type=exec\nUser=daemon\n"),
}


def analyze(*words, path):
    # Colours and a pager would be in the way; units of the machine are not ours to judge.
    env = {**os.environ, "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "SYSTEMD_UNIT_PATH": f"{path}:/lib/systemd/system"}
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, env=env)


def copies(chvd, worker, units, folder):
    """The units as they will be installed, but for the program, which is the one just built, and a VM's, of which chvd
    sets little more than the program at run time."""
    for unit in map(pathlib.Path, units):
        text = unit.read_text()
        if unit.suffix == ".conf":
            yield from transient_unit(worker, text, unit.name, folder)
            continue
        if unit.suffix == ".service":
            text, n = re.subn(r"(?m)^(ExecStart=)\S+", rf"\g<1>{os.path.abspath(chvd)}", text)
            assert n == 1, f"{unit}: {n} lines of ExecStart="
        (folder / unit.name).write_text(text)
        yield folder / unit.name


def transient_unit(program, text, name, folder):
    drop_ins, unit, more = TRANSIENT[name]
    (folder / drop_ins).mkdir()
    (folder / drop_ins / name).write_text(text)
    file = folder / unit
    file.write_text(f"[Service]\n{more}ExecStart={os.path.abspath(program)}\n")
    yield file


def text_of(file):
    """What is in force for a unit."""
    drop_ins = [f for f in file.parent.glob("*-.service.d/*") if file.name.startswith(f.parent.name[: -len(".service.d")])]
    return "\n\n".join(f.read_text() for f in [file, *drop_ins])


def wrong_units(files):
    for file in files:
        done = analyze("verify", "--man=no", "--recursive-errors=no", str(file), path=file.parent)
        yield from done.stderr.splitlines()
        if done.returncode and not done.stderr:
            yield f"{file.name}: systemd-analyze verify ends with {done.returncode}"


def a_wrong_unit_is_seen(files):
    """The check above would say so if something were wrong."""
    file = next(f for f in files if f.name == "chvd.service")
    bad = file.parent / "bad.service"
    bad.write_text(file.read_text().replace("[Service]\n", "[Service]\nProtectEverything=yes\n"))
    if not list(wrong_units([bad])):
        yield "an unknown setting passes"


def exposure(files):
    services = {f.name: f for f in files if f.suffix == ".service"}
    if set(services) != set(LIMITS):
        yield f"services are {sorted(services)}, and there are limits for {sorted(LIMITS)}"
    for name, file in services.items():
        done = analyze("security", "--offline=true", f"--threshold={LIMITS.get(name, 0)}", "--no-pager", str(file),
                       path=file.parent)
        if done.returncode:
            yield from [line for line in done.stdout.splitlines() if line.startswith(("✗", "→"))] or [done.stderr]


def reasons(files):
    for file in [f for f in files if f.suffix == ".service"]:
        done = analyze("security", "--offline=true", "--json=short", str(file), path=file.parent)
        blocks = [b for b in text_of(file).split("\n\n") if re.search(r"(?m)^#", b)]
        for row in json.loads(done.stdout):
            # "~CAP_SYS_ADMIN" is a value; alternatives are joined by slashes.
            names = re.findall(r"\w+(?==)", row["name"])
            if row["set"] is False and not any(re.search(rf"\b{name}\b", b) for name in names for b in blocks):
                yield f"{file.name}: {row['name']}: not set, and no comment says why"


TESTS = [wrong_units, a_wrong_unit_is_seen, exposure, reasons]


def main(chvd, worker, *units):
    if not shutil.which("systemd-analyze"):
        print("1..0 # SKIP systemd-analyze is not installed")
        return 0
    failed = False
    print(f"1..{len(TESTS)}")
    with tempfile.TemporaryDirectory() as folder:
        files = list(copies(chvd, worker, units, pathlib.Path(folder)))
        for n, test in enumerate(TESTS, 1):
            faults = list(test(files))
            failed |= bool(faults)
            print(f"{'not ok' if faults else 'ok'} {n} - {test.__name__}")
            for fault in faults:
                print(f"# {fault}")
    return 1 if failed else 0


sys.exit(main(*sys.argv[1:]))
