/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves what the machine makes of the leaves that a hypervisor supports, on made-up Intel and AMD
 * hosts: what the configuration turns off is gone, what only we know is there, and for many
 * topologies every vCPU's leaves agree with its APIC id and with each other. A list that is empty or
 * full does no harm.
 */

#include <glib.h>
#include <string.h>

#include "hypervisor/arch/x86_64/cpuid.h"
#include "hypervisor/arch/x86_64/topology.h"
#include "hypervisor/backend.h"

static void no_host(uint32_t function, uint32_t regs[4]) {
        for (unsigned i = 0; i < 4; i++)
                regs[i] = function + i;
}

static const struct x86_cpuid_config plain = { .phys_bits = 40,
                                               .tsc_khz = 2000000,
                                               .host = no_host };

static void add(struct x86_cpuid *c, struct x86_cpuid_leaf leaf) {
        c->leaf[c->n++] = leaf;
}

static struct x86_cpuid *host(bool amd) {
        struct x86_cpuid *c = g_new0(struct x86_cpuid, 1);

        if (amd)
                add(c, (struct x86_cpuid_leaf){ 0, 0, false, 0xd, 0x68747541, 0x444d4163,
                                                0x69746e65 });
        else
                add(c, (struct x86_cpuid_leaf){ 0, 0, false, 0x20, 0x756e6547, 0x6c65746e,
                                                0x49656e69 });
        add(c, (struct x86_cpuid_leaf){ 1, 0, false, 0, 0x77770000, 1u << 5 | 1u << 21, 0 });
        if (!amd)
                for (uint32_t i = 0; i < 3; i++)
                        add(c, (struct x86_cpuid_leaf){ 4, i, true, 0xfffffc00 | 1 | (i + 1) << 5,
                                                        1, 2, 3 });
        add(c, (struct x86_cpuid_leaf){ 7, 0, true, 1, 0, 0, 0x03400000 | 1 });
        add(c, (struct x86_cpuid_leaf){ 7, 1, true, 1u << 21 | 1, 0, 0, 1u << 8 | 1 });
        add(c, (struct x86_cpuid_leaf){ 0xb, 0, true, 99, 99, 99, 99 });
        add(c, (struct x86_cpuid_leaf){ 0xb, 5, true, 99, 99, 99, 99 });
        add(c, (struct x86_cpuid_leaf){ 0xd, 0, true, 0x60007, 0, 0, 0 });
        add(c, (struct x86_cpuid_leaf){ 0xd, 2, true, 256, 576, 0, 0 });
        add(c, (struct x86_cpuid_leaf){ 0xd, 18, true, 8192, 2816, 0, 0 });
        add(c, (struct x86_cpuid_leaf){ 0x1d, 0, true, 1, 0, 0, 0 });
        add(c, (struct x86_cpuid_leaf){ 0x1e, 0, true, 1, 0, 0, 0 });
        add(c, (struct x86_cpuid_leaf){ 0x40000000, 0, false, 0x40000001, 0x4b4d564b, 0, 0 });
        add(c, (struct x86_cpuid_leaf){ 0x40000001, 0, false, 0xfb, 0, 0, 0 });
        add(c, (struct x86_cpuid_leaf){ 0x80000000, 0, false, 0x80000021, 0, 0, 0 });
        add(c, (struct x86_cpuid_leaf){ 0x80000001, 0, false, 0, 0, 1u << 2 | 1u << 22, 0 });
        add(c, (struct x86_cpuid_leaf){ 0x80000005, 0, false, 5, 5, 5, 5 });
        add(c, (struct x86_cpuid_leaf){ 0x80000007, 0, false, 0, 0, 0, 1u << 8 });
        add(c, (struct x86_cpuid_leaf){ 0x80000008, 0, false, 0x303030, 7, 0xffff, 7 });
        if (amd) {
                for (uint32_t i = 0; i < 4; i++)
                        add(c,
                            (struct x86_cpuid_leaf){ 0x8000001d, i, true,
                                                     0xfffc000 | 1 | (i ? i : 1) << 5, 1, 2, 3 });
                add(c, (struct x86_cpuid_leaf){ 0x8000000a, 0, false, 1, 8, 0, 1 });
        }
        return c;
}

static struct x86_cpuid_leaf *get(struct x86_cpuid *c, uint32_t function, uint32_t index) {
        struct x86_cpuid_leaf *l = x86_cpuid_find(c, function, index);

        if (!l)
                g_error("leaf %#x.%u is missing", function, index);
        return l;
}

