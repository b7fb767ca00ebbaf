/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The small port devices: what is left of the i8042 (a way to reset, and port 0x61, whose timer output kernels wait for),
 * the debug port and the debug console. They hold no state, so what is saved is a version and nothing else.
 */

#include <assert.h>
#include <string.h>
#include <time.h>

#include "devices/legacy/legacy.h"

#define VERSION 1
#define STATE_TYPE "(u)"

#define I8042_BASE 0x61
#define I8042_N_PORTS 4
#define I8042_COMMAND (0x64 - I8042_BASE)
#define I8042_RESET 0xfe
#define PORT_B_TIMER2 0x20

#define DEBUG_PORT 0x80
#define DEBUG_CONSOLE_MAGIC 0xe9

struct stub {
        struct device dev;
        bus *pio;
        bus_region *region;
        void (*reset)(void *opaque);
        void (*code)(void *opaque, uint8_t code, uint64_t ns);
        void *opaque;
        uint64_t start_ns;
        struct chardev *chr;
};

static void stub_reset(struct device *dev) {
}

static bool stub_pause(struct device *dev, GError **error) {
        return true;
}

static void stub_resume(struct device *dev) {
}

static GVariant *stub_save(struct device *dev) {
        return g_variant_new(STATE_TYPE, VERSION);
}

static bool stub_restore(struct device *dev, GVariant *state, GError **error) {
        return device_state_fits(dev, state, STATE_TYPE, VERSION, error);
}

static void stub_free(struct device *dev) {
        struct stub *s = (struct stub *) dev;

        bus_remove(s->pio, s->region);
        device_release(dev);
        g_free(s);
}

static struct stub *stub_new(const struct device_ops *ops, const char *id, bus *pio, void *opaque) {
        struct stub *s = g_new0(struct stub, 1);

        assert(pio);
        device_init(&s->dev, ops, id);
        s->pio = pio;
        s->opaque = opaque;
        return s;
}

static struct device *
stub_attach(struct stub *s, uint16_t port, uint16_t n, const struct io_ops *io, GError **error) {
        s->region = bus_add(s->pio, s->dev.ops->kind, port, n, io, s, error);
        if (s->region)
                return &s->dev;
        stub_free(&s->dev);
        return NULL;
}

#define STUB_OPS(name)                                                                             \
        {                                                                                          \
                .kind = (name), .reset = stub_reset, .pause = stub_pause, .resume = stub_resume,   \
                .save = stub_save, .restore = stub_restore, .free = stub_free,                     \
        }

/* Port 0x61: timer 2's output is up, or kernels that calibrate by it wait for ever. Port 0x64: ready for commands. */
static void i8042_read(void *opaque, uint64_t offset, void *data, unsigned len) {
        if (offset == 0)
                *(uint8_t *) data = PORT_B_TIMER2;
        else if (offset == I8042_COMMAND)
                *(uint8_t *) data = 0;
}

static void i8042_write(void *opaque, uint64_t offset, const void *data, unsigned len) {
        struct stub *s = opaque;

        if (offset == I8042_COMMAND && *(const uint8_t *) data == I8042_RESET && s->reset)
                s->reset(s->opaque);
}

struct device *i8042_new(bus *pio, void (*reset)(void *opaque), void *opaque, GError **error) {
        static const struct device_ops ops = STUB_OPS("i8042");
        static const struct io_ops io = { .read = i8042_read, .write = i8042_write };
        struct stub *s = stub_new(&ops, "__i8042", pio, opaque);

        s->reset = reset;
        return stub_attach(s, I8042_BASE, I8042_N_PORTS, &io, error);
}

static uint64_t monotonic_ns(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

static void debug_port_write(void *opaque, uint64_t offset, const void *data, unsigned len) {
        struct stub *s = opaque;

        if (s->code)
                s->code(s->opaque, *(const uint8_t *) data, monotonic_ns() - s->start_ns);
}

struct device *
debug_port_new(bus *pio,
               void (*code)(void *opaque, uint8_t code, uint64_t ns),
               void *opaque,
               GError **error) {
        static const struct device_ops ops = STUB_OPS("debug-port");
        static const struct io_ops io = { .write = debug_port_write };
        struct stub *s = stub_new(&ops, "__debug_port", pio, opaque);

        s->code = code;
        s->start_ns = monotonic_ns();
        return stub_attach(s, DEBUG_PORT, 1, &io, error);
}

/* Reading tells that it is there. */
static void debug_console_read(void *opaque, uint64_t offset, void *data, unsigned len) {
        *(uint8_t *) data = DEBUG_CONSOLE_MAGIC;
}

static void debug_console_write(void *opaque, uint64_t offset, const void *data, unsigned len) {
        struct stub *s = opaque;

        if (s->chr)
                s->chr->ops->write(s->chr, data, len);
}

static size_t debug_console_input(void *opaque, const uint8_t *data, size_t len) {
        return len; /* it only talks: what is typed is taken and forgotten */
}

static void debug_console_free(struct device *dev) {
        struct stub *s = (struct stub *) dev;

        if (s->chr && s->chr->frontend_opaque == s)
                s->chr->frontend = NULL;
        stub_free(dev);
}

struct device *debug_console_new(bus *pio, uint16_t iobase, struct chardev *chr, GError **error) {
        static const struct device_ops ops = {
                .kind = "debug-console",
                .reset = stub_reset,
                .pause = stub_pause,
                .resume = stub_resume,
                .save = stub_save,
                .restore = stub_restore,
                .free = debug_console_free,
        };
        static const struct io_ops io = {
                .read = debug_console_read,
                .write = debug_console_write,
        };
        static const struct chardev_frontend_ops frontend = { .input = debug_console_input };
        struct stub *s = stub_new(&ops, "__debug_console", pio, NULL /* opaque */);
        struct device *dev;

        s->chr = chr;
        dev = stub_attach(s, iobase, 1, &io, error);
        if (dev && chr) {
                chr->frontend_opaque = s;
                chr->frontend = &frontend;
        }
        return dev;
}
