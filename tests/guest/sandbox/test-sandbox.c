/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of a worker's sandbox, with a guest in it: a forbidden call in a thread of any kind ends that VM alone, by SIGSYS, with an
 * event and a line that name call and thread; --seccomp=errno, log and off do what they say; a running worker has no capability,
 * no path, no network and a user of its own if asked; it runs all the same where the host gives no namespaces, or no rights to
 * begin with; and terminals, which are opened behind the kernel's back, still work.
 */

#include "tests/guest/worker/worker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONFIG                                                                                     \
        "{'memory': <{'size': <uint64 33554432>}>, 'debug_console': <{'mode': <'null'>}>, "        \
        "'payload': <{'kernel': <'%s'>, 'cmdline': <'%s'>}>%s}"

typedef struct {
        Worker *worker;
        int words; /* its standard error */
} Case;

static void case_clear(Case *c) {
        worker_free(c->worker);
        if (c->words >= 0)
                close(c->words);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Case, case_clear)

/* argument may be NULL. variables: "NAME=VALUE" for its environment, ends with NULL; may be NULL. */
static Case begin(const char *argument, const char *const *variables) {
        Case c = { .words = memfd_create("words", MFD_CLOEXEC) };
        g_auto(GStrv) environment = g_get_environ();
        int mine = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);

        g_assert_cmpint(c.words, >=, 0);
        g_assert_cmpint(mine, >=, 0);
        for (size_t i = 0; variables && variables[i]; i++) {
                g_auto(GStrv) pair = g_strsplit(variables[i], "=", 2);

                environment = g_environ_setenv(environment, pair[0], pair[1], true);
        }
        g_assert_cmpint(dup2(c.words, STDERR_FILENO), ==, STDERR_FILENO);
        c.worker = worker_new_with(argument, environment);
        g_assert_cmpint(dup2(mine, STDERR_FILENO), ==, STDERR_FILENO);
        close(mine);
        return c;
}

static bool boot(Worker *worker, const char *cmdline, const char *more, GError **error) {
        g_autofree char *path = g_build_filename(g_getenv("CHV_GUESTS"), "guest-machine", NULL);
        g_autofree char *config = g_strdup_printf(CONFIG, path, cmdline, more);

        return worker_boot(worker, path, config, error);
}

static const char *words(const Case *c) {
        static char buf[8192];
        ssize_t n = pread(c->words, buf, sizeof(buf) - 1, 0);

        g_assert_cmpint(n, >=, 0);
        buf[n] = '\0';
        return buf;
}

/* offence: THREAD:CALL. named: what the report must say. */
static void check_death(const char *argument, const char *offence, const char *named) {
        g_autofree char *variable = g_strdup_printf("CHV_OFFENCE=%s", offence);
        g_auto(Case) c = begin(argument, (const char *const[]){ variable, NULL });
        g_autofree char *thread =
                        g_strdup_printf("%.*s thread", (int) strcspn(offence, ":"), offence);
        g_autoptr(GVariant) properties = NULL;
        const char *message;
        int status;

        (void) boot(c.worker, "tick", "", NULL);
        status = worker_wait(c.worker);
        g_test_message("%s: %s", offence, words(&c));
        g_assert_true(WIFSIGNALED(status));
        g_assert_cmpint(WTERMSIG(status), ==, SIGSYS);
        g_assert_nonnull(strstr(words(&c), named));
        g_assert_nonnull(strstr(words(&c), thread));
        g_assert_null(strstr(words(&c), "offence:"));
        worker_expect_event(c.worker, "sandbox/forbidden-call", &properties);
        g_assert_true(g_variant_lookup(properties, "message", "&s", &message));
        g_assert_nonnull(strstr(message, named));
        g_assert_true(g_str_has_prefix(message, thread));
}

