# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
"""What the comparison needs beside the parts of the system suite: a disk for the emulated machine
with QEMU for it, a block device of known latency, and the guest's tools."""

import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / 'system'))
import assets  # noqa: E402

KERNEL = '6.12'
# The emulated machine's, in the order of their loading.
MODULES = 'null_blk'
GUEST_MODULES = 'virtio_pci virtio_mmio virtio_blk virtio_net erofs af_packet button'


@assets.step('bench-disk',
             needs=(assets.qemu, assets.fio, assets.kernels['host'], assets.kernels[KERNEL]),
             files=('../bench/compare/guest-init', '../bench/compare/netload.c'),
             extra=(MODULES, GUEST_MODULES, KERNEL))
def disk(out, qemu, fio_dir, host_kernel, guest_kernel):
    with tempfile.TemporaryDirectory(dir=assets.CACHE) as tmp:
        top = Path(tmp)
        top.chmod(0o755)
        shutil.copytree(qemu, top / 'qemu', symlinks=True)
        (top / 'modules').mkdir()
        files = assets.modules(host_kernel, MODULES)
        for f in files:
            shutil.copy(f, top / 'modules')
        (top / 'modules/order').write_text(''.join(Path(f).name + '\n' for f in files))
        shutil.copytree(fio_dir, top / 'tools')
        assets.run('cc', '-O2', '-static', '-o', top / 'tools/netload', HERE / 'netload.c')
        shutil.copy(top / 'tools/netload', top / 'netload')
        assets.run('qemu-img', 'create', '-q', '-f', 'qcow2', top / 'image.qcow2', '1G')
        assets.run('mkfs.erofs', '-T0', top / 'tools.erofs', top / 'tools')
        shutil.rmtree(top / 'tools')
        shutil.copy(guest_kernel / 'vmlinux', top)
        assets.initramfs(top / 'initramfs', HERE / 'guest-init', guest_kernel, GUEST_MODULES)
        assets.run('mkfs.erofs', '-T0', out / 'bench.erofs', top)
