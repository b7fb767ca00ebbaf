#!/usr/bin/env python3
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
"""Proves that shells offer what chvctl understands: every command, option, section and key that its help speaks of, no
other, the names of the virtual machines that are there, and files where files are meant; that bash, fish and zsh put
them in place as they are; that nonsense and a missing service end in silence.

usage: test-completions.py CHVCTL CHVD CHV-IMAGE FOLDER  (FOLDER has chvctl.bash, .zsh, .fish; prints TAP)
"""
import contextlib
import os
import pathlib
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import time

CHVCTL, CHVD, CHV_IMAGE, FOLDER = (pathlib.Path(p).absolute() for p in sys.argv[1:5])
# Shells write to their user's home, even to one that is not there.
HOME = tempfile.TemporaryDirectory()
ENV = {**os.environ, "PATH": f"{CHVCTL.parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8",
       "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent", "CHV_IMAGE": CHV_IMAGE, "HOME": HOME.name, "XDG_CONFIG_HOME": HOME.name,
       "XDG_DATA_HOME": HOME.name}
# What the words of a command's row may be; another one would have to be taught to the completion.
ARGUMENTS = {"ARGUMENT", "NAME", "NEW", "USER", "FILE", "COMMAND", "SECTION", "OPTION", "KEY=VALUE", "DEVICE", "DISK", "GROUP", "SIZE", "OPTION=VALUE"}


class Skipped(Exception):
    pass


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def same(found, expected, what):
    check(sorted(found) == sorted(expected),
          f"{what}: too many {sorted(set(found) - set(expected))}, missing {sorted(set(expected) - set(found))}")


def run(*words, **kwargs):
    return subprocess.run(words, capture_output=True, text=True, env=ENV, timeout=20, **kwargs)


def answer(*words):
    done = run(CHVCTL, "__complete", *words)
    check(done.returncode == 0 and not done.stderr, f"{words}: status {done.returncode}, {done.stderr}")
    return done.stdout.splitlines()


def offered(*words):
    return [row.split("\t")[0] for row in answer(*words) if not row.startswith(":")]


def chvctl_help(*words):
    return run(CHVCTL, "help", *words).stdout


def help_names(text, pattern):
    return re.findall(pattern, text, re.M)


def commands():
    text = chvctl_help()
    return help_names(text[:text.index("Options of")], r"^  ([a-z-]+)")


def help_sections():
    return [s for s in help_names(chvctl_help("create"), r"^  --([a-z-]+) KEY=VALUE")]


def nonsense():
    for words in [(), ("",), ("--",), ("-",), ("=", ""), ("nothing", ""), ("create", "--", ""), ("create", "--disk=,=,[", ""),
                  ("create", "--disk", "path=[,"), ("create", "--disk", '"'), ("--json", "--json=x"), ("-\xff", "-"),
                  ("info", *["x"] * 1000, ""), ("create", "--cpus", "=" * 10000)]:
        answer(*words)
    check(offered("create", "--disk", 'path="a,') == [], "a quoted text is completed")
    check(offered("create", "--cpus", "affinity=[0@[") == [], "a list is completed")
    check(offered("list", "") == [], "list takes no argument")


def no_service():
    begin = time.monotonic()
    check(offered("start", "") == [], "names without a service")
    check("root" in offered("set-owner", "a", ""), "users are not offered")
    check(time.monotonic() - begin < 5, "waits for a service that is not there")


def command_table():
    same(offered(""), commands(), "commands")
    for command in commands():
        text = chvctl_help(command)
        if command == "image":
            continue
        same(offered(command, "--"), {"--" + o for o in help_names(text, r"^  (?:-\w,|   ) ?--([a-z-]+)|^  --([a-z-]+)")
                                      for o in o if o}, f"options of {command}")
        words = re.split(r"[][|. ]+", text.splitlines()[0].partition(command)[2].strip())
        unknown = {w for w in words if w and not w.islower()} - ARGUMENTS
        check(not unknown, f"{command}: the completion does not know what {unknown} are")
    same(offered("help", ""), [*commands(), *help_sections()], "topics of help")


