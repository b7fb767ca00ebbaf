/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What images of all formats share: opening a chain, reading through it, and writing by the rule that a format makes room and this
 * file fills it. A format only says where things lie and gives out space; it never sees iovecs.
 */

#include "devices/block/image/image.h"
#include "hypervisor/error.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

const struct image_format *const image_formats[] = {
        &image_raw, &image_qcow2, &image_vhd, &image_vhdx, &image_vmdk, NULL,
};

static const char *const role_names[IMAGE_ROLE_MAX] = {
        [IMAGE_ROLE_BACKING] = "backing",
        [IMAGE_ROLE_DATA] = "data",
        [IMAGE_ROLE_EXTENT] = "extent",
};

const char *image_role_to_string(enum image_role role) {
        return role < IMAGE_ROLE_MAX ? role_names[role] : NULL;
}

const struct image_format *image_format_by_name(const char *name) {
        for (size_t i = 0; image_formats[i]; i++)
                if (strcmp(image_formats[i]->name, name) == 0)
                        return image_formats[i];
        return NULL;
}

const struct image_format *image_probe(struct image_file *file, GError **error) {
        uint8_t head[IMAGE_PROBE_LEN], tail[IMAGE_TAIL_LEN];
        size_t n;
        int r;

        assert(file);

        n = (size_t) MIN(file->size, sizeof(head));
        r = image_file_read(file, 0, head, n);
        if (r == 0 && file->size >= sizeof(tail))
                r = image_file_read(file, file->size - sizeof(tail), tail, sizeof(tail));
        if (r < 0) {
                (void) hv_error_errno(
                                error, -r, "reading the first and last bytes of a disk image");
                return NULL;
        }
        for (size_t i = 0; image_formats[i]; i++)
                if (image_formats[i]->probe && image_formats[i]->probe(head, n))
                        return image_formats[i];
        for (size_t i = 0; image_formats[i]; i++)
                if (image_formats[i]->probe_tail && file->size >= sizeof(tail) &&
                    image_formats[i]->probe_tail(tail))
                        return image_formats[i];
        return &image_raw;
}

static const struct image_format *
choose_format(struct image_file *file, const char *name, GError **error) {
        const struct image_format *format;

        if (!name)
                return image_probe(file, error);
        format = image_format_by_name(name);
        if (!format)
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "'%s' is no format of disk images",
                            name);
        return format;
}

static bool is_good_name(const char *name) {
        if (!*name || !g_utf8_validate(name, -1, NULL))
                return false;
        for (const char *p = name; *p; p++)
                if (g_ascii_iscntrl(*p))
                        return false;
        return true;
}

static bool open_backing(struct image *img, const struct image_open *how, GError **error) {
        struct image_open below = {
                .format = img->backing_format,
                .readonly = true,
                .resolver = how->resolver,
                .depth = how->depth + 1,
        };
        struct image_file *file;

        if (!img->backing_name || how->for_check)
                return true;
        if (!is_good_name(img->backing_name)) {
                g_set_error_literal(
                                error, HV_ERROR, HV_ERROR_IMAGE,
                                "the name of the backing file has control characters or "
                                "is not UTF-8");
                return false;
        }
        if (!how->resolver) {
                g_set_error(error, HV_ERROR, HV_ERROR_IMAGE,
                            "the image has a backing file, '%s', and that is not permitted",
                            img->backing_name);
                return false;
        }
        if (below.depth >= IMAGE_DEPTH_MAX) {
                g_set_error(error, HV_ERROR, HV_ERROR_IMAGE,
                            "the chain of backing files has more than %u images", IMAGE_DEPTH_MAX);
                return false;
        }
        file = how->resolver->open(
                        how->resolver->opaque, IMAGE_ROLE_BACKING, img->backing_name,
                        img->backing_format, below.depth, /* readonly= */ true, error);
        if (file)
                img->backing = image_open(file, &below, error);
        if (!img->backing)
                g_prefix_error(error, "backing file '%s': ", img->backing_name);
        return img->backing;
}

struct image *image_open(struct image_file *file, const struct image_open *how, GError **error) {
        g_autoptr(image_file) owned = file;
        g_autoptr(image) img = NULL;
        const struct image_format *format;

        assert(file && how);

        format = choose_format(file, how->format, error);
        if (!format)
                return NULL;
        img = format->open(file, how, error);
        if (!img)
                return NULL;
        img->format = format;
        img->file = g_steal_pointer(&owned);
        img->probed = !how->format;
        img->readonly = img->readonly || how->readonly || img->file->readonly;
        assert(img->cluster >= 512 && (img->cluster & (img->cluster - 1)) == 0);
        assert(img->size % 512 == 0);
        if (!open_backing(img, how, error))
                return NULL;
        return g_steal_pointer(&img);
}

