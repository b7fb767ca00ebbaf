/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Control groups where nobody else makes them. A group either has processes or divides what it has among groups below it. So where we
 * were put we divide, after we have gone into a group "chvd" below it ourselves; beside that are "chv-NAME", of the workers.
 *
 * A group is ours to divide when we may write to it, there is nobody else in it, and, where systemd rules, it says that it has handed it
 * over. A later chvd finds the workers' groups by their processes, and removes what is left of those that ended without one.
 */

#include "daemon/chvd/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "dbus/error.h"
#include "dbus/fd.h"

#define OURS "chvd"
#define PREFIX "chv-"
#define PERIOD_US 100000  /* of cpu.max */
#define MIN_QUOTA_US 1000 /* the kernel's */
#define DEFAULT_WEIGHT 100

struct ChvdCgroups {
        char *place; /* the group that is divided; NULL: not looked for, or none */
        bool looked;
};

/* How a limit of systemd's is written. */
static const struct {
        const char *unit, *option, *file;
} rows[] = {
        { "CPUWeight", "cpu-weight", "cpu.weight" },
        { "CPUQuotaPerSecUSec", "cpu-quota", "cpu.max" },
        { "MemoryMax", "memory-max", "memory.max" },
        { "IOWeight", "io-weight", "io.weight" },
        { "TasksMax", "tasks-max", "pids.max" },
};

ChvdCgroups *chvd_cgroups_new(void) {
        return g_new0(ChvdCgroups, 1);
}

void chvd_cgroups_free(ChvdCgroups *cgroups) {
        if (!cgroups)
                return;
        g_free(cgroups->place);
        g_free(cgroups);
}

/* False with errno set. */
static bool write_to(const char *group, const char *file, const char *text) {
        g_autofree char *path = g_build_filename(group, file, NULL);
        chv_autofd fd = open(path, O_WRONLY | O_CLOEXEC);
        size_t length = strlen(text);

        return fd >= 0 && write(fd, text, length) == (ssize_t) length;
}

