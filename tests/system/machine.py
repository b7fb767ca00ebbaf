#!/usr/bin/env python3
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
"""The emulated machine: a Debian with nested virtualisation, on any host.

  machine.py build              fetch and build what it is made of
  machine.py exec COMMAND...    run a command in it, in this folder; its status is ours
  machine.py exec -t COMMAND... the same on a terminal
  machine.py shell              a root shell in it (Ctrl-A x ends the machine)
  machine.py test [NAME...]     run the system suite or the named cases; prints TAP

The machine is booted once and its state kept, RAM in a file of its own. Every use starts from that
state with the RAM mapped privately, so nothing it does is seen by the next. The checkout is
mounted in it read-only under the path it has here; /guest holds guest kernels, /dev/vdc a Debian
root disk and /dev/vdd an empty one (mount /scratch); what is written to them is thrown away.
"""

import argparse
import base64
import fnmatch
import inspect
import json
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
import tty
from pathlib import Path

sys.dont_write_bytecode = True
import assets  # noqa: E402

TREE = Path(__file__).resolve().parents[2]
CASES = Path(__file__).resolve().parent / 'cases'
MEMORY = '4096M'
KERNEL_WORDS = (
    'console=ttyS0 panic=-1 root=none quiet loglevel=1 mitigations=off nokaslr tsc=reliable'
    ' no_timer_check apparmor=0 audit=0 nowatchdog selinux=0 sysctl.vm.overcommit_memory=1'
    # QEMU 10.0 changes the flags of its first CPU from the threads of the others, without a lock,
    # whenever those restore an FPU (cpu_clear_ignne()). A VM exit there now and then is undone so,
    # and leaves the guest with the registers of its host. Nothing is scheduled on that CPU.
    ' isolcpus=0')
BOOT_LIMIT = 180
RESTORE_LIMIT = 60
CASE_LIMIT = 400
SKIPPED = 77
PASSED_ON = ('CHV_', 'G_', 'MESON_', 'ASAN_', 'UBSAN_', 'TSAN_', 'LSAN_')
KEPT_BACK = ('CHV_CACHE', 'CHV_MIRROR', 'CHV_TEST_KERNEL')


class MachineFailed(Exception):
    """The emulated machine died or did not answer in time: not the fault of what ran in it."""


def qemu_line(parts, ram, share, tree, run_dir, restore):
    """QEMU run with the loader and the libraries it was unpacked with."""
    q, host = parts['qemu'], parts['host']
    lib = 'lib/x86_64-linux-gnu'
    argv = ['setpriv', '--pdeathsig', 'KILL', q / 'lib64/ld-linux-x86-64.so.2', '--library-path',
            f'{q}/{lib}:{q}/usr/{lib}', q / 'usr/bin/qemu-system-x86_64',
            '-L', q / 'usr/share/qemu', '-L', q / 'usr/share/seabios',
            '-accel', 'tcg,thread=multi', '-cpu', 'EPYC,+svm,+npt',
            '-M', 'q35,sata=off,smbus=off,kernel-irqchip=split,memory-backend=ram',
            '-m', MEMORY, '-smp', '3', '-display', 'none', '-nodefaults', '-no-user-config',
            '-no-reboot', '-kernel', host / 'vmlinux', '-initrd', host / 'initrd',
            '-append', KERNEL_WORDS,
            '-object', f'memory-backend-file,id=ram,mem-path={ram},size={MEMORY},share={share}',
            '-chardev', f'file,id=log,path={run_dir}/console.log', '-serial', 'chardev:log',
            '-qmp', f'unix:{run_dir}/qmp,server=on,wait=off',
            '-device', 'virtio-serial-pci', '-device', 'virtio-rng-pci']
    for name in ('ctl', 'out', 'err'):
        argv += ['-chardev', f'socket,id={name},path={run_dir}/{name},server=on,wait=off',
                 '-device', f'virtserialport,chardev={name},name=chv.{name}']
    argv += ['-chardev', f'socket,id=tty,path={run_dir}/tty,server=on,wait=off',
             '-device', 'virtconsole,chardev=tty']
    disks = [(host / 'root.erofs', 'readonly=on'), (parts['guest'] / 'guest.erofs', 'readonly=on'),
             (parts['guest'] / 'debian.ext4', 'snapshot=on'),
             (parts['scratch'] / 'scratch.ext4', 'snapshot=on')]
    for i, (path, mode) in enumerate(disks):
        argv += ['-drive', f'if=none,id=d{i},file={path},format=raw,cache=unsafe,{mode}',
                 '-device', f'virtio-blk-pci,drive=d{i}']
    argv += ['-fsdev', f'local,id=tree,path={tree},security_model=none,multidevs=remap,readonly=on',
             '-device', 'virtio-9p-pci,fsdev=tree,mount_tag=tree']
    return [str(a) for a in argv + (['-incoming', 'defer'] if restore else [])]


