/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Bounded reading of boot images. The size is taken once; a range is checked against it before it is
 * read, and a file that shrinks meanwhile ends the read early, which is an error too. So no later
 * code has to think about offsets and ends of file.
 */

#include "hypervisor/loader/image.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hypervisor/error.h"

bool image_error(const struct image *img, GError **error, const char *format, ...) {
        g_autofree char *message = NULL;
        va_list args;

        va_start(args, format);
        message = g_strdup_vprintf(format, args);
        va_end(args);
        g_set_error(error, HV_ERROR, HV_ERROR_IMAGE, "%s: %s", img->what, message);
        return false;
}

bool image_init(struct image *img, const char *what, int fd, GError **error) {
        struct stat st;

        *img = (struct image){ .what = what, .fd = fd };
        if (fstat(fd, &st) < 0)
                return hv_error_errno(error, errno, "%s", what);
        if (!S_ISREG(st.st_mode))
                return image_error(img, error, "not a regular file");
        if (st.st_size <= 0)
                return image_error(img, error, "the file is empty");

        img->size = (uint64_t) st.st_size;
        return true;
}

static bool
check_range(const struct image *img,
            const char *part,
            uint64_t offset,
            uint64_t len,
            GError **error) {
        if (offset <= img->size && len <= img->size - offset)
                return true;
        return image_error(
                        img, error,
                        "%s (%" PRIu64 " bytes at offset %" PRIu64
                        ") lies beyond the end of the file, which has %" PRIu64 " bytes",
                        part, len, offset, img->size);
}

bool image_read_part(
                const struct image *img,
                const char *part,
                uint64_t offset,
                void *buf,
                uint64_t len,
                GError **error) {
        uint8_t *to = buf;

        if (!check_range(img, part, offset, len, error))
                return false;

        while (len > 0) {
                ssize_t n = pread(img->fd, to, len, (off_t) offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return hv_error_errno(error, errno, "%s: reading %s", img->what, part);
                if (n == 0)
                        return image_error(img, error, "the file was cut while %s was read", part);
                to += n;
                offset += (uint64_t) n;
                len -= (uint64_t) n;
        }
        return true;
}

bool image_load(const struct image *img,
                const char *part,
                uint64_t offset,
                uint64_t len,
                const struct gmem *mem,
                gaddr to,
                GError **error) {
        int r;

        if (!check_range(img, part, offset, len, error))
                return false;
        if (len == 0)
                return true;

        r = gmem_read_from_fd(mem, to, len, img->fd, offset);
        if (r == -EFAULT)
                return image_error(
                                img, error,
                                "%s (%" PRIu64 " bytes at 0x%" PRIx64
                                ") is outside of guest memory",
                                part, len, to.v);
        if (r == -EIO)
                return image_error(img, error, "the file was cut while %s was read", part);
        if (r < 0)
                return hv_error_errno(error, -r, "%s: reading %s", img->what, part);
        return true;
}

#define MAGIC(at, bytes, kind, text)                                                               \
        { at, sizeof(bytes) - 1, bytes, kind, text }

static const struct magic {
        uint16_t at;
        uint16_t len;
        const char *bytes;
        enum image_kind kind;
        const char *text; /* what it is, when it is nothing to boot */
} magics[] = {
        MAGIC(0x000, "\x7f\x45LF", IMAGE_ELF, NULL),
        MAGIC(0x202, "HdrS", IMAGE_BZIMAGE, NULL),
        MAGIC(0x038, "ARM\x64", IMAGE_INVALID, "an AArch64 kernel"),
        MAGIC(0x038, "RSC\x05", IMAGE_INVALID, "a RISC-V kernel"),
        MAGIC(0x004, "zimg", IMAGE_INVALID, "a compressed EFI kernel; unpack it first"),
        MAGIC(0x000, "MZ", IMAGE_INVALID, "an EFI application, not a kernel that boots directly"),
        MAGIC(0x000, "\x1f\x8b", IMAGE_INVALID, "compressed with gzip; unpack it first"),
        MAGIC(0x000, "BZh", IMAGE_INVALID, "compressed with bzip2; unpack it first"),
        MAGIC(0x000, "\xfd\x37zXZ", IMAGE_INVALID, "compressed with xz; unpack it first"),
        MAGIC(0x000, "\x5d\x00\x00", IMAGE_INVALID, "compressed with lzma; unpack it first"),
        MAGIC(0x000, "\x28\xb5\x2f\xfd", IMAGE_INVALID, "compressed with zstd; unpack it first"),
        MAGIC(0x000, "\x02\x21\x4c\x18", IMAGE_INVALID, "compressed with lz4; unpack it first"),
        MAGIC(0x000, "\x04\x22\x4d\x18", IMAGE_INVALID, "compressed with lz4; unpack it first"),
        MAGIC(0x000, "\x27\x05\x19\x56", IMAGE_INVALID, "a U-Boot image"),
        MAGIC(0x000, "QFI\xfb", IMAGE_INVALID, "a qcow2 disk image"),
        MAGIC(0x000, "070701", IMAGE_INVALID, "a cpio archive; is it the initramfs?"),
        MAGIC(0x000, "!<arch>\n", IMAGE_INVALID, "an archive; is it a package?"),
        MAGIC(0x1fe, "\x55\xaa", IMAGE_INVALID, "a boot sector or a very old kernel"),
};

enum image_kind image_identify(const struct image *img, GError **error) {
        uint8_t head[0x206] = {};

        if (!image_read_part(img, "the header", 0, head, MIN(img->size, sizeof(head)), error))
                return IMAGE_INVALID;

        for (size_t i = 0; i < G_N_ELEMENTS(magics); i++) {
                const struct magic *m = &magics[i];

                if (memcmp(head + m->at, m->bytes, m->len) != 0)
                        continue;
                if (m->text)
                        image_error(img, error, "this is %s", m->text);
                return m->kind;
        }
        image_error(img, error, "neither an ELF file nor a bzImage");
        return IMAGE_INVALID;
}