int image_close(struct image *img) {
        int r = 0;

        while (img) {
                struct image *below = img->backing;
                struct image_file *file = img->file;

                if (!img->readonly) {
                        int flushed = image_flush(img);

                        r = r < 0 ? r : flushed;
                }
                g_free(img->backing_name);
                g_free(img->backing_format);
                img->format->close(img);
                (void) image_file_free(file);
                img = below;
        }
        return r;
}

void image_free(struct image *img) {
        (void) image_close(img);
}

void image_tell_moved(struct image *img, uint64_t offset, uint64_t len) {
        if (img->moved)
                img->moved(img->moved_opaque, offset, len);
}

static int check_range(const struct image *img, uint64_t offset, uint64_t len) {
        return offset > img->size || len > img->size - offset ? -EINVAL : 0;
}

int image_map(struct image *img, uint64_t offset, uint64_t len, struct image_extent *ret) {
        int r;

        assert(img && ret);
        assert(len > 0);

        r = check_range(img, offset, len);
        if (r == 0)
                r = img->format->map(img, offset, len, ret);
        if (r < 0)
                return r;
        assert(ret->len > 0 && ret->len <= len);
        return 0;
}

int image_map_chain(
                struct image *img,
                uint64_t offset,
                uint64_t len,
                struct image_extent *ret,
                struct image **ret_img) {
        struct image *at = img;
        int r = image_map(at, offset, len, ret);

        while (r == 0 && ret->kind == IMAGE_ABSENT) {
                len = ret->len;
                at = at->backing;
                if (!at || offset >= at->size) {
                        *ret = (struct image_extent){ .kind = IMAGE_ZERO, .len = len };
                        break;
                }
                r = image_map(at, offset, MIN(len, at->size - offset), ret);
                ret->writable = false;
                ret->allocated = false;
        }
        if (ret_img)
                *ret_img = at;
        return r;
}

/* A place in an array of buffers. */
struct cursor {
        const struct iovec *iov;
        unsigned n;
        size_t taken; /* bytes of iov[0] */
};

#define PART_MAX 64u

/* Fills part with the next len bytes, or as many as PART_MAX buffers have. Returns how many. */
static uint64_t take(struct cursor *c, uint64_t len, struct iovec *part, unsigned *ret_n) {
        uint64_t got = 0;

        for (*ret_n = 0; got < len && c->n > 0 && *ret_n < PART_MAX;) {
                size_t size = (size_t) MIN(len - got, c->iov->iov_len - c->taken);

                if (size > 0)
                        part[(*ret_n)++] = (struct iovec){ (char *) c->iov->iov_base + c->taken,
                                                           size };
                got += size;
                c->taken += size;
                if (c->taken == c->iov->iov_len) {
                        c->iov++;
                        c->n--;
                        c->taken = 0;
                }
        }
        return got;
}

static uint64_t total(const struct iovec *iov, unsigned n) {
        uint64_t len = 0;

        for (unsigned i = 0; i < n; i++)
                len += iov[i].iov_len;
        return len;
}

static int
read_part(struct image *img,
          const struct image_extent *x,
          uint64_t offset,
          const struct iovec *iov,
          unsigned n,
          uint64_t skip) {
        int r = 0;

        if (x->kind == IMAGE_DATA)
                return image_file_readv(x->file, x->at + skip, iov, n);
        for (unsigned i = 0; r == 0 && i < n; i++) {
                if (x->kind == IMAGE_ZERO)
                        memset(iov[i].iov_base, 0, iov[i].iov_len);
                else
                        r = img->format->read_packed(img, offset, iov[i].iov_base, iov[i].iov_len);
                offset += iov[i].iov_len;
        }
        return r;
}

int image_readv(struct image *img, uint64_t offset, const struct iovec *iov, unsigned n) {
        struct cursor c = { iov, n, 0 };
        uint64_t left = total(iov, n);
        int r;

        assert(img);

        r = check_range(img, offset, left);
        while (r == 0 && left > 0) {
                struct image_extent x;
                struct image *whose;

                r = image_map_chain(img, offset, left, &x, &whose);
                for (uint64_t done = 0; r == 0 && done < x.len;) {
                        struct iovec part[PART_MAX];
                        unsigned n_part;
                        uint64_t size = take(&c, x.len - done, part, &n_part);

                        r = read_part(whose, &x, offset, part, n_part, done);
                        done += size;
                        offset += size;
                        left -= size;
                }
        }
        return r;
}

int image_read(struct image *img, uint64_t offset, void *buf, size_t len) {
        return image_readv(img, offset, &(struct iovec){ buf, len }, 1);
}

