/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands about one device of a virtual machine that runs, which its id names: update.
 */

#include <string.h>

#include "chvctl/arguments.h"
#include "chvctl/bus.h"
#include "chvctl/fail.h"
#include "dbus/config.h"
#include "dbus/error.h"

/* The object of the device; NULL: *error says that there is none. */
static char *find_device(Bus *bus, const char *name, const char *id, GError **error) {
        g_autofree char *vm = bus_find_vm(bus, name, error);
        g_autoptr(GVariant) objects = vm ? bus_objects(bus, error) : NULL;
        const char *path;
        GVariant *interfaces;
        GVariantIter iter;

        if (!objects)
                return NULL;
        g_variant_iter_init(&iter, objects);
        while (g_variant_iter_next(&iter, "{&o@a{sa{sv}}}", &path, &interfaces)) {
                g_autoptr(GVariant) owned = interfaces;
                g_autoptr(GVariant) device = g_variant_lookup_value(owned, DEVICE_INTERFACE, NULL);
                const char *owner = "", *its_id = "";

                if (!device)
                        continue;
                (void) g_variant_lookup(device, "VM", "&o", &owner);
                (void) g_variant_lookup(device, "ID", "&s", &its_id);
                if (g_str_equal(owner, vm) && g_str_equal(its_id, id))
                        return g_strdup(path);
        }
        g_set_error(error, CHV_ERROR, CHV_ERROR_NO_SUCH_DEVICE,
                    "there is no device '%s', or the machine is off", id);
        return NULL;
}

ExitStatus cmd_update(Options *options, Bus *bus) {
        g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);
        g_autoptr(GVariant) changes = NULL, reply = NULL;
        g_autofree char *path = NULL;
        g_autoptr(GError) error = NULL;

        for (guint i = 2; i < options->arguments->len; i++)
                if (!chv_config_add_change(&dict, argument(options, i), &error))
                        return fail(options, NULL, error);
        changes = g_variant_ref_sink(g_variant_dict_end(&dict));
        path = find_device(bus, argument(options, 0), argument(options, 1), &error);
        if (path)
                reply = bus_call(
                                bus, path, DEVICE_INTERFACE, "Update",
                                g_variant_new("(@a{sv}a{sv})", changes, NULL), "()", &error);
        return reply ? EXIT_OK : fail(options, argument(options, 0), error);
}
