/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * chvd: the service. Connects to its bus, exports the object tree, takes the name and says that it is ready, in that
 * order, so that nobody sees half of it. VMs that run are found again before anybody sees anything. Ends when told to, when the name is taken over, or when the bus goes: VMs go
 * on, for the next chvd to find, or are powered off first if the signal was SIGINT; a second signal makes that quick.
 *
 * Who has the lock of the runtime folder has the VMs. One that replaces another takes the name first and then waits for
 * the lock, which the other gives up when it has let go of its VMs.
 */

#include "config.h"

#include <glib-unix.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "daemon/chvd/arguments.h"
#include "daemon/chvd/authority.h"
#include "daemon/chvd/cgroup.h"
#include "daemon/chvd/conf.h"
#include "daemon/chvd/context.h"
#include "daemon/chvd/definition.h"
#include "daemon/chvd/idle.h"
#include "daemon/chvd/inbox.h"
#include "daemon/chvd/log.h"
#include "daemon/chvd/machines.h"
#include "daemon/chvd/manager.h"
#include "daemon/chvd/notify.h"
#include "daemon/chvd/peers.h"
#include "daemon/chvd/quota.h"
#include "daemon/chvd/runtime.h"
#include "daemon/chvd/shutdown.h"
#include "daemon/chvd/store-queue.h"
#include "daemon/chvd/units.h"
#include "daemon/chvd/vm-run.h"
#include "dbus/error.h"
#include "dbus/fd.h"

#define LOCK_MS 20
#define LOCK_PATIENCE_MS 20000 /* with one that hangs */

typedef struct {
        GMainLoop *loop;
        GDBusConnection *bus;
        ChvdContext context;
        ChvdStore *store;
        ChvdManager *manager;
        ChvdNotify *notify;
        ChvdShutdown *shutdown; /* NULL: not ours to see to */
        ChvdIdle *idle;         /* NULL: not begun */
        uint64_t idle_exit_ms;  /* of the command line */
        bool activated;         /* somebody starts us again when we are needed */
        bool owned;             /* the name is ours, as far as the bus has said */
        unsigned other_watch;   /* 0: we do not wait for another chvd to end */
        ChvdPeers *peers;
        int listener;            /* -1: none, or the peers' */
        const char *socket_path; /* NULL: not ours to remove */
        ChvdConf conf;
        const char *config_dir;
        const char *runtime_dir;
        int lock; /* of the runtime folder; -1: not ours, or there is none */
        unsigned lock_timer, lock_tries;
        bool replaces, loading, loaded, begun, interrupted;
        GBusNameOwnerFlags flags;
        unsigned owner_id;
        bool stopping;
        int status;
} Program;

static void on_stopped(gpointer data) {
        Program *program = data;

        g_main_loop_quit(program->loop);
}

static void stop(Program *program, int status) {
        bool again = program->stopping;

        program->stopping = true;
        program->status = MAX(program->status, status);
        g_clear_pointer(&program->idle, chvd_idle_free);
        chvd_notify_stopping(program->notify);
        chvd_manager_stop(
                        program->manager, again ? 0 : CHVD_QUIT_GRACE_S * 1000, on_stopped,
                        program);
}

static gboolean on_interrupt(gpointer data) {
        Program *program = data;

        /* What runs is not all known yet. */
        if (program->loading && !program->loaded && !program->interrupted)
                program->interrupted = true;
        else
                stop(program, EXIT_SUCCESS);
        return G_SOURCE_CONTINUE;
}

static void leave(Program *program, int status) {
        program->status = MAX(program->status, status);
        if (program->stopping) {
                on_stopped(program);
                return;
        }
        program->stopping = true;
        g_clear_pointer(&program->idle, chvd_idle_free);
        chvd_notify_stopping(program->notify);
        chvd_manager_leave(program->manager, on_stopped, program);
}

static gboolean on_terminate(gpointer data) {
        leave(data, EXIT_SUCCESS);
        return G_SOURCE_CONTINUE;
}

