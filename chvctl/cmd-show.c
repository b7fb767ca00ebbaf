/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What there is: list, info and counters. One call to the object manager gives every object with its properties at
 * one moment, and the list asks nothing else. What is not for everybody, info asks for VM by VM, and says what it was
 * not given.
 */

#include <stdio.h>
#include <string.h>

#include "chvctl/arguments.h"
#include "chvctl/bus.h"
#include "chvctl/fail.h"
#include "chvctl/output.h"
#include "dbus/config.h"

typedef struct {
        const char *path;     /* borrowed from the objects */
        GVariant *properties; /* a{sv} */
        const char *name, *state, *reason, *uuid;
        guint32 owner, pid;
        guint32 vcpus;
        guint64 memory, memory_size, started;
        gboolean transient;
} Vm;

/* What only the owner and who is authorised may know of a VM. */
typedef struct {
        GVariant *dict; /* a{sv}; NULL: hidden */
        ChvConfig *config;
        GVariant *consoles; /* a{ss} */
        GError *reason;     /* why it is hidden */
} Inside;

static void inside_clear(Inside *inside) {
        g_clear_pointer(&inside->dict, g_variant_unref);
        g_clear_pointer(&inside->config, chv_config_free);
        g_clear_pointer(&inside->consoles, g_variant_unref);
        g_clear_error(&inside->reason);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Inside, inside_clear)

static Inside look_inside(Bus *bus, const char *path) {
        g_autoptr(GVariant) consoles = NULL;
        Inside inside = { 0 };

        inside.dict = bus_vm_config(bus, path, &inside.reason);
        if (!inside.dict)
                return inside;
        inside.config = chv_config_from_variant(inside.dict, NULL);
        consoles = bus_call(
                        bus, path, VM_INTERFACE, "GetConsolePaths",
                        g_variant_new("(@a{sv})", no_options()), "(a{ss})", &inside.reason);
        if (consoles)
                inside.consoles = g_variant_get_child_value(consoles, 0);
        return inside;
}

static void vm_free(gpointer data) {
        Vm *vm = data;

        g_variant_unref(vm->properties);
        g_free(vm);
}

static Vm *vm_new(const char *path, GVariant *properties) {
        Vm *vm = g_new0(Vm, 1);

        vm->path = path;
        vm->properties = g_variant_ref(properties);
        vm->name = vm->state = vm->reason = vm->uuid = "";
        g_variant_lookup(properties, "Name", "&s", &vm->name);
        g_variant_lookup(properties, "State", "&s", &vm->state);
        g_variant_lookup(properties, "StateReason", "&s", &vm->reason);
        g_variant_lookup(properties, "UUID", "&s", &vm->uuid);
        g_variant_lookup(properties, "Owner", "u", &vm->owner);
        g_variant_lookup(properties, "WorkerPID", "u", &vm->pid);
        g_variant_lookup(properties, "MemoryActualSize", "t", &vm->memory);
        g_variant_lookup(properties, "StartedAt", "t", &vm->started);
        g_variant_lookup(properties, "Transient", "b", &vm->transient);
        g_variant_lookup(properties, "VCPUs", "u", &vm->vcpus);
        g_variant_lookup(properties, "MemorySize", "t", &vm->memory_size);
        return vm;
}

static gint compare_names(gconstpointer a, gconstpointer b) {
        const Vm *const *left = a, *const *right = b;

        return strcmp((*left)->name, (*right)->name);
}

/* Elements are Vm, by name; they borrow from objects. */
static GPtrArray *find_vms(GVariant *objects) {
        GPtrArray *vms = g_ptr_array_new_with_free_func(vm_free);
        GVariantIter iter;
        const char *path;
        GVariant *interfaces;

        g_variant_iter_init(&iter, objects);
        while (g_variant_iter_next(&iter, "{&o@a{sa{sv}}}", &path, &interfaces)) {
                g_autoptr(GVariant) owned = interfaces;
                g_autoptr(GVariant) properties = g_variant_lookup_value(owned, VM_INTERFACE, NULL);

                if (properties)
                        g_ptr_array_add(vms, vm_new(path, properties));
        }
        g_ptr_array_sort(vms, compare_names);
        return vms;
}

