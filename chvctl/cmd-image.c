/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * image: work on disk images. It needs no service, and code for image formats that this program does not have: chvctl becomes
 * the one that has it, chv-image, with the same arguments.
 */

#include "config.h"

#include <errno.h>
#include <unistd.h>

#include "chvctl/arguments.h"
#include "chvctl/image.h"

static const char *image_program(void) {
        return g_getenv("CHV_IMAGE") ?: CHV_LIBEXECDIR "/chv-image";
}

int image_exec(const char *const *first, char **rest) {
        g_autoptr(GPtrArray) argv = g_ptr_array_new();

        g_ptr_array_add(argv, (gpointer) image_program());
        for (; *first; first++)
                g_ptr_array_add(argv, (gpointer) *first);
        for (; *rest; rest++)
                g_ptr_array_add(argv, *rest);
        g_ptr_array_add(argv, NULL);
        (void) execv(image_program(), (char **) argv->pdata);
        return errno;
}

ExitStatus cmd_image(Options *options, Bus *bus) {
        const char *const none[] = { NULL };
        char *no_verb[] = { (char *) "--help", NULL };
        int r;

        if (options->host) {
                g_printerr("chvctl: image works on files of this host, without the service\n"
                           "Run it there: ssh %s chvctl image …\n",
                           options->host);
                return EXIT_USAGE;
        }
        /* "--json" before the command means it too. */
        if (options->json != JSON_OFF && options->arguments->len > 0)
                g_ptr_array_insert(options->arguments, 1, g_strdup("--json"));
        g_ptr_array_add(options->arguments, NULL);
        r = image_exec(none,
                       options->arguments->len > 1 ? (char **) options->arguments->pdata : no_verb);
        g_printerr("chvctl: %s: %s\n", image_program(), g_strerror(r));
        return EXIT_FAILED;
}
