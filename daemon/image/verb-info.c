/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * info: what an image is, without looking at what shows through it unless asked. formats: what there is. The keys of the JSON are
 * those of qemu-img, so that what reads one reads the other.
 */

#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "daemon/image/files.h"
#include "daemon/image/output.h"
#include "daemon/image/snapshots.h"
#include "daemon/image/verbs.h"
#include "hypervisor/error.h"

/* Bytes of the host's disk; 0 for a block device. */
static uint64_t disk_usage(const struct image *img) {
        struct stat st;

        return fstat(img->file->fd, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t) st.st_blocks * 512
                                                                     : 0;
}

GVariant *describe_snapshots(const GPtrArray *snapshots) {
        GVariantBuilder all;

        g_variant_builder_init(&all, G_VARIANT_TYPE("aa{sv}"));
        for (guint i = 0; snapshots && i < snapshots->len; i++) {
                const struct image_snapshot *s = g_ptr_array_index(snapshots, i);

                g_variant_builder_open(&all, G_VARIANT_TYPE_VARDICT);
                g_variant_builder_add(
                                &all, "{sv}", "id",
                                g_variant_new_take_string(g_utf8_make_valid(s->id, -1)));
                g_variant_builder_add(
                                &all, "{sv}", "name",
                                g_variant_new_take_string(g_utf8_make_valid(s->name, -1)));
                g_variant_builder_add(
                                &all, "{sv}", "disk-size", g_variant_new_uint64(s->disk_size));
                g_variant_builder_add(
                                &all, "{sv}", "vm-state-size",
                                g_variant_new_uint64(s->vm_state_size));
                g_variant_builder_add(
                                &all, "{sv}", "date-sec",
                                g_variant_new_int64(s->date_ns / 1000000000));
                g_variant_builder_add(
                                &all, "{sv}", "date-nsec",
                                g_variant_new_int64(s->date_ns % 1000000000));
                g_variant_builder_add(
                                &all, "{sv}", "vm-clock-sec",
                                g_variant_new_uint64(s->vm_clock_ns / 1000000000));
                g_variant_builder_add(
                                &all, "{sv}", "vm-clock-nsec",
                                g_variant_new_uint64(s->vm_clock_ns % 1000000000));
                g_variant_builder_close(&all);
        }
        return g_variant_builder_end(&all);
}

void print_snapshots(const GPtrArray *snapshots) {
        printf("%-6s %-24s %10s  %-19s\n", "ID", "NAME", "DISK SIZE", "DATE");
        for (guint i = 0; i < snapshots->len; i++) {
                const struct image_snapshot *s = g_ptr_array_index(snapshots, i);
                time_t seconds = (time_t) (s->date_ns / 1000000000);
                struct tm date;
                char when[32] = "-";
                g_autofree char *size = format_size(s->disk_size), *id = printable(s->id),
                                *name = printable(s->name);

                /* Of the ways to local time the one that reads no files again, which are out of reach here. */
                if (localtime_r(&seconds, &date))
                        (void) strftime(when, sizeof(when), "%F %T", &date);
                printf("%-6s %-24s %10s  %-19s\n", id, name, size, when);
        }
}

static GVariant *specific(struct image *img) {
        GVariantBuilder dict;

        g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
        if (img->format->describe)
                img->format->describe(img, &dict);
        return g_variant_ref_sink(g_variant_builder_end(&dict));
}

static void add_text(GVariantBuilder *dict, const char *key, const char *text) {
        g_variant_builder_add(
                        dict, "{sv}", key, g_variant_new_take_string(g_utf8_make_valid(text, -1)));
}

static GVariant *describe(struct image *img, const char *name) {
        GVariantBuilder dict;
        g_autoptr(GVariant) data = specific(img);
        const GPtrArray *snapshots = img->format->snapshots ? img->format->snapshots(img) : NULL;

        g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
        add_text(&dict, "filename", name);
        add_text(&dict, "format", img->format->name);
        g_variant_builder_add(&dict, "{sv}", "virtual-size", g_variant_new_uint64(img->size));
        g_variant_builder_add(&dict, "{sv}", "actual-size", g_variant_new_uint64(disk_usage(img)));
        g_variant_builder_add(
                        &dict, "{sv}", "format-recognised", g_variant_new_boolean(img->probed));
        if (img->format != &image_raw)
                g_variant_builder_add(
                                &dict, "{sv}", "cluster-size", g_variant_new_uint32(img->cluster));
        if (img->backing_name)
                add_text(&dict, "backing-filename", img->backing_name);
        if (img->backing_format)
                add_text(&dict, "backing-filename-format", img->backing_format);
        if (snapshots && snapshots->len > 0)
                g_variant_builder_add(&dict, "{sv}", "snapshots", describe_snapshots(snapshots));
        if (g_variant_n_children(data) > 0)
                g_variant_builder_add(&dict, "{sv}", "format-specific", data);
        return g_variant_builder_end(&dict);
}

