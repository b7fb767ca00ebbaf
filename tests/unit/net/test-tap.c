/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves on real taps, in a network namespace of its own: descriptors that are no tap, or a tap in the wrong mode, are refused with a
 * reason; the host's kernel and the guest exchange ARP and UDP through the device; a checksum that the guest left to the host is
 * right when it arrives, a segment that the host left to the guest arrives unsplit only when the driver negotiated it; queues
 * beyond those in use get no frames; an interface that goes away takes the link down; a driver's filter holds. All of it twice: moved by the device, and by the kernel
 * (vhost-net). Skipped where namespaces or taps are forbidden, or the kernel has no such thing.
 */

#include "devices/net/tap.h"
#include "devices/virtio/net.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"
#include "rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define TIMEOUT_MS 20000
#define BIT(f) (1ull << VNET_F_##f)
#define BUFFERS RIG_DATA
#define FRAME (RIG_DATA + (16u << 20))
#define BUFFER_SIZE 70000u
#define HOST_IP 0x0a2a0001u  /* 10.42.0.1 */
#define GUEST_IP 0x0a2a0002u /* 10.42.0.2 */
#define HEADER_NEEDS_CSUM 1

static const uint8_t guest_mac[6] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc };

static bool have_namespace;
static bool by_kernel; /* moves the frames */

/* What the rings are like, which the kernel has to know. */
#define RING (1ull << 28 | 1ull << 29 | 1ull << 32)

static int tap_open(const char *name, int flags) {
        struct ifreq ifr = { 0 };
        int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

        (void) g_strlcpy(ifr.ifr_name, name, sizeof(ifr.ifr_name));
        ifr.ifr_flags = (short) flags;
        if (fd >= 0 && ioctl(fd, TUNSETIFF, &ifr) < 0) {
                (void) close(fd);
                return -1;
        }
        return fd;
}

/* Gives the interface HOST_IP and brings it up; returns its MAC. */
static void configure(const char *name, uint8_t ret_mac[6]) {
        autofd s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in addr = { .sin_family = AF_INET };
        struct ifreq ifr = { 0 };

        (void) g_strlcpy(ifr.ifr_name, name, sizeof(ifr.ifr_name));
        addr.sin_addr.s_addr = htonl(HOST_IP);
        memcpy(&ifr.ifr_addr, &addr, sizeof(addr));
        g_assert_cmpint(ioctl(s, SIOCSIFADDR, &ifr), ==, 0);
        addr.sin_addr.s_addr = htonl(0xffffff00);
        memcpy(&ifr.ifr_netmask, &addr, sizeof(addr));
        g_assert_cmpint(ioctl(s, SIOCSIFNETMASK, &ifr), ==, 0);
        ifr.ifr_flags = IFF_UP | IFF_RUNNING;
        g_assert_cmpint(ioctl(s, SIOCSIFFLAGS, &ifr), ==, 0);
        g_assert_cmpint(ioctl(s, SIOCGIFHWADDR, &ifr), ==, 0);
        memcpy(ret_mac, ifr.ifr_hwaddr.sa_data, 6);
}

struct tap_rig {
        struct rig r;
        int fds[4], vhosts[4];
        uint8_t host_mac[6];
};

#define TAP_FLAGS (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)

/* So many pairs are served by whom they should be. */
static void expect_hands(struct tap_rig *t, unsigned n) {
        if (by_kernel)
                g_assert_cmpuint(rig_counter(&t->r, "vhost_pairs"), ==, n);
        else
                g_assert_false(((struct vnet *) t->r.vd)->has_kernel);
}

