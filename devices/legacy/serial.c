/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A UART on port I/O, a line and a character device. The lock covers the registers and the line, so
 * that the line follows the registers in order; output and the call for more input are made outside of it.
 *
 * No character is lost: output goes to the back end at once, input that does not fit stays with the back end,
 * which is called when the guest has read all there was.
 */

#include <assert.h>

#include "devices/guard.h"
#include "devices/legacy/legacy.h"
#include "devices/legacy/uart.h"
#include "hypervisor/error.h"

#define VERSION 1
#define STATE_TYPE "(uyyyyyyyyybay)"

struct serial {
        struct device dev;
        bus *pio;
        bus_region *region;
        uint16_t port;
        struct irq_line *line;
        struct chardev *chr; /* NULL: nobody listens */

        pthread_mutex_t lock; /* for what follows */
        struct uart uart;
        bool level;      /* of the line */
        bool paused;     /* takes no input */
        bool refused;    /* the back end has more than was taken */
        uint64_t n_sent; /* characters */
        uint64_t n_received;
};

/* The lock is held. True: call for input once it is not. */
static bool update(struct serial *s) {
        bool level = uart_interrupt(&s->uart);
        bool call = s->refused && !s->paused && uart_hungry(&s->uart);

        if (level != s->level)
                irq_line_set(s->line, level);
        s->level = level;
        if (call)
                s->refused = false;
        return call;
}

/* Without the lock. */
static void call_for_input(struct serial *s, bool call) {
        if (call && s->chr)
                s->chr->ops->input_ready(s->chr);
}

static void serial_read(void *opaque, uint64_t offset, void *data, unsigned len) {
        struct serial *s = opaque;
        uint8_t *bytes = data;
        bool call;

        {
                GUARD(&s->lock);
                for (unsigned i = 0; i < len; i++)
                        bytes[i] = uart_read(&s->uart, (unsigned) offset + i);
                call = update(s);
        }
        call_for_input(s, call);
}

static void serial_write(void *opaque, uint64_t offset, const void *data, unsigned len) {
        struct serial *s = opaque;
        const uint8_t *bytes = data;
        uint8_t sent[8];
        unsigned n = 0;
        bool call;

        {
                GUARD(&s->lock);
                for (unsigned i = 0; i < len; i++)
                        if (uart_write(&s->uart, (unsigned) offset + i, bytes[i]))
                                sent[n++] = bytes[i];
                s->n_sent += n;
                call = update(s);
        }
        if (n > 0 && s->chr)
                s->chr->ops->write(s->chr, sent, n);
        call_for_input(s, call);
}

static size_t serial_input(void *opaque, const uint8_t *data, size_t len) {
        struct serial *s = opaque;
        size_t n;

        GUARD(&s->lock);
        n = s->paused ? 0 : uart_receive(&s->uart, data, len);
        s->n_received += n;
        s->refused = n < len;
        /* What is called for while this runs is called for by its own result. */
        (void) update(s);
        return n;
}

static void serial_reset(struct device *dev) {
        struct serial *s = (struct serial *) dev;
        bool call;

        {
                GUARD(&s->lock);
                uart_reset(&s->uart);
                call = update(s);
        }
        call_for_input(s, call);
}

static bool serial_pause(struct device *dev, GError **error) {
        struct serial *s = (struct serial *) dev;

        GUARD(&s->lock);
        s->paused = true;
        return true;
}

static void serial_resume(struct device *dev) {
        struct serial *s = (struct serial *) dev;
        bool call;

        {
                GUARD(&s->lock);
                s->paused = false;
                call = update(s);
        }
        call_for_input(s, call);
}

static GVariant *serial_save(struct device *dev) {
        struct serial *s = (struct serial *) dev;
        const struct uart *u = &s->uart;
        uint8_t rx[UART_FIFO_SIZE];

        GUARD(&s->lock);
        for (unsigned i = 0; i < u->rx_len; i++)
                rx[i] = u->rx[(u->rx_first + i) % UART_FIFO_SIZE];
        return g_variant_new(
                        "(uyyyyyyyyyb@ay)", VERSION, u->ier, u->fcr, u->lcr, u->mcr, u->scratch,
                        u->dll, u->dlm, u->errors, u->deltas, u->thre,
                        g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, rx, u->rx_len, 1));
}