static void test_empty_and_full(void) {
        g_autofree struct x86_cpuid *c = g_new0(struct x86_cpuid, 1);
        const struct vcpu_topology t = { 2, 2, 2, 2 };

        x86_cpuid_set_machine(c, &plain);
        x86_cpuid_set_vcpu(c, &t, 3);

        memset(c, 0, sizeof(*c));
        for (uint32_t i = 0; i < X86_CPUID_MAX; i++)
                x86_cpuid_set(c, &(struct x86_cpuid_leaf){ .function = 0x1000 + i });
        g_assert_cmpuint(c->n, ==, X86_CPUID_MAX);
        x86_cpuid_set(c, &(struct x86_cpuid_leaf){ .function = 1 });
        x86_cpuid_set_machine(c, &plain);
        x86_cpuid_set_vcpu(c, &t, 3);
        g_assert_cmpuint(c->n, ==, X86_CPUID_MAX);
        x86_cpuid_set(c, &(struct x86_cpuid_leaf){ .function = 0x1000, .eax = 5 });
        g_assert_cmpuint(get(c, 0x1000, 0)->eax, ==, 5);
        x86_cpuid_remove(c, 0, UINT32_MAX);
        g_assert_cmpuint(c->n, ==, 0);
}

static void test_machine(void) {
        g_autofree struct x86_cpuid *c = host(/* amd= */ false);

        x86_cpuid_set_machine(c, &plain);
        g_assert_cmphex(get(c, 1, 0)->ecx, ==, 1u << 21 | 1u << 24 | 1u << 31);
        g_assert_cmphex(get(c, 1, 0)->edx, ==, 1u << 12);
        g_assert_cmphex(get(c, 7, 0)->edx, ==, 1);
        g_assert_cmphex(get(c, 7, 1)->eax, ==, 1);
        g_assert_cmphex(get(c, 7, 1)->edx, ==, 1);
        g_assert_cmphex(get(c, 0xd, 0)->eax, ==, 7);
        g_assert_nonnull(x86_cpuid_find(c, 0xd, 2));
        g_assert_null(x86_cpuid_find(c, 0xd, 18));
        g_assert_null(x86_cpuid_find(c, 0x1d, 0));
        g_assert_null(x86_cpuid_find(c, 0x1e, 0));
        g_assert_cmphex(get(c, 0x40000000, 0)->eax, ==, 0x40000010);
        g_assert_cmphex(get(c, 0x40000001, 0)->eax, ==, 0x80fb);
        g_assert_cmpuint(get(c, 0x40000010, 0)->eax, ==, 2000000);
        g_assert_cmpuint(get(c, 0x40000010, 0)->ebx, ==, 1000000);
        g_assert_cmphex(get(c, 0x80000001, 0)->ecx, ==, 1u << 22);
        g_assert_cmphex(get(c, 0x80000003, 0)->ecx, ==, 0x80000005);
        g_assert_cmphex(get(c, 0x80000005, 0)->eax, ==, 5);
        g_assert_cmphex(get(c, 0x80000006, 0)->eax, ==, 0x80000006);
        g_assert_cmphex(get(c, 0x80000008, 0)->eax, ==, 0x283028);
}

static void test_options(void) {
        g_autofree struct x86_cpuid *c = host(/* amd= */ true);
        struct x86_cpuid_config config = plain;

        config.nested = config.amx = true;
        config.tsc_khz = 0;
        x86_cpuid_set_machine(c, &config);
        g_assert_true(get(c, 1, 0)->ecx & 1u << 5);
        g_assert_true(get(c, 0x80000001, 0)->ecx & 1u << 2);
        g_assert_nonnull(x86_cpuid_find(c, 0x8000000a, 0));
        g_assert_nonnull(x86_cpuid_find(c, 0x1d, 0));
        g_assert_nonnull(x86_cpuid_find(c, 0xd, 18));
        g_assert_cmphex(get(c, 7, 0)->edx, ==, 0x03400000 | 1);
        g_assert_null(x86_cpuid_find(c, 0x40000010, 0));

        g_free(c);
        c = host(/* amd= */ true);
        x86_cpuid_set_machine(c, &plain);
        g_assert_null(x86_cpuid_find(c, 0x8000000a, 0));
}

static void test_hyperv(void) {
        g_autofree struct x86_cpuid *c = host(/* amd= */ false);
        struct x86_cpuid_config config = plain;

        config.hyperv = true;
        x86_cpuid_set_machine(c, &config);
        g_assert_cmpmem(&get(c, 0x40000000, 0)->ebx, 12, "Linux KVM Hv", 12);
        g_assert_cmpmem(&get(c, 0x40000001, 0)->eax, 4, "Hv#1", 4);
        g_assert_cmphex(get(c, 0x40000003, 0)->eax, ==, 0xa7f);
        g_assert_cmphex(get(c, 0x40000003, 0)->edx, ==, 0x118);
        g_assert_cmphex(get(c, 0x40000004, 0)->eax, ==, 0x62e);
        g_assert_cmphex(get(c, 0x40000004, 0)->ebx, ==, 0xfff);
        g_assert_nonnull(x86_cpuid_find(c, 0x4000000a, 0));
        g_assert_cmphex(get(c, 0x40000100, 0)->eax, ==, 0x40000101);
        g_assert_cmphex(get(c, 0x40000100, 0)->ebx, ==, 0x4b4d564b);
        g_assert_cmphex(get(c, 0x40000101, 0)->eax, ==, 0x80fb);
        g_assert_null(x86_cpuid_find(c, 0x40000010, 0));
}