/* Who started it by hand expects it to stay; and nobody would start it for a client of its own socket. */
static uint64_t idle_time(const Program *program) {
        if (program->idle_exit_ms != CHVD_CONF_UNSET)
                return program->idle_exit_ms;
        if (program->conf.idle_exit_ms != CHVD_CONF_UNSET)
                return program->conf.idle_exit_ms;
        return program->activated && !program->socket_path ? CHVD_IDLE_DEFAULT_MS : CHVD_IDLE_NEVER;
}

/* Virtual machines that run are kept, even beyond a new limit. */
static void load_configuration(Program *program) {
        g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);

        chvd_conf_read(&program->conf, program->config_dir, warnings);
        for (unsigned i = 0; i < warnings->len; i++)
                chvd_log(CHVD_LOG_CONFIGURATION, /* vm= */ NULL, /* uuid= */ NULL, "%s",
                         (const char *) g_ptr_array_index(warnings, i));
        chvd_quota_set_limits(program->context.quota, program->conf.limits);
        chvd_machines_set_enabled(program->context.machines, program->conf.machined);
        if (program->idle)
                chvd_idle_set_time(program->idle, idle_time(program));
}

static gboolean on_hangup(gpointer data) {
        Program *program = data;

        if (program->stopping)
                return G_SOURCE_CONTINUE;
        if (program->begun)
                chvd_notify_reloading(program->notify);
        load_configuration(program);
        chvd_log(CHVD_LOG_RELOADED, /* vm= */ NULL, /* uuid= */ NULL,
                 "the configuration has been read anew");
        if (program->begun)
                chvd_notify_ready(program->notify);
        return G_SOURCE_CONTINUE;
}

static void on_changed(gpointer data) {
        Program *program = data;
        unsigned running, defined = chvd_manager_count(program->manager, &running);

        chvd_notify_status(program->notify, defined, running);
        chvd_idle_touch(program->idle);
        if (program->shutdown)
                chvd_shutdown_update(program->shutdown, running);
}

static void on_name_acquired(GDBusConnection *bus, const char *name, gpointer data);

static void on_name_lost(GDBusConnection *bus, const char *name, gpointer data) {
        Program *program = data;

        /* Nothing is left to be given back. */
        program->owner_id = 0;
        if (program->stopping)
                return;
        g_message("%s is not ours%s", name,
                  bus ? ": another chvd has it, or the policy of the bus forbids it"
                      : ": the bus is gone");
        leave(program, EXIT_FAILURE);
}

static void own_name(Program *program) {
        program->owner_id = g_bus_own_name_on_connection(
                        program->bus, CHVD_BUS_NAME, program->flags, on_name_acquired, on_name_lost,
                        program,
                        /* user_data_free_func= */ NULL);
}

static void serve_socket(Program *program) {
        g_autoptr(GError) error = NULL;

        if (program->listener < 0)
                return;
        program->peers =
                        chvd_peers_new(&program->context, chv_fd_steal(&program->listener), &error);
        if (!program->peers)
                g_message("the socket is not served: %s", error->message);
}

static ChvdNeed idle_need(gpointer data) {
        const Program *program = data;

        if ((program->bus && !program->owned) ||
            (program->peers && chvd_peers_count(program->peers) > 0) ||
            (program->shutdown && chvd_shutdown_is_busy(program->shutdown)))
                return CHVD_NEED_THIS;
        return chvd_manager_need(program->manager);
}

static void idle_shut(gpointer data) {
        Program *program = data;

        if (program->peers)
                chvd_peers_shut(program->peers);
}

/* GLib waits for the bus' answer, and dispatches nothing meanwhile, which is what is needed here. There is no work that could be held up. */
static void idle_release(gpointer data) {
        Program *program = data;

        if (program->owner_id)
                g_bus_unown_name(program->owner_id);
        program->owner_id = 0;
        program->owned = false;
}

static void idle_retake(gpointer data) {
        Program *program = data;

        if (program->bus)
                own_name(program);
}

static void idle_end(gpointer data, int status) {
        leave(data, status);
}

static const ChvdIdleOps idle_ops = {
        .need = idle_need,
        .shut = idle_shut,
        .release = idle_release,
        .retake = idle_retake,
        .end = idle_end,
};

