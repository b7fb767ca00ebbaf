/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves, best under the thread sanitizer, that serial port, IOAPIC and power button work from several
 * threads at once: vCPUs that write and read, the main thread that feeds input and presses the button; all
 * characters arrive in order, and no interrupt is lost: whoever only ever acts on interrupts comes to the end.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "all.h"

#define N_CHARS 20000u

static uint8_t in(all *a, uint16_t port) {
        uint8_t v = 0;

        bus_read(a->pio, port, &v, 1);
        return v;
}

static void out(all *a, uint16_t port, uint8_t v) {
        bus_write(a->pio, port, &v, 1);
}

static void program(all *a, unsigned pin, uint32_t low) {
        uint32_t reg = 0x10 + pin * 2;

        bus_write(a->mmio, ALL_IOAPIC, &reg, 4);
        bus_write(a->mmio, ALL_IOAPIC + 0x10, &low, 4);
}

static atomic_bool done;

/* The guest's interrupt handler: as 8250 drivers do, until nothing is pending. */
static void *handler(void *opaque) {
        all *a = opaque;
        unsigned expected = 0, sent = 0;
        struct msi_msg m;

        while (expected < N_CHARS || sent < N_CHARS) {
                uint8_t iir;

                g_assert_true(fake_intc_wait(a->intc, 20000, &m));
                if ((m.data & 0xff) != 0x31)
                        continue;
                while (!((iir = in(a, 0x3fa)) & 1)) {
                        for (unsigned n = 0; n < 256 && in(a, 0x3fd) & 1; n++)
                                g_assert_cmphex(in(a, 0x3f8), ==, expected++ & 0xff);
                        if ((iir & 0x0f) != 0x02)
                                continue;
                        for (unsigned n = 0; n < 16 && sent < N_CHARS; n++)
                                out(a, 0x3f8, (uint8_t) sent++);
                }
        }
        done = true;
        return NULL;
}

/* Another vCPU that masks the pin again and again, and reads what can be read without effect. */
static void *meddler(void *opaque) {
        all *a = opaque;

        while (!done) {
                program(a, ARCH_IRQ_SERIAL, 0x31 | 1u << 16);
                (void) in(a, 0x3ff);
                program(a, ARCH_IRQ_SERIAL, 0x31);
                (void) in(a, 0x3f9);
                ioapic_eoi(a->ioapic, 0x32);
                g_thread_yield();
        }
        return NULL;
}

static void test_serial(void) {
        g_auto(all) a = { 0 };
        g_autofree char *output = NULL;
        pthread_t threads[2];
        unsigned fed = 0;
        size_t len;

        all_init(&a);
        done = false;
        program(&a, ARCH_IRQ_SERIAL, 0x31);
        program(&a, ARCH_IRQ_GED, 0x32);
        out(&a, 0x3fa, 0x81);
        out(&a, 0x3f9, 0x03);
        g_assert_cmpint(pthread_create(&threads[0], NULL, handler, &a), ==, 0);
        g_assert_cmpint(pthread_create(&threads[1], NULL, meddler, &a), ==, 0);

        /* The console hub: offers, and waits for the call when not all was taken. */
        while (fed < N_CHARS) {
                unsigned calls = fake_chardev_n_input_ready(a.serial_chr);
                uint8_t chunk[64];
                size_t n = MIN(sizeof(chunk), N_CHARS - fed), taken;

                for (size_t i = 0; i < n; i++)
                        chunk[i] = (uint8_t) (fed + i);
                taken = fake_chardev_input(a.serial_chr, chunk, n);
                fed += (unsigned) taken;
                ged_press_power_button(a.ged);
                for (unsigned t = 0; taken < n && t < 20000; t++) {
                        if (fake_chardev_n_input_ready(a.serial_chr) != calls)
                                break;
                        g_usleep(100);
                        g_assert_cmpuint(t, <, 19999);
                }
        }
        for (unsigned i = 0; i < 2; i++)
                pthread_join(threads[i], NULL);

        output = fake_chardev_take(a.serial_chr, &len);
        g_assert_cmpuint(len, ==, N_CHARS);
        for (unsigned i = 0; i < N_CHARS; i++)
                g_assert_cmphex((uint8_t) output[i], ==, i & 0xff);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/lines/serial", test_serial);
        return g_test_run();
}
