/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that a function's state survives save and restore (registers, moved BARs, messages, pending bits), that a
 * state which is damaged, of another version, slot, device or layout is refused, and that a refusal
 * changes nothing the guest can see.
 */

#include <string.h>

#include "hypervisor/error.h"
#include "rig.h"

#define TABLE(base) ((base) + RIG_TABLE)

/* A device in a state far from power-on. */
static rig_device *busy_device(struct rig *r) {
        rig_device *d = rig_attach(r, 0x11);
        uint64_t moved = RIG_MMIO64 + (24 << 20);

        set_bar0(r, 1, moved);
        cfg_write(r, 1, 0x18, RIG_MMIO32 + 0x5000, 4);
        cfg_write(r, 1, 4, 0x0406, 2);
        cfg_write(r, 1, 0x3c, 0x2a, 1);
        cfg_write(r, 1, d->vendor + 6, 0xcafe, 4);
        cfg_write(r, 1, 0x4c + 2, 0x8000, 2);
        for (unsigned i = 0; i < 2; i++) {
                mmio_write(r, TABLE(moved) + i * 16, 0xfee00000, 4);
                mmio_write(r, TABLE(moved) + i * 16 + 8, 0x30 + i, 4);
        }
        mmio_write(r, TABLE(moved) + 12, 0, 4);
        msix_signal(d->pci.msix, 1); /* masked: pending */
        return d;
}

static void test_round_trip(void) {
        g_autoptr(GVariant) state = NULL, again = NULL;
        g_autoptr(GError) error = NULL;
        uint64_t moved = RIG_MMIO64 + (24 << 20);

        {
                g_auto(rig) r = { 0 };
                g_autoptr(rig_device) d = NULL;

                rig_init(&r);
                d = busy_device(&r);
                state = g_variant_ref_sink(pci_save(&d->pci));
                g_assert_true(g_variant_is_of_type(state, G_VARIANT_TYPE(PCI_STATE_TYPE)));
                /* Saving takes nothing away. */
                again = g_variant_ref_sink(pci_save(&d->pci));
                g_assert_true(g_variant_equal(state, again));
                g_clear_pointer(&again, g_variant_unref);
        }

        g_auto(rig) r = { 0 };
        g_autoptr(rig_device) d = NULL;
        struct msi_msg m;

        rig_init(&r);
        d = rig_attach(&r, 0x22);
        msix_signal(d->pci.msix, 3);
        g_assert_true(pci_restore(&d->pci, state, &error));
        g_assert_no_error(error);
        again = g_variant_ref_sink(pci_save(&d->pci));
        g_assert_true(g_variant_equal(state, again));

        g_assert_cmphex(mmio_read(&r, RIG_MMIO64, 4), ==, 0xffffffff);
        g_assert_cmphex(mmio_read(&r, moved, 4), ==, 0x22222222);
        g_assert_cmphex(mmio_read(&r, RIG_MMIO32 + 0x5000, 4), ==, 0x22222222);
        g_assert_cmphex(cfg_read(&r, 1, 4, 2), ==, 0x0406);
        g_assert_cmphex(cfg_read(&r, 1, d->vendor + 6, 4), ==, 0xcafe);

        msix_signal(d->pci.msix, 0);
        g_assert_true(fake_intc_take(r.intc, &m));
        g_assert_cmphex(m.data, ==, 0x30);
        g_assert_cmphex(mmio_read(&r, moved + RIG_PBA, 4), ==, 2);
        mmio_write(&r, TABLE(moved) + 16 + 12, 0, 4);
        g_assert_true(fake_intc_take(r.intc, &m));
        g_assert_cmphex(m.data, ==, 0x31);
        g_assert_cmpuint(fake_intc_count(r.intc), ==, 0);

        pci_reset(&d->pci);
        g_assert_cmphex(mmio_read(&r, RIG_MMIO64, 4), ==, 0x22222222);
}

/* The state with one member replaced. */
static GVariant *with(GVariant *state, unsigned child, GVariant *replacement) {
        GVariantBuilder b;

        g_variant_builder_init(&b, G_VARIANT_TYPE_TUPLE);
        for (unsigned i = 0; i < g_variant_n_children(state); i++) {
                if (i == child) {
                        g_variant_builder_add_value(&b, replacement);
                } else {
                        g_autoptr(GVariant) v = g_variant_get_child_value(state, i);

                        g_variant_builder_add_value(&b, v);
                }
        }
        return g_variant_ref_sink(g_variant_builder_end(&b));
}

static GVariant *config_with(GVariant *state, unsigned at, uint8_t v) {
        g_autoptr(GVariant) config = g_variant_get_child_value(state, 3);
        uint8_t bytes[4096];
        gsize n;

        memcpy(bytes, g_variant_get_fixed_array(config, &n, 1), sizeof(bytes));
        bytes[at] = v;
        return with(state, 3, g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, bytes, 4096, 1));
}

static GVariant *homes_with(GVariant *state, uint64_t home) {
        uint64_t homes[PCI_N_BARS] = { home, 0, RIG_MMIO32 };

        return with(state, 2,
                    g_variant_new_fixed_array(
                                    G_VARIANT_TYPE_UINT64, homes, G_N_ELEMENTS(homes), 8));
}

