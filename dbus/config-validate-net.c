/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Rules across the options of a network (config-validate.c). */

#include <gio/gio.h>
#include <string.h>

#include "dbus/config.h"
#include "dbus/value.h"

/* Names of interfaces, as the kernel has them. */
static bool
check_interface(const char *name,
                size_t length,
                const char *where,
                const char *key,
                GError **error) {
        bool good = strcmp(name, ".") != 0 && strcmp(name, "..") != 0;

        for (size_t i = 0; i < length; i++)
                good = good && g_ascii_isgraph(name[i]) && !strchr("/:%", name[i]);
        if (!good) {
                g_autofree char *quoted = chv_quote_text(name);

                return chv_invalid(
                                error, "%s.%s: %s can't be an interface's name", where, key,
                                quoted);
        }
        return true;
}

/* "%d" at the end asks the kernel for a number. */
static bool check_tap(const char *tap, const char *where, GError **error) {
        size_t length = strlen(tap);

        if (length > 2 && strcmp(tap + length - 2, "%d") == 0)
                length -= 2;
        return check_interface(tap, length, where, "tap", error);
}

static bool check_bridge(const ChvNetConfig *net, const char *where, GError **error) {
        if (!net->bridge)
                return true;
        if (net->ip)
                return chv_invalid(
                                error,
                                "%s.ip: an interface on a bridge has no address of its own; give "
                                "it to the bridge",
                                where);
        return check_interface(net->bridge, strlen(net->bridge), where, "bridge", error);
}

static bool mask_is_contiguous(GInetAddress *mask) {
        const guint8 *bytes = g_inet_address_to_bytes(mask);
        bool ended = false;

        for (size_t i = 0; i < g_inet_address_get_native_size(mask) * 8; i++) {
                bool bit = bytes[i / 8] >> (7 - i % 8) & 1;

                if (bit && ended)
                        return false;
                ended |= !bit;
        }
        return true;
}

static bool check_address(const ChvNetConfig *net, const char *where, GError **error) {
        g_autoptr(GInetAddress) ip = NULL, mask = NULL;

        if (!net->ip && !net->mask)
                return true;
        if (!net->ip)
                return chv_invalid(error, "%s.mask: needs an ip", where);
        if (!net->mask)
                return chv_invalid(error, "%s.ip: needs a mask", where);
        ip = g_inet_address_new_from_string(net->ip);
        if (!ip)
                return chv_invalid(error, "%s.ip: '%s' is not an IP address", where, net->ip);
        mask = g_inet_address_new_from_string(net->mask);
        if (!mask || g_inet_address_get_family(mask) != g_inet_address_get_family(ip) ||
            !mask_is_contiguous(mask))
                return chv_invalid(
                                error, "%s.mask: '%s' is not a mask for '%s'", where, net->mask,
                                net->ip);
        return true;
}

static bool check_mac(const char *mac, const char *where, const char *key, GError **error) {
        if (!mac)
                return true;
        if (g_ascii_xdigit_value(mac[1]) & 1)
                return chv_invalid(error, "%s.%s: %s is a group address", where, key, mac);
        if (strcmp(mac, "00:00:00:00:00:00") == 0)
                return chv_invalid(error, "%s.%s: must not be all zeros", where, key);
        return true;
}

/* PORT[:PORT] */
static bool ports_are_good(const char *text) {
        g_auto(GStrv) ports = g_strsplit(text, ":", -1);
        unsigned n = g_strv_length(ports);

        for (unsigned i = 0; i < n; i++) {
                guint64 port;

                if (!g_ascii_string_to_unsigned(ports[i], 10, 1, 65535, &port, NULL))
                        return false;
        }
        return n == 1 || n == 2;
}

static bool check_forward(const char *text, const char *where, GError **error) {
        const char *rest = g_str_has_prefix(text, "tcp:") || g_str_has_prefix(text, "udp:")
                                           ? text + 4
                                           : NULL;
        const char *slash = rest ? strchr(rest, '/') : NULL;
        g_autofree char *address = slash ? g_strndup(rest, (gsize) (slash - rest)) : NULL;
        g_autoptr(GInetAddress) ip = address ? g_inet_address_new_from_string(address) : NULL;

        if (!rest || (slash && !ip) || !ports_are_good(slash ? slash + 1 : rest)) {
                g_autofree char *quoted = chv_quote_text(text);

                return chv_invalid(
                                error, "%s.forward: %s is not PROTOCOL:[ADDRESS/]PORT[:PORT]",
                                where, quoted);
        }
        return true;
}

