/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Sparse extents of VMDK (VMware's Virtual Disk Format 5.0, "Hosted Sparse Extents" and "Stream-Optimized Compressed Sparse
 * Extents"): a header, a directory of tables, tables of grains. A grain is a piece of the disk, at a sector of the file, not
 * there, or all zeros. In streams it is compressed behind a marker that repeats where it belongs, and the header that
 * counts is at the end, since the writer knew the directory's place only there.
 *
 * The directory is read at once and bounded; tables are read when they are needed, a few of them are kept. What an entry says is checked
 * against the file, and the length of a compressed grain against what compression may cost.
 */

#include "devices/block/image/vmdk-sparse.h"
#include "devices/block/image/vmdk-descriptor.h"
#include "hypervisor/error.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <zlib.h>

#define SECTOR 512u
#define MAGIC 0x564d444bu
#define GRAIN_MAX (4u * 1024u * 1024u)
#define TABLE_MAX 512u                /* entries */
#define DIRECTORY_MAX (1024u * 1024u) /* entries */
#define N_CACHED 16u
#define MARKER 12u /* bytes before a compressed grain */

enum {
        FLAG_NEWLINES = 1u << 0,
        FLAG_ZERO_GRAINS = 1u << 2,
        FLAG_COMPRESSED = 1u << 16,
        FLAG_MARKERS = 1u << 17,
};

enum {
        ENTRY_ABSENT = 0,
        ENTRY_ZERO = 1, /* with FLAG_ZERO_GRAINS */
};

struct cached {
        bool valid;
        uint32_t index; /* of the table */
        uint32_t *entries;
};

struct vmdk_sparse {
        struct image_file *file;
        uint32_t flags;
        uint64_t sectors, grain;                /* the disk; sectors of a grain */
        uint64_t descriptor_at, descriptor_len; /* sectors */
        uint32_t table_len, directory_len;      /* entries */
        uint64_t directory_at;                  /* sector */
        uint32_t *directory;                    /* sectors of tables */
        struct cached cached[N_CACHED];
        uint8_t *unpacked; /* the last compressed grain that was read */
        uint64_t unpacked_grain;
        bool has_unpacked;
};

static uint32_t get32(const uint8_t *p) {
        uint32_t v;

        memcpy(&v, p, sizeof(v));
        return GUINT32_FROM_LE(v);
}

static uint64_t get64(const uint8_t *p) {
        uint64_t v;

        memcpy(&v, p, sizeof(v));
        return GUINT64_FROM_LE(v);
}

bool vmdk_sparse_probe(const uint8_t *head, size_t n) {
        return n >= SECTOR && get32(head) == MAGIC;
}

struct vmdk_sparse *vmdk_sparse_free(struct vmdk_sparse *s) {
        if (!s)
                return NULL;
        for (unsigned i = 0; i < N_CACHED; i++)
                g_free(s->cached[i].entries);
        g_free(s->directory);
        g_free(s->unpacked);
        g_free(s);
        return NULL;
}

static bool refuse(GError **error, const char *what) {
        g_set_error(error, HV_ERROR, HV_ERROR_IMAGE, "the VMDK's header: %s", what);
        return false;
}

static bool check_flags(const struct vmdk_sparse *s, const uint8_t *head, GError **error) {
        static const uint8_t newlines[] = { '\n', ' ', '\r', '\n' };
        bool packed = s->flags & FLAG_COMPRESSED;

        if (get32(head + 4) < 1 || get32(head + 4) > 3)
                return refuse(error, "its version is not supported");
        if (s->flags & FLAG_NEWLINES && memcmp(head + 73, newlines, sizeof(newlines)) != 0)
                return refuse(error, "line ends were changed in it; it was copied as a text");
        if (packed != !!(head[77] | head[78]) || (packed && (head[77] != 1 || head[78] != 0)))
                return refuse(error, "its compression is not supported");
        if (packed != !!(s->flags & FLAG_MARKERS))
                return refuse(error, "compressed grains without markers, or markers without those");
        return true;
}

static bool check_sizes(struct vmdk_sparse *s, GError **error) {
        uint64_t span; /* sectors of a table */

        if (s->grain == 0 || s->grain > GRAIN_MAX / SECTOR || (s->grain & (s->grain - 1)) != 0)
                return refuse(error, "the size of a grain is not a power of two up to 4 MiB");
        if (s->table_len == 0 || s->table_len > TABLE_MAX)
                return refuse(error, "the length of a table is wrong");
        if (s->sectors > INT64_MAX / SECTOR)
                return refuse(error, "the size of the disk is wrong");
        span = s->grain * s->table_len;
        if ((s->sectors + span - 1) / span > DIRECTORY_MAX)
                return refuse(error, "the disk is too large for its grains");
        s->directory_len = (uint32_t) ((s->sectors + span - 1) / span);
        if (s->directory_at == 0 || s->directory_at > s->file->size / SECTOR ||
            (uint64_t) s->directory_len * 4 > s->file->size - s->directory_at * SECTOR)
                return refuse(error, "the directory lies outside the file");
        return true;
}

static bool read_header(struct vmdk_sparse *s, uint64_t at, GError **error) {
        uint8_t head[SECTOR];
        int r = image_file_read(s->file, at, head, sizeof(head));

        if (r < 0)
                return hv_error_errno(error, -r, "reading the VMDK's header");
        if (get32(head) != MAGIC)
                return refuse(error, "it is not there");
        s->flags = get32(head + 8);
        s->sectors = get64(head + 12);
        s->grain = get64(head + 20);
        s->descriptor_at = get64(head + 28);
        s->descriptor_len = get64(head + 36);
        s->table_len = get32(head + 44);
        s->directory_at = get64(head + 56);
        return check_flags(s, head, error);
}

static bool read_directory(struct vmdk_sparse *s, GError **error) {
        int r;

        s->directory = g_new(uint32_t, MAX(s->directory_len, 1));
        r =
                        image_file_read(s->file, s->directory_at * SECTOR, s->directory,
                                        s->directory_len * sizeof(uint32_t));
        if (r < 0)
                return hv_error_errno(error, -r, "reading the VMDK's directory");
        for (uint32_t i = 0; i < s->directory_len; i++)
                s->directory[i] = GUINT32_FROM_LE(s->directory[i]);
        return true;
}

struct vmdk_sparse *vmdk_sparse_open(struct image_file *file, GError **error) {
        g_autoptr(vmdk_sparse) s = g_new0(struct vmdk_sparse, 1);
        uint64_t descriptor_at, descriptor_len;

        assert(file);

        s->file = file;
        if (!read_header(s, 0, error))
                return NULL;
        descriptor_at = s->descriptor_at;
        descriptor_len = s->descriptor_len;
        /* Then come the marker of the footer, the footer, the marker of the end. */
        if (s->directory_at == UINT64_MAX) {
                if (file->size < 4 * SECTOR || file->size % SECTOR != 0) {
                        (void) refuse(error, "its footer is not there; the stream was cut off");
                        return NULL;
                }
                if (!read_header(s, file->size - 2 * SECTOR, error)) {
                        g_prefix_error(error, "at the end: ");
                        return NULL;
                }
                s->descriptor_at = descriptor_at;
                s->descriptor_len = descriptor_len;
        }
        if (!check_sizes(s, error) || !read_directory(s, error))
                return NULL;
        return g_steal_pointer(&s);
}

uint64_t vmdk_sparse_size(const struct vmdk_sparse *s) {
        return s->sectors * SECTOR;
}

uint32_t vmdk_sparse_grain(const struct vmdk_sparse *s) {
        return (uint32_t) s->grain * SECTOR;
}

bool vmdk_sparse_is_packed(const struct vmdk_sparse *s) {
        return s->flags & FLAG_COMPRESSED;
}

char *vmdk_sparse_descriptor(const struct vmdk_sparse *s, size_t *ret_n, GError **error) {
        g_autofree char *text = NULL;
        int r;

        if (s->descriptor_at == 0)
                return NULL;
        if (s->descriptor_len == 0 || s->descriptor_len > VMDK_DESCRIPTOR_MAX / SECTOR ||
            s->descriptor_at > s->file->size / SECTOR) {
                (void) refuse(error, "the place of the descriptor is wrong");
                return NULL;
        }
        *ret_n = (size_t) s->descriptor_len * SECTOR;
        text = g_malloc(*ret_n);
        r = image_file_read(s->file, s->descriptor_at * SECTOR, text, *ret_n);
        if (r < 0) {
                (void) hv_error_errno(error, -r, "reading the VMDK's descriptor");
                return NULL;
        }
        return g_steal_pointer(&text);
}

/* *ret: NULL if the table is not there. */
static int get_table(struct vmdk_sparse *s, uint32_t index, const uint32_t **ret) {
        struct cached *c = &s->cached[index % N_CACHED];
        uint64_t at = (uint64_t) s->directory[index] * SECTOR;
        int r;

        *ret = NULL;
        if (at == 0)
                return 0;
        if (at > s->file->size || s->table_len * 4 > s->file->size - at)
                return -EIO;
        if (!c->valid || c->index != index) {
                c->valid = false;
                if (!c->entries)
                        c->entries = g_new(uint32_t, s->table_len);
                r = image_file_read(s->file, at, c->entries, s->table_len * sizeof(uint32_t));
                if (r < 0)
                        return r;
                for (uint32_t i = 0; i < s->table_len; i++)
                        c->entries[i] = GUINT32_FROM_LE(c->entries[i]);
                c->valid = true;
                c->index = index;
        }
        *ret = c->entries;
        return 0;
}

static enum image_extent_kind kind_of(const struct vmdk_sparse *s, uint32_t entry) {
        if (entry == ENTRY_ABSENT)
                return IMAGE_ABSENT;
        if (entry == ENTRY_ZERO && s->flags & FLAG_ZERO_GRAINS)
                return IMAGE_ZERO;
        return s->flags & FLAG_COMPRESSED ? IMAGE_PACKED : IMAGE_DATA;
}

int vmdk_sparse_map(
                struct vmdk_sparse *s, uint64_t offset, uint64_t len, struct image_extent *ret) {
        uint64_t grain = s->grain * SECTOR, n = offset / grain, skip = offset % grain;
        uint32_t index = (uint32_t) (n / s->table_len), i = (uint32_t) (n % s->table_len), first;
        const uint32_t *table;
        int r = get_table(s, index, &table);

        if (r < 0)
                return r;
        *ret = (struct image_extent){ .kind = IMAGE_ABSENT };
        if (!table) {
                ret->len = MIN(len, (s->table_len - i) * grain - skip);
                return 0;
        }
        first = table[i];
        ret->kind = kind_of(s, first);
        ret->len = grain - skip;
        if (ret->kind == IMAGE_DATA) {
                ret->file = s->file;
                ret->at = (uint64_t) first * SECTOR + skip;
                if ((uint64_t) first * SECTOR >= s->file->size)
                        return -EIO;
        }
        while (ret->len < len && ++i < s->table_len && kind_of(s, table[i]) == ret->kind &&
               (ret->kind != IMAGE_DATA || table[i] == first + (ret->len + skip) / SECTOR))
                ret->len += grain;
        ret->len = MIN(ret->len, len);
        return 0;
}

static int inflate_grain(const uint8_t *packed, size_t n, uint8_t *out, size_t len) {
        z_stream z = {
                .next_in = (Bytef *) packed,
                .avail_in = (uInt) n,
                .next_out = out,
                .avail_out = (uInt) len,
        };
        int r;

        if (inflateInit(&z) != Z_OK)
                return -ENOMEM;
        r = inflate(&z, Z_FINISH);
        (void) inflateEnd(&z);
        if (r != Z_STREAM_END)
                return -EIO;
        /* The last one may end where the disk does. */
        memset(out + (len - z.avail_out), 0, z.avail_out);
        return 0;
}

static int unpack(struct vmdk_sparse *s, uint64_t n) {
        size_t grain = (size_t) s->grain * SECTOR;
        uint8_t marker[MARKER];
        g_autofree uint8_t *packed = NULL;
        const uint32_t *table;
        uint64_t at;
        uint32_t len;
        int r = get_table(s, (uint32_t) (n / s->table_len), &table);

        if (r < 0)
                return r;
        if (!table)
                return -EIO;
        at = (uint64_t) table[n % s->table_len] * SECTOR;
        r = image_file_read(s->file, at, marker, sizeof(marker));
        if (r < 0)
                return r;
        len = get32(marker + 8);
        /* zlib makes nothing longer than this. */
        if (get64(marker) != n * s->grain || len == 0 || len > grain + grain / 1000 + 64 ||
            at + MARKER + len > s->file->size)
                return -EIO;
        packed = g_malloc(len);
        if (!s->unpacked)
                s->unpacked = g_malloc(grain);
        r = image_file_read(s->file, at + MARKER, packed, len);
        s->has_unpacked = false;
        if (r == 0)
                r = inflate_grain(packed, len, s->unpacked, grain);
        s->has_unpacked = r == 0;
        s->unpacked_grain = n;
        return r;
}

int vmdk_sparse_read_packed(struct vmdk_sparse *s, uint64_t offset, void *buf, size_t len) {
        uint64_t grain = s->grain * SECTOR;
        uint8_t *out = buf;

        while (len > 0) {
                uint64_t n = offset / grain;
                size_t skip = (size_t) (offset % grain), part = (size_t) MIN(len, grain - skip);

                if (!s->has_unpacked || s->unpacked_grain != n) {
                        int r = unpack(s, n);

                        if (r < 0)
                                return r;
                }
                memcpy(out, s->unpacked + skip, part);
                out += part;
                offset += part;
                len -= part;
        }
        return 0;
}

static void find(struct image_check *check, const char *what, uint64_t n) {
        g_autofree char *text =
                        g_strdup_printf("%s %" G_GUINT64_FORMAT " lies outside the file", what, n);

        check->corruptions++;
        if (check->finding)
                check->finding(check->opaque, /* corruption= */ true, /* repaired= */ false, text);
}

bool vmdk_sparse_check(struct vmdk_sparse *s, struct image_check *check, GError **error) {
        uint64_t grains = (s->sectors + s->grain - 1) / s->grain;

        check->total += grains;
        for (uint32_t i = 0; i < s->directory_len; i++) {
                const uint32_t *table;
                int r = get_table(s, i, &table);

                if (r == -EIO)
                        find(check, "table", i);
                else if (r < 0)
                        return hv_error_errno(error, -r, "reading a table of the VMDK");
                for (uint32_t j = 0; r == 0 && table && j < s->table_len; j++) {
                        enum image_extent_kind kind = kind_of(s, table[j]);

                        if (kind != IMAGE_DATA && kind != IMAGE_PACKED)
                                continue;
                        check->allocated++;
                        if ((uint64_t) table[j] * SECTOR >= s->file->size)
                                find(check, "grain", (uint64_t) i * s->table_len + j);
                }
        }
        return true;
}