/* False, and skipped, where there are no taps. */
static bool start(struct tap_rig *t, unsigned pairs, uint64_t features) {
        g_autoptr(GError) error = NULL;
        struct virtio_net_config config = {
                .id = "_net0",
                .tap_fds = t->fds,
                .n_pairs = (uint16_t) pairs,
                .queue_size = 128,
                .offload_csum = true,
                .offload_tso = true,
                .offload_ufo = true,
        };

        if (!have_namespace) {
                g_test_skip("no right to a network namespace of our own");
                return false;
        }
        if (by_kernel && access("/dev/vhost-net", R_OK | W_OK) < 0) {
                g_test_skip("this host has no /dev/vhost-net for us");
                return false;
        }
        memcpy(config.mac, guest_mac, sizeof(guest_mac));
        for (unsigned i = 0; i < pairs; i++) {
                t->fds[i] = tap_open("chvdtest0", TAP_FLAGS | (pairs > 1 ? IFF_MULTI_QUEUE : 0));
                if (t->fds[i] < 0) {
                        g_test_skip("no right to make a tap interface");
                        return false;
                }
        }
        for (unsigned i = 0; by_kernel && i < pairs; i++)
                t->vhosts[i] = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
        if (by_kernel)
                config.vhost_fds = t->vhosts;
        rig_init(&t->r);
        rig_attach(&t->r, virtio_net_new(t->r.mem, &config, &error), true, 32);
        g_assert_no_error(error);
        configure("chvdtest0", t->host_mac);
        rig_start(&t->r, (features & t->r.vd->device_features) | RING);
        expect_hands(t, 1);
        return true;
}

static void add_buffers(struct tap_rig *t, unsigned q, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                uint64_t at = BUFFERS + (uint64_t) i * BUFFER_SIZE;
                struct drv_buf buf = { GADDR(at), BUFFER_SIZE, true };

                g_assert_cmpint(drv_add(&t->r.rings[q], &buf, 1, false, GSIZE_TO_POINTER(at)), >=,
                                0);
        }
        rig_publish(&t->r, q);
}

/* The next frame of an Ethernet type; others (the host's own chatter) are passed over. Its header and what follows. */
static uint8_t *receive(struct tap_rig *t, uint16_t type, uint32_t *ret_len) {
        void *cookie;

        for (;;) {
                uint8_t *frame;

                g_assert_true(rig_wait(&t->r, 0, TIMEOUT_MS, &cookie, ret_len));
                frame = rig_host(&t->r, GPOINTER_TO_SIZE(cookie), *ret_len);
                if ((frame[NET_HEADER_LEN + 12] << 8 | frame[NET_HEADER_LEN + 13]) == type)
                        return frame;
        }
}

static void
send_frame(struct tap_rig *t, const struct vnet_header *header, const void *frame, uint32_t len) {
        struct drv_buf bufs[] = {
                { GADDR(FRAME), NET_HEADER_LEN, false },
                { GADDR(FRAME + 64), len, false },
        };
        void *cookie;
        uint32_t used;

        memcpy(rig_host(&t->r, FRAME, NET_HEADER_LEN), header, NET_HEADER_LEN);
        memcpy(rig_host(&t->r, FRAME + 64, len), frame, len);
        g_assert_cmpint(drv_add(&t->r.rings[1], bufs, 2, true, NULL), >=, 0);
        rig_publish(&t->r, 1);
        g_assert_true(rig_wait(&t->r, 1, TIMEOUT_MS, &cookie, &used));
}

struct arp_packet {
        struct ethhdr eth;
        struct arphdr arp;
        uint8_t sha[6];
        uint32_t spa;
        uint8_t tha[6];
        uint32_t tpa;
} __attribute__((packed));