class Output:
    """Passes a stream of the machine on until its end mark."""

    def __init__(self, sock, sink):
        self.sock, self.sink, self.held, self.mark = sock, sink, b'', None

    def read(self):
        data = self.sock.recv(65536)
        if not data:
            raise MachineFailed('the emulated machine closed a stream')
        self.held += data
        if self.mark and self.mark in self.held:
            self.emit(self.held.index(self.mark))
            self.held, self.mark = b'', None
            return
        keep = 0
        if self.mark:
            keep = max(k for k in range(len(self.mark)) if self.held.endswith(self.mark[:k]))
        self.emit(len(self.held) - keep)

    def emit(self, count):
        self.sink.write(self.held[:count])
        self.sink.flush()
        self.held = self.held[count:]


class Machine:
    """One running machine, to be used with `with`; `state` is the directory of its saved state."""

    def __init__(self, parts, state, tree=TREE, restore=True, out=None, err=None, adapt=None):
        self.state, self.tree, self.restore = state, tree, restore
        self.dir = Path(tempfile.mkdtemp(prefix='chv-l1-'))
        argv = qemu_line(parts, state / 'ram', 'off' if restore else 'on', tree, self.dir, restore)
        if adapt:
            argv = adapt(argv)
        env = {**os.environ, 'QEMU_MODULE_DIR': f"{parts['qemu']}/usr/lib/x86_64-linux-gnu/qemu"}
        env.setdefault('TMPDIR', '/var/tmp')
        self.log = open(self.dir / 'qemu.log', 'wb')
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log, env=env, start_new_session=True)
        self.answers = b''
        self.sinks = (out or sys.stdout.buffer, err or sys.stderr.buffer)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def start(self):
        self.limit(RESTORE_LIMIT if self.restore else BOOT_LIMIT)
        self.ctl, self.tty = self.connect('ctl'), self.connect('tty')
        self.outputs = [Output(self.connect(n), s) for n, s in zip(('out', 'err'), self.sinks)]
        qmp = self.connect('qmp')
        qmp.settimeout(RESTORE_LIMIT)
        self.qmp_file = qmp.makefile('rw')
        self.qmp_file.readline()
        self.qmp('qmp_capabilities')
        if not self.restore:
            self.answer('ready')
            return
        self.qmp('migrate-set-capabilities',
                 capabilities=[{'capability': 'x-ignore-shared', 'state': True}])
        self.qmp('migrate-incoming', uri=f'file:{self.state}/vmstate')
        while self.qmp('query-status')['status'] == 'inmigrate':
            time.sleep(0.01)
        self.qmp('cont')
        self.ask(f'time {time.time():.3f}', 'done')
        if int(self.ask(f'mount {shlex.quote(str(self.tree))}', 'exit')):
            raise MachineFailed('the checkout cannot be mounted in the emulated machine')

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def limit(self, seconds):
        self.deadline = time.monotonic() + seconds

    def failed(self, why):
        tail = b''
        for name in ('qemu.log', 'console.log'):
            path = self.dir / name
            if path.exists():
                tail += path.read_bytes()[-4000:]
        lines = [line for line in tail.decode(errors='replace').splitlines()
                 if "warning: TCG doesn't support" not in line]
        return MachineFailed('\n'.join([why, *lines]))

    def connect(self, name):
        s = socket.socket(socket.AF_UNIX)
        while True:
            try:
                s.connect(str(self.dir / name))
                return s
            except OSError:
                if self.process.poll() is not None or time.monotonic() > self.deadline:
                    raise self.failed('QEMU did not start') from None
                time.sleep(0.005)

    def qmp(self, command, **arguments):
        self.qmp_file.write(json.dumps({'execute': command, 'arguments': arguments}) + '\n')
        self.qmp_file.flush()
        while True:
            try:
                line = self.qmp_file.readline()
            except TimeoutError:
                line = ''
            if not line:
                raise self.failed('QEMU ended')
            reply = json.loads(line)
            if 'error' in reply:
                raise self.failed(f"QEMU: {command}: {reply['error']['desc']}")
            if 'return' in reply:
                return reply['return']

    def turn(self, more=()):
        """Waits for one thing to happen; gives back which of `more` have something to read."""
        wait = self.deadline - time.monotonic()
        ready = [] if wait <= 0 else select.select(
            [self.ctl, *(o.sock for o in self.outputs), *more], [], [], wait)[0]
        if not ready:
            raise self.failed('no answer from the emulated machine within the time limit')
        for o in self.outputs:
            if o.sock in ready:
                o.read()
        if self.ctl in ready:
            data = self.ctl.recv(4096)
            if not data:
                raise self.failed('QEMU ended')
            self.answers += data
        return [m for m in more if m in ready]

    def take(self, word):
        """The rest of an answer line that starts with a word, or None while there is none."""
        while b'\n' in self.answers:
            line, self.answers = self.answers.split(b'\n', 1)
            first, _, rest = line.decode(errors='replace').strip('\r\0').partition(' ')
            if first == word:
                return rest
        return None

    def answer(self, word):
        while True:
            rest = self.take(word)
            if rest is not None:
                return rest
            self.turn()

    def send(self, line):
        self.ctl.sendall(line.encode() + b'\n')

    def ask(self, line, word):
        self.send(line)
        return self.answer(word)

    def save(self):
        self.qmp('stop')
        self.qmp('migrate-set-capabilities',
                 capabilities=[{'capability': 'x-ignore-shared', 'state': True}])
        self.qmp('migrate', uri=f'file:{self.state}/vmstate')
        while True:
            status = self.qmp('query-migrate').get('status')
            if status in ('completed', 'failed', 'cancelled'):
                break
            time.sleep(0.02)
        if status != 'completed':
            raise self.failed('the state of the emulated machine was not saved')

    def run(self, command, cwd, limit):
        """Runs a shell command; gives back its status."""
        self.limit(limit)
        mark = f'@end-{os.urandom(8).hex()}@'
        for o in self.outputs:
            o.mark = mark.encode()
        code = base64.b64encode(command.encode()).decode()
        status = int(self.ask(f'run {mark} {cwd} {code}', 'exit'))
        self.limit(RESTORE_LIMIT)
        while any(o.mark for o in self.outputs):
            self.turn()
        return status

    def terminal(self, command, cwd):
        """Runs a command on our terminal, or fed from standard input when that is none."""
        self.deadline = float('inf')
        here = sys.stdin.isatty()
        size = os.get_terminal_size(0) if here else os.terminal_size((80, 24))
        command = f'stty sane rows {size.lines} cols {size.columns}; {command}'
        code = base64.b64encode(command.encode()).decode()
        self.send(f'tty {cwd} {code}')
        old = termios.tcgetattr(0) if here else None
        if here:
            tty.setraw(0)
        try:
            return self.relay(here)
        finally:
            if here:
                termios.tcsetattr(0, termios.TCSADRAIN, old)

    def relay(self, here):
        # A shell setting up its terminal throws away what was typed before its prompt.
        more, prefix = [self.tty], False
        select.select([self.tty], [], [], 2)
        more.append(sys.stdin)
        while True:
            self.deadline = time.monotonic() + 86400
            ready = self.turn(more)
            if self.tty in ready:
                os.write(1, self.tty.recv(65536))
            if sys.stdin in ready:
                data = os.read(0, 1024)
                if not data:
                    more.remove(sys.stdin)
                    data = b'\x04'
                if here and prefix and data[:1] == b'x':
                    return 130
                prefix = data == b'\x01' and not prefix
                if not (here and prefix):
                    self.tty.sendall(data)
            status = self.take('exit')
            if status is not None:
                while select.select([self.tty], [], [], 0.05)[0]:
                    os.write(1, self.tty.recv(65536))
                return int(status)


