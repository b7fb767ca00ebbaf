/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A bare machine for guest tests. It loads its guests with a loader of its own of a few lines, so
 * that a test of the hypervisor does not stand on the loader that other tests prove.
 */

#include "tests/guest/host/machine.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hypervisor/arch/x86_64/layout.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"

#define WAIT_SECONDS 60

struct machine_run {
        struct machine_config config; /* hooks are a copy of their own */
        struct vcpu_handlers hooks;
        void *opaque;
        pthread_mutex_t lock;
        pthread_cond_t cond;
        bool done, stopped;
        int status;
        enum vcpu_stop why;
        char detail[256];
        char line[256];
        size_t line_len;
};

void machine_require_kvm(void) {
        autofd fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

        if (fd >= 0)
                return;
        printf("1..0 # SKIP /dev/kvm: %s\n", g_strerror(errno));
        exit(0);
}

static void finish(struct machine_run *r, int status) {
        (void) pthread_mutex_lock(&r->lock);
        r->status = status;
        r->done = true;
        (void) pthread_cond_broadcast(&r->cond);
        (void) pthread_mutex_unlock(&r->lock);
}

static void put_text(struct machine_run *r, char c) {
        (void) pthread_mutex_lock(&r->lock);
        if (c != '\n' && r->line_len < sizeof(r->line) - 1)
                r->line[r->line_len++] = c;
        else {
                r->line[r->line_len] = '\0';
                r->line_len = 0;
                printf("# guest: %s\n", r->line);
        }
        (void) pthread_mutex_unlock(&r->lock);
}

static void pio_read(void *opaque, uint16_t port, void *data, unsigned len) {
        struct machine_run *r = opaque;

        if (r->hooks.pio_read)
                r->hooks.pio_read(r->opaque, port, data, len);
}

static void pio_write(void *opaque, uint16_t port, const void *data, unsigned len) {
        struct machine_run *r = opaque;
        uint32_t status = 0;

        if (port == PORT_TEXT)
                put_text(r, *(const char *) data);
        else if (port == PORT_EXIT) {
                memcpy(&status, data, MIN(len, sizeof(status)));
                finish(r, (int) status);
        } else if (r->hooks.pio_write)
                r->hooks.pio_write(r->opaque, port, data, len);
}

static void mmio_read(void *opaque, uint64_t addr, void *data, unsigned len) {
        struct machine_run *r = opaque;

        if (r->hooks.mmio_read)
                r->hooks.mmio_read(r->opaque, addr, data, len);
}

static void mmio_write(void *opaque, uint64_t addr, const void *data, unsigned len) {
        struct machine_run *r = opaque;

        if (r->hooks.mmio_write)
                r->hooks.mmio_write(r->opaque, addr, data, len);
}

static void eoi(void *opaque, unsigned vector) {
        struct machine_run *r = opaque;

        if (r->hooks.eoi)
                r->hooks.eoi(r->opaque, vector);
}

static void stopped(void *opaque, unsigned vcpu, enum vcpu_stop why, const char *detail) {
        struct machine_run *r = opaque;

        (void) pthread_mutex_lock(&r->lock);
        r->stopped = true;
        r->why = why;
        (void) g_strlcpy(r->detail, detail, sizeof(r->detail));
        (void) pthread_mutex_unlock(&r->lock);
        finish(r, -1);
}

static const struct vcpu_handlers handlers = {
        .pio_read = pio_read,
        .pio_write = pio_write,
        .mmio_read = mmio_read,
        .mmio_write = mmio_write,
        .eoi = eoi,
        .stopped = stopped,
};

static char *guest_path(const char *name) {
        char self[4096];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        g_autofree char *folder = NULL;

        g_assert_cmpint(n, >, 0);
        self[n] = '\0';
        folder = g_path_get_dirname(self);
        return g_build_filename(folder, name, NULL);
}

