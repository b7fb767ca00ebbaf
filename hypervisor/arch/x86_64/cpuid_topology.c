/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The leaves of CPUID that tell one vCPU from the others: its APIC id, and who shares a core, a die,
 * a package and each cache with it. Intel and AMD say it in different leaves; both kinds get the
 * extended topology leaves (0xb, 0x1f), which are all that a present-day kernel looks at.
 */

#include "hypervisor/arch/x86_64/cpuid.h"
#include "hypervisor/arch/x86_64/topology.h"

#define LEAF1_EDX_HTT (1u << 28)
#define EXT1_ECX_CMP_LEGACY (1u << 1)
#define EXT1_ECX_TOPOLOGY (1u << 22)

enum level {
        LEVEL_THREAD = 1,
        LEVEL_CORE = 2,
        LEVEL_DIE = 5,
};

struct view {
        struct x86_apic_fields fields;
        uint32_t per_core, per_die, per_package; /* logical processors */
        uint32_t apic_id;
};

static bool is_amd(struct x86_cpuid *c) {
        struct x86_cpuid_leaf *l = x86_cpuid_find(c, 0, 0);

        /* "Auth"enticAMD, "Hygo"nGenuine */
        return l && (l->ebx == 0x68747541 || l->ebx == 0x6f677948);
}

static void set_leaf1(struct x86_cpuid *c, const struct view *v) {
        struct x86_cpuid_leaf *l = x86_cpuid_find(c, 1, 0);
        uint32_t ids = 1u << v->fields.package_shift;

        if (!l)
                return;
        /* initial APIC id, ids per package (saturating), size of a CLFLUSH line in 8 bytes */
        l->ebx = (l->ebx & 0xff) | 8 << 8 | MIN(ids, 255) << 16 | (v->apic_id & 0xff) << 24;
        if (v->per_package > 1)
                l->edx |= LEAF1_EDX_HTT;
        else
                l->edx &= ~LEAF1_EDX_HTT;
}

static void
set_level(struct x86_cpuid *c,
          uint32_t function,
          uint32_t index,
          enum level level,
          uint8_t shift,
          uint32_t count,
          uint32_t apic_id) {
        struct x86_cpuid_leaf leaf = {
                .function = function,
                .index = index,
                .indexed = true,
                .eax = shift,
                .ebx = count,
                .ecx = index | (uint32_t) level << 8,
                .edx = apic_id,
        };

        x86_cpuid_set(c, &leaf);
}

static void set_end(struct x86_cpuid *c, uint32_t function, uint32_t index, uint32_t apic_id) {
        struct x86_cpuid_leaf leaf = {
                .function = function, .index = index, .indexed = true, .ecx = index, .edx = apic_id
        };

        x86_cpuid_set(c, &leaf);
}

static void set_extended(struct x86_cpuid *c, const struct view *v, bool dies) {
        const struct x86_apic_fields *f = &v->fields;
        struct x86_cpuid_leaf *l = x86_cpuid_find(c, 0, 0);

        x86_cpuid_remove(c, 0xb, 0xb);
        x86_cpuid_remove(c, 0x1f, 0x1f);
        if (!l)
                return;
        if (l->eax < 0xb)
                l->eax = 0xb;
        set_level(c, 0xb, 0, LEVEL_THREAD, f->core_shift, v->per_core, v->apic_id);
        set_level(c, 0xb, 1, LEVEL_CORE, f->package_shift, v->per_package, v->apic_id);
        set_end(c, 0xb, 2, v->apic_id);

        /* A CPU model without leaf 0x1f gets one only where 0xb cannot say it all. */
        l = x86_cpuid_find(c, 0, 0);
        if (l->eax < 0x1f && !dies)
                return;
        if (l->eax < 0x1f)
                l->eax = 0x1f;
        set_level(c, 0x1f, 0, LEVEL_THREAD, f->core_shift, v->per_core, v->apic_id);
        set_level(c, 0x1f, 1, LEVEL_CORE, f->die_shift, v->per_die, v->apic_id);
        set_level(c, 0x1f, 2, LEVEL_DIE, f->package_shift, v->per_package, v->apic_id);
        set_end(c, 0x1f, 3, v->apic_id);
}

/* Ids that share a cache, less one, in bits 25 to 14: those of the core up to level 2, of the die above. */
static void set_sharing(struct x86_cpuid_leaf *l, uint32_t core_ids, uint32_t die_ids) {
        uint32_t level = l->eax >> 5 & 7, sharing = level <= 2 ? core_ids : die_ids;

        l->eax = (l->eax & ~0x03ffc000u) | MIN(sharing - 1, 0xfff) << 14;
}

static void set_intel_caches(struct x86_cpuid *c, const struct view *v) {
        const struct x86_apic_fields *f = &v->fields;
        uint32_t cores = 1u << (f->package_shift - f->core_shift);

        for (size_t i = 0; i < c->n; i++) {
                struct x86_cpuid_leaf *l = &c->leaf[i];

                if (l->function != 4 || (l->eax & 0x1f) == 0)
                        continue;
                set_sharing(l, 1u << f->core_shift, 1u << f->die_shift);
                l->eax = (l->eax & ~0xfc000000u) | MIN(cores - 1, 63) << 26;
        }
}

static void set_amd(struct x86_cpuid *c, const struct view *v, const struct vcpu_topology *t) {
        struct x86_cpuid_leaf *ext1 = x86_cpuid_find(c, 0x80000001, 0), *l;
        const struct x86_apic_fields *f = &v->fields;
        uint32_t die = v->apic_id >> f->die_shift;

        l = x86_cpuid_find(c, 0x80000008, 0);
        if (l)
                l->ecx = (l->ecx & ~0xf0ffu) | MIN(v->per_package - 1, 255) |
                         (uint32_t) MIN(f->package_shift, 15) << 12;
        if (!ext1)
                return;
        if (v->per_package > 1)
                ext1->ecx |= EXT1_ECX_CMP_LEGACY;
        else
                ext1->ecx &= ~EXT1_ECX_CMP_LEGACY;
        if (!(ext1->ecx & EXT1_ECX_TOPOLOGY))
                return;

        for (size_t i = 0; i < c->n; i++)
                if (c->leaf[i].function == 0x8000001d && (c->leaf[i].eax & 0x1f) != 0)
                        set_sharing(&c->leaf[i], v->per_core, v->per_die);
        x86_cpuid_set(c,
                      &(struct x86_cpuid_leaf){
                                      .function = 0x8000001e,
                                      .eax = v->apic_id,
                                      .ebx = (v->apic_id >> f->core_shift & 0xff) |
                                             (t->threads_per_core - 1u) << 8,
                                      .ecx = (die & 0xff) | (MIN(t->dies_per_package, 8) - 1u) << 8,
                      });
}

void x86_cpuid_set_vcpu(struct x86_cpuid *c, const struct vcpu_topology *t, uint32_t apic_id) {
        struct view v = { .fields = x86_apic_fields_of(t), .apic_id = apic_id };

        v.per_core = t->threads_per_core;
        v.per_die = v.per_core * t->cores_per_die;
        v.per_package = v.per_die * t->dies_per_package;

        set_leaf1(c, &v);
        set_extended(c, &v, t->dies_per_package > 1);
        if (is_amd(c))
                set_amd(c, &v, t);
        else
                set_intel_caches(c, &v);
}
