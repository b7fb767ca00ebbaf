/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The system calls of the worker. A line is a call, the threads that may make it, and who makes it; a call
 * without a line is one that no thread makes. What an argument can tell apart is told apart: requests of ioctl(2) and fcntl(2),
 * memory that would be executable, processes instead of threads.
 *
 * The list is the libraries' too: "libc" and "GLib" name what they do unasked. Requests of KVM stand with its backend
 * (hypervisor/kvm/requests.c).
 */

#include "daemon/vmm/sandbox/rules.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <linux/vhost.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <termios.h>

#include "hypervisor/requests.h"

/* asm/prctl.h; Debian 12 has them, older headers do not. */
#define XCOMP_GET_GUEST_PERM 0x1024
#define XCOMP_REQ_GUEST_PERM 0x1025

/* <termios.h> of libc has none of the kernel's requests for terminals that came later. */
#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

#define CALL(name, who, ...)                                                                       \
        { .call = __NR_##name, .in = (who), .action = SCMP_ACT_ALLOW, __VA_ARGS__ }
#define WITH(name, who, n, value, ...)                                                             \
        CALL(name, who, .args = { EQUAL(n, value) }, .n_args = 1, __VA_ARGS__)
#define MASKED(name, who, n, mask, value, ...)                                                     \
        CALL(name, who, .args = { { n, SCMP_CMP_MASKED_EQ, mask, value } }, .n_args = 1,           \
             __VA_ARGS__)
#define EQUAL(n, value)                                                                            \
        { n, SCMP_CMP_EQ, value, 0 }

/* How sure its use is (rules.h). */
#define CHANCE(name, who) CALL(name, who, .use = SANDBOX_RULE_CHANCE)
#define RARE(name, who) CALL(name, who, .use = SANDBOX_RULE_RARE)
#define RARE_WITH(name, who, n, value, ...)                                                        \
        WITH(name, who, n, value, .use = SANDBOX_RULE_RARE, __VA_ARGS__)

/* Sure with libraries of the age of Debian 12; later ones do without. */
#if __GLIBC_PREREQ(2, 39) || GLIB_CHECK_VERSION(2, 80, 0)
#define OLD(name, who) RARE(name, who)
#else
#define OLD(name, who) CALL(name, who)
#endif

/* Refused with an error that the caller can live with. */
#define FAILS(name, who, error)                                                                    \
        {                                                                                          \
                .call = __NR_##name, .in = (who), .action = SCMP_ACT_ERRNO(error),                 \
                .use = SANDBOX_RULE_RARE                                                           \
        }

#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)

/* clang-format off */
static const SandboxRule calls[] = {
        /* Every thread. */
        CALL(futex, IN_ALL),                             /* locks, conditions, pthread_join() */
        CALL(read, IN_ALL),                              /* eventfds; main: channel, consoles; io: random source */
        CALL(write, IN_ALL),                             /* eventfds, console files, last words */
        CALL(munmap, IN_MAIN),                           /* libc: free(), the stack of a thread that has ended */
        RARE(munmap, IN_ALL),                            /* libc: free() of large blocks */
        CALL(madvise, IN_ALL),                           /* libc: a thread's end; main: guest memory */
        CALL(rt_sigprocmask, IN_ALL),                    /* libc: a thread's end, pthread_create(), abort() */
        CALL(rt_sigreturn, IN_VCPU),                     /* the vCPUs' kick */
        RARE(rt_sigreturn, IN_ALL),                      /* signals.c */
        CALL(exit, IN_ALL),                              /* a thread's end */
        OLD(brk, IN_MAIN),                               /* libc: malloc on the main thread */
        CHANCE(brk, IN_ALL),                             /* likewise, on any thread: there is one arena */
        MASKED(mmap, IN_MAIN, 2, PROT_EXEC, 0),          /* guest memory, vCPUs, rings; libc: malloc's large blocks, stacks */
        MASKED(mmap, IN_ALL, 2, PROT_EXEC, 0, .use = SANDBOX_RULE_RARE), /* libc: malloc's large blocks */
        MASKED(mprotect, IN_MAIN, 2, PROT_EXEC, 0),      /* libc: stacks */
        RARE(mremap, IN_IO),                             /* libc: realloc() of large blocks */
        RARE(restart_syscall, IN_ALL),                   /* the kernel: a wait that a stop has interrupted */
        RARE(clock_gettime, IN_ALL),                     /* where the vDSO cannot tell: a host without a usable TSC */
        RARE(gettimeofday, IN_ALL),                      /* likewise */
        RARE(sched_yield, IN_ALL),                       /* libc: locks under contention */
        RARE(sched_getaffinity, IN_ALL),                 /* libc: malloc counts processors when it makes an arena */
        RARE(gettid, IN_ALL),                            /* libc: abort(); GLib: a pool thread's start */
        CALL(getpid, IN_MAIN),                           /* libc: pthread_kill(); GLib: the handshake */
        RARE(getpid, IN_ALL),                            /* libc: abort() */
        RARE_WITH(tgkill, IN_ALL, 2, SIGABRT, .own_process = true), /* libc: abort() */
        RARE(exit_group, IN_ALL),                        /* the end of the process */

        /* Devices, on the thread of their queues and where they are built. */
        CALL(epoll_wait, IN_IO),                         /* devices/iothread.c */
        CALL(epoll_ctl, IN_IO),                          /* devices/iothread.c */
        CALL(getrandom, IN_IO),                          /* devices/virtio/rng.c; libc: malloc on the main thread */
        CALL(io_uring_enter, IN_IO),                     /* devices/block/engine-uring.c */
        WITH(io_uring_register, IN_IO, 1, IORING_REGISTER_ENABLE_RINGS), /* engine-uring.c */
        CALL(preadv, IN_IO),                             /* devices/block/engine-sync.c */
        CALL(pwritev2, IN_IO),                           /* engine-sync.c */
        CALL(fdatasync, IN_IO),                          /* engine-sync.c */
        RARE(fallocate, IN_IO),                          /* engine-sync.c: discard and write zeroes; main: devices/block/raw.c, space of a disk */
        RARE(pread64, IN_IO),                            /* loaders, disk headers; an image format's tables */
        RARE(pwrite64, IN_IO),                           /* an image format's tables */
        RARE(pwritev, IN_IO),                            /* devices/block/image/file.c */
        RARE(ftruncate, IN_IO),                          /* devices/block/image/file.c; main: hypervisor/backing.c, devices/block/raw.c: another size */
        RARE(lseek, IN_IO),                              /* devices/block/image/raw.c: holes; the size of an image */
        RARE(newfstatat, IN_IO),                         /* libc: fstat(); devices/block/raw.c: another size */
        RARE(fstat, IN_IO),                              /* likewise in newer versions */
        RARE(fsync, IN_IO),                              /* an image format's tables */
        RARE(readv, IN_IO),                              /* devices/virtio/net-rx.c: a tap */
        RARE(writev, IN_IO),                             /* devices/virtio/net-tx.c */
        RARE(close, IN_IO),                              /* devices/net/capture.c: the reader hears of the end */
        RARE(timerfd_create, IN_IO),                     /* devices/io-timer.c: limits */
        RARE(timerfd_settime, IN_IO),                    /* devices/io-timer.c */
        RARE(sendmsg, IN_IO),                            /* devices/vhost/message.c: a back end, which is connected */
        RARE(recvmsg, IN_IO),                            /* devices/vhost/message.c */
        RARE(close, IN_IO),                              /* devices/vhost: its socket, and descriptors that it sends */
        RARE(poll, IN_ALL),                              /* main loop; devices/pci/msix.c: is a masked vector pending */
        RARE_WITH(ioctl, IN_ALL, 1, TUNSETOFFLOAD),      /* devices/net/tap.c: the driver chooses features */
        RARE_WITH(ioctl, IN_ALL, 1, TUNSETQUEUE),        /* devices/net/tap.c: the driver uses more queues */
        RARE_WITH(ioctl, IN_ALL, 1, TUNATTACHFILTER),    /* devices/net/tap.c: the driver chooses frames */
        RARE_WITH(ioctl, IN_ALL, 1, TUNDETACHFILTER),    /* devices/net/tap.c */
        RARE_WITH(ioctl, IN_MAIN, 1, VHOST_GET_FEATURES), /* devices/vhost/net.c: is it the kernel's back end */
        RARE_WITH(ioctl, IN_IO, 1, VHOST_SET_OWNER),     /* devices/vhost/net.c: rings go to the kernel */
        RARE_WITH(ioctl, IN_IO, 1, VHOST_RESET_OWNER),
        RARE_WITH(ioctl, IN_IO, 1, VHOST_SET_FEATURES),
        RARE_WITH(ioctl, IN_IO, 1, VHOST_SET_MEM_TABLE),
        RARE_WITH(ioctl, IN_IO, 1, VHOST_SET_VRING_NUM),
        RARE_WITH(ioctl, IN_IO, 1, VHOST_SET_VRING_BASE),
        RARE_WITH(ioctl, IN_IO, 1, VHOST_SET_VRING_ADDR),
        RARE_WITH(ioctl, IN_IO, 1, VHOST_SET_VRING_ERR),
        RARE_WITH(ioctl, IN_IO, 1, VHOST_SET_VRING_CALL),
        RARE_WITH(ioctl, IN_IO, 1, VHOST_SET_VRING_KICK),
        RARE_WITH(ioctl, IN_IO, 1, VHOST_NET_SET_BACKEND),
        RARE_WITH(ioctl, IN_IO, 1, VHOST_GET_VRING_BASE), /* devices/vhost/net.c: they come back */
        RARE_WITH(ioctl, IN_MAIN, 1, TUNGETIFF),         /* devices/net/tap.c: these are of a new device */
        RARE_WITH(ioctl, IN_MAIN, 1, TUNGETFILTER),
        RARE_WITH(ioctl, IN_MAIN, 1, TUNSETVNETHDRSZ),
        RARE_WITH(ioctl, IN_IO,   1, BLKGETSIZE64),      /* devices/block/raw.c: these are of a block device; another size, likewise in mapped-slow.c */
        RARE_WITH(ioctl, IN_IO, 1, BLKSECDISCARD),       /* devices/block/raw.c: secure erase; main: whether the device can */
        RARE_WITH(ioctl, IN_MAIN, 1, BLKROGET),
        RARE_WITH(ioctl, IN_MAIN, 1, BLKSSZGET),
        RARE_WITH(ioctl, IN_MAIN, 1, BLKPBSZGET),
        RARE_WITH(ioctl, IN_MAIN, 1, BLKIOMIN),
        RARE_WITH(ioctl, IN_MAIN, 1, BLKIOOPT),
        RARE_WITH(ioctl, IN_MAIN, 1, BLKSECTGET),

        /* The main thread and GLib's: the channel, consoles. */
        RARE(ppoll, IN_MAIN),                            /* GLib: its main loop, in newer versions */
        CALL(accept4, IN_MAIN),                          /* channel.c: chvd, the first and later ones; console.c: a client */
        WITH(getsockopt, IN_MAIN, 1, SOL_SOCKET),        /* channel.c: who it is; GLib: what kind of socket, why it failed */
        FAILS(setsockopt, IN_MAIN, EOPNOTSUPP),          /* GLib, in newer versions: the channel is not TCP, so it fails anyway */
        CALL(getsockname, IN_MAIN),                      /* GLib: the channel is made an object */
        CALL(getpeername, IN_MAIN),                      /* GLib: likewise */
        CALL(geteuid, IN_MAIN),                          /* channel.c; GLib: the handshake says who we are */
        CALL(getegid, IN_MAIN),                          /* GLib: likewise */
        RARE(getuid, IN_MAIN),                           /* GLib: likewise, in other versions */
        RARE(getgid, IN_MAIN),
        CALL(dup3, IN_MAIN),                             /* report.c: the channel there is now */
        CALL(recvmsg, IN_MAIN),                          /* GLib: the channel, with descriptors */
        CALL(sendmsg, IN_MAIN),                          /* GLib: the channel */
        WITH(sendto, IN_MAIN, 4, 0),                     /* GLib: the handshake; console.c: a client. Names nobody */
        WITH(recvfrom, IN_MAIN, 4, 0),                   /* GLib: the handshake */
        CALL(socketpair, IN_MAIN,                        /* console.c: OpenConsole; streams, which cannot name another peer */
             .args = { EQUAL(0, AF_UNIX), EQUAL(1, SOCK_STREAM | SOCK_CLOEXEC) }, .n_args = 2),
        CALL(socketpair, IN_MAIN,                        /* devices/net/stream.c: a port; as nameless as those */
             .args = { EQUAL(0, AF_UNIX), EQUAL(1, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK) }, .n_args = 2,
             .use = SANDBOX_RULE_RARE),
        RARE(shutdown, IN_MAIN),                         /* GLib: closing the channel */
        CALL(close, IN_MAIN),                            /* whatever a machine had open */
        WITH(fcntl, IN_MAIN, 1, F_DUPFD_CLOEXEC),        /* fd-table.c, console.c, hypervisor/kvm/kvm.c */
        WITH(fcntl, IN_MAIN, 1, F_SETFD),                /* GLib: a descriptor that has arrived */
        RARE_WITH(fcntl, IN_MAIN, 1, F_GETFD),           /* GLib: likewise */
        WITH(fcntl, IN_MAIN, 1, F_GETFL),                /* devices/block/raw.c, net/tap.c, virtio/rng.c */
        WITH(fcntl, IN_MAIN, 1, F_SETFL),                /* GLib: the channel; net/tap.c, virtio/rng.c, console.c: O_NONBLOCK */
        RARE_WITH(fcntl, IN_MAIN, 1, F_ADD_SEALS),       /* hypervisor/backing.c: shared memory */
        RARE_WITH(ioctl, IN_BASE, 1, TIOCGPTN),          /* console.c: consoles are made once */
        RARE_WITH(ioctl, IN_BASE, 1, TIOCGPTPEER),       /* console.c */
        RARE_WITH(ioctl, IN_BASE, 1, TCGETS),            /* console.c */
        RARE_WITH(ioctl, IN_BASE, 1, TCSETS),            /* console.c */

        /* Building a machine, which is done again when a guest resets. */
        OLD(newfstatat, IN_MAIN),                        /* libc: fstat(); there is no path to be found */
        RARE(statx, IN_MAIN),                            /* devices/block/image/direct.c: what direct I/O asks for */
        RARE(fstat, IN_MAIN),                            /* libc: fstat() in newer versions */
        RARE(memfd_create, IN_MAIN),                     /* hypervisor/backing.c: shared memory */
        CALL(eventfd2, IN_MAIN),                         /* queues, interrupts, wake-ups */
        CALL(epoll_create1, IN_MAIN),                    /* devices/iothread.c */
        CALL(io_uring_setup, IN_MAIN),                   /* devices/block/engine-uring.c */
        WITH(io_uring_register, IN_MAIN, 1, IORING_REGISTER_PROBE),
        WITH(io_uring_register, IN_MAIN, 1, IORING_REGISTER_FILES),
        WITH(io_uring_register, IN_MAIN, 1, IORING_REGISTER_RESTRICTIONS),
        RARE_WITH(io_uring_register, IN_MAIN, 1, IORING_REGISTER_BUFFERS), /* engine-fixed.c: registered_buffers=on */
        MASKED(clone, IN_MAIN, 0, THREAD_FLAGS, THREAD_FLAGS), /* libc: pthread_create() */
        FAILS(clone3, IN_MAIN, ENOSYS),                  /* its flags cannot be seen; libc then takes clone() */
        CALL(set_robust_list, IN_MAIN),                  /* libc: a thread's start */
        CALL(rseq, IN_MAIN),                             /* libc: a thread's start */
        WITH(prctl, IN_MAIN, 0, PR_SET_NAME),            /* a thread's start */
        RARE_WITH(prctl, IN_MAIN, 0, PR_SET_VMA),        /* libc: names of malloc's mappings, in newer versions */
        WITH(seccomp, IN_MAIN, 0, SECCOMP_SET_MODE_FILTER), /* filter.c: a thread's own filter */
        WITH(rt_sigaction, IN_MAIN, 0, 34),              /* hypervisor/vcpu.c: the kick, libc's SIGRTMIN */
        WITH(tgkill, IN_MAIN, 2, 34, .own_process = true), /* hypervisor/vcpu.c: the kick */
        RARE(sched_setaffinity, IN_MAIN),                /* pinned vCPUs and queues */
        OLD(sched_setattr, IN_MAIN),                     /* GLib: a pool's thread is scheduled like the others */
        OLD(sched_getattr, IN_MAIN),                     /* GLib: how the others are, for its first pool */
        RARE(sysinfo, IN_MAIN),                          /* libc: qsort() asks how much memory there is */
        RARE_WITH(arch_prctl, IN_MAIN, 0, XCOMP_GET_GUEST_PERM), /* hypervisor/kvm/cpuid.c: AMX */
        RARE_WITH(arch_prctl, IN_MAIN, 0, XCOMP_REQ_GUEST_PERM), /* hypervisor/kvm/cpuid.c: AMX */

        /* Files that libraries look for and can do without: locale, time zone, conversions, processors. */
        FAILS(openat, IN_ALL, ENOENT),
        FAILS(readlink, IN_MAIN, ENOENT),
        FAILS(access, IN_MAIN, ENOENT),
};
/* clang-format on */

static SandboxRule from_request(const struct hv_request *r) {
        unsigned in = IN_MAIN;

        if (r->users & HV_REQUEST_VCPU)
                in |= IN_VCPU;
        if (r->users & HV_REQUEST_IO)
                in |= IN_IO;
        return (SandboxRule){
                .call = __NR_ioctl,
                .in = in,
                .action = SCMP_ACT_ALLOW,
                .args = { EQUAL(1, r->request) },
                .n_args = 1,
                .use = r->rare ? SANDBOX_RULE_RARE : SANDBOX_RULE_SURE,
        };
}

const SandboxRule *sandbox_rules(size_t *ret_n) {
        static GArray *all = NULL;

        if (!all) {
                size_t n;
                const struct hv_request *requests = hv_kvm_requests(&n);

                all = g_array_new(FALSE, FALSE, sizeof(SandboxRule));
                for (size_t i = 0; i < n; i++) {
                        SandboxRule rule = from_request(&requests[i]);

                        g_array_append_val(all, rule);
                }
                g_array_append_vals(all, calls, G_N_ELEMENTS(calls));
        }
        *ret_n = all->len;
        return (const SandboxRule *) (void *) all->data;
}
