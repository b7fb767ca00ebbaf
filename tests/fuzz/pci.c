/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * PCI: two devices, their configuration space through both mechanisms, BARs and MSI-X, driven by a list of accesses and
 * signals. Whatever the guest did, identities are intact, a mapped BAR is its device's alone, the state comes back
 * equal, and reset brings every BAR home.
 */

#include "fuzz.h"

#include <string.h>

#include "rig.h"

#define N 2

struct op {
        uint8_t what, slot, reg, data[8];
};

static void run(rig *r, rig_device **d, const struct op *op) {
        unsigned len = 1u << (op->what >> 4 & 3), reg = op->reg | (op->what & 0x80u) << 4;
        unsigned slot = op->slot % (N + 2);
        uint64_t v, base = bar0(r, slot);

        memcpy(&v, op->data, sizeof(v));
        switch (op->what & 7) {
        case 0:
                (void) cfg_read(r, slot, reg, MIN(len, 4));
                break;
        case 1:
                mmio_write(r, RIG_ECAM + (slot << 15) + reg, v, len);
                break;
        case 2:
                (void) cf8_read(r, slot, op->reg, MIN(len, 4));
                break;
        case 3:
                cf8_write(r, slot, op->reg, (uint32_t) v, MIN(len, 4));
                break;
        case 4: /* a place near a home */
                set_bar0(r, slot, RIG_MMIO64 + v % (16ull << 20));
                break;
        case 5:
                mmio_write(r, base + RIG_TABLE + op->reg, v, len);
                break;
        case 6:
                (void) mmio_read(r, base + RIG_PBA + op->reg % 16, MIN(len, 4));
                break;
        default:
                msix_signal(d[op->slot % N]->pci.msix, op->reg);
                break;
        }
}

/* g_variant_equal() compares what it has printed. */
static bool same(GVariant *a, GVariant *b) {
        gsize n = g_variant_get_size(a);

        return n == g_variant_get_size(b) &&
               memcmp(g_variant_get_data(a), g_variant_get_data(b), n) == 0;
}

static void check(rig *r, rig_device *d, unsigned i) {
        g_autoptr(GVariant) state = NULL, again = NULL;

        g_assert_cmphex(cfg_read(r, i + 1, 0, 4), ==, 0x10421af4);
        for (unsigned b = 0; b < PCI_N_BARS; b++)
                if (d->pci.bars[b].size && d->pci.bars[b].mapped)
                        g_assert_cmphex(mmio_read(r, d->pci.bars[b].addr, 1), ==, d->value);

        state = g_variant_ref_sink(pci_save(&d->pci));
        g_assert_true(pci_restore(&d->pci, state, NULL));
        again = g_variant_ref_sink(pci_save(&d->pci));
        g_assert_true(same(state, again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static rig_device *d[N];
        static rig r;

        /* Set up once: reset is what the next input starts from, too. */
        if (!r.segment) {
                rig_init(&r);
                for (unsigned i = 0; i < N; i++)
                        d[i] = rig_attach(&r, (uint8_t) (0x11 * (i + 1)));
        }

        for (size_t at = 0; at + sizeof(struct op) <= size; at += sizeof(struct op)) {
                struct op op;

                memcpy(&op, data + at, sizeof(op));
                run(&r, d, &op);
        }

        for (unsigned i = 0; i < N; i++)
                check(&r, d[i], i);
        for (unsigned i = 0; i < N; i++)
                pci_reset(&d[i]->pci);
        for (unsigned i = 0; i < N; i++)
                g_assert_cmphex(mmio_read(&r, RIG_MMIO64 + (i * 8ull << 20), 1), ==, d[i]->value);
        pci_segment_reset(r.segment);
        return 0;
}
