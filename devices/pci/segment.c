/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A segment: one flat bus of 32 slots and the two ways to its configuration space. ECAM has 4 KiB a function
 * (PCI Express Base 3.0, 7.2.2); segment 0 has ports 0xcf8/0xcfc as well (PCI Local Bus 3.0, 3.2.2.3.2).
 * Functions other than 0, empty slots and accesses that straddle two registers' owners read as all ones.
 *
 * The lock serialises configuration accesses and what they set off, with attach and detach. A device's registers in its
 * BARs do not take it.
 */

#include <assert.h>
#include <string.h>

#include "devices/guard.h"
#include "devices/pci/private.h"
#include "hypervisor/error.h"

#define ECAM_SIZE 0x100000u /* one bus */
#define ECAM_SLOT_SHIFT 15
#define FUNCTION_SIZE 4096u

#define PORTS_DATA 4 /* 0xcfc, from the base */
#define ADDRESS_ENABLE 0x80000000u
#define ADDRESS_WRITABLE 0x80fffffcu

/* The function an access is for: slot from bits 15 to 19 of an ECAM offset. NULL: nobody's. */
static struct pci_device *find(pci_segment *s, uint64_t offset, unsigned len) {
        uint64_t slot = offset >> ECAM_SLOT_SHIFT;
        unsigned function = offset >> 12 & 7;

        if (slot >= PCI_SLOTS || function != 0 || offset % FUNCTION_SIZE + len > FUNCTION_SIZE)
                return NULL;
        return s->devices[slot];
}

static void
config_access(pci_segment *s, uint64_t offset, void *read, const void *write, unsigned len) {
        struct pci_device *pci;

        GUARD(&s->lock);
        pci = find(s, offset, len);
        if (!pci)
                return;

        /* Registers are double words; a wider access is that many of them. */
        for (unsigned done = 0; done < len; done += 4) {
                unsigned reg = (unsigned) (offset % FUNCTION_SIZE) + done, n = MIN(len - done, 4);

                if (read)
                        pci_config_read(pci, reg, (uint8_t *) read + done, n);
                else
                        pci_config_write(pci, reg, (const uint8_t *) write + done, n);
        }
}

static void ecam_read(void *opaque, uint64_t offset, void *data, unsigned len) {
        config_access(opaque, offset, data, NULL /* write */, len);
}

static void ecam_write(void *opaque, uint64_t offset, const void *data, unsigned len) {
        config_access(opaque, offset, NULL /* read */, data, len);
}

static const struct io_ops ecam_ops = { .read = ecam_read, .write = ecam_write };

/* The data port's access in terms of ECAM; false: it goes nowhere. */
static bool ports_target(pci_segment *s, uint64_t offset, unsigned len, uint64_t *ret) {
        uint32_t address;

        if (offset < PORTS_DATA || offset + len > PORTS_SIZE)
                return false;

        GUARD(&s->lock);
        address = s->address;
        /* Only bus 0 is there. */
        if (!(address & ADDRESS_ENABLE) || (address >> 16 & 0xff) != 0)
                return false;

        *ret = (uint64_t) (address >> 8 & 0xff) << 12 | (address & 0xfc) | (offset - PORTS_DATA);
        return true;
}

/* The address register takes double words only; narrower accesses belong to whatever else is at these ports, and
 * that is nothing. */
static void ports_read(void *opaque, uint64_t offset, void *data, unsigned len) {
        pci_segment *s = opaque;
        uint64_t target;

        if (offset == 0 && len == 4) {
                GUARD(&s->lock);
                memcpy(data, &s->address, 4);
        } else if (ports_target(s, offset, len, &target))
                config_access(s, target, data, NULL /* write */, len);
}

static void ports_write(void *opaque, uint64_t offset, const void *data, unsigned len) {
        pci_segment *s = opaque;
        uint64_t target;

        if (offset == 0 && len == 4) {
                GUARD(&s->lock);
                memcpy(&s->address, data, 4);
                s->address &= ADDRESS_WRITABLE;
        } else if (ports_target(s, offset, len, &target))
                config_access(s, target, NULL /* read */, data, len);
}

static const struct io_ops ports_ops = { .read = ports_read, .write = ports_write };

static bool add_bridge(pci_segment *s, GError **error) {
        static const struct pci_ids ids = {
                .vendor = 0x8086,
                .device = 0x0d57,
                .class = 0x06,
        };

        s->bridge = g_new0(struct pci_device, 1);
        pci_device_init(s->bridge, NULL /* ops */, &ids);
        return pci_attach(s, s->bridge, 0 /* slot */, error);
}