def boot(out, parts):
    begin = time.monotonic()
    assets.say('booting the emulated machine ...')
    for attempt in (1, 2):
        try:
            with Machine(parts, out, tree=out, restore=False) as m:
                # What systemd still has to do after the agent is up belongs in the state too.
                m.run('systemctl is-system-running --wait >/dev/null', '/', BOOT_LIMIT)
                m.save()
            break
        except MachineFailed as e:
            if attempt == 2:
                raise
            assets.say(f'booting it again: {e}')
    assets.say(f'booted and saved in {time.monotonic() - begin:.0f} s')


@assets.step('state', needs=(assets.qemu, assets.host, assets.guest, assets.scratch),
             extra=(inspect.getsource(qemu_line), KERNEL_WORDS, MEMORY))
def kept_state(out, *dirs):
    boot(out, dict(zip(('qemu', 'host', 'guest', 'scratch'), dirs)))


def environment():
    names = [n for n in os.environ if n.startswith(PASSED_ON) and n not in KEPT_BACK]
    return ''.join(f'export {n}={shlex.quote(os.environ[n])}; ' for n in names)


def command_exec(args):
    words = args.command
    command = words[0] if len(words) == 1 else shlex.join(words)
    cwd = os.getcwd() if Path(os.getcwd()).is_relative_to(TREE) else TREE
    with Machine(assets.build(), kept_state()) as m:
        if args.t:
            return m.terminal(environment() + command, cwd)
        return m.run(environment() + command, cwd, args.timeout)


# The system suite


class Case:
    """One claim with one set of arguments, as the head of its file lists them."""

    def __init__(self, path, words, limit):
        self.path, self.words, self.limit = path, words, limit
        self.name = '-'.join([path.stem, *words])

    def wanted(self, patterns):
        return not patterns or any(p in (self.name, self.path.stem) or fnmatch.fnmatch(self.name, p)
                                   for p in patterns)


