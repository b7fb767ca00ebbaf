/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * From the command line to a configuration: a JSON file, option strings on top of it, paths made absolute. A file of
 * more than 4 MiB is not read to its end, whatever it is.
 */

#include "chvctl/config-args.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "dbus/error.h"
#include "dbus/fd.h"

#define MAX_SIZE ((4 << 20) + 1)

static char *read_whole(const char *file, size_t *ret_length, GError **error) {
        bool standard_input = strcmp(file, "-") == 0;
        chv_autofd fd = standard_input ? -1 : open(file, O_RDONLY | O_CLOEXEC);
        g_autofree char *text = g_malloc(MAX_SIZE + 1);
        size_t length = 0;

        if (fd < 0 && !standard_input) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG, "%s: %s", file,
                            g_strerror(errno));
                return NULL;
        }
        while (length < MAX_SIZE) {
                ssize_t n =
                                read(standard_input ? STDIN_FILENO : fd, text + length,
                                     MAX_SIZE - length);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0) {
                        g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG, "%s: %s", file,
                                    g_strerror(errno));
                        return NULL;
                }
                if (n == 0)
                        break;
                length += (size_t) n;
        }
        text[length] = '\0';
        *ret_length = length;
        return g_steal_pointer(&text);
}

ChvConfig *config_from_arguments(const Options *options, const char *file, GError **error) {
        g_autoptr(ChvConfig) config = NULL;
        g_autofree char *directory = g_get_current_dir();

        if (file) {
                size_t length;
                g_autofree char *text = read_whole(file, &length, error);

                if (!text)
                        return NULL;
                config = chv_config_from_json(text, (gssize) length, error);
                if (!config) {
                        g_prefix_error(error, "%s: ", file);
                        return NULL;
                }
        } else
                config = chv_config_new();
        for (guint i = 0; i < options->config_options->len; i += 2)
                if (!chv_config_add_option(
                                    config, g_ptr_array_index(options->config_options, i),
                                    g_ptr_array_index(options->config_options, i + 1), error))
                        return NULL;
        if (!options->host)
                chv_config_resolve_paths(config, directory);
        return g_steal_pointer(&config);
}
