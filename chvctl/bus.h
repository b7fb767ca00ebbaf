/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "chvctl/chvctl.h"

#define BUS_NAME "org.cloudhypervisor.Manager"
#define ROOT_PATH "/org/cloudhypervisor"
#define MANAGER_PATH "/org/cloudhypervisor/Manager"
#define MANAGER_INTERFACE "org.cloudhypervisor.Manager"
#define VM_INTERFACE "org.cloudhypervisor.VM"
#define DEVICE_INTERFACE "org.cloudhypervisor.Device"
#define JOB_INTERFACE "org.cloudhypervisor.Job"

/* The connection to the service. It is made at the first call, so commands that turn out to need none work without. */
struct Bus {
        const Options *options;
        GDBusConnection *connection;
        GSubprocess *ssh;
};

/* Of the service in calls and signals: on its own socket nobody has a name. */
static inline const char *bus_name(GDBusConnection *connection) {
        return g_dbus_connection_get_unique_name(connection) ? BUS_NAME : NULL;
}

/* NULL: *error says which bus could not be reached and what may help. */
GDBusConnection *bus_connect(Bus *bus, GError **error);
void bus_clear(Bus *bus);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Bus, bus_clear)

/* A method call that waits for its answer, and for a person if polkit wants one. parameters is consumed; reply (NULL: any) is checked. Errors are the service's own,
 * with the remote name taken off. */
GVariant *
bus_call(Bus *bus,
         const char *path,
         const char *interface,
         const char *method,
         GVariant *parameters,
         const char *reply,
         GError **error);
/* The same with descriptors; both lists may be NULL. */
GVariant *bus_call_with_fds(
                Bus *bus,
                const char *path,
                const char *interface,
                const char *method,
                GVariant *parameters,
                const char *reply,
                GUnixFDList *fds,
                GUnixFDList **ret_fds,
                GError **error);

/* The object of a VM. */
char *bus_find_vm(Bus *bus, const char *name, GError **error);
/* The configuration of a VM: a{sv}. */
GVariant *bus_vm_config(Bus *bus, const char *path, GError **error);
/* Every object: a{oa{sa{sv}}}. */
GVariant *bus_objects(Bus *bus, GError **error);
/* A property, unboxed. */
GVariant *
bus_property(Bus *bus, const char *path, const char *interface, const char *name, GError **error);
/* All of an interface: a{sv}. */
GVariant *bus_properties(Bus *bus, const char *path, const char *interface, GError **error);

/* An empty dictionary of options. */
GVariant *no_options(void);
