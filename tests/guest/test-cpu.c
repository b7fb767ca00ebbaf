/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves what a guest sees of its processors: CPUID, timer, APIC ids and topology as configured, and
 * that every one starts; and that a configuration which cannot be is refused with its option's name.
 */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "hypervisor/error.h"
#include "hypervisor/fd.h"
#include "tests/guest/host/machine.h"

static void test_cpuid(void) {
        g_autoptr(machine) m = machine_new(&(struct machine_config){
                        .guest = "guest-cpu", .vm = { .max_phys_bits = 40 }, .args = { 40 } });
        struct hv_info info;

        machine_run(m);
        hv_get_info(m->hv, &info);
        g_assert_cmpstr(info.backend, ==, "kvm");
        g_assert_cmpuint(info.tsc_khz, >, 0);
        g_assert_cmpuint(info.max_vcpus, >, 1);
        g_assert_cmpuint(info.phys_bits, >=, 36);
}

static void run_smp(struct machine_config config, uint64_t stride) {
        g_autoptr(machine) m = NULL;

        config.guest = "guest-smp";
        config.args[0] = config.vcpus;
        config.args[1] = stride;
        m = machine_new(&config);
        machine_run(m);
        for (uint32_t i = 0; i < config.vcpus; i++) {
                g_assert_cmpuint(m->mailbox->results[i], ==, i * stride);
                g_assert_cmpuint(vcpus_apic_id(m->vcpus, i), ==, i * stride);
        }
}

static void test_smp(void) {
        run_smp((struct machine_config){ .vcpus = 4 }, 1);
}

static void send_message(void *opaque, uint16_t port, const void *data, unsigned len) {
        struct intc *c = hv_vm_intc((*(struct machine **) opaque)->vm);
        struct msi_msg msg = { .data = 0x60 };
        uint32_t addr = 0;

        memcpy(&addr, data, MIN(len, sizeof(addr)));
        msg.addr = addr;
        g_assert_cmpint(c->ops->msi_send(c, &msg), ==, 0);
}

static void test_smp_big_ids(void) {
        /* 17 cores in 5 bits and 9 dies in 4: the second package begins at id 512, beyond what xAPIC and a plain
         * message's 8 bits of destination can say */
        const struct vcpu_handlers hooks = { .pio_write = send_message };
        struct machine *self = NULL;
        g_autoptr(machine) m = machine_new(&(struct machine_config){
                        .guest = "guest-smp",
                        .vcpus = 306,
                        .topology = { .threads_per_core = 1,
                                      .cores_per_die = 17,
                                      .dies_per_package = 9,
                                      .packages = 2 },
                        .hooks = &hooks,
                        .opaque = &self,
                        .args = { 2, 512, 1 },
        });

        self = m;
        g_assert_cmpuint(vcpus_apic_id(m->vcpus, 153), ==, 512);
        machine_run(m);
        g_assert_cmpuint(m->mailbox->results[1], ==, 512);
}

static void test_ids_have_gaps(void) {
        g_autoptr(machine) m = machine_new_empty(
                        &(struct machine_config){ .vcpus = 18,
                                                  .topology = { .threads_per_core = 2,
                                                                .cores_per_die = 3,
                                                                .dies_per_package = 1,
                                                                .packages = 3 } });

        g_assert_cmpuint(vcpus_apic_id(m->vcpus, 0), ==, 0);
        g_assert_cmpuint(vcpus_apic_id(m->vcpus, 5), ==, 5);
        g_assert_cmpuint(vcpus_apic_id(m->vcpus, 6), ==, 8);
        g_assert_cmpuint(vcpus_apic_id(m->vcpus, 17), ==, 21);
}

struct bench {
        struct gmem *mem;
        hv *hv;
        hv_vm *vm;
};

static void bench_open(struct bench *b, uint32_t max_vcpus) {
        static const struct gmem_backing plain;
        struct hv_vm_config config = { .max_vcpus = max_vcpus };
        g_autoptr(GError) error = NULL;
        autofd fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

        b->mem = gmem_new();
        (void) gmem_add(b->mem, GADDR(0), 4 << 20, &plain, &error);
        g_assert_no_error(error);
        b->hv = hv_kvm_open(fd, &error);
        g_assert_no_error(error);
        b->vm = hv_vm_new(b->hv, &config, b->mem, &error);
        g_assert_no_error(error);
}

static void bench_close(struct bench *b) {
        hv_vm_free(b->vm);
        hv_free(b->hv);
        gmem_free(b->mem);
}

static void thread_start(void *opaque) {
        cpu_set_t set;

        g_assert_cmpint(sched_getaffinity(0, sizeof(set), &set), ==, 0);
}

static void nobody(void *opaque, unsigned vcpu, enum vcpu_stop why, const char *detail) {
}

static void refused(const struct vcpus_config *config, const char *option) {
        const struct vcpu_handlers handlers = { .stopped = nobody };
        struct bench b;
        g_autoptr(GError) error = NULL;

        bench_open(&b, 4);
        g_assert_null(vcpus_new(b.vm, config, &handlers, NULL, &error));
        g_assert_nonnull(error);
        if (!g_str_has_prefix(error->message, option))
                g_error("'%s' does not begin with '%s'", error->message, option);
        bench_close(&b);
}

