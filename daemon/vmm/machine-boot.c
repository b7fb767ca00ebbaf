/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What makes a machine start: firmware tables that describe its devices, the payload in guest memory, and
 * the first vCPU at its entry. Done once in a machine's life, when everything it describes is in place.
 */

#include "daemon/vmm/machine-private.h"

static GBytes *describe_devices(Machine *machine) {
        g_autoptr(aml) code = aml_new();

        aml_scope(code, "\\_SB");
        for (size_t i = 0; i < machine->n_segments; i++)
                pci_segment_describe(machine->segments[i], code);
        for (guint i = 0; i < machine->devices->len; i++) {
                struct device *device = g_array_index(machine->devices, MachineDevice, i).device;

                if (device->ops->describe)
                        device->ops->describe(device, code);
        }
        aml_close(code);
        return aml_end(code);
}

static bool write_tables(Machine *machine, uint64_t *ret_rsdp, GError **error) {
        const ChvConfig *config = machine->parts.config;
        const ChvPlatformConfig *platform = &config->platform;
        g_autofree uint32_t *apic_ids = g_new(uint32_t, config->cpus.max_vcpus);
        g_autoptr(GBytes) dsdt_body = describe_devices(machine);
        struct arch_tables tables = {
                .boot_vcpus = config->cpus.boot_vcpus,
                .max_vcpus = config->cpus.max_vcpus,
                .apic_ids = apic_ids,
                .segments = machine->segment_layouts,
                .n_segments = machine->n_segments,
                .dsdt_body = dsdt_body,
                .smbios = {
                        .serial_number = platform->serial_number,
                        .uuid = platform->uuid,
                        .manufacturer = platform->manufacturer,
                        .product_name = platform->product_name,
                        .version = platform->version,
                        .family = platform->family,
                        .sku_number = platform->sku_number,
                        .chassis_asset_tag = platform->chassis_asset_tag,
                        .oem_strings = (const char *const *) platform->oem_strings,
                },
        };

        for (uint32_t i = 0; i < config->cpus.max_vcpus; i++)
                apic_ids[i] = vcpus_apic_id(machine->vcpus, i);
        return arch_write_tables(machine->memory, &machine->layout, &tables, ret_rsdp, error);
}

static int payload_fd(const Machine *machine, ChvResourceKind kind) {
        for (guint i = 0; i < machine->resources->len; i++) {
                const ChvResource *r = &g_array_index(machine->resources, ChvResource, i);

                if (r->kind == kind)
                        return fd_table_get(machine->parts.fds, r->fd_name);
        }
        return -1;
}

bool machine_load(Machine *machine, GError **error) {
        struct boot_payload payload = {
                .kernel_fd = payload_fd(machine, CHV_RESOURCE_KERNEL),
                .firmware_fd = payload_fd(machine, CHV_RESOURCE_FIRMWARE),
                .initramfs_fd = payload_fd(machine, CHV_RESOURCE_INITRAMFS),
                .cmdline = machine->parts.config->payload.cmdline,
        };
        struct boot_entry entry;

        if (!write_tables(machine, &payload.rsdp, error))
                return false;
        if (!arch_load_payload(machine->memory, &machine->layout, &payload, &entry, error))
                return false;
        return vcpus_boot(machine->vcpus, &entry, error);
}