/* Asks for the host's address, which also tells the host ours. */
static void arp(struct tap_rig *t) {
        struct arp_packet p = {
                .eth.h_proto = htons(ETH_P_ARP),
                .arp = { htons(ARPHRD_ETHER), htons(ETH_P_IP), 6, 4, htons(ARPOP_REQUEST) },
                .spa = htonl(GUEST_IP),
                .tpa = htonl(HOST_IP),
        };
        struct arp_packet *reply;
        uint32_t len;

        memset(p.eth.h_dest, 0xff, 6);
        memcpy(p.eth.h_source, guest_mac, 6);
        memcpy(p.sha, guest_mac, 6);
        send_frame(t, &(struct vnet_header){ 0 }, &p, sizeof(p));
        reply = (struct arp_packet *) (receive(t, ETH_P_ARP, &len) + NET_HEADER_LEN);
        g_assert_cmpuint(ntohs(reply->arp.ar_op), ==, ARPOP_REPLY);
        g_assert_cmpint(memcmp(reply->sha, t->host_mac, 6), ==, 0);
        g_assert_cmphex(ntohl(reply->spa), ==, HOST_IP);
}

static uint16_t fold(uint32_t sum) {
        while (sum >> 16)
                sum = (sum & 0xffff) + (sum >> 16);
        return (uint16_t) sum;
}

static uint32_t sum_words(const void *data, size_t len) {
        const uint8_t *p = data;
        uint32_t sum = 0;

        for (size_t i = 0; i + 1 < len; i += 2)
                sum += (uint32_t) p[i] << 8 | p[i + 1];
        if (len % 2)
                sum += (uint32_t) p[len - 1] << 8;
        return sum;
}

static struct iphdr ip_header(uint32_t from, uint32_t to, uint8_t protocol, size_t payload) {
        struct iphdr ip = {
                .version = 4,
                .ihl = 5,
                .ttl = 64,
                .protocol = protocol,
                .saddr = htonl(from),
                .daddr = htonl(to),
                .tot_len = htons((uint16_t) (sizeof(ip) + payload)),
        };

        ip.check = htons((uint16_t) ~fold(sum_words(&ip, sizeof(ip))));
        return ip;
}

static uint32_t pseudo_sum(const void *ip, size_t payload) {
        const uint8_t *p = ip;

        return sum_words(p + offsetof(struct iphdr, saddr), 8) +
               p[offsetof(struct iphdr, protocol)] + (uint32_t) payload;
}

struct udp_packet {
        struct ethhdr eth;
        struct iphdr ip;
        struct udphdr udp;
        char text[32];
} __attribute__((packed));

static int udp_socket(uint16_t port) {
        struct sockaddr_in addr = {
                .sin_family = AF_INET,
                .sin_port = htons(port),
                .sin_addr.s_addr = htonl(HOST_IP),
        };
        struct timeval limit = { TIMEOUT_MS / 1000, 0 };
        int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        g_assert_cmpint(bind(s, (struct sockaddr *) &addr, sizeof(addr)), ==, 0);
        g_assert_cmpint(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), ==, 0);
        return s;
}

