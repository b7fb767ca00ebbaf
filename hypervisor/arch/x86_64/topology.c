/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * APIC ids from the topology. Ids have gaps where a count is no power of two: software finds the
 * levels by shifting, so every field is rounded up to whole bits.
 */

#include "hypervisor/arch/x86_64/topology.h"

#include "hypervisor/backend.h"

static uint8_t bits_for(uint32_t count) {
        return count <= 1 ? 0 : (uint8_t) (32 - __builtin_clz(count - 1));
}

struct x86_apic_fields x86_apic_fields_of(const struct vcpu_topology *t) {
        struct x86_apic_fields f;

        f.core_shift = bits_for(t->threads_per_core);
        f.die_shift = (uint8_t) (f.core_shift + bits_for(t->cores_per_die));
        f.package_shift = (uint8_t) (f.die_shift + bits_for(t->dies_per_package));
        return f;
}

uint32_t arch_vcpu_hw_id(const struct vcpu_topology *t, uint32_t index) {
        struct x86_apic_fields f = x86_apic_fields_of(t);
        uint32_t thread, core, die;

        thread = index % t->threads_per_core;
        index /= t->threads_per_core;
        core = index % t->cores_per_die;
        index /= t->cores_per_die;
        die = index % t->dies_per_package;
        index /= t->dies_per_package;
        return thread | core << f.core_shift | die << f.die_shift | index << f.package_shift;
}

uint16_t arch_max_threads_per_core(void) {
        return 2;
}
