/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves the run loop with guests of our own: every kind of port and memory access reaches its
 * handler once and with the right bytes, doorbells wake their descriptor and cause no exit, a triple
 * fault is a reset and is reported once, and the machine can be booted again after it.
 */

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hypervisor/arch/x86_64/layout.h"
#include "hypervisor/fd.h"
#include "tests/guest/host/machine.h"

struct seen {
        uint8_t pio[16], mmio[16];
        unsigned n_pio, n_mmio, n_out, n_in, bad;
};

static void answer(void *data, unsigned len) {
        for (unsigned i = 0; i < len; i++)
                ((uint8_t *) data)[i] = (uint8_t) (0xa0 + i);
}

static void io_pio_read(void *opaque, uint16_t port, void *data, unsigned len) {
        struct seen *s = opaque;

        if (port == 0x500)
                answer(data, len);
        else if (port == 0x509)
                *(uint8_t *) data = (uint8_t) (s->n_in++ * 3);
        else if (port != 0x9999)
                s->bad++;
}

static void io_pio_write(void *opaque, uint16_t port, const void *data, unsigned len) {
        struct seen *s = opaque;

        if (port == 0x508) {
                s->bad += len != 1 || *(const uint8_t *) data != (uint8_t) s->n_out;
                s->n_out++;
        } else if (port >= 0x500 && port - 0x500 + len <= 16) {
                memcpy(s->pio + (port - 0x500), data, len);
                s->n_pio++;
        } else
                s->bad++;
}

static void io_mmio_read(void *opaque, uint64_t addr, void *data, unsigned len) {
        struct seen *s = opaque;

        if (addr == 0xd0000000)
                answer(data, len);
        else if (addr != 0xd8000000)
                s->bad++;
}

static void io_mmio_write(void *opaque, uint64_t addr, const void *data, unsigned len) {
        struct seen *s = opaque;

        if (addr >= 0xd0000000 && addr + len <= 0xd0000010) {
                memcpy(s->mmio + (addr - 0xd0000000), data, len);
                s->n_mmio++;
        } else
                s->bad++;
}

static const struct vcpu_handlers io_hooks = {
        .pio_read = io_pio_read,
        .pio_write = io_pio_write,
        .mmio_read = io_mmio_read,
        .mmio_write = io_mmio_write,
};

static void run_io(bool pvh) {
        struct seen s = { .bad = 0 };
        g_autoptr(machine) m = machine_new(
                        &(struct machine_config){ .guest = "guest-io",
                                                  .pvh = pvh,
                                                  .hooks = &io_hooks,
                                                  .opaque = &s,
                                                  .args = { pvh ? 32 : 64, X86_ZERO_PAGE } });
        static const uint8_t pio[] = { 0x11, 0, 0x22, 0x22, 0x33, 0x33, 0x33, 0x33 };
        static const uint8_t mmio[] = { 0x11, 0,    0x22, 0x22, 0x33, 0x33, 0x33, 0x33,
                                        0x55, 0x55, 0x55, 0x55, 0x44, 0x44, 0x44, 0x44 };

        machine_run(m);
        g_assert_cmpuint(s.bad, ==, 0);
        g_assert_cmpuint(s.n_pio, ==, 3);
        g_assert_cmpuint(s.n_mmio, ==, 4);
        g_assert_cmpuint(s.n_out, ==, 300);
        g_assert_cmpuint(s.n_in, ==, 300);
        g_assert_cmpmem(s.pio, sizeof(pio), pio, sizeof(pio));
        g_assert_cmpmem(s.mmio, sizeof(mmio), mmio, sizeof(mmio));
        g_assert_cmpuint(vcpus_n_exits(m->vcpus), >, 10);
}

static void test_io_long(void) {
        run_io(/* pvh= */ false);
}

static void test_io_pvh(void) {
        run_io(/* pvh= */ true);
}

static void count_mmio(void *opaque, uint64_t addr, const void *data, unsigned len) {
        (*(unsigned *) opaque)++;
}

static void count_pio(void *opaque, uint16_t port, const void *data, unsigned len) {
        (*(unsigned *) opaque)++;
}

static uint64_t take(int fd) {
        uint64_t n = 0;

        if (read(fd, &n, sizeof(n)) < 0)
                return 0;
        return n;
}

static void test_doorbells(void) {
        unsigned exits = 0;
        const struct vcpu_handlers hooks = { .mmio_write = count_mmio, .pio_write = count_pio };
        g_autoptr(machine) m = machine_new(&(struct machine_config){ .guest = "guest-bell",
                                                                     .hooks = &hooks,
                                                                     .opaque = &exits,
                                                                     .args = { 100 } });
        struct hv_doorbell bell[4] = {
                { .space = HV_SPACE_MMIO, .addr = 0xd0001000, .len = 4 },
                { .space = HV_SPACE_MMIO, .addr = 0xd0001010, .len = 0 },
                { .space = HV_SPACE_PIO, .addr = 0x600, .len = 4 },
                { .space = HV_SPACE_MMIO,
                  .addr = 0xd0001020,
                  .len = 4,
                  .with_data = true,
                  .data = 7 },
        };

        for (unsigned i = 0; i < 4; i++) {
                bell[i].fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
                g_assert_cmpint(hv_vm_doorbell(m->vm, &bell[i], true), ==, 0);
        }
        g_assert_cmpint(hv_vm_doorbell(m->vm, &bell[0], true), ==, -EEXIST);
        machine_run(m);
        for (unsigned i = 0; i < 4; i++) {
                g_assert_cmpuint(take(bell[i].fd), ==, i == 3 ? 50 : 100);
                g_assert_cmpint(hv_vm_doorbell(m->vm, &bell[i], false), ==, 0);
                g_assert_cmpint(hv_vm_doorbell(m->vm, &bell[i], false), ==, -ENOENT);
                (void) close(bell[i].fd);
        }
        /* the other value of the last bell is an ordinary write */
        g_assert_cmpuint(exits, ==, 50);
}

