/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * snapshot: those that an image keeps in itself. One thing at a time; without an option they are listed.
 */

#include "daemon/image/files.h"
#include "daemon/image/output.h"
#include "daemon/image/snapshots.h"
#include "daemon/image/verbs.h"
#include "hypervisor/error.h"

static bool changes(const Arguments *arguments) {
        return has(arguments, OPTION_CREATE) || has(arguments, OPTION_APPLY) ||
               has(arguments, OPTION_DELETE);
}

FileUse verb_snapshot_use(const Arguments *arguments, unsigned n) {
        return changes(arguments) ? USE_WRITE : USE_READ;
}

static bool cannot(const struct image *img, GError **error) {
        g_set_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED, "%s images have no snapshots",
                    img->format->name);
        return false;
}

static bool list(const Arguments *arguments, struct image *img, GError **error) {
        const GPtrArray *snapshots;

        if (!img->format->snapshots)
                return cannot(img, error);
        snapshots = img->format->snapshots(img);
        if (has(arguments, OPTION_JSON))
                print_json(describe_snapshots(snapshots));
        else if (snapshots && snapshots->len > 0)
                print_snapshots(snapshots);
        return true;
}

static bool change(const Arguments *arguments, struct image *img, GError **error) {
        const struct image_format *f = img->format;
        const struct {
                OptionId id;
                bool (*act)(struct image *img, const char *name, GError **error);
        } acts[] = {
                { OPTION_CREATE, f->snapshot_create },
                { OPTION_APPLY, f->snapshot_apply },
                { OPTION_DELETE, f->snapshot_delete },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(acts); i++) {
                const char *name = arguments->values[acts[i].id];

                if (name && !acts[i].act)
                        return cannot(img, error);
                if (name && !acts[i].act(img, name, error))
                        return false;
        }
        return true;
}

static bool check_one(const Arguments *arguments, GError **error) {
        unsigned n = has(arguments, OPTION_LIST) + has(arguments, OPTION_CREATE) +
                     has(arguments, OPTION_APPLY) + has(arguments, OPTION_DELETE);

        if (n <= 1)
                return true;
        g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                    "one of --list, --create, --apply and --delete at a time");
        return false;
}

int verb_snapshot(const Arguments *arguments, Files *files) {
        bool write = changes(arguments), good;
        /* Those that are listed need nothing of what shows through the image. */
        OpenFlags flags = write ? 0 : OPEN_READONLY | OPEN_FOR_CHECK;
        g_autoptr(GError) error = NULL;
        struct image *img;
        int r;

        if (!check_one(arguments, &error))
                return report_error(error, arguments->verb->status_failed);
        img = files_open(files, 0, arguments->values[OPTION_FORMAT], flags, &error);
        if (!img)
                return report_error(error, arguments->verb->status_failed);
        good = write ? change(arguments, img, &error) : list(arguments, img, &error);
        if (!good)
                g_prefix_error(&error, "'%s': ", word(arguments, 0));
        r = image_close(img);
        if (good && r < 0)
                good = hv_error_errno(&error, -r, "'%s': writing it", word(arguments, 0));
        return good ? 0 : report_error(error, arguments->verb->status_failed);
}
