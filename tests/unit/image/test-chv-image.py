#!/usr/bin/env python3
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
"""Proves, with the program itself: what is wrong is refused with a sentence and a status, and nothing is left behind; files that
are in use, there already, or no files at all are left alone; an image reaches no file that was not granted; what each verb
makes, qemu-img understands, and the other way round; chvctl passes everything on.

usage: test-chv-image.py CHV-IMAGE CHVCTL  (prints TAP)
"""
import contextlib
import fcntl
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import zlib

CHV_IMAGE, CHVCTL = (pathlib.Path(p).absolute() for p in sys.argv[1:3])
ENV = {**os.environ, "LC_ALL": "C.UTF-8", "CHV_IMAGE": str(CHV_IMAGE), "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent"}
QEMU_IMG = shutil.which("qemu-img")
MIB = 1 << 20


class Skipped(Exception):
    pass


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def run(*words, program=CHV_IMAGE, **kwargs):
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, env=ENV, timeout=60, **kwargs)


def good(*words, **kwargs):
    done = run(*words, **kwargs)
    check(done.returncode == 0 and not done.stderr, f"{words}: status {done.returncode}, {done.stderr}")
    return done.stdout


def bad(*words, status=1, text=""):
    done = run(*words)
    check(done.returncode == status and not done.stdout, f"{words}: status {done.returncode}, not {status}; {done.stdout}{done.stderr}")
    check(done.stderr.startswith("chvctl image: ") and done.stderr.count("\n") == 1, f"{words}: {done.stderr}")
    check(text in done.stderr, f"{words}: {done.stderr} and not {text}")


def told(*words):
    return json.loads(good(*words))


def qemu(*words):
    if not QEMU_IMG:
        raise Skipped("qemu-img is not installed")
    done = run(*words, program=QEMU_IMG)
    check(done.returncode == 0, f"qemu-img {words}: {done.stdout}{done.stderr}")
    return done.stdout


def formats(ability="read"):
    rows = [row.split() for row in good("formats").splitlines()]
    return [row[0] for row in rows if ability == "read" or ability in row[1].split(",")]


def qemu_writes(name, form, at, size):
    """Something that is not zeros, if qemu-io is there."""
    if shutil.which("qemu-io"):
        done = run("-f", form, "-c", f"write -P 7 {at} {size}", "-c", f"read -P 7 {at} {size}", name, program="qemu-io")
        check(done.returncode == 0 and "failed" not in done.stdout, f"{name}: {done.stdout}{done.stderr}")


# Where qemu-img calls a format otherwise.
QEMU_NAMES = {"vhd": "vpc"}


def qemu_name(name):
    return QEMU_NAMES.get(name, name)


@contextlib.contextmanager
def locked(path, kind):
    with open(path, "r+b") as f:
        # F_OFD_SETLK
        fcntl.fcntl(f, 37, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0))
        yield


def fill(path, size, seed, pieces=20):
    """Data in some places, zeros that are written in others, holes."""
    r = random.Random(seed)
    with open(path, "wb") as f:
        f.truncate(size)
        for n in range(pieces):
            f.seek(r.randrange(size) & ~511)
            length = min(r.choice([512, 4096, 70000, 300000]), size - f.tell())
            f.write(bytes(length) if n % 4 == 0 else r.randbytes(length))
        f.truncate(size)
    return path


def bad_lines():
    for words, text in [
            ((), "which verb?"), (("bogus",), "unknown verb 'bogus'"), (("info",), "usage: chvctl image info FILE"),
            (("info", "a", "b"), "'b' is one argument too many"), (("info", "-x"), "'info' does not know -x"),
            (("info", "--shrink", "a"), "'info' does not know --shrink"), (("info", "-f"), "--format needs a value: FORMAT"),
            (("info", "--json=1", "a"), "--json takes no value"), (("info", "-fraw", "-f", "raw", "a"), "--format is given twice"),
            (("info", ""), "the name of a file is empty"), (("create", "a"), "without --backing a size is needed"),
            (("create", "-F", "raw", "a", "1M"), "--backing-format goes with --backing"),
            (("create", "-f", "bogus", "a", "1M"), "--format: 'bogus' is no format"),
            (("info", "a"), "'a': No such file")]:
        bad(*words, text=text)
    for size in ("", "x", "-1", "+1", "1X", "1KK", "1.5G", "0x10", "99999999999999999999", "8388608T", " 1", "9223372036854775807"):
        bad("create", "a", "--", size, text="SIZE: ")
    bad("compare", "a", "b", status=2, text="'a': No such file")
    check(not os.listdir(), f"left behind: {os.listdir()}")


def bad_files():
    os.mkfifo("fifo")
    os.symlink("fifo", "link")
    os.symlink("loop", "loop")
    os.mkdir("folder")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("socket")
        for name in ("fifo", "link", "folder", "socket", "/dev/zero", "/dev/full"):
            for words in (("info", name), ("check", "-r", "all", name), ("resize", name, "1M"), ("create", name, "1M"),
                          ("convert", name, "target"), ("convert", "-n", "/dev/null", name), ("map", name)):
                bad(*words, text="is neither a regular file nor a block device")
        bad("info", "loop", text="Too many levels of symbolic links")
    check("target" not in os.listdir(), "a target without a source")


