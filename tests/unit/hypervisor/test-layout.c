/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that the x86-64 layout refuses what does not fit, naming the option, and that what it
 * returns is the reference's map: no two ranges overlap, whatever the size of RAM.
 */

#include "hypervisor/arch.h"

#include "hypervisor/arch/x86_64/layout.h"
#include "hypervisor/error.h"

#define GIB (1ull << 30)

static void refused(uint64_t ram, uint8_t bits, const char *option) {
        g_autoptr(GError) error = NULL;
        struct arch_layout l = { .phys_bits = 7 };

        g_assert_false(arch_layout_for(ram, bits, &l, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
        g_assert_true(g_str_has_prefix(error->message, option));
        g_assert_cmpuint(l.phys_bits, ==, 7);
}

static void test_bad(void) {
        refused(0, 46, "memory.size: ");
        refused(1 << 20, 46, "memory.size: ");
        refused(GIB + 1, 46, "memory.size: ");
        refused(64 * GIB, 36, "memory.size: ");
        refused(UINT64_MAX - 4095, 46, "memory.size: ");
        refused(GIB, 0, "cpus.max_phys_bits: ");
        refused(GIB, 35, "cpus.max_phys_bits: ");
        refused(GIB, 53, "cpus.max_phys_bits: ");
}

static void check(uint64_t ram, uint8_t bits) {
        g_autoptr(GError) error = NULL;
        struct arch_layout l;
        const struct arch_range *all[6];

        arch_layout_for(ram, bits, &l, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(l.ram[0].base, ==, 0);
        g_assert_cmpuint(l.ram[0].size + l.ram[1].size, ==, ram);
        g_assert_cmpuint(l.ram[0].size, <=, X86_HOLE);
        if (l.ram[1].size > 0)
                g_assert_cmpuint(l.ram[1].base, ==, 4 * GIB);
        g_assert_cmpuint(l.mmio64.base, >=, 4 * GIB);
        g_assert_cmpuint(l.mmio64.base % (128 << 20), ==, 0);
        g_assert_cmpuint(l.platform.base + l.platform.size, ==, (1ull << bits) - 0x10000);
        g_assert_cmpuint(l.phys_bits, ==, bits);

        all[0] = &l.ram[0];
        all[1] = &l.mmio32;
        all[2] = &l.ecam;
        all[3] = &l.ram[1];
        all[4] = &l.mmio64;
        all[5] = &l.platform;
        for (size_t i = 0, last = 0; i < G_N_ELEMENTS(all); i++) {
                if (all[i]->size == 0)
                        continue;
                g_assert_cmpuint(all[i]->base, >=, last);
                last = all[i]->base + all[i]->size;
        }
}

static void test_sizes(void) {
        check(2 << 20, 36);
        check(128 << 20, 46);
        check(3 * GIB, 39);
        check(3 * GIB + 4096, 39);
        check(4 * GIB, 46);
        check(58 * GIB, 36);
        check(1024 * GIB, 48);
        check(4096ull * GIB, 52);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/layout/bad", test_bad);
        g_test_add_func("/layout/sizes", test_sizes);
        return g_test_run();
}
