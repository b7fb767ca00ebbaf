/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that a running guest can be stopped and let go at any moment without losing anything: kicks
 * are never lost, a machine saved in the middle of its work goes on in another one, boots again after
 * a reset, and takes NMIs; and that damaged or foreign state is refused with a reason.
 */

#include <string.h>
#include <unistd.h>

#include "hypervisor/error.h"
#include "tests/guest/host/machine.h"

static void wait_progress(struct machine *m) {
        uint64_t before = m->mailbox->results[0];

        for (unsigned i = 0; m->mailbox->results[0] < before + 2; i++) {
                if (i > 60000)
                        g_error("the guest makes no progress");
                g_usleep(1000);
        }
}

static void finish(struct machine *m) {
        m->mailbox->stop = 1;
        machine_wait(m);
        g_assert_false(machine_stopped(m, NULL, NULL));
        g_assert_cmpint(machine_status(m), ==, 0);
        g_assert_cmpuint(m->mailbox->results[1], ==, 0);
        g_assert_cmpuint(m->mailbox->results[3], ==, 0);
}

static void test_pause(void) {
        g_autoptr(machine) m = machine_new(&(struct machine_config){ .guest = "guest-spin" });

        g_assert_true(vcpus_paused(m->vcpus));
        vcpus_pause(m->vcpus);
        machine_start(m);
        machine_wait_ready(m);
        for (unsigned i = 0; i < 200; i++) {
                uint64_t count;

                vcpus_pause(m->vcpus);
                g_assert_true(vcpus_paused(m->vcpus));
                count = m->mailbox->results[0];
                if (i % 50 == 0)
                        g_usleep(5000);
                g_assert_cmpuint(m->mailbox->results[0], ==, count);
                vcpus_resume(m->vcpus);
        }
        wait_progress(m);
        finish(m);
}

static void test_pause_many(void) {
        g_autoptr(machine) m =
                        machine_new(&(struct machine_config){ .guest = "guest-spin", .vcpus = 8 });

        /* seven of them wait for a SIPI inside the hypervisor: they come out as well */
        machine_start(m);
        machine_wait_ready(m);
        for (unsigned i = 0; i < 50; i++) {
                vcpus_pause(m->vcpus);
                vcpus_resume(m->vcpus);
        }
        finish(m);
}

static void test_nmi(void) {
        g_autoptr(machine) m = machine_new(&(struct machine_config){ .guest = "guest-spin" });
        g_autoptr(GError) error = NULL;

        machine_start(m);
        machine_wait_ready(m);
        for (unsigned i = 1; i <= 3; i++) {
                (void) vcpus_nmi(m->vcpus, &error);
                g_assert_no_error(error);
                wait_progress(m);
                g_assert_cmpuint(m->mailbox->results[2], ==, i);
        }
        finish(m);
}

static void copy_memory(struct machine *from, struct machine *to) {
        const struct gmem_region *a = gmem_region(from->mem, 0), *b = gmem_region(to->mem, 0);

        g_assert_cmpuint(a->size, ==, b->size);
        memcpy(b->host, a->host, a->size);
}

static void move_around(struct hv_vm_config vm_config) {
        const struct machine_config config = { .guest = "guest-spin", .vcpus = 2, .vm = vm_config };
        g_autoptr(machine) m = machine_new(&config);
        g_autoptr(GError) error = NULL;

        machine_start(m);
        machine_wait_ready(m);
        for (unsigned i = 0; i < 5; i++) {
                g_autoptr(machine) next = machine_new_empty(&config);
                g_autoptr(GVariant) vm = NULL, cpus = NULL;

                wait_progress(m);
                vcpus_pause(m->vcpus);
                vm = g_variant_ref_sink(hv_vm_save(m->vm, &error));
                g_assert_no_error(error);
                cpus = g_variant_ref_sink(vcpus_save(m->vcpus, &error));
                g_assert_no_error(error);
                copy_memory(m, next);
                machine_free(m);
                m = g_steal_pointer(&next);

                (void) hv_vm_restore(m->vm, vm, &error);
                g_assert_no_error(error);
                (void) vcpus_restore(m->vcpus, cpus, &error);
                g_assert_no_error(error);
                machine_start(m);
        }
        wait_progress(m);
        finish(m);
}

static void test_move(void) {
        move_around((struct hv_vm_config){ .nested = false });
}

static void test_move_nested(void) {
        move_around((struct hv_vm_config){ .nested = true });
}