static void test_bad_config(void) {
        static const uint16_t no_cpu[] = { 60000 };
        const struct vcpu_affinity nowhere = { .vcpu = 0, .host_cpus = no_cpu, .n_host_cpus = 1 };
        const struct vcpu_affinity absent = { .vcpu = 4, .host_cpus = no_cpu, .n_host_cpus = 1 };
        const struct vcpu_affinity empty = { .vcpu = 0 };

        refused(&(struct vcpus_config){ .boot = 0, .max = 1 }, "cpus.boot: ");
        refused(&(struct vcpus_config){ .boot = 2, .max = 1 }, "cpus.boot: ");
        refused(&(struct vcpus_config){ .boot = 1, .max = 5 }, "cpus.max: ");
        refused(&(struct vcpus_config){ .boot = 1, .max = 4, .topology = { 2, 1, 1, 1 } },
                "cpus.topology: ");
        refused(&(struct vcpus_config){ .boot = 1, .max = 4, .topology = { 0, 4, 1, 1 } },
                "cpus.topology: ");
        refused(&(struct vcpus_config){ .boot = 1, .max = 4, .topology = { 4, 1, 1, 1 } },
                "cpus.topology: ");
        refused(&(struct vcpus_config){ .boot = 1,
                                        .max = 1,
                                        .affinity = &nowhere,
                                        .n_affinity = 1 },
                "cpus.affinity: ");
        refused(&(struct vcpus_config){ .boot = 1, .max = 1, .affinity = &empty, .n_affinity = 1 },
                "cpus.affinity: ");
        refused(&(struct vcpus_config){ .boot = 1, .max = 4, .affinity = &absent, .n_affinity = 1 },
                "cpus.affinity: ");
}

static void test_bad_machine(void) {
        struct hv_vm_config config = { .max_vcpus = UINT32_MAX };
        struct bench b;
        g_autoptr(GError) error = NULL;
        autofd other = open("/dev/null", O_RDWR | O_CLOEXEC);

        g_assert_null(hv_kvm_open(other, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_FAILED);
        g_clear_error(&error);
        g_assert_null(hv_kvm_open(-1, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_FAILED);
        g_clear_error(&error);

        bench_open(&b, 1);
        g_assert_null(hv_vm_new(b.hv, &config, b.mem, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
        g_assert_true(g_str_has_prefix(error->message, "cpus.max: "));
        bench_close(&b);
}

/* What a host may lack is refused by name, or works. */
static void test_optional(void) {
        static const struct {
                struct hv_vm_config config;
                const char *option;
        } cases[] = {
                { { .max_vcpus = 1, .hyperv = true }, "cpus.kvm_hyperv: " },
                { { .max_vcpus = 1, .amx = true }, "cpus.features.amx: " },
                { { .max_vcpus = 1, .nested = true }, "cpus.nested: " },
        };
        const struct vcpu_handlers handlers = { .stopped = nobody };
        const struct vcpus_config one = { .boot = 1, .max = 1 };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(vcpus) v = NULL;
                g_autoptr(hv_vm) vm = NULL;
                struct bench b;

                bench_open(&b, 1);
                vm = hv_vm_new(b.hv, &cases[i].config, b.mem, &error);
                if (vm) {
                        v = vcpus_new(vm, &one, &handlers, NULL, &error);
                        g_assert_no_error(error);
                        g_clear_pointer(&v, vcpus_free);
                        g_clear_pointer(&vm, hv_vm_free);
                } else {
                        g_assert_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED);
                        g_assert_true(g_str_has_prefix(error->message, cases[i].option));
                        g_test_message("%s", error->message);
                }
                bench_close(&b);
        }
}

static void test_many(void) {
        const struct vcpu_handlers handlers = { .stopped = nobody };
        struct vcpus_config config = { .boot = 300, .max = 300, .thread_start = thread_start };
        g_autoptr(vcpus) v = NULL;
        struct boot_entry entry = { .protocol = BOOT_LINUX32, .pc = 0x100000 };
        g_autoptr(GError) error = NULL;
        struct bench b;

        bench_open(&b, 300);
        v = vcpus_new(b.vm, &config, &handlers, NULL, &error);
        g_assert_no_error(error);
        (void) vcpus_boot(v, &entry, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(vcpus_apic_id(v, 299), ==, 299);
        g_clear_pointer(&v, vcpus_free);
        bench_close(&b);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        machine_require_kvm();
        g_test_add_func("/cpu/bad-config", test_bad_config);
        g_test_add_func("/cpu/bad-machine", test_bad_machine);
        g_test_add_func("/cpu/optional", test_optional);
        g_test_add_func("/cpu/cpuid", test_cpuid);
        g_test_add_func("/cpu/smp", test_smp);
        g_test_add_func("/cpu/smp-big-ids", test_smp_big_ids);
        g_test_add_func("/cpu/ids-have-gaps", test_ids_have_gaps);
        g_test_add_func("/cpu/many", test_many);
        return g_test_run();
}
