/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves the clock: BCD and binary, 12 and 24 hours, century, leap days, update in progress, setting it in both
 * ways and with nonsense; memory sizes; and that the reset is asked for by index 0x8f and nothing near it.
 */

#include <time.h>

#include "devices/legacy/legacy.h"
#include "devices/legacy/rtc.h"
#include "hypervisor/error.h"

#define NS 1000000000ll
/* 2024-02-29 23:59:58 UTC, a Thursday. */
#define LEAP (1709251198ll * NS)

static void test_nonsense(void) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(146818);
        struct rtc r;
        int64_t now = LEAP;

        rtc_init(&r);
        for (unsigned i = 0; i < 200000; i++) {
                unsigned reg = (unsigned) g_rand_int_range(rand, 0, 256);

                now += g_rand_int_range(rand, 0, 1000000);
                if (g_rand_boolean(rand))
                        rtc_write(&r, reg, (uint8_t) g_rand_int(rand), now);
                else
                        (void) rtc_read(&r, reg, now);
                g_assert_cmpuint(r.offset_ns, <, NS);
        }
        /* It can be set right again. */
        rtc_write(&r, 0x0b, 0x82, now);
        rtc_write(&r, 0x32, 0x20, now);
        rtc_write(&r, 0x09, 0x26, now);
        rtc_write(&r, 0x08, 0x12, now);
        rtc_write(&r, 0x07, 0x31, now);
        rtc_write(&r, 0x04, 0x23, now);
        rtc_write(&r, 0x02, 0x59, now);
        rtc_write(&r, 0x00, 0x59, now);
        rtc_write(&r, 0x0b, 0x02, now);
        g_assert_cmphex(rtc_read(&r, 0x00, now), ==, 0x59);
        now += NS;
        g_assert_cmphex(rtc_read(&r, 0x09, now), ==, 0x27);
        g_assert_cmphex(rtc_read(&r, 0x08, now), ==, 0x01);
        g_assert_cmphex(rtc_read(&r, 0x07, now), ==, 0x01);
        g_assert_cmphex(rtc_read(&r, 0x00, now), ==, 0x00);
}

static void assert_time(struct rtc *r, int64_t now, const uint8_t expected[8]) {
        static const uint8_t regs[8] = { 0x32, 0x09, 0x08, 0x07, 0x06, 0x04, 0x02, 0x00 };

        for (unsigned i = 0; i < 8; i++)
                g_assert_cmphex(rtc_read(r, regs[i], now), ==, expected[i]);
}

static void test_time(void) {
        struct rtc r;

        rtc_init(&r);
        assert_time(&r, LEAP, (uint8_t[]){ 0x20, 0x24, 0x02, 0x29, 5, 0x23, 0x59, 0x58 });
        assert_time(&r, LEAP + 2 * NS, (uint8_t[]){ 0x20, 0x24, 0x03, 0x01, 6, 0, 0, 0 });
        rtc_write(&r, 0x0b, 0x06, LEAP); /* binary */
        assert_time(&r, LEAP, (uint8_t[]){ 20, 24, 2, 29, 5, 23, 59, 58 });
        rtc_write(&r, 0x0b, 0x00, LEAP); /* BCD, 12 hours */
        assert_time(&r, LEAP, (uint8_t[]){ 0x20, 0x24, 0x02, 0x29, 5, 0x91, 0x59, 0x58 });
        assert_time(&r, LEAP + 2 * NS, (uint8_t[]){ 0x20, 0x24, 0x03, 0x01, 6, 0x12, 0, 0 });
        assert_time(&r, LEAP + 12 * 3600 * NS,
                    (uint8_t[]){ 0x20, 0x24, 0x03, 0x01, 6, 0x11, 0x59, 0x58 });
        assert_time(&r, LEAP + (12 * 3600 + 2) * NS,
                    (uint8_t[]){ 0x20, 0x24, 0x03, 0x01, 6, 0x92, 0, 0 });

        g_assert_cmphex(rtc_read(&r, 0x0d, LEAP), ==, 0x80);
        rtc_write(&r, 0x0d, 0, LEAP);
        g_assert_cmphex(rtc_read(&r, 0x0d, LEAP), ==, 0x80);
}

static void test_update_in_progress(void) {
        struct rtc r;

        rtc_init(&r);
        g_assert_cmphex(rtc_read(&r, 0x0a, LEAP), ==, 0x26);
        g_assert_cmphex(rtc_read(&r, 0x0a, LEAP + NS - 244001), ==, 0x26);
        g_assert_cmphex(rtc_read(&r, 0x0a, LEAP + NS - 244000), ==, 0xa6);
        g_assert_cmphex(rtc_read(&r, 0x0a, LEAP + NS - 1), ==, 0xa6);
        g_assert_cmphex(rtc_read(&r, 0x0a, LEAP + NS), ==, 0x26);
        rtc_write(&r, 0x0b, 0x82, LEAP);
        g_assert_cmphex(rtc_read(&r, 0x0a, LEAP + NS - 1), ==, 0x26);

        /* The update flag: once a second, gone when read. */
        rtc_write(&r, 0x0b, 0x02, LEAP);
        (void) rtc_read(&r, 0x0c, LEAP);
        g_assert_cmphex(rtc_read(&r, 0x0c, LEAP + 1), ==, 0);
        g_assert_cmphex(rtc_read(&r, 0x0c, LEAP + NS), ==, 0x10);
        g_assert_cmphex(rtc_read(&r, 0x0c, LEAP + NS), ==, 0);
        rtc_write(&r, 0x0b, 0x12, LEAP);
        g_assert_cmphex(rtc_read(&r, 0x0c, LEAP + 5 * NS), ==, 0x90);
        rtc_reset(&r);
        g_assert_cmphex(rtc_read(&r, 0x0b, LEAP), ==, 0x02);
}

