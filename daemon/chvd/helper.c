/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A process as somebody else. With systemd it is a transient unit with User=, which systemd makes that user, with his
 * groups: chvd then needs no right to be others. What protects such units is in chvd-open-.service.d; only what differs
 * from one to the next is set here. Without systemd it is a child that becomes the user between fork and exec.
 *
 * Whoever it runs as can look into the process, so it inherits the socket and nothing else: no message stream, no
 * environment. It is found by its own descriptor rather than by the path, which the user may not be able to reach.
 */

#include "daemon/chvd/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gunixfdlist.h>
#include <glib-unix.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/chvd/units.h"
#include "dbus/error.h"
#include "dbus/fd.h"

#define SYSTEMD CHVD_UNITS_BUS_NAME, CHVD_UNITS_PATH, CHVD_UNITS_MANAGER

/* Whatever happens to chvd. */
#define MAX_LIFE_S 600

/* How often to look after a dead child that is held by another. */
#define REAP_S 1

struct ChvdHelper {
        int socket;
        GDBusConnection *bus; /* of the unit */
        char *unit;           /* NULL: a child */
        bool nameless;        /* of a user whom systemd does not know */
        int pidfd;
};

/* Who to be. */
typedef struct {
        uid_t uid;
        gid_t gid;
        gid_t *groups;
        size_t n_groups;
        bool known; /* it has a name */
} User;

static void user_clear(User *user) {
        g_free(user->groups);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(User, user_clear)

static void fail(GError **error, uid_t uid, const char *why) {
        g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "cannot open files for uid %u: %s", uid,
                    why);
}

static void find_groups(User *user, const char *name) {
        int n = 32;

        for (;;) {
                int room = n;

                user->groups = g_renew(gid_t, user->groups, room);
                if (getgrouplist(name, user->gid, user->groups, &n) >= 0)
                        break;
                n = MAX(n, room * 2);
        }
        user->n_groups = (size_t) n;
}

/* A uid that nobody has is in a group of its own number and in no other. */
static bool find_user(User *user, uid_t uid, GError **error) {
        g_autofree char *buffer = NULL;
        struct passwd entry, *found = NULL;
        size_t size = 1024;
        int r;

        do {
                size *= 2;
                buffer = g_realloc(buffer, size);
                r = getpwuid_r(uid, &entry, buffer, size, &found);
        } while (r == ERANGE && size < (1 << 20));
        if (r != 0 && r != ENOENT && r != ESRCH) {
                fail(error, uid, g_strerror(r));
                return false;
        }
        user->uid = uid;
        user->known = found;
        user->gid = found ? entry.pw_gid : uid;
        if (found)
                find_groups(user, entry.pw_name);
        return true;
}

/*
 * Between fork and exec: system calls only, and those that the C library would pass on to other threads directly. It
 * dies with the thread that started it, which is the one that talks to it.
 */
