/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands about what the service does with a virtual machine of its own accord and what it may have of the host:
 * autostart, crash-policy and limits. With a name alone each shows what is; with more it changes that, all in one call,
 * so that everything is changed or nothing. What limits there are and what they may be is in dbus/limit.c.
 */

#include <stdio.h>
#include <string.h>

#include "chvctl/arguments.h"
#include "chvctl/bus.h"
#include "chvctl/fail.h"
#include "chvctl/output.h"
#include "dbus/error.h"
#include "dbus/limit.h"

/* The properties of the VM that the command names: a{sv}. NULL: *ret_status, and the user has been told. */
static GVariant *look(Options *options, Bus *bus, ExitStatus *ret_status) {
        const char *name = argument(options, 0);
        g_autoptr(GError) error = NULL;
        g_autofree char *path = bus_find_vm(bus, name, &error);
        GVariant *properties = path ? bus_properties(bus, path, VM_INTERFACE, &error) : NULL;

        if (!properties)
                *ret_status = fail(options, name, error);
        return properties;
}

/* A property and what it is called in JSON. */
typedef struct {
        const char *property, *key;
} Shown;

static char *plain(GVariant *value) {
        if (g_variant_is_of_type(value, G_VARIANT_TYPE_BOOLEAN))
                return g_strdup(g_variant_get_boolean(value) ? "on" : "off");
        if (g_variant_is_of_type(value, G_VARIANT_TYPE_STRING))
                return g_variant_dup_string(value, NULL);
        return g_variant_print(value, /* type_annotate= */ false);
}

static ExitStatus show(Options *options, Bus *bus, const Shown *shown) {
        ExitStatus status = EXIT_OK;
        g_autoptr(GVariant) properties = look(options, bus, &status), whole = NULL;
        g_auto(GVariantBuilder) dict = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE_VARDICT);

        if (!properties)
                return status;
        g_variant_builder_add_parsed(&dict, "{'name', <%s>}", argument(options, 0));
        for (; shown->property; shown++) {
                g_autoptr(GVariant) value =
                                g_variant_lookup_value(properties, shown->property, NULL);
                g_autofree char *text = NULL;

                if (!value)
                        continue;
                g_variant_builder_add(&dict, "{sv}", shown->key, value);
                if (options->json != JSON_OFF)
                        continue;
                text = plain(value);
                printf("%s: %s\n", shown->property, text);
        }
        whole = g_variant_ref_sink(g_variant_builder_end(&dict));
        if (options->json != JSON_OFF)
                output_json(options, whole);
        return EXIT_OK;
}

static ExitStatus set(Options *options, Bus *bus, GVariantDict *dict) {
        const char *name = argument(options, 0);
        g_autoptr(GVariant) changes = g_variant_ref_sink(g_variant_dict_end(dict));
        g_autoptr(GVariant) reply = NULL;
        g_autoptr(GError) error = NULL;
        g_autofree char *path = bus_find_vm(bus, name, &error);

        if (path)
                reply =
                                bus_call(bus, path, VM_INTERFACE, "SetOptions",
                                         g_variant_new("(@a{sv})", changes), "()", &error);
        return reply ? EXIT_OK : fail(options, name, error);
}

ExitStatus cmd_autostart(Options *options, Bus *bus) {
        static const Shown shown[] = {
                { "Autostart", "autostart" },
                { "AutostartOrder", "order" },
                { "AutostartDelay", "delay" },
                { NULL, NULL },
        };
        g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);
        const char *to = argument(options, 1);

        if (to && !g_str_equal(to, "on") && !g_str_equal(to, "off")) {
                g_printerr("chvctl: '%s' is neither on nor off\n", to);
                return EXIT_USAGE;
        }
        if (to)
                g_variant_dict_insert(&dict, "autostart", "b", (gboolean) g_str_equal(to, "on"));
        if (options->has_order)
                g_variant_dict_insert(&dict, "autostart-order", "u", (guint32) options->order);
        if (options->has_delay)
                g_variant_dict_insert(&dict, "autostart-delay", "u", (guint32) options->delay);
        if (to || options->has_order || options->has_delay)
                return set(options, bus, &dict);
        return show(options, bus, shown);
}

ExitStatus cmd_crash_policy(Options *options, Bus *bus) {
        static const Shown shown[] = { { "CrashPolicy", "crash_policy" }, { NULL, NULL } };
        g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);
        const char *to = argument(options, 1);

        if (!to)
                return show(options, bus, shown);
        g_variant_dict_insert(&dict, "crash-policy", "s", to);
        return set(options, bus, &dict);
}