static void test_refusals(void) {
        g_auto(rig) r = { 0 };
        g_autoptr(rig_device) d = NULL;
        g_autoptr(GVariant) before = NULL;
        g_autoptr(GPtrArray) bad = g_ptr_array_new_with_free_func((GDestroyNotify) g_variant_unref);

        rig_init(&r);
        d = busy_device(&r);
        before = g_variant_ref_sink(pci_save(&d->pci));

        g_ptr_array_add(bad, g_variant_ref_sink(g_variant_new_string("x")));
        g_ptr_array_add(bad, with(before, 0, g_variant_new_uint32(0)));
        g_ptr_array_add(bad, with(before, 0, g_variant_new_uint32(2)));
        g_ptr_array_add(bad, with(before, 0, g_variant_new_string("1")));
        g_ptr_array_add(bad, with(before, 1, g_variant_new_byte(2)));
        g_ptr_array_add(bad, with(before, 2, g_variant_new_array(G_VARIANT_TYPE_UINT64, NULL, 0)));
        g_ptr_array_add(bad, homes_with(before, 0));
        g_ptr_array_add(bad, homes_with(before, RIG_MMIO64 + 0x1000));
        g_ptr_array_add(bad, homes_with(before, RIG_MMIO64 + RIG_MMIO64_SIZE));
        g_ptr_array_add(bad, with(before, 3, g_variant_new_bytestring("short")));
        g_ptr_array_add(bad, config_with(before, 0x02, 0x41));
        g_ptr_array_add(bad, config_with(before, 0x0e, 0x80));
        g_ptr_array_add(bad, config_with(before, 0x10, 0x0c));
        g_ptr_array_add(bad, config_with(before, 0x34, 0x4c));
        g_ptr_array_add(bad, config_with(before, 0x4c + 2, RIG_VECTORS));
        g_ptr_array_add(bad, config_with(before, 0xfff, 1));
        g_ptr_array_add(bad,
                        with(before, 4, g_variant_new_array(G_VARIANT_TYPE("(uuuu)"), NULL, 0)));
        g_ptr_array_add(bad,
                        with(before, 5, g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, "", 1, 1)));

        for (guint i = 0; i < bad->len; i++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(GVariant) after = NULL;

                g_assert_false(pci_restore(&d->pci, g_ptr_array_index(bad, i), &error));
                g_assert_error(error, HV_ERROR, HV_ERROR_STATE);
                g_assert_nonnull(strstr(error->message, "0000:00:01.0"));
                after = g_variant_ref_sink(pci_save(&d->pci));
                g_assert_true(g_variant_equal(before, after));
        }
        g_assert_cmphex(mmio_read(&r, RIG_MMIO64 + (24 << 20), 4), ==, 0x11111111);
}

/* Two devices that swapped places restore in either order. */
static void test_swapped(void) {
        for (unsigned order = 0; order < 2; order++) {
                g_autoptr(GVariant) a = NULL, b = NULL;

                {
                        g_auto(rig) r = { 0 };
                        g_autoptr(rig_device) one = NULL, two = NULL;

                        rig_init(&r);
                        one = rig_attach(&r, 0x11);
                        two = rig_attach(&r, 0x22);
                        set_bar0(&r, 1, RIG_MMIO64 + (8 << 20));
                        set_bar0(&r, 2, RIG_MMIO64);
                        a = g_variant_ref_sink(pci_save(&one->pci));
                        b = g_variant_ref_sink(pci_save(&two->pci));
                }

                g_auto(rig) r = { 0 };
                g_autoptr(rig_device) one = NULL, two = NULL;

                rig_init(&r);
                one = rig_attach(&r, 0x11);
                two = rig_attach(&r, 0x22);
                if (order)
                        g_assert_true(pci_restore(&two->pci, b, NULL));
                g_assert_true(pci_restore(&one->pci, a, NULL));
                if (!order)
                        g_assert_true(pci_restore(&two->pci, b, NULL));
                g_assert_cmphex(mmio_read(&r, RIG_MMIO64, 4), ==, 0x22222222);
                g_assert_cmphex(mmio_read(&r, RIG_MMIO64 + (8 << 20), 4), ==, 0x11111111);
        }
}

static void test_segment(void) {
        g_auto(rig) r = { 0 };
        g_autoptr(GVariant) state = NULL;
        g_autoptr(GVariant) bad = g_variant_ref_sink(g_variant_new_string("x"));
        g_autoptr(GError) error = NULL;
        uint32_t v = 0x80000000;

        rig_init(&r);
        bus_write(r.pio, 0xcf8, &v, 4);
        cfg_write(&r, 0, 0x3c, 0x17, 1);
        state = g_variant_ref_sink(pci_segment_save(r.segment));

        pci_segment_reset(r.segment);
        bus_read(r.pio, 0xcf8, &v, 4);
        g_assert_cmphex(v, ==, 0);
        g_assert_cmphex(cfg_read(&r, 0, 0x3c, 1), ==, 0);

        g_assert_false(pci_segment_restore(r.segment, bad, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_STATE);
        g_assert_true(pci_segment_restore(r.segment, state, NULL));
        bus_read(r.pio, 0xcfc, &v, 4);
        g_assert_cmphex(v, ==, 0x0d578086);
        g_assert_cmphex(cfg_read(&r, 0, 0x3c, 1), ==, 0x17);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/pci-state/refusals", test_refusals);
        g_test_add_func("/pci-state/round-trip", test_round_trip);
        g_test_add_func("/pci-state/swapped", test_swapped);
        g_test_add_func("/pci-state/segment", test_segment);
        return g_test_run();
}
