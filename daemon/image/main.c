/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * chv-image: what `chvctl image` runs. It works on disk images, without the service, as who called it.
 *
 * An image's bytes are hostile, whoever calls; that may be root. So the program is two processes. The first opens what the
 * command line names and what images name (opener.c), and reads nothing of it. The second, its child, gives up every
 * right but the descriptors it has (sandbox.c) before it looks at the first byte, and does the work. When the child
 * fails, or is ended by whatever it read, the first removes the file that was in the making.
 */

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/image/arguments.h"
#include "daemon/image/files.h"
#include "daemon/image/make.h"
#include "daemon/image/opener.h"
#include "daemon/image/output.h"
#include "daemon/image/sandbox.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"

static volatile sig_atomic_t stop; /* the signal that ends the program; 0: none came */

static void on_signal(int number) {
        stop = number;
}

static const int ending[] = { SIGINT, SIGTERM, SIGHUP };

static void catch_signals(void) {
        struct sigaction action = { .sa_handler = on_signal };

        for (size_t i = 0; i < G_N_ELEMENTS(ending); i++)
                (void) sigaction(ending[i], &action, NULL);
        (void) signal(SIGPIPE, SIG_IGN);
}

/* From here on they come while this process waits and at no other time. *ret_waiting: what is blocked then. */
static void hold_signals(sigset_t *ret_waiting) {
        sigset_t set;

        (void) sigemptyset(&set);
        for (size_t i = 0; i < G_N_ELEMENTS(ending); i++)
                (void) sigaddset(&set, ending[i]);
        (void) sigprocmask(SIG_BLOCK, &set, ret_waiting);
}

/* Whoever started this may have left descriptors open, or closed standard ones, whose numbers an image must not get. */
static bool tidy_descriptors(void) {
        int fd;

        (void) syscall(SYS_close_range, 3u, ~0u, 0);
        do
                fd = open("/dev/null", O_RDWR);
        while (fd >= 0 && fd <= 2);
        if (fd > 2)
                (void) close(fd);
        return fd > 2;
}

/* What libraries read from files when they are first used. */
static void load_for_good(void) {
        tzset();
        (void) g_strerror(EPERM); /* conversions of the locale */
        (void) g_random_int();
}

static int work(const Arguments *arguments, const Opener *opener, int socket) {
        const Verb *verb = arguments->verb;
        g_autoptr(GError) error = NULL;
        const char *names[FILES_MAX];
        int fds[FILES_MAX], status;
        Files *files;

        load_for_good();
        if (!sandbox_enter(&error))
                return report_error(error, verb->status_failed);
        for (unsigned i = 0; i < verb->n_files; i++) {
                names[i] = word(arguments, i);
                fds[i] = opener_fd(opener, i);
        }
        files = files_new(socket, names, fds, verb->n_files);
        status = verb->run(arguments, files);
        /* Output that nobody got is a failure, unless there is a worse one. The socket stays open until then: the first process waits at it. */
        if (fflush(stdout) != 0 && status == 0) {
                report("writing to standard output: %s", g_strerror(errno));
                status = verb->status_failed;
        }
        files_free(files);
        return status;
}

static int wait_for(const Arguments *arguments, pid_t pid) {
        int status;

        if (stop)
                (void) kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (WIFEXITED(status))
                return WEXITSTATUS(status);
        if (!stop)
                report("what reads the image was ended by signal %d (%s)", WTERMSIG(status),
                       g_strsignal(WTERMSIG(status)));
        return arguments->verb->status_failed;
}

/* Ends as the signal would have ended it. */
static void end_by(int number) {
        sigset_t set;

        (void) signal(number, SIG_DFL);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, number);
        (void) sigprocmask(SIG_UNBLOCK, &set, NULL);
        (void) raise(number);
}

static int run_child(const Arguments *arguments, Opener *opener, GError **error) {
        int sockets[2], status;
        sigset_t waiting;
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) {
                (void) hv_error_errno(error, errno, "a pair of sockets");
                return -1;
        }
        hold_signals(&waiting);
        pid = fork();
        if (pid == 0) {
                (void) close(sockets[0]);
                _exit(work(arguments, opener, sockets[1]));
        }
        (void) close(sockets[1]);
        if (pid > 0) {
                if (!stop)
                        opener_serve(opener, sockets[0], &waiting);
                status = wait_for(arguments, pid);
        } else {
                (void) hv_error_errno(error, errno, "a second process");
                status = -1;
        }
        (void) close(sockets[0]);
        return status;
}

static int run(const Arguments *arguments) {
        g_autoptr(Opener) opener = opener_new(arguments);
        g_autoptr(GError) error = NULL;
        int status = -1;

        catch_signals();
        if (opener_open_named(opener, &error))
                status = run_child(arguments, opener, &error);
        if (status < 0)
                status = report_error(error, arguments->verb->status_failed);
        if (status != 0 || stop)
                opener_remove_made(opener);
        if (stop)
                end_by(stop);
        return status;
}

static int print(char *text) {
        (void) fputs(text, stdout);
        g_free(text);
        return 0;
}

int main(int argc, char **argv) {
        g_auto(Arguments) arguments = { 0 };
        g_autoptr(GError) error = NULL;

        (void) setlocale(LC_ALL, "");
        g_set_prgname("chv-image");
        if (!tidy_descriptors())
                return 1;
        if (argc > 1 && strcmp(argv[1], "__complete") == 0)
                return complete(argv + 2);
        if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
                return print(help_text(NULL));
        if (!arguments_parse(argv + 1, &arguments, &error))
                return report_error(error, arguments.verb ? arguments.verb->status_failed : 1);
        if (has(&arguments, OPTION_HELP))
                return print(help_text(arguments.verb));
        if (g_strcmp0(arguments.values[OPTION_OPTIONS], "help") == 0)
                return print_options_help(&arguments);
        return run(&arguments);
}
