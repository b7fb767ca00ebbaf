/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * A VM's configuration as C sees it. dbus/schema.c has one row for each option (key, type, default, range, unit, one-line
 * documentation, who resolves it, where it lives in these structs); option strings, JSON and a{sv} are all read and written through those
 * rows. Keys and defaults: reference 1.1-1.11.
 *
 * Strings are owned by the configuration, NULL when not given. Paths stay paths here; what was opened for them travels beside
 * the configuration, named by chv_config_resources().
 */

typedef enum {
        CHV_CONSOLE_OFF,
        CHV_CONSOLE_NULL,
        CHV_CONSOLE_PTY,
        CHV_CONSOLE_TTY, /* the client's terminal; session mode */
        CHV_CONSOLE_FILE,
        CHV_CONSOLE_SOCKET,
        CHV_CONSOLE_MODE_MAX,
        CHV_CONSOLE_MODE_INVALID = -22,
} ChvConsoleMode;

typedef struct {
        uint32_t vcpu;
        uint16_t *host_cpus;
        size_t n_host_cpus;
} ChvCpuAffinity;

typedef struct {
        uint32_t boot_vcpus; /* 1 */
        uint32_t max_vcpus;  /* = boot_vcpus */
        struct {
                uint16_t threads_per_core, cores_per_die, dies_per_package,
                                packages; /* all 0: not given */
        } topology;
        bool kvm_hyperv;
        uint8_t max_phys_bits; /* 46 */
        ChvCpuAffinity *affinity;
        size_t n_affinity;
        bool amx;
        bool nested; /* true */
} ChvCpusConfig;

typedef struct {
        uint64_t size; /* bytes; 512 MiB */
        bool mergeable, shared, hugepages, prefault, reserve;
        uint64_t hugepage_size; /* 0: host's default */
        bool thp;               /* true */
} ChvMemoryConfig;

typedef struct {
        char *firmware, *kernel, *cmdline, *initramfs;
} ChvPayloadConfig;

/* Common to every PCI device. */
typedef struct {
        char *id;    /* given or automatic (chv_config_complete) */
        bool packed; /* virtio rings */
        uint16_t pci_segment;
        int16_t pci_device_id; /* slot; -1: automatic */
} ChvPciCommon;

/* What a device may do in time (reference 1.6); sizes of 0: no limit. */
typedef struct {
        uint64_t size, one_time_burst; /* bytes or operations */
        uint64_t refill_time;          /* ms */
} ChvRateLimit;

typedef struct {
        ChvRateLimit bw, ops;
} ChvRateLimiter;

typedef struct {
        char *id;
        ChvRateLimiter limiter;
} ChvRateLimitGroup;

typedef struct {
        uint16_t queue_index;
        uint16_t *host_cpus;
        size_t n_host_cpus;
} ChvQueueAffinity;

typedef struct {
        ChvPciCommon pci;
        char *path;
        bool readonly, direct;
        uint16_t num_queues; /* 1 */
        uint16_t queue_size; /* 128 */
        bool disable_io_uring;
        bool disable_aio; /* there is none */
        char *serial;
        ChvQueueAffinity *queue_affinity;
        size_t n_queue_affinity;
        char *rate_limit_group; /* in place of limiter */
        ChvRateLimiter limiter;
        char *image_type;   /* "raw", "qcow2" …; "auto" or NULL: what its bytes say */
        bool backing_files; /* the image may name other files */
        bool sparse;        /* true */
        bool in_order;
        uint32_t poll; /* us */
        bool registered_buffers;
        char *lock_granularity; /* "byte-range" or "full"; NULL: byte-range */
        bool iopoll;
        bool vhost_user;
        char *vhost_socket;
} ChvDiskConfig;

