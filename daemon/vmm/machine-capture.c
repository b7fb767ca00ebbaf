/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Copies of what goes through a network device, for somebody who looks at it (devices/net/capture.h). */

#include "daemon/vmm/machine-private.h"

#include <unistd.h>

#include "dbus/error.h"
#include "devices/net/capture.h"

static struct virtio_dev *find_net(Machine *machine, const char *id, GError **error) {
        struct virtio_dev *vd = machine_find_virtio(machine, id);

        if (vd && g_str_equal(vd->kind, "virtio-net"))
                return vd;
        g_set_error(error, CHV_ERROR, CHV_ERROR_NOT_SUPPORTED,
                    "Device '%s' is no network whose frames could be captured", id);
        return NULL;
}

bool machine_start_capture(
                Machine *machine,
                const char *id,
                int fd,
                uint32_t snaplen,
                uint64_t count,
                GError **error) {
        struct virtio_dev *vd = find_net(machine, id, error);
        struct capture_config config = {
                .name = "capture",
                .fd = fd,
                .snaplen = snaplen,
                .count = count,
                .thread_start = machine->parts.io_thread_start,
        };

        if (!vd) {
                (void) close(fd);
                return false;
        }
        if (virtio_net_capture(vd, &config, error))
                return true;
        machine_translate_error(error);
        return false;
}

bool machine_stop_capture(Machine *machine, const char *id, GError **error) {
        struct virtio_dev *vd = find_net(machine, id, error);

        return vd && virtio_net_capture(vd, NULL, error);
}