static bool is_on(const Vm *vm) {
        return strcmp(vm->state, "running") == 0 || strcmp(vm->state, "paused") == 0;
}

static void add_summary(GVariantBuilder *dict, const Vm *vm) {
        g_variant_builder_add_parsed(dict, "{'name', <%s>}", vm->name);
        g_variant_builder_add_parsed(dict, "{'state', <%s>}", vm->state);
        g_variant_builder_add_parsed(dict, "{'reason', <%s>}", vm->reason);
        g_variant_builder_add_parsed(dict, "{'uuid', <%s>}", vm->uuid);
        g_variant_builder_add_parsed(dict, "{'owner', <%u>}", vm->owner);
        g_variant_builder_add_parsed(dict, "{'pid', <%u>}", vm->pid);
        g_variant_builder_add_parsed(dict, "{'vcpus', <%u>}", vm->vcpus);
        g_variant_builder_add_parsed(dict, "{'memory_size', <%t>}", vm->memory_size);
        g_variant_builder_add_parsed(dict, "{'memory', <%t>}", vm->memory);
        g_variant_builder_add_parsed(dict, "{'started', <%t>}", vm->started);
        g_variant_builder_add_parsed(dict, "{'transient', <%b>}", vm->transient);
        g_variant_builder_add_parsed(dict, "{'object', <%o>}", vm->path);
}

static void list_table(const Options *options, GPtrArray *vms) {
        static const char *const heads[] = {
                "NAME", "STATE", "CPUS", "MEMORY", "OWNER", "UP", NULL
        };
        g_autoptr(Table) table = table_new(heads);

        table_align_right(table, 2);
        table_align_right(table, 3);
        for (guint i = 0; i < vms->len; i++) {
                const Vm *vm = g_ptr_array_index(vms, i);
                guint64 memory = vm->memory ? vm->memory : vm->memory_size;

                table_add(table, g_strdup(vm->name), g_strdup(vm->state),
                          vm->vcpus ? g_strdup_printf("%u", vm->vcpus) : NULL,
                          memory ? format_size(memory) : NULL, format_user(vm->owner),
                          is_on(vm) ? format_age(vm->started, (guint64) g_get_real_time()) : NULL);
        }
        table_print(table, options);
        if (!options->no_legend)
                printf("\n%u virtual machine%s.\n", vms->len, vms->len == 1 ? "" : "s");
}

ExitStatus cmd_list(Options *options, Bus *bus) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) objects = bus_objects(bus, &error);
        g_autoptr(GPtrArray) vms = NULL;

        if (!objects)
                return fail(options, NULL, error);
        vms = find_vms(objects);
        if (options->json == JSON_OFF)
                list_table(options, vms);
        else {
                g_auto(GVariantBuilder) list = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("aa{sv}"));
                g_autoptr(GVariant) whole = NULL;

                for (guint i = 0; i < vms->len; i++) {
                        g_variant_builder_open(&list, G_VARIANT_TYPE_VARDICT);
                        add_summary(&list, g_ptr_array_index(vms, i));
                        g_variant_builder_close(&list);
                }
                whole = g_variant_ref_sink(g_variant_builder_end(&list));
                output_json(options, whole);
        }
        return EXIT_OK;
}

static const Vm *find_vm(const Options *options, GPtrArray *vms, const char *name) {
        for (guint i = 0; i < vms->len; i++) {
                const Vm *vm = g_ptr_array_index(vms, i);

                if (strcmp(vm->name, name) == 0)
                        return vm;
        }
        g_printerr("chvctl: %s: there is no such virtual machine\n"
                   "chvctl list shows what there is.\n",
                   name);
        return NULL;
}

