/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Tap descriptors that somebody else has opened. What a descriptor is, is asked from the kernel and not believed: a frame in the
 * wrong format would be garbage on the host's network, and an arbitrary descriptor one that the guest can write to.
 *
 * Header size and offloads belong to the interface, not to the descriptor; attachment belongs to the descriptor.
 */

#include "devices/net/tap.h"
#include "hypervisor/error.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

static bool refuse(GError **error, const char *why) {
        g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "the network descriptor %s", why);
        return false;
}

/*
 * The kernel reports IFF_NO_PI also for every socket without a filter (IFF_NOFILTER is the same bit), so the truth shows only
 * while there is one. A filter of somebody else's is left alone, and then the bit is believed. macvtap knows neither filters nor
 * packet information.
 */
static bool has_packet_info(int fd) {
        struct sock_filter accept = BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
        struct sock_fprog program = { .len = 1, .filter = &accept }, present = { 0 };
        struct ifreq ifr = { 0 };
        bool found = false;

        if (ioctl(fd, TUNGETFILTER, &present) < 0 || present.len > program.len ||
            ioctl(fd, TUNATTACHFILTER, &program) < 0)
                return false;
        if (ioctl(fd, TUNGETIFF, &ifr) == 0)
                found = !(ifr.ifr_flags & IFF_NO_PI);
        (void) ioctl(fd, TUNDETACHFILTER, 0);
        return found;
}

/* A descriptor that an earlier device has detached has no interface until it is attached again. */
static bool query_interface(int fd, struct ifreq *ret_ifr) {
        struct ifreq attach = { .ifr_flags = IFF_ATTACH_QUEUE };

        if (ioctl(fd, TUNGETIFF, ret_ifr) == 0)
                return true;
        return errno == EBADFD && ioctl(fd, TUNSETQUEUE, &attach) == 0 &&
               ioctl(fd, TUNGETIFF, ret_ifr) == 0;
}

static bool tap_adopt(int fd, bool several, char ret_name[NET_NAME_LEN], GError **error) {
        int header = NET_HEADER_LEN, flags = fcntl(fd, F_GETFL);
        struct ifreq ifr = { 0 };

        if (flags < 0)
                return hv_error_errno(error, errno, "asking for the mode of a network descriptor");
        if ((flags & O_ACCMODE) != O_RDWR)
                return refuse(error, "is not open for reading and writing");
        if (!query_interface(fd, &ifr))
                return refuse(error, "is no tap device, or has no interface yet");
        if (!(ifr.ifr_flags & IFF_TAP))
                return refuse(error, "is a tun device, which has no Ethernet frames");
        if (!(ifr.ifr_flags & IFF_NO_PI) || has_packet_info(fd))
                return refuse(error, "was opened without IFF_NO_PI");
        if (!(ifr.ifr_flags & IFF_VNET_HDR))
                return refuse(error, "was opened without IFF_VNET_HDR");
        if (several && !(ifr.ifr_flags & IFF_MULTI_QUEUE))
                return refuse(error, "is one of several, and was opened without IFF_MULTI_QUEUE");

        if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0)
                return hv_error_errno(error, errno, "setting the header size of %s", ifr.ifr_name);
        if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return hv_error_errno(error, errno, "making %s non-blocking", ifr.ifr_name);
        (void) g_strlcpy(ret_name, ifr.ifr_name, NET_NAME_LEN);
        return true;
}

static int tap_set_offloads(int fd, unsigned offloads) {
        unsigned long f = 0;

        /* The kernel refuses the others without it. */
        if (offloads & NET_OFFLOAD_CSUM) {
                f |= TUN_F_CSUM;
                if (offloads & NET_OFFLOAD_TSO4)
                        f |= TUN_F_TSO4;
                if (offloads & NET_OFFLOAD_TSO6)
                        f |= TUN_F_TSO6;
                if (offloads & NET_OFFLOAD_ECN && offloads & (NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6))
                        f |= TUN_F_TSO_ECN;
                if (offloads & NET_OFFLOAD_UFO)
                        f |= TUN_F_UFO;
        }
        return ioctl(fd, TUNSETOFFLOAD, f) < 0 ? -errno : 0;
}

static unsigned tap_offloads(int fd) {
        unsigned tso = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN;
        unsigned best[] = { tso | NET_OFFLOAD_UFO, tso, NET_OFFLOAD_CSUM };
        unsigned found = 0;

        /* There is no way to ask but to try; UFO came and went with kernel versions. */
        for (size_t i = 0; found == 0 && i < G_N_ELEMENTS(best); i++)
                if (tap_set_offloads(fd, best[i]) == 0)
                        found = best[i];
        (void) tap_set_offloads(fd, 0);
        return found;
}

static int tap_attach(int fd, bool on) {
        struct ifreq ifr = { 0 };

        ifr.ifr_flags = (short) (on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE);
        if (ioctl(fd, TUNSETQUEUE, &ifr) == 0)
                return 0;
        /* It is so already. */
        return errno == EINVAL ? 0 : -errno;
}

/*
 * The kernel remembers the last program, which the next to adopt the interface looks at, and tries to attach it to queues that come
 * later, from where it was in memory; when that works it leaves the queue itself unattached (tun_attach() of drivers/net/tun.c). So what
 * is left behind is one that lets everything through, and none is there when queues change.
 */
static int tap_set_program(int fd, const struct sock_fprog *program) {
        struct sock_filter accept = BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
        struct sock_fprog all = { .len = 1, .filter = &accept };

        if (ioctl(fd, TUNATTACHFILTER, program ?: &all) < 0)
                return -errno;
        if (!program && ioctl(fd, TUNDETACHFILTER, 0) < 0)
                return -errno;
        return 0;
}

/* A macvtap gets frames to its own address and to groups, and more than a driver wants is no fault (virtio 1.2, 5.1.6.5.1). */
static int macvtap_set_program(int fd, const struct sock_fprog *program) {
        return 0;
}

const struct net_port_ops net_tap_ops = {
        .adopt = tap_adopt,
        .offloads = tap_offloads,
        .set_offloads = tap_set_offloads,
        .attach = tap_attach,
        .set_program = tap_set_program,
};

static const struct net_port_ops macvtap_ops = {
        .adopt = tap_adopt,
        .offloads = tap_offloads,
        .set_offloads = tap_set_offloads,
        .attach = tap_attach,
        .set_program = macvtap_set_program,
};

const struct net_port_ops *net_tap_ops_for(int fd) {
        struct sock_fprog present = { 0 };
        struct ifreq ifr = { 0 };

        if (ioctl(fd, TUNGETIFF, &ifr) == 0 && ioctl(fd, TUNGETFILTER, &present) < 0 &&
            errno == EINVAL)
                return &macvtap_ops;
        return &net_tap_ops;
}
