/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/block/image/image.h"

/* Help for tests of qcow2: images in a folder of their own, qemu-img as a second opinion, and a plain buffer as the model of a disk. */

/* Options of each kind of image that we make, and that qemu-img makes from the same words. */
extern const char *const qcow2_variants[]; /* ends with NULL */

/* A path in the test's folder, made at the first call; free it. The folder goes at exit. */
char *rig_path(const char *name);

/* The rest of a qemu-img command line, split at spaces; it must succeed. */
void rig_qemu_img(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* The same, and what it prints. */
char *rig_qemu_img_output(const char *format, ...) G_GNUC_PRINTF(1, 2);

struct image_file *rig_file(const char *path, bool readonly);
/* Opens files beside each other in the test's folder. */
extern const struct image_resolver rig_resolver;
struct image *rig_open(const char *path, bool readonly);
struct image *rig_open_file(struct image_file *file, bool readonly);
void rig_create(const char *path, uint64_t size, const char *options);
void rig_create_file(struct image_file *file, uint64_t size, const char *options);

/* Our own check of an image at rest finds nothing (leaks: but leaks). */
void rig_check(struct image *img, bool leaks);

/* A disk and what it should hold. */
struct model {
        struct image *img;
        uint8_t *data;
        uint64_t size;
        bool discard_is_nothing; /* version 2 with a backing image */
        GRand *rand;
};

void model_init(struct model *m, struct image *img, const void *data, uint32_t seed);
void model_clear(struct model *m);
/* One random write, zero, discard, read or flush. */
void model_step(struct model *m);
void model_compare(struct model *m);
void model_resize(struct model *m, uint64_t size);
