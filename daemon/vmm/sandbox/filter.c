/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * From rules to programs. libseccomp compiles; the programs are kept as they are given to the kernel, so that
 * loading one allocates nothing and can be done by a thread that has just been born.
 */

#include "daemon/vmm/sandbox/filter.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/vmm/sandbox/report.h"
#include "daemon/vmm/sandbox/rules.h"
#include "dbus/error.h"
#include "dbus/fd.h"

/* What a run path does at every step is looked for first. */
static const int hot[] = { __NR_ioctl,          __NR_futex, __NR_write,     __NR_read,
                           __NR_io_uring_enter, __NR_poll,  __NR_epoll_wait };

static int add_rule(scmp_filter_ctx context, const SandboxRule *rule) {
        struct scmp_arg_cmp args[G_N_ELEMENTS(rule->args) + 1];
        unsigned n = rule->n_args;

        memcpy(args, rule->args, sizeof(rule->args));
        if (rule->own_process)
                args[n++] = SCMP_A0_64(SCMP_CMP_EQ, (uint64_t) getpid(), 0);
        return seccomp_rule_add_array(context, rule->action, rule->call, n, args);
}

static int add_rules(scmp_filter_ctx context, SandboxFilterKind kind) {
        size_t n;
        const SandboxRule *rules = sandbox_rules(&n);
        int r;

        /* Else a thread that tries 32-bit calls would die alone, and the others wait for it. */
        r = seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                if (!(rules[i].in & 1u << kind))
                        continue;
                r = add_rule(context, &rules[i]);
                if (r < 0 && r != -EEXIST)
                        return r;
        }
        for (size_t i = 0; i < G_N_ELEMENTS(hot); i++) {
                r = seccomp_syscall_priority(context, hot[i], (uint8_t) (255 - i));
                if (r < 0)
                        return r;
        }
        return seccomp_rule_add(context, SCMP_ACT_KILL_PROCESS, REPORT_LAST_CALL, 0);
}

/* The context's program, out of a file in memory; the older libseccomp knows no other way. */
static int export(scmp_filter_ctx context, SandboxFilter *ret_filter) {
        chv_autofd fd = memfd_create("seccomp", MFD_CLOEXEC);
        g_autofree struct sock_filter *program = NULL;
        off_t size;
        int r;

        if (fd < 0)
                return -errno;
        r = seccomp_export_bpf(context, fd);
        if (r < 0)
                return r;
        size = lseek(fd, 0, SEEK_END);
        if (size <= 0 || size > (off_t) (BPF_MAXINSNS * sizeof(*program)))
                return -EFBIG;
        program = g_malloc((size_t) size);
        if (pread(fd, program, (size_t) size, 0) != size)
                return -EIO;
        ret_filter->n = (uint16_t) ((size_t) size / sizeof(*program));
        ret_filter->program = g_steal_pointer(&program);
        return 0;
}

bool filter_compile(
                SandboxFilterKind kind,
                uint32_t action,
                SandboxFilter *ret_filter,
                GError **error) {
        scmp_filter_ctx context = seccomp_init(action);
        int r = context ? add_rules(context, kind) : -ENOMEM;

        if (r >= 0)
                r = export(context, ret_filter);
        if (context)
                seccomp_release(context);
        if (r >= 0)
                return true;
        g_set_error(error, CHV_ERROR, CHV_ERROR_FAILED, "compiling a filter of system calls: %s",
                    g_strerror(-r));
        return false;
}

int filter_load(const SandboxFilter *filter, bool all_threads) {
        struct sock_fprog program = { filter->n, filter->program };
        long r;

        r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                    all_threads ? SECCOMP_FILTER_FLAG_TSYNC : 0, &program);
        if (r < 0)
                return -errno;
        return r == 0 ? 0 : -EBUSY; /* TSYNC: a thread with filters of its own */
}