static void on_client_left(gpointer data) {
        Program *program = data;

        chvd_idle_touch(program->idle);
}

static void begin_idling(Program *program) {
        program->idle = chvd_idle_new(&idle_ops, program, program->notify);
        if (program->peers)
                chvd_peers_on_left(program->peers, on_client_left, program);
        chvd_idle_set_time(program->idle, idle_time(program));
}

static void begin(Program *program) {
        program->begun = true;
        serve_socket(program);
        chvd_manager_begin(program->manager);
        chvd_notify_ready(program->notify);
        begin_idling(program);
}

static void on_loaded(gpointer data) {
        Program *program = data;

        if (program->stopping)
                return;
        program->loaded = true;
        if (program->interrupted)
                return stop(program, EXIT_SUCCESS);
        if (program->bus)
                g_dbus_object_manager_server_set_connection(program->context.objects, program->bus);
        if (program->replaces || !program->bus)
                begin(program);
        else
                own_name(program);
}

static void load(Program *program) {
        program->loading = true;
        chvd_manager_load(program->manager, on_loaded, program);
}

/* The one before us has found that it is needed: who called is its client. */
static void on_other(GDBusConnection *bus, const char *name, const char *owner, gpointer data) {
        Program *program = data;

        g_message("another chvd has %s", name);
        g_clear_handle_id(&program->other_watch, g_bus_unwatch_name);
        leave(program, EXIT_FAILURE);
}

/* The one before lets go of its VMs first. */
static gboolean on_lock_time(gpointer data) {
        Program *program = data;
        g_autoptr(GError) error = NULL;

        program->lock = chvd_runtime_lock(program->runtime_dir, &error);
        if (program->lock < 0 && g_error_matches(error, CHV_ERROR, CHV_ERROR_BUSY) &&
            ++program->lock_tries * LOCK_MS < LOCK_PATIENCE_MS && !program->stopping)
                return G_SOURCE_CONTINUE;
        if (program->lock < 0)
                g_message("%s", error->message);
        program->lock_timer = 0;
        if (program->lock < 0 && program->other_watch)
                leave(program, EXIT_FAILURE);
        g_clear_handle_id(&program->other_watch, g_bus_unwatch_name);
        if (!program->stopping)
                load(program);
        return G_SOURCE_REMOVE;
}

static void on_name_acquired(GDBusConnection *bus, const char *name, gpointer data) {
        Program *program = data;

        g_debug("own %s", name);
        program->owned = true;
        if (program->loaded && !program->begun)
                begin(program);
        else if (!program->loaded && !program->lock_timer)
                program->lock_timer = g_timeout_add(LOCK_MS, on_lock_time, program);
}

/* Programs that the bus has started may hand the variable on to a terminal of theirs. */
static bool by_bus(void) {
        return g_getenv("DBUS_STARTER_ADDRESS") && !isatty(STDIN_FILENO);
}

/* Who starts it by hand wants to hear at once that there is another one. Some buses have systemd start services, each in a unit of its own. */
static bool may_wait(const Program *program) {
        return program->bus && (g_getenv("DBUS_STARTER_ADDRESS") || g_getenv("INVOCATION_ID"));
}

/* A bus that starts services itself does so as soon as the name has no owner, which is before the one before us has ended. */
static void wait_for_other(Program *program) {
        program->other_watch = g_bus_watch_name_on_connection(
                        program->bus, CHVD_BUS_NAME, G_BUS_NAME_WATCHER_FLAGS_NONE, on_other,
                        /* name_vanished_handler= */ NULL, program,
                        /* user_data_free_func= */ NULL);
        program->lock_timer = g_timeout_add(LOCK_MS, on_lock_time, program);
}

