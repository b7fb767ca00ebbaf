/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * CMOS at ports 0x70 (index, bit 7 masks NMI) and 0x71 (data): the clock, the sizes of memory for firmware, and
 * a way to reset: 0 written to the shutdown status with NMI masked (index 0x8f). There is no interrupt: alarms are the
 * guest's own business.
 */

#include <assert.h>
#include <string.h>
#include <time.h>

#include "devices/guard.h"
#include "devices/legacy/legacy.h"
#include "devices/legacy/rtc.h"
#include "hypervisor/error.h"

#define VERSION 1
#define STATE_TYPE "(uyxuay)"

#define PORT 0x70
#define N_PORTS 2

#define INDEX_RESET 0x8f
#define INDEX_BITS 0x7f

/* Memory beyond 16 MiB and below 4 GiB, and beyond 4 GiB, in units of 64 KiB. */
#define REG_LOW_MEMORY 0x34
#define REG_HIGH_MEMORY 0x5b

struct cmos {
        struct device dev;
        bus *pio;
        bus_region *region;
        void (*reset)(void *opaque);
        void *opaque;
        uint64_t low, high; /* memory, in units of 64 KiB */

        pthread_mutex_t lock; /* for what follows */
        uint8_t index;
        struct rtc rtc;
};

static int64_t host_now(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_REALTIME, &t);
        return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* A byte of the memory sizes; false: not one of their registers. */
static bool memory_size(const struct cmos *c, unsigned reg, uint8_t *ret) {
        if (reg >= REG_LOW_MEMORY && reg < REG_LOW_MEMORY + 2)
                *ret = (uint8_t) (c->low >> (reg - REG_LOW_MEMORY) * 8);
        else if (reg >= REG_HIGH_MEMORY && reg < REG_HIGH_MEMORY + 3)
                *ret = (uint8_t) (c->high >> (reg - REG_HIGH_MEMORY) * 8);
        else
                return false;
        return true;
}

static uint8_t read_data(struct cmos *c) {
        unsigned reg = c->index & INDEX_BITS;
        uint8_t v;

        return memory_size(c, reg, &v) ? v : rtc_read(&c->rtc, reg, host_now());
}

/* The index port is write-only. */
static void cmos_read(void *opaque, uint64_t offset, void *data, unsigned len) {
        struct cmos *c = opaque;

        if (offset != 1)
                return;
        GUARD(&c->lock);
        *(uint8_t *) data = read_data(c);
}

static bool write_port(struct cmos *c, unsigned port, uint8_t v) {
        unsigned reg = c->index & INDEX_BITS;
        uint8_t size;

        GUARD(&c->lock);
        if (port == 0) {
                c->index = v;
                return false;
        }
        if (c->index == INDEX_RESET && v == 0)
                return true;
        if (!memory_size(c, reg, &size))
                rtc_write(&c->rtc, reg, v, host_now());
        return false;
}

static void cmos_write(void *opaque, uint64_t offset, const void *data, unsigned len) {
        struct cmos *c = opaque;
        const uint8_t *bytes = data;
        bool reset = false;

        /* A word to the index port is index and data. */
        for (unsigned i = 0; i < len; i++)
                reset |= write_port(c, (unsigned) offset + i, bytes[i]);
        if (reset && c->reset)
                c->reset(c->opaque);
}

static void cmos_reset(struct device *dev) {
        struct cmos *c = (struct cmos *) dev;

        GUARD(&c->lock);
        c->index = 0;
        rtc_reset(&c->rtc);
}

static bool cmos_pause(struct device *dev, GError **error) {
        return true;
}

static void cmos_resume(struct device *dev) {
}

static GVariant *cmos_save(struct device *dev) {
        struct cmos *c = (struct cmos *) dev;

        GUARD(&c->lock);
        return g_variant_new(
                        "(uyxu@ay)", VERSION, c->index, c->rtc.offset_s, c->rtc.offset_ns,
                        g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, c->rtc.regs, RTC_N_REGS, 1));
}

static bool cmos_restore(struct device *dev, GVariant *state, GError **error) {
        struct cmos *c = (struct cmos *) dev;
        g_autoptr(GVariant) regs = NULL;
        const uint8_t *bytes;
        uint32_t offset_ns;
        int64_t offset_s;
        uint8_t index;
        gsize n;

        if (!device_state_fits(dev, state, STATE_TYPE, VERSION, error))
                return false;

        g_variant_get(state, "(uyxu@ay)", NULL /* version */, &index, &offset_s, &offset_ns, &regs);
        bytes = g_variant_get_fixed_array(regs, &n, 1);
        /* 30000 years either way are more than the registers can say. */
        if (n != RTC_N_REGS || offset_ns >= 1000000000 || offset_s > 1ll << 40 ||
            offset_s < -(1ll << 40)) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE, "%s: state is damaged", dev->id);
                return false;
        }

        GUARD(&c->lock);
        c->index = index;
        c->rtc.offset_s = offset_s;
        c->rtc.offset_ns = offset_ns;
        memcpy(c->rtc.regs, bytes, RTC_N_REGS);
        return true;
}

static void cmos_describe(struct device *dev, aml *a) {
        aml_device(a, "RTC_");
        aml_name(a, "_HID");
        aml_eisaid(a, "PNP0B00");
        aml_name(a, "_UID");
        aml_int(a, 0);
        aml_name(a, "_CRS");
        aml_crs(a);
        aml_crs_io(a, PORT, N_PORTS);
        aml_crs_end(a);
        aml_close(a);
}

static void cmos_free(struct device *dev) {
        struct cmos *c = (struct cmos *) dev;

        bus_remove(c->pio, c->region);
        (void) pthread_mutex_destroy(&c->lock);
        device_release(dev);
        g_free(c);
}

struct device *
cmos_new(bus *pio,
         uint64_t ram_below_4g,
         uint64_t ram_above_4g,
         void (*reset)(void *opaque),
         void *opaque,
         GError **error) {
        static const struct device_ops ops = {
                .kind = "cmos",
                .reset = cmos_reset,
                .pause = cmos_pause,
                .resume = cmos_resume,
                .save = cmos_save,
                .restore = cmos_restore,
                .describe = cmos_describe,
                .free = cmos_free,
        };
        static const struct io_ops io = { .read = cmos_read, .write = cmos_write };
        const uint64_t sixteen = 16ull << 20;
        struct cmos *c;

        assert(pio);

        c = g_new0(struct cmos, 1);
        device_init(&c->dev, &ops, "__cmos");
        c->pio = pio;
        c->reset = reset;
        c->opaque = opaque;
        c->low = MIN(ram_below_4g > sixteen ? (ram_below_4g - sixteen) >> 16 : 0, 0xffff);
        c->high = MIN(ram_above_4g >> 16, 0xffffff);
        (void) pthread_mutex_init(&c->lock, NULL);
        rtc_init(&c->rtc);

        c->region = bus_add(pio, "cmos", PORT, N_PORTS, &io, c, error);
        if (!c->region) {
                cmos_free(&c->dev);
                return NULL;
        }
        return &c->dev;
}
