/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What reads an image's bytes needs descriptors it has already, memory, and its output: so it gives up paths (Landlock), new
 * privileges, core dumps, and every system call but those in the table. Each row names who makes the call. Where the kernel has no
 * Landlock the table alone keeps paths away; without a filter nothing is read at all.
 */

#include "daemon/image/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hypervisor/error.h"
#include "hypervisor/fd.h"

#ifdef SANDBOX_INSTRUMENTED
#define INSTRUMENTED true
#else
#define INSTRUMENTED false
#endif

/* Every right of ABI 1, and what later ones add to files, as far as the kernel knows it. */
#define LANDLOCK_FS_1 ((1ull << 13) - 1)
#define LANDLOCK_FS_TRUNCATE (1ull << 14)

static const int calls[] = {
        /* image/file.c */
        SCMP_SYS(pread64),
        SCMP_SYS(preadv),
        SCMP_SYS(preadv2),
        SCMP_SYS(pwrite64),
        SCMP_SYS(pwritev),
        SCMP_SYS(pwritev2),
        SCMP_SYS(fsync),
        SCMP_SYS(fdatasync),
        SCMP_SYS(fallocate),
        SCMP_SYS(ftruncate),
        SCMP_SYS(lseek),
        SCMP_SYS(fstat),
        SCMP_SYS(newfstatat),
        SCMP_SYS(statx),
        SCMP_SYS(close),
        SCMP_SYS(read),
        SCMP_SYS(fstatfs),
        /* files.c: asks the opener */
        SCMP_SYS(sendto),
        SCMP_SYS(recvmsg),
        /* output: stdio, a terminal's progress */
        SCMP_SYS(write),
        SCMP_SYS(writev),
        SCMP_SYS(clock_gettime),
        /* memory: the allocator */
        SCMP_SYS(brk),
        SCMP_SYS(munmap),
        SCMP_SYS(mremap),
        SCMP_SYS(madvise),
        /* qsort() asks how much memory there is before it takes some */
        SCMP_SYS(sysinfo),
        /* GLib and libraries of compression: locks, seeds */
        SCMP_SYS(futex),
        SCMP_SYS(getrandom),
        SCMP_SYS(sched_yield),
        /* snapshots have a date */
        SCMP_SYS(gettimeofday),
        SCMP_SYS(time),
        /* the end, also by abort() */
        SCMP_SYS(exit),
        SCMP_SYS(exit_group),
        SCMP_SYS(rt_sigaction),
        SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(rt_sigreturn),
        SCMP_SYS(gettid),
        SCMP_SYS(getpid),
        SCMP_SYS(tgkill),
        SCMP_SYS(restart_syscall),
};

/* image/file.c: block devices; stdio: TCGETS. */
static const unsigned long requests[] = {
        BLKGETSIZE64, BLKSSZGET, BLKPBSZGET, BLKROGET, BLKDISCARD, BLKZEROOUT, 0x5401 /* TCGETS */,
};

static bool fail(GError **error, int errnum, const char *what) {
        return hv_error_errno(error, errnum, "sandbox: %s", what);
}

static void forbid_paths(void) {
        uint64_t attr = LANDLOCK_FS_1;
        autofd ruleset = -1;
        long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

        if (abi < 1)
                return;
        if (abi >= 2)
                attr |= LANDLOCK_ACCESS_FS_REFER;
        /* ftruncate() of a descriptor from before stays allowed: that was decided when it was opened. */
        if (abi >= 3)
                attr |= LANDLOCK_FS_TRUNCATE;
        ruleset = (int) syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
        if (ruleset >= 0)
                (void) syscall(SYS_landlock_restrict_self, ruleset, 0);
}

/* 0 or negative errno. */
static int add_rules(scmp_filter_ctx filter) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < G_N_ELEMENTS(calls); i++) {
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
                /* Not every architecture has all of them. */
                if (r == -EDOM)
                        r = 0;
        }
        for (size_t i = 0; r == 0 && i < G_N_ELEMENTS(requests); i++)
                r = seccomp_rule_add(
                                filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                                SCMP_A1_32(SCMP_CMP_EQ, (uint32_t) requests[i]));
        /* No code is made at run time. */
        if (r == 0)
                r = seccomp_rule_add(
                                filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                                SCMP_A2_32(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        if (r == 0)
                r = seccomp_rule_add(
                                filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                                SCMP_A2_32(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        /* The C library looks for messages in the user's language at odd times, and does without. */
        if (r == 0)
                r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(openat), 0);
        /* image/file.c asks for the access mode. */
        if (r == 0)
                r = seccomp_rule_add(
                                filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
                                SCMP_A1_32(SCMP_CMP_EQ, F_GETFL));
        return r;
}

static bool filter_calls(GError **error) {
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
        int r = filter ? add_rules(filter) : -ENOMEM;

        if (r == 0)
                r = seccomp_load(filter);
        if (filter)
                seccomp_release(filter);
        return r == 0 || fail(error, -r, "filtering system calls");
}

bool sandbox_enter(GError **error) {
        struct rlimit none = { 0, 0 };

        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
                return fail(error, errno, "following the parent's end");
        if (INSTRUMENTED)
                return true;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return fail(error, errno, "no_new_privs");
        (void) setrlimit(RLIMIT_CORE, &none);
        forbid_paths();
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return fail(error, errno, "making memory unreadable for others");
        return filter_calls(error);
}
