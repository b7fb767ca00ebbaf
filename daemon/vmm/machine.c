/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The life of a machine. Construction goes from the ground up (memory, hypervisor, buses, devices,
 * vCPUs, tables, payload) and destruction backwards through the same list, so that a half-built machine is freed by the same
 * code. vCPU threads see the machine only through the handlers below, which look up a bus and nothing else.
 */

#include "daemon/vmm/machine-private.h"

#include "dbus/error.h"
#include "hypervisor/error.h"

static void on_pio_read(void *opaque, uint16_t port, void *data, unsigned len) {
        Machine *machine = opaque;

        bus_read(machine->pio, port, data, len);
}

static void on_pio_write(void *opaque, uint16_t port, const void *data, unsigned len) {
        Machine *machine = opaque;

        bus_write(machine->pio, port, data, len);
}

static void on_mmio_read(void *opaque, uint64_t addr, void *data, unsigned len) {
        Machine *machine = opaque;

        bus_read(machine->mmio, addr, data, len);
}

static void on_mmio_write(void *opaque, uint64_t addr, const void *data, unsigned len) {
        Machine *machine = opaque;

        bus_write(machine->mmio, addr, data, len);
}

static void on_eoi(void *opaque, unsigned vector) {
        Machine *machine = opaque;

        ioapic_eoi(machine->ioapic, vector);
}

static void on_stopped(void *opaque, unsigned vcpu, enum vcpu_stop why, const char *detail) {
        Machine *machine = opaque;
        g_autofree char *message = NULL;

        if (why == VCPU_STOP_RESET) {
                machine_request(machine, "reset", NULL);
                return;
        }
        message = g_strdup_printf("vCPU %u: %s", vcpu, detail ?: "stopped");
        machine_request(machine, "error", message);
}

static const struct vcpu_handlers handlers = {
        .pio_read = on_pio_read,
        .pio_write = on_pio_write,
        .mmio_read = on_mmio_read,
        .mmio_write = on_mmio_write,
        .eoi = on_eoi,
        .stopped = on_stopped,
};

void machine_request(Machine *machine, const char *what, const char *message) {
        if (!g_atomic_int_compare_and_exchange(&machine->ended, 0, 1))
                return;
        if (message)
                events_post_string(machine->parts.events, EVENTS_MACHINE, what, "message", message);
        else
                events_post(machine->parts.events, EVENTS_MACHINE, what, /* properties= */ NULL);
}

static int
assign_doorbell(void *opaque,
                uint64_t addr,
                unsigned len,
                bool with_data,
                uint64_t data,
                int fd,
                bool on) {
        const MachineSpace *space = opaque;
        struct hv_doorbell bell = {
                .space = space->space,
                .addr = addr,
                .len = len,
                .with_data = with_data,
                .data = data,
                .fd = fd,
        };

        return hv_vm_doorbell(space->vm, &bell, on);
}

static const struct bus_doorbell_ops doorbells = { .assign = assign_doorbell };

static bool add_memory(Machine *machine, GError **error) {
        const ChvMemoryConfig *config = &machine->parts.config->memory;
        struct gmem_backing backing = {
                .shared = config->shared,
                .hugepages = config->hugepages,
                .hugepage_size = config->hugepage_size,
                .thp = config->thp,
                .prefault = config->prefault,
                .mergeable = config->mergeable,
                .reserve = config->reserve,
        };

        machine->memory = gmem_new();
        for (size_t i = 0; i < G_N_ELEMENTS(machine->layout.ram); i++) {
                const struct arch_range *ram = &machine->layout.ram[i];

                if (ram->size > 0 &&
                    !gmem_add(machine->memory, GADDR(ram->base), ram->size, &backing, error))
                        return false;
        }
        return true;
}

static bool add_hypervisor(Machine *machine, GError **error) {
        const ChvConfig *config = machine->parts.config;
        struct hv_vm_config vm_config = {
                .max_phys_bits = config->cpus.max_phys_bits,
                .nested = config->cpus.nested,
                .hyperv = config->cpus.kvm_hyperv,
                .amx = config->cpus.amx,
                .max_vcpus = config->cpus.max_vcpus,
        };
        struct hv_info info;

        machine->hv = hv_kvm_open(fd_table_get(machine->parts.fds, "kvm"), error);
        if (!machine->hv)
                return false;
        hv_get_info(machine->hv, &info);
        if (config->cpus.max_vcpus > info.max_vcpus) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_NOT_SUPPORTED,
                            "cpus.max_vcpus: %u, but this host runs at most %u",
                            config->cpus.max_vcpus, info.max_vcpus);
                return false;
        }
        if (!arch_layout_for(
                            config->memory.size, MIN(info.phys_bits, config->cpus.max_phys_bits),
                            &machine->layout, error))
                return false;
        if (!add_memory(machine, error))
                return false;
        machine->vm = hv_vm_new(machine->hv, &vm_config, machine->memory, error);
        if (!machine->vm)
                return false;
        machine->pio_space = (MachineSpace){ machine->vm, HV_SPACE_PIO };
        machine->mmio_space = (MachineSpace){ machine->vm, HV_SPACE_MMIO };
        machine->pio = bus_new("pio", &doorbells, &machine->pio_space);
        machine->mmio = bus_new("mmio", &doorbells, &machine->mmio_space);
        return true;
}