static void test_set(void) {
        int64_t now = LEAP + 123456789;
        struct rtc r;

        rtc_init(&r);
        rtc_write(&r, 0x0b, 0x82, now);
        rtc_write(&r, 0x00, 0x10, now);
        rtc_write(&r, 0x02, 0x20, now);
        rtc_write(&r, 0x04, 0x13, now);
        rtc_write(&r, 0x09, 0x99, now);
        rtc_write(&r, 0x32, 0x19, now);
        /* It stands while it is set. */
        assert_time(&r, now + 10 * NS, (uint8_t[]){ 0x19, 0x99, 0x02, 0x29, 5, 0x13, 0x20, 0x10 });
        now += 10 * NS;
        rtc_write(&r, 0x0b, 0x02, now);
        /* 29 February 1999 is 1 March, a Monday; the next second is half a second off. */
        assert_time(&r, now + NS / 2 - 1,
                    (uint8_t[]){ 0x19, 0x99, 0x03, 0x01, 2, 0x13, 0x20, 0x10 });
        assert_time(&r, now + NS / 2, (uint8_t[]){ 0x19, 0x99, 0x03, 0x01, 2, 0x13, 0x20, 0x11 });

        /* A single register of the running clock. */
        rtc_write(&r, 0x02, 0x45, now);
        assert_time(&r, now, (uint8_t[]){ 0x19, 0x99, 0x03, 0x01, 2, 0x13, 0x45, 0x10 });
        assert_time(&r, now + NS / 2, (uint8_t[]){ 0x19, 0x99, 0x03, 0x01, 2, 0x13, 0x45, 0x11 });

        /* Alarm and memory are memory. */
        rtc_write(&r, 0x01, 0x77, now);
        rtc_write(&r, 0x7f, 0x88, now);
        g_assert_cmphex(rtc_read(&r, 0x01, now), ==, 0x77);
        g_assert_cmphex(rtc_read(&r, 0x7f, now), ==, 0x88);
}

static unsigned n_resets;

static void reset(void *opaque) {
        n_resets++;
}

static void out(bus *b, uint16_t port, uint8_t v) {
        bus_write(b, port, &v, 1);
}

static uint8_t get(bus *b, uint8_t index) {
        uint8_t v = 0;

        out(b, 0x70, index);
        bus_read(b, 0x71, &v, 1);
        return v;
}

static void test_ports(void) {
        g_autoptr(bus) pio = bus_new("pio", NULL, NULL);
        struct device *dev = cmos_new(pio, 3ull << 30, 5ull << 30, reset, NULL, NULL);
        uint16_t word = 0x5a60;
        uint8_t v = 0;
        g_autoptr(GDateTime) before = g_date_time_new_now_utc();
        uint8_t minute = get(pio, 0x02);
        g_autoptr(GDateTime) after = g_date_time_new_now_utc();

        g_assert_true(minute == g_date_time_get_minute(before) % 10 +
                                                      g_date_time_get_minute(before) / 10 * 16 ||
                      minute == g_date_time_get_minute(after) % 10 +
                                                      g_date_time_get_minute(after) / 10 * 16);
        g_assert_cmphex(get(pio, 0x32), ==, 0x20);
        g_assert_cmphex(get(pio, 0x8d), ==, 0x80); /* NMI masked: the same register */

        /* 3 GiB - 16 MiB and 5 GiB in units of 64 KiB; not to be overwritten. */
        for (unsigned i = 0; i < 2; i++) {
                g_assert_cmphex(get(pio, 0x34), ==, 0x00);
                g_assert_cmphex(get(pio, 0x35), ==, 0xbf);
                g_assert_cmphex(get(pio, 0x5b), ==, 0x00);
                g_assert_cmphex(get(pio, 0x5c), ==, 0x40);
                g_assert_cmphex(get(pio, 0x5d), ==, 0x01);
                out(pio, 0x70, 0x35);
                out(pio, 0x71, 0xee);
        }

        /* Index and data in one write; the index port does not read. */
        bus_write(pio, 0x70, &word, 2);
        g_assert_cmphex(get(pio, 0x60), ==, 0x5a);
        bus_read(pio, 0x70, &v, 1);
        g_assert_cmphex(v, ==, 0xff);

        /* What Linux writes when it starts processors is not a reset. */
        out(pio, 0x70, 0x0f);
        out(pio, 0x71, 0x0a);
        out(pio, 0x71, 0x00);
        out(pio, 0x70, 0x8f);
        out(pio, 0x71, 0x01);
        out(pio, 0x70, 0x8e);
        out(pio, 0x71, 0x00);
        g_assert_cmpuint(n_resets, ==, 0);
        out(pio, 0x70, 0x8f);
        out(pio, 0x71, 0x00);
        g_assert_cmpuint(n_resets, ==, 1);

        dev->ops->reset(dev);
        g_assert_cmphex(get(pio, 0x60), ==, 0x5a);
        device_free(dev);

        /* Little memory, and more than the registers can say. */
        dev = cmos_new(pio, 8 << 20, 1ull << 44, reset, NULL, NULL);
        g_assert_cmphex(get(pio, 0x34) | get(pio, 0x35), ==, 0);
        g_assert_cmphex(get(pio, 0x5b) & get(pio, 0x5c) & get(pio, 0x5d), ==, 0xff);
        device_free(dev);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/cmos/nonsense", test_nonsense);
        g_test_add_func("/cmos/time", test_time);
        g_test_add_func("/cmos/update-in-progress", test_update_in_progress);
        g_test_add_func("/cmos/set", test_set);
        g_test_add_func("/cmos/ports", test_ports);
        return g_test_run();
}
