/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves what the small devices answer and ask for: i8042 stub, debug port, debug console, ACPI shutdown and reset,
 * PM timer (rate, pause, resume), power button; that near misses ask for nothing; and that a port that is taken is
 * refused.
 */

#include <string.h>

#include "devices/acpi/acpi.h"
#include "devices/legacy/legacy.h"
#include "fake-chardev.h"
#include "fake-intc.h"
#include "hypervisor/error.h"

static unsigned n_resets;
static int last_event = -1;
static uint8_t last_code;
static uint64_t last_ns;

static void reset(void *opaque) {
        g_assert_cmpstr(opaque, ==, "opaque");
        n_resets++;
}

static void power(void *opaque, enum acpi_power_event event) {
        last_event = (int) event;
}

static void code(void *opaque, uint8_t c, uint64_t ns) {
        last_code = c;
        last_ns = ns;
}

static void out(bus *b, uint16_t port, uint32_t v, unsigned len) {
        bus_write(b, port, &v, len);
}

static uint32_t in(bus *b, uint16_t port, unsigned len) {
        uint32_t v = 0;

        bus_read(b, port, &v, len);
        return v;
}

static void test_i8042(void) {
        g_autoptr(bus) pio = bus_new("pio", NULL, NULL);
        char opaque[] = "opaque";
        struct device *dev = i8042_new(pio, reset, opaque, NULL);

        for (unsigned v = 0; v < 256; v++)
                for (uint16_t port = 0x61; port <= 0x64; port++)
                        if (port != 0x64 || v != 0xfe)
                                out(pio, port, v, 1);
        g_assert_cmpuint(n_resets, ==, 0);
        out(pio, 0x64, 0xfe, 1);
        g_assert_cmpuint(n_resets, ==, 1);
        g_assert_cmphex(in(pio, 0x61, 1), ==, 0x20);
        g_assert_cmphex(in(pio, 0x62, 1), ==, 0xff);
        g_assert_cmphex(in(pio, 0x64, 1), ==, 0);
        g_assert_cmphex(in(pio, 0x60, 1), ==, 0xff);
        device_free(dev);
}

static void test_debug_port(void) {
        g_autoptr(bus) pio = bus_new("pio", NULL, NULL);
        struct device *dev = debug_port_new(pio, code, NULL, NULL);
        uint64_t first;

        out(pio, 0x80, 0x40, 1);
        g_assert_cmphex(last_code, ==, 0x40);
        first = last_ns;
        g_usleep(1000);
        out(pio, 0x80, 0x41, 1);
        g_assert_cmphex(last_code, ==, 0x41);
        g_assert_cmpuint(last_ns - first, >=, 1000000);
        g_assert_cmphex(in(pio, 0x80, 1), ==, 0xff);
        device_free(dev);
}

static void test_debug_console(void) {
        g_autoptr(bus) pio = bus_new("pio", NULL, NULL);
        g_autoptr(fake_chardev) chr = fake_chardev_new();
        struct device *dev = debug_console_new(pio, 0xe9, &chr->chr, NULL);
        g_autofree char *text = NULL;

        for (const char *c = "ok"; *c; c++)
                out(pio, 0xe9, (uint8_t) *c, 1);
        text = fake_chardev_take(chr, NULL);
        g_assert_cmpstr(text, ==, "ok");
        g_assert_cmphex(in(pio, 0xe9, 1), ==, 0xe9);
        g_assert_cmpuint(fake_chardev_input(chr, "xyz", 3), ==, 3);
        device_free(dev);

        dev = debug_console_new(pio, 0x402, NULL /* chr */, NULL);
        out(pio, 0x402, 'x', 1);
        device_free(dev);
}

static void test_shutdown(void) {
        g_autoptr(bus) pio = bus_new("pio", NULL, NULL);
        struct device *dev = acpi_shutdown_new(pio, power, NULL, NULL);

        for (unsigned v = 0; v < 256; v++)
                if (v != 0x01 && v != 0x34)
                        out(pio, 0x600, v, 1);
        for (uint16_t port = 0x601; port < 0x608; port++) {
                out(pio, port, 0x34, 1);
                out(pio, port, 0x01, 1);
        }
        g_assert_cmpint(last_event, ==, -1);
        g_assert_cmphex(in(pio, 0x600, 1), ==, 0);
        out(pio, 0x600, 0x34, 1);
        g_assert_cmpint(last_event, ==, ACPI_POWER_OFF);
        out(pio, 0x600, 0x01, 1);
        g_assert_cmpint(last_event, ==, ACPI_POWER_RESET);
        device_free(dev);
}

