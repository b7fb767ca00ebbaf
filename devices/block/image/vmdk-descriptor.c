/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The descriptor of a VMDK: lines of "key = value", comments, and a line for each extent: access, sectors, kind, and a quoted name
 * with an offset (VMware's Virtual Disk Format 5.0, "The Descriptor File"). It is hostile text: length, number of extents and the sum of their
 * sizes are bounded, and what is not understood is refused if it could change what the disk reads as.
 */

#include "devices/block/image/vmdk-descriptor.h"
#include "hypervisor/error.h"

#include <assert.h>
#include <string.h>

static const char signature[] = "# Disk DescriptorFile";

bool vmdk_descriptor_probe(const uint8_t *head, size_t n) {
        size_t len = sizeof(signature) - 1;

        return n >= len && g_ascii_strncasecmp((const char *) head, signature, len) == 0;
}

static void clear_line(gpointer data) {
        g_free(((struct vmdk_extent_line *) data)->name);
}

struct vmdk_descriptor *vmdk_descriptor_free(struct vmdk_descriptor *d) {
        if (!d)
                return NULL;
        g_free(d->create_type);
        g_array_unref(d->extents);
        g_free(d);
        return NULL;
}

static bool refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

static bool refuse(GError **error, const char *format, ...) {
        va_list args;

        va_start(args, format);
        if (error)
                *error = g_error_new_valist(HV_ERROR, HV_ERROR_IMAGE, format, args);
        va_end(args);
        return false;
}

/* The next word of *s, up to a space. NULL: none. */
static char *next_word(char **s) {
        char *word;

        while (**s == ' ' || **s == '\t')
                (*s)++;
        if (!**s)
                return NULL;
        word = *s;
        *s += strcspn(word, " \t");
        if (**s)
                *(*s)++ = '\0';
        return word;
}

static bool next_number(char **s, uint64_t max, uint64_t *ret) {
        const char *word = next_word(s);

        return word && g_ascii_string_to_unsigned(word, 10, 0, max, ret, NULL);
}

/* A name in quotes. NULL: none, or not one that a file can have. */
static char *next_name(char **s) {
        char *end, *name;

        while (**s == ' ' || **s == '\t')
                (*s)++;
        if (**s != '"')
                return NULL;
        end = strchr(*s + 1, '"');
        if (!end)
                return NULL;
        name = *s + 1;
        *end = '\0';
        *s = end + 1;
        if (!*name || strlen(name) > 1024 || !g_utf8_validate(name, -1, NULL))
                return NULL;
        for (const char *p = name; *p; p++)
                if (g_ascii_iscntrl(*p))
                        return NULL;
        return g_strdup(name);
}

static bool read_kind(const char *word, enum vmdk_extent_kind *ret) {
        static const struct {
                const char *name;
                enum vmdk_extent_kind kind;
        } kinds[] = {
                { "FLAT", VMDK_FLAT },
                { "VMFS", VMDK_FLAT },
                { "SPARSE", VMDK_SPARSE },
                { "ZERO", VMDK_ZERO },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
                if (strcmp(kinds[i].name, word) == 0) {
                        *ret = kinds[i].kind;
                        return true;
                }
        return false;
}

static bool add_extent(struct vmdk_descriptor *d, bool readonly, char *rest, GError **error) {
        struct vmdk_extent_line line = { .readonly = readonly };
        const char *kind;

        if (d->extents->len >= VMDK_EXTENTS_MAX)
                return refuse(error, "the VMDK has more than %u extents", VMDK_EXTENTS_MAX);
        if (!next_number(&rest, INT64_MAX / 512, &line.sectors) || line.sectors == 0)
                return refuse(error, "the size of an extent of the VMDK is wrong");
        kind = next_word(&rest);
        if (!kind || !read_kind(kind, &line.kind))
                return refuse(error, "an extent of the VMDK is of a kind that is not supported");
        if (line.kind != VMDK_ZERO) {
                line.name = next_name(&rest);
                if (!line.name)
                        return refuse(error, "the name of an extent of the VMDK is wrong");
        }
        g_array_append_val(d->extents, line);
        if (line.kind != VMDK_FLAT)
                return true;
        rest += strspn(rest, " \t");
        if (*rest &&
            !next_number(&rest, INT64_MAX / 512 - line.sectors,
                         &g_array_index(d->extents, struct vmdk_extent_line, d->extents->len - 1)
                                          .at))
                return refuse(error, "the offset of an extent of the VMDK is wrong");
        return true;
}

/* An image with a parent shows that where it has nothing itself. */
static bool check_parent(const char *value, GError **error) {
        guint64 parent;

        if (g_ascii_string_to_unsigned(value, 16, 0, UINT32_MAX, &parent, NULL) &&
            parent == UINT32_MAX)
                return true;
        return refuse(error,
                      "the VMDK is a difference to another image, and these are not supported");
}

static char *unquote(char *value) {
        size_t n = strlen(value);

        if (n >= 2 && value[0] == '"' && value[n - 1] == '"') {
                value[n - 1] = '\0';
                value++;
        }
        return value;
}

static bool read_pair(struct vmdk_descriptor *d, char *key, char *value, GError **error) {
        guint64 number;

        g_strchomp(key);
        value = unquote(g_strstrip(value));
        if (g_ascii_strcasecmp(key, "createType") == 0) {
                g_free(d->create_type);
                d->create_type = g_utf8_make_valid(value, -1);
        } else if (g_ascii_strcasecmp(key, "CID") == 0) {
                if (g_ascii_string_to_unsigned(value, 16, 0, UINT32_MAX, &number, NULL))
                        d->cid = (uint32_t) number;
        } else if (g_ascii_strcasecmp(key, "parentCID") == 0)
                return check_parent(value, error);
        else if (g_ascii_strcasecmp(key, "encoding") == 0) {
                if (g_ascii_strcasecmp(value, "UTF-8") != 0 &&
                    g_ascii_strncasecmp(value, "windows-", 8) != 0)
                        return refuse(error, "the VMDK's encoding is not supported");
        }
        return true;
}

static bool read_line(struct vmdk_descriptor *d, char *line, GError **error) {
        char *rest = line, *equals;

        g_strstrip(line);
        if (!*line || *line == '#')
                return true;
        if (g_str_has_prefix(line, "RW ") || g_str_has_prefix(line, "RDONLY ")) {
                bool readonly = line[1] == 'D';

                (void) next_word(&rest);
                return add_extent(d, readonly, rest, error);
        }
        if (g_str_has_prefix(line, "NOACCESS "))
                return refuse(error, "the VMDK has an extent that may not be read");
        equals = strchr(line, '=');
        if (!equals)
                return refuse(error,
                              "the VMDK's descriptor has a line that is neither a setting nor "
                              "an extent");
        *equals = '\0';
        return read_pair(d, line, equals + 1, error);
}

static bool check(const struct vmdk_descriptor *d, bool embedded, GError **error) {
        uint64_t sum = 0;

        if (!d->create_type)
                return refuse(error, "the VMDK's descriptor has no createType");
        if (d->extents->len == 0)
                return refuse(error, "the VMDK's descriptor names no extents");
        if (embedded && d->extents->len != 1)
                return refuse(error, "the VMDK has one file and names several extents");
        for (guint i = 0; i < d->extents->len; i++) {
                uint64_t n = g_array_index(d->extents, struct vmdk_extent_line, i).sectors;

                if (n > INT64_MAX / 512 - sum)
                        return refuse(error, "the VMDK's extents are too large together");
                sum += n;
        }
        return true;
}

struct vmdk_descriptor *
vmdk_descriptor_parse(const char *text, size_t n, bool embedded, GError **error) {
        g_autoptr(vmdk_descriptor) d = g_new0(struct vmdk_descriptor, 1);
        g_autofree char *copy = g_strndup(text, n);
        char *next = copy;

        assert(n <= VMDK_DESCRIPTOR_MAX);

        d->extents = g_array_new(FALSE, TRUE, sizeof(struct vmdk_extent_line));
        g_array_set_clear_func(d->extents, clear_line);
        if (!vmdk_descriptor_probe((const uint8_t *) copy, strlen(copy))) {
                (void) refuse(error, "the VMDK's descriptor does not begin as one");
                return NULL;
        }
        while (next) {
                char *line = next, *end = strchr(line, '\n');

                next = end ? end + 1 : NULL;
                if (end)
                        *end = '\0';
                if (!read_line(d, line, error))
                        return NULL;
        }
        return check(d, embedded, error) ? g_steal_pointer(&d) : NULL;
}
