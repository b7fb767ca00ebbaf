/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hypervisor/vcpu.h"

/* How an APIC id is put together: thread | core << core_shift | die << die_shift | package <<
 * package_shift. Each field is as wide as its count needs (Intel SDM 3A, 9.9.3). */
struct x86_apic_fields {
        uint8_t core_shift, die_shift, package_shift;
};

struct x86_apic_fields x86_apic_fields_of(const struct vcpu_topology *topology);