def sections():
    check(len(help_sections()) > 5, "help lists no sections")
    for section in help_sections():
        text = chvctl_help(section)
        # A section that is a command too is explained last.
        text = text[text.index(f"--{section} KEY"):]
        # A key that begins so is for tests.
        keys = {k for k in help_names(text, r"^  ([a-z0-9_-]+=)") if not k.startswith("_")}
        modes = {m for row in help_names(text, r"^  ((?:[a-z]+\|)+[a-z]+) ") for m in row.split("|")} - {"file", "socket"}
        same(offered("create", f"--{section}", ""), keys | modes, f"--{section}")
        prefix = f"--{section}="
        same(offered("create", prefix), {prefix + k for k in keys | modes}, prefix)
        for key, first, second in help_names(text, r"^  ([a-z0-9_]+)=([a-z]+)\|([a-z]+) "):
            if not key.startswith("_"):
                same(offered("create", f"--{section}", f"{key}="), {f"{key}={first}", f"{key}={second}"}, f"{section}.{key}")


def option_strings():
    check(offered("create", "--disk", "path=/a,read") == ["path=/a,readonly="], "the second key")
    check("path=/a,path=" not in offered("create", "--disk", "path=/a,"), "a key is offered twice")
    check("path=" in offered("create", "--disk", "path=/a", ""), "the next value of --disk")
    check(offered("create", "--cpus", "boot=2", "") == [], "--cpus takes one value")
    check(offered("--json=s") == ["--json=short"], "words of --json")
    check(offered("console", "vm", "s") == ["serial"], "words of an argument")
    check(answer("create", "--kernel", "") == [":files "], "the value of --kernel")
    check(":files path=/a,path=" in answer("create", "--disk", "path=/a,path=/b"), "a file behind a comma")
    check(answer("check", "") == answer("create", "-c", "") == [":files "], "files")


def images():
    """What stands behind `image` is completed by the program that does it."""
    verbs = re.search(r"image (\S+) \[ARGUMENT\]", chvctl_help("image"))[1].split("|")
    same(offered("image", ""), verbs, "verbs")
    same(help_names(run(CHVCTL, "image", "--help").stdout, r"^  ([a-z]+) "), verbs, "verbs that help names")
    for verb in verbs:
        text = run(CHVCTL, "image", verb, "--help").stdout
        same(offered("image", verb, "--"), ["--" + o for o in help_names(text, r"^  (?:-\w, |    )--([a-z-]+)")], verb)
    check(offered("image", "con") == ["convert"], "a beginning")
    formats = [row.split()[0] for row in run(CHVCTL, "image", "formats").stdout.splitlines()]
    for words in (("create", "-f"), ("create", "--format"), ("convert", "-O"), ("info", "-f")):
        same(offered("image", *words, ""), formats, f"{words}")
    same(offered("image", "create", "--format="), ["--format=" + f for f in formats], "--format=")
    check(offered("image", "create", "-f", "raw", "-o", "") == ["preallocation="], "options of a format")
    same(offered("image", "convert", "-O", "raw", "-o", "preallocation="), ["preallocation=" + w for w in ("off", "falloc", "full")], "their values")
    check(answer("image", "info", "") == answer("image", "convert", "a", "") == [":files "], "files")
    check(answer("image", "info", "a", "") == answer("image", "bogus", "") == answer("image", "resize", "a", "") == [], "nothing")
    check(answer("image", "create", "-b", "") == [":files "], "the value of -b")
    same(offered("image", "check", "-r", ""), ["leaks", "all"], "words of -r")


def limits():
    keys = help_names(chvctl_help("limits"), r"^  ([a-z-]+=)")
    check(len(keys) > 4, "help names no limits")
    same(offered("limits", "a", ""), keys, "limits")
    check(":nospace" in answer("limits", "a", "cpu-"), "a space behind the key")
    same(offered("limits", "a", "cpu-weight=1", "io-weight=2", ""), set(keys) - {"cpu-weight=", "io-weight="}, "those not given")
    for key in keys:
        words = {w for k, _, w in help_names(chvctl_help("limits"), r"^  ([a-z-]+=)([^ |]*)\|([a-z|]+) ") if k == key for w in w.split("|")}
        same(offered("limits", "a", key), {key + w for w in {"default", *words}}, key)
    check(offered("limits", "a", "memory-max=a") == ["memory-max=auto"], "a beginning")
    check(":nospace" not in answer("limits", "a", "memory-max=a"), "no space behind the value")
    check(offered("limits", "a", "bogus=") == offered("limits", "a", "=") == [], "an unknown key")
    check(offered("limits", "") == [], "keys where a name should be")
    changes = ["bw_one_time_burst=", "bw_refill_time=", "bw_size=", "ops_one_time_burst=", "ops_refill_time=", "ops_size="]
    same(offered("update", "a", "_disk0", ""), changes, "what can be changed")
    same(offered("update", "a", "_disk0", "bw_size=1", "bw_"), changes[:2], "those not given")