static bool add_vcpus(Machine *machine, GError **error) {
        const ChvCpusConfig *cpus = &machine->parts.config->cpus;
        g_autofree struct vcpu_affinity *affinity =
                        g_new0(struct vcpu_affinity, cpus->n_affinity + 1);
        struct vcpus_config config = {
                .boot = cpus->boot_vcpus,
                .max = cpus->max_vcpus,
                .topology = { cpus->topology.threads_per_core, cpus->topology.cores_per_die,
                              cpus->topology.dies_per_package, cpus->topology.packages },
                .affinity = affinity,
                .n_affinity = cpus->n_affinity,
                .thread_start = machine->parts.vcpu_thread_start,
        };

        for (size_t i = 0; i < cpus->n_affinity; i++) {
                affinity[i].vcpu = cpus->affinity[i].vcpu;
                affinity[i].host_cpus = cpus->affinity[i].host_cpus;
                affinity[i].n_host_cpus = cpus->affinity[i].n_host_cpus;
        }
        machine->vcpus = vcpus_new(machine->vm, &config, &handlers, machine, error);
        return machine->vcpus != NULL;
}

/* The lower floors' errors in the words of the bus. */
void machine_translate_error(GError **error) {
        static const ChvError codes[HV_ERROR_MAX] = {
                [HV_ERROR_FAILED] = CHV_ERROR_FAILED,
                [HV_ERROR_UNSUPPORTED] = CHV_ERROR_NOT_SUPPORTED,
                [HV_ERROR_INVALID] = CHV_ERROR_INVALID_CONFIG,
                [HV_ERROR_IMAGE] = CHV_ERROR_IMAGE,
                [HV_ERROR_STATE] = CHV_ERROR_FAILED,
        };
        GError *old;

        if (!error || !*error || (*error)->domain != HV_ERROR)
                return;
        old = *error;
        *error = g_error_new_literal(CHV_ERROR, codes[old->code], old->message);
        g_error_free(old);
}

static Machine *machine_build(const MachineParts *parts, GError **error) {
        g_autoptr(Machine) machine = g_new0(Machine, 1);

        machine->parts = *parts;
        machine->paused = true;
        machine->resources = chv_config_resources(parts->config);
        machine->back_ends = machine_back_ends_new();
        machine->resizes = g_ptr_array_new();
        machine->devices = g_array_new(
                        /* zero_terminated= */ false, /* clear= */ true, sizeof(MachineDevice));
        if (!add_hypervisor(machine, error))
                return NULL;
        if (!machine_add_devices(machine, error))
                return NULL;
        if (!add_vcpus(machine, error))
                return NULL;
        if (!machine_load(machine, error))
                return NULL;
        return g_steal_pointer(&machine);
}

Machine *machine_new(const MachineParts *parts, GError **error) {
        GError *local = NULL;
        Machine *machine = machine_build(parts, &local);

        if (!machine) {
                machine_translate_error(&local);
                g_propagate_error(error, local);
        }
        return machine;
}

static void detach_console(Console *console) {
        if (console)
                console_detach_device(console);
}

void machine_free(Machine *machine) {
        if (!machine)
                return;
        machine_end_resizes(machine);
        vcpus_free(machine->vcpus); /* from here on no handler runs */
        detach_console(machine->parts.serial);
        detach_console(machine->parts.console);
        detach_console(machine->parts.debug_console);
        machine_end_streams(machine); /* they call into devices */
        for (guint i = machine->devices->len; i > 0; i--)
                device_free(g_array_index(machine->devices, MachineDevice, i - 1).device);
        g_array_unref(machine->devices);
        g_free(machine->groups);
        g_ptr_array_unref(machine->back_ends);
        g_ptr_array_unref(machine->resizes);
        for (size_t i = machine->n_segments; i > 0; i--)
                pci_segment_free(machine->segments[i - 1]);
        g_free(machine->segments);
        g_free(machine->segment_layouts);
        iothread_free(machine->io);
        bus_free(machine->mmio);
        bus_free(machine->pio);
        hv_vm_free(machine->vm);
        gmem_free(machine->memory);
        hv_free(machine->hv);
        g_array_unref(machine->resources);
        g_free(machine);
}

