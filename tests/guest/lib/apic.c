/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* The local APIC, as memory or as registers of the CPU (Intel SDM 3A, chapter 11). */

#include "tests/guest/lib/guest.h"

#define BASE 0xfee00000u
#define MSR_BASE 0x1bu
#define MSR_X2APIC 0x800u
#define BASE_ENABLED 0x800u
#define BASE_X2APIC 0x400u

#define REG_ID 0x20
#define REG_TPR 0x80
#define REG_EOI 0xb0
#define REG_SPURIOUS 0xf0
#define REG_IN_SERVICE 0x100 /* of vectors 0 to 31, and so on */
#define REG_ICR 0x300
#define REG_ICR_HIGH 0x310
#define ICR_PENDING 0x1000u

/* the same on every processor, so it is asked of the hardware only once */
static bool x2;

bool apic_is_x2apic(void) {
        return x2;
}

uint32_t apic_read(uint32_t reg) {
        return x2 ? (uint32_t) rdmsr(MSR_X2APIC + (reg >> 4)) : read32(BASE + reg);
}

void apic_write(uint32_t reg, uint32_t value) {
        if (x2)
                wrmsr(MSR_X2APIC + (reg >> 4), value);
        else
                write32(BASE + reg, value);
}

void apic_enable(bool x2apic) {
        uint64_t base = rdmsr(MSR_BASE);

        x2 = x2apic || (base & BASE_X2APIC) != 0;
        if (x2)
                wrmsr(MSR_BASE, base | BASE_ENABLED | BASE_X2APIC);
        apic_write(REG_SPURIOUS, 0x1ff);
        apic_write(REG_TPR, 0);
}

void apic_eoi(void) {
        apic_write(REG_EOI, 0);
}

bool apic_in_service(uint8_t vector) {
        return (apic_read(REG_IN_SERVICE + vector / 32 * 0x10u) >> vector % 32 & 1) != 0;
}

uint32_t apic_id(void) {
        return x2 ? apic_read(REG_ID) : apic_read(REG_ID) >> 24;
}

void apic_ipi(uint32_t id, uint32_t command) {
        if (x2) {
                wrmsr(MSR_X2APIC + (REG_ICR >> 4), (uint64_t) id << 32 | command);
                return;
        }
        apic_write(REG_ICR_HIGH, id << 24);
        apic_write(REG_ICR, command);
        while (apic_read(REG_ICR) & ICR_PENDING)
                relax();
}

uint64_t msi_address(uint32_t id) {
        return BASE | (id & 0xff) << 12 | (id >> 8 & 0x7f) << 5;
}

uint32_t msi_data(uint8_t vector) {
        return vector;
}
