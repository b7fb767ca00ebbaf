/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the worker needs so that the kernel moves a network's frames: a descriptor of /dev/vhost-net for each queue pair, opened with the
 * daemon's rights as the taps are, and the interface's statistics, as it has neither a network nor files to look for them. It is
 * for speed alone, so without vhost=on a host that does not have it is told of once, and the frames go through the worker.
 */

#include "daemon/chvd/vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "daemon/chvd/macvtap.h"
#include "daemon/chvd/resource.h"
#include "daemon/chvd/tap.h"
#include "dbus/fd.h"

#define DEVICE "/dev/vhost-net"
/* One message passes at most 253 descriptors (Linux: SCM_MAX_FD), and there are others. */
#define DESCRIPTORS_MAX 200

/* In the order in which the worker counts: what the guest gets, then what it sends. A tap is the host's end of the wire, a macvtap the
 * guest's. */
static const char *const statistics[] = { "tx_bytes", "tx_packets", "rx_bytes", "rx_packets" };
static const char *const statistics_macvtap[] = {
        "rx_bytes",
        "rx_packets",
        "tx_bytes",
        "tx_packets",
};
G_STATIC_ASSERT(G_N_ELEMENTS(statistics) == G_N_ELEMENTS(statistics_macvtap));

/* An interface of another network namespace may have the name of one here. One that cannot be asked is not ours. */
static bool is_here(int tap) {
        chv_autofd there = ioctl(tap, TUNGETDEVNETNS);
        struct stat a, b;

        return there >= 0 && fstat(there, &a) == 0 && stat("/proc/self/ns/net", &b) == 0 &&
               a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int open_statistic(const char *interface, const char *name) {
        g_autofree char *path = g_strdup_printf("/sys/class/net/%s/statistics/%s", interface, name);

        return open(path, O_RDONLY | O_CLOEXEC);
}

/* All or none. */
static void add_statistics(ChvdFdSet *fds, const ChvNetConfig *net, int tap) {
        g_autofree char *interface = chvd_tap_interface(tap);
        bool macvtap = interface && chvd_macvtap_belongs(tap, interface);
        const char *const *names = macvtap ? statistics_macvtap : statistics;
        int files[G_N_ELEMENTS(statistics)];
        size_t n = 0;

        while (interface && (macvtap || is_here(tap)) && n < G_N_ELEMENTS(statistics) &&
               (files[n] = open_statistic(interface, names[n])) >= 0)
                n++;
        if (n < G_N_ELEMENTS(statistics))
                while (n-- > 0)
                        chv_fd_closep(&files[n]);
        else
                for (size_t i = 0; i < n; i++) {
                        g_autofree char *name =
                                        g_strdup_printf("net/%s/statistics/%zu", net->pci.id, i);

                        chvd_fd_set_take(fds, name, files[i]);
                }
}

static void tell_once(int errnum) {
        static gsize told = 0;

        if (!g_once_init_enter(&told))
                return;
        g_message("%s cannot be opened, so VMs move the frames of their networks themselves: %s",
                  DEVICE, g_strerror(errnum));
        g_once_init_leave(&told, 1);
}

bool chvd_vhost_add(ChvdFdSet *fds, const ChvNetConfig *net, size_t index, GError **error) {
        g_autofree char *option = g_strdup_printf("net[%zu].vhost", index);
        const ChvResource need = { .option = option, .path = DEVICE };
        g_autofree char *first = g_strdup_printf("net/%s/0", net->pci.id);
        bool must = g_strcmp0(net->vhost, "on") == 0;
        unsigned n = net->num_queues / 2;
        g_autofree int *opened = g_new(int, n);
        unsigned i;

        if (!chv_net_wants_vhost(net))
                return true;
        if (chvd_fd_set_size(fds) + n + G_N_ELEMENTS(statistics) > DESCRIPTORS_MAX)
                return !must ||
                       chvd_resource_fail(&need, 0, "the machine has too many queues", error);
        for (i = 0; i < n; i++) {
                opened[i] = open(DEVICE, O_RDWR | O_CLOEXEC);
                if (opened[i] < 0)
                        break;
        }
        if (i < n) {
                int errnum = errno;

                while (i-- > 0)
                        chv_fd_closep(&opened[i]);
                if (must)
                        return chvd_resource_fail(&need, errnum, "cannot open", error);
                tell_once(errnum);
                return true;
        }
        for (i = 0; i < n; i++) {
                g_autofree char *name = g_strdup_printf("net/%s/vhost/%u", net->pci.id, i);

                chvd_fd_set_take(fds, name, opened[i]);
        }
        add_statistics(fds, net, chvd_fd_set_get(fds, first));
        return true;
}
