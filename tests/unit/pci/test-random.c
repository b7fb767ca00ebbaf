/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that nothing a guest writes to configuration space, BARs and MSI-X tables breaks the model: fixed random
 * sequences from one and from several threads, after which identities are intact, no two devices claim an
 * address, the state can be saved and restored, and reset brings everything home.
 */

#include <pthread.h>

#include "rig.h"

#define N_DEVICES 3

static void random_access(struct rig *r, GRand *rand) {
        static const unsigned lens[] = { 1, 2, 4, 4, 4, 8 };
        unsigned len = lens[g_rand_int_range(rand, 0, G_N_ELEMENTS(lens))];
        unsigned slot = (unsigned) g_rand_int_range(rand, 0, N_DEVICES + 2);
        unsigned reg = (unsigned) g_rand_int_range(rand, 0, g_rand_int(rand) % 8 ? 0x60 : 0x1000);
        uint64_t v = (uint64_t) g_rand_int(rand) << 32 | g_rand_int(rand);

        switch (g_rand_int_range(rand, 0, 9)) {
        case 0: /* near a home, in either window */
                set_bar0(r, slot, RIG_MMIO64 + (v % 9 << 20));
                break;
        case 1:
                set_bar0(r, slot, RIG_MMIO32 + (v % 9 << 12));
                break;
        case 2:
                cfg_write(r, slot, 0x18, RIG_MMIO32 + (uint32_t) (v % 4 << 12), 4);
                break;
        case 3:
                cfg_write(r, slot, 0x04, v % 2 ? 2 : 0, 2);
                break;
        case 4:
                cfg_write(r, slot, 0x4e, v % 4 << 14, 2);
                break;
        case 5:
                mmio_write(r, RIG_ECAM + (slot << 15) + reg, v, len);
                break;
        case 6:
                cf8_write(r, slot, reg, (uint32_t) v, MIN(len, 4));
                (void) cf8_read(r, slot, reg, MIN(len, 4));
                break;
        case 7:
                mmio_write(r, bar0(r, slot) + RIG_TABLE + v % 0x120, v >> 32, len);
                break;
        default:
                (void) cfg_read(r, slot, reg, MIN(len, 4));
                (void) mmio_read(r, bar0(r, slot) + RIG_PBA + v % 16, MIN(len, 4));
                break;
        }
}

static void check(struct rig *r, rig_device **d) {
        for (unsigned i = 0; i < N_DEVICES; i++) {
                g_autoptr(GVariant) state = NULL, again = NULL;

                g_assert_cmphex(cfg_read(r, i + 1, 0, 4), ==, 0x10421af4);
                g_assert_cmphex(cfg_read(r, i + 1, 0x34, 1), ==, 0x40);
                for (unsigned b = 0; b < PCI_N_BARS; b++) {
                        const struct pci_bar *bar = &d[i]->pci.bars[b];

                        if (bar->size && bar->mapped)
                                g_assert_cmphex(mmio_read(r, bar->addr, 1), ==, d[i]->value);
                }
                state = g_variant_ref_sink(pci_save(&d[i]->pci));
                g_assert_true(pci_restore(&d[i]->pci, state, NULL));
                again = g_variant_ref_sink(pci_save(&d[i]->pci));
                g_assert_true(g_variant_equal(state, again));
        }
}

static void check_home(struct rig *r, rig_device **d) {
        for (unsigned i = 0; i < N_DEVICES; i++)
                pci_reset(&d[i]->pci);
        for (unsigned i = 0; i < N_DEVICES; i++) {
                g_assert_cmphex(mmio_read(r, RIG_MMIO64 + (i * 8ull << 20), 1), ==, d[i]->value);
                g_assert_cmphex(mmio_read(r, RIG_MMIO32 + i * 0x1000, 1), ==, d[i]->value);
        }
}

static void test_one_thread(void) {
        g_auto(rig) r = { 0 };
        rig_device *d[N_DEVICES];

        rig_init(&r);
        for (unsigned i = 0; i < N_DEVICES; i++)
                d[i] = rig_attach(&r, (uint8_t) (0x11 * (i + 1)));
        for (uint32_t seed = 1; seed <= 20; seed++) {
                g_autoptr(GRand) rand = g_rand_new_with_seed(seed);

                for (unsigned i = 0; i < 2000; i++) {
                        random_access(&r, rand);
                        msix_signal(d[i % N_DEVICES]->pci.msix, (uint16_t) (i % 12));
                }
                check(&r, d);
                check_home(&r, d);
        }
        for (unsigned i = 0; i < N_DEVICES; i++)
                rig_device_free(d[i]);
}

struct vcpu {
        struct rig *r;
        uint32_t seed;
};

static void *run(void *opaque) {
        struct vcpu *v = opaque;
        g_autoptr(GRand) rand = g_rand_new_with_seed(v->seed);

        for (unsigned i = 0; i < 4000; i++)
                random_access(v->r, rand);
        return NULL;
}

static void test_threads(void) {
        g_auto(rig) r = { 0 };
        rig_device *d[N_DEVICES];
        struct vcpu vcpus[3];
        pthread_t threads[G_N_ELEMENTS(vcpus)];

        rig_init(&r);
        for (unsigned i = 0; i < N_DEVICES; i++)
                d[i] = rig_attach(&r, (uint8_t) (0x11 * (i + 1)));
        for (unsigned i = 0; i < G_N_ELEMENTS(vcpus); i++) {
                vcpus[i] = (struct vcpu){ .r = &r, .seed = 100 + i };
                g_assert_cmpint(pthread_create(&threads[i], NULL, run, &vcpus[i]), ==, 0);
        }
        for (unsigned i = 0; i < 4000; i++)
                msix_signal(d[i % N_DEVICES]->pci.msix, (uint16_t) (i % 12));
        for (unsigned i = 0; i < G_N_ELEMENTS(vcpus); i++)
                pthread_join(threads[i], NULL);
        check(&r, d);
        check_home(&r, d);
        for (unsigned i = 0; i < N_DEVICES; i++)
                rig_device_free(d[i]);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/pci-random/one-thread", test_one_thread);
        g_test_add_func("/pci-random/threads", test_threads);
        return g_test_run();
}
