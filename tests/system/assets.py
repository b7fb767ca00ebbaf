# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
"""What the emulated machine is made of, built once and kept in the cache.

Every step is a function that fills one directory. Its key is a hash of the function's own text,
of the files it reads and of the keys of the steps it builds on, so an edit rebuilds what depends
on it and nothing else, and checkouts of different ages share one cache. Packages come from the
machine's own Debian mirror through a private apt state: the user's sources are not touched.
"""

import fcntl
import hashlib
import inspect
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get('CHV_CACHE') or
             Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'chvd')
SUITE = 'bookworm'
KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'
STALE_DAYS = 7
os.environ['PATH'] += ':/usr/sbin:/sbin'

# name: (meta package, suite). `host` is the kernel of the emulated machine itself, the others
# are the guests' kernels as Debian ships them.
KERNELS = {
    'host': ('linux-image-amd64', SUITE),
    '6.1': ('linux-image-cloud-amd64', SUITE),
    '6.12': ('linux-image-cloud-amd64', SUITE + '-backports'),
}
GUEST_KERNELS = ('6.1', '6.12')

ROOT_PACKAGES = (
    # what a Debian host of chvd runs
    'systemd', 'systemd-sysv', 'systemd-container', 'dbus', 'polkitd', 'udev', 'kmod', 'iproute2',
    'libpam-systemd', 'sudo', 'procps', 'login',
    # what the project's programs are linked to
    'libglib2.0-0', 'libglib2.0-bin', 'libjson-glib-1.0-0', 'libseccomp2', 'liburing2', 'libfdt1',
    'libcap-ng0', 'libsystemd0', 'libpolkit-gobject-1-0', 'libasan8', 'libubsan1', 'libtsan2',
    # what the tests use
    'busybox-static', 'socat', 'strace', 'gdbserver', 'python3-minimal', 'python3-gi',
    'e2fsprogs', 'iputils-ping', 'passt',
)
BOOT_MODULES = 'virtio_pci virtio_blk virtio_console virtio_rng erofs overlay'
HOST_MODULES = (
    'kvm_amd kvm_intel vhost_net vhost_vsock vsock_loopback vsock_diag tun tap macvtap macvlan'
    ' veth bridge dummy vfio_pci vfio_iommu_type1 virtio_net virtio_balloon virtio_mem'
    ' virtio_mmio virtiofs fuse 9p 9pnet_virtio ext4 loop nbd dm_mod nf_tables nft_masq nft_nat'
    ' nft_ct nft_chain_nat autofs4 null_blk')
GUEST_MODULES = (
    'virtio_pci virtio_blk virtio_net virtio_console virtio_rng ext4 button evdev autofs4'
    ' af_packet')


def say(text):
    print(f'# {text}', file=sys.stderr, flush=True)


def run(*argv, **kwargs):
    """Runs a program; its output is shown only when it fails."""
    done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs)
    if done.returncode:
        sys.stderr.write(done.stdout.decode(errors='replace')[-4000:])
        raise SystemExit(f'{argv[0]} ended with status {done.returncode}')
    return done.stdout.decode(errors='replace')


# Packages


def mirror():
    """The Debian mirror this machine already uses; CHV_MIRROR names another one."""
    if os.environ.get('CHV_MIRROR'):
        return os.environ['CHV_MIRROR']
    rows = run('apt-get', 'indextargets', '--format', '$(ORIGIN)|$(RELEASE)|$(REPO_URI)',
               'Created-By: Packages', 'Component: main').splitlines()
    rows = [r.split('|') for r in rows]
    rows = [r for r in rows if len(r) == 3 and '-' not in r[1]]
    rows.sort(key=lambda r: (r[0] != 'Debian', '/debian' not in r[2]))
    if not rows:
        raise SystemExit("no Debian mirror among apt's sources: set CHV_MIRROR to one")
    return rows[0][2]


def sources(*suites):
    return [f'deb [signed-by={KEYRING}] {mirror()} {s} main' for s in suites]


