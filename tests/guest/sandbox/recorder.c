/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A chv-vmm that notes which of the sandbox's rules it makes use of: the shipped program's own main and libraries, and below its
 * filters one that tells a watcher of every call they let through. The watcher is a child that shares the descriptors, compares each call
 * with the rules, lets it go on, and when the worker is gone appends to standard output (a file there, $CHV_RECORD):
 *
 *   used RULE THREAD
 *   none THREAD CALL ARGUMENT ARGUMENT ARGUMENT
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/vmm/sandbox/rules.h"
#include "daemon/vmm/sandbox/sandbox.h"

/* Of Linux 6.6; the headers of Debian 12 do not know them. */
#define NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SYNC_WAKE_UP 1ul

#define THREADS_MAX 65536
#define RULES_MAX 512
#define STRANGERS_MAX 64

bool __real_sandbox_filter(int idle_fd, GError **error);
void __real_sandbox_main_thread(void);
void __real_sandbox_vcpu_thread(void *opaque);
void __real_sandbox_io_thread(void *opaque);
bool __wrap_sandbox_filter(int idle_fd, GError **error);
void __wrap_sandbox_main_thread(void);
void __wrap_sandbox_vcpu_thread(void *opaque);
void __wrap_sandbox_io_thread(void *opaque);

typedef struct {
        atomic_int listener;
        atomic_uint n_threads;
        atomic_bool filtered; /* what the worker's own filters see begins here */
        struct {
                atomic_int tid, kind;
        } threads[THREADS_MAX];
} Shared;

static Shared *shared;
static const SandboxRule *rules;
static size_t n_rules;

/* Of the watcher alone. */
static unsigned used[RULES_MAX];
static struct {
        unsigned kind;
        struct seccomp_data data;
} strangers[STRANGERS_MAX];
static unsigned n_strangers;

static void enter(int kind) {
        unsigned i = atomic_fetch_add(&shared->n_threads, 1);

        if (i >= THREADS_MAX)
                abort();
        atomic_store(&shared->threads[i].kind, kind);
        atomic_store(&shared->threads[i].tid, (int) syscall(SYS_gettid));
}

void __wrap_sandbox_main_thread(void) {
        static bool done;

        __real_sandbox_main_thread();
        if (!done)
                enter(SANDBOX_FILTER_MAIN);
        done = true;
}

void __wrap_sandbox_vcpu_thread(void *opaque) {
        __real_sandbox_vcpu_thread(opaque);
        enter(SANDBOX_FILTER_VCPU);
}

void __wrap_sandbox_io_thread(void *opaque) {
        __real_sandbox_io_thread(opaque);
        enter(SANDBOX_FILTER_IO);
}

/* Numbers of threads come back: the last one counts, unless it has ended. */
static unsigned kind_of(pid_t tid) {
        for (unsigned i = atomic_load(&shared->n_threads); i > 0; i--)
                if (atomic_load(&shared->threads[i - 1].tid) == tid)
                        return (unsigned) atomic_load(&shared->threads[i - 1].kind);
        return SANDBOX_FILTER_BASE;
}

static void forget(pid_t tid) {
        for (unsigned i = atomic_load(&shared->n_threads); i > 0; i--)
                if (atomic_load(&shared->threads[i - 1].tid) == tid)
                        atomic_store(&shared->threads[i - 1].tid, 0);
}

static bool matches(const SandboxRule *rule, unsigned kind, const struct seccomp_data *data) {
        if (rule->call != data->nr || !(rule->in & 1u << kind))
                return false;
        for (unsigned i = 0; i < rule->n_args; i++) {
                const struct scmp_arg_cmp *arg = &rule->args[i];
                uint64_t value = data->args[arg->arg];

                if (arg->op == SCMP_CMP_MASKED_EQ ? (value & arg->datum_a) != arg->datum_b
                                                  : value != arg->datum_a)
                        return false;
        }
        return true;
}

static void note(unsigned kind, const struct seccomp_data *data) {
        bool known = false;

        if (!atomic_load(&shared->filtered))
                return;

        for (size_t i = 0; i < n_rules; i++)
                if (matches(&rules[i], kind, data)) {
                        used[i] |= 1u << kind;
                        known = true;
                }
        if (!known && n_strangers < STRANGERS_MAX) {
                strangers[n_strangers].kind = kind;
                strangers[n_strangers++].data = *data;
        }
}

static void write_all(void) {
        char line[160];
        int n;

        for (size_t i = 0; i < n_rules; i++)
                for (unsigned kind = 0; kind < SANDBOX_FILTER_MAX; kind++)
                        if (used[i] & 1u << kind) {
                                n = snprintf(line, sizeof(line), "used %zu %u\n", i, kind);
                                (void) !write(STDOUT_FILENO, line, (size_t) n);
                        }
        for (unsigned i = 0; i < n_strangers; i++) {
                const struct seccomp_data *d = &strangers[i].data;

                n = snprintf(line, sizeof(line), "none %u %d %#llx %#llx %#llx\n",
                             strangers[i].kind, d->nr, (unsigned long long) d->args[0],
                             (unsigned long long) d->args[1], (unsigned long long) d->args[2]);
                (void) !write(STDOUT_FILENO, line, (size_t) n);
        }
}

static _Noreturn void watch(void) {
        struct pollfd p = { .events = POLLIN };

        while ((p.fd = atomic_load(&shared->listener)) < 0)
                (void) sched_yield();
        /* Spares a change of processor per call; not for Linux before 6.6. */
        (void) ioctl(p.fd, NOTIF_SET_FLAGS, SYNC_WAKE_UP);
        for (;;) {
                struct seccomp_notif request = { 0 };
                struct seccomp_notif_resp answer = { .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };

                if (poll(&p, 1, -1) < 0 && errno == EINTR)
                        continue;
                if (!(p.revents & POLLIN))
                        break; /* nobody is left to tell */
                if (ioctl(p.fd, SECCOMP_IOCTL_NOTIF_RECV, &request) < 0)
                        continue; /* a signal, or the guest's end, came first: made anew, or never */
                note(kind_of((pid_t) request.pid), &request.data);
                if (request.data.nr == SYS_exit)
                        forget((pid_t) request.pid);
                answer.id = request.id;
                (void) ioctl(p.fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
        }
        write_all();
        _exit(0);
}

bool __wrap_sandbox_filter(int idle_fd, GError **error) {
        struct sock_filter tell = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
        struct sock_fprog program = { 1, &tell };
        long fd;

        rules = sandbox_rules(&n_rules);
        if (n_rules > RULES_MAX)
                abort();
        shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                      0);
        if (shared == MAP_FAILED)
                abort();
        atomic_store(&shared->listener, -1);
        /* Not waited for, and without a signal: it ends after us. */
        if (syscall(SYS_clone, CLONE_FILES, NULL, NULL, NULL, NULL) == 0)
                watch();
        fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                     SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_TSYNC |
                                     SECCOMP_FILTER_FLAG_TSYNC_ESRCH,
                     &program);
        if (fd < 0)
                abort();
        atomic_store(&shared->listener, (int) fd);
        if (!__real_sandbox_filter(idle_fd, error))
                return false;
        atomic_store(&shared->filtered, true);
        return true;
}

__attribute__((constructor)) static void prepare(void) {
        const char *path = getenv("CHV_RECORD");
        int fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;

        if (fd < 0)
                return;
        (void) dup2(fd, STDOUT_FILENO);
        (void) close(fd);
}