struct level {
        uint32_t shift, count;
};

/* Walks a topology leaf as software does, to the level of this type. */
static struct level walk(struct x86_cpuid *c, uint32_t function, uint32_t level_type) {
        for (uint32_t i = 0;; i++) {
                struct x86_cpuid_leaf *l = get(c, function, i);

                g_assert_cmpuint(l->ecx & 0xff, ==, i);
                if ((l->ecx >> 8) == 0)
                        g_error("leaf %#x has no level %u", function, level_type);
                if ((l->ecx >> 8 & 0xff) == level_type)
                        return (struct level){ .shift = l->eax, .count = l->ebx };
        }
}

static void check_vcpu(bool amd, const struct vcpu_topology *t, uint32_t index) {
        g_autofree struct x86_cpuid *c = host(amd);
        struct x86_apic_fields f = x86_apic_fields_of(t);
        uint32_t id = arch_vcpu_hw_id(t, index);
        struct level core, all;
        uint32_t per_package = t->threads_per_core * t->cores_per_die * t->dies_per_package;

        x86_cpuid_set_vcpu(c, t, id);
        g_assert_cmpuint(get(c, 1, 0)->ebx >> 24, ==, id & 0xff);
        g_assert_cmpuint(get(c, 0xb, 0)->edx, ==, id);
        g_assert_cmpuint(!!(get(c, 1, 0)->edx & 1u << 28), ==, per_package > 1);
        core = walk(c, 0xb, 1);
        all = walk(c, 0xb, 2);
        g_assert_cmpuint(core.shift, ==, f.core_shift);
        g_assert_cmpuint(core.count, ==, t->threads_per_core);
        g_assert_cmpuint(all.shift, ==, f.package_shift);
        g_assert_cmpuint(all.count, ==, per_package);
        g_assert_cmpuint(id >> f.package_shift, ==, index / per_package);
        g_assert_null(x86_cpuid_find(c, 0xb, 5));

        if (!amd || t->dies_per_package > 1) {
                g_assert_cmpuint(get(c, 0, 0)->eax, >=, 0x1f);
                core = walk(c, 0x1f, 2);
                all = walk(c, 0x1f, 5);
                g_assert_cmpuint(core.shift, ==, f.die_shift);
                g_assert_cmpuint(all.shift, ==, f.package_shift);
                g_assert_cmpuint(all.count, ==, per_package);
        } else
                g_assert_null(x86_cpuid_find(c, 0x1f, 0));

        if (amd) {
                g_assert_cmpuint(get(c, 0x8000001e, 0)->eax, ==, id);
                g_assert_cmpuint(get(c, 0x8000001e, 0)->ebx >> 8, ==, t->threads_per_core - 1u);
                g_assert_cmpuint(get(c, 0x80000008, 0)->ecx & 0xff, ==, MIN(per_package - 1, 255));
                g_assert_cmpuint(
                                get(c, 0x80000008, 0)->ecx >> 12 & 15, ==,
                                MIN(f.package_shift, 15));
                g_assert_cmpuint(
                                (get(c, 0x8000001d, 3)->eax >> 14 & 0xfff) + 1, ==,
                                t->threads_per_core * t->cores_per_die);
        } else {
                g_assert_cmpuint((get(c, 4, 0)->eax >> 14 & 0xfff) + 1, ==, 1u << f.core_shift);
                g_assert_cmpuint((get(c, 4, 2)->eax >> 14 & 0xfff) + 1, ==, 1u << f.die_shift);
        }
}

static void test_topology(void) {
        static const struct vcpu_topology all[] = {
                { 1, 1, 1, 1 },   { 1, 4, 1, 1 }, { 2, 1, 1, 1 }, { 2, 3, 1, 3 },   { 2, 4, 2, 2 },
                { 1, 255, 1, 1 }, { 1, 1, 1, 9 }, { 2, 5, 3, 2 }, { 1, 300, 1, 1 }, { 2, 64, 1, 4 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
                const struct vcpu_topology *t = &all[i];
                uint32_t n = (uint32_t) t->threads_per_core * t->cores_per_die *
                             t->dies_per_package * t->packages;

                for (uint32_t v = 0; v < n; v++) {
                        check_vcpu(/* amd= */ false, t, v);
                        check_vcpu(/* amd= */ true, t, v);
                        if (v > 0)
                                g_assert_cmpuint(
                                                arch_vcpu_hw_id(t, v), >,
                                                arch_vcpu_hw_id(t, v - 1));
                }
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/cpuid/empty-and-full", test_empty_and_full);
        g_test_add_func("/cpuid/machine", test_machine);
        g_test_add_func("/cpuid/options", test_options);
        g_test_add_func("/cpuid/hyperv", test_hyperv);
        g_test_add_func("/cpuid/topology", test_topology);
        return g_test_run();
}