def bad_options():
    for words, text in [(("-o", "bogus=1"), "no option 'bogus'"), (("-o", "preallocation"), "has no value"),
                        (("-o", "preallocation=x"), "is not one of off, falloc, full"), (("-o", "preallocation=off", "-o", "preallocation=off"), "given twice")]:
        bad("create", *words, "a", "1M", text=text)
    good("create", "source", "1M")
    bad("convert", "-O", "bogus", "source", "a", text="--target-format: 'bogus' is no format")
    bad("convert", "-f", "bogus", "source", "a", text="'bogus' is no format")
    bad("convert", "-n", "-o", "preallocation=off", "source", "source", text="is both what is read and what is written")
    bad("check", "-r", "some", "source", text="--repair: 'some' is neither leaks nor all")
    bad("snapshot", "-l", "-c", "x", "source", text="at a time")
    bad("snapshot", "-c", "x", "source", text="raw images have no snapshots")
    bad("check", "source", status=63, text="nothing that could be checked")
    check(os.listdir() == ["source"], f"left behind: {os.listdir()}")


def overwriting():
    good("create", "a", "1M")
    os.truncate("a", 0)
    good("create", "a", "2M")
    bad("create", "a", "1M", text="is there already; --force overwrites it")
    fill("b", MIB, 1)
    before = open("b", "rb").read()
    bad("convert", "a", "b", text="is there already")
    bad("convert", "--force", "b", "b", text="is both what is read and what is written")
    os.link("b", "c")
    bad("convert", "--force", "b", "c", text="is both what is read and what is written")
    check(open("b", "rb").read() == before, "what was to be left alone has changed")
    good("convert", "--force", "a", "b")
    check(os.stat("b").st_size == 2 * MIB and not any(open("b", "rb").read()), "--force")
    good("create", "new", "1M")
    check(stat.S_IMODE(os.stat("new").st_mode) == 0o600, "others may read a new image")