static void check_reset(struct machine *m) {
        enum vcpu_stop why;
        const char *detail;

        machine_start(m);
        machine_wait(m);
        g_assert_true(machine_stopped(m, &why, &detail));
        g_assert_cmpint(why, ==, VCPU_STOP_RESET);
        g_assert_true(g_str_has_prefix(detail, "triple fault"));
        vcpus_pause(m->vcpus);
}

static void test_triple_fault(void) {
        g_autoptr(machine) m = machine_new(&(struct machine_config){ .guest = "guest-fault" });

        check_reset(m);
}

static void test_triple_fault_ap(void) {
        g_autoptr(machine) m = machine_new(&(struct machine_config){
                        .guest = "guest-fault", .vcpus = 2, .args = { 1 } });

        check_reset(m);
}

static void test_slots(void) {
        g_autoptr(machine) m = machine_new(&(struct machine_config){ .guest = "guest-bell" });
        g_autofree void *unaligned = g_malloc0(4096 * 2);
        uint8_t *page = g_aligned_alloc0(1, 8192, 4096);

        g_assert_cmpint(hv_vm_map(m->vm, GADDR(0xd0000000), 0, page, false), ==, -EINVAL);
        g_assert_cmpint(hv_vm_map(m->vm, GADDR(0xd0000000), 4096, NULL, false), ==, -EINVAL);
        g_assert_cmpint(hv_vm_map(m->vm, GADDR(0xd0000000), 4095, page, false), <, 0);
        g_assert_cmpint(hv_vm_map(m->vm, GADDR(0x1000), 4096, page, false), ==, -EEXIST);
        g_assert_cmpint(hv_vm_unmap(m->vm, GADDR(0xd0000000), 4096), ==, -ENOENT);
        for (unsigned i = 0; i < 100; i++)
                g_assert_cmpint(hv_vm_map(m->vm, GADDR(0xd0000000 + i * 8192), 8192, page, i & 1),
                                ==, 0);
        g_assert_cmpint(hv_vm_unmap(m->vm, GADDR(0xd0000000), 4096), ==, -ENOENT);
        for (unsigned i = 0; i < 100; i++)
                g_assert_cmpint(hv_vm_unmap(m->vm, GADDR(0xd0000000 + i * 8192), 8192), ==, 0);
        g_aligned_free(page);
}

static void test_dirty_log(void) {
        const uint64_t base = 0x1000000, len = 0x400000;
        g_autoptr(machine) m = machine_new(
                        &(struct machine_config){ .guest = "guest-dirty", .args = { base, len } });
        uint64_t n = gmem_region(m->mem, 0)->size / 4096;
        g_autofree uint64_t *bits = g_new0(uint64_t, n / 64);
        g_autoptr(GError) error = NULL;

        g_assert_false(hv_vm_take_dirty(m->vm, 0, bits, NULL));
        machine_start(m);
        machine_wait_ready(m);
        (void) hv_vm_log_dirty(m->vm, true, &error);
        g_assert_no_error(error);
        (void) hv_vm_take_dirty(m->vm, 0, bits, &error);
        g_assert_no_error(error);
        memset(bits, 0, n / 8);
        m->mailbox->stop = 1;
        machine_wait(m);
        g_assert_cmpint(machine_status(m), ==, 0);
        bits[0] |= 1; /* ORed, not overwritten */
        (void) hv_vm_take_dirty(m->vm, 0, bits, &error);
        g_assert_no_error(error);
        g_assert_cmphex(bits[0] & 1, ==, 1);
        for (uint64_t page = base / 4096; page < (base + len) / 4096; page++)
                g_assert_cmpuint(bits[page / 64] >> page % 64 & 1, ==, !(page & 1));
        (void) hv_vm_log_dirty(m->vm, false, &error);
        g_assert_no_error(error);
        g_assert_false(hv_vm_take_dirty(m->vm, 0, bits, NULL));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        machine_require_kvm();
        g_test_add_func("/run/io-long", test_io_long);
        g_test_add_func("/run/io-pvh", test_io_pvh);
        g_test_add_func("/run/doorbells", test_doorbells);
        g_test_add_func("/run/triple-fault", test_triple_fault);
        g_test_add_func("/run/triple-fault-ap", test_triple_fault_ap);
        g_test_add_func("/run/slots", test_slots);
        g_test_add_func("/run/dirty-log", test_dirty_log);
        return g_test_run();
}
