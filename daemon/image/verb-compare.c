/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * compare: whether two images have the same content, whatever their formats. The exit status is 0 if so, 1 if not, 2 if that could
 * not be found out. What only the longer one has must be zeros.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/image/blocks.h"
#include "daemon/image/files.h"
#include "daemon/image/output.h"
#include "daemon/image/verbs.h"
#include "hypervisor/error.h"

#define BUFFER (1024u * 1024u)

typedef struct {
        struct image *images[2];
        char *buffers[2];
        unsigned whose; /* the image that could not be read */
} Pair;

/* How far both are known, and whether they read as zeros as far. */
static int map(Pair *pair, uint64_t offset, uint64_t end, uint64_t *ret_len, bool zeros[2]) {
        uint64_t len = end - offset;

        for (unsigned i = 0; i < 2; i++) {
                struct image *img = pair->images[i];
                struct image_extent x = { .kind = IMAGE_ZERO, .len = len };
                int r;

                pair->whose = i;
                if (offset < img->size) {
                        r = image_map_chain(img, offset, MIN(len, img->size - offset), &x, NULL);
                        if (r < 0)
                                return r;
                }
                zeros[i] = x.kind == IMAGE_ZERO;
                len = MIN(len, x.len);
        }
        *ret_len = len;
        return 0;
}

static uint64_t first_difference(const char *a, const char *b, size_t len) {
        size_t i = 0;

        while (i < len && a[i] == b[i])
                i++;
        return i;
}

/* 0: the same; 1: *ret says where not; or negative errno. */
static int
compare_part(Pair *pair, uint64_t offset, size_t len, const bool zeros[2], uint64_t *ret) {
        for (unsigned i = 0; i < 2; i++) {
                int r;

                pair->whose = i;
                if (zeros[i]) {
                        memset(pair->buffers[i], 0, len);
                        continue;
                }
                r = image_read(pair->images[i], offset, pair->buffers[i], len);
                if (r < 0)
                        return r;
        }
        if (memcmp(pair->buffers[0], pair->buffers[1], len) == 0)
                return 0;
        *ret = offset + first_difference(pair->buffers[0], pair->buffers[1], len);
        return 1;
}

static int compare(Pair *pair, Progress *progress, uint64_t *ret) {
        uint64_t end = MAX(pair->images[0]->size, pair->images[1]->size), len;

        for (uint64_t offset = 0; offset < end; offset += len) {
                bool zeros[2];
                int r = map(pair, offset, end, &len, zeros);

                if (r < 0)
                        return r;
                if (!zeros[0] || !zeros[1]) {
                        len = MIN(len, BUFFER);
                        r = compare_part(pair, offset, (size_t) len, zeros, ret);
                        if (r != 0)
                                return r;
                }
                progress_show(progress, offset + len);
        }
        return 0;
}

static int conclude(const Arguments *arguments, const Pair *pair, int r, uint64_t at) {
        bool quiet = has(arguments, OPTION_QUIET), json = has(arguments, OPTION_JSON);
        GVariantBuilder dict;

        if (r < 0) {
                report("'%s': reading: %s", word(arguments, pair->whose), g_strerror(-r));
                return arguments->verb->status_failed;
        }
        if (json) {
                g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
                g_variant_builder_add(&dict, "{sv}", "same", g_variant_new_boolean(r == 0));
                if (r > 0)
                        g_variant_builder_add(&dict, "{sv}", "offset", g_variant_new_uint64(at));
                print_json(g_variant_builder_end(&dict));
        } else if (!quiet && r == 0)
                puts("the images have the same content");
        else if (!quiet)
                printf("the images differ at byte %" PRIu64 "\n", at);
        return r;
}

int verb_compare(const Arguments *arguments, Files *files) {
        g_autoptr(GError) error = NULL;
        g_autoptr(image) first = files_open(
                        files, 0, arguments->values[OPTION_FORMAT], OPEN_READONLY, &error);
        g_autoptr(image) second =
                        first ? files_open(files, 1, arguments->values[OPTION_SECOND_FORMAT],
                                           OPEN_READONLY, &error)
                              : NULL;
        g_autofree char *a = g_malloc(BUFFER), *b = g_malloc(BUFFER);
        Pair pair = { { first, second }, { a, b }, 0 };
        Progress progress;
        uint64_t at = 0;
        int r;

        if (!second)
                return report_error(error, arguments->verb->status_failed);
        if (has(arguments, OPTION_STRICT) && first->size != second->size)
                return conclude(arguments, &pair, 1, MIN(first->size, second->size));
        progress_begin(&progress, has(arguments, OPTION_PROGRESS),
                       has(arguments, OPTION_QUIET) || has(arguments, OPTION_JSON),
                       MAX(first->size, second->size));
        r = compare(&pair, &progress, &at);
        progress_end(&progress);
        return conclude(arguments, &pair, r, at);
}