static void test_forbidden(gconstpointer data) {
        static const char *const everywhere[][2] = {
                { "execve", "(execve)" },     { "clone", "(clone)" },
                { "socket", "(socket)" },     { "ioctl", "(ioctl)" },
                { "ioctl-wide", "(ioctl)" },  { "mmap", "(mmap)" },
                { "mprotect", "(mprotect)" }, { "kill", "(kill)" },
                { "signal", "(tgkill)" },     { "datagrams", "(socketpair)" },
        };
        static const char *const in_helpers[][2] = {
                { "io_uring_setup", "(io_uring_setup)" },
                { "create-vm", "(ioctl)" },
        };
        const char *thread = data;
        g_auto(Case) neighbour = begin(NULL, NULL);
        gsize before;

        (void) boot(neighbour.worker, "tick", "", NULL);
        worker_expect(neighbour.worker, "tick 0x0000000000000001");
        for (size_t i = 0; i < G_N_ELEMENTS(everywhere); i++) {
                g_autofree char *offence = g_strdup_printf("%s:%s", thread, everywhere[i][0]);

                check_death(/* argument= */ NULL, offence, everywhere[i][1]);
        }
        for (size_t i = 0; !g_str_equal(thread, "main") && i < G_N_ELEMENTS(in_helpers); i++) {
                g_autofree char *offence = g_strdup_printf("%s:%s", thread, in_helpers[i][0]);

                check_death(/* argument= */ NULL, offence, in_helpers[i][1]);
        }
        before = strlen(worker_output(neighbour.worker));
        worker_idle(300);
        g_assert_cmpuint(strlen(worker_output(neighbour.worker)), >, before);
}

/* Another architecture's calls cannot be told apart by number: the kernel kills without a word from us. */
static void test_old_abi(void) {
        g_auto(Case) c = begin(NULL, (const char *const[]){ "CHV_OFFENCE=vcpu:32-bit", NULL });
        int status;

        (void) boot(c.worker, "tick", "", NULL);
        status = worker_wait(c.worker);
        g_assert_true(WIFSIGNALED(status));
        g_assert_cmpint(WTERMSIG(status), ==, SIGSYS);
}

static void test_modes(void) {
        static const char *const modes[] = { "--seccomp=errno", "--seccomp=log", "--seccomp=off" };

        for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
                g_auto(Case) c = begin(
                                modes[i], (const char *const[]){ "CHV_OFFENCE=vcpu:socket", NULL });
                g_autoptr(GError) error = NULL;

                (void) boot(c.worker, "tick", "", &error);
                g_assert_no_error(error);
                worker_expect(c.worker, "tick 0x0000000000000002");
                if (i == 0)
                        g_assert_nonnull(strstr(words(&c), "offence: EPERM"));
                else
                        g_assert_nonnull(strstr(words(&c), "offence: done"));
        }
}

static void test_bad_arguments(void) {
        static const char *const args[] = {
                "--seccomp=maybe",     "--user=0:0",       "--user=1",
                "--user=1:2:3",        "--user=root:root", "--user=1:-1",
                "--user=4294967295:1", "--colour",         "more"
        };

        for (size_t i = 0; i < G_N_ELEMENTS(args); i++) {
                const char *argv[] = { g_getenv("CHV_WORKER"), args[i], NULL };
                g_autoptr(GError) error = NULL;
                g_autofree char *text = NULL;
                int status;

                (void) g_spawn_sync(
                                NULL, (char **) argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, NULL,
                                &text, &status, &error);
                g_assert_no_error(error);
                g_assert_true(WIFEXITED(status));
                g_assert_cmpint(WEXITSTATUS(status), ==, 1);
                g_assert_true(g_str_has_prefix(text, "chv-vmm: "));
        }
}

static char *proc_text(Worker *worker, const char *name) {
        g_autofree char *path = g_strdup_printf("/proc/%d/%s", worker_pid(worker), name);
        g_autoptr(GError) error = NULL;
        char *text;

        (void) g_file_get_contents(path, &text, NULL, &error);
        g_assert_no_error(error);
        return text;
}

static void assert_status(Worker *worker, const char *line) {
        g_autofree char *status = proc_text(worker, "status");

        if (!strstr(status, line))
                g_error("no '%s' in: %s", line, status);
}