static void test_udp(void) {
        struct tap_rig t;
        struct udp_packet p = { .eth.h_proto = htons(ETH_P_IP), .text = "from the guest" };
        const size_t payload = sizeof(p.udp) + sizeof(p.text);
        struct vnet_header header = {
                .flags = HEADER_NEEDS_CSUM,
                .csum_start = sizeof(p.eth) + sizeof(p.ip),
                .csum_offset = offsetof(struct udphdr, check),
        };
        struct sockaddr_in guest = {
                .sin_family = AF_INET,
                .sin_port = htons(7000),
                .sin_addr.s_addr = htonl(GUEST_IP),
        };
        struct udp_packet *got;
        char text[64] = "";
        uint32_t len;
        int s;

        if (!start(&t, 1, BIT(CSUM)))
                return;
        add_buffers(&t, 0, 100);
        arp(&t);
        s = udp_socket(9000);

        /* The checksum is the host's to finish: it holds the pseudo header's sum. */
        memcpy(p.eth.h_dest, t.host_mac, 6);
        memcpy(p.eth.h_source, guest_mac, 6);
        p.ip = ip_header(GUEST_IP, HOST_IP, IPPROTO_UDP, payload);
        p.udp.source = htons(7000);
        p.udp.dest = htons(9000);
        p.udp.len = htons((uint16_t) payload);
        p.udp.check = htons(fold(pseudo_sum(&p.ip, payload)));
        send_frame(&t, &header, &p, sizeof(p));
        g_assert_cmpint(recv(s, text, sizeof(text), 0), ==, sizeof(p.text));
        g_assert_cmpstr(text, ==, "from the guest");

        /* Without GUEST_CSUM what comes back is complete. */
        memset(text, 0, sizeof(text));
        strcpy(text, "from the host");
        g_assert_cmpint(sendto(s, text, 32, 0, (struct sockaddr *) &guest, sizeof(guest)), ==, 32);
        got = (struct udp_packet *) (receive(&t, ETH_P_IP, &len) + NET_HEADER_LEN);
        g_assert_cmpuint(len, ==, NET_HEADER_LEN + sizeof(*got));
        g_assert_cmpstr(got->text, ==, "from the host");
        g_assert_cmpuint(
                        ((struct vnet_header *) (void *) ((uint8_t *) got - NET_HEADER_LEN))
                                                        ->flags &
                                        HEADER_NEEDS_CSUM,
                        ==, 0);
        g_assert_cmphex(fold(pseudo_sum(&got->ip, payload) + sum_words(&got->udp, payload)), ==,
                        0xffff);
        if (!by_kernel)
                g_assert_cmpuint(rig_counter(&t.r, "tx_frames"), ==, 2);
        (void) close(s);
        rig_clear(&t.r);
}

/* One large TCP segment from the host side; it is a lie to nobody but the test. */
static void send_large_segment(struct tap_rig *t, uint32_t data_len, uint16_t mss) {
        static uint8_t packet[66000];
        autofd s = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_IP));
        struct ifreq ifr = { .ifr_name = "chvdtest0" };
        struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP) };
        /* 10 bytes: packet(7) knows no num_buffers. */
        struct vnet_header header = {
                .flags = HEADER_NEEDS_CSUM,
                .gso_type = 1, /* TCPv4 */
                .hdr_len = sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct tcphdr),
                .gso_size = mss,
                .csum_start = sizeof(struct ethhdr) + sizeof(struct iphdr),
                .csum_offset = offsetof(struct tcphdr, check),
        };
        struct ethhdr *eth = (struct ethhdr *) (packet + 10);
        struct iphdr *ip = (struct iphdr *) (eth + 1);
        struct tcphdr *tcp = (struct tcphdr *) (ip + 1);
        size_t len = (size_t) ((uint8_t *) (tcp + 1) - packet) + data_len;
        int on = 1;

        g_assert_cmpint(setsockopt(s, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), ==, 0);
        g_assert_cmpint(ioctl(s, SIOCGIFINDEX, &ifr), ==, 0);
        to.sll_ifindex = ifr.ifr_ifindex;
        memset(packet, 0, sizeof(packet));
        memcpy(packet, &header, 10);
        memcpy(eth->h_dest, guest_mac, 6);
        memcpy(eth->h_source, t->host_mac, 6);
        eth->h_proto = htons(ETH_P_IP);
        *ip = ip_header(HOST_IP, GUEST_IP, IPPROTO_TCP, sizeof(*tcp) + data_len);
        tcp->source = htons(1);
        tcp->dest = htons(2);
        tcp->doff = 5;
        tcp->ack = 1;
        tcp->check = htons(fold(pseudo_sum(ip, sizeof(*tcp) + data_len)));
        for (uint32_t i = 0; i < data_len; i++)
                ((uint8_t *) (tcp + 1))[i] = (uint8_t) (i % 251);
        g_assert_cmpint(sendto(s, packet, len, 0, (struct sockaddr *) &to, sizeof(to)), ==,
                        (ssize_t) len);
}

