/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands about one device of a virtual machine that runs, which its id names, or what several share: update, update-group,
 * resize-disk, capture.
 */

#include <errno.h>
#include <fcntl.h>
#include <gio/gunixfdlist.h>
#include <string.h>
#include <unistd.h>

#include "chvctl/arguments.h"
#include "chvctl/bus.h"
#include "chvctl/fail.h"
#include "dbus/config.h"
#include "dbus/error.h"
#include "dbus/fd.h"
#include "dbus/value.h"

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

/* "KEY=VALUE" from the third argument on: a{sv}. */
static GVariant *read_changes(Options *options, GError **error) {
        g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);

        for (guint i = 2; i < options->arguments->len; i++)
                if (!chv_config_add_change(&dict, argument(options, i), error))
                        return NULL;
        return g_variant_ref_sink(g_variant_dict_end(&dict));
}

ExitStatus cmd_update_group(Options *options, Bus *bus) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) changes = read_changes(options, &error), reply = NULL;
        g_autofree char *path = NULL;

        if (!changes)
                return fail(options, NULL, error);
        path = bus_find_vm(bus, argument(options, 0), &error);
        if (path)
                reply =
                                bus_call(bus, path, VM_INTERFACE, "UpdateGroup",
                                         g_variant_new("(s@a{sv}a{sv})", argument(options, 1),
                                                       changes, NULL),
                                         "()", &error);
        return reply ? EXIT_OK : fail(options, argument(options, 0), error);
}

ExitStatus cmd_update(Options *options, Bus *bus) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) changes = read_changes(options, &error), reply = NULL;
        g_autofree char *path = NULL;

        if (!changes)
                return fail(options, NULL, error);
        path = find_device(bus, argument(options, 0), argument(options, 1), &error);
        if (path)
                reply = bus_call(
                                bus, path, DEVICE_INTERFACE, "Update",
                                g_variant_new("(@a{sv}a{sv})", changes, NULL), "()", &error);
        return reply ? EXIT_OK : fail(options, argument(options, 0), error);
}

/* "10G", or "+1G" for so much more than there is. */
static bool
read_size(Bus *bus, const char *path, const char *text, uint64_t *ret_size, GError **error) {
        const ChvOption option = { .type = CHV_OPT_SIZE };
        bool more = text[0] == '+';
        g_autoptr(GVariant) number = chv_text_parse(&option, text + more, error), now = NULL;
        uint64_t old = 0;

        if (!number) {
                g_prefix_error(error, "SIZE: ");
                return false;
        }
        g_variant_ref_sink(number);
        if (more) {
                now = bus_property(bus, path, DEVICE_INTERFACE, "Size", error);
                if (!now)
                        return false;
                old = g_variant_is_of_type(now, G_VARIANT_TYPE_UINT64) ? g_variant_get_uint64(now)
                                                                       : 0;
        }
        if (more && old == 0) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                            "SIZE: the device is no disk, or its size is not known");
                return false;
        }
        /* 0 stands for something else. */
        if (g_variant_get_uint64(number) == 0 ||
            !g_uint64_checked_add(ret_size, old, g_variant_get_uint64(number))) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                            "SIZE: '%s' cannot be the size of a disk", text);
                return false;
        }
        return true;
}

ExitStatus cmd_resize_disk(Options *options, Bus *bus) {
        const char *name = argument(options, 0), *text = argument(options, 2);
        g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);
        g_autofree char *path = NULL;
        g_autoptr(GVariant) reply = NULL;
        g_autoptr(GError) error = NULL;
        uint64_t size = 0;

        if (options->shrink)
                g_variant_dict_insert(&dict, "shrink", "b", true);
        path = find_device(bus, name, argument(options, 1), &error);
        if (!path) {
                ExitStatus status = fail(options, name, error);

                if (g_error_matches(error, CHV_ERROR, CHV_ERROR_NO_SUCH_DEVICE))
                        g_printerr("chvctl image resize is for images that are not in use.\n");
                return status;
        }
        if (text && !read_size(bus, path, text, &size, &error))
                return fail(options, name, error);
        reply = bus_call(
                        bus, path, DEVICE_INTERFACE, "Resize",
                        g_variant_new("(t@a{sv})", size, g_variant_dict_end(&dict)), "(t)", &error);
        return reply ? EXIT_OK : fail(options, name, error);
}

/* Where a capture goes: what the service writes to is a pipe of ours, so that it never waits for a disk. */
static int open_output(const char *name) {
        if (!name || g_str_equal(name, "-"))
                return dup(STDOUT_FILENO);
        return open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

static bool write_all(int fd, const char *data, size_t len) {
        while (len > 0) {
                ssize_t n = write(fd, data, len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return false;
                data += n;
                len -= (size_t) n;
        }
        return true;
}

static ExitStatus relay(int from, int to) {
        static char buffer[64 << 10];
        ssize_t n;

        for (;;) {
                n = read(from, buffer, sizeof(buffer));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n == 0)
                        return EXIT_OK;
                if (n < 0 || !write_all(to, buffer, (size_t) n)) {
                        g_printerr("chvctl: writing the capture: %s\n", g_strerror(errno));
                        return EXIT_FAILED;
                }
        }
}

static bool start_capture(Options *options, Bus *bus, const char *path, int fd, GError **error) {
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new_from_array(&fd, 1); /* takes fd */
        g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);
        g_autoptr(GVariant) reply = NULL;

        if (options->snaplen > 0)
                g_variant_dict_insert(&dict, "snaplen", "u", (guint32) options->snaplen);
        if (options->count > 0)
                g_variant_dict_insert(&dict, "count", "t", (guint64) options->count);
        reply = bus_call_with_fds(
                        bus, path, DEVICE_INTERFACE, "StartCapture",
                        g_variant_new("(h@a{sv})", 0, g_variant_dict_end(&dict)), "()", list,
                        /* ret_fds= */ NULL, error);
        return reply != NULL;
}

ExitStatus cmd_capture(Options *options, Bus *bus) {
        const char *name = argument(options, 0);
        g_autofree char *path = NULL;
        g_autoptr(GError) error = NULL;
        chv_autofd from = -1, to = -1;
        int ends[2];

        if (options->host) {
                g_printerr("chvctl: a capture cannot come from another host\n");
                return EXIT_USAGE;
        }
        if ((!options->output || g_str_equal(options->output, "-")) && isatty(STDOUT_FILENO)) {
                g_printerr("chvctl: a capture is no text; name a file with --output\n");
                return EXIT_USAGE;
        }
        path = find_device(bus, name, argument(options, 1), &error);
        if (!path)
                return fail(options, name, error);
        to = open_output(options->output);
        if (to < 0 || pipe2(ends, O_CLOEXEC) < 0) {
                g_printerr("chvctl: %s: %s\n", options->output ?: "-", g_strerror(errno));
                return EXIT_FAILED;
        }
        from = ends[0];
        if (!start_capture(options, bus, path, ends[1], &error))
                return fail(options, name, error);
        return relay(from, to);
}