def in_use():
    fill("a", MIB, 2)
    with locked("a", fcntl.F_WRLCK):
        for words in (("info",), ("check",), ("map",), ("snapshot", "-l")):
            bad(*words, "a", text="is being written by a virtual machine or another program; --force-share")
        bad("convert", "a", "b", text="--force-share")
        bad("compare", "a", "a", status=2, text="--force-share")
        for words in (("resize", "a", "+1M"), ("create", "--force", "a", "1M"), ("convert", "--force", "/dev/null", "a")):
            done = run(*words)
            check(done.returncode == 1, f"{words} in an image that is in use")
        check(told("info", "-U", "--json", "a")["virtual-size"] == MIB, "--force-share")
        good("convert", "-U", "a", "b")
    with locked("a", fcntl.F_RDLCK):
        good("info", "a")
        good("compare", "a", "b")
        bad("resize", "a", "+1M", text="is in use")
        bad("create", "--force", "a", "1M", text="is in use")
    check(os.stat("a").st_size == MIB, "an image in use has another size")
    # Snapshots of an image in use are listed, and neither made, gone back to nor deleted.
    good("create", "-f", "qcow2", "s.qcow2", "1M")
    good("snapshot", "-c", "one", "s.qcow2")
    with locked("s.qcow2", fcntl.F_RDLCK):
        check("one" in good("snapshot", "s.qcow2"), "a snapshot of an image that others read")
        for words in (("-c", "two"), ("-a", "one"), ("-d", "one")):
            bad("snapshot", *words, "s.qcow2", text="is in use")
    with locked("s.qcow2", fcntl.F_WRLCK):
        check("one" in good("snapshot", "-U", "s.qcow2"), "a snapshot of an image that is written")
    # While a virtual machine of the peer has it.
    if shutil.which("qemu-io"):
        peer = subprocess.Popen(["qemu-io", "-f", "raw", "a"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        peer.stdin.write(b"length\n")
        peer.stdin.flush()
        peer.stdout.readline()
        bad("resize", "a", "+1M", text="is in use")
        peer.communicate()


def removal():
    """A target that does not become an image is removed: when writing fails, and when the program is told to end."""
    with open("source", "wb") as f:
        f.write(b"x" * 4 * MIB)
    done = run("convert", "source", "target", preexec_fn=lambda: limit_file_size(MIB))
    check(done.returncode == 1 and "'target': " in done.stderr, f"a full disk: {done.returncode}, {done.stderr}")
    check(not os.path.exists("target"), "half a target is left after an error")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # The pipe is full: the program stops at its first line.
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b"x")
        os.set_blocking(writer, True)
        process = subprocess.Popen([CHV_IMAGE, "convert", "-p", "source", "target"], stdout=writer, env=ENV)
        while not os.path.exists("target") or os.stat("target").st_blocks == 0:
            check(process.poll() is None, "it has ended")
        process.send_signal(number)
        check(process.wait(timeout=30) == -number, f"status after signal {number}")
        check(not os.path.exists("target"), f"half a target is left after signal {number}")
        os.close(reader)
        os.close(writer)


def limit_file_size(size):
    import resource
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def closed_streams():
    good("create", "a", "1M")
    done = subprocess.run(["sh", "-c", f"{CHV_IMAGE} info a >&- 2>&- <&-; echo $?"], capture_output=True, text=True, env=ENV)
    check(done.stdout == "0\n", f"without standard streams: {done.stdout}")
    done = subprocess.run(["sh", "-c", f"{CHV_IMAGE} info a >/dev/full; echo $? >&2"], capture_output=True, text=True, env=ENV)
    check(done.stderr.endswith("1\n") and "writing to standard output" in done.stderr, f"a full output: {done.stderr}")


def sandboxed():
    """What reads images has a filter, no new privileges and no paths."""
    good("create", "source", "4M")
    with open("source", "r+b") as f:
        f.write(b"x" * MIB)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    os.set_blocking(writer, True)
    process = subprocess.Popen([CHV_IMAGE, "convert", "-p", "source", "target"], stdout=writer, env=ENV)
    try:
        while not os.path.exists("target") or os.stat("target").st_blocks == 0:
            check(process.poll() is None, "it has ended")
        child = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
        status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{child}/status").read_text().splitlines() if ":\t" in line)
        if subprocess.run(["grep", "-q", "__asan_init\\|__tsan_init", CHV_IMAGE]).returncode == 0:
            raise Skipped("sanitizers make system calls of their own")
        check(status["Seccomp"].strip() == "2", f"Seccomp is {status['Seccomp']}")
        check(status["NoNewPrivs"].strip() == "1", f"NoNewPrivs is {status['NoNewPrivs']}")
    finally:
        os.close(reader)
        process.wait()
        os.close(writer)


def info():
    fill("a", MIB + 300, 3)
    d = told("info", "--json", "a")
    check(d["virtual-size"] == MIB + 512 and d["format"] == "raw" and d["filename"] == "a", f"{d}")
    check(d["actual-size"] == os.stat("a").st_blocks * 512, f"{d}")
    text = good("info", "a")
    check("image: a\nformat: raw (recognised)\nvirtual size: 1 MiB (1049088 bytes)\n" in text, text)
    check("format: raw\n" in good("info", "-f", "raw", "a"), "a format that was said")
    os.rename("a", "evil\x1b[31m\nname")
    check("image: evil?[31m?name" in good("info", "evil\x1b[31m\nname"), "control characters of a name")
    check(json.loads(good("info", "--json", "evil\x1b[31m\nname"))["filename"] == "evil\x1b[31m\nname", "a name in JSON")


def sizes():
    for text, size in [("0", 0), ("1", 512), ("512", 512), ("1k", 1024), ("3M", 3 * MIB), ("1G", 1 << 30), ("2T", 2 << 40)]:
        good("create", "--force", "a", text)
        check(os.stat("a").st_size == size, f"{text} is {os.stat('a').st_size}")


def resizing():
    good("create", "a", "4M")
    for change, size in [("+1M", 5), ("8M", 8), ("8M", 8), ("+0", 8)]:
        good("resize", "a", change)
        check(os.stat("a").st_size == size * MIB, f"{change}")
    bad("resize", "a", "-1M", text="--shrink")
    bad("resize", "a", "7M", text="cut off its last 1048576 bytes")
    bad("resize", "--shrink", "a", "-9M", text="is too much")
    bad("resize", "a", "+8388607T", text="'a': ")
    good("resize", "--shrink", "a", "-1M")
    check(os.stat("a").st_size == 7 * MIB, "--shrink")


def comparing():
    fill("a", MIB, 4)
    shutil.copy("a", "b")
    good("compare", "a", "b")
    os.truncate("b", 2 * MIB)
    good("compare", "-q", "a", "b")
    good("compare", "b", "a")
    check(run("compare", "-s", "a", "b").returncode == 1, "--strict")
    for offset in (0, 512 * 1000 + 7, 2 * MIB - 1):
        shutil.copy("a", "b")
        os.truncate("b", 2 * MIB)
        with open("b", "r+b") as f:
            f.seek(offset)
            old = f.read(1)
            f.seek(offset)
            f.write(bytes([old[0] ^ 1]))
        for pair in (("a", "b"), ("b", "a")):
            done = run("compare", "--json", *pair)
            check(done.returncode == 1 and json.loads(done.stdout) == {"same": False, "offset": offset}, f"{offset}: {done.stdout}")
    check(run("compare", "a", "b").stdout == f"the images differ at byte {2 * MIB - 1}\n", "text")


def progress():
    fill("a", 8 * MIB, 5, pieces=100)
    rows = good("convert", "-p", "a", "b").splitlines()
    check(rows and rows[-1] == "100 %" and len(rows) <= 11, f"{rows}")
    check(good("convert", "a", "c") == "", "progress in a pipe that nobody asked for")
    check(good("convert", "-pq", "a", "d") == "", "--quiet")


def convert_into():
    """An existing target gets the zeros too."""
    fill("a", MIB, 6)
    with open("b", "wb") as f:
        f.write(b"x" * 2 * MIB)
    good("convert", "-n", "a", "b")
    content = open("b", "rb").read()
    check(content == open("a", "rb").read() + b"x" * MIB, "what was copied")
    good("create", "c", "512")
    bad("convert", "-n", "a", "c", text="'c' is too small")
    bad("convert", "-n", "a", "missing", text="No such file")
    check(os.path.exists("c"), "a target of somebody else's is removed")


def sparse():
    good("create", "a", "64G")
    with open("a", "r+b") as f:
        f.seek(40 << 30)
        f.write(b"x" * 5000 + bytes(MIB))
    good("convert", "a", "b")
    check(os.stat("b").st_blocks * 512 <= 128 * 1024, f"{os.stat('b').st_blocks} blocks")
    good("compare", "a", "b")


def through_qemu():
    """Each format both ways, with content that has holes and zeros."""
    fill("a.raw", 6 * MIB, 7)
    for name in formats():
        theirs, ours, back = f"theirs.{name}", f"ours.{name}", f"back.{name}"
        if name != "raw":
            qemu("convert", "-f", "raw", "-O", qemu_name(name), "a.raw", theirs)
        else:
            shutil.copy("a.raw", theirs)
        check(told("info", "--json", theirs)["format"] == name, f"{theirs} is not recognised")
        good("compare", "-f", name, "-F", "raw", theirs, "a.raw")
        good("convert", "-f", name, theirs, back)
        qemu("compare", "-f", "raw", "-F", "raw", "a.raw", back)
        if name not in formats("create"):
            continue
        good("convert", "-O", name, "a.raw", ours)
        qemu("compare", "-f", "raw", "-F", qemu_name(name), "a.raw", ours)
        if name not in ("raw", "vhd"):
            qemu("check", "-f", qemu_name(name), ours)
        check(run("check", "-f", name, ours).returncode in (0, 63), f"{ours} is not clean")
        size = json.loads(qemu("info", "--output=json", "-f", qemu_name(name), ours))["virtual-size"]
        check(size >= 6 * MIB, f"{ours}: qemu-img reads {size} bytes")


def every_pair():
    """From each format to each that can be made."""
    fill("a", 3 * MIB, 21)
    for source in formats("create"):
        good("convert", "-O", source, "a", f"a.{source}")
        for target in formats("create"):
            good("convert", "-f", source, "-O", target, f"a.{source}", f"{source}.{target}")
            good("compare", "-F", target, "-f", "raw", "a", f"{source}.{target}")
            qemu("compare", "-F", qemu_name(target), "-f", "raw", "a", f"{source}.{target}")


def many_blocks():
    """Tables that are more than a page, with what libraries do when there is much of it."""
    with open("a", "wb") as f:
        f.truncate(800 * MIB)
        for n in range(400):
            f.seek(n * 2 * MIB + n * 512)
            f.write(b"x")
    for name in formats("create"):
        good("convert", "-O", name, "a", f"a.{name}")
        check(run("check", "-f", name, f"a.{name}").returncode in (0, 63), name)
        good("map", "-f", name, f"a.{name}")
        good("info", f"a.{name}")
        good("compare", "-f", "raw", "-F", name, "a", f"a.{name}")


def maps():
    fill("a.raw", 4 * MIB, 8)
    for name in formats():
        qemu("convert", "-f", "raw", "-O", qemu_name(name), "a.raw", f"a.{name}") if name != "raw" else None
        ours = told("map", "--json", "-f", name, f"a.{name}")
        theirs = json.loads(qemu("map", "--output=json", "-f", qemu_name(name), f"a.{name}"))
        end = 0
        for piece in ours:
            check(piece["start"] == end, f"{name}: a gap at {end}")
            end += piece["length"]
        check(end == told("info", "--json", "-f", name, f"a.{name}")["virtual-size"], f"{name}: it ends at {end}")
        # Where data lies they agree; zeros within what is allocated one sees and the other does not.
        with open("a.raw", "rb") as f:
            raw = f.read()
        for piece in ours:
            if not piece["data"]:
                check(not any(raw[piece["start"]:piece["start"] + piece["length"]]), f"{name}: data at {piece} is called zeros")
            elif "offset" in piece and not piece["compressed"]:
                with open(piece["filename"], "rb") as f:
                    f.seek(piece["offset"])
                    check(f.read(piece["length"]).ljust(piece["length"], b"\0")[:len(raw) - piece["start"]] == raw[piece["start"]:piece["start"] + piece["length"]], f"{name}: {piece}")
        check(sum(p["length"] for p in ours if p["data"]) >= sum(p["length"] for p in theirs if p["data"] and not p["zero"]) or name == "raw", name)


def resizing_formats():
    """What was there stays, what comes is zeros, and the peer agrees, in each format that can be resized."""
    fill("source", 5 * MIB, 13)
    with open("source", "r+b") as f:
        f.seek(5 * MIB - 3000)
        f.write(b"z" * 3000)
    done = 0
    for name in formats("create"):
        good("convert", "-O", name, "source", f"a.{name}")
        result = run("resize", "-f", name, f"a.{name}", "9M")
        if result.returncode != 0:
            check("cannot be resized" in result.stderr, result.stderr)
            continue
        done += 1
        with open("longer", "wb") as f:
            f.write(open("source", "rb").read())
            f.truncate(9 * MIB)
        check(told("info", "-f", name, "--json", f"a.{name}")["virtual-size"] >= 9 * MIB, name)
        qemu("compare", "-f", "raw", "-F", qemu_name(name), "longer", f"a.{name}")
        good("compare", "-f", name, "-F", "raw", f"a.{name}", "longer")
        bad("resize", "-f", name, f"a.{name}", "8M", text="--shrink")
    check(done >= 2, "formats that can be resized")


def vhdx_sizes():
    """Larger than the region of its table, smaller than it was, and both again; the peer reads and writes it each time."""
    fill("source", 12 * MIB, 31)
    for maker in ("ours", "theirs"):
        for subformat, large in (("dynamic", 300 << 30), ("fixed", 40 * MIB)):
            name = f"{maker}-{subformat}.vhdx"
            options = f"subformat={subformat},block_size=1M"
            if maker == "ours":
                good("convert", "-O", "vhdx", "-o", options, "source", name)
            else:
                qemu("convert", "-f", "raw", "-O", "vhdx", "-o", options, "source", name)
            kept = 12 * MIB
            for size in (large, 5 * MIB + 512, 9 * MIB, 2 * large, 7 * MIB):
                good("resize", "--shrink", name, str(size))
                check(told("check", "--json", name)["corruptions"] == 0, f"{name} at {size}")
                qemu("check", "-f", "vhdx", name)
                check(json.loads(qemu("info", "--output=json", "-f", "vhdx", name))["virtual-size"] == size, name)
                if size > 100 * MIB:
                    qemu_writes(name, "vhdx", size - MIB, MIB)
                    continue
                kept = min(kept, size)
                with open("source", "rb") as source, open("expected", "wb") as f:
                    f.write(source.read(kept))
                    f.truncate(size)
                qemu("compare", "-f", "vhdx", "-F", "raw", name, "expected")
                good("compare", "-f", "vhdx", "-F", "raw", name, "expected")
            check(os.stat(name).st_size < 60 * MIB, f"{name} has {os.stat(name).st_size} bytes")
    bad("resize", "ours-dynamic.vhdx", "64T", text="cannot have that size")
    bad("resize", "ours-dynamic.vhdx", "512", text="--shrink")
    good("create", "-f", "vhdx", "-o", "sector_size=4096", "sectors.vhdx", "1M")
    bad("resize", "sectors.vhdx", "2001K", text="a sector has 4096")


def vhdxs():
    fill("a.raw", 12 * MIB, 14)
    for n, options in enumerate(("block_size=1M", "block_size=256M,log_size=4M", "subformat=fixed,block_size=2M", "subformat=fixed")):
        name = f"{n}.vhdx"
        good("convert", "-O", "vhdx", "-o", options, "a.raw", name)
        qemu("check", "-f", "vhdx", name)
        qemu("compare", "-f", "raw", "-F", "vhdx", "a.raw", name)
        d = told("info", "--json", name)["format-specific"]
        check(d["subformat"] == ("fixed" if "fixed" in options else "dynamic"), f"{d}")
    for options in ("subformat=dynamic", "subformat=dynamic,block_size=1M,block_state_zero=off", "subformat=fixed", "log_size=8M"):
        qemu("convert", "-f", "raw", "-O", "vhdx", "-o", options, "a.raw", "theirs.vhdx")
        good("compare", "-f", "vhdx", "theirs.vhdx", "a.raw")
        check(told("check", "--json", "theirs.vhdx")["corruptions"] == 0, options)
        # Written by us, it is still one of theirs.
        fill("b.raw", 12 * MIB, 15)
        good("convert", "-n", "-O", "vhdx", "b.raw", "theirs.vhdx")
        qemu("check", "-f", "vhdx", "theirs.vhdx")
        qemu("compare", "-f", "raw", "-F", "vhdx", "b.raw", "theirs.vhdx")
    bad("create", "-f", "vhdx", "-o", "block_size=3M", "new.vhdx", "1G", text="option block_size: 3145728 is not a power of two")
    bad("create", "-f", "vhdx", "new.vhdx", "0", text="up to 64 TiB")
    check(not os.path.exists("new.vhdx"), "half an image")


def chains():
    """Images behind images: made, shown, read, and reached only when the format of the first was said."""
    os.mkdir("folder")
    fill("base", 3 * MIB, 16)
    bad("create", "-f", "qcow2", "-b", "base", "top", text="--backing also needs --backing-format")
    bad("create", "-f", "qcow2", "-b", "missing", "-F", "raw", "top", text="'./missing': No such file")
    bad("create", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top", text="--backing: ")
    bad("create", "-f", "raw", "-b", "base", "-F", "raw", "top", text="no option 'backing_f")
    check(not os.path.exists("top"), "half an image")
    good("create", "-f", "qcow2", "-b", "../base", "-F", "raw", "folder/middle")
    good("create", "-f", "qcow2", "-b", "folder/middle", "-F", "qcow2", "top", "4M")
    d = told("info", "--json", "top")
    check(d["virtual-size"] == 4 * MIB and d["backing-filename"] == "folder/middle" and d["backing-filename-format"] == "qcow2", f"{d}")
    bad("info", "--backing-chain", "top", text="its format was only recognised: say which")
    names = [d["filename"] for d in told("info", "--json", "--backing-chain", "-f", "qcow2", "top")]
    check(names == ["top", "folder/middle", "../base"], f"{names}")
    bad("convert", "top", "all", text="its format was only recognised")
    good("convert", "-f", "qcow2", "top", "all")
    check(open("all", "rb").read() == open("base", "rb").read() + bytes(MIB), "what shows through")
    qemu("compare", "-f", "qcow2", "-F", "raw", "top", "all")
    check({p["depth"] for p in told("map", "--json", "-f", "qcow2", "top") if p["data"]} == {2}, "depths")
    # The middle one says what its own is; where one does not, that one reaches nothing further.
    qemu("create", "-f", "qcow2", "inner", "-b", "folder/middle", "-F", "qcow2")
    good("convert", "-f", "qcow2", "inner", "again")
    with locked("base", fcntl.F_WRLCK):
        bad("convert", "-f", "qcow2", "top", "new", text="--force-share")
        good("info", "top")
        good("convert", "-U", "-f", "qcow2", "top", "new")
    with locked("base", fcntl.F_RDLCK):
        good("compare", "-f", "qcow2", "top", "new")


def data_files():
    """Images whose bytes are in another file, which is written too."""
    os.mkdir("folder")
    fill("plain", 2 * MIB, 22)
    qemu("create", "-f", "qcow2", "-o", "data_file=bytes,data_file_raw=on", "a", "2M")
    bad("info", "a", text="its format was only recognised")
    check(told("info", "--json", "-f", "qcow2", "a")["virtual-size"] == 2 * MIB, "info")
    good("convert", "-n", "-f", "raw", "-O", "qcow2", "plain", "a")
    check(open("bytes", "rb").read() == open("plain", "rb").read(), "what was written")
    qemu("compare", "-f", "qcow2", "-F", "raw", "a", "plain")
    with locked("bytes", fcntl.F_RDLCK):
        good("compare", "-f", "qcow2", "a", "plain")
        bad("convert", "-n", "-f", "raw", "-O", "qcow2", "plain", "a", text="is in use")
    # One that shows through another: its bytes lie beside it, and are only read.
    os.rename("a", "folder/a")
    os.rename("bytes", "folder/bytes")
    qemu("create", "-f", "qcow2", "-b", "folder/a", "-F", "qcow2", "top", "2M")
    good("compare", "-f", "qcow2", "top", "plain")
    good("resize", "-f", "qcow2", "top", "+1M")
    os.unlink("folder/bytes")
    os.mkfifo("folder/bytes")
    bad("map", "-f", "qcow2", "top", text="neither a regular file nor a block device")


def bad_chains():
    os.mkfifo("fifo")
    fill("base", MIB, 17)
    qemu("create", "-f", "qcow2", "-b", "base", "-F", "raw", "top")
    for name, text in (("fifo", "neither a regular file"), ("/dev/zero", "neither a regular file"), ("missing", "No such file"),
                       ("top", "more than 10 images"), (".", "neither a regular file"), ("base/x", "Not a directory")):
        qemu("rebase", "-u", "-f", "qcow2", "-b", name, "-F", "qcow2" if name == "top" else "raw", "top")
        for words in (("info", "--backing-chain", "-f", "qcow2", "top"), ("convert", "-f", "qcow2", "top", "target"), ("map", "-f", "qcow2", "top")):
            bad(*words, text=text)
        bad("resize", "-f", "qcow2", "top", "+1M", text="is being written" if name == "top" else text)
        check(told("info", "--json", "top")["backing-filename"] == name, name)
    check(not os.path.exists("target"), "a target")


def snapshots():
    fill("one", 2 * MIB, 18)
    fill("two", 2 * MIB, 19)
    good("convert", "-O", "qcow2", "one", "a")
    good("snapshot", "-c", "first", "a")
    good("convert", "-n", "-O", "qcow2", "two", "a")
    good("snapshot", "-c", "second", "a")
    check([s["name"] for s in told("snapshot", "--json", "a")] == ["first", "second"], "the list")
    check("second" in good("snapshot", "-l", "a") and "second" in qemu("snapshot", "-l", "a"), "names")
    qemu("compare", "-f", "qcow2", "-F", "raw", "a", "two")
    good("snapshot", "-a", "first", "a")
    qemu("compare", "-f", "qcow2", "-F", "raw", "a", "one")
    good("snapshot", "-d", "first", "a")
    good("snapshot", "-a", "second", "a")
    qemu("compare", "-f", "qcow2", "-F", "raw", "a", "two")
    qemu("check", "-f", "qcow2", "a")
    check(told("check", "--json", "a")["leaks"] == 0, "leaks")
    bad("snapshot", "-a", "first", "a", text="first")
    qemu("snapshot", "-c", "theirs", "a")
    check([s["name"] for s in told("info", "--json", "a")["snapshots"]] == ["second", "theirs"], "one of theirs")
    good("snapshot", "-d", "theirs", "a")
    qemu("check", "-f", "qcow2", "a")


def packed():
    """Compressed clusters, and damage that check finds and repairs."""
    fill("a", 4 * MIB, 20, pieces=60)
    for method in ("zlib", "zstd"):
        qemu("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", f"compression_type={method}", "a", method)
        good("compare", method, "a")
        check(any(p["compressed"] for p in told("map", "--json", method)), method)
    text = pathlib.Path("text")
    text.write_bytes(b"".join(b"line %d of what can be said in fewer bytes\n" % n for n in range(60000)) + bytes(700))
    os.truncate("text", text.stat().st_size + 3 * MIB & ~511)
    for n, options in enumerate(("", "compression_type=zstd", "cluster_size=512", "cluster_size=2M", "compat=0.10", "extended_l2=on,cluster_size=16K",
                                 "refcount_bits=1", "refcount_bits=64,compression_type=zstd")):
        for source in ("a", "text"):
            name = f"packed-{n}-{source}"
            good("convert", "-c", "-O", "qcow2", *(["-o", options] if options else []), source, name)
            good("compare", "-s", "-f", "raw", source, name)
            check(told("check", "--json", name)["leaks"] == 0, f"{options}: leaks")
            if source == "text" and options not in ("cluster_size=512", "cluster_size=2M", "refcount_bits=1"):
                check(os.stat(name).st_blocks * 512 < text.stat().st_size / 2, f"{options}: it is not smaller")
            if QEMU_IMG:
                qemu("check", "-f", "qcow2", name)
                qemu("compare", "-f", "raw", "-F", "qcow2", source, name)
    # Into what is there; and over what is compressed.
    for _ in range(2):
        good("convert", "-c", "-n", "-O", "qcow2", "a", "packed-0-a")
        good("compare", "a", "packed-0-a")
    check(told("check", "--json", "packed-0-a")["leaks"] == 0, "leaks")
    good("create", "-f", "qcow2", "larger", "9M")
    good("convert", "-c", "-n", "-O", "qcow2", "text", "larger")
    good("compare", "text", "larger")
    for target in ("raw", "vhd", "vhdx"):
        bad("convert", "-c", "-O", target, "a", "refused", text=f"--compress: {target} images are not compressed")
        check(not os.path.exists("refused"), "left behind")
    pathlib.Path("data").touch()
    good("create", "-f", "qcow2", "-o", "data_file=data", "divided", "4M")
    bad("convert", "-c", "-n", "-O", "qcow2", "a", "divided", text="when others hold the data")
    good("convert", "-O", "qcow2", "a", "leaky")
    with open("leaky", "r+b") as f:
        head = f.read(104)
        table, = struct.unpack(">Q", head[48:56])
        f.seek(table)
        block, = struct.unpack(">Q", f.read(8))
        f.seek(block + 2 * 3000)
        f.write(b"\0\1")
        f.truncate(3001 * 65536)
    done = run("check", "leaky")
    check(done.returncode == 3 and "1 leaked clusters" in done.stdout, f"{done.returncode} {done.stdout}{done.stderr}")
    good("check", "-r", "leaks", "leaky")
    good("check", "leaky")
    qemu("check", "-f", "qcow2", "leaky")
    with open("leaky", "r+b") as f:
        f.seek(block)
        f.write(b"\0\0" * 8)
    check(run("check", "leaky").returncode == 2, "a corrupt image")
    good("check", "-r", "all", "-q", "leaky")
    qemu("check", "-f", "qcow2", "leaky")
    good("compare", "leaky", "a")


def vmdks():
    """Every kind that qemu-img makes is read; flat ones are written too."""
    fill("a.raw", 6 * MIB, 10)
    fill("b.raw", 6 * MIB, 11)
    for kind in ("monolithicSparse", "streamOptimized", "twoGbMaxExtentSparse", "monolithicFlat", "twoGbMaxExtentFlat"):
        name = f"{kind}.vmdk"
        qemu("convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={kind}", "a.raw", name)
        good("compare", "-f", "vmdk", name, "a.raw")
        check(told("info", "-f", "vmdk", "--json", name)["format-specific"]["create-type"] == kind, kind)
        check(told("check", "-f", "vmdk", "--json", name)["corruptions"] == 0, kind)
        if "Flat" in kind:
            bad("info", name, text="needs other files, and its format was only recognised")
            good("convert", "-n", "-f", "raw", "-O", "vmdk", "b.raw", name)
            qemu("compare", "-f", "raw", "-F", "vmdk", "b.raw", name)
            good("compare", "-f", "vmdk", name, "b.raw")
        else:
            bad("convert", "-n", "-f", "raw", "-O", "vmdk", "b.raw", name, text="Read-only file system")
    bad("create", "-f", "vmdk", "new.vmdk", "1M", text="can be read and not be made")


def large_vmdks():
    """Several extents, with data across their borders."""
    with open("a.raw", "wb") as f:
        f.truncate(5 << 30)
        for at in ((2 << 30) - 2000, (4 << 30) - 70000, (5 << 30) - 4096):
            f.seek(at)
            f.write(random.Random(at).randbytes(min(200000, (5 << 30) - at)))
    for kind in ("twoGbMaxExtentSparse", "twoGbMaxExtentFlat"):
        qemu("convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={kind}", "a.raw", "a.vmdk")
        check(told("info", "-f", "vmdk", "--json", "a.vmdk")["format-specific"]["extents"] == 3, kind)
        # Not the whole of the flat ones: that would take long.
        if "Flat" not in kind:
            good("compare", "-f", "vmdk", "-F", "raw", "a.vmdk", "a.raw")
        pieces = [p for p in told("map", "--json", "-f", "vmdk", "a.vmdk") if p["data"]]
        check({p["filename"] for p in pieces} == {f"a-{'f' if 'Flat' in kind else 's'}00{n}.vmdk" for n in (1, 2, 3)}, f"{kind}: {pieces}")
        for extent in pathlib.Path().glob("a-*.vmdk"):
            extent.unlink()
        os.unlink("a.vmdk")


DESCRIPTOR = """# Disk DescriptorFile
version=1
CID=12345678
parentCID=ffffffff
createType="monolithicFlat"
RW 2048 FLAT "flat" 0
"""


def bad_vmdks():
    pathlib.Path("flat").write_bytes(b"x" * MIB)
    pathlib.Path("secret").write_bytes(b"y" * MIB)
    path = pathlib.Path("a.vmdk")
    path.write_text(DESCRIPTOR)
    good("info", "-f", "vmdk", "a.vmdk")
    extent = 'RW 2048 FLAT "flat" 0'
    for old, new, text in [
            ("ffffffff", "12345679", "a difference to another image"), (extent, "", "names no extents"), (extent, extent.replace("2048", "0"), "size of an extent"),
            (extent, extent.replace("2048", "99999999999999999999"), "size of an extent"), (extent, extent.replace("FLAT", "VMFSSPARSE"), "not supported"),
            (extent, extent.replace("RW", "NOACCESS"), "may not be read"), (extent, extent.replace('"flat"', "flat"), "name of an extent"),
            (extent, extent.replace('"flat"', '"fl\x07at"'), "name of an extent"), (extent, extent.replace('"flat"', '""'), "name of an extent"),
            (extent, extent.replace('" 0', '" -1'), "offset of an extent"), (extent, extent.replace("flat", "missing"), "No such file"),
            (extent, extent.replace("flat", "/dev/zero"), "neither a regular file"), (extent, extent.replace("FLAT", "SPARSE"), "it is not there"),
            ('createType="monolithicFlat"', "", "no createType"), ("version=1", "bogus", "neither a setting nor"), (extent, (extent + "\n") * 513, "more than 512 extents"),
            (extent, (extent.replace("2048", str((1 << 54) - 1)) + "\n") * 2, "too large together"), (extent, "#" * 300000 + "\n" + extent, "longer than")]:
        path.write_text(DESCRIPTOR.replace(old, new))
        bad("map", "-f", "vmdk", "a.vmdk", text=text)
    # A disk of a guest that became a descriptor overnight reads nobody's files.
    path.write_text(DESCRIPTOR.replace("flat", "secret"))
    bad("convert", "a.vmdk", "target", text="its format was only recognised")
    check(not os.path.exists("target"), "a target")
    path.write_text(DESCRIPTOR.replace(extent, "RW 2048 ZERO"))
    good("convert", "a.vmdk", "target")
    check(open("target", "rb").read() == bytes(MIB), "zeros")


def stream(data, grain=8, entries=512):
    """As VMware writes one: the header that counts is at the end, where the directory's place was known."""
    def sectors(blob):
        return blob + bytes(-len(blob) % 512)

    def header(directory):
        head = struct.pack("<4sIIQQQQIQQQB4sH", b"KDMV", 3, 0x30001, len(data) // 512, grain, 1, 2, entries, 0, directory, 128, 0, b"\n \r\n", 1)
        return sectors(head)

    text = DESCRIPTOR.replace("monolithicFlat", "streamOptimized").replace("RW 2048 FLAT", f"RDONLY {len(data) // 512} SPARSE").replace(" 0\n", "\n")
    out = bytearray(header((1 << 64) - 1) + sectors(text.encode()).ljust(1024, b"\0"))
    tables = {}
    for n in range(0, len(data), grain * 512):
        piece = data[n:n + grain * 512]
        if any(piece):
            packed = zlib.compress(piece)
            tables.setdefault(n // 512 // grain // entries, {})[n // 512 // grain % entries] = len(out) // 512
            out += sectors(struct.pack("<QI", n // 512, len(packed)) + packed)
    directory = []
    for index in range(-(-len(data) // (grain * 512 * entries))):
        table = tables.get(index)
        out += sectors(struct.pack("<QII", entries * 4 // 512, 0, 1)) if table else b""
        directory.append(len(out) // 512 if table else 0)
        if table:
            out += sectors(struct.pack(f"<{entries}I", *(table.get(i, 0) for i in range(entries))))
    out += sectors(struct.pack("<QII", 1, 0, 2))
    place = len(out) // 512
    out += sectors(struct.pack(f"<{len(directory)}I", *directory))
    out += sectors(struct.pack("<QII", 1, 0, 3)) + header(place) + bytes(512)
    return bytes(out)


def streams():
    """Streams whose directory is at the end, whole, cut off and damaged."""
    whole = stream(fill("a.raw", MIB, 12) and open("a.raw", "rb").read())
    path = pathlib.Path("a.vmdk")
    path.write_bytes(whole)
    good("compare", "-f", "vmdk", "a.vmdk", "a.raw")
    qemu("compare", "-f", "vmdk", "-F", "raw", "a.vmdk", "a.raw")
    check(told("info", "--json", "a.vmdk")["format-specific"]["compressed"], "it is compressed")
    for cut in (1, 511, 512, 1024, 1536, 4096, len(whole) // 2, len(whole) - 512):
        path.write_bytes(whole[:-cut])
        bad("convert", "-f", "vmdk", "a.vmdk", "target", text="header")
        check(not os.path.exists("target"), "a target")
    # Damage shows as an error or as other data, never as an end by a signal.
    r = random.Random(1)
    for n in range(40):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[r.choice([r.randrange(2000), r.randrange(len(whole)), -r.randrange(1, 4000)])] = r.randrange(256)
        path.write_bytes(damaged)
        done = run("convert", "--force", "-f", "vmdk", "a.vmdk", "target")
        check(done.returncode in (0, 1) and "ended by signal" not in done.stderr, f"{n}: {done.stderr}")


def chvctl():
    fill("a", MIB, 9)
    for words in (("image", "info", "a"), ("image", "info", "--json", "a"), ("image", "compare", "a", "a"), ("image", "--help"), ("image", "info", "--help")):
        done = run(*words, program=CHVCTL)
        check(done.returncode == 0 and done.stdout == good(*words[1:]), f"{words}: {done.stderr}")
    check(run("--json", "image", "info", "a", program=CHVCTL).stdout == good("info", "--json", "a"), "--json in front")
    check(run("image", program=CHVCTL).stdout == good("--help"), "without a verb")
    check(run("image", "check", "a", program=CHVCTL).returncode == 63, "the status")
    done = run("-H", "host", "image", "info", "a", program=CHVCTL)
    check(done.returncode == 2 and "files of this host" in done.stderr, f"-H: {done.stderr}")
    done = subprocess.run([CHVCTL, "image", "info", "a"], capture_output=True, text=True, env={**ENV, "CHV_IMAGE": "/nonexistent"})
    check(done.returncode == 1 and done.stderr == "chvctl: /nonexistent: No such file or directory\n", done.stderr)


TESTS = [bad_lines, bad_files, bad_options, overwriting, in_use, removal, closed_streams, sandboxed, info, sizes, resizing, comparing,
         progress, convert_into, sparse, through_qemu, every_pair, many_blocks, maps, resizing_formats, vhdx_sizes, vhdxs, chains, data_files, bad_chains, snapshots, packed, vmdks, large_vmdks,
         bad_vmdks, streams, chvctl]


def main():
    failed = False
    print(f"1..{len(TESTS)}")
    for n, test in enumerate(TESTS, 1):
        with tempfile.TemporaryDirectory(prefix="chv-image-") as folder:
            os.chdir(folder)
            try:
                test()
                print(f"ok {n} - {test.__name__}")
            except Skipped as e:
                print(f"ok {n} - {test.__name__} # SKIP {e}")
            except AssertionError as e:
                failed = True
                print(f"not ok {n} - {test.__name__}")
                for line in str(e).splitlines():
                    print(f"# {line}")
            finally:
                os.chdir("/")
        sys.stdout.flush()
    return 1 if failed else 0


sys.exit(main())
