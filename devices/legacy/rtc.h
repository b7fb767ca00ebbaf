/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * The clock and memory of a CMOS RTC (MC146818), apart from ports and the host's clock: now is the host's time in
 * nanoseconds since 1970, UTC. The owner locks it.
 */

#define RTC_N_REGS 128

struct rtc {
        uint8_t regs[RTC_N_REGS]; /* the time's are current only while it is set */
        int64_t offset_s;         /* of the guest's clock from the host's */
        uint32_t offset_ns;
        int64_t flagged_s; /* second in which the update flag was last read */
};

void rtc_init(struct rtc *r);
/* What the reset pin does: interrupts off, time and memory stay. */
void rtc_reset(struct rtc *r);

uint8_t rtc_read(struct rtc *r, unsigned reg, int64_t now);
void rtc_write(struct rtc *r, unsigned reg, uint8_t v, int64_t now);