static void test_move_hyperv(void) {
        const struct hv_vm_config config = { .hyperv = true };

        if (!machine_supports(&config)) {
                g_test_skip("the host's KVM has no Hyper-V interface");
                return;
        }
        move_around(config);
}

static void test_boot_again(void) {
        g_autoptr(machine) m = machine_new(&(struct machine_config){
                        .guest = "guest-smp", .vcpus = 2, .args = { 2, 1 } });
        g_autoptr(GError) error = NULL;

        for (unsigned i = 0; i < 3; i++) {
                machine_run(m);
                vcpus_pause(m->vcpus);
                machine_reload(m);
        }
}

static GVariant *with(GVariant *state, const char *key, GVariant *value) {
        g_autoptr(GVariant) list = g_variant_get_child_value(state, 1);
        g_autoptr(GVariant) cpu = g_variant_get_child_value(list, 0);
        GVariantDict dict;
        GVariantBuilder b;

        g_variant_dict_init(&dict, cpu);
        if (value)
                g_variant_dict_insert_value(&dict, key, value);
        else
                (void) g_variant_dict_remove(&dict, key);
        g_variant_builder_init(&b, G_VARIANT_TYPE("aa{sv}"));
        g_variant_builder_add_value(&b, g_variant_dict_end(&dict));
        return g_variant_ref_sink(g_variant_new("(uaa{sv})", 1, &b));
}

static void refuse(struct machine *m, GVariant *state) {
        g_autoptr(GVariant) owned = g_variant_ref_sink(state);
        g_autoptr(GError) error = NULL;

        g_assert_false(vcpus_restore(m->vcpus, owned, &error));
        g_assert_nonnull(error);
        g_test_message("%s", error->message);
}

static void refuse_vm(struct machine *m, const char *text) {
        g_autoptr(GVariant) state = g_variant_ref_sink(g_variant_new_parsed(text));
        g_autoptr(GError) error = NULL;

        g_assert_false(hv_vm_restore(m->vm, state, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_STATE);
}

static void test_bad_state(void) {
        g_autoptr(machine) m = machine_new(&(struct machine_config){ .guest = "guest-spin" });
        g_autoptr(GVariant) good = g_variant_ref_sink(vcpus_save(m->vcpus, NULL));
        static const char *const keys[] = { "mp-state", "events",    "regs",  "sregs",
                                            "xcrs",     "debugregs", "lapic", "msrs",
                                            "xsave",    "tsc-khz",   "tsc",   "realtime" };
        g_autoptr(GVariant) list = g_variant_get_child_value(good, 1);
        g_autoptr(GError) error = NULL;

        refuse(m, g_variant_new_string("state"));
        refuse(m, g_variant_new("(u@aa{sv})", 2, list));
        refuse(m, g_variant_new_parsed("(uint32 1, @aa{sv} [])"));
        refuse(m, g_variant_new_parsed("(uint32 1, [@a{sv} {}])"));
        refuse(m, g_variant_new_parsed("(uint32 1, [@a{sv} {}, @a{sv} {}])"));
        for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
                refuse(m, with(good, keys[i], NULL));
                refuse(m, with(good, keys[i], g_variant_new_string("x")));
                refuse(m, with(good, keys[i], g_variant_new_bytestring("short")));
        }
        refuse(m, with(good, "msrs", g_variant_new_parsed("[(uint32 0xdead, uint64 1)]")));

        refuse_vm(m, "(uint32 9, 'x86_64', @a{sv} {})");
        refuse_vm(m, "(uint32 1, 'riscv64', @a{sv} {})");
        refuse_vm(m, "(uint32 1, 'x86_64', @a{sv} {})");

        /* after all that, the good one is still good */
        (void) vcpus_restore(m->vcpus, good, &error);
        g_assert_no_error(error);
        machine_start(m);
        machine_wait_ready(m);
        finish(m);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        machine_require_kvm();
        g_test_add_func("/state/bad", test_bad_state);
        g_test_add_func("/state/pause", test_pause);
        g_test_add_func("/state/pause-many", test_pause_many);
        g_test_add_func("/state/nmi", test_nmi);
        g_test_add_func("/state/move", test_move);
        g_test_add_func("/state/move-nested", test_move_nested);
        g_test_add_func("/state/move-hyperv", test_move_hyperv);
        g_test_add_func("/state/boot-again", test_boot_again);
        return g_test_run();
}