@contextlib.contextmanager
def service():
    """A bus and the real service on it, with two virtual machines."""
    with tempfile.TemporaryDirectory() as folder:
        bus = subprocess.Popen(["dbus-daemon", "--session", "--nofork", f"--address=unix:path={folder}/bus"], stderr=subprocess.DEVNULL)
        address, daemon = f"unix:path={folder}/bus", None
        try:
            until(lambda: os.path.exists(f"{folder}/bus"), "a bus")
            daemon = subprocess.Popen([CHVD, "--session", "--address", address, "--state-dir", f"{folder}/state", "--runtime-dir", f"{folder}/run"], stderr=subprocess.DEVNULL)
            until(lambda: run(CHVCTL, "--address", address, "list").returncode == 0, "the service")
            for name in ("web1", "web2"):
                done = run(CHVCTL, "--address", address, "create", "--name", name, "--kernel", "/bin/true", "--rate-limit-group",
                           f"id={name}-group,ops_size=1,ops_refill_time=1")
                check(done.returncode == 0, done.stderr)
            yield address
        finally:
            for process in (daemon, bus):
                if process:
                    process.terminate()
                    process.wait()


def until(true, what):
    for _ in range(100):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError(f"not in time: {what}")


def names():
    with service() as address:
        for words in (("--address", address, "start"), ("start", f"--address={address}"), ("--address", address, "info", "web2"), ("--address", address, "limits"),
                      ("-t", "5", "--address", address, "poweroff")):
            same(offered(*words, ""), ["web1", "web2"], f"{words}")
        check(offered("--address", address, "start", "web2") == ["web2"], "a beginning")
        check(offered("--address", address, "update-group", "web2", "") == ["web2-group"], "groups of limits")
        check(offered("--address", address, "create", "") == [], "a new name is made up by its owner")
        line = f"chvctl --address {address} console w"
        same(bash(line), ["web1", "web2"], "bash")
        if shutil.which("fish"):
            same(fish(line), ["web1", "web2"], "fish")


def bash(line):
    """COMPREPLY for a line, whose words are parted as bash parts them."""
    words = [w for part in re.findall(r"\S+", line) for w in re.findall(r"[=:]+|[^=:]+", part)]
    words += [""] if line[-1].isspace() else []
    script = ('source "$0"; COMP_WORDBREAKS=$\' \\t\\n"\\\'><=;|&(:\'; COMP_LINE=$1 COMP_POINT=${#1}; shift; COMP_WORDS=("$@");'
              ' COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _chvctl; printf "%s\\n" "${COMPREPLY[@]}"')
    done = run("bash", "--norc", "-c", script, FOLDER / "chvctl.bash", line, *words)
    check(done.returncode == 0 and not done.stderr, f"{line}: {done.stderr}")
    return [row for row in done.stdout.splitlines() if row]


def in_bash():
    with tempfile.TemporaryDirectory() as folder:
        for name in ("disk one.raw", "two.raw"):
            (pathlib.Path(folder) / name).touch()
        for line, reply in [
                ("chvctl sta", ["start"]), ("chvctl  --user   sta", ["start"]), ("chvctl console vm s", ["serial"]),
                ("chvctl limits vm memory-max=au", ["auto"]), ("chvctl limits vm io-weight=1 cpu-", ["cpu-weight=", "cpu-quota="]),
                ("chvctl --json=p", ["pretty"]), ("chvctl create --disk path=/a,readonly=", ["on", "off"]),
                ("chvctl create --disk path=/a,reado", ["/a,readonly="]), ("chvctl create --disk=path=/a,reado", ["/a,readonly="]),
                (f"chvctl create --disk path={folder}/", [f"{folder}/disk one.raw", f"{folder}/two.raw"]),
                (f"chvctl create --disk=path={folder}/t", [f"{folder}/two.raw"]),
                (f"chvctl create --kernel {folder}/t", [f"{folder}/two.raw"]), ("chvctl nothing ", [])]:
            same(bash(line), reply, line)


