/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of the sandbox's rules: none is dead, and none is missing. The tests of the whole worker run with a worker that notes
 * each system call (recorder.c); each rule that is not marked as rare must have been used on every kind of thread it is for,
 * and each call must have had a rule.
 */

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/vmm/sandbox/rules.h"

#define ROUNDS_MAX 60
#define TRIES 3

static const char *const kinds[] = { "base", "main", "io", "vcpu" };

static GArray *used; /* of unsigned: kinds by rule */

static char *describe(const SandboxRule *rule) {
        g_autofree char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, rule->call);

        return rule->n_args > 0 ? g_strdup_printf("%s, argument %u: %#llx", name, rule->args[0].arg,
                                                  (unsigned long long) rule->args[0].datum_a)
                                : g_strdup(name);
}

/* Adds to the record. only: a test of the workload, or NULL for all. */
static bool try_workload(const char *record, const char *only) {
        const char *argv[] = { g_getenv("CHV_WORKLOAD"), only ? "-p" : NULL, only, NULL };
        g_auto(GStrv) environment = g_environ_setenv(
                        g_get_environ(), "CHV_RECORD", record, /* overwrite= */ true);
        g_autofree char *out = NULL;
        g_autoptr(GError) error = NULL;
        int status;

        g_assert_nonnull(argv[0]);
        (void) g_spawn_sync(
                        NULL, (char **) argv, environment, G_SPAWN_DEFAULT, NULL, NULL, &out, NULL,
                        &status, &error);
        g_assert_no_error(error);
        if (status != 0)
                g_test_message("the workload failed: %s", out);
        /* The watchers, which have come to us from their parents, write when they end. */
        while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR)
                ;
        return status == 0;
}

/* Whether it succeeds is the matter of its own suite; what it has time limits for can be too much for a busy machine. A call that
 * nobody may make fails it each time. */
static void run_workload(const char *record, const char *only) {
        for (unsigned n = 0; n < TRIES; n++)
                if (try_workload(record, only))
                        return;
        g_error("the workload failed %d times", TRIES);
}

static void read_line(const char *line) {
        unsigned rule, kind;

        if (sscanf(line, "used %u %u", &rule, &kind) == 2) {
                g_assert_cmpuint(rule, <, used->len);
                g_array_index(used, unsigned, rule) |= 1u << kind;
        } else if (*line) {
                g_test_message("a call without a rule: %s", line);
                g_test_fail();
        }
}

static void read_record(const char *path) {
        g_autofree char *text = NULL;
        g_auto(GStrv) lines = NULL;
        g_autoptr(GError) error = NULL;

        (void) g_file_get_contents(path, &text, NULL, &error);
        g_assert_no_error(error);
        lines = g_strsplit(text, "\n", -1);
        g_assert_cmpuint(g_strv_length(lines), >, 100);
        for (char **line = lines; *line; line++)
                read_line(*line);
}

/* Kinds of thread on which a rule must be seen and was not. The main thread's calls before and after its own filter are one list, save
 * for what only the base has; a rule of the helpers is in the main thread's filter because they inherit it. */
static unsigned unseen(const SandboxRule *rule, size_t index) {
        unsigned seen = g_array_index(used, unsigned, index), want = rule->in;

        if (seen & IN_MAIN)
                seen |= IN_MAIN;
        if (want & ~IN_MAIN)
                want &= ~IN_MAIN;
        return want & ~seen;
}

static bool chance_is_unseen(void) {
        size_t n;
        const SandboxRule *rules = sandbox_rules(&n);

        for (size_t i = 0; i < n; i++)
                if (rules[i].use == SANDBOX_RULE_CHANCE && unseen(&rules[i], i))
                        return true;
        return false;
}

/* What happens by chance is waited for. A round builds 16 machines, and each has about one chance in twelve. */
static void test_record(void) {
        g_autofree char *path = g_build_filename(g_get_tmp_dir(), "chv-record-XXXXXX", NULL);
        int fd = g_mkstemp(path);
        unsigned rounds = 0;

        g_assert_cmpint(fd, >=, 0);
        close(fd);
        run_workload(path, NULL);
        read_record(path);
        for (; chance_is_unseen() && rounds < ROUNDS_MAX; rounds++) {
                run_workload(path, "/worker/resets");
                read_record(path);
        }
        g_test_message("%u rounds more", rounds);
        (void) g_unlink(path);
}

static void test_dead(void) {
        size_t n;
        const SandboxRule *rules = sandbox_rules(&n);
        unsigned n_rare = 0;

        for (size_t i = 0; i < n; i++) {
                g_autofree char *text = describe(&rules[i]);
                unsigned missing = unseen(&rules[i], i);

                if (rules[i].use == SANDBOX_RULE_RARE) {
                        n_rare += g_array_index(used, unsigned, i) == 0;
                        continue;
                }
                for (unsigned k = 0; k < SANDBOX_FILTER_MAX; k++)
                        if (missing & 1u << k) {
                                g_test_message("a dead rule: %s: %s", kinds[k], text);
                                g_test_fail();
                        }
        }
        g_test_message("%zu rules, %u of them rare and not seen", n, n_rare);
}

/* What a thread inherits must hold what it may do itself. */
static void test_nested(void) {
        size_t n;
        const SandboxRule *rules = sandbox_rules(&n);

        for (size_t i = 0; i < n; i++) {
                g_assert_true(rules[i].in & IN_BASE);
                if (rules[i].in & ~IN_BASE)
                        g_assert_cmpuint(rules[i].in & IN_MAIN, ==, IN_MAIN);
        }
}

int main(int argc, char **argv) {
        int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
        size_t n;

        if (kvm < 0 || g_getenv("CHV_INSTRUMENTED")) {
                g_print("1..0 # SKIP needs /dev/kvm, and no sanitizers: %s\n", g_strerror(errno));
                return 0;
        }
        close(kvm);
        g_assert_cmpint(prctl(PR_SET_CHILD_SUBREAPER, 1), ==, 0);
        g_test_init(&argc, &argv, NULL);
        (void) sandbox_rules(&n);
        used = g_array_sized_new(FALSE, TRUE, sizeof(unsigned), (guint) n);
        g_array_set_size(used, (guint) n);
        g_test_add_func("/rules/nested", test_nested);
        g_test_add_func("/rules/record", test_record);
        g_test_add_func("/rules/dead", test_dead);
        return g_test_run();
}