static void assert_own_namespace(Worker *worker, const char *kind) {
        g_autofree char *theirs = g_strdup_printf("/proc/%d/ns/%s", worker_pid(worker), kind);
        g_autofree char *ours = g_strdup_printf("/proc/self/ns/%s", kind);
        struct stat a, b;

        g_assert_cmpint(stat(theirs, &a), ==, 0);
        g_assert_cmpint(stat(ours, &b), ==, 0);
        g_assert_cmpuint(a.st_ino, !=, b.st_ino);
}

static void assert_empty_root(Worker *worker) {
        g_autofree char *path = g_strdup_printf("/proc/%d/root", worker_pid(worker));
        g_autofree char *file = g_build_filename(path, "file", NULL);
        DIR *dir = opendir(path);
        struct dirent *entry;

        g_assert_nonnull(dir);
        while ((entry = readdir(dir)))
                g_assert_true(g_str_equal(entry->d_name, ".") || g_str_equal(entry->d_name, ".."));
        closedir(dir);
        g_assert_cmpint(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600), <, 0);
        g_assert_cmpint(errno, ==, EROFS);
}

static bool may_unshare(void) {
        g_autofree char *out = NULL;
        int status = 0;

        return geteuid() == 0 &&
               g_spawn_command_line_sync("unshare -m -n true", &out, NULL, &status, NULL) &&
               status == 0;
}

static bool may_unshare_as_nobody(void) {
        return system("setpriv --reuid=65534 --regid=65534 --clear-groups unshare -U true 2>&1") ==
               0;
}

static void check_confinement(const char *argument, const char *user, const char *uid_line) {
        g_auto(Case) c = begin(argument, (const char *const[]){ user, NULL });
        g_autoptr(GError) error = NULL;
        g_autofree char *net = NULL;
        static const char *const kinds[] = { "mnt", "net", "ipc", "uts", "cgroup" };

        (void) boot(c.worker, "tick", "", &error);
        g_assert_no_error(error);
        worker_expect(c.worker, "tick 0x0000000000000001");
        assert_status(c.worker, "\nNoNewPrivs:\t1\n");
        assert_status(c.worker, "\nSeccomp:\t2\n");
        assert_status(c.worker, "\nCapInh:\t0000000000000000\n");
        assert_status(c.worker, "\nCapPrm:\t0000000000000000\n");
        assert_status(c.worker, "\nCapEff:\t0000000000000000\n");
        assert_status(c.worker, "\nCapBnd:\t0000000000000000\n");
        assert_status(c.worker, "\nCapAmb:\t0000000000000000\n");
        assert_status(c.worker, uid_line);
        for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
                assert_own_namespace(c.worker, kinds[i]);
        assert_empty_root(c.worker);
        net = proc_text(c.worker, "net/dev");
        g_assert_nonnull(strstr(net, " lo:"));
        {
                unsigned n = 0;

                for (const char *p = net; *p; p++)
                        n += *p == ':';
                g_assert_cmpuint(n, ==, 1);
        }
        net = (g_free(net), proc_text(c.worker, "limits"));
        g_assert_nonnull(strstr(net, "Max core file size        0                    0"));
}

static void test_confined(void) {
        if (!may_unshare()) {
                g_test_skip("needs root with namespaces");
                return;
        }
        check_confinement(NULL, "CHV_NONE=", "\nUid:\t0\t0\t0\t0\n");
        check_confinement("--user=4711:4712", "CHV_NONE=", "\nUid:\t4711\t4711\t4711\t4711\n");
        check_confinement("--user=4711:4712", "CHV_NONE=", "\nGid:\t4712\t4712\t4712\t4712\n");
}

/* The user namespace's way; it holds where the host lets anybody have one. */
static void test_unprivileged(void) {
        g_autofree char *most = NULL;

        if (!may_unshare()) {
                g_test_skip("needs root to become somebody else");
                return;
        }
        if (!may_unshare_as_nobody()) {
                g_test_skip("this host keeps user namespaces for root");
                return;
        }
        check_confinement(NULL, "CHV_AS_USER=65534", "\nUid:\t65534\t65534\t65534\t65534\n");
}

