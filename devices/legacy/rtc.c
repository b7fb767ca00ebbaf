/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * MC146818 (Motorola data sheet, 1984) with the century in register 0x32, as PCs have it. Time is kept as the guest's
 * distance from the host's clock, so it goes on while the machine is paused, saved or off, as a battery's would.
 *
 * While the guest sets the clock (status B, SET) the time registers are plain memory; at the end they become the
 * distance, and the next second begins half a second later, as the real divider has it and Linux expects.
 */

#include "devices/legacy/rtc.h"

#include <string.h>
#include <time.h>

#define NS_PER_S 1000000000ll
/* Update in progress is announced so long before the second changes. */
#define UIP_NS 244000

enum {
        REG_SECONDS = 0x00,
        REG_MINUTES = 0x02,
        REG_HOURS = 0x04,
        REG_WEEKDAY = 0x06,
        REG_DAY = 0x07,
        REG_MONTH = 0x08,
        REG_YEAR = 0x09,
        REG_A = 0x0a,
        REG_B = 0x0b,
        REG_C = 0x0c,
        REG_D = 0x0d,
        REG_CENTURY = 0x32,

        A_UIP = 0x80,
        A_DIVIDER = 0x70,
        A_32KHZ = 0x20,
        A_POWER_ON = 0x26, /* 32768 Hz, 1024 Hz rate */

        B_SET = 0x80,
        B_UPDATE_IRQ = 0x10,
        B_IRQS = 0x78, /* and square wave */
        B_BINARY = 0x04,
        B_24H = 0x02,

        C_IRQ = 0x80,
        C_UPDATE = 0x10,

        D_VALID = 0x80,

        HOURS_PM = 0x80,
};

void rtc_init(struct rtc *r) {
        memset(r, 0, sizeof(*r));
        r->regs[REG_A] = A_POWER_ON;
        r->regs[REG_B] = B_24H;
}

void rtc_reset(struct rtc *r) {
        r->regs[REG_B] &= (uint8_t) ~B_IRQS;
}

static bool is_time(unsigned reg) {
        return reg == REG_SECONDS || reg == REG_MINUTES || reg == REG_HOURS ||
               (reg >= REG_WEEKDAY && reg <= REG_YEAR) || reg == REG_CENTURY;
}

static uint8_t encode(const struct rtc *r, int v) {
        if (r->regs[REG_B] & B_BINARY)
                return (uint8_t) v;
        return (uint8_t) (v / 10 << 4 | v % 10);
}

static int decode(const struct rtc *r, uint8_t v) {
        if (r->regs[REG_B] & B_BINARY)
                return v;
        return (v >> 4) * 10 + (v & 0x0f);
}

static uint8_t encode_hours(const struct rtc *r, int hours) {
        if (r->regs[REG_B] & B_24H)
                return encode(r, hours);
        return encode(r, hours % 12 ? hours % 12 : 12) | (hours >= 12 ? HOURS_PM : 0);
}

static int decode_hours(const struct rtc *r, uint8_t v) {
        if (r->regs[REG_B] & B_24H)
                return decode(r, v);
        return decode(r, v & (uint8_t) ~HOURS_PM) % 12 + (v & HOURS_PM ? 12 : 0);
}

/* The guest's second, and the nanoseconds into it. */
static int64_t guest_time(const struct rtc *r, int64_t now, uint32_t *ret_ns) {
        int64_t s = now / NS_PER_S + r->offset_s;
        uint32_t ns = (uint32_t) (now % NS_PER_S) + r->offset_ns;

        if (ns >= NS_PER_S) {
                ns -= NS_PER_S;
                s++;
        }
        *ret_ns = ns;
        return s;
}

/* Makes the guest's clock show s and ns at now. */
static void set_guest_time(struct rtc *r, int64_t s, uint32_t ns, int64_t now) {
        int64_t d = (int64_t) ns - now % NS_PER_S;

        r->offset_s = s - now / NS_PER_S - (d < 0);
        r->offset_ns = (uint32_t) (d < 0 ? d + NS_PER_S : d);
}

