/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The devices of a machine, in the order that decides their PCI slots (reference 3.2): slots that a
 * configuration names are reserved first, then console, disks, networks and the entropy source take the first free
 * ones. Descriptors are duplicated for each device, so that the next machine of the same worker finds them again.
 */

#include "daemon/vmm/disk.h"
#include "daemon/vmm/machine-private.h"

#include "dbus/error.h"

#define DEBUG_CODES_MAX 64

const char *
machine_fd_name(const Machine *machine, ChvResourceKind kind, const void *config, unsigned index) {
        for (guint i = 0; i < machine->resources->len; i++) {
                const ChvResource *r = &g_array_index(machine->resources, ChvResource, i);

                if (r->kind == kind && r->config == config && r->index == index)
                        return r->fd_name;
        }
        return "";
}

static void on_reset(void *opaque) {
        machine_request(opaque, "reset", NULL);
}

static void on_power(void *opaque, enum acpi_power_event event) {
        machine_request(opaque, event == ACPI_POWER_OFF ? "power-off" : "reset", NULL);
}

static void on_debug_code(void *opaque, uint8_t code, uint64_t ns) {
        Machine *machine = opaque;
        GVariantDict dict;

        if (g_atomic_int_add(&machine->debug_codes, 1) >= DEBUG_CODES_MAX) {
                g_atomic_int_set(&machine->debug_codes, DEBUG_CODES_MAX);
                return;
        }
        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert(&dict, "code", "y", code);
        g_variant_dict_insert(&dict, "time_ns", "t", ns);
        events_post(machine->parts.events, "debug", "code", g_variant_dict_end(&dict));
}

static void
on_virtio_event(void *opaque, const char *id, enum virtio_event event, const char *why) {
        static const char *const names[] = {
                [VIRTIO_EVENT_ACTIVATED] = "activated",
                [VIRTIO_EVENT_RESET] = "reset",
                [VIRTIO_EVENT_BROKEN] = "broken",
        };
        Machine *machine = opaque;
        GVariantDict dict;

        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert(&dict, "id", "s", id);
        if (why)
                g_variant_dict_insert(&dict, "message", "s", why);
        events_post(machine->parts.events, "virtio-device", names[event],
                    g_variant_dict_end(&dict));
}

static void on_io_error(void *opaque, const char *id, const char *operation, int errnum) {
        Machine *machine = opaque;
        GVariantDict dict;

        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert(&dict, "id", "s", id);
        g_variant_dict_insert(&dict, "operation", "s", operation);
        g_variant_dict_insert(&dict, "message", "s", g_strerror(errnum));
        events_post(machine->parts.events, "block", "io-error", g_variant_dict_end(&dict));
}

/* Takes the device into the machine. False if there is none. */
static bool keep_as(Machine *machine, MachineDevice d) {
        if (d.device)
                g_array_append_val(machine->devices, d);
        return d.device;
}

static bool keep(Machine *machine, struct device *device) {
        return keep_as(machine, (MachineDevice){ .device = device,
                                                 .kind = device ? device->ops->kind : NULL });
}

static bool add_platform(Machine *machine, GError **error) {
        const struct arch_layout *layout = &machine->layout;
        bus *pio = machine->pio;

        machine->ioapic = ioapic_new(machine->mmio, layout->ioapic, hv_vm_intc(machine->vm), error);
        if (!keep(machine, machine->ioapic))
                return false;
        if (!keep(machine, cmos_new(pio, layout->ram[0].size, layout->ram[1].size, on_reset,
                                    machine, error)))
                return false;
        if (!keep(machine, i8042_new(pio, on_reset, machine, error)))
                return false;
        if (!keep(machine, debug_port_new(pio, on_debug_code, machine, error)))
                return false;
        if (!keep(machine, acpi_shutdown_new(pio, on_power, machine, error)))
                return false;
        if (!keep(machine, pm_timer_new(pio, error)))
                return false;
        machine->ged =
                        ged_new(machine->mmio, layout->platform.base, ARCH_IRQ_GED,
                                ioapic_line(machine->ioapic, ARCH_IRQ_GED), error);
        return keep(machine, machine->ged);
}

