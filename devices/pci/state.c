/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reset, save and restore of functions and segments. A function's state holds all of its configuration space, and
 * is taken back only by a function of the same make: what the guest cannot write must be
 * equal bit for bit, so a state from another device, model or layout is refused before anything has changed.
 */

#include <assert.h>
#include <string.h>

#include "devices/guard.h"
#include "devices/pci/private.h"
#include "hypervisor/error.h"

#define FUNCTION_VERSION 1
#define SEGMENT_VERSION 1
#define SEGMENT_TYPE "(uua" PCI_STATE_TYPE ")"

void pci_reset(struct pci_device *pci) {
        assert(pci->segment);
        GUARD(&pci->segment->lock);

        for (size_t i = 0; i < sizeof(pci->config); i++)
                pci->config[i] =
                                (uint8_t) ((pci->config[i] & ~pci->wmask[i]) |
                                           (pci->power_on[i] & pci->wmask[i]));
        if (pci->msix)
                msix_reset(pci->msix);
        pci_segment_remap(pci->segment);
}

static GVariant *bytes_variant(const uint8_t *bytes, size_t n) {
        return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, bytes, n, 1);
}

static size_t n_pending_bytes(const struct pci_device *pci) {
        return pci->msix ? (msix_n_vectors(pci->msix) + 7) / 8 : 0;
}

GVariant *pci_save(struct pci_device *pci) {
        g_autofree uint8_t *pending = g_malloc0(n_pending_bytes(pci) + 1);
        GVariantBuilder homes, table;

        assert(pci->segment);
        GUARD(&pci->segment->lock);

        g_variant_builder_init(&homes, G_VARIANT_TYPE("at"));
        for (unsigned i = 0; i < PCI_N_BARS; i++)
                g_variant_builder_add(&homes, "t", pci->bars[i].home);

        g_variant_builder_init(&table, G_VARIANT_TYPE("a(uuuu)"));
        if (pci->msix)
                msix_save(pci->msix, &table, pending);

        return g_variant_new(
                        "(uy@at@ay@a(uuuu)@ay)", FUNCTION_VERSION, pci->slot,
                        g_variant_builder_end(&homes),
                        bytes_variant(pci->config, sizeof(pci->config)),
                        g_variant_builder_end(&table),
                        bytes_variant(pending, n_pending_bytes(pci)));
}

static bool refuse(const char *address, GError **error, const char *format, ...)
                G_GNUC_PRINTF(3, 4);

static bool refuse(const char *address, GError **error, const char *format, ...) {
        g_autofree char *why = NULL;
        va_list args;

        va_start(args, format);
        why = g_strdup_vprintf(format, args);
        va_end(args);
        g_set_error(error, HV_ERROR, HV_ERROR_STATE, "PCI device %s: state does not fit: %s",
                    address, why);
        return false;
}

/* The parts of a state that has the right type. */
typedef struct parts {
        uint8_t slot;
        GVariant *homes, *config, *table, *pending;
        const uint64_t *home;
        const uint8_t *bytes, *pending_bytes;
        size_t n_homes, n_bytes, n_pending;
} parts;