static void test_old_host(void) {
        static const char *const users[] = { "CHV_NONE=", "CHV_AS_USER=65534" };

        for (size_t i = 0; i < G_N_ELEMENTS(users) && (i == 0 || geteuid() == 0); i++) {
                g_auto(Case) c =
                                begin(NULL, (const char *const[]){ "CHV_OLD_HOST=1", users[i],
                                                                   "G_MESSAGES_DEBUG=all", NULL });
                g_autoptr(GError) error = NULL;

                (void) boot(c.worker, "tick", "", &error);
                g_assert_no_error(error);
                worker_expect(c.worker, "tick 0x0000000000000001");
                assert_status(c.worker, "\nCapEff:\t0000000000000000\n");
                assert_status(c.worker, "\nNoNewPrivs:\t1\n");
                g_assert_nonnull(strstr(words(&c), "sandbox: namespaces: "));
                g_assert_nonnull(strstr(words(&c), "sandbox: Landlock: "));
        }
}

/* A user who asks to become another one must not silently stay what he is. */
static void test_user_refused(void) {
        g_autofree char *text = NULL;
        const char *argv[] = { g_getenv("CHV_WORKER"), "--user=1:1", NULL };
        g_autoptr(GError) error = NULL;
        g_auto(GStrv) env = g_environ_setenv(g_get_environ(), "CHV_AS_USER", "65534", true);
        int status;

        if (geteuid() != 0) {
                g_test_skip("needs root to become somebody else");
                return;
        }
        (void) g_spawn_sync(
                        NULL, (char **) argv, env, G_SPAWN_DEFAULT, NULL, NULL, NULL, &text,
                        &status, &error);
        g_assert_no_error(error);
        g_assert_true(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), ==, 1);
        g_assert_nonnull(strstr(text, "taking on the user"));
}

static int last_number(Worker *worker) {
        g_autofree char *status = proc_text(worker, "status");
        const char *line = strstr(status, "\nNSpid:\t");
        g_auto(GStrv) numbers = NULL;

        g_assert_nonnull(line);
        numbers = g_strsplit(line + 1, "\n", 2);
        return atoi(strrchr(numbers[0], '\t'));
}

/* As a service of systemd: what is left is the first process of a namespace, for which signals mean something else. */
static void test_detached(void) {
        static const char *const users[] = { "CHV_NONE=", "CHV_AS_USER=65534" };
        static const char *const kinds[] = { "pid", "mnt", "net", "ipc", "uts", "cgroup" };

        if (!may_unshare()) {
                g_test_skip("needs root with namespaces");
                return;
        }
        for (size_t i = 0; i < G_N_ELEMENTS(users) && (i == 0 || may_unshare_as_nobody()); i++) {
                g_auto(Case) c = begin("--detach", (const char *const[]){ users[i], NULL });
                g_autoptr(GError) error = NULL;

                (void) boot(c.worker, "tick", "", &error);
                g_assert_no_error(error);
                worker_expect(c.worker, "tick 0x0000000000000002");
                for (size_t j = 0; j < G_N_ELEMENTS(kinds); j++)
                        assert_own_namespace(c.worker, kinds[j]);
                g_assert_cmpint(last_number(c.worker), ==, 1);
                assert_status(c.worker, "\nCapEff:\t0000000000000000\n");
                assert_empty_root(c.worker);
                /* Signals from outside that it listens to. */
                g_assert_true(chv_vmm_call_pause_sync(worker_proxy(c.worker), NULL, NULL));
                g_assert_cmpint(kill(worker_pid(c.worker), i == 0 ? SIGTERM : SIGRTMIN + 4), ==, 0);
                worker_expect_event(c.worker, "vm/shutdown", NULL);
                g_assert_cmpint(worker_wait(c.worker), ==, 0);
        }
        check_death("--detach", "vcpu:socket", "(socket)");
        check_death("--detach", "main:execve", "(execve)");
        check_death("--detach", "io:kill", "(kill)");
}

