/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <stdbool.h>

#include "dbus/error.h"

/* A private bus with a chvd of its own, and a client on it. Everything is synchronous for the test; signals are collected while the main
 * loop runs. Environment, from the build: CHVD, CHV_STAND_IN, and for guests CHV_VMM. */
typedef struct {
        GSubprocess *bus_daemon, *chvd;
        char **arguments; /* of chvd, for another start */
        char *address;
        GDBusConnection *bus;
        guint subscription;
        GPtrArray *signals; /* char *: "PATH INTERFACE.NAME ARGS", of chvd's objects */
        char *dir;          /* a scratch folder */
        char *worker; /* a link in it to the program, so that its workers can be told from others */
        GSubprocess *guard; /* ends workers when the test has died */
        char *state_dir;    /* where definitions are stored */
        char *runtime_dir;  /* where runs are found again */
        char *kernel;       /* a file in it */
} Service;

/* extra: more arguments for chvd, NULL-terminated; NULL: none. The worker is the stand-in unless extra says otherwise. */
Service *service_start(const char *const *extra);
/* Ends all of it, and fails the test when chvd did not end well. */
void service_stop(Service *service);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Service, service_stop)

/* kill -9, as it is when the power goes; waits until the bus has noticed. */
void service_kill(Service *service);
/* Ends chvd with the signal, unless it has been killed, and starts it again with the same arguments. */
void service_restart(Service *service, int sig);

/* How many workers of this service there are, whoever their parent is. */
unsigned service_count_workers(Service *service);

/* As if the host had been booted since: what starts with it starts with the service again. */
void service_forget_boot(Service *service);

/* Another client. */
GDBusConnection *service_connect(Service *service);
/* One that is somebody else; root only. NULL: the bus does not want him. */
GDBusConnection *service_connect_as(Service *service, uid_t uid);
pid_t service_pid(Service *service);
/* chvd has ended; its wait status. */
int service_wait(Service *service);

#define MANAGER_PATH "/org/cloudhypervisor/Manager"
#define MANAGER "org.cloudhypervisor.Manager"
#define VM "org.cloudhypervisor.VM"
#define DEVICE "org.cloudhypervisor.Device"
#define JOB "org.cloudhypervisor.Job"

/* One call; the main loop runs meanwhile. params and config are consumed if floating. */
GVariant *
service_call(Service *service,
             const char *path,
             const char *interface,
             const char *method,
             GVariant *params,
             GError **error);
/* The same over any connection, with descriptors (NULL: none) and flags. */
GVariant *
service_call_as(GDBusConnection *bus,
                GDBusCallFlags flags,
                const char *path,
                const char *interface,
                const char *method,
                GVariant *params,
                GUnixFDList *list,
                GError **error);
/* With options only, on a VM; Start, PowerOff and Reboot are waited for. */
GVariant *
vm_try(Service *service, const char *vm, const char *method, const char *options, GError **error);
/* Must succeed. */
GVariant *vm_call(Service *service, const char *vm, const char *method, const char *options);
/* Must fail so. */
void vm_call_fails(
                Service *service,
                const char *vm,
                const char *method,
                const char *options,
                int code);

/* A configuration whose guest is told `words` (stand-in.c); more: sections as text, or NULL. */
GVariant *service_config(Service *service, const char *words, const char *more);
/* Creates a VM; returns its path. */
char *vm_create(Service *service, const char *name, const char *words, const char *more);
char *
vm_create_full(Service *service,
               const char *name,
               GVariant *config,
               GVariant *fds,
               GUnixFDList *list,
               const char *options,
               GError **error);
/* Creates and starts. */
char *vm_run(Service *service, const char *name, const char *words, const char *more);

/* Property of a VM, as text without quotes. */
char *vm_get(Service *service, const char *vm, const char *property);
/* What a method of a VM without arguments but options returns, as text; fails if that fails. */
char *vm_ask(Service *service, const char *vm, const char *method);
/* Waits for the state; fails after some seconds. */
void vm_await(Service *service, const char *vm, const char *state);
bool vm_exists(Service *service, const char *vm);

/* A signal that contains text was received (or comes within some seconds). */
void service_await_signal(Service *service, const char *text);
bool service_has_signal(Service *service, const char *text);
/* Position of the first such signal; fails if there is none. */
unsigned service_signal_index(Service *service, const char *text);
void service_forget_signals(Service *service);

/* Runs the main loop for a while, for what must not happen. */
void service_linger(unsigned ms);

#define assert_chv_error(error, code) g_assert_error(error, CHV_ERROR, code)
/* Both: the code, and that the sentence names the option. */
void assert_names(const GError *error, int code, const char *what);
