/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Sizes of disks, and changes of them while the machine is there. Nothing of it is configuration: a disk is as large as its image, also
 * for the machine that follows after a reset.
 */

#include "daemon/vmm/machine-private.h"

#include "dbus/error.h"

#define TYPE_BLOCK 2
#define SECTOR 512u

bool machine_resize_disk(
                Machine *machine, const char *id, uint64_t *size, bool shrink, GError **error) {
        struct virtio_dev *vd = machine_find_virtio(machine, id);
        GVariantDict dict;

        if (!vd || !vd->ops->resize) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_NOT_SUPPORTED,
                            vd && vd->type == TYPE_BLOCK
                                            ? "Disk '%s' is served by another process, which alone "
                                              "can change its size"
                                            : "Device '%s' is no disk",
                            id);
                return false;
        }
        if (!vd->ops->resize(vd, size, shrink, error)) {
                machine_translate_error(error);
                return false;
        }
        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert(&dict, "id", "s", id);
        g_variant_dict_insert(&dict, "size", "t", *size);
        events_post(machine->parts.events, "block", "resized", g_variant_dict_end(&dict));
        return true;
}

GVariant *machine_disk_sizes(Machine *machine) {
        GVariantBuilder sizes;

        g_variant_builder_init(&sizes, G_VARIANT_TYPE("a{st}"));
        for (guint i = 0; i < machine->devices->len; i++) {
                struct virtio_dev *vd = g_array_index(machine->devices, MachineDevice, i).vd;
                uint64_t sectors;

                if (!vd || vd->type != TYPE_BLOCK)
                        continue;
                /* The first field, whoever serves it (virtio 1.2, 5.2.4). */
                vd->ops->config_read(vd, 0, &sectors, sizeof(sectors));
                g_variant_builder_add(&sizes, "{st}", vd->id, GUINT64_FROM_LE(sectors) * SECTOR);
        }
        return g_variant_builder_end(&sizes);
}
