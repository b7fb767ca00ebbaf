/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * check: whether an image's tables agree with each other, and repairs. The exit status tells what is left of it: 0 nothing, 1 it could
 * not be checked, 2 corruption, 3 only space that is lost; 63 if the format has nothing to be checked.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/image/files.h"
#include "daemon/image/output.h"
#include "daemon/image/verbs.h"
#include "hypervisor/error.h"

enum {
        STATUS_CORRUPT = 2,
        STATUS_LEAKS = 3,
        STATUS_NOTHING = 63,
};

FileUse verb_check_use(const Arguments *arguments, unsigned n) {
        return has(arguments, OPTION_REPAIR) ? USE_WRITE : USE_READ;
}

static void on_finding(void *opaque, bool corruption, bool repaired, const char *message) {
        const Arguments *arguments = opaque;
        g_autofree char *clean = printable(message);

        if (has(arguments, OPTION_QUIET))
                return;
        (void) fprintf(has(arguments, OPTION_JSON) ? stderr : stdout, "%s%s: %s\n",
                       corruption ? "corruption" : "leak", repaired ? " (repaired)" : "", clean);
}

static void show_json(const struct image *img, const char *name, const struct image_check *check) {
        GVariantBuilder dict;
        const struct {
                const char *key;
                uint64_t value;
        } numbers[] = {
                { "check-errors", 0 },
                { "corruptions", check->corruptions },
                { "corruptions-fixed", check->fixed_corruptions },
                { "leaks", check->leaks },
                { "leaks-fixed", check->fixed_leaks },
                { "allocated-clusters", check->allocated },
                { "total-clusters", check->total },
        };

        g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
        g_variant_builder_add(
                        &dict, "{sv}", "filename",
                        g_variant_new_take_string(g_utf8_make_valid(name, -1)));
        g_variant_builder_add(&dict, "{sv}", "format", g_variant_new_string(img->format->name));
        for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
                g_variant_builder_add(
                                &dict, "{sv}", numbers[i].key,
                                g_variant_new_uint64(numbers[i].value));
        print_json(g_variant_builder_end(&dict));
}

static void show(const struct image_check *check) {
        if (check->fixed_corruptions > 0 || check->fixed_leaks > 0)
                printf("repaired: %" G_GUINT64_FORMAT " corruptions, %" G_GUINT64_FORMAT
                       " leaked clusters\n",
                       check->fixed_corruptions, check->fixed_leaks);
        if (check->corruptions > 0 || check->leaks > 0)
                printf("found: %" G_GUINT64_FORMAT " corruptions, %" G_GUINT64_FORMAT
                       " leaked clusters\n",
                       check->corruptions, check->leaks);
        else
                puts("no errors");
        if (check->total > 0)
                printf("%" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT
                       " clusters allocated (%.1f %%)\n",
                       check->allocated, check->total,
                       100.0 * (double) check->allocated / (double) check->total);
}

static bool read_repair(const Arguments *arguments, struct image_check *check, GError **error) {
        const char *repair = arguments->values[OPTION_REPAIR];

        check->repair_all = g_strcmp0(repair, "all") == 0;
        check->repair_leaks = check->repair_all || g_strcmp0(repair, "leaks") == 0;
        if (!repair || check->repair_leaks)
                return true;
        g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "--repair: '%s' is neither leaks nor all",
                    repair);
        return false;
}

int verb_check(const Arguments *arguments, Files *files) {
        struct image_check check = { .finding = on_finding, .opaque = (void *) arguments };
        OpenFlags flags = OPEN_FOR_CHECK | (has(arguments, OPTION_REPAIR) ? 0 : OPEN_READONLY);
        g_autoptr(GError) error = NULL;
        struct image *img;
        bool checked;
        int r;

        if (!read_repair(arguments, &check, &error))
                return report_error(error, 1);
        img = files_open(files, 0, arguments->values[OPTION_FORMAT], flags, &error);
        if (!img)
                return report_error(error, 1);
        if (!img->format->check) {
                report("'%s': %s images have nothing that could be checked", word(arguments, 0),
                       img->format->name);
                image_free(img);
                return STATUS_NOTHING;
        }
        checked = img->format->check(img, &check, &error);
        if (checked && has(arguments, OPTION_JSON))
                show_json(img, word(arguments, 0), &check);
        else if (checked && !has(arguments, OPTION_QUIET))
                show(&check);
        r = image_close(img);
        if (checked && r < 0)
                checked = hv_error_errno(&error, -r, "'%s': closing it", word(arguments, 0));
        if (!checked)
                return report_error(error, 1);
        return check.corruptions > 0 ? STATUS_CORRUPT : check.leaks > 0 ? STATUS_LEAKS : 0;
}