/* The devices of a VM: rows of kind, id and PCI address to a table, or to a list of dictionaries. */
static void add_devices(GVariant *objects, const Vm *vm, Table *table, GVariantBuilder *list) {
        GVariantIter iter;
        GVariant *interfaces;

        g_variant_iter_init(&iter, objects);
        while (g_variant_iter_next(&iter, "{&o@a{sa{sv}}}", NULL, &interfaces)) {
                g_autoptr(GVariant) owned = interfaces;
                g_autoptr(GVariant) device = g_variant_lookup_value(owned, DEVICE_INTERFACE, NULL);
                const char *vm_path = "", *kind = "", *id = "", *pci = "";

                if (device)
                        g_variant_lookup(device, "VM", "&o", &vm_path);
                if (!device || strcmp(vm_path, vm->path) != 0)
                        continue;
                if (list) {
                        g_variant_builder_add_value(list, device);
                        continue;
                }
                g_variant_lookup(device, "Kind", "&s", &kind);
                g_variant_lookup(device, "ID", "&s", &id);
                g_variant_lookup(device, "PCIAddress", "&s", &pci);
                if (table)
                        table_add(table, g_strdup(id), g_strdup(kind),
                                  pci[0] ? g_strdup(pci) : NULL);
        }
}

static void print_line(const char *head, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void print_line(const char *head, const char *format, ...) {
        g_autofree char *text = NULL, *safe = NULL;
        va_list args;

        va_start(args, format);
        text = g_strdup_vprintf(format, args);
        va_end(args);
        safe = format_safe(text);
        printf("%12s%c %s\n", head, head[0] ? ':' : ' ', safe);
}

static void print_consoles(const Inside *inside) {
        GVariantIter iter;
        const char *console, *path;

        if (!inside->consoles)
                return;
        g_variant_iter_init(&iter, inside->consoles);
        while (g_variant_iter_next(&iter, "{&s&s}", &console, &path))
                print_line("Console", "%s at %s", console, path);
}

static void print_config(const Inside *inside) {
        g_auto(GStrv) argv = NULL;

        if (!inside->config)
                return;
        argv = chv_config_to_options(inside->config);
        for (char **word = argv; word[0]; word += 2)
                print_line(word == argv ? "Options" : "", "%s %s", word[0], word[1]);
}

static void info_text(const Vm *vm, const Inside *inside, GVariant *objects) {
        static const char *const heads[] = { "DEVICE", "KIND", "PCI", NULL };
        g_autoptr(Table) devices = table_new(heads);
        g_autofree char *owner = format_user(vm->owner), *text = NULL;
        guint64 now = (guint64) g_get_real_time();

        print_line("Name", "%s", vm->name);
        print_line("UUID", "%s", vm->uuid);
        print_line("State", vm->reason[0] ? "%s (%s)" : "%s", vm->state, vm->reason);
        print_line("Owner", "%s (%u)", owner, vm->owner);
        print_line("Kept", "%s", vm->transient ? "until it is off" : "until deleted");
        if (vm->started) {
                g_autofree char *time = format_time(vm->started),
                                *age = format_age(vm->started, now);

                print_line("Started", "%s, %s ago", time, age);
        }
        if (vm->pid)
                print_line("Process", "%u", vm->pid);
        if (vm->memory) {
                g_autofree char *size = format_size(vm->memory);

                print_line("Memory", "%s", size);
        }
        print_consoles(inside);
        print_config(inside);
        add_devices(objects, vm, devices, NULL);
        text = table_format(devices, /* heads= */ false);
        if (text[0]) {
                g_auto(GStrv) lines = g_strsplit(g_strchomp(text), "\n", -1);

                for (char **line = lines; *line; line++)
                        print_line(line == lines ? "Devices" : "", "%s", *line);
        }
        if (inside->reason)
                print_line("Hidden", "options and consoles: %s", inside->reason->message);
}

static GVariant *info_dict(const Vm *vm, const Inside *inside, GVariant *objects) {
        g_auto(GVariantBuilder) dict = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE_VARDICT);
        g_auto(GVariantBuilder) devices = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("aa{sv}"));

        add_summary(&dict, vm);
        if (inside->consoles)
                g_variant_builder_add(&dict, "{sv}", "consoles", inside->consoles);
        add_devices(objects, vm, NULL, &devices);
        g_variant_builder_add(&dict, "{sv}", "devices", g_variant_builder_end(&devices));
        if (inside->dict)
                g_variant_builder_add(&dict, "{sv}", "config", inside->dict);
        if (inside->reason)
                g_variant_builder_add(
                                &dict, "{sv}", "hidden",
                                g_variant_new_string(inside->reason->message));
        return g_variant_builder_end(&dict);
}

