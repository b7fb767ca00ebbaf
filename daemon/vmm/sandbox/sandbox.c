/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The worker's life as far as its rights go. Each stage stands at the last moment at which what it takes away is needed.
 *
 *   0  It has been started with a listening socket as standard input, the first process of a namespace, or becomes that by detaching
 *      (detach.c). The libraries are loaded; nothing has been read from outside.
 *   1  sandbox_enter(): no new privileges, one's own user, no capability, namespaces of its own with nothing in them, an
 *      empty root that cannot be written, no path by Landlock either, no core dump. Last use of paths: the loader's.
 *      What is needed from here on arrives as a descriptor.
 *   2  sandbox_filter(): nobody has been let in yet. A filter on all threads. Handshakes of D-Bus, the first and later ones,
 *      configuration, kernel image and disk headers are parsed under it.
 *   3  sandbox_*_thread(): each vCPU and I/O thread takes a filter of its own before it does anything; the main thread when
 *      its first machine has been built, before the first guest instruction. A guest's reset builds the machine anew, so
 *      the main thread keeps what building takes, save the terminals' requests.
 *
 * Filters only ever add up. They are compiled in stage 2, so that a thread's start is one system call without allocation.
 */

#include "daemon/vmm/sandbox/sandbox.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/vmm/sandbox/confine.h"
#include "daemon/vmm/sandbox/detach.h"
#include "daemon/vmm/sandbox/filter.h"
#include "daemon/vmm/sandbox/report.h"
#include "dbus/error.h"

#ifdef SANDBOX_INSTRUMENTED
#define INSTRUMENTED true
#else
#define INSTRUMENTED false
#endif

static SandboxSeccomp seccomp_mode = SANDBOX_SECCOMP_OFF;
static SandboxFilter filters[SANDBOX_FILTER_MAX]; /* constant after stage 2 */

bool sandbox_seccomp_from_string(const char *text, SandboxSeccomp *ret) {
        static const char *const names[] = {
                [SANDBOX_SECCOMP_OFF] = "off",
                [SANDBOX_SECCOMP_LOG] = "log",
                [SANDBOX_SECCOMP_ERRNO] = "errno",
                [SANDBOX_SECCOMP_ON] = "on",
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(names); i++)
                if (g_str_equal(text, names[i])) {
                        *ret = i;
                        return true;
                }
        return false;
}

bool sandbox_user_from_string(const char *text, SandboxConfig *config) {
        g_auto(GStrv) parts = g_strsplit(text, ":", 3);
        guint64 id[2];

        if (g_strv_length(parts) != 2)
                return false;
        for (unsigned i = 0; i < 2; i++)
                if (!g_ascii_string_to_unsigned(parts[i], 10, 1, UINT32_MAX - 1, &id[i], NULL))
                        return false;
        config->has_user = true;
        config->uid = (uid_t) id[0];
        config->gid = (gid_t) id[1];
        return true;
}

/* What libraries read from files, or set for the whole process, when they are first used. */
static void load_for_good(void) {
        g_type_class_unref(g_type_class_ref(G_TYPE_SOCKET)); /* ignores SIGPIPE */
        (void) g_random_int();    /* /dev/urandom: identifiers and addresses are made of it */
        (void) g_strerror(EPERM); /* conversions of the locale */
}

bool sandbox_enter(const SandboxConfig *config, GError **error) {
        if (config->detach && !detach_begin(/* own_namespace= */ !INSTRUMENTED, error))
                return false;
        if (INSTRUMENTED)
                return true;
        load_for_good();
        seccomp_mode = config->seccomp;
        return confine_process(
                        config->has_user ? &config->uid : NULL,
                        config->has_user ? &config->gid : NULL, detach_fd(), error);
}

static uint32_t action(void) {
        switch (seccomp_mode) {
        case SANDBOX_SECCOMP_LOG:
                return SCMP_ACT_LOG;
        case SANDBOX_SECCOMP_ERRNO:
                return SCMP_ACT_ERRNO(EPERM);
        default:
                return SCMP_ACT_TRAP;
        }
}

static bool refused(int errnum, GError **error) {
        g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE,
                    "the host does not let a process filter its system calls: %s (--seccomp=off "
                    "does "
                    "without)",
                    g_strerror(errnum));
        return false;
}

bool sandbox_filter(int idle_fd, GError **error) {
        uint32_t needed = SECCOMP_RET_KILL_PROCESS;
        int r;

        if (seccomp_mode == SANDBOX_SECCOMP_OFF)
                return true;
        if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &needed) < 0)
                return refused(errno, error);
        for (unsigned i = 0; i < SANDBOX_FILTER_MAX; i++)
                if (!filter_compile(i, action(), &filters[i], error))
                        return false;
        if (seccomp_mode == SANDBOX_SECCOMP_ON && !report_install(idle_fd, error))
                return false;
        report_name_thread("main");
        r = filter_load(&filters[SANDBOX_FILTER_BASE], /* all_threads= */ true);
        return r == 0 || refused(-r, error);
}

void sandbox_set_connection(GDBusConnection *connection) {
        GIOStream *stream = connection ? g_dbus_connection_get_stream(connection) : NULL;

        report_set_channel(
                        stream ? g_socket_get_fd(g_socket_connection_get_socket(
                                                 G_SOCKET_CONNECTION(stream)))
                               : -1);
}

static void enter_thread(SandboxFilterKind kind, const char *name) {
        if (seccomp_mode == SANDBOX_SECCOMP_OFF)
                return;
        report_name_thread(name);
        if (filter_load(&filters[kind], /* all_threads= */ false) < 0)
                report_and_die("cannot be filtered");
}

void sandbox_main_thread(void) {
        static bool done;

        if (!done)
                enter_thread(SANDBOX_FILTER_MAIN, "main");
        done = true;
}

void sandbox_vcpu_thread(void *opaque) {
        enter_thread(SANDBOX_FILTER_VCPU, "vcpu");
}

void sandbox_io_thread(void *opaque) {
        enter_thread(SANDBOX_FILTER_IO, "io");
}
