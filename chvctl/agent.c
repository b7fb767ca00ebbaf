/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * polkit's text agent, as systemctl starts it: pkttyagent asks for passwords on the terminal on behalf of this
 * process, unless a better agent is there. It is started only when the service has said that an authentication would
 * help, lives as long as the one call that may ask, and dies with us.
 */

#include "chvctl/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "dbus/fd.h"

#define AGENT "pkttyagent"
#define READY_MS 10000
#define NOTIFY_FD 3

struct Agent {
        GSubprocess *process;
};

static void die_with_us(gpointer data) {
        (void) prctl(PR_SET_PDEATHSIG, SIGTERM);
}

/* It closes its end when it is registered, or when it gives up. */
static void await_ready(int fd) {
        struct pollfd ready = { .fd = fd, .events = POLLIN };

        while (poll(&ready, 1, READY_MS) < 0 && errno == EINTR)
                ;
}

Agent *agent_start(const Options *options) {
        g_autoptr(GSubprocessLauncher) launcher = NULL;
        GSubprocess *process;
        chv_autofd ours = -1;
        Agent *agent;
        int fds[2];

        /* A session's service asks nobody, and another host's polkit does not know this process. */
        if (options->user || options->host || !isatty(STDIN_FILENO) || pipe2(fds, O_CLOEXEC) < 0)
                return NULL;
        ours = fds[0];
        launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDIN_INHERIT);
        g_subprocess_launcher_take_fd(launcher, fds[1], NOTIFY_FD);
        g_subprocess_launcher_set_child_setup(launcher, die_with_us, NULL, NULL);
        process = g_subprocess_launcher_spawn(
                        launcher, /* error= */ NULL, AGENT, "--notify-fd", G_STRINGIFY(NOTIFY_FD),
                        "--fallback", NULL);
        g_subprocess_launcher_close(launcher);
        if (!process)
                return NULL;
        await_ready(ours);
        agent = g_new0(Agent, 1);
        agent->process = process;
        return agent;
}

void agent_stop(Agent *agent) {
        if (!agent)
                return;
        g_subprocess_send_signal(agent->process, SIGTERM);
        g_subprocess_send_signal(agent->process, SIGCONT);
        (void) g_subprocess_wait(agent->process, NULL, NULL);
        g_object_unref(agent->process);
        g_free(agent);
}
