#!/usr/bin/env python3
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
"""Checks what a compiler does not: licence lines, which floor includes which, layout, length, promises in comments.

Prints TAP; every rule is one test, and a failing one lists file and line.
"""
import pathlib
import re
import shutil
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]

# A folder and the include prefixes that are closed to it (docs/architecture.md).
CLOSED = {
    "hypervisor": ["devices/", "dbus/", "daemon/", "chvctl/", "gio/", "glib-object", "glib-unix"],
    "devices": ["dbus/", "daemon/", "chvctl/", "gio/", "glib-object", "glib-unix"],
    "dbus": ["hypervisor/", "devices/", "daemon/", "chvctl/"],
    "daemon/chvd": ["hypervisor/", "devices/", "daemon/vmm/", "chvctl/"],
    "daemon/vmm": ["daemon/chvd/", "daemon/image/", "chvctl/"],
    "daemon/image": ["dbus/", "daemon/chvd/", "daemon/vmm/", "chvctl/", "gio/", "glib-object", "glib-unix"],
    "chvctl": ["hypervisor/", "devices/", "daemon/"],
}
# Above the backend nothing may speak of KVM, and nothing below daemon/ but the architecture of one.
BACKEND = "hypervisor/kvm"
LINES_MAX = 1000
PROMISES = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
CODE = {".c", ".h"}
LICENSED = CODE | {".py", ".sh", ".build", ".xml", ".rst"}


def tracked():
    # Not in a checkout (a release tarball): every file there is.
    git = subprocess.run(["git", "-C", TOP, "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True)
    if git.returncode == 0:
        return [TOP / line for line in git.stdout.splitlines() if (TOP / line).is_file()]
    return [p for p in TOP.rglob("*") if p.is_file() and "build" not in p.parts]


FILES = tracked()
SOURCES = [p for p in FILES if p.suffix in CODE]


def lines(path):
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def code_lines(path):
    """Lines without comments; line numbers stay."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return re.sub(r"/\*.*?\*/", lambda found: "\n" * found[0].count("\n"), text, flags=re.S).splitlines()


def licences():
    for p in FILES:
        if (p.suffix in LICENSED or p.name == "meson.build") and p.suffix != ".md":
            head = "\n".join(lines(p)[:8])
            if "SPDX-FileCopyrightText:" not in head or "SPDX-License-Identifier: Apache-2.0" not in head:
                yield f"{p.relative_to(TOP)}: lacks its two SPDX lines"


def floors():
    for p in SOURCES:
        rel = p.relative_to(TOP).as_posix()
        for folder, closed in CLOSED.items():
            if not rel.startswith(folder + "/"):
                continue
            for n, line in enumerate(lines(p), 1):
                found = re.match(r'\s*#\s*include\s+["<]([^">]+)', line)
                if found and any(found[1].startswith(c) for c in closed):
                    yield f"{rel}:{n}: {folder}/ may not include {found[1]}"


def backend():
    for p in SOURCES:
        rel = p.relative_to(TOP).as_posix()
        if not rel.startswith(("hypervisor/", "devices/", "daemon/")) or rel.startswith((BACKEND + "/", "hypervisor/arch/")):
            continue
        for n, line in enumerate(code_lines(p), 1):
            if re.search(r"<linux/kvm\.h>|\bKVM_[A-Z]", line):
                yield f"{rel}:{n}: speaks of KVM outside {BACKEND}/"


def length():
    for p in SOURCES:
        if len(lines(p)) > LINES_MAX:
            yield f"{p.relative_to(TOP)}: {len(lines(p))} lines, more than {LINES_MAX}"


def promises():
    for p in FILES:
        if p == pathlib.Path(__file__).resolve() or p.suffix not in LICENSED:
            continue
        for n, line in enumerate(lines(p), 1):
            if PROMISES.search(line):
                yield f"{p.relative_to(TOP)}:{n}: {line.strip()}"


def cleanup():
    for p in SOURCES:
        for n, line in enumerate(lines(p), 1):
            if re.match(r"\s*goto\s", line):
                yield f"{p.relative_to(TOP)}:{n}: goto"


def headers():
    for p in SOURCES:
        if p.suffix == ".h" and "#pragma once" not in "\n".join(lines(p)[:6]):
            yield f"{p.relative_to(TOP)}: lacks #pragma once"


def layout():
    if not shutil.which("clang-format"):
        yield "clang-format is not installed"
        return
    done = subprocess.run(
        ["clang-format", "--dry-run", "--ferror-limit=1", *map(str, SOURCES)], cwd=TOP, capture_output=True, text=True)
    yield from (line for line in done.stderr.splitlines() if "warning:" in line or "error:" in line)


RULES = [licences, floors, backend, length, promises, cleanup, headers, layout]


def main():
    print(f"1..{len(RULES)}")
    failed = False
    for n, rule in enumerate(RULES, 1):
        faults = list(rule())
        failed |= bool(faults)
        print(f"{'not ok' if faults else 'ok'} {n} - {rule.__name__}")
        for fault in faults[:50]:
            print(f"# {fault}")
    return 1 if failed else 0


sys.exit(main())