def fish(line):
    script = "source $argv[1]; complete -C $argv[2]"
    with tempfile.TemporaryDirectory() as folder:
        done = run("fish", "--no-config", "-c", script, FOLDER / "chvctl.fish", line, cwd=folder)
    check(not done.stderr, done.stderr)
    return [row.split("\t")[0] for row in done.stdout.splitlines()]


def in_fish():
    if not shutil.which("fish"):
        raise Skipped("fish is not installed")
    for line, reply in [("chvctl sta", ["start"]), ("chvctl create --disk path=/a,reado", ["path=/a,readonly="]),
                        ("chvctl create --disk=path=/etc/passw", ["--disk=path=/etc/passwd"]),
                        ("chvctl limits vm memory-max=i", ["memory-max=infinity"]), ("chvctl limits vm cpu-w", ["cpu-weight="])]:
        found = fish(line)
        check(set(reply) <= set(found), f"{line}: {found}")


ZSHRC = """
fpath=({folder}/functions $fpath)
autoload -Uz compinit && compinit -u -d {folder}/compdump
bindkey -e
PS1= PS2=
tell() {{ print -r -- $BUFFER >>{folder}/lines; BUFFER= }}
zle -N tell && bindkey '^O' tell
print ready >>{folder}/lines
"""


def zsh(*lines):
    """What becomes of each line by the tabulator, in a zsh at a terminal."""
    with tempfile.TemporaryDirectory() as folder:
        told = pathlib.Path(folder) / "lines"
        (pathlib.Path(folder) / "functions").mkdir()
        shutil.copy(FOLDER / "chvctl.zsh", f"{folder}/functions/_chvctl")
        (pathlib.Path(folder) / ".zshrc").write_text(ZSHRC.format(folder=folder))
        ours, theirs = pty.openpty()
        shell = subprocess.Popen(["zsh", "-d", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, start_new_session=True,
                                 env={**ENV, "ZDOTDIR": folder, "TERM": "dumb"})
        os.close(theirs)
        os.set_blocking(ours, False)
        try:
            for n, line in enumerate(["", *lines]):
                if n > 0:
                    os.write(ours, f"{line}\t\x0f".encode())
                until(lambda: drain(ours) or told.exists() and len(told.read_text().splitlines()) > n, f"zsh: {line}")
            return told.read_text().splitlines()[1:]
        finally:
            shell.kill()
            shell.wait()
            os.close(ours)


def drain(terminal):
    """A terminal that nobody reads stops who writes to it."""
    with contextlib.suppress(BlockingIOError):
        os.read(terminal, 65536)


def in_zsh():
    if not shutil.which("zsh"):
        raise Skipped("zsh is not installed")
    done = run("zsh", "-n", FOLDER / "chvctl.zsh")
    check(done.returncode == 0 and not done.stderr, done.stderr)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("disk one.raw", "two.raw"):
            (pathlib.Path(folder) / name).touch()
        cases = [("chvctl powero", "chvctl poweroff "), ("chvctl limits vm memory-max=inf", "chvctl limits vm memory-max=infinity "),
                 ("chvctl limits vm cpu-w", "chvctl limits vm cpu-weight="), ("chvctl console vm deb", "chvctl console vm debug_console "),
                 ("chvctl create --disk path=/a,reado", "chvctl create --disk path=/a,readonly="),
                 ("chvctl create --disk path=/a,readonly=of", "chvctl create --disk path=/a,readonly=off"),
                 (f"chvctl create --kernel {folder}/tw", f"chvctl create --kernel {folder}/two.raw "),
                 (f"chvctl create --disk path={folder}/di", f"chvctl create --disk path={folder}/disk\\ one.raw "),
                 ("chvctl nothing x", "chvctl nothing x")]
        for (line, expected), found in zip(cases, zsh(*[line for line, _ in cases]), strict=True):
            check(found.rstrip() == expected.rstrip(), f"{line}: '{found}', not '{expected}'")
            if expected.endswith("="):
                check(found == expected, f"{line}: '{found}': a space behind the key")
    with service() as address:
        check(zsh(f"chvctl --address {address} console w", f"chvctl --address {address} start web2") ==
              [f"chvctl --address {address} console web", f"chvctl --address {address} start web2 "], "names of virtual machines")


TESTS = [nonsense, no_service, command_table, sections, option_strings, images, limits, names, in_bash, in_fish, in_zsh]


def main():
    failed = False
    print(f"1..{len(TESTS)}")
    for n, test in enumerate(TESTS, 1):
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
    return 1 if failed else 0


sys.exit(main())