static void load_time(struct rtc *r, int64_t now) {
        uint32_t ns;
        time_t s = guest_time(r, now, &ns);
        struct tm tm;

        if (!gmtime_r(&s, &tm))
                return;

        r->regs[REG_SECONDS] = encode(r, tm.tm_sec);
        r->regs[REG_MINUTES] = encode(r, tm.tm_min);
        r->regs[REG_HOURS] = encode_hours(r, tm.tm_hour);
        r->regs[REG_WEEKDAY] = encode(r, tm.tm_wday + 1);
        r->regs[REG_DAY] = encode(r, tm.tm_mday);
        r->regs[REG_MONTH] = encode(r, tm.tm_mon + 1);
        r->regs[REG_YEAR] = encode(r, (tm.tm_year + 1900) % 100);
        r->regs[REG_CENTURY] = encode(r, (tm.tm_year + 1900) / 100 % 100);
}

/* What the registers say. Whatever they hold is some time: months and days beyond their range carry over. */
static int64_t stored_time(const struct rtc *r) {
        struct tm tm = {
                .tm_sec = decode(r, r->regs[REG_SECONDS]),
                .tm_min = decode(r, r->regs[REG_MINUTES]),
                .tm_hour = decode_hours(r, r->regs[REG_HOURS]),
                .tm_mday = decode(r, r->regs[REG_DAY]),
                .tm_mon = decode(r, r->regs[REG_MONTH]) - 1,
                .tm_year = decode(r, r->regs[REG_CENTURY]) * 100 + decode(r, r->regs[REG_YEAR]) -
                           1900,
        };

        return timegm(&tm);
}

static bool being_set(const struct rtc *r) {
        return r->regs[REG_B] & B_SET;
}

uint8_t rtc_read(struct rtc *r, unsigned reg, int64_t now) {
        uint32_t ns;
        int64_t s = guest_time(r, now, &ns);
        bool updated;

        reg %= RTC_N_REGS;
        if (is_time(reg) && !being_set(r))
                load_time(r, now);

        switch (reg) {
        case REG_A:
                if (!being_set(r) && (r->regs[REG_A] & A_DIVIDER) == A_32KHZ &&
                    ns >= NS_PER_S - UIP_NS)
                        return r->regs[REG_A] | A_UIP;
                return r->regs[REG_A];
        case REG_C:
                updated = s != r->flagged_s && !being_set(r);
                r->flagged_s = s;
                if (!updated)
                        return 0;
                return C_UPDATE | (r->regs[REG_B] & B_UPDATE_IRQ ? C_IRQ : 0);
        case REG_D:
                return D_VALID;
        default:
                return r->regs[reg];
        }
}

static void write_time(struct rtc *r, unsigned reg, uint8_t v, int64_t now) {
        uint32_t ns;

        if (being_set(r)) {
                r->regs[reg] = v;
                return;
        }
        load_time(r, now);
        r->regs[reg] = v;
        (void) guest_time(r, now, &ns);
        set_guest_time(r, stored_time(r), ns, now);
}

static void write_b(struct rtc *r, uint8_t v, int64_t now) {
        bool before = being_set(r);

        /* The registers must be what they were when setting began, in the mode they were read in. */
        if (!before && v & B_SET)
                load_time(r, now);
        r->regs[REG_B] = v;
        if (before && !(v & B_SET))
                set_guest_time(r, stored_time(r), NS_PER_S / 2, now);
}

void rtc_write(struct rtc *r, unsigned reg, uint8_t v, int64_t now) {
        reg %= RTC_N_REGS;
        if (is_time(reg))
                write_time(r, reg, v, now);
        else if (reg == REG_A)
                r->regs[REG_A] = v & (uint8_t) ~A_UIP;
        else if (reg == REG_B)
                write_b(r, v, now);
        else if (reg != REG_C && reg != REG_D)
                r->regs[reg] = v;
}
