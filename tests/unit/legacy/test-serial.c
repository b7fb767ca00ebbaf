/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that the serial port is a 16550A to those who probe for one (the steps of Linux's 8250 driver), that interrupts
 * come in the right order of priority and go by what clears them, that loopback is closed, and that no character
 * is lost in either direction however slowly the other side takes it.
 */

#include <string.h>

#include "devices/legacy/legacy.h"
#include "fake-chardev.h"
#include "fake-intc.h"

#define PORT 0x3f8

enum {
        DATA,
        IER,
        IIR,
        LCR,
        MCR,
        LSR,
        MSR,
        SCR,
        FCR = IIR,
};

typedef struct port {
        bus *pio;
        struct fake_line line;
        fake_chardev *chr;
        struct device *dev;
} port;

static void port_init(struct port *p) {
        p->pio = bus_new("pio", NULL, NULL);
        fake_line_init(&p->line);
        p->chr = fake_chardev_new();
        p->dev = serial_new(p->pio, PORT, &p->line.line, &p->chr->chr, NULL);
        g_assert_nonnull(p->dev);
}

static void port_clear(struct port *p) {
        p->dev = device_free(p->dev);
        p->chr = fake_chardev_free(p->chr);
        p->pio = bus_free(p->pio);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(port, port_clear)

static uint8_t in(struct port *p, unsigned reg) {
        uint8_t v = 0xaa;

        bus_read(p->pio, PORT + reg, &v, 1);
        return v;
}

static void out(struct port *p, unsigned reg, uint8_t v) {
        bus_write(p->pio, PORT + reg, &v, 1);
}

#define ASSERT_OUTPUT(p, text)                                                                     \
        do {                                                                                       \
                g_autofree char *o_ = fake_chardev_take((p).chr, NULL);                            \
                                                                                                   \
                g_assert_cmpstr(o_, ==, text);                                                     \
        } while (false)

static void test_hostile(void) {
        g_auto(port) p = { 0 };
        g_autoptr(GRand) rand = g_rand_new_with_seed(16550);
        uint64_t v;

        port_init(&p);
        for (unsigned i = 0; i < 200000; i++) {
                unsigned reg = (unsigned) g_rand_int_range(rand, 0, 9);
                unsigned len = 1u << g_rand_int_range(rand, 0, 4);

                v = (uint64_t) g_rand_int(rand) << 32 | g_rand_int(rand);
                if (g_rand_boolean(rand))
                        bus_write(p.pio, PORT + reg, &v, len);
                else
                        bus_read(p.pio, PORT + reg, &v, len);
                if (i % 5 == 0)
                        g_assert_cmpuint(
                                        fake_chardev_input(p.chr, "0123456789abcdefgh", 18), <=,
                                        16);
        }
        /* And it still is one. */
        out(&p, LCR, 0);
        out(&p, MCR, 0);
        out(&p, FCR, 7);
        (void) g_string_truncate(p.chr->output, 0);
        out(&p, DATA, 'x');
        ASSERT_OUTPUT(p, "x");
}

static void test_power_on(void) {
        g_auto(port) p = { 0 };

        port_init(&p);
        g_assert_cmphex(in(&p, IER), ==, 0);
        g_assert_cmphex(in(&p, IIR), ==, 0x01);
        g_assert_cmphex(in(&p, LCR), ==, 0);
        g_assert_cmphex(in(&p, MCR), ==, 0);
        g_assert_cmphex(in(&p, LSR), ==, 0x60);
        g_assert_cmphex(in(&p, MSR), ==, 0xb0);
        g_assert_false(p.line.level);

        /* A word is two bytes of two registers. */
        bus_write(p.pio, PORT + MCR, &(uint16_t){ 0xff03 }, 2);
        g_assert_cmphex(in(&p, MCR), ==, 0x03);
        g_assert_cmphex(in(&p, LSR), ==, 0x60);
}

/* What drivers/tty/serial/8250 does to tell its UARTs apart. */
static void test_autoconfig(void) {
        g_auto(port) p = { 0 };
        unsigned n;

        port_init(&p);
        out(&p, IER, 0);
        g_assert_cmphex(in(&p, IER) & 0x0f, ==, 0);
        out(&p, IER, 0x0f);
        g_assert_cmphex(in(&p, IER), ==, 0x0f);
        out(&p, IER, 0);

        out(&p, MCR, 0x10 | 0x0a);
        g_assert_cmphex(in(&p, MSR) & 0xf0, ==, 0x90);
        out(&p, MCR, 0);

        /* No EFR under 0xbf, a FIFO that says 16550A. */
        out(&p, LCR, 0xbf);
        out(&p, FCR, 0);
        out(&p, LCR, 0);
        out(&p, FCR, 0x01);
        g_assert_cmphex(in(&p, IIR) >> 6, ==, 3);
        /* 64-byte mode of the 16750 does not exist. */
        out(&p, LCR, 0x80);
        out(&p, FCR, 0x21);
        g_assert_cmphex(in(&p, IIR) >> 5, ==, 6);
        out(&p, LCR, 0);
        out(&p, IER, 0x40);
        g_assert_cmphex(in(&p, IER), ==, 0);

        /* Scratch, and the divisor behind DLAB. */
        out(&p, SCR, 0x5a);
        g_assert_cmphex(in(&p, SCR), ==, 0x5a);
        out(&p, LCR, 0x83);
        out(&p, DATA, 0x01);
        out(&p, IER, 0x02);
        g_assert_cmphex(in(&p, DATA), ==, 0x01);
        g_assert_cmphex(in(&p, IER), ==, 0x02);
        out(&p, LCR, 0x03);
        g_assert_cmphex(in(&p, IER), ==, 0);
        ASSERT_OUTPUT(p, "");

        /* The size of the FIFO, found by loopback. */
        out(&p, FCR, 0x07);
        out(&p, MCR, 0x10);
        for (unsigned i = 0; i < 256; i++)
                out(&p, DATA, (uint8_t) i);
        for (n = 0; n < 256 && in(&p, LSR) & 0x01; n++)
                g_assert_cmpuint(in(&p, DATA), ==, n);
        g_assert_cmpuint(n, ==, 16);
        ASSERT_OUTPUT(p, "");

        /* The test for UARTs that do not raise THRE again. */
        out(&p, MCR, 0);
        out(&p, IER, 0x02);
        g_assert_cmphex(in(&p, IIR) & 0x0f, ==, 0x02);
        out(&p, IER, 0);
        out(&p, IER, 0x02);
        g_assert_cmphex(in(&p, IIR) & 0x0f, ==, 0x02);
        g_assert_cmphex(in(&p, IIR) & 0x0f, ==, 0x01);
}

static void test_output(void) {
        g_auto(port) p = { 0 };

        port_init(&p);
        for (const char *c = "hello\n"; *c; c++)
                out(&p, DATA, (uint8_t) *c);
        ASSERT_OUTPUT(p, "hello\n");
        g_assert_false(p.line.level);

        /* An interrupt for each time the transmitter has become empty. */
        out(&p, IER, 0x02);
        g_assert_true(p.line.level);
        g_assert_cmphex(in(&p, IIR), ==, 0x02);
        g_assert_false(p.line.level);
        out(&p, DATA, 'a');
        g_assert_true(p.line.level);
        g_assert_cmpuint(p.line.n_raised, ==, 2);
        g_assert_cmphex(in(&p, IIR), ==, 0x02);
        g_assert_false(p.line.level);
        out(&p, IER, 0);
        out(&p, DATA, 'b');
        g_assert_false(p.line.level);
        ASSERT_OUTPUT(p, "ab");
}

static void test_input(void) {
        g_auto(port) p = { 0 };
        static const char text[] = "The quick brown fox jumps over the lazy dog";
        size_t fed = 0, got = 0;

        port_init(&p);
        /* One character without FIFO. */
        g_assert_cmpuint(fake_chardev_input(p.chr, "ab", 2), ==, 1);
        g_assert_cmphex(in(&p, LSR), ==, 0x61);
        g_assert_cmpuint(fake_chardev_n_input_ready(p.chr), ==, 0);
        g_assert_cmphex(in(&p, DATA), ==, 'a');
        g_assert_cmpuint(fake_chardev_n_input_ready(p.chr), ==, 1);
        g_assert_cmphex(in(&p, DATA), ==, 0);
        g_assert_cmpuint(fake_chardev_n_input_ready(p.chr), ==, 1);

        out(&p, FCR, 0x81); /* trigger 8 */
        out(&p, IER, 0x01);
        while (got < sizeof(text)) {
                fed += fake_chardev_input(p.chr, text + fed, sizeof(text) - fed);
                g_assert_cmpuint(fed - got, <=, 16);
                g_assert_true(p.line.level);
                g_assert_cmphex(in(&p, IIR), ==, fed - got >= 8 ? 0xc4 : 0xcc);
                while (in(&p, LSR) & 0x01) {
                        g_assert_cmphex(in(&p, DATA), ==, (uint8_t) text[got]);
                        got++;
                }
                g_assert_false(p.line.level);
                g_assert_cmphex(in(&p, IIR), ==, 0xc1);
        }
        g_assert_cmpuint(fed, ==, sizeof(text));
        /* Called whenever more was there: 43 characters, 16 at a time. */
        g_assert_cmpuint(fake_chardev_n_input_ready(p.chr), ==, 3);
}

static void test_fifo_reset(void) {
        g_auto(port) p = { 0 };

        port_init(&p);
        out(&p, FCR, 0x01);
        g_assert_cmpuint(fake_chardev_input(p.chr, "0123456789abcdefgh", 18), ==, 16);
        out(&p, FCR, 0x05); /* transmit side only */
        g_assert_cmphex(in(&p, LSR) & 1, ==, 1);
        out(&p, FCR, 0x03);
        g_assert_cmphex(in(&p, LSR) & 1, ==, 0);
        g_assert_cmpuint(fake_chardev_n_input_ready(p.chr), ==, 1);
        g_assert_cmpuint(fake_chardev_input(p.chr, "gh", 2), ==, 2);
        out(&p, FCR, 0x00);
        g_assert_cmphex(in(&p, LSR) & 1, ==, 0);
}

static void test_priorities(void) {
        g_auto(port) p = { 0 };

        port_init(&p);
        out(&p, FCR, 0x01);
        /* All four at once: overrun and data by loopback, modem status by leaving it. */
        out(&p, MCR, 0x10);
        for (unsigned i = 0; i < 17; i++)
                out(&p, DATA, 'x');
        out(&p, MCR, 0x00);
        out(&p, IER, 0x0f);

        g_assert_cmphex(in(&p, IIR), ==, 0xc6);
        g_assert_cmphex(in(&p, LSR), ==, 0x63);
        g_assert_cmphex(in(&p, IIR), ==, 0xc4);
        while (in(&p, LSR) & 1)
                (void) in(&p, DATA);
        g_assert_cmphex(in(&p, IIR), ==, 0xc2);
        g_assert_true(p.line.level);
        g_assert_cmphex(in(&p, IIR), ==, 0xc0);
        g_assert_cmphex(in(&p, MSR), ==, 0xbb);
        g_assert_cmphex(in(&p, MSR), ==, 0xb0);
        g_assert_cmphex(in(&p, IIR), ==, 0xc1);
        g_assert_false(p.line.level);
}

static void test_loopback(void) {
        g_auto(port) p = { 0 };

        port_init(&p);
        out(&p, MCR, 0x10);
        g_assert_cmphex(in(&p, MSR), ==, 0x0b);
        out(&p, MCR, 0x1f);
        g_assert_cmphex(in(&p, MSR), ==, 0xfb);
        out(&p, MCR, 0x1b);
        g_assert_cmphex(in(&p, MSR), ==, 0xb4); /* trailing edge of RI */
        out(&p, DATA, 'q');
        g_assert_cmpuint(fake_chardev_input(p.chr, "z", 1), ==, 0);
        g_assert_cmphex(in(&p, DATA), ==, 'q');
        ASSERT_OUTPUT(p, "");
        /* The receiver buffer alone keeps the newest. */
        out(&p, DATA, 'r');
        out(&p, DATA, 's');
        g_assert_cmphex(in(&p, LSR) & 0x02, ==, 0x02);
        g_assert_cmphex(in(&p, DATA), ==, 's');

        g_assert_cmpuint(fake_chardev_n_input_ready(p.chr), ==, 0);
        out(&p, MCR, 0x0b);
        g_assert_cmpuint(fake_chardev_n_input_ready(p.chr), ==, 1);
        g_assert_cmpuint(fake_chardev_input(p.chr, "z", 1), ==, 1);
        g_assert_cmphex(in(&p, DATA), ==, 'z');
}

static void test_pause(void) {
        g_auto(port) p = { 0 };

        port_init(&p);
        out(&p, IER, 0x01);
        g_assert_true(p.dev->ops->pause(p.dev, NULL));
        g_assert_cmpuint(fake_chardev_input(p.chr, "z", 1), ==, 0);
        g_assert_cmpuint(fake_chardev_n_input_ready(p.chr), ==, 0);
        p.dev->ops->resume(p.dev);
        g_assert_cmpuint(fake_chardev_n_input_ready(p.chr), ==, 1);
        g_assert_cmpuint(fake_chardev_input(p.chr, "z", 1), ==, 1);
        g_assert_true(p.line.level);
        p.dev->ops->reset(p.dev);
        g_assert_false(p.line.level);
        g_assert_cmphex(in(&p, LSR), ==, 0x60);
}

static void count(void *opaque, const char *name, uint64_t value) {
        g_assert_cmpuint(value, ==, g_str_equal(name, "tx_bytes") ? 3 : 1);
        ++*(unsigned *) opaque;
}

/* Nobody behind it, and counters. */
static void test_alone(void) {
        g_autoptr(bus) pio = bus_new("pio", NULL, NULL);
        g_auto(port) p = { 0 };
        struct fake_line line;
        struct device *dev;
        unsigned n = 0;

        fake_line_init(&line);
        dev = serial_new(pio, PORT, &line.line, NULL /* chr */, NULL);
        bus_write(pio, PORT, "x", 1);
        g_assert_null(serial_new(pio, PORT + 4, &line.line, NULL /* chr */, NULL));
        device_free(dev);

        port_init(&p);
        for (unsigned i = 0; i < 3; i++)
                out(&p, DATA, 'x');
        (void) fake_chardev_input(p.chr, "yy", 2);
        p.dev->ops->counters(p.dev, count, &n);
        g_assert_cmpuint(n, ==, 2);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/serial/hostile", test_hostile);
        g_test_add_func("/serial/power-on", test_power_on);
        g_test_add_func("/serial/autoconfig", test_autoconfig);
        g_test_add_func("/serial/output", test_output);
        g_test_add_func("/serial/input", test_input);
        g_test_add_func("/serial/fifo-reset", test_fifo_reset);
        g_test_add_func("/serial/priorities", test_priorities);
        g_test_add_func("/serial/loopback", test_loopback);
        g_test_add_func("/serial/pause", test_pause);
        g_test_add_func("/serial/alone", test_alone);
        return g_test_run();
}