/* "KEY=VALUE" into the changes. */
static bool add_setting(GVariantDict *dict, const char *setting, GError **error) {
        const char *equals = strchr(setting, '=');
        g_autofree char *key = g_strndup(setting, strcspn(setting, "="));
        const ChvLimit *limit = chv_limit_find(key);
        GVariant *value;

        if (!equals)
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG, "'%s' is not KEY=VALUE",
                            setting);
        else if (!limit)
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                            "there is no limit '%s'; see chvctl help limits", key);
        else if (g_variant_dict_contains(dict, key))
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG, "%s is given twice", key);
        else {
                value = chv_limit_parse(limit, equals + 1, error);
                if (value)
                        g_variant_dict_insert_value(dict, key, value);
                return value != NULL;
        }
        return false;
}

/* False: the service does not know it. */
static bool limit_value(GVariant *properties, const ChvLimit *limit, guint64 *ret) {
        guint32 number;

        if (g_variant_lookup(properties, limit->property, "t", ret))
                return true;
        if (!g_variant_lookup(properties, limit->property, "u", &number))
                return false;
        *ret = number;
        return true;
}

static bool is_memory_auto(GVariant *properties) {
        gboolean is_auto = FALSE;

        (void) g_variant_lookup(properties, "MemoryMaxAuto", "b", &is_auto);
        return is_auto;
}

static void limits_table(const Options *options, GVariant *properties) {
        static const char *const heads[] = { "LIMIT", "VALUE", "DEFAULT", "WHAT", NULL };
        g_autoptr(Table) table = table_new(heads);
        const char *unit = "";
        gboolean in_force = false;
        guint32 pid = 0;

        for (unsigned i = 0; i < CHV_LIMIT_MAX; i++) {
                const ChvLimit *limit = chv_limit((ChvLimitId) i);
                guint64 value;
                g_autofree char *text = NULL;

                if (!limit_value(properties, limit, &value))
                        continue;
                text = chv_limit_format(limit, value);
                table_add(table, g_strdup(limit->key),
                          i == CHV_LIMIT_MEMORY_MAX && is_memory_auto(properties)
                                          ? g_strdup_printf("auto (%s)", text)
                                          : g_steal_pointer(&text),
                          chv_limit_format(limit, limit->fallback), g_strdup(limit->doc));
        }
        table_print(table, options);
        if (options->no_legend)
                return;
        (void) g_variant_lookup(properties, "Unit", "&s", &unit);
        (void) g_variant_lookup(properties, "LimitsInForce", "b", &in_force);
        (void) g_variant_lookup(properties, "WorkerPID", "u", &pid);
        if (unit[0]) {
                g_autofree char *safe = format_safe(unit);

                printf("\nIn force for %s.\n", safe);
        } else if (in_force)
                puts("\nIn force.");
        else
                puts(pid ? "\nNot in force: its process is no unit of systemd and has no control "
                           "group."
                         : "\nIn force when it runs as a unit of systemd or in a control group.");
}

/* As they can be set; there is no number for what is unbounded. */
static GVariant *limits_dict(const char *name, GVariant *properties) {
        g_auto(GVariantBuilder) dict = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE_VARDICT);
        g_auto(GVariantBuilder) limits = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE_VARDICT);
        const char *unit = "";

        for (unsigned i = 0; i < CHV_LIMIT_MAX; i++) {
                const ChvLimit *limit = chv_limit((ChvLimitId) i);
                guint64 value;

                if (!limit_value(properties, limit, &value))
                        continue;
                g_variant_builder_add(
                                &limits, "{sv}", limit->key,
                                chv_limit_is_infinite(limit, value)
                                                ? g_variant_new_string("infinity")
                                                : g_variant_new_uint64(value));
        }
        (void) g_variant_lookup(properties, "Unit", "&s", &unit);
        g_variant_builder_add_parsed(&dict, "{'name', <%s>}", name);
        g_variant_builder_add_parsed(&dict, "{'unit', <%s>}", unit);
        g_variant_builder_add_parsed(
                        &dict, "{'memory_max_auto', <%b>}", (gboolean) is_memory_auto(properties));
        g_variant_builder_add(&dict, "{sv}", "limits", g_variant_builder_end(&limits));
        return g_variant_builder_end(&dict);
}

ExitStatus cmd_limits(Options *options, Bus *bus) {
        g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);
        g_autoptr(GVariant) properties = NULL;
        ExitStatus status = EXIT_OK;

        for (guint i = 1; i < options->arguments->len; i++) {
                g_autoptr(GError) error = NULL;

                if (!add_setting(&dict, argument(options, i), &error))
                        return fail(options, NULL, error);
        }
        if (options->arguments->len > 1)
                return set(options, bus, &dict);
        properties = look(options, bus, &status);
        if (properties && options->json == JSON_OFF)
                limits_table(options, properties);
        else if (properties) {
                g_autoptr(GVariant) whole =
                                g_variant_ref_sink(limits_dict(argument(options, 0), properties));

                output_json(options, whole);
        }
        return status;
}