static bool serial_restore(struct device *dev, GVariant *state, GError **error) {
        struct serial *s = (struct serial *) dev;
        g_autoptr(GVariant) rx = NULL;
        struct uart u = { 0 };
        gboolean thre;
        const uint8_t *bytes;
        gsize n;

        if (!device_state_fits(dev, state, STATE_TYPE, VERSION, error))
                return false;

        g_variant_get(state, "(uyyyyyyyyyb@ay)", NULL /* version */, &u.ier, &u.fcr, &u.lcr, &u.mcr,
                      &u.scratch, &u.dll, &u.dlm, &u.errors, &u.deltas, &thre, &rx);
        u.thre = thre;
        bytes = g_variant_get_fixed_array(rx, &n, 1);
        u.rx_len = (uint8_t) MIN(n, 0xff);
        if (!uart_valid(&u)) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE, "%s: state is damaged", dev->id);
                return false;
        }
        for (gsize i = 0; i < n; i++)
                u.rx[i] = bytes[i];

        GUARD(&s->lock);
        s->uart = u;
        /* To a line that may have been restored already: only a change counts. */
        s->level = uart_interrupt(&s->uart);
        irq_line_set(s->line, s->level);
        return true;
}

static void serial_describe(struct device *dev, aml *a) {
        const struct serial *s = (const struct serial *) dev;

        aml_device(a, "COM1");
        aml_name(a, "_HID");
        aml_eisaid(a, "PNP0501");
        aml_name(a, "_UID");
        aml_int(a, 0);
        aml_name(a, "_DDN");
        aml_string(a, "COM1");
        aml_name(a, "_CRS");
        aml_crs(a);
        aml_crs_interrupt(
                        a, ARCH_IRQ_SERIAL, false /* level */, false /* active_low */,
                        false /* shared */);
        aml_crs_io(a, s->port, UART_N_REGS);
        aml_crs_end(a);
        aml_close(a);
}

static void serial_counters(struct device *dev, device_counter_fn *fn, void *opaque) {
        struct serial *s = (struct serial *) dev;
        uint64_t sent, received;

        {
                GUARD(&s->lock);
                sent = s->n_sent;
                received = s->n_received;
        }
        fn(opaque, "tx_bytes", sent);
        fn(opaque, "rx_bytes", received);
}

static void serial_free(struct device *dev) {
        struct serial *s = (struct serial *) dev;

        bus_remove(s->pio, s->region);
        if (s->chr && s->chr->frontend_opaque == s)
                s->chr->frontend = NULL;
        (void) pthread_mutex_destroy(&s->lock);
        device_release(dev);
        g_free(s);
}

struct device *
serial_new(bus *pio, uint16_t port, struct irq_line *line, struct chardev *chr, GError **error) {
        static const struct device_ops ops = {
                .kind = "serial",
                .reset = serial_reset,
                .pause = serial_pause,
                .resume = serial_resume,
                .save = serial_save,
                .restore = serial_restore,
                .describe = serial_describe,
                .counters = serial_counters,
                .free = serial_free,
        };
        static const struct io_ops io = { .read = serial_read, .write = serial_write };
        static const struct chardev_frontend_ops frontend = { .input = serial_input };
        struct serial *s;

        assert(pio && line);

        s = g_new0(struct serial, 1);
        device_init(&s->dev, &ops, "__serial");
        s->pio = pio;
        s->port = port;
        s->line = line;
        s->chr = chr;
        (void) pthread_mutex_init(&s->lock, NULL);
        uart_reset(&s->uart);

        s->region = bus_add(pio, "serial", port, UART_N_REGS, &io, s, error);
        if (!s->region) {
                serial_free(&s->dev);
                return NULL;
        }
        if (chr) {
                chr->frontend_opaque = s;
                chr->frontend = &frontend;
        }
        return &s->dev;
}
