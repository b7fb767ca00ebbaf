/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Networks whose interface this process has open: --net fd=3, as somebody who may open it has started us. */

#include "chvctl/net-fds.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "dbus/error.h"

static bool fail(size_t net, const char *what, const char *why, GError **error) {
        g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                    "net[%" G_GSIZE_FORMAT "].fds: %s%s", net, what, why);
        return false;
}

/* Those below are standard input and output, which nobody means. */
static int parse(const char *text) {
        guint64 number;

        return g_ascii_string_to_unsigned(text, 10, 3, G_MAXINT, &number, /* error= */ NULL)
                               ? (int) number
                               : -1;
}

static bool
take(ChvNetConfig *net,
     const char *id,
     size_t index,
     GVariantBuilder *handles,
     GUnixFDList *list,
     GError **error) {
        unsigned n = g_strv_length(net->fds);

        if (g_strcmp0(net->tap, "vmtap%d") != 0)
                return fail(index, "not with tap", "", error);
        if (n > UINT16_MAX / 2 || (net->num_queues != 2 && net->num_queues != 2 * n))
                return fail(index, "there has to be one for each pair of num_queues", "", error);
        for (unsigned i = 0; i < n; i++) {
                g_autofree char *name = g_strdup_printf("net/%s/%u", id, i);
                int fd = parse(net->fds[i]), handle;

                if (fd < 0 || fcntl(fd, F_GETFD) < 0)
                        return fail(index, net->fds[i], " is no open descriptor above 2", error);
                handle = g_unix_fd_list_append(list, fd, error);
                if (handle < 0)
                        return false;
                g_variant_builder_add(handles, "{sh}", name, handle);
        }
        net->num_queues = (uint16_t) (2 * n);
        net->fds = NULL;
        return true;
}

bool net_fds_take(ChvConfig *config, GVariantBuilder *handles, GUnixFDList *list, GError **error) {
        g_autoptr(ChvConfig) complete = chv_config_copy(config);

        /* Automatic ids are the same wherever they are made. */
        chv_config_complete(complete);
        for (size_t i = 0; i < config->n_net; i++)
                if (config->net[i].fds &&
                    !take(&config->net[i], complete->net[i].pci.id, i, handles, list, error))
                        return false;
        return true;
}
