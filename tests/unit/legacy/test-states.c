/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves for every device that is not PCI: its state comes back equal from a device that was told to restore it; a state of
 * another version or device is refused; and of thousands of damaged states each is either refused, and
 * nothing has changed, or taken whole. After random port and register accesses all of it still holds.
 */

#include <string.h>

#include "all.h"
#include "hypervisor/error.h"

static void random_accesses(all *a, GRand *rand, unsigned n) {
        static const uint16_t ports[] = { 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff,
                                          0x61,  0x64,  0x70,  0x71,  0x80,  0xe9,  0x600, 0x608 };

        for (unsigned i = 0; i < n; i++) {
                uint64_t v = (uint64_t) g_rand_int(rand) << 32 | g_rand_int(rand);
                unsigned len = 1u << g_rand_int_range(rand, 0, 3);
                bool write = g_rand_boolean(rand), mmio = g_rand_int_range(rand, 0, 4) == 0;
                uint64_t addr = ports[g_rand_int_range(rand, 0, G_N_ELEMENTS(ports))];

                if (mmio)
                        addr = v >> 60 ? ALL_IOAPIC + (v >> 56 & 1) * 0x10 : ALL_GED;
                if (write)
                        bus_write(mmio ? a->mmio : a->pio, addr, &v, len);
                else
                        bus_read(mmio ? a->mmio : a->pio, addr, &v, len);
                if (v % 16 == 0)
                        ged_press_power_button(a->ged);
                if (v % 16 == 1)
                        (void) fake_chardev_input(a->serial_chr, "input", 5);
                if (v % 16 == 2)
                        ioapic_eoi(a->ioapic, v >> 32 & 0xff);
        }
}

static void pause_all(all *a) {
        for (unsigned i = 0; i < ALL_N; i++)
                g_assert_true(a->devices[i]->ops->pause(a->devices[i], NULL));
}

static void resume_all(all *a) {
        for (unsigned i = 0; i < ALL_N; i++)
                a->devices[i]->ops->resume(a->devices[i]);
}

static GVariant *save(struct device *dev) {
        return g_variant_ref_sink(dev->ops->save(dev));
}

static void test_round_trip(void) {
        for (uint32_t seed = 1; seed <= 30; seed++) {
                g_auto(all) a = { 0 }, b = { 0 };
                g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
                GVariant *states[ALL_N];

                all_init(&a);
                all_init(&b);
                random_accesses(&a, rand, 500);
                random_accesses(&b, rand, 500);
                pause_all(&a);
                pause_all(&b);
                for (unsigned i = 0; i < ALL_N; i++)
                        states[i] = save(a.devices[i]);
                for (unsigned i = 0; i < ALL_N; i++) {
                        /* In any order. */
                        struct device *dev = b.devices[(i + seed) % ALL_N];
                        g_autoptr(GError) error = NULL;

                        (void) dev->ops->restore(dev, states[(i + seed) % ALL_N], &error);
                        g_assert_no_error(error);
                }
                for (unsigned i = 0; i < ALL_N; i++) {
                        g_autoptr(GVariant) again = save(b.devices[i]);

                        if (!g_variant_equal(states[i], again))
                                g_error("%s, seed %u", b.devices[i]->id, seed);
                        g_variant_unref(states[i]);
                }
                resume_all(&b);
                random_accesses(&b, rand, 500);
        }
}

static void test_wrong_states(void) {
        g_auto(all) a = { 0 };

        all_init(&a);
        pause_all(&a);
        for (unsigned i = 0; i < ALL_N; i++) {
                struct device *dev = a.devices[i];
                g_autoptr(GVariant) before = save(dev);

                for (unsigned j = 0; j <= ALL_N; j++) {
                        g_autoptr(GError) error = NULL;
                        g_autoptr(GVariant) other =
                                        j == ALL_N ? g_variant_ref_sink(g_variant_new("(u)", 99))
                                                   : save(a.devices[j]);
                        g_autoptr(GVariant) after = NULL;

                        if (g_variant_is_of_type(other, g_variant_get_type(before)) && j < ALL_N)
                                continue;
                        g_assert_false(dev->ops->restore(dev, other, &error));
                        g_assert_error(error, HV_ERROR, HV_ERROR_STATE);
                        g_assert_true(g_str_has_prefix(error->message, dev->id));
                        after = save(dev);
                        g_assert_true(g_variant_equal(before, after));
                }
        }
}

static void test_damaged_states(void) {
        g_auto(all) a = { 0 };
        g_autoptr(GRand) rand = g_rand_new_with_seed(4711);
        unsigned n_refused = 0, n_taken = 0;

        all_init(&a);
        random_accesses(&a, rand, 2000);
        pause_all(&a);
        for (unsigned i = 0; i < 20000; i++) {
                struct device *dev = a.devices[i % ALL_N];
                g_autoptr(GVariant) before = save(dev), bad = NULL, after = NULL;
                gsize size = g_variant_get_size(before);
                g_autofree uint8_t *bytes = g_memdup2(g_variant_get_data(before), size);
                gsize cut = g_rand_int_range(rand, 0, 8)
                                            ? size
                                            : (gsize) g_rand_int_range(rand, 0, (gint32) size + 1);

                for (int n = g_rand_int_range(rand, 1, 4); n > 0; n--)
                        bytes[g_rand_int_range(rand, 0, (gint32) size)] =
                                        (uint8_t) g_rand_int(rand);
                bad = g_variant_ref_sink(g_variant_new_from_data(
                                g_variant_get_type(before), bytes, cut, FALSE, NULL, NULL));

                if (dev->ops->restore(dev, bad, NULL))
                        n_taken++;
                else
                        n_refused++;
                after = save(dev);
                if (!g_variant_equal(after, before) && !g_variant_equal(after, bad))
                        g_error("%s, round %u", dev->id, i);
        }
        g_assert_cmpuint(n_refused, >, 1000);
        g_assert_cmpuint(n_taken, >, 1000);
        resume_all(&a);
        random_accesses(&a, rand, 2000);
}

static void test_reset(void) {
        g_auto(all) a = { 0 }, fresh = { 0 };
        g_autoptr(GRand) rand = g_rand_new_with_seed(7);

        all_init(&a);
        all_init(&fresh);
        random_accesses(&a, rand, 5000);
        pause_all(&a);
        pause_all(&fresh);
        for (unsigned i = 0; i < ALL_N; i++) {
                g_autoptr(GVariant) one = NULL, two = NULL;

                /* A battery keeps the clock. */
                if (g_str_equal(a.devices[i]->ops->kind, "cmos"))
                        continue;
                a.devices[i]->ops->reset(a.devices[i]);
                fresh.devices[i]->ops->reset(fresh.devices[i]);
        }
        for (unsigned i = 0; i < ALL_N; i++) {
                g_autoptr(GVariant) one = save(a.devices[i]), two = save(fresh.devices[i]);

                if (!g_str_equal(a.devices[i]->ops->kind, "cmos"))
                        g_assert_true(g_variant_equal(one, two));
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/states/damaged", test_damaged_states);
        g_test_add_func("/states/wrong", test_wrong_states);
        g_test_add_func("/states/round-trip", test_round_trip);
        g_test_add_func("/states/reset", test_reset);
        return g_test_run();
}