def find_cases(patterns):
    cases = []
    for path in sorted(CASES.glob('*.sh')):
        head = path.read_text()[:2000]
        limit = re.search(r'^# Limit: (\d+)', head, re.M)
        runs = re.findall(r'^# Runs: (.*)', head, re.M) or ['']
        for words in (w.split() for r in runs for w in r.split('|')):
            cases.append(Case(path, words, int(limit.group(1)) if limit else CASE_LIMIT))
    return [c for c in cases if c.wanted(patterns)]


def run_case(case, parts, state):
    """Gives back (status, output)."""
    # A case over its limit is ended inside, where it can still say why; only a machine that does not
    # answer then has failed itself.
    words = ['timeout', '-k', '10', str(case.limit), 'bash', str(case.path), *case.words]
    command = environment() + shlex.join(words) + ' 2>&1'
    with tempfile.TemporaryFile() as text:
        status = 0
        try:
            with Machine(parts, state, out=text, err=text) as m:
                status = m.run(command, TREE, case.limit + 60)
        except MachineFailed as e:
            text.seek(0)
            raise MachineFailed(str(e) + '\n' + text.read().decode(errors='replace')) from None
        text.seek(0)
        return status, text.read().decode(errors='replace')


def comment(text):
    text = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]|\r', '', text)
    for line in text.rstrip('\n').split('\n'):
        print('#   ' + re.sub(r'[^\t -~]', '', line))


def run_cases(cases, parts, state):
    failed = retried = 0
    print(f'1..{len(cases)}', flush=True)
    for number, case in enumerate(cases, 1):
        begin = time.monotonic()
        for attempt in (1, 2):
            try:
                status, text = run_case(case, parts, state)
                break
            except MachineFailed as e:
                status, text = 125, str(e)
                if attempt == 1:
                    retried += 1
                    print(f'# retry of {case.name}:')
                    comment(text)
        took = time.monotonic() - begin
        if status == SKIPPED:
            reason = (text.strip().splitlines() or ['no reason given'])[-1]
            print(f'ok {number} - {case.name} # SKIP {reason}', flush=True)
            continue
        failed += status != 0
        print(f"{'not ok' if status else 'ok'} {number} - {case.name} # {took:.1f} s", flush=True)
        if status:
            comment(text)
            print(f'#   status {status}', flush=True)
    print(f'# {retried} retried because the emulated machine failed', flush=True)
    return 1 if failed else 0


def command_test(args):
    cases = find_cases(args.name)
    if not cases:
        raise SystemExit('no such system test; there are: ' +
                         ' '.join(c.name for c in find_cases([])))
    parts = assets.build()
    if args.name:
        return run_cases(cases, parts, kept_state())
    with tempfile.TemporaryDirectory(prefix='run-', dir=assets.CACHE) as state:
        boot(Path(state), parts)
        return run_cases(cases, parts, Path(state))


def main():
    parser = argparse.ArgumentParser(description='the emulated machine of the system suite')
    verbs = parser.add_subparsers(dest='verb', required=True)
    verbs.add_parser('build', help='fetch and build what the machine is made of')
    p = verbs.add_parser('exec', help='run a command in the machine')
    p.add_argument('-t', action='store_true', help='on a terminal')
    p.add_argument('--timeout', type=float, default=600, metavar='SECONDS')
    p.add_argument('command', nargs=argparse.REMAINDER)
    verbs.add_parser('shell', help='a root shell in the machine')
    p = verbs.add_parser('test', help='run system tests')
    p.add_argument('name', nargs='*', help='a case, the stem of several, or a pattern')
    verbs.add_parser('list', help='list the system tests')
    p = verbs.add_parser('kernel', help='print where a stock kernel and its initramfs are')
    p.add_argument('version', nargs='?', default=assets.GUEST_KERNELS[-1],
                   choices=assets.GUEST_KERNELS)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if args.verb == 'build':
            kept_state()
            return 0
        if args.verb == 'kernel':
            print(assets.kernels[args.version]() / 'bzImage')
            print(assets.initramfses[args.version]() / 'initramfs')
            return 0
        if args.verb == 'list':
            print('\n'.join(c.name for c in find_cases([])))
            return 0
        if args.verb == 'test':
            return command_test(args)
        if args.verb == 'shell':
            args.t, args.command = True, ['exec bash -i']
        elif args.command[:1] == ['--']:
            args.command = args.command[1:]
        if not args.command:
            parser.error('no command given')
        return command_exec(args)
    except MachineFailed as e:
        print(f'machine.py: {e}', file=sys.stderr)
        return 125
    except KeyboardInterrupt:
        return 130


if __name__ == '__main__':
    sys.exit(main())