/* The 32-bit entry of the PVH note (Xen's elfnote.h, type 18). */
static uint64_t pvh_entry(const uint8_t *image, const Elf64_Phdr *p) {
        const uint8_t *note = image + p->p_offset;
        Elf64_Nhdr head;
        uint32_t entry;

        memcpy(&head, note, sizeof(head));
        g_assert_cmpuint(head.n_type, ==, 18);
        memcpy(&entry, note + sizeof(head) + 4, sizeof(entry));
        return entry;
}

static void load_guest(struct machine *m, const char *name, bool pvh) {
        g_autofree char *path = guest_path(name), *image = NULL;
        g_autoptr(GError) error = NULL;
        Elf64_Ehdr head;
        gsize n;

        (void) g_file_get_contents(path, &image, &n, &error);
        g_assert_no_error(error);
        memcpy(&head, image, sizeof(head));
        m->entry.pc = head.e_entry;
        for (unsigned i = 0; i < head.e_phnum; i++) {
                Elf64_Phdr p;

                memcpy(&p, image + head.e_phoff + i * sizeof(p), sizeof(p));
                if (p.p_type == PT_LOAD)
                        g_assert_cmpint(gmem_write(m->mem, GADDR(p.p_paddr), image + p.p_offset,
                                                   p.p_filesz),
                                        ==, 0);
                else if (p.p_type == PT_NOTE && pvh)
                        m->entry.pc = pvh_entry((uint8_t *) image, &p);
        }
}

static void write64(struct machine *m, uint64_t addr, uint64_t value) {
        g_assert_cmpint(gmem_write(m->mem, GADDR(addr), &value, sizeof(value)), ==, 0);
}

static void write_boot_tables(struct machine *m) {
        write64(m, X86_BOOT_GDT + X86_BOOT_TSS, 0x00008b0000000067);
        write64(m, X86_BOOT_GDT + X86_BOOT_CS, 0x00af9b000000ffff);
        write64(m, X86_BOOT_GDT + X86_BOOT_DS, 0x00cf93000000ffff);
        write64(m, X86_PML4, X86_PDPTE | 3);
        for (uint64_t i = 0; i < 4; i++)
                write64(m, X86_PDPTE + 8 * i, (X86_PDE + 4096 * i) | 3);
        for (uint64_t i = 0; i < 2048; i++)
                write64(m, X86_PDE + 8 * i, i << 21 | 0x83);
}

static void add_ram(struct machine *m, uint64_t size) {
        static const struct gmem_backing plain;
        g_autoptr(GError) error = NULL;

        (void) arch_layout_for(size, 40, &m->layout, &error);
        g_assert_no_error(error);
        for (size_t i = 0; i < G_N_ELEMENTS(m->layout.ram); i++)
                if (m->layout.ram[i].size > 0) {
                        (void) gmem_add(m->mem, GADDR(m->layout.ram[i].base), m->layout.ram[i].size,
                                        &plain, &error);
                        g_assert_no_error(error);
                }
        m->mailbox = gmem_map(m->mem, GADDR(MAILBOX_ADDR), sizeof(*m->mailbox), true);
        g_assert_nonnull(m->mailbox);
}

bool machine_supports(const struct hv_vm_config *config) {
        autofd fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
        g_autoptr(gmem) mem = gmem_new();
        g_autoptr(hv_vm) vm = NULL;
        g_autoptr(GError) error = NULL;
        g_autoptr(hv) h = hv_kvm_open(fd, &error);
        struct hv_vm_config one = *config;

        g_assert_no_error(error);
        one.max_vcpus = 1;
        vm = hv_vm_new(h, &one, mem, &error);
        if (!vm)
                g_assert_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED);
        g_clear_pointer(&vm, hv_vm_free);
        return error == NULL;
}

struct machine *machine_new_empty(const struct machine_config *config) {
        struct machine *m = g_new0(struct machine, 1);
        g_autoptr(GError) error = NULL;
        autofd fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
        struct hv_vm_config vm = config->vm;
        uint32_t n = MAX(config->vcpus, 1);
        struct vcpus_config cpus = { .boot = n, .max = n, .topology = config->topology };