/* Whatever number it has, it does not survive abort(). */
static void test_abort(void) {
        static const char *const arguments[] = { NULL, "--detach" };
        static const char *const threads[] = { "main", "vcpu", "io" };

        for (size_t i = 0; i < G_N_ELEMENTS(arguments) && (i == 0 || may_unshare()); i++)
                for (size_t j = 0; j < G_N_ELEMENTS(threads); j++) {
                        g_autofree char *variable =
                                        g_strdup_printf("CHV_OFFENCE=%s:abort", threads[j]);
                        g_auto(Case) c = begin(
                                        arguments[i], (const char *const[]){ variable, NULL });
                        int status;

                        (void) boot(c.worker, "tick", "", NULL);
                        status = worker_wait(c.worker);
                        g_test_message("%s: %s", variable, words(&c));
                        g_assert_true(WIFSIGNALED(status));
                        g_assert_cmpint(WTERMSIG(status), ==, i == 0 ? SIGABRT : SIGILL);
                        g_assert_null(strstr(words(&c), "forbidden"));
                        g_assert_true(i == 0 || strstr(words(&c), "thread has aborted"));
                }
}

/* Until it has all it needs, the first process is there, and ends as the other does. */
static void test_detached_fails(void) {
        g_autofree char *text = NULL;
        const char *argv[] = { g_getenv("CHV_WORKER"), "--detach", NULL };
        g_autoptr(GError) error = NULL;
        int status;

        (void) g_spawn_sync(
                        NULL, (char **) argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, NULL, &text,
                        &status, &error);
        g_assert_no_error(error);
        g_assert_true(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), ==, 1);
        g_assert_nonnull(strstr(text, "no listening socket"));
}

static void test_terminal(void) {
        static const char *const users[] = { "CHV_NONE=", "CHV_AS_USER=65534" };

        for (size_t i = 0; i < G_N_ELEMENTS(users) && (i == 0 || geteuid() == 0); i++) {
                int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
                g_auto(Case) c = begin(NULL, (const char *const[]){ users[i], NULL });
                g_autoptr(GError) error = NULL;

                g_assert_cmpint(master, >=, 0);
                g_assert_cmpint(unlockpt(master), ==, 0);
                worker_add_fd(c.worker, "serial", master);
                (void) boot(c.worker, "tick", ", 'serial': <{'mode': <'pty'>}>", &error);
                g_assert_no_error(error);
                worker_expect(c.worker, "tick 0x0000000000000001");
        }
}

static void test_resets(void) {
        g_auto(Case) c = begin(NULL, NULL);
        g_autoptr(GError) error = NULL;

        (void) boot(c.worker, "reset", "", &error);
        g_assert_no_error(error);
        for (unsigned n = 0; n < 20; n++)
                worker_expect_event(c.worker, "vm/rebooted", NULL);
        g_assert_true(worker_alive(c.worker));
}

int main(int argc, char **argv) {
        int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

        if (kvm < 0) {
                g_print("1..0 # SKIP /dev/kvm cannot be opened: %s\n", g_strerror(errno));
                return 0;
        }
        close(kvm);
        if (g_getenv("CHV_INSTRUMENTED")) {
                g_print("1..0 # SKIP sanitizers and coverage switch the sandbox off\n");
                return 0;
        }
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/sandbox/bad-arguments", test_bad_arguments);
        g_test_add_data_func("/sandbox/forbidden/main", "main", test_forbidden);
        g_test_add_data_func("/sandbox/forbidden/vcpu", "vcpu", test_forbidden);
        g_test_add_data_func("/sandbox/forbidden/io", "io", test_forbidden);
        g_test_add_func("/sandbox/forbidden/32-bit", test_old_abi);
        g_test_add_func("/sandbox/modes", test_modes);
        g_test_add_func("/sandbox/confined", test_confined);
        g_test_add_func("/sandbox/unprivileged", test_unprivileged);
        g_test_add_func("/sandbox/old-host", test_old_host);
        g_test_add_func("/sandbox/user-refused", test_user_refused);
        g_test_add_func("/sandbox/detached", test_detached);
        g_test_add_func("/sandbox/detached-fails", test_detached_fails);
        g_test_add_func("/sandbox/abort", test_abort);
        g_test_add_func("/sandbox/terminal", test_terminal);
        g_test_add_func("/sandbox/resets", test_resets);
        return g_test_run();
}