typedef struct {
        ChvPciCommon pci;
        char *tap;      /* host interface; "vmtap%d": a new one named by the kernel */
        char *backend;  /* "tap" or "passt"; NULL: tap */
        char **forward; /* PROTOCOL:[ADDRESS/]PORT[:PORT]; NULL-terminated or NULL */
        char *bridge;   /* that the host interface is attached to; NULL: none */
        char *ip, *mask;
        char *mac, *host_mac; /* canonical aa:bb:cc:dd:ee:ff; mac is filled in by chv_config_complete */
        char *mac_filter; /* "on" or "off"; NULL: on if mac is given, filled in by chv_config_complete */
        uint16_t mtu;                                /* 0: not given */
        uint16_t num_queues;                         /* RX + TX: 2 */
        uint16_t queue_size;                         /* 256 */
        bool offload_tso, offload_ufo, offload_csum; /* true */
        ChvRateLimiter limiter;                      /* of each direction */
        char *vhost;                                 /* "auto", "on" or "off"; NULL: auto */
        bool rss;
        char **fds; /* numbers; NULL-terminated or NULL. Of clients, which replace them by descriptors */
        bool vhost_user;
        char *vhost_socket;
        char *vhost_mode; /* "client" or "server", which we are; NULL: client */
} ChvNetConfig;

typedef struct {
        ChvPciCommon pci;
        char *src; /* "/dev/urandom" */
} ChvRngConfig;

typedef struct {
        ChvConsoleMode mode;
        char *path;       /* of file and socket */
        uint16_t iobase;  /* debug console only */
        ChvPciCommon pci; /* virtio console only */
} ChvConsoleConfig;

typedef struct {
        uint16_t num_pci_segments; /* 1 */
        char *serial_number, *uuid, *manufacturer, *product_name, *version, *family, *sku_number;
        char *chassis_asset_tag;
        char **oem_strings; /* NULL-terminated or NULL */
} ChvPlatformConfig;

typedef struct {
        char *name; /* of the VM; not part of the reference's JSON, may be NULL */
        ChvCpusConfig cpus;
        ChvMemoryConfig memory;
        ChvPayloadConfig payload;
        ChvRateLimitGroup *rate_limit_groups;
        size_t n_rate_limit_groups;
        ChvDiskConfig *disks;
        size_t n_disks;
        ChvNetConfig *net;
        size_t n_net;
        ChvRngConfig rng;
        ChvConsoleConfig serial;        /* default null */
        ChvConsoleConfig console;       /* default null: a service has no terminal */
        ChvConsoleConfig debug_console; /* default off */
        ChvPlatformConfig platform;
        void *arena; /* private: what the strings and arrays above live in */
} ChvConfig;

/* Defaults only. */
ChvConfig *chv_config_new(void);
void chv_config_set_name(ChvConfig *config, const char *name); /* copies it */
void chv_config_free(ChvConfig *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvConfig, chv_config_free)

/* Codecs. Every reader refuses unknown keys, bad types and ranges with CHV_ERROR_INVALID_CONFIG naming the option as the user
 * wrote it ("disks[1].queue_size: 100 is not a power of 2"). Readers do not check across options: that is chv_config_validate(). */
ChvConfig *chv_config_from_variant(GVariant *dict /* a{sv} */, GError **error);
GVariant *chv_config_to_variant(
                const ChvConfig *config); /* floating; options at their default are left out */
ChvConfig *chv_config_from_json(const char *json, gssize len, GError **error);
char *chv_config_to_json(const ChvConfig *config);

/* One section in Cloud Hypervisor's option syntax (reference 0.2): section "cpus", "memory", "disk" (adds one), "net" (adds one), "rng",
 * "serial", "console", "debug-console", "platform"; "kernel", "firmware", "initramfs" and "cmdline" take the bare value. */
bool chv_config_add_option(
                ChvConfig *config, const char *section, const char *value, GError **error);
/* The inverse: NULL-terminated argv of "--cpus", "boot=2", … for what differs from the default. */
char **chv_config_to_options(const ChvConfig *config);

/* Fills in what depends on other options or is automatic: max_vcpus, device ids, MAC addresses (random, locally administered), platform.uuid. */
void chv_config_complete(ChvConfig *config);