static GDBusConnection *connect_to_bus(const ChvdArguments *arguments, GError **error) {
        g_autofree char *address = g_strdup(arguments->address);

        if (!arguments->session) {
                /* polkit's library knows only the system bus, and a caller's name means something on its own bus alone:
                 * the bus that is served is the system bus, wherever it is. */
                if (address)
                        (void) g_setenv("DBUS_SYSTEM_BUS_ADDRESS", address, /* overwrite= */ true);
                return g_bus_get_sync(G_BUS_TYPE_SYSTEM, /* cancellable= */ NULL, error);
        }
        if (!address)
                address = g_dbus_address_get_for_bus_sync(
                                G_BUS_TYPE_SESSION, /* cancellable= */ NULL, error);
        if (!address)
                return NULL;
        return g_dbus_connection_new_for_address_sync(
                        address,
                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                        G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
                        /* observer= */ NULL,
                        /* cancellable= */ NULL, error);
}

/* A socket for clients without a bus: systemd's, or one of ours. That there can't be one is no reason not to serve the bus. */
static void find_socket(Program *program, const ChvdArguments *arguments) {
        g_autoptr(GError) error = NULL;

        if (sd_listen_fds(/* unset_environment= */ true) > 0) {
                program->listener = SD_LISTEN_FDS_START;
                program->activated = true;
                return;
        }
        if (!arguments->socket)
                return;
        program->listener = chvd_peers_listen(arguments->socket, &error);
        if (program->listener < 0)
                g_message("the socket is not served: %s", error->message);
        else
                program->socket_path = arguments->socket;
}

static bool find_clients(Program *program, const ChvdArguments *arguments, GError **error) {
        g_autoptr(GError) reason = NULL;

        find_socket(program, arguments);
        program->bus = connect_to_bus(arguments, &reason);
        if (!program->bus && program->listener < 0) {
                g_propagate_prefixed_error(
                                error, g_steal_pointer(&reason), "connecting to the bus: ");
                return false;
        }
        if (program->bus)
                g_dbus_connection_set_exit_on_close(program->bus, false);
        else
                g_message("only the socket is served, as the bus can't be reached: %s",
                          reason->message);
        return true;
}

static bool set_up(Program *program, const ChvdArguments *arguments, GError **error) {
        g_autoptr(GError) unlocked = NULL;
        bool waits;

        program->activated = by_bus() || chvd_notify_has_manager(program->notify);
        program->idle_exit_ms = arguments->idle_exit_ms;
        if (!find_clients(program, arguments, error))
                return false;
        program->runtime_dir = arguments->runtime_dir;
        program->replaces = arguments->replace && program->bus;
        program->flags = G_BUS_NAME_OWNER_FLAGS_ALLOW_REPLACEMENT |
                         G_BUS_NAME_OWNER_FLAGS_DO_NOT_QUEUE |
                         (arguments->replace ? G_BUS_NAME_OWNER_FLAGS_REPLACE : 0);
        if (!program->replaces)
                program->lock = chvd_runtime_lock(program->runtime_dir, &unlocked);
        waits = g_error_matches(unlocked, CHV_ERROR, CHV_ERROR_BUSY);
        if (waits && !may_wait(program)) {
                g_propagate_error(error, g_steal_pointer(&unlocked));
                return false;
        }
        if (unlocked && !waits)
                g_message("no VM can be started: %s", unlocked->message);
        if (program->bus)
                chvd_inbox_attach(program->bus);
        program->context = (ChvdContext){
                .session = arguments->session,
                .worker_path = arguments->worker,
                .seccomp = arguments->seccomp,
                .runtime_dir = arguments->runtime_dir,
                .opener_path = g_getenv("CHV_OPENER") ?: CHV_LIBEXECDIR "/chv-open",
                .kvm_path = arguments->kvm,
                .objects = g_dbus_object_manager_server_new(CHVD_PATH),
                .quota = chvd_quota_new(),
        };
        if (arguments->session)
                chvd_definition_set_session();
        /* The user of a session is one like any other, whatever the uid. */
        if (!arguments->session)
                chvd_quota_exempt_root(program->context.quota);
        /* That of a user is none of the host's machines. */
        if (!arguments->session && program->bus)
                program->context.machines = chvd_machines_new(program->bus);
        program->config_dir = arguments->config_dir;
        load_configuration(program);
        /* Before anything starts a VM, so that it is known by then. */
        if (program->bus)
                program->context.units = chvd_units_new(program->bus, arguments->units_mode);
        program->context.cgroups = chvd_cgroups_new();
        program->context.authority = chvd_authority_new(arguments->session, program->context.quota);
        program->store = chvd_store_new(arguments->state_dir, &chvd_store_files);
        program->context.store = chvd_store_queue_new(program->store);
        program->manager = chvd_manager_new(&program->context);
        if (!arguments->session && program->bus) {
                g_autofree char *record =
                                g_build_filename(arguments->state_dir, "running-at-shutdown", NULL);

                program->shutdown = chvd_shutdown_new(program->bus, program->manager, record);
        }
        chvd_manager_watch(program->manager, on_changed, program);
        if (program->replaces)
                own_name(program);
        else if (waits)
                wait_for_other(program);
        else
                load(program);
        return true;
}