class Apt:
    """apt with its own sources and state below the cache, as if nothing were installed."""

    def __init__(self):
        self.dir = CACHE / 'apt'
        for sub in ('lists/partial', 'archives/partial'):
            (self.dir / sub).mkdir(parents=True, exist_ok=True)
        (self.dir / 'status').touch()
        lines = sources(SUITE, SUITE + '-backports')
        (self.dir / 'sources.list').write_text('\n'.join(lines) + '\n')
        options = {
            'Dir::Etc::sourcelist': self.dir / 'sources.list', 'Dir::Etc::sourceparts': '-',
            'Dir::Etc::preferences': '-', 'Dir::Etc::preferencesparts': '-',
            'Dir::State': self.dir, 'Dir::State::lists': self.dir / 'lists',
            'Dir::State::status': self.dir / 'status', 'Dir::Cache': self.dir,
            'Dir::Cache::archives': self.dir / 'archives', 'APT::Architecture': 'amd64',
            'APT::Architectures': 'amd64', 'APT::Install-Recommends': 'false',
            'APT::Sandbox::User': 'root', 'Acquire::Languages': 'none', 'Acquire::Retries': '3',
            'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled': 'false',
        }
        self.options = [w for k, v in options.items() for w in ('-o', f'{k}={v}')]
        if not any((self.dir / 'lists').glob('*_Packages')):
            self('apt-get', 'update')

    def __call__(self, tool, *words):
        return run(tool, *self.options, *words, cwd=self.dir / 'archives')

    def fetch(self, package, suite, needs=False):
        """The .deb of a package, with all it depends on when `needs` is set."""
        verb = ['install', '-y', '--print-uris'] if needs else ['download', '--print-uris']
        for attempt in (1, 2):
            rows = re.findall(r"^'[^']+' (\S+\.deb) ",
                              self('apt-get', '-t', suite, *verb, package), re.M)
            try:
                self('apt-get', '-t', suite, *(['install', '-y', '--download-only'] if needs
                                               else ['download']), package)
                break
            except SystemExit:
                if attempt == 2:
                    raise
                # The lists may be older than the mirror.
                self('apt-get', 'update')
        return [self.dir / 'archives' / r for r in rows]

    def depends(self, package, suite):
        """What the newest version of a meta package in a suite stands for."""
        text = self('apt-cache', '-t', suite, 'show', '--no-all-versions', package)
        return re.search(r'^Depends: ([^ ,]+)', text, re.M).group(1)


# Steps


def step(name, needs=(), files=(), extra=''):
    """Makes a function a cached step; called, it gives back the directory it filled."""

    def wrap(func):
        def key():
            h = hashlib.sha256(inspect.getsource(func).encode() + repr(extra).encode())
            for f in files:
                h.update((HERE / f).read_bytes())
            for n in needs:
                h.update(n.key().encode())
            return h.hexdigest()[:12]

        def get():
            out = CACHE / f'{name}-{key()}'
            if out.exists():
                os.utime(out)
                return out
            inputs = [n() for n in needs]
            CACHE.mkdir(parents=True, exist_ok=True)
            with open(CACHE / 'lock', 'w') as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if out.exists():
                    return out
                begin = time.monotonic()
                say(f'building {name} ...')
                part = CACHE / f'{out.name}.part'
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir()
                func(part, *inputs)
                part.rename(out)
                say(f'{name} built in {time.monotonic() - begin:.0f} s')
                prune(name, out)
            return out

        get.key = key
        return get

    return wrap


def prune(name, keep):
    for old in CACHE.glob(name + '-' + '[0-9a-f]' * 12):
        if old != keep and time.time() - old.stat().st_mtime > STALE_DAYS * 86400:
            shutil.rmtree(old, ignore_errors=True)
    for left in CACHE.glob('run-*'):
        if time.time() - left.stat().st_mtime > 86400:
            shutil.rmtree(left, ignore_errors=True)


@step('qemu')
def qemu(out):
    for deb in Apt().fetch('qemu-system-x86', SUITE + '-backports', needs=True):
        run('dpkg-deb', '-x', deb, out)
        deb.unlink()


def extract_vmlinux(image):
    """The ELF image inside a bzImage (Linux x86 boot protocol, payload_offset and _length)."""
    setup = (image[0x1f1] or 4) + 1
    offset, length = struct.unpack_from('<II', image, 0x248)
    payload = image[setup * 512 + offset:][:length]
    tools = {b'\x28\xb5\x2f\xfd': ['zstd', '-dcq'], b'\xfd7zXZ\0': ['xz', '-dcq', '--single-stream'],
             b'\x02\x21\x4c\x18': ['lz4', '-dcq'], b'\x1f\x8b\x08': ['gzip', '-dcq']}
    for magic, argv in tools.items():
        if payload.startswith(magic):
            # The payload ends with its own length, which the tools take for rubbish.
            elf = subprocess.run(argv, input=payload[:-4], stdout=subprocess.PIPE).stdout
            if elf.startswith(b'\x7fELF'):
                return elf
    raise SystemExit('no ELF image found in the kernel image')