/* Receives TCP frames until data_len bytes have come; returns how many frames it took. */
static unsigned receive_data(struct tap_rig *t, uint32_t data_len) {
        const uint32_t headers = NET_HEADER_LEN + sizeof(struct ethhdr) + sizeof(struct iphdr) +
                                 sizeof(struct tcphdr);
        unsigned frames = 0;
        uint32_t done = 0, len;

        while (done < data_len) {
                const uint8_t *frame = receive(t, ETH_P_IP, &len);

                g_assert_cmpuint(len, >, headers);
                for (uint32_t i = 0; i < len - headers; i++)
                        g_assert_cmpuint(frame[headers + i], ==, (done + i) % 251);
                done += len - headers;
                frames++;
        }
        g_assert_cmpuint(done, ==, data_len);
        return frames;
}

static void test_segments(void) {
        struct tap_rig t;

        if (!start(&t, 1, 0))
                return;
        add_buffers(&t, 0, 100);
        send_large_segment(&t, 30000, 1000);
        g_assert_cmpuint(receive_data(&t, 30000), ==, 30);

        rig_stop(&t.r);
        rig_start(&t.r, BIT(GUEST_CSUM) | BIT(GUEST_TSO4) | RING);
        expect_hands(&t, 1);
        add_buffers(&t, 0, 100);
        send_large_segment(&t, 60000, 1000);
        g_assert_cmpuint(receive_data(&t, 60000), ==, 1);
        rig_clear(&t.r);
}

/* A flood over many flows while one of three queues is in use: all of it arrives there. */
static void test_queues(void) {
        struct tap_rig t;
        struct sockaddr_in guest = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(GUEST_IP) };
        struct vnet *net;
        uint32_t len;
        int s;

        if (!start(&t, 3, BIT(CTRL_VQ) | BIT(MQ)))
                return;
        net = (struct vnet *) t.r.vd;
        add_buffers(&t, 0, 100);
        arp(&t);
        s = udp_socket(9001);
        /* The others come and go, with a program that looks at frames. */
        net->filter.modes[VNET_RX_PROMISC] = false;
        vnet_kernel_filter(net);
        vnet_pair_set_filter(net->pairs[0]);
        g_assert_cmpint(vnet_set_pairs(net, 3), ==, 0);
        expect_hands(&t, 3);
        g_assert_cmpint(vnet_set_pairs(net, 1), ==, 0);
        expect_hands(&t, 1);
        for (uint16_t i = 0; i < 60; i++) {
                guest.sin_port = htons(2000 + i);
                g_assert_cmpint(sendto(s, "x", 1, 0, (struct sockaddr *) &guest, sizeof(guest)), ==,
                                1);
        }
        for (uint16_t i = 0; i < 60; i++) {
                const struct udp_packet *got =
                                (struct udp_packet
                                                 *) (receive(&t, ETH_P_IP, &len) + NET_HEADER_LEN);

                g_assert_cmpuint(ntohs(got->udp.dest), ==, 2000 + i);
        }
        (void) close(s);
        rig_clear(&t.r);
}

/* A machine that is built again from the same descriptors, as after a reboot, finds the queues that were detached. */
static void test_again(void) {
        struct tap_rig t;
        int kept[3];

        if (!start(&t, 3, BIT(CTRL_VQ) | BIT(MQ)))
                return;
        for (int i = 0; i < 3; i++)
                kept[i] = fcntl(t.fds[i], F_DUPFD_CLOEXEC, 0);
        rig_clear(&t.r);
        for (int i = 0; i < 3; i++) {
                g_autoptr(GError) error = NULL;
                char name[NET_NAME_LEN];

                g_assert_true(net_tap_ops.adopt(kept[i], true, name, &error));
                g_assert_cmpstr(name, ==, "chvdtest0");
                (void) close(kept[i]);
        }
}