static void tear_down(Program *program) {
        if (program->owner_id)
                g_bus_unown_name(program->owner_id);
        g_clear_handle_id(&program->lock_timer, g_source_remove);
        g_clear_handle_id(&program->other_watch, g_bus_unwatch_name);
        chvd_idle_free(program->idle);
        chvd_shutdown_free(program->shutdown);
        chvd_peers_free(program->peers);
        chv_fd_closep(&program->listener);
        if (program->socket_path)
                (void) unlink(program->socket_path);
        chvd_manager_free(program->manager);
        g_clear_object(&program->context.objects);
        chvd_authority_free(program->context.authority);
        chvd_quota_free(program->context.quota);
        chvd_store_queue_free(program->context.store);
        chvd_store_free(program->store);
        chvd_machines_free(program->context.machines);
        chvd_cgroups_free(program->context.cgroups);
        chvd_units_free(program->context.units);
        if (program->bus && !g_dbus_connection_is_closed(program->bus))
                (void) g_dbus_connection_flush_sync(
                                program->bus, /* cancellable= */ NULL, /* error= */ NULL);
        g_clear_object(&program->bus);
        chvd_notify_free(program->notify);
        g_clear_pointer(&program->loop, g_main_loop_unref);
        /* Who waits for it finds all that we have done. */
        if (program->lock >= 0)
                (void) close(program->lock);
}

static int run(const ChvdArguments *arguments) {
        g_autoptr(GError) error = NULL;
        Program program = {
                .loop = g_main_loop_new(/* context= */ NULL, /* is_running= */ false),
                .notify = chvd_notify_new(),
                .lock = -1,
                .listener = -1,
                .status = EXIT_SUCCESS,
        };

        if (!set_up(&program, arguments, &error)) {
                g_printerr("chvd: %s\n", error->message);
                tear_down(&program);
                return EXIT_FAILURE;
        }
        (void) g_unix_signal_add(SIGHUP, on_hangup, &program);
        (void) g_unix_signal_add(SIGTERM, on_terminate, &program);
        (void) g_unix_signal_add(SIGINT, on_interrupt, &program);
        g_main_loop_run(program.loop);
        tear_down(&program);
        return program.status;
}

static void raise_limit(__rlimit_resource_t resource) {
        struct rlimit limit;

        if (getrlimit(resource, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
                limit.rlim_cur = limit.rlim_max;
                (void) setrlimit(resource, &limit);
        }
}

static void raise_limits(void) {
        /* The soft limit is for programs that use select(); a service with hundreds of VMs needs more. */
        raise_limit(RLIMIT_NOFILE);
        /* Workers that are children inherit it, and may have memory to pin. */
        raise_limit(RLIMIT_MEMLOCK);
}

int main(int argc, char **argv) {
        g_auto(ChvdArguments) arguments = { 0 };
        g_autoptr(GError) error = NULL;

        if (!chvd_arguments_parse(&arguments, argc, argv, &error)) {
                g_printerr("chvd: %s\n", error->message);
                return EXIT_FAILURE;
        }
        if (arguments.version) {
                g_print("chvd %s\n", CHV_VERSION);
                return EXIT_SUCCESS;
        }
        (void) signal(SIGPIPE, SIG_IGN);
        raise_limits();
        return run(&arguments);
}