static bool add_consoles(Machine *machine, GError **error) {
        const MachineParts *parts = &machine->parts;

        if (parts->serial &&
            !keep(machine,
                  serial_new(machine->pio, 0x3f8, ioapic_line(machine->ioapic, ARCH_IRQ_SERIAL),
                             console_chardev(parts->serial), error)))
                return false;
        if (parts->debug_console &&
            !keep(machine, debug_console_new(
                                           machine->pio, parts->config->debug_console.iobase,
                                           console_chardev(parts->debug_console), error)))
                return false;
        return true;
}

static bool reserve_slot(Machine *machine, const ChvPciCommon *pci, GError **error) {
        if (pci->pci_segment >= machine->n_segments) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                            "%s.pci_segment: there is no segment %u", pci->id ?: "device",
                            pci->pci_segment);
                return false;
        }
        if (pci->pci_device_id < 0)
                return true;
        return pci_reserve_slot(
                        machine->segments[pci->pci_segment], (uint8_t) pci->pci_device_id, error);
}

static bool reserve_slots(Machine *machine, GError **error) {
        const ChvConfig *config = machine->parts.config;

        if (machine->parts.console && !reserve_slot(machine, &config->console.pci, error))
                return false;
        for (size_t i = 0; i < config->n_disks; i++)
                if (!reserve_slot(machine, &config->disks[i].pci, error))
                        return false;
        for (size_t i = 0; i < config->n_net; i++)
                if (!reserve_slot(machine, &config->net[i].pci, error))
                        return false;
        return reserve_slot(machine, &config->rng.pci, error);
}

/* Equal shares of the windows; a share is a multiple of the granularity of reference 3.1. */
static struct arch_range share(struct arch_range whole, size_t n, size_t i, uint64_t granularity) {
        uint64_t size = whole.size / n;

        if (size > granularity)
                size -= size % granularity;
        return (struct arch_range){ whole.base + i * size, size };
}

static bool add_segments(Machine *machine, GError **error) {
        const struct arch_layout *layout = &machine->layout;
        size_t n = machine->parts.config->platform.num_pci_segments;

        machine->segments = g_new0(pci_segment *, n);
        machine->segment_layouts = g_new0(struct arch_pci_segment, n);
        for (size_t i = 0; i < n; i++) {
                struct arch_pci_segment *segment = &machine->segment_layouts[i];
                struct pci_segment_config config = {
                        .mmio = machine->mmio,
                        .pio = i == 0 ? machine->pio : NULL,
                        .intc = hv_vm_intc(machine->vm),
                };

                segment->segment = (uint16_t) i;
                segment->ecam = (struct arch_range){ layout->ecam.base + (i << 20), 1u << 20 };
                segment->mmio32 = share(layout->mmio32, n, i, 4096);
                segment->mmio64 = share(layout->mmio64, n, i, 4ull << 30);
                config.layout = *segment;
                machine->segments[i] = pci_segment_new(&config, error);
                if (!machine->segments[i])
                        return false;
                machine->n_segments++;
        }
        return true;
}

GVariant *machine_own_config(const Machine *machine, const MachineDevice *d) {
        g_autoptr(GVariant) all = g_variant_ref_sink(chv_config_to_variant(machine->parts.config));
        g_autoptr(GVariant) value = NULL, element = NULL;

        if (d->section)
                value = g_variant_lookup_value(all, d->section, /* expected_type= */ NULL);
        if (!value)
                return g_variant_new("a{sv}", NULL);
        if (g_variant_is_of_type(value, G_VARIANT_TYPE_VARDICT))
                return g_steal_pointer(&value);
        element = g_variant_get_child_value(value, d->index);
        return g_variant_is_of_type(element, G_VARIANT_TYPE_VARIANT)
                               ? g_variant_get_variant(element)
                               : g_steal_pointer(&element);
}

