/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Tap interfaces by name. An interface that exists is attached to, one that does not is made. It is never made
 * persistent: what we made vanishes with its last descriptor, and that is the worker's, and leaves its bridge by that. One that exists
 * may be a macvtap, which is opened elsewhere and gets the guest's MAC address, as the kernel gives it the frames to that one.
 * Frames carry the virtio header of 12 bytes (virtio 1.2, 5.1.6).
 */

#include "daemon/chvd/tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "daemon/chvd/macvtap.h"
#include "daemon/chvd/resource.h"
#include "dbus/fd.h"

#define ANY_NAME "vmtap%d"
#define VNET_HEADER_BYTES 12

static bool fail(const ChvResource *resource, int errnum, const char *what, GError **error) {
        return chvd_resource_fail(resource, errnum, what, error);
}

char *chvd_tap_interface(int fd) {
        struct ifreq ifr = { 0 };

        if (ioctl(fd, TUNGETIFF, &ifr) < 0)
                return NULL;
        return g_strndup(ifr.ifr_name, IFNAMSIZ);
}

int chvd_tap_prefix_length(const char *mask) {
        uint8_t bytes[16];
        int n = 0, bits = 0;

        if (inet_pton(AF_INET, mask, bytes) == 1)
                n = 4;
        else if (inet_pton(AF_INET6, mask, bytes) == 1)
                n = 16;
        else
                return -1;
        while (bits < n * 8 && bytes[bits / 8] & (0x80 >> bits % 8))
                bits++;
        for (int i = bits; i < n * 8; i++)
                if (bytes[i / 8] & (0x80 >> i % 8))
                        return -1;
        return bits;
}

static struct ifreq request(const char *interface) {
        struct ifreq ifr = { 0 };

        (void) g_strlcpy(ifr.ifr_name, interface, sizeof(ifr.ifr_name));
        return ifr;
}

static bool
set_ipv4(const ChvResource *resource,
         const ChvNetConfig *net,
         const char *interface,
         GError **error) {
        struct ifreq ifr = request(interface);
        struct sockaddr_in in = { .sin_family = AF_INET };
        chv_autofd s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        if (inet_pton(AF_INET, net->ip, &in.sin_addr) != 1)
                return fail(resource, 0, "ip is not an IPv4 address", error);
        (void) memcpy(&ifr.ifr_addr, &in, sizeof(in));
        if (s < 0 || ioctl(s, SIOCSIFADDR, &ifr) < 0)
                return fail(resource, errno, "cannot set ip", error);

        if (inet_pton(AF_INET, net->mask, &in.sin_addr) != 1)
                return fail(resource, 0, "mask is not an IPv4 mask", error);
        (void) memcpy(&ifr.ifr_netmask, &in, sizeof(in));
        if (ioctl(s, SIOCSIFNETMASK, &ifr) < 0)
                return fail(resource, errno, "cannot set mask", error);
        return true;
}

static bool
set_ipv6(const ChvResource *resource,
         const ChvNetConfig *net,
         const char *interface,
         GError **error) {
        struct ifreq ifr = request(interface);
        struct in6_ifreq in6 = { 0 };
        chv_autofd s = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        int prefix = chvd_tap_prefix_length(net->mask);

        if (inet_pton(AF_INET6, net->ip, &in6.ifr6_addr) != 1)
                return fail(resource, 0, "ip is not an IPv6 address", error);
        if (prefix < 0)
                return fail(resource, 0, "mask is not a netmask", error);
        if (s < 0 || ioctl(s, SIOCGIFINDEX, &ifr) < 0)
                return fail(resource, errno, "cannot find the interface", error);
        in6.ifr6_ifindex = ifr.ifr_ifindex;
        in6.ifr6_prefixlen = (uint32_t) prefix;
        if (ioctl(s, SIOCSIFADDR, &in6) < 0 && errno != EEXIST)
                return fail(resource, errno, "cannot set ip", error);
        return true;
}

static bool
set_mac(const ChvResource *resource,
        const char *text,
        const char *interface,
        int s,
        GError **error) {
        struct ifreq ifr = request(interface), now = ifr;
        uint8_t *mac = (uint8_t *) ifr.ifr_hwaddr.sa_data;

        ifr.ifr_hwaddr.sa_family = ARPHRD_ETHER;
        if (sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &mac[0], &mac[1], &mac[2], &mac[3],
                   &mac[4], &mac[5]) != 6)
                return fail(resource, 0, "is to have an address that is none", error);
        if (ioctl(s, SIOCGIFHWADDR, &now) == 0 && memcmp(now.ifr_hwaddr.sa_data, mac, 6) == 0)
                return true;
        if (ioctl(s, SIOCSIFHWADDR, &ifr) < 0)
                return fail(resource, errno, "cannot set its MAC address", error);
        return true;
}

/* A bridge without an address of its own takes the lowest of its ports': guests that come and go must not change it. */
static bool
raise_host_mac(const ChvResource *resource, const char *interface, int s, GError **error) {
        struct ifreq ifr = request(interface);

        if (ioctl(s, SIOCGIFHWADDR, &ifr) < 0)
                return fail(resource, errno, "cannot read its MAC address", error);
        ifr.ifr_hwaddr.sa_data[0] = (char) 0xfe;
        if (ioctl(s, SIOCSIFHWADDR, &ifr) < 0)
                return fail(resource, errno, "cannot set its MAC address", error);
        return true;
}

