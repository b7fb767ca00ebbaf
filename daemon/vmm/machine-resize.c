/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Sizes of disks, and changes of them while the machine is there. Nothing of it is configuration: a disk is as large as its image, also
 * for the machine that follows after a reset.
 *
 * A change may take long, so it has a thread of its own, and its end is told on the main thread. The machine's end stops it and waits for
 * that: a disk that grows has the old size then.
 */

#include "daemon/vmm/machine-private.h"

#include <stdatomic.h>

#include "dbus/error.h"

#define TYPE_BLOCK 2
#define SECTOR 512u

typedef struct {
        Machine *machine;
        struct virtio_dev *vd;
        uint64_t size;
        bool shrink;
        MachineResized *done;
        void *opaque;
        GThread *thread;
        atomic_bool stop;
        GError *error; /* of the thread's, until that has ended */
} Resize;

/* When its thread has ended. */
static void finish(Resize *resize) {
        Machine *machine = resize->machine;
        const char *id = resize->vd->id;

        (void) g_ptr_array_remove_fast(machine->resizes, resize);
        if (resize->error)
                machine_translate_error(&resize->error);
        else {
                GVariantDict dict;

                g_variant_dict_init(&dict, NULL);
                g_variant_dict_insert(&dict, "id", "s", id);
                g_variant_dict_insert(&dict, "size", "t", resize->size);
                events_post(machine->parts.events, "block", "resized", g_variant_dict_end(&dict));
        }
        resize->done(resize->opaque, resize->size, resize->error);
        g_clear_error(&resize->error);
        g_free(resize);
}

static gboolean on_ended(gpointer data) {
        Resize *resize = data;

        (void) g_thread_join(resize->thread);
        finish(resize);
        return G_SOURCE_REMOVE;
}

static gpointer run(gpointer data) {
        Resize *resize = data;

        if (resize->machine->parts.io_thread_start)
                resize->machine->parts.io_thread_start(/* opaque= */ NULL);
        (void) resize->vd->ops->resize(
                        resize->vd, &resize->size, resize->shrink, &resize->stop, &resize->error);
        (void) g_idle_add_full(G_PRIORITY_DEFAULT, on_ended, resize, /* notify= */ NULL);
        return NULL;
}

static bool is_resizing(const Machine *machine, const struct virtio_dev *vd) {
        for (guint i = 0; i < machine->resizes->len; i++)
                if (((const Resize *) machine->resizes->pdata[i])->vd == vd)
                        return true;
        return false;
}

bool machine_resize_disk(
                Machine *machine,
                const char *id,
                uint64_t size,
                bool shrink,
                MachineResized *done,
                void *opaque,
                GError **error) {
        struct virtio_dev *vd = machine_find_virtio(machine, id);
        Resize *resize;

        if (!vd || !vd->ops->resize) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_NOT_SUPPORTED,
                            vd && vd->type == TYPE_BLOCK
                                            ? "Disk '%s' is served by another process, which alone "
                                              "can change its size"
                                            : "Device '%s' is no disk",
                            id);
                return false;
        }
        if (is_resizing(machine, vd)) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_BUSY,
                            "Disk '%s' is being given another size already", id);
                return false;
        }
        resize = g_new0(Resize, 1);
        *resize = (Resize){ machine, vd, size, shrink, done, opaque };
        resize->thread = g_thread_try_new("resize", run, resize, error);
        if (!resize->thread) {
                g_free(resize);
                return false;
        }
        g_ptr_array_add(machine->resizes, resize);
        return true;
}

void machine_end_resizes(Machine *machine) {
        for (guint i = 0; i < machine->resizes->len; i++)
                atomic_store(&((Resize *) machine->resizes->pdata[i])->stop, true);
        while (machine->resizes->len > 0) {
                Resize *resize = machine->resizes->pdata[0];

                (void) g_thread_join(resize->thread);
                (void) g_idle_remove_by_data(resize);
                finish(resize);
        }
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