static bool check_backend(const ChvNetConfig *net, const char *where, GError **error) {
        const struct {
                const char *key;
                bool given;
        } of_tap[] = {
                { "tap", g_strcmp0(net->tap, "vmtap%d") != 0 },
                { "bridge", net->bridge },
                { "ip", net->ip },
                { "mask", net->mask },
                { "host_mac", net->host_mac },
                { "vhost", g_strcmp0(net->vhost, "on") == 0 },
                { "rss", net->rss },
        };

        if (!chv_net_is_passt(net))
                return !net->forward ||
                       chv_invalid(error, "%s.forward: needs backend=passt", where);
        for (size_t i = 0; i < G_N_ELEMENTS(of_tap); i++)
                if (of_tap[i].given)
                        return chv_invalid(
                                        error, "%s.%s: not with backend=passt", where,
                                        of_tap[i].key);
        if (net->num_queues != 2)
                return chv_invalid(error, "%s.num_queues: passt has one pair", where);
        for (char **f = net->forward; f && *f; f++)
                if (!check_forward(*f, where, error))
                        return false;
        return true;
}

/* Who moves the frames decides on all that is not asked of it. */
static bool check_vhost_net(const ChvNetConfig *net, const char *where, GError **error) {
        const struct {
                const char *key;
                bool given;
        } others[] = {
                { "tap", g_strcmp0(net->tap, "vmtap%d") != 0 },
                { "backend", net->backend },
                { "forward", net->forward },
                { "bridge", net->bridge },
                { "ip", net->ip },
                { "mask", net->mask },
                { "mac_filter", g_strcmp0(net->mac_filter, "on") == 0 },
                { "host_mac", net->host_mac },
                { "vhost", g_strcmp0(net->vhost, "on") == 0 },
                { "bw_size", net->limiter.bw.size > 0 },
                { "ops_size", net->limiter.ops.size > 0 },
                { "packed", net->pci.packed },
                { "rss", net->rss },
        };

        if (!net->vhost_user) {
                const char *given = net->vhost_socket ? "vhost_socket"
                                    : net->vhost_mode ? "vhost_mode"
                                                      : NULL;

                return !given || chv_invalid(error, "%s.%s: needs vhost_user=on", where, given);
        }
        if (!net->vhost_socket)
                return chv_invalid(error, "%s.vhost_socket: is missing", where);
        if (g_strcmp0(net->vhost_mode, "server") == 0 && strlen(net->vhost_socket) > 107)
                return chv_invalid(
                                error, "%s.vhost_socket: is longer than 107 bytes, and to be made",
                                where);
        for (size_t i = 0; i < G_N_ELEMENTS(others); i++)
                if (others[i].given)
                        return chv_invalid(
                                        error, "%s.%s: not with vhost_user", where, others[i].key);
        return true;
}

/* Nobody is to wonder why the kernel does not move the frames. */
static bool check_vhost(const ChvNetConfig *net, const char *where, GError **error) {
        if (g_strcmp0(net->mac_filter, "on") == 0)
                return chv_invalid(
                                error,
                                "%s.vhost: the kernel does not check addresses; needs "
                                "mac_filter=off",
                                where);
        if (net->rss)
                return chv_invalid(
                                error, "%s.vhost: the kernel does not hash frames; needs rss=off",
                                where);
        return !net->pci.packed ||
               chv_invalid(error, "%s.vhost: the kernel has no packed rings; needs packed=off",
                           where);
}

/* They are replaced by the client that has them. */
static bool check_fds(const ChvNetConfig *net, const char *where, GError **error) {
        return !net->fds || chv_invalid(error,
                                        "%s.fds: descriptors are handed over when a machine is "
                                        "created, and are no part of its configuration",
                                        where);
}

bool chv_net_validate(const ChvNetConfig *net, uint32_t vcpus, const char *where, GError **error) {
        if ((net->tap && !check_tap(net->tap, where, error)) || !check_bridge(net, where, error) ||
            !check_fds(net, where, error) || !check_vhost_net(net, where, error) ||
            !check_backend(net, where, error))
                return false;
        if (net->num_queues % 2 != 0)
                return chv_invalid(
                                error, "%s.num_queues: %u is odd; queues come in pairs", where,
                                net->num_queues);
        if (net->num_queues / 2u > vcpus)
                return chv_invalid(
                                error, "%s.num_queues: %u pairs, but only %u vCPUs at boot", where,
                                net->num_queues / 2u, vcpus);
        if ((net->offload_tso || net->offload_ufo) && !net->offload_csum)
                return chv_invalid(
                                error, "%s.%s: needs offload_csum", where,
                                net->offload_tso ? "offload_tso" : "offload_ufo");
        if (g_strcmp0(net->vhost, "on") == 0 && !check_vhost(net, where, error))
                return false;
        return chv_limiter_validate(&net->limiter, where, error) &&
               check_address(net, where, error) && check_mac(net->mac, where, "mac", error) &&
               check_mac(net->host_mac, where, "host_mac", error);
}