/* Takes vd; NULL passes the constructor's error on. section[i] is its configuration. */
bool machine_add_virtio(
                Machine *machine,
                struct virtio_dev *vd,
                const ChvPciCommon *pci,
                bool bar32,
                const char *section,
                size_t i,
                GError **error) {
        struct virtio_pci_config config = {
                .segment = machine->segments[pci->pci_segment],
                .slot = pci->pci_device_id,
                .bar32 = bar32,
        };
        const char *kind = vd ? vd->kind : NULL;
        struct device *device;

        if (!vd)
                return false;
        if (pci->packed)
                vd->device_features |= 1ull << VIRTIO_F_RING_PACKED;
        device = virtio_pci_new(&config, vd, on_virtio_event, machine, error);
        return device && keep_as(machine, (MachineDevice){
                                                          .device = device,
                                                          .kind = kind,
                                                          .pci = virtio_pci_function(device),
                                                          .vd = vd,
                                                          .section = section,
                                                          .index = i,
                                          });
}

static bool add_disk(Machine *machine, size_t index, GError **error) {
        const ChvDiskConfig *disk = &machine->parts.config->disks[index];
        g_autofree struct virtio_queue_affinity *affinity =
                        g_new0(struct virtio_queue_affinity, disk->n_queue_affinity + 1);
        struct virtio_blk_config config = {
                .id = disk->pci.id,
                .readonly = disk->readonly,
                .direct = disk->direct,
                .num_queues = disk->num_queues,
                .queue_size = disk->queue_size,
                .serial = disk->serial,
                .affinity = affinity,
                .n_affinity = disk->n_queue_affinity,
                .no_io_uring = disk->disable_io_uring,
                .no_discard = !disk->sparse,
                .in_order = disk->in_order,
                .poll_us = disk->poll,
                .registered_buffers = disk->registered_buffers,
                .iopoll = disk->iopoll,
                .limits = machine_limits(&disk->limiter),
                .group = machine_group(machine, disk->rate_limit_group),
                .io_error = on_io_error,
                .io_error_opaque = machine,
                .hook = { machine->parts.io_thread_start, NULL },
        };

        for (size_t i = 0; i < disk->n_queue_affinity; i++) {
                affinity[i].queue = disk->queue_affinity[i].queue_index;
                affinity[i].host_cpus = disk->queue_affinity[i].host_cpus;
                affinity[i].n_host_cpus = disk->queue_affinity[i].n_host_cpus;
        }
        config.image = disk_open(disk, machine->parts.fds, &config.hook, error);
        if (!config.image)
                return false;
        return machine_add_virtio(
                        machine, virtio_blk_new(machine->memory, &config, error), &disk->pci,
                        disk->pci.pci_segment == 0, "disks", index, error);
}

static bool add_rng(Machine *machine, GError **error) {
        const ChvRngConfig *rng = &machine->parts.config->rng;
        const char *name = machine_fd_name(machine, CHV_RESOURCE_RNG, rng, 0);
        int fd = -1;

        if (fd_table_get(machine->parts.fds, name) >= 0) {
                fd = fd_table_dup(machine->parts.fds, name, error);
                if (fd < 0)
                        return false;
        }
        return machine_add_virtio(
                        machine,
                        virtio_rng_new(machine->memory, rng->pci.id, fd, machine->io, error),
                        &rng->pci,
                        /* bar32= */ false, "rng", 0, error);
}

static bool add_virtio_console(Machine *machine, GError **error) {
        const ChvPciCommon *pci = &machine->parts.config->console.pci;

        return machine_add_virtio(
                        machine,
                        virtio_console_new(
                                        machine->memory, pci->id,
                                        console_chardev(machine->parts.console), machine->io,
                                        error),
                        pci,
                        /* bar32= */ false, "console", 0, error);
}

bool machine_add_devices(Machine *machine, GError **error) {
        const ChvConfig *config = machine->parts.config;
        struct iothread_config io = {
                .name = "io-misc",
                .thread_start = machine->parts.io_thread_start,
        };

        machine->io = iothread_new(&io, error);
        if (!machine->io)
                return false;
        if (!add_platform(machine, error) || !add_consoles(machine, error))
                return false;
        if (!add_segments(machine, error) || !reserve_slots(machine, error))
                return false;
        if (machine->parts.console && !add_virtio_console(machine, error))
                return false;
        machine_add_groups(machine);
        for (size_t i = 0; i < config->n_disks; i++)
                if (!(config->disks[i].vhost_user ? machine_add_vhost_disk
                                                  : add_disk)(machine, i, error))
                        return false;
        for (size_t i = 0; i < config->n_net; i++)
                if (!machine_add_net(machine, i, error))
                        return false;
        return add_rng(machine, error);
}
