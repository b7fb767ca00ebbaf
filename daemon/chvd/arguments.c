/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The command line of chvd. What it does not say comes from the environment that systemd makes, or from where the
 * project is installed.
 */

#include "config.h"

#include "daemon/chvd/arguments.h"

#include "daemon/chvd/conf.h"

static bool parse(ChvdArguments *arguments, int argc, char **argv, GError **error) {
        const GOptionEntry entries[] = {
                { "session", 0, 0, G_OPTION_ARG_NONE, &arguments->session,
                  "Serve one user on the session bus", NULL },
                { "system", 0, 0, G_OPTION_ARG_NONE, &arguments->system,
                  "Serve the system bus (default)", NULL },
                { "address", 0, 0, G_OPTION_ARG_STRING, &arguments->address,
                  "Connect to the bus at ADDRESS", "ADDRESS" },
                { "replace", 0, 0, G_OPTION_ARG_NONE, &arguments->replace,
                  "Take the name over from a running chvd", NULL },
                { "worker", 0, 0, G_OPTION_ARG_FILENAME, &arguments->worker,
                  "Run VMs with the program PATH", "PATH" },
                { "kvm", 0, 0, G_OPTION_ARG_FILENAME, &arguments->kvm,
                  "The KVM device (default /dev/kvm)", "PATH" },
                { "state-dir", 0, 0, G_OPTION_ARG_FILENAME, &arguments->state_dir,
                  "Where definitions are stored", "PATH" },
                { "socket", 0, 0, G_OPTION_ARG_FILENAME, &arguments->socket,
                  "Serve clients without a bus at the socket PATH", "PATH" },
                { "config-dir", 0, 0, G_OPTION_ARG_FILENAME, &arguments->config_dir,
                  "Where chvd.conf is looked for (folders, separated by colons)", "PATH" },
                { "runtime-dir", 0, 0, G_OPTION_ARG_FILENAME, &arguments->runtime_dir,
                  "Where running VMs are found again", "PATH" },
                { "units", 0, 0, G_OPTION_ARG_STRING, &arguments->units,
                  "Run VMs as units of systemd: yes, no or auto (default)", "WHEN" },
                { "idle-exit", 0, 0, G_OPTION_ARG_STRING, &arguments->idle_exit,
                  "End when not needed for TIME (seconds, or like 5min; infinity: never)", "TIME" },
                { "seccomp", 0, 0, G_OPTION_ARG_STRING, &arguments->seccomp,
                  "What VMs' processes do about a forbidden system call: on (die), log, errno, off",
                  "MODE" },
                { "version", 0, 0, G_OPTION_ARG_NONE, &arguments->version, "Print the version",
                  NULL },
                { NULL },
        };
        g_autoptr(GOptionContext) context = g_option_context_new("- runs virtual machines");

        g_option_context_add_main_entries(context, entries, /* translation_domain= */ NULL);
        if (!g_option_context_parse(context, &argc, &argv, error))
                return false;
        if (argc == 1 && !(arguments->session && arguments->system))
                return true;
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s",
                    argc > 1 ? "too many arguments" : "--session and --system exclude each other");
        return false;
}

static bool refuse(GError **error, const char *option, const char *value, const char *wanted) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "--%s: '%s' is %s", option,
                    value, wanted);
        return false;
}

static bool convert(ChvdArguments *arguments, GError **error) {
        static const char *const modes[] = { "on", "log", "errno", "off", NULL };

        arguments->units_mode = chvd_units_mode_from_string(arguments->units ?: "auto");
        if (arguments->units_mode == CHVD_UNITS_INVALID)
                return refuse(error, "units", arguments->units, "none of auto, yes and no");
        arguments->idle_exit_ms = CHVD_CONF_UNSET;
        if (arguments->idle_exit &&
            !chvd_conf_parse_time(arguments->idle_exit, &arguments->idle_exit_ms))
                return refuse(error, "idle-exit", arguments->idle_exit,
                              "not a time like 120 or 5min, or infinity");
        if (arguments->seccomp && !g_strv_contains(modes, arguments->seccomp))
                return refuse(error, "seccomp", arguments->seccomp,
                              "none of on, log, errno and off");
        return true;
}

/* systemd makes the folder and says where it is. */
static char *default_state_dir(bool session) {
        if (session)
                return g_build_filename(g_get_user_data_dir(), "chvd", NULL);
        return g_strdup(g_getenv("STATE_DIRECTORY") ?: CHV_LOCALSTATEDIR "/lib/chvd");
}

/* The administrator's before the distribution's. */
static char *default_config_dir(bool session) {
        if (session)
                return g_build_filename(g_get_user_config_dir(), "chvd", NULL);
        return g_strdup(CHV_SYSCONFDIR "/chvd:" CHV_PREFIX "/lib/chvd");
}

static char *default_runtime_dir(bool session) {
        if (session)
                return g_build_filename(g_get_user_runtime_dir(), "chvd", NULL);
        return g_strdup(g_getenv("RUNTIME_DIRECTORY") ?: "/run/chvd");
}

static void complete(ChvdArguments *arguments) {
        if (!arguments->worker)
                arguments->worker = g_strdup(g_getenv("CHV_WORKER") ?: CHV_LIBEXECDIR "/chv-vmm");
        if (!arguments->kvm)
                arguments->kvm = g_strdup("/dev/kvm");
        if (!arguments->state_dir)
                arguments->state_dir = default_state_dir(arguments->session);
        if (!arguments->config_dir)
                arguments->config_dir = default_config_dir(arguments->session);
        if (!arguments->runtime_dir)
                arguments->runtime_dir = default_runtime_dir(arguments->session);
}

bool chvd_arguments_parse(ChvdArguments *arguments, int argc, char **argv, GError **error) {
        if (!parse(arguments, argc, argv, error) || !convert(arguments, error))
                return false;
        complete(arguments);
        return true;
}

void chvd_arguments_clear(ChvdArguments *arguments) {
        g_free(arguments->address);
        g_free(arguments->socket);
        g_free(arguments->worker);
        g_free(arguments->kvm);
        g_free(arguments->state_dir);
        g_free(arguments->runtime_dir);
        g_free(arguments->config_dir);
        g_free(arguments->seccomp);
        g_free(arguments->units);
        g_free(arguments->idle_exit);
}