        m->run = g_new0(struct machine_run, 1);
        m->run->config = *config;
        if (config->hooks)
                m->run->hooks = *config->hooks;
        m->run->opaque = config->opaque;
        (void) pthread_mutex_init(&m->run->lock, NULL);
        (void) pthread_cond_init(&m->run->cond, NULL);

        m->mem = gmem_new();
        add_ram(m, config->ram ? config->ram : 32 << 20);
        m->hv = hv_kvm_open(fd, &error);
        g_assert_no_error(error);
        vm.max_vcpus = n;
        m->vm = hv_vm_new(m->hv, &vm, m->mem, &error);
        g_assert_no_error(error);
        m->vcpus = vcpus_new(m->vm, &cpus, &handlers, m->run, &error);
        g_assert_no_error(error);
        return m;
}

static void load_and_boot(struct machine *m) {
        const struct machine_config *config = &m->run->config;
        g_autoptr(GError) error = NULL;

        m->entry = (struct boot_entry){
                .protocol = config->pvh ? BOOT_PVH : BOOT_FREESTANDING,
                .boot_info = X86_ZERO_PAGE,
                .stack = X86_BOOT_STACK,
                .page_table = config->pvh ? 0 : X86_PML4,
        };
        write_boot_tables(m);
        load_guest(m, config->guest, config->pvh);
        for (size_t i = 0; i < G_N_ELEMENTS(config->args); i++)
                m->mailbox->args[i] = config->args[i];
        (void) vcpus_boot(m->vcpus, &m->entry, &error);
        g_assert_no_error(error);
}

struct machine *machine_new(const struct machine_config *config) {
        struct machine *m = machine_new_empty(config);

        load_and_boot(m);
        return m;
}

void machine_reload(struct machine *m) {
        const struct gmem_region *low = gmem_region(m->mem, 0);

        g_assert_cmpint(gmem_zero(m->mem, low->base, low->size), ==, 0);
        m->run->done = m->run->stopped = false;
        load_and_boot(m);
}

struct machine *machine_free(struct machine *m) {
        if (!m)
                return NULL;
        vcpus_free(m->vcpus);
        hv_vm_free(m->vm);
        hv_free(m->hv);
        gmem_free(m->mem);
        (void) pthread_cond_destroy(&m->run->cond);
        (void) pthread_mutex_destroy(&m->run->lock);
        g_free(m->run);
        g_free(m);
        return NULL;
}

void machine_start(struct machine *m) {
        vcpus_resume(m->vcpus);
}

void machine_wait(struct machine *m) {
        struct machine_run *r = m->run;
        struct timespec until;
        int e = 0;

        (void) clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += WAIT_SECONDS;
        (void) pthread_mutex_lock(&r->lock);
        while (!r->done && e == 0)
                e = pthread_cond_timedwait(&r->cond, &r->lock, &until);
        (void) pthread_mutex_unlock(&r->lock);
        if (e != 0)
                g_error("the guest did not come to an end within %d s", WAIT_SECONDS);
}

void machine_run(struct machine *m) {
        const char *detail;

        machine_start(m);
        machine_wait(m);
        if (machine_stopped(m, NULL, &detail))
                g_error("the guest stopped: %s", detail);
        g_assert_cmpint(machine_status(m), ==, 0);
}

void machine_wait_ready(struct machine *m) {
        for (unsigned i = 0; !m->mailbox->ready; i++) {
                if (i >= WAIT_SECONDS * 1000 || m->run->done)
                        g_error("the guest did not become ready");
                g_usleep(1000);
        }
}

int machine_status(struct machine *m) {
        int status;

        (void) pthread_mutex_lock(&m->run->lock);
        status = m->run->status;
        (void) pthread_mutex_unlock(&m->run->lock);
        return status;
}

bool machine_stopped(struct machine *m, enum vcpu_stop *ret_why, const char **ret_detail) {
        bool is;

        (void) pthread_mutex_lock(&m->run->lock);
        is = m->run->stopped;
        if (is && ret_why)
                *ret_why = m->run->why;
        if (is && ret_detail)
                *ret_detail = m->run->detail;
        (void) pthread_mutex_unlock(&m->run->lock);
        return is;
}