static bool
fail_bridge(const ChvResource *resource, const char *bridge, int errnum, GError **error) {
        bool absent = errnum == ENODEV, no_bridge = errnum == EOPNOTSUPP;
        g_autofree char *what =
                        g_strdup_printf("bridge '%s' %s", bridge,
                                        absent            ? "does not exist"
                                        : no_bridge       ? "is not a bridge"
                                        : errnum == EBUSY ? "cannot have it: it is on another one"
                                                          : "cannot have it");

        return fail(resource, absent || no_bridge || errnum == EBUSY ? 0 : errnum, what, error);
}

/* An interface that outlives its VMs may be on the bridge already. Only on its own bridge can it be removed. */
static bool
attach(const ChvResource *resource,
       const ChvNetConfig *net,
       const char *interface,
       int s,
       GError **error) {
        struct ifreq port = request(interface), bridge = request(net->bridge);
        int errnum;

        if (ioctl(s, SIOCGIFINDEX, &port) < 0)
                return fail(resource, errno, "cannot find the interface", error);
        bridge.ifr_ifindex = port.ifr_ifindex;
        if (ioctl(s, SIOCBRADDIF, &bridge) == 0)
                return true;
        errnum = errno;
        if (errnum == EBUSY && ioctl(s, SIOCBRDELIF, &bridge) == 0 &&
            ioctl(s, SIOCBRADDIF, &bridge) == 0)
                return true;
        return fail_bridge(resource, net->bridge, errnum, error);
}

/* In the order that leaves the interface up only when all of it is set. */
static bool
set_up(const ChvResource *resource,
       const ChvNetConfig *net,
       const char *mac,
       const char *interface,
       GError **error) {
        struct ifreq ifr = request(interface);
        chv_autofd s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        if (s < 0)
                return fail(resource, errno, "cannot make a socket", error);
        if (mac && !set_mac(resource, mac, interface, s, error))
                return false;
        if (net->mtu) {
                ifr.ifr_mtu = net->mtu;
                if (ioctl(s, SIOCSIFMTU, &ifr) < 0)
                        return fail(resource, errno, "cannot set mtu", error);
        }
        if (net->bridge && !net->host_mac && !raise_host_mac(resource, interface, s, error))
                return false;
        if (net->bridge && !attach(resource, net, interface, s, error))
                return false;
        if (net->ip && net->mask) {
                bool v6 = strchr(net->ip, ':') != NULL;

                if (!(v6 ? set_ipv6 : set_ipv4)(resource, net, interface, error))
                        return false;
        }

        ifr = request(interface);
        if (ioctl(s, SIOCGIFFLAGS, &ifr) < 0)
                return fail(resource, errno, "cannot read flags", error);
        if ((ifr.ifr_flags & (IFF_UP | IFF_RUNNING)) == (IFF_UP | IFF_RUNNING))
                return true;
        ifr.ifr_flags |= IFF_UP | IFF_RUNNING;
        if (ioctl(s, SIOCSIFFLAGS, &ifr) < 0)
                return fail(resource, errno, "cannot bring up", error);
        return true;
}

/* Its header size and queues are its own, so it is open for others; that one VM has it is noted by who calls us. */
static int
open_macvtap(const ChvResource *resource,
             const char *path,
             const char *name,
             bool first,
             GError **error) {
        const ChvNetConfig *net = resource->config;
        const char *given = net->bridge     ? "bridge"
                            : net->ip       ? "ip"
                            : net->host_mac ? "host_mac"
                                            : NULL;
        struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
        int header = VNET_HEADER_BYTES;
        chv_autofd fd = -1;

        if (given) {
                g_autofree char *what = g_strdup_printf(
                                "is a macvtap, whose host side is another interface: no %s", given);

                (void) fail(resource, 0, what, error);
                return -1;
        }
        fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0) {
                g_autofree char *what = g_strdup_printf("cannot open %s", path);

                (void) fail(resource, errno, what, error);
                return -1;
        }
        if (net->num_queues > 2)
                ifr.ifr_flags |= IFF_MULTI_QUEUE;
        if (!chvd_macvtap_belongs(fd, name) || ioctl(fd, TUNSETIFF, &ifr) < 0 ||
            ioctl(fd, TUNSETVNETHDRSZ, &header) < 0) {
                (void) fail(resource, errno, "cannot attach", error);
                return -1;
        }
        if (first && !set_up(resource, net, net->mac, name, error))
                return -1;
        return chv_fd_steal(&fd);
}

int chvd_tap_open(const ChvResource *resource, const char *interface, GError **error) {
        const ChvNetConfig *net = resource->config;
        const char *name = interface ?: net->tap ?: ANY_NAME;
        struct ifreq ifr = request(name);
        int header = VNET_HEADER_BYTES;
        g_autofree char *macvtap = NULL;
        chv_autofd fd = -1;

        if (strlen(name) >= IFNAMSIZ) {
                (void) fail(resource, 0, "longer than an interface name can be", error);
                return -1;
        }
        macvtap = chvd_macvtap_path(name);
        if (macvtap)
                return open_macvtap(resource, macvtap, name, /* first= */ !interface, error);
        fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0) {
                (void) fail(resource, errno, "cannot open /dev/net/tun", error);
                return -1;
        }
        ifr.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
        if (net->num_queues > 2)
                ifr.ifr_flags |= IFF_MULTI_QUEUE;
        if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
                (void) fail(resource, errno,
                            errno == EBUSY    ? "is in use by another VM or program"
                            : errno == EINVAL ? "is not a tap, or has another number of queues"
                                              : "cannot attach",
                            error);
                return -1;
        }
        if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0) {
                (void) fail(resource, errno, "cannot set header size", error);
                return -1;
        }
        if (!interface && !set_up(resource, net, net->host_mac, ifr.ifr_name, error))
                return -1;
        return chv_fd_steal(&fd);
}