static void become(gpointer data) {
        const User *user = data;
        const struct rlimit no_core = { 0 };
        sigset_t none;

        (void) setsid();
        (void) umask(0077);
        (void) setrlimit(RLIMIT_CORE, &no_core);
        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        if (syscall(SYS_setgroups, user->n_groups, user->groups) < 0 ||
            syscall(SYS_setresgid, user->gid, user->gid, user->gid) < 0 ||
            syscall(SYS_setresuid, user->uid, user->uid, user->uid) < 0 ||
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
                _exit(EXIT_FAILURE);
}

/* False: not yet. Closes pidfd otherwise. */
static bool reap(int pidfd) {
        siginfo_t info = { 0 };

        if (waitid(P_PIDFD, (id_t) pidfd, &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0)
                return false;
        (void) close(pidfd);
        return true;
}

static gboolean on_time(gpointer data) {
        return reap(GPOINTER_TO_INT(data)) ? G_SOURCE_REMOVE : G_SOURCE_CONTINUE;
}

/*
 * The child is its user's, who may trace it: one that is dead and still traced can't be reaped, and the child watch of
 * GLib (2.74) gives up on it.
 */
static gboolean on_dead(gint pidfd, GIOCondition condition, gpointer data) {
        if (!reap(pidfd))
                (void) g_timeout_add_seconds(REAP_S, on_time, GINT_TO_POINTER(pidfd));
        return G_SOURCE_REMOVE;
}

/* In the main thread, whoever calls. Takes pidfd. */
static void reap_when_dead(int pidfd) {
        g_autoptr(GSource) source = g_unix_fd_source_new(pidfd, G_IO_IN);

        g_source_set_callback(source, G_SOURCE_FUNC(on_dead), /* data= */ NULL, /* notify= */ NULL);
        (void) g_source_attach(source, /* context= */ NULL);
}

/* Two descriptors of it: one to kill it by, and one for whoever reaps it. */
static bool watch(ChvdHelper *helper, pid_t pid) {
        int reaper;

        helper->pidfd = pidfd_open(pid, /* flags= */ 0);
        reaper = helper->pidfd < 0 ? -1 : fcntl(helper->pidfd, F_DUPFD_CLOEXEC, 0);
        if (reaper < 0)
                return false;
        reap_when_dead(reaper);
        return true;
}

static bool
start_child(ChvdHelper *helper, const char *program, User *user, int theirs, GError **error) {
        chv_autofd file = open(program, O_PATH | O_CLOEXEC);
        g_autofree char *self = g_strdup_printf("/proc/self/fd/%d", file);
        const char *const argv[] = { self, NULL };
        static const char *const env[] = { "LANG=C.UTF-8", NULL };
        g_autoptr(GError) ours = NULL;
        GPid pid;

        if (file < 0) {
                g_autofree char *why = g_strdup_printf("%s: %s", program, g_strerror(errno));

                fail(error, user->uid, why);
                return false;
        }
        if (!g_spawn_async_with_pipes_and_fds(
                            "/", argv, env,
                            G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL |
                                            G_SPAWN_STDERR_TO_DEV_NULL,
                            become, user, theirs,
                            /* stdout_fd= */ -1,
                            /* stderr_fd= */ -1,
                            /* source_fds= */ NULL,
                            /* target_fds= */ NULL,
                            /* n_fds= */ 0, &pid,
                            /* stdin_pipe_out= */ NULL,
                            /* stdout_pipe_out= */ NULL,
                            /* stderr_pipe_out= */ NULL, &ours)) {
                fail(error, user->uid, ours->message);
                return false;
        }
        if (!watch(helper, pid)) {
                fail(error, user->uid, g_strerror(errno));
                (void) kill(pid, SIGKILL);
                (void) waitpid(pid, /* wstatus= */ NULL, /* options= */ 0);
                return false;
        }
        return true;
}

static GVariant *unit_properties(const char *program, uid_t uid) {
        g_autofree char *user = g_strdup_printf("%u", uid);
        g_autofree char *description = g_strdup_printf("Files of virtual machines of uid %u", uid);
        GVariantBuilder list;

        g_variant_builder_init(&list, G_VARIANT_TYPE("a(sv)"));
        g_variant_builder_add(&list, "(sv)", "Description", g_variant_new_string(description));
        g_variant_builder_add(&list, "(sv)", "Slice", g_variant_new_string("chv.slice"));
        g_variant_builder_add(
                        &list, "(sv)", "CollectMode", g_variant_new_string("inactive-or-failed"));
        g_variant_builder_add(&list, "(sv)", "User", g_variant_new_string(user));
        g_variant_builder_add(
                        &list, "(sv)", "RuntimeMaxUSec",
                        g_variant_new_uint64((guint64) MAX_LIFE_S * G_USEC_PER_SEC));
        g_variant_builder_add(
                        &list, "(sv)", "StandardInputFileDescriptor", g_variant_new_handle(0));
        g_variant_builder_add(&list, "(sv)", "StandardOutput", g_variant_new_string("null"));
        g_variant_builder_add(&list, "(sv)", "StandardError", g_variant_new_string("null"));
        g_variant_builder_add(
                        &list, "(sv)", "ExecStart",
                        g_variant_new_parsed("[(%s, [%s], false)]", program, program));
        return g_variant_builder_end(&list);
}

/* *ret_absent: there is no systemd. */
static bool
start_unit(ChvdHelper *helper,
           GDBusConnection *bus,
           const char *program,
           const User *user,
           int theirs,
           GCancellable *cancellable,
           bool *ret_absent,
           GError **error) {
        static gint last; /* atomic */
        g_autofree char *unit = g_strdup_printf(
                        "chvd-open-%d-%d.service", getpid(), g_atomic_int_add(&last, 1));
        g_autoptr(GError) ours = NULL;

        if (chvd_units_start_transient(
                            bus, unit, unit_properties(program, user->uid), theirs, cancellable,
                            ret_absent, &ours)) {
                helper->unit = g_steal_pointer(&unit);
                helper->bus = g_object_ref(bus);
                return true;
        }
        if (g_error_matches(ours, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
                g_propagate_error(error, g_steal_pointer(&ours));
                return false;
        }
        fail(error, user->uid, ours->message);
        return false;
}

static bool
start(ChvdHelper *helper,
      GDBusConnection *bus,
      const char *program,
      uid_t uid,
      int theirs,
      GCancellable *cancellable,
      GError **error) {
        g_autoptr(GError) refused = NULL;
        g_auto(User) user = { 0 };
        bool absent = true;

        if (!find_user(&user, uid, error))
                return false;
        helper->nameless = !user.known;
        if (bus && start_unit(helper, bus, program, &user, theirs, cancellable, &absent, &refused))
                return true;
        if (absent)
                return start_child(helper, program, &user, theirs, error);
        g_propagate_error(error, g_steal_pointer(&refused));
        return false;
}

ChvdHelper *chvd_helper_start(
                GDBusConnection *bus,
                const char *program,
                uid_t uid,
                GCancellable *cancellable,
                GError **error) {
        ChvdHelper *helper;
        chv_autofd theirs = -1;
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
                fail(error, uid, g_strerror(errno));
                return NULL;
        }
        theirs = pair[1];
        helper = g_new0(ChvdHelper, 1);
        helper->socket = pair[0];
        helper->pidfd = -1;
        if (!start(helper, bus, program, uid, theirs, cancellable, error)) {
                chvd_helper_end(helper, /* kill= */ false);
                return NULL;
        }
        return helper;
}

int chvd_helper_socket(const ChvdHelper *helper) {
        return helper->socket;
}

const char *chvd_helper_hint(const ChvdHelper *helper) {
        return helper->unit && helper->nameless ? ": there is no user of that number" : "";
}

void chvd_helper_end(ChvdHelper *helper, bool kill) {
        (void) close(helper->socket);
        if (helper->pidfd >= 0 && kill)
                (void) pidfd_send_signal(helper->pidfd, SIGKILL, NULL, /* flags= */ 0);
        chv_fd_closep(&helper->pidfd);
        if (helper->unit && kill)
                g_dbus_connection_call(
                                helper->bus, SYSTEMD, "KillUnit",
                                g_variant_new("(ssi)", helper->unit, "all", SIGKILL),
                                /* reply_type= */ NULL, G_DBUS_CALL_FLAGS_NO_AUTO_START,
                                /* timeout_msec= */ -1,
                                /* cancellable= */ NULL,
                                /* callback= */ NULL,
                                /* user_data= */ NULL);
        g_clear_object(&helper->bus);
        g_free(helper->unit);
        g_free(helper);
}