/* 0 if a change of the range may be tried. */
static int check_change(const struct image *img, uint64_t offset, uint64_t len) {
        return img->readonly ? -EROFS : check_range(img, offset, len);
}

static void release_held(struct image *img) {
        if (!img->hold && img->format->release_held)
                img->format->release_held(img);
}

/* Where the next bytes are to be written. */
static int make_room(struct image *img, uint64_t offset, uint64_t len, struct image_extent *x) {
        int r = image_map(img, offset, len, x);

        if (r < 0 || (x->kind == IMAGE_DATA && x->writable))
                return r;
        if (!img->format->allocate)
                return -EROFS;
        r = img->format->allocate(img, offset, len, x);
        assert(r < 0 || (x->kind == IMAGE_DATA && x->writable && x->len > 0 && x->len <= len));
        return r;
}

int image_writev(struct image *img, uint64_t offset, const struct iovec *iov, unsigned n) {
        struct cursor c = { iov, n, 0 };
        uint64_t left = total(iov, n);
        int r;

        assert(img);

        r = check_change(img, offset, left);
        while (r == 0 && left > 0) {
                struct image_extent x;

                r = make_room(img, offset, left, &x);
                for (uint64_t done = 0; r == 0 && done < x.len;) {
                        struct iovec part[PART_MAX];
                        unsigned n_part;
                        uint64_t size = take(&c, x.len - done, part, &n_part);

                        r = image_file_writev(x.file, x.at + done, part, n_part);
                        done += size;
                        offset += size;
                        left -= size;
                }
        }
        release_held(img);
        return r;
}

int image_write(struct image *img, uint64_t offset, const void *buf, size_t len) {
        return image_writev(img, offset, &(struct iovec){ (void *) buf, len }, 1);
}

int image_write_packed(struct image *img, uint64_t offset, const void *buf, size_t len) {
        uint32_t unit = img->packed_unit;
        g_autofree char *whole = NULL;
        int r = check_change(img, offset, len);

        if (r < 0)
                return r;
        if (unit == 0)
                return -EOPNOTSUPP;
        assert(buf && offset % unit == 0 && len > 0);
        assert(len == unit || (len < unit && offset + len == img->size));

        if (len < unit) {
                whole = g_malloc0(unit);
                memcpy(whole, buf, len);
        }
        r = img->format->write_packed(img, offset, whole ?: buf);
        release_held(img);
        return r == 0 ? image_write(img, offset, buf, len) : MIN(r, 0);
}

/* Zeros by writing them, where there is something else. */
static int write_zeros(struct image *img, uint64_t offset, uint64_t len) {
        static const char zeros[64 * 1024];

        for (uint64_t end = offset + len; offset < end;) {
                struct image_extent x;
                int r = image_map_chain(img, offset, MIN(end - offset, sizeof(zeros)), &x, NULL);

                if (r == 0 && x.kind != IMAGE_ZERO)
                        r = image_write(img, offset, zeros, (size_t) x.len);
                if (r < 0)
                        return r;
                offset += x.len;
        }
        return 0;
}

/* The whole clusters within [offset, offset + len); the image's end counts as one's. Empty: first == end. */
static void
whole_clusters(const struct image *img,
               uint64_t offset,
               uint64_t len,
               uint64_t *ret_first,
               uint64_t *ret_end) {
        uint64_t mask = img->cluster - 1, end = offset + len;

        *ret_first = MIN(offset + (-offset & mask), end);
        *ret_end = end == img->size ? end : end & ~mask;
        if (*ret_end < *ret_first)
                *ret_first = *ret_end = end;
}

int image_zero(struct image *img, uint64_t offset, uint64_t len, bool unmap) {
        uint64_t first, end;
        int r;

        assert(img);

        r = check_change(img, offset, len);
        if (r < 0)
                return r;
        whole_clusters(img, offset, len, &first, &end);
        if (!img->format->zero)
                first = end = offset + len;
        r = write_zeros(img, offset, first - offset);
        if (r == 0 && end > first)
                r = img->format->zero(img, first, end - first, unmap);
        if (r == 0)
                r = write_zeros(img, end, offset + len - end);
        release_held(img);
        return r;
}

int image_discard(struct image *img, uint64_t offset, uint64_t len) {
        uint64_t first, end;
        int r;

        assert(img);

        r = check_change(img, offset, len);
        whole_clusters(img, offset, len, &first, &end);
        if (r < 0 || !img->format->discard || end == first)
                return r;
        r = img->format->discard(img, first, end - first);
        release_held(img);
        return r;
}

int image_flush(struct image *img) {
        int r;

        assert(img);

        if (img->readonly)
                return 0;
        r = img->format->flush ? img->format->flush(img) : image_file_sync(img->file);
        release_held(img);
        return r;
}