static void print_line(const char *key, const char *value) {
        g_autofree char *clean = printable(value);

        printf("%s: %s\n", key, clean);
}

static void print_sizes(const struct image *img) {
        g_autofree char *size = format_size(img->size), *used = format_size(disk_usage(img));

        printf("virtual size: %s (%" G_GUINT64_FORMAT " bytes)\n", size, img->size);
        if (!img->file->block_device)
                printf("disk size: %s\n", used);
        if (img->format != &image_raw)
                printf("cluster size: %u\n", img->cluster);
}

static void print(struct image *img, const char *name) {
        g_autoptr(GVariant) data = specific(img);
        const GPtrArray *snapshots = img->format->snapshots ? img->format->snapshots(img) : NULL;
        GVariantIter iter;
        const char *key;
        GVariant *value;

        print_line("image", name);
        printf("format: %s%s\n", img->format->name, img->probed ? " (recognised)" : "");
        print_sizes(img);
        if (img->backing_name)
                print_line("backing file", img->backing_name);
        if (img->backing_format)
                print_line("backing format", img->backing_format);
        g_variant_iter_init(&iter, data);
        while (g_variant_iter_next(&iter, "{&sv}", &key, &value)) {
                g_autoptr(GVariant) owned = value;
                g_autofree char *text = format_value(owned);

                print_line(key, text);
        }
        if (snapshots && snapshots->len > 0) {
                puts("snapshots:");
                print_snapshots(snapshots);
        }
}

static void show_chain(const Arguments *arguments, const Files *files, struct image *img) {
        bool chain = has(arguments, OPTION_BACKING_CHAIN);
        GVariantBuilder all;

        if (!has(arguments, OPTION_JSON)) {
                for (struct image *at = img; at; at = at->backing) {
                        print(at, files_name_of(files, at->file));
                        if (at->backing)
                                putchar('\n');
                }
                return;
        }
        if (!chain) {
                print_json(describe(img, files_name(files, 0)));
                return;
        }
        g_variant_builder_init(&all, G_VARIANT_TYPE("aa{sv}"));
        for (struct image *at = img; at; at = at->backing)
                g_variant_builder_add_value(&all, describe(at, files_name_of(files, at->file)));
        print_json(g_variant_builder_end(&all));
}

int verb_info(const Arguments *arguments, Files *files) {
        g_autoptr(GError) error = NULL;
        OpenFlags flags = has(arguments, OPTION_BACKING_CHAIN) ? 0 : OPEN_FOR_CHECK;
        g_autoptr(image) img = files_open(
                        files, 0, arguments->values[OPTION_FORMAT], flags | OPEN_READONLY, &error);

        if (!img)
                return report_error(error, arguments->verb->status_failed);
        show_chain(arguments, files, img);
        return 0;
}

static const char *abilities(const struct image_format *format) {
        return format->create && format->allocate  ? "create,write"
               : format->create                    ? "create,write"
               : format->allocate || format->flush ? "write"
                                                   : "read";
}

int verb_formats(const Arguments *arguments, Files *files) {
        GVariantBuilder all;

        g_variant_builder_init(&all, G_VARIANT_TYPE("aa{sv}"));
        for (size_t i = 0; image_formats[i]; i++) {
                const struct image_format *f = image_formats[i];
                g_auto(GStrv) can = g_strsplit(abilities(f), ",", -1);

                if (!has(arguments, OPTION_JSON)) {
                        printf("%-8s %-14s %s\n", f->name, abilities(f), f->description);
                        continue;
                }
                g_variant_builder_open(&all, G_VARIANT_TYPE_VARDICT);
                g_variant_builder_add(&all, "{sv}", "name", g_variant_new_string(f->name));
                g_variant_builder_add(
                                &all, "{sv}", "description", g_variant_new_string(f->description));
                g_variant_builder_add(
                                &all, "{sv}", "abilities",
                                g_variant_new_strv((const char *const *) can, -1));
                g_variant_builder_close(&all);
        }
        if (has(arguments, OPTION_JSON))
                print_json(g_variant_builder_end(&all));
        else
                g_variant_builder_clear(&all);
        return 0;
}