static void parts_clear(struct parts *p) {
        g_clear_pointer(&p->homes, g_variant_unref);
        g_clear_pointer(&p->config, g_variant_unref);
        g_clear_pointer(&p->table, g_variant_unref);
        g_clear_pointer(&p->pending, g_variant_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(parts, parts_clear)

static void take_apart(GVariant *state, struct parts *p) {
        g_variant_get(state, "(uy@at@ay@a(uuuu)@ay)", NULL /* version */, &p->slot, &p->homes,
                      &p->config, &p->table, &p->pending);
        p->home = g_variant_get_fixed_array(p->homes, &p->n_homes, sizeof(uint64_t));
        p->bytes = g_variant_get_fixed_array(p->config, &p->n_bytes, 1);
        p->pending_bytes = g_variant_get_fixed_array(p->pending, &p->n_pending, 1);
}

static bool
fits(const struct pci_device *pci, const char *address, const struct parts *p, GError **error) {
        unsigned n_vectors = pci->msix ? msix_n_vectors(pci->msix) : 0;

        if (p->slot != pci->slot)
                return refuse(address, error, "it was saved in slot %u", p->slot);
        if (p->n_bytes != sizeof(pci->config) || p->n_homes != PCI_N_BARS)
                return refuse(address, error, "it is cut short");
        if (g_variant_n_children(p->table) != n_vectors || p->n_pending != n_pending_bytes(pci))
                return refuse(address, error, "the number of interrupt vectors differs");

        for (unsigned i = 0; i < sizeof(pci->config); i++)
                if ((p->bytes[i] ^ pci->config[i]) & ~pci->wmask[i])
                        return refuse(address, error, "register 0x%x differs", i);

        for (unsigned i = 0; i < PCI_N_BARS; i++) {
                const struct pci_bar *bar = &pci->bars[i];

                if (bar->size &&
                    (p->home[i] & (bar->size - 1) || !pci_bar_fits(pci->segment, bar, p->home[i])))
                        return refuse(address, error, "BAR %u is outside of its window", i);
        }
        return true;
}

/* The lock is held. */
static bool
restore_locked(struct pci_device *pci, const char *address, GVariant *state, GError **error) {
        g_auto(parts) p = { 0 };

        take_apart(state, &p);
        if (!fits(pci, address, &p, error))
                return false;

        /* Homes first, to be the registers' power-on values from now on. */
        for (unsigned i = 0; i < PCI_N_BARS; i++)
                pci->bars[i].home = p.home[i];
        memcpy(pci->config, pci->power_on, sizeof(pci->config));
        pci_bars_write_home(pci);
        memcpy(pci->power_on, pci->config, sizeof(pci->config));

        memcpy(pci->config, p.bytes, sizeof(pci->config));
        if (pci->msix)
                msix_restore(pci->msix, p.table, p.pending_bytes);
        pci_segment_remap(pci->segment);
        return true;
}

bool pci_restore(struct pci_device *pci, GVariant *state, GError **error) {
        g_autofree char *address = pci_address(pci);

        assert(pci->segment);
        if (!state_fits(address, state, PCI_STATE_TYPE, FUNCTION_VERSION, error))
                return false;

        GUARD(&pci->segment->lock);
        return restore_locked(pci, address, state, error);
}

void pci_segment_reset(pci_segment *s) {
        if (s->bridge)
                pci_reset(s->bridge);

        GUARD(&s->lock);
        s->address = 0;
}

GVariant *pci_segment_save(pci_segment *s) {
        GVariantBuilder bridge;

        g_variant_builder_init(&bridge, G_VARIANT_TYPE("a" PCI_STATE_TYPE));
        if (s->bridge)
                g_variant_builder_add_value(&bridge, pci_save(s->bridge));

        GUARD(&s->lock);
        return g_variant_new(
                        "(uu@a" PCI_STATE_TYPE ")", SEGMENT_VERSION, s->address,
                        g_variant_builder_end(&bridge));
}

bool pci_segment_restore(pci_segment *s, GVariant *state, GError **error) {
        g_autofree char *what = g_strdup_printf("PCI segment %u", s->config.layout.segment);
        g_autoptr(GVariant) bridges = NULL;
        uint32_t address;

        if (!state_fits(what, state, SEGMENT_TYPE, SEGMENT_VERSION, error))
                return false;

        g_variant_get(state, "(uu@a" PCI_STATE_TYPE ")", NULL /* version */, &address, &bridges);
        if (g_variant_n_children(bridges) != (s->bridge ? 1 : 0)) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE, "%s: host bridge differs", what);
                return false;
        }
        if (s->bridge) {
                g_autoptr(GVariant) bridge = g_variant_get_child_value(bridges, 0);

                if (!pci_restore(s->bridge, bridge, error))
                        return false;
        }

        GUARD(&s->lock);
        s->address = address;
        return true;
}