ExitStatus cmd_info(Options *options, Bus *bus) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) objects = bus_objects(bus, &error);
        g_autoptr(GPtrArray) vms = NULL;
        g_auto(GVariantBuilder) list = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("aa{sv}"));
        ExitStatus status = EXIT_OK;

        if (!objects)
                return fail(options, NULL, error);
        vms = find_vms(objects);
        for (guint i = 0; i < options->arguments->len; i++) {
                const Vm *vm = find_vm(options, vms, argument(options, i));
                g_auto(Inside) inside = { 0 };

                if (!vm) {
                        status = EXIT_MISSING;
                        continue;
                }
                inside = look_inside(bus, vm->path);
                if (options->json != JSON_OFF)
                        g_variant_builder_add_value(&list, info_dict(vm, &inside, objects));
                else {
                        if (i > 0)
                                puts("");
                        info_text(vm, &inside, objects);
                }
        }
        if (options->json != JSON_OFF) {
                g_autoptr(GVariant) whole = g_variant_ref_sink(g_variant_builder_end(&list));

                output_json(options, whole);
        }
        return status;
}

static void add_counters(Table *table, const char *name, GVariant *counters) {
        GVariantIter devices, values;
        const char *device, *counter;
        GVariant *of_device;
        guint64 value;

        g_variant_iter_init(&devices, counters);
        while (g_variant_iter_next(&devices, "{&s@a{st}}", &device, &of_device)) {
                g_autoptr(GVariant) owned = of_device;

                g_variant_iter_init(&values, owned);
                while (g_variant_iter_next(&values, "{&st}", &counter, &value))
                        table_add(table, g_strdup(name), g_strdup(device), g_strdup(counter),
                                  g_strdup_printf("%" G_GUINT64_FORMAT, value));
        }
}

ExitStatus cmd_counters(Options *options, Bus *bus) {
        static const char *const heads[] = { "NAME", "DEVICE", "COUNTER", "VALUE", NULL };
        g_autoptr(Table) table = table_new(heads);
        g_auto(GVariantBuilder) dict = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("a{sa{sa{st}}}"));
        ExitStatus status = EXIT_OK;
        unsigned shown = 0;

        table_align_right(table, 3);
        for (guint i = 0; i < options->arguments->len; i++) {
                const char *name = argument(options, i);
                g_autoptr(GError) error = NULL;
                g_autofree char *path = bus_find_vm(bus, name, &error);
                g_autoptr(GVariant) reply = NULL, counters = NULL;

                if (path)
                        reply =
                                        bus_call(bus, path, VM_INTERFACE, "GetCounters",
                                                 g_variant_new("(@a{sv})", no_options()),
                                                 "(a{sa{st}})", &error);
                if (!reply) {
                        ExitStatus failed = fail(options, name, error);

                        status = status == EXIT_OK ? failed : status;
                        continue;
                }
                counters = g_variant_get_child_value(reply, 0);
                g_variant_builder_add(&dict, "{s@a{sa{st}}}", name, counters);
                add_counters(table, name, counters);
                shown++;
        }
        if (options->json != JSON_OFF) {
                g_autoptr(GVariant) whole = g_variant_ref_sink(g_variant_builder_end(&dict));

                output_json(options, whole);
        } else if (shown > 0)
                table_print(table, options);
        return status;
}