def kernel_step(name):
    package, suite = KERNELS[name]

    @step('kernel-' + name, extra=(package, suite, inspect.getsource(extract_vmlinux)))
    def kernel(out):
        apt = Apt()
        deb, = apt.fetch(apt.depends(package, suite), suite)
        run('dpkg-deb', '-x', deb, out / 'x')
        deb.unlink()
        image, = (out / 'x/boot').glob('vmlinuz-*')
        version = image.name[len('vmlinuz-'):]
        (out / 'version').write_text(version + '\n')
        shutil.move(image, out / 'bzImage')
        shutil.move(out / f'x/boot/config-{version}', out / 'config')
        (out / 'vmlinux').write_bytes(extract_vmlinux((out / 'bzImage').read_bytes()))
        (out / 'lib/modules').mkdir(parents=True)
        shutil.move(next((out / 'x').glob(f'**/lib/modules/{version}')), out / 'lib/modules')
        shutil.rmtree(out / 'x')
        packed = list(out.glob('lib/modules/**/*.ko.xz'))
        for i in range(0, len(packed), 256):
            run('xz', '-dT0', *packed[i:i + 256])
        run('depmod', '-b', out, version)

    return kernel


kernels = {name: kernel_step(name) for name in KERNELS}


def modules(kernel, names):
    """The files of modules with all they depend on, in the order to load them."""
    version = (kernel / 'version').read_text().strip()
    files = []
    for name in names.split():
        done = subprocess.run(['modprobe', '-S', version, '-d', kernel, '--show-depends', name],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for row in done.stdout.splitlines():
            words = row.split()
            if words[0] == 'insmod' and words[1] not in files:
                files.append(words[1])
    return files


def initramfs(out, init, kernel, names):
    """A cpio archive with busybox, an init script and modules listed in /order."""
    with tempfile.TemporaryDirectory() as tmp:
        top = Path(tmp)
        for d in ('bin', 'dev', 'proc', 'sys', 'modules', 'ro', 'rw', 'new', 'tmp', 'etc', 'run'):
            (top / d).mkdir()
        shutil.copy('/bin/busybox', top / 'bin/busybox')
        shutil.copy(init, top / 'init')
        (top / 'init').chmod(0o755)
        files = modules(kernel, names)
        for f in files:
            shutil.copy(f, top / 'modules')
        (top / 'order').write_text(''.join(Path(f).name + '\n' for f in files))
        names = '\n'.join(sorted(str(p.relative_to(top)) for p in top.rglob('*')))
        with open(out, 'wb') as cpio:
            subprocess.run(['cpio', '-o', '-H', 'newc', '-R', '0:0', '--quiet'], cwd=top,
                           input=names.encode(), stdout=cpio, check=True)


def libraries(top, program):
    """The files a program of an unpacked tree is linked to, as the tree's own loader finds them."""
    lib = 'lib/x86_64-linux-gnu'
    loader = top / 'lib64/ld-linux-x86-64.so.2'
    folders = [top / lib, top / 'usr' / lib, *(top / 'usr' / lib).glob('*/')]
    # Not what this machine happens to have: --inhibit-cache, and nothing from elsewhere.
    text = run(loader, '--inhibit-cache', '--library-path', ':'.join(map(str, folders)), '--list',
               program)
    found = [line.split('=>')[1].split()[0] for line in text.splitlines() if '=>' in line]
    for f in found:
        if not Path(f).is_relative_to(top):
            raise SystemExit(f'{program} takes {f} from outside {top}')
    return [Path(f) for f in found] + [loader]


def programs_step(name, packages):
    """Programs, or libraries that a program loads, with their loader and libraries in one folder, to
    be run as `ld-linux-x86-64.so.2 --library-path . ./PROGRAM` wherever it lies."""

    @step(name, extra=(packages, SUITE, inspect.getsource(libraries)))
    def programs(out):
        with tempfile.TemporaryDirectory(dir=CACHE) as tmp:
            for package, program in packages:
                top = Path(tmp) / package
                top.mkdir()
                for deb in Apt().fetch(package, SUITE, needs=True):
                    run('dpkg-deb', '-x', deb, top)
                    deb.unlink()
                for f in [*libraries(top, top / program), top / program]:
                    shutil.copy(f, out / f.name)

    return programs


fio = programs_step('fio', (('fio', 'usr/bin/fio'), ('ethtool', 'sbin/ethtool')))
image_tools = programs_step('image-tools', (
    ('qemu-utils', 'usr/bin/qemu-img'), ('qemu-system-common', 'usr/bin/qemu-storage-daemon')))

DPDK_LIB = 'usr/lib/x86_64-linux-gnu/librte_'
dpdk = programs_step('dpdk', (
    ('dpdk-dev', 'usr/bin/dpdk-testpmd'),
    ('librte-mempool-ring23', DPDK_LIB + 'mempool_ring.so.23'),
    ('librte-net-vhost23', DPDK_LIB + 'net_vhost.so.23')))


@step('rootfs', extra=(ROOT_PACKAGES, SUITE))
def rootfs(out):
    proxy = [w for row in run('apt-config', 'dump', 'Acquire').splitlines()
             if re.match(r'Acquire::https?::', row) for w in ('--aptopt', row)]
    skip = [f'--dpkgopt=path-exclude=/usr/share/{d}/*' for d in ('man', 'doc', 'locale', 'info')]
    run('mmdebstrap', '--variant=minbase', '--format=tar', '--include=' + ','.join(ROOT_PACKAGES),
        '--aptopt=APT::Install-Recommends "false"', '--aptopt=Acquire::Languages "none"',
        '--aptopt=Acquire::Retries "3"', '--dpkgopt=force-unsafe-io', *proxy, *skip,
        SUITE, out / 'root.tar', *sources(SUITE), env={**os.environ, 'TMPDIR': str(out)})


def unpacked(tar):
    """A scratch copy of the root file system, to be customised."""
    tmp = tempfile.TemporaryDirectory(dir=CACHE)
    os.chmod(tmp.name, 0o755)
    run('tar', '-xf', tar / 'root.tar', '-C', tmp.name)
    return tmp


@step('host', needs=(rootfs, kernels['host']),
      files=('l1/customize.sh', 'l1/agent', 'l1/init'),
      extra=(BOOT_MODULES, HOST_MODULES, inspect.getsource(initramfs)))
def host(out, tar, kernel):
    """The emulated machine's own kernel, initramfs and root."""
    version = (kernel / 'version').read_text().strip()
    with unpacked(tar) as root:
        for f in modules(kernel, BOOT_MODULES + ' ' + HOST_MODULES):
            target = Path(root) / 'usr' / Path(f).relative_to(kernel)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(f, target)
        for f in ('modules.order', 'modules.builtin', 'modules.builtin.modinfo'):
            shutil.copy(kernel / 'lib/modules' / version / f,
                        Path(root) / 'usr/lib/modules' / version)
        run('depmod', '-b', Path(root), version)
        run(HERE / 'l1/customize.sh', root)
        run('mkfs.erofs', '-T0', '-Enoinline_data', out / 'root.erofs', root)
    initramfs(out / 'initrd', HERE / 'l1/init', kernel, BOOT_MODULES)
    shutil.copy(kernel / 'vmlinux', out / 'vmlinux')


def initramfs_step(name):
    @step('initramfs-' + name, needs=(kernels[name],), files=('l2/init',),
          extra=(GUEST_MODULES, inspect.getsource(initramfs)))
    def build_initramfs(out, kernel):
        initramfs(out / 'initramfs', HERE / 'l2/init', kernel, GUEST_MODULES)

    return build_initramfs


initramfses = {name: initramfs_step(name) for name in GUEST_KERNELS}


@step('guest', files=('l2/customize.sh',), extra=GUEST_KERNELS,
      needs=(rootfs, fio, image_tools, dpdk,
             *(s[n] for n in GUEST_KERNELS for s in (kernels, initramfses))))
def guest(out, tar, fio_dir, tools_dir, dpdk_dir, *dirs):
    """The guests' kernels and initramfs and tools in one erofs, and the Debian root disk."""
    with tempfile.TemporaryDirectory(dir=CACHE) as top:
        for name, kernel, ramfs in zip(GUEST_KERNELS, dirs[::2], dirs[1::2]):
            d = Path(top) / name
            d.mkdir()
            for f in ('bzImage', 'vmlinux', 'config', 'version'):
                shutil.copy(kernel / f, d)
            shutil.copy(ramfs / 'initramfs', d)
        shutil.copytree(tools_dir, Path(top) / 'tools')
        shutil.copytree(dpdk_dir, Path(top) / 'dpdk')
        run('mke2fs', '-q', '-t', 'ext4', '-O', '^has_journal', '-d', fio_dir,
            Path(top) / 'fio.ext4', '112M')
        run('mkfs.erofs', '-T0', out / 'guest.erofs', top)
    with unpacked(tar) as root:
        run(HERE / 'l2/customize.sh', root)
        run('mke2fs', '-q', '-t', 'ext4', '-L', 'root', '-d', root, out / 'debian.ext4', '800M')


@step('scratch')
def scratch(out):
    """An empty ext4 disk for tests that need a real file system with direct I/O."""
    run('mke2fs', '-q', '-t', 'ext4', '-L', 'scratch', out / 'scratch.ext4', '8G')


def build():
    """Everything, as a name: directory table."""
    return {'qemu': qemu(), 'host': host(), 'guest': guest(), 'scratch': scratch()}
