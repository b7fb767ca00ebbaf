/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A chv-vmm with a defect: the shipped program's own main and libraries, linked so that these functions stand in front of the
 * sandbox's. CHV_OFFENCE=THREAD:CALL makes the first thread of that kind do something forbidden as soon as it is in
 * its sandbox. CHV_AS_USER=UID gives up root before anything else, and CHV_OLD_HOST takes namespaces and Landlock away, as an old
 * or a strict host does.
 */

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

void __real_sandbox_main_thread(void);
void __real_sandbox_vcpu_thread(void *opaque);
void __real_sandbox_io_thread(void *opaque);
void __wrap_sandbox_main_thread(void);
void __wrap_sandbox_vcpu_thread(void *opaque);
void __wrap_sandbox_io_thread(void *opaque);

/* Their results: -1 and errno if they were refused. */
static long do_execve(void) {
        return execl("/bin/true", "true", NULL);
}

static long do_fork(void) {
        pid_t pid = (pid_t) syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

        if (pid == 0)
                _exit(0);
        return pid;
}

static long do_socket(void) {
        return socket(AF_INET, SOCK_STREAM, 0);
}

static long do_ioctl(void) {
        char c = 'x';

        return ioctl(STDERR_FILENO, TIOCSTI, &c);
}

static long do_ioctl_wide(void) {
        /* The kernel looks at 32 bits of a request; the filter must not be led astray by the others. */
        return syscall(SYS_ioctl, STDERR_FILENO, 0x100000000ul | TIOCSTI, "x");
}

static long do_mmap(void) {
        void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                       -1, 0);

        return p == MAP_FAILED ? -1 : 0;
}

static long do_mprotect(void) {
        static char page[8192];
        char *at = (char *) (((unsigned long) page + 4095) & ~4095ul);

        return mprotect(at, 4096, PROT_READ | PROT_EXEC);
}

static long do_kill(void) {
        return kill(1, 0);
}

static long do_signal(void) {
        /* The number of a signal that is allowed, but for a thread of another process. */
        return syscall(SYS_tgkill, 1, 1, 34);
}

static long do_datagrams(void) {
        int pair[2];

        /* Each could send to any name. */
        return socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair);
}

static long do_old_abi(void) {
        long r;

        /* int 0x80: the calls of 32-bit programs have other numbers; this one is getpid(). */
        __asm__ volatile("int $0x80" : "=a"(r) : "a"(20) : "memory");
        if (r == -1)
                errno = EPERM;
        return r;
}

static long do_io_uring_setup(void) {
        return syscall(SYS_io_uring_setup, 1, NULL);
}

static long do_create_vm(void) {
        return ioctl(3, 0xae01, 0);
}

/* No forbidden call, but the end of a program that finds itself broken. */
static long do_abort(void) {
        abort();
}

static const struct {
        const char *name;
        long (*call)(void);
} offences[] = {
        { "execve", do_execve },         { "clone", do_fork },
        { "socket", do_socket },         { "ioctl", do_ioctl },
        { "ioctl-wide", do_ioctl_wide }, { "mmap", do_mmap },
        { "mprotect", do_mprotect },     { "kill", do_kill },
        { "32-bit", do_old_abi },        { "io_uring_setup", do_io_uring_setup },
        { "create-vm", do_create_vm },   { "signal", do_signal },
        { "datagrams", do_datagrams },   { "abort", do_abort },
};

static void offend(const char *thread) {
        const char *what = getenv("CHV_OFFENCE");
        size_t len = strlen(thread);

        if (!what || strncmp(what, thread, len) != 0 || what[len] != ':')
                return;
        for (size_t i = 0; i < sizeof(offences) / sizeof(offences[0]); i++)
                if (strcmp(what + len + 1, offences[i].name) == 0) {
                        long r = offences[i].call();

                        char line[64];
                        int n =
                                        snprintf(line, sizeof(line), "offence: %s\n",
                                                 r < 0 ? strerrorname_np(errno) : "done");

                        (void) !write(STDERR_FILENO, line, (size_t) n);
                }
}

void __wrap_sandbox_main_thread(void) {
        __real_sandbox_main_thread();
        offend("main");
}

void __wrap_sandbox_vcpu_thread(void *opaque) {
        __real_sandbox_vcpu_thread(opaque);
        offend("vcpu");
}

void __wrap_sandbox_io_thread(void *opaque) {
        __real_sandbox_io_thread(opaque);
        offend("io");
}

__attribute__((constructor)) static void prepare(void) {
        const char *user = getenv("CHV_AS_USER");
        scmp_filter_ctx context;

        if (user && (setresgid(65534, 65534, 65534) < 0 ||
                     setresuid((uid_t) atoi(user), (uid_t) atoi(user), (uid_t) atoi(user)) < 0))
                abort();
        if (!getenv("CHV_OLD_HOST"))
                return;
        context = seccomp_init(SCMP_ACT_ALLOW);
        if (seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), 0) < 0 ||
            seccomp_rule_add(
                            context, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(landlock_create_ruleset), 0) <
                            0 ||
            seccomp_load(context) < 0)
                abort();
        seccomp_release(context);
}