bool machine_pause(Machine *machine, GError **error) {
        if (machine->paused)
                return true;
        vcpus_pause(machine->vcpus);
        for (guint i = 0; i < machine->devices->len; i++) {
                struct device *device = g_array_index(machine->devices, MachineDevice, i).device;

                if (device->ops->pause && !device->ops->pause(device, error)) {
                        while (i-- > 0) {
                                device = g_array_index(machine->devices, MachineDevice, i).device;
                                if (device->ops->resume)
                                        device->ops->resume(device);
                        }
                        vcpus_resume(machine->vcpus);
                        machine_translate_error(error);
                        return false;
                }
        }
        machine->paused = true;
        return true;
}

void machine_resume(Machine *machine) {
        if (!machine->paused)
                return;
        for (guint i = machine->devices->len; i > 0; i--) {
                struct device *device =
                                g_array_index(machine->devices, MachineDevice, i - 1).device;

                if (device->ops->resume)
                        device->ops->resume(device);
        }
        machine->paused = false;
        vcpus_resume(machine->vcpus);
}

void machine_press_power_button(Machine *machine) {
        ged_press_power_button(machine->ged);
}

bool machine_nmi(Machine *machine, GError **error) {
        if (vcpus_nmi(machine->vcpus, error))
                return true;
        machine_translate_error(error);
        return false;
}

struct virtio_dev *machine_find_virtio(const Machine *machine, const char *id) {
        for (guint i = 0; i < machine->devices->len; i++) {
                const MachineDevice *d = &g_array_index(machine->devices, MachineDevice, i);

                if (d->vd && g_str_equal(d->vd->id, id))
                        return d->vd;
        }
        return NULL;
}

GVariant *machine_devices(Machine *machine) {
        GVariantBuilder builder;

        g_variant_builder_init(&builder, G_VARIANT_TYPE("a(sssa{sv})"));
        for (guint i = 0; i < machine->devices->len; i++) {
                const MachineDevice *d = &g_array_index(machine->devices, MachineDevice, i);
                g_autofree char *address = d->pci ? pci_address(d->pci) : g_strdup("");
                g_autoptr(GVariant) config = g_variant_take_ref(machine_own_config(machine, d));

                g_variant_builder_add(
                                &builder, "(sss@a{sv})", d->device->id, d->kind, address, config);
        }
        return g_variant_builder_end(&builder);
}

static void add_counter(void *opaque, const char *name, uint64_t value) {
        g_variant_builder_add((GVariantBuilder *) opaque, "{st}", name, value);
}

static void add_console_counters(GVariantBuilder *builder, Console *console) {
        uint64_t output, lost;

        if (!console)
                return;
        console_counters(console, &output, &lost);
        g_variant_builder_open(builder, G_VARIANT_TYPE("{sa{st}}"));
        g_variant_builder_add(builder, "s", console_name(console));
        g_variant_builder_open(builder, G_VARIANT_TYPE("a{st}"));
        g_variant_builder_add(builder, "{st}", "output_bytes", output);
        g_variant_builder_add(builder, "{st}", "lost_bytes", lost);
        g_variant_builder_close(builder);
        g_variant_builder_close(builder);
}

GVariant *machine_counters(Machine *machine) {
        GVariantBuilder builder;

        g_variant_builder_init(&builder, G_VARIANT_TYPE("a{sa{st}}"));
        g_variant_builder_add_parsed(
                        &builder, "{'vcpus', {'exits': %t}}", vcpus_n_exits(machine->vcpus));
        add_console_counters(&builder, machine->parts.serial);
        add_console_counters(&builder, machine->parts.console);
        add_console_counters(&builder, machine->parts.debug_console);
        for (guint i = 0; i < machine->devices->len; i++) {
                struct device *device = g_array_index(machine->devices, MachineDevice, i).device;

                if (!device->ops->counters)
                        continue;
                g_variant_builder_open(&builder, G_VARIANT_TYPE("{sa{st}}"));
                g_variant_builder_add(&builder, "s", device->id);
                g_variant_builder_open(&builder, G_VARIANT_TYPE("a{st}"));
                device->ops->counters(device, add_counter, &builder);
                g_variant_builder_close(&builder);
                g_variant_builder_close(&builder);
        }
        return g_variant_builder_end(&builder);
}