/* NULL: no group of version 2, or none that we can see. */
static char *group_of(const char *process) {
        static const char *const mounts[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
        g_autofree char *file = g_strdup_printf("/proc/%s/cgroup", process), *text = NULL;
        g_auto(GStrv) lines = NULL;
        const char *path = NULL;

        if (!g_file_get_contents(file, &text, /* length= */ NULL, /* error= */ NULL))
                return NULL;
        lines = g_strsplit(text, "\n", -1);
        for (size_t i = 0; lines[i]; i++)
                if (g_str_has_prefix(lines[i], "0::/"))
                        path = lines[i] + strlen("0::");
        /* Outside of what our namespace shows. */
        if (!path || g_str_has_prefix(path, "/.."))
                return NULL;
        for (size_t i = 0; i < G_N_ELEMENTS(mounts); i++) {
                struct statfs fs;

                if (statfs(mounts[i], &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
                        return g_strconcat(mounts[i], path[1] ? path : NULL, NULL);
        }
        return NULL;
}

static bool is_handed_over(const char *group) {
        static const char *const marks[] = { "user.delegate", "trusted.delegate" };
        char value = '0';

        if (access("/run/systemd/system", F_OK) < 0)
                return true;
        for (size_t i = 0; i < G_N_ELEMENTS(marks); i++)
                if (getxattr(group, marks[i], &value, sizeof(value)) == 1 && value == '1')
                        return true;
        return false;
}

/* One after the other: what there is is of use without what there is not. 0, or why there is none at all. */
static int divide(const char *group) {
        static const char *const controllers[] = { "+cpu", "+memory", "+io", "+pids" };
        int why = 0;
        bool any = false;

        for (size_t i = 0; i < G_N_ELEMENTS(controllers); i++)
                if (write_to(group, "cgroup.subtree_control", controllers[i]))
                        any = true;
                else
                        why = errno;
        return any ? 0 : why;
}

static bool has_file(const char *group, const char *file) {
        g_autofree char *path = g_build_filename(group, file, NULL);

        return access(path, F_OK) == 0;
}

static bool is_empty(const char *group) {
        g_autofree char *path = g_build_filename(group, "cgroup.procs", NULL), *text = NULL;

        return g_file_get_contents(path, &text, /* length= */ NULL, /* error= */ NULL) &&
               text[0] == '\0';
}

/* Some controllers would divide a group with processes in it too, in a way that lets nobody into the groups below. 0, or why not. */
static int leave_and_divide(const char *group) {
        g_autofree char *ours = g_build_filename(group, OURS, NULL);
        int why;

        if (mkdir(ours, 0755) < 0 && errno != EEXIST)
                return errno;
        if (!write_to(ours, "cgroup.procs", "0")) {
                why = errno;
                (void) rmdir(ours);
                return why;
        }
        why = is_empty(group) ? divide(group) : EBUSY;
        if (why != 0 && write_to(group, "cgroup.procs", "0"))
                (void) rmdir(ours);
        return why;
}

static void remove_left_overs(const char *group) {
        g_autoptr(GDir) dir = g_dir_open(group, /* flags= */ 0, /* error= */ NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir)))
                if (g_str_has_prefix(name, PREFIX)) {
                        g_autofree char *path = g_build_filename(group, name, NULL);

                        chvd_cgroup_remove(path);
                }
}

/* Once, with the first VM that is started. */
static void look(ChvdCgroups *cgroups) {
        g_autofree char *own = group_of("self"), *place = NULL;
        int why;

        cgroups->looked = true;
        if (!own) {
                g_message("there are no limits for VMs: no control group of version 2 is to be "
                          "seen");
                return;
        }
        /* We may have been here before, or were put there. */
        place = g_str_has_suffix(own, "/" OURS) ? g_path_get_dirname(own) : g_strdup(own);
        if (!is_handed_over(place)) {
                g_message("there are no limits for VMs: control group %s is systemd's (Delegate=)",
                          place);
                return;
        }
        /* Only the topmost of all, which has no type, has processes beside groups. */
        if (!has_file(place, "cgroup.type"))
                why = divide(place);
        else if (g_str_equal(place, own))
                why = leave_and_divide(place);
        else
                why = is_empty(place) ? divide(place) : EBUSY;
        if (why != 0) {
                g_message("there are no limits for VMs: control group %s cannot be divided: %s",
                          place, g_strerror(why));
                return;
        }
        remove_left_overs(place);
        cgroups->place = g_steal_pointer(&place);
}

char *chvd_cgroups_make(ChvdCgroups *cgroups, const char *vm, GVariant *limits, int *ret_procs) {
        g_autofree char *path = NULL, *procs = NULL;
        g_autoptr(GError) error = NULL;
        chv_autofd fd = -1;

        *ret_procs = -1;
        if (!cgroups)
                return NULL;
        if (!cgroups->looked)
                look(cgroups);
        if (!cgroups->place)
                return NULL;
        path = g_strdup_printf("%s/" PREFIX "%s", cgroups->place, vm);
        procs = g_build_filename(path, "cgroup.procs", NULL);
        if (mkdir(path, 0755) == 0 || errno == EEXIST)
                fd = open(procs, O_WRONLY | O_CLOEXEC);
        if (fd < 0) {
                g_message("VM '%s' has no limits: %s: %s", vm, path, g_strerror(errno));
                chvd_cgroup_remove(path);
                return NULL;
        }
        if (limits && !chvd_cgroup_limit(path, limits, &error))
                g_message("VM '%s': not in force: %s", vm, error->message);
        *ret_procs = chv_fd_steal(&fd);
        return g_steal_pointer(&path);
}

char *chvd_cgroup_of(pid_t pid) {
        g_autofree char *number = g_strdup_printf("%d", pid), *path = group_of(number);
        const char *name = path ? strrchr(path, '/') + 1 : "";

        return g_str_has_prefix(name, PREFIX) && !g_str_has_suffix(name, ".service")
                               ? g_steal_pointer(&path)
                               : NULL;
}

static char *format(size_t row, uint64_t value) {
        bool none = value == UINT64_MAX;

        if (g_str_equal(rows[row].file, "cpu.max") && !none)
                return g_strdup_printf(
                                "%" G_GUINT64_FORMAT " %d",
                                MAX(value / (G_USEC_PER_SEC / PERIOD_US), MIN_QUOTA_US), PERIOD_US);
        if (g_str_has_suffix(rows[row].file, ".weight"))
                return g_strdup_printf(
                                "%s%" G_GUINT64_FORMAT,
                                g_str_equal(rows[row].file, "io.weight") ? "default " : "",
                                none ? DEFAULT_WEIGHT : value);
        return none ? g_strdup("max") : g_strdup_printf("%" G_GUINT64_FORMAT, value);
}

bool chvd_cgroup_limit(const char *path, GVariant *limits, GError **error) {
        g_autoptr(GString) failed = g_string_new(NULL);
        bool absent = true;

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autofree char *text = NULL;
                guint64 value;

                if (!g_variant_lookup(limits, rows[i].unit, "t", &value))
                        continue;
                text = format(i, value);
                /* Without its controller nothing is held to anything, as it should be. */
                if (write_to(path, rows[i].file, text) || (errno == ENOENT && value == UINT64_MAX))
                        continue;
                absent = absent && errno == ENOENT;
                g_string_append_printf(
                                failed, "%s%s: %s", failed->len > 0 ? "; " : "", rows[i].option,
                                errno == ENOENT ? "there is no such control here"
                                                : g_strerror(errno));
        }
        if (failed->len == 0)
                return true;
        g_set_error_literal(
                        error, CHV_ERROR, absent ? CHV_ERROR_NOT_SUPPORTED : CHV_ERROR_FAILED,
                        failed->str);
        return false;
}

void chvd_cgroup_remove(const char *path) {
        if (rmdir(path) < 0 && errno != ENOENT && errno != EBUSY)
                g_debug("%s: %s", path, g_strerror(errno));
}