/* An empty frame of a type of its own, to that address, in a VLAN or (0) none. */
static void send_raw(const uint8_t to_mac[6], uint16_t vlan) {
        autofd s = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
        struct ifreq ifr = { .ifr_name = "chvdtest0" };
        struct sockaddr_ll to = { .sll_family = AF_PACKET };
        uint8_t frame[60] = { [12] = 0x88, [13] = 0xb5 };

        memcpy(frame, to_mac, 6);
        if (vlan > 0) {
                memcpy(frame + 12, "\x81\0", 2);
                frame[14] = (uint8_t) (vlan >> 8);
                frame[15] = (uint8_t) vlan;
                memcpy(frame + 16, "\x88\xb5", 2);
        }
        g_assert_cmpint(ioctl(s, SIOCGIFINDEX, &ifr), ==, 0);
        to.sll_ifindex = ifr.ifr_ifindex;
        g_assert_cmpint(sendto(s, frame, sizeof(frame), 0, (struct sockaddr *) &to, sizeof(to)), ==,
                        sizeof(frame));
}

/* What is in the driver's filter comes, and nothing else; and all of it again when that is undone. Who moves the frames may change
 * meanwhile. */
static void test_filter(void) {
        static const uint8_t other[6] = { 0x52, 0x54, 0, 1, 1, 1 };
        struct tap_rig t;
        struct vnet *net;
        uint8_t *frame;
        uint32_t len;

        if (!start(&t, 1, BIT(CTRL_VQ) | BIT(CTRL_RX) | BIT(CTRL_VLAN)))
                return;
        net = (struct vnet *) t.r.vd;
        add_buffers(&t, 0, 100);
        net->filter.modes[VNET_RX_PROMISC] = false;
        g_assert_true(vnet_filter_set_vlan(&net->filter, 7, true));
        vnet_kernel_filter(net);
        vnet_pair_set_filter(net->pairs[0]);
        expect_hands(&t, 1);
        for (unsigned i = 0; i < 3; i++) {
                send_raw(other, 0);
                send_raw(guest_mac, 8);
                send_raw(guest_mac, 7);
                frame = receive(&t, ETH_P_8021Q, &len) + NET_HEADER_LEN;
                g_assert_cmpint(memcmp(frame, guest_mac, 6), ==, 0);
                g_assert_cmpuint(frame[15], ==, 7);
                send_raw(other, 7);
                send_raw(guest_mac, 0);
                frame = receive(&t, 0x88b5, &len) + NET_HEADER_LEN;
                g_assert_cmpint(memcmp(frame, guest_mac, 6), ==, 0);
                vnet_kernel_avoid(net, VNET_REASON_LIMITS, i == 0);
                expect_hands(&t, i == 0 ? 0 : 1);
        }
        net->filter.modes[VNET_RX_PROMISC] = true;
        vnet_kernel_filter(net);
        vnet_pair_set_filter(net->pairs[0]);
        send_raw(other, 8);
        frame = receive(&t, ETH_P_8021Q, &len) + NET_HEADER_LEN;
        g_assert_cmpint(memcmp(frame, other, 6), ==, 0);
        rig_clear(&t.r);
}