pci_segment *pci_segment_new(const struct pci_segment_config *config, GError **error) {
        g_autoptr(pci_segment) s = g_new0(pci_segment, 1);
        g_autofree char *name =
                        g_strdup_printf("PCI segment %u configuration", config->layout.segment);

        assert(config->mmio && config->intc);
        s->config = *config;
        (void) pthread_mutex_init(&s->lock, NULL);

        s->ecam =
                        bus_add(config->mmio, name, config->layout.ecam.base, ECAM_SIZE, &ecam_ops,
                                s, error);
        if (!s->ecam)
                return NULL;

        if (config->pio) {
                s->ports = bus_add(config->pio, name, PORTS_BASE, PORTS_SIZE, &ports_ops, s, error);
                if (!s->ports)
                        return NULL;
        }

        if (config->layout.segment == 0 && !add_bridge(s, error))
                return NULL;
        return g_steal_pointer(&s);
}

pci_segment *pci_segment_free(pci_segment *s) {
        if (!s)
                return NULL;

        if (s->bridge) {
                pci_detach(s->bridge);
                pci_device_release(s->bridge);
                g_free(s->bridge);
        }
        for (unsigned i = 0; i < PCI_SLOTS; i++)
                assert(!s->devices[i]);
        if (s->ports)
                bus_remove(s->config.pio, s->ports);
        bus_remove(s->config.mmio, s->ecam);
        (void) pthread_mutex_destroy(&s->lock);
        g_free(s);
        return NULL;
}

static bool check_slot(const pci_segment *s, unsigned slot, GError **error) {
        if (slot >= PCI_SLOTS) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "PCI segment %u: slot %u is not within 0 to %u",
                            s->config.layout.segment, slot, PCI_SLOTS - 1);
                return false;
        }
        if (s->devices[slot]) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "PCI segment %u: slot %u is taken%s",
                            s->config.layout.segment, slot,
                            s->devices[slot] == s->bridge ? " by the host bridge" : "");
                return false;
        }
        return true;
}

bool pci_reserve_slot(pci_segment *s, uint8_t slot, GError **error) {
        GUARD(&s->lock);

        if (!check_slot(s, slot, error))
                return false;
        if (s->reserved >> slot & 1) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "PCI segment %u: slot %u is asked for twice", s->config.layout.segment,
                            slot);
                return false;
        }
        s->reserved |= 1u << slot;
        return true;
}

static bool pick_slot(const pci_segment *s, int slot, uint8_t *ret, GError **error) {
        if (slot >= 0) {
                *ret = (uint8_t) slot;
                return check_slot(s, (unsigned) slot, error);
        }
        for (uint8_t i = 0; i < PCI_SLOTS; i++)
                if (!s->devices[i] && !(s->reserved >> i & 1)) {
                        *ret = i;
                        return true;
                }
        g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "PCI segment %u: no slot is free",
                    s->config.layout.segment);
        return false;
}

static bool attach_at(pci_segment *s, struct pci_device *pci, GError **error) {
        uint32_t devid = (uint32_t) s->config.layout.segment << 16 | (uint32_t) pci->slot << 3;

        if (!pci_bars_allocate(s, pci, error))
                return false;
        if (pci->msix && !msix_attach(pci->msix, s->config.intc, devid, error))
                return false;

        pci_put16(pci->config, PCI_REG_COMMAND, PCI_COMMAND_MEM);
        pci_bars_write_home(pci);
        pci->power_on = g_memdup2(pci->config, sizeof(pci->config));
        s->devices[pci->slot] = pci;
        return true;
}

bool pci_attach(pci_segment *s, struct pci_device *pci, int slot, GError **error) {
        assert(s && pci && !pci->segment);
        GUARD(&s->lock);

        if (!pick_slot(s, slot, &pci->slot, error))
                return false;

        pci->segment = s;
        if (!attach_at(s, pci, error)) {
                pci_bars_release(pci);
                pci->segment = NULL;
                return false;
        }
        return true;
}

void pci_detach(struct pci_device *pci) {
        pci_segment *s = pci->segment;

        if (!s)
                return;

        GUARD(&s->lock);
        s->devices[pci->slot] = NULL;
        if (pci->msix)
                msix_detach(pci->msix);
        pci_bars_release(pci);
        g_clear_pointer(&pci->power_on, g_free);
        pci->segment = NULL;
        /* Somebody may have waited for the place of one of its BARs. */
        pci_segment_remap(s);
}