static void test_pm_timer(void) {
        g_autoptr(bus) pio = bus_new("pio", NULL, NULL);
        struct device *dev = pm_timer_new(pio, NULL);
        g_autoptr(GVariant) late = NULL, bad = NULL, again = NULL;
        uint32_t a, b;
        gint64 start, end;

        start = g_get_monotonic_time();
        a = in(pio, 0x608, 4);
        g_usleep(20000);
        b = in(pio, 0x608, 4);
        end = g_get_monotonic_time();
        g_assert_cmpuint(b - a, >=, 3579545 / 50);
        g_assert_cmpuint(b - a, <=, (uint64_t) (end - start + 1) * 3579545 / 1000000 + 1);

        /* Its bytes one by one, and no further. */
        g_assert_true(dev->ops->pause(dev, NULL));
        a = in(pio, 0x608, 4);
        g_assert_cmphex(in(pio, 0x608, 2) | in(pio, 0x60a, 2) << 16, ==, a);
        g_assert_cmphex(in(pio, 0x609, 1), ==, a >> 8 & 0xff);
        g_assert_cmphex(in(pio, 0x60a, 4), ==, 0xffffffff);
        out(pio, 0x608, 0, 4);

        /* It stands while paused. */
        g_usleep(2000);
        g_assert_cmpuint(in(pio, 0x608, 4), ==, a);
        start = g_get_monotonic_time();
        dev->ops->resume(dev);
        dev->ops->resume(dev);
        b = in(pio, 0x608, 4);
        end = g_get_monotonic_time();
        g_assert_cmpuint(b - a, <=, (uint64_t) (end - start + 1) * 3579545 / 1000000 + 1);

        /* Wraps at 32 bits: 3000 seconds are 10738635000 ticks. */
        g_assert_true(dev->ops->pause(dev, NULL));
        late = g_variant_ref_sink(g_variant_new("(ut)", 1, (guint64) 3000000000000));
        g_assert_true(dev->ops->restore(dev, late, NULL));
        g_assert_cmpuint(in(pio, 0x608, 4), ==, (uint32_t) 10738635000);
        again = g_variant_ref_sink(dev->ops->save(dev));
        g_assert_true(g_variant_equal(late, again));
        bad = g_variant_ref_sink(g_variant_new("(ut)", 1, G_MAXUINT64));
        g_assert_false(dev->ops->restore(dev, bad, NULL));
        dev->ops->reset(dev);
        g_assert_cmpuint(in(pio, 0x608, 4), ==, 0);
        device_free(dev);
}

static void test_ged(void) {
        g_autoptr(bus) mmio = bus_new("mmio", NULL, NULL);
        struct fake_line line;
        struct device *dev;
        g_autoptr(GVariant) state = NULL;
        uint16_t word = 0;
        uint8_t v = 0xff;

        fake_line_init(&line);
        dev = ged_new(mmio, 0x3ffff00000, 5, &line.line, NULL);
        bus_read(mmio, 0x3ffff00000, &v, 1);
        g_assert_cmphex(v, ==, 0);
        bus_write(mmio, 0x3ffff00000, &v, 1);
        bus_read(mmio, 0x3ffff00000, &word, 2);
        g_assert_cmphex(word, ==, 0xffff);

        ged_press_power_button(dev);
        g_assert_cmpuint(line.n_raised, ==, 1);
        ged_press_power_button(dev);
        g_assert_cmpuint(line.n_raised, ==, 2);
        state = g_variant_ref_sink(dev->ops->save(dev));
        bus_read(mmio, 0x3ffff00000, &v, 1);
        g_assert_cmphex(v, ==, 8);
        g_assert_false(line.level);
        bus_read(mmio, 0x3ffff00000, &v, 1);
        g_assert_cmphex(v, ==, 0);

        g_assert_true(dev->ops->restore(dev, state, NULL));
        g_assert_true(line.level);
        dev->ops->reset(dev);
        g_assert_false(line.level);
        bus_read(mmio, 0x3ffff00000, &v, 1);
        g_assert_cmphex(v, ==, 0);
        device_free(dev);
}

/* A taken port is an error that names both, and leaves nothing behind. */
static void test_conflict(void) {
        g_autoptr(bus) pio = bus_new("pio", NULL, NULL);
        g_autoptr(fake_chardev) chr = fake_chardev_new();
        struct device *dev = debug_console_new(pio, 0x3fa, &chr->chr, NULL);
        g_autoptr(GError) error = NULL;
        struct fake_line line;

        fake_line_init(&line);
        g_assert_null(serial_new(pio, 0x3f8, &line.line, &chr->chr, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
        g_assert_nonnull(strstr(error->message, "debug-console"));
        g_assert_nonnull(strstr(error->message, "serial"));
        g_assert_cmpuint(fake_chardev_input(chr, "x", 1), ==, 1);
        g_assert_null(debug_console_new(pio, 0x3fa, NULL, NULL));
        device_free(dev);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/ports/i8042", test_i8042);
        g_test_add_func("/ports/debug-port", test_debug_port);
        g_test_add_func("/ports/debug-console", test_debug_console);
        g_test_add_func("/ports/shutdown", test_shutdown);
        g_test_add_func("/ports/pm-timer", test_pm_timer);
        g_test_add_func("/ports/ged", test_ged);
        g_test_add_func("/ports/conflict", test_conflict);
        return g_test_run();
}