static void test_interface_removed(void) {
        struct tap_rig t;
        uint16_t status = 1;
        struct timespec before, after;
        struct arp_packet p = { 0 };

        if (!start(&t, 1, BIT(STATUS)))
                return;
        add_buffers(&t, 0, 10);
        /* The namespace keeps the interface only as long as a descriptor holds it: ask for its removal by name. */
        if (system("ip link del chvdtest0 2>/dev/null") != 0) {
                g_test_skip("no ip(8) to remove the interface with");
                rig_clear(&t.r);
                return;
        }
        /* The kernel does not tell. */
        if (by_kernel)
                vnet_kernel_avoid((struct vnet *) t.r.vd, VNET_REASON_LIMITS, true);
        g_assert_true(rig_wait_config_change(&t.r, 0, TIMEOUT_MS));
        t.r.vd->ops->config_read(t.r.vd, 6, &status, 2);
        g_assert_cmpuint(status, ==, 0);
        send_frame(&t, &(struct vnet_header){ 0 }, &p, sizeof(p));
        (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
        g_usleep(100000);
        (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
        g_assert_cmpint((after.tv_sec - before.tv_sec) * 1000000000l + after.tv_nsec -
                                        before.tv_nsec,
                        <, 50000000);
        rig_clear(&t.r);
}

static void refused(int fd, bool several, const char *why) {
        g_autoptr(GError) error = NULL;
        char name[NET_NAME_LEN];

        g_assert_cmpint(fd, >=, 0);
        g_assert_false(net_tap_ops.adopt(fd, several, name, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
        g_assert_nonnull(strstr(error->message, why));
        (void) close(fd);
}

static void test_refused(void) {
        refused(open("/dev/null", O_RDWR | O_CLOEXEC), false, "no tap");
        refused(open("/dev/null", O_RDONLY | O_CLOEXEC), false, "reading and writing");
        refused(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), false, "no tap");
        if (!have_namespace || access("/dev/net/tun", R_OK | W_OK) != 0) {
                g_test_skip("no right to make a tap interface");
                return;
        }
        refused(open("/dev/net/tun", O_RDWR | O_CLOEXEC), false, "no interface");
        refused(tap_open("chvdtun0", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR), false, "tun device");
        refused(tap_open("chvdtap1", IFF_TAP | IFF_VNET_HDR), false, "IFF_NO_PI");
        refused(tap_open("chvdtap2", IFF_TAP | IFF_NO_PI), false, "IFF_VNET_HDR");
        refused(tap_open("chvdtap3", TAP_FLAGS), true, "IFF_MULTI_QUEUE");
}

/* Descriptors of two interfaces are no queue pairs of one. */
static void test_two_interfaces(void) {
        g_autoptr(GError) error = NULL;
        struct virtio_net_config config = { .id = "n", .n_pairs = 2, .queue_size = 64 };
        struct rig r;
        int fds[2];

        fds[0] = have_namespace ? tap_open("chvda", TAP_FLAGS | IFF_MULTI_QUEUE) : -1;
        fds[1] = have_namespace ? tap_open("chvdb", TAP_FLAGS | IFF_MULTI_QUEUE) : -1;
        if (fds[0] < 0 || fds[1] < 0) {
                g_test_skip("no right to make a tap interface");
                return;
        }
        config.tap_fds = fds;
        rig_init(&r);
        g_assert_null(virtio_net_new(r.mem, &config, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
        g_assert_nonnull(strstr(error->message, "chvda and chvdb"));
        rig_clear(&r);
}

struct test {
        const char *name;
        void (*run)(void);
};

static const struct test tests[] = {
        { "udp", test_udp },       { "segments", test_segments },
        { "queues", test_queues }, { "filter", test_filter },
        { "again", test_again },   { "interface-removed", test_interface_removed },
};

static void by_device(gconstpointer data) {
        by_kernel = false;
        ((const struct test *) data)->run();
}

static void by_vhost(gconstpointer data) {
        by_kernel = true;
        ((const struct test *) data)->run();
}

int main(int argc, char **argv) {
        /* Before there are threads, so that all of them live in it. */
        have_namespace = unshare(CLONE_NEWNET) == 0 ||
                         (unshare(CLONE_NEWUSER) == 0 && unshare(CLONE_NEWNET) == 0);
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/tap/refused", test_refused);
        g_test_add_func("/tap/two-interfaces", test_two_interfaces);
        for (size_t i = 0; i < G_N_ELEMENTS(tests); i++) {
                g_autofree char *plain = g_strconcat("/tap/", tests[i].name, NULL);
                g_autofree char *vhost = g_strconcat("/tap/vhost/", tests[i].name, NULL);

                g_test_add_data_func(plain, &tests[i], by_device);
                g_test_add_data_func(vhost, &tests[i], by_vhost);
        }
        return g_test_run();
}