/* Whether the frames of a network go to passt. */
/* lock_granularity=full. */
bool chv_disk_lock_full(const ChvDiskConfig *disk);
bool chv_net_is_passt(const ChvNetConfig *net);

/* Whether the kernel is to move the frames, if it can. Of a complete configuration. */
bool chv_net_wants_vhost(const ChvNetConfig *net);
/* Gives network i passt, unless it says what else it wants. */
void chv_config_prefer_passt(ChvConfig *config, size_t i);

/* Paths that do not begin with '/' are taken as relative to directory, which is absolute. For clients. */
void chv_config_resolve_paths(ChvConfig *config, const char *directory);

/* Rules across options (reference 1.15). */
bool chv_config_validate(const ChvConfig *config, GError **error);

/* The part of it that is about one network, apart from its id and slot; where is for the message: "net[0]". */
bool chv_net_validate(const ChvNetConfig *net, uint32_t vcpus, const char *where, GError **error);

/* Whether each bucket has what it needs; where is for the message: "net[0]". */
bool chv_limiter_validate(const ChvRateLimiter *limiter, const char *where, GError **error);

/* Whether the worker pins the guest's memory: for RLIMIT_MEMLOCK. */
bool chv_config_pins_memory(const ChvConfig *config);

/* NULL: there is none. */
const ChvRateLimitGroup *chv_config_rate_limit_group(const ChvConfig *config, const char *id);

/* Changes options of the device with this id in place: a{sv} as in its section, of those only that the schema lets change while the
 * machine runs. On an error the configuration may be half changed: for a copy of one. Then comes chv_config_validate(). */
bool chv_config_update(ChvConfig *config, const char *id, GVariant *changes, GError **error);

/* The same of a group of limits. */
bool chv_config_update_group(ChvConfig *config, const char *id, GVariant *changes, GError **error);

/* "key=value" into such changes. For clients. */
bool chv_config_add_change(GVariantDict *changes, const char *word, GError **error);

/* The whole configuration again. */
ChvConfig *chv_config_copy(const ChvConfig *config);

/* Resources: what has to be opened for a configuration, by whom and how. */
typedef enum {
        CHV_RESOURCE_KERNEL,    /* regular file, read */
        CHV_RESOURCE_FIRMWARE,  /* the same */
        CHV_RESOURCE_INITRAMFS, /* the same */
        CHV_RESOURCE_DISK, /* regular file or block device; read-write unless readonly; O_DIRECT if direct */
        CHV_RESOURCE_TAP,        /* tap interface, one descriptor a queue pair */
        CHV_RESOURCE_RNG,        /* character device or file, read */
        CHV_RESOURCE_OUTPUT,     /* console file: created, appended */
        CHV_RESOURCE_SOCKET,     /* console socket: listening UNIX socket */
        CHV_RESOURCE_VHOST_USER, /* back end: connected UNIX socket; it connects to us if listens */
        CHV_RESOURCE_PASST,      /* passt: connected stream, UNIX */
} ChvResourceKind;

typedef struct {
        ChvResourceKind kind;
        const char *option;  /* for messages: "disks[0].path"; owned by the list */
        const char *fd_name; /* key in the a{sh} of Boot: "disks/_disk0", "net/_net1/0", "payload/kernel", "serial" …; owned by the list */
        const char *path;    /* or interface name; borrowed from the configuration */
        bool readonly, direct, listens;
        bool lock_full;     /* a disk: all bytes that there will ever be, not those of now alone */
        const void *config; /* ChvDiskConfig, ChvNetConfig … */
        unsigned index;     /* queue pair of a tap */
} ChvResource;

/* In a fixed order. Elements are ChvResource; call after chv_config_complete(). */
GArray *chv_config_resources(const ChvConfig *config);

/* Names of VMs: 1-64 of [A-Za-z0-9._-], first a letter or digit. */
bool chv_name_valid(const char *name, GError **error);
