/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The vCPUs of a machine: a thread for each, and one way to stop them all.
 *
 * A thread is parked on a condition or inside the backend's run(). Who wants it parked clears
 * "running" and kicks it, both under the lock: the kick makes run() return as soon as nothing of the
 * guest is half done, and a signal gets the vCPU out of the guest. The thread takes the kick back
 * only under the same lock when it is let go again, so that no kick is lost, whether it comes before,
 * during or after KVM_RUN. Threads start parked.
 *
 * A vCPU that reports a reset or an error parks for good, until the machine is booted or restored.
 */

#include "hypervisor/vcpu.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "hypervisor/arch.h"
#include "hypervisor/backend.h"
#include "hypervisor/error.h"

#define STATE_VERSION 1
#define STATE_TYPE "(uaa{sv})"
#define KICK_SIGNAL SIGRTMIN

struct vcpu {
        struct vcpus *all;
        struct hv_vcpu *backend;
        uint32_t index;
        pthread_t thread;
        bool started;                              /* thread is valid; main thread only */
        bool stopped;                              /* under the lock */
        bool counted;                              /* among n_parked, under the lock */
        _Alignas(64) atomic_uint_fast64_t n_exits; /* written by its own thread alone */
};

struct vcpus {
        struct hv_vm *vm;
        struct vcpus_config config;
        struct vcpu_handlers handlers;
        void *opaque;
        struct vcpu *vcpu;
        uint32_t n;

        pthread_mutex_t lock; /* over the fields below; never held in run() or in a handler */
        pthread_cond_t changed, parked;
        uint32_t n_parked;
        bool running, quit;
        atomic_bool reported;
};

static void on_kick(int signal) {
        /* its arrival is the message: KVM_RUN returns */
}

static bool install_kick(GError **error) {
        /* Only KVM_RUN is to return; what a handler of an exit is doing goes on. */
        struct sigaction action = { .sa_handler = on_kick, .sa_flags = SA_RESTART };

        (void) sigemptyset(&action.sa_mask);
        if (sigaction(KICK_SIGNAL, &action, NULL) < 0)
                return hv_error_errno(error, errno, "cpus: installing the kick signal");
        return true;
}

/* Called with the lock held. Waits until the vCPU may run. False: the thread is to end. */
static bool park(struct vcpu *c) {
        struct vcpus *v = c->all;

        c->counted = true;
        v->n_parked++;
        (void) pthread_cond_broadcast(&v->parked);
        while (!v->quit && (!v->running || c->stopped))
                (void) pthread_cond_wait(&v->changed, &v->lock);
        c->counted = false;
        v->n_parked--;
        c->backend->ops->set_kick(c->backend, /* on= */ false);
        return !v->quit;
}

static void report(struct vcpu *c, enum hv_run how, const char *detail) {
        struct vcpus *v = c->all;

        if (!atomic_exchange(&v->reported, true))
                v->handlers.stopped(
                                v->opaque, c->index,
                                how == HV_RUN_RESET ? VCPU_STOP_RESET : VCPU_STOP_ERROR, detail);
}

/* Runs the guest until a kick, or until it is over for this vCPU: then true. */
static bool run_until_kick(struct vcpu *c) {
        struct vcpus *v = c->all;
        char detail[HV_DETAIL_MAX] = "";

        for (;;) {
                enum hv_run how;

                how = c->backend->ops->run(c->backend, &v->handlers, v->opaque, detail);
                if (how == HV_RUN_KICKED)
                        return false;
                atomic_store_explicit(
                                &c->n_exits,
                                atomic_load_explicit(&c->n_exits, memory_order_relaxed) + 1,
                                memory_order_relaxed);
                if (how == HV_RUN_AGAIN)
                        continue;
                report(c, how, detail);
                return true;
        }
}

static void *vcpu_thread(void *arg) {
        struct vcpu *c = arg;
        struct vcpus *v = c->all;
        char name[16];
        sigset_t kick;
        bool over = false;

        (void) snprintf(name, sizeof(name), "vcpu%u", c->index);
        (void) prctl(PR_SET_NAME, name);
        (void) sigemptyset(&kick);
        (void) sigaddset(&kick, KICK_SIGNAL);
        (void) pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
        if (v->config.thread_start)
                v->config.thread_start(v->opaque);

        for (;;) {
                bool go;

                (void) pthread_mutex_lock(&v->lock);
                c->stopped = c->stopped || over;
                go = park(c);
                (void) pthread_mutex_unlock(&v->lock);
                if (!go)
                        return NULL;
                over = run_until_kick(c);
        }
}

static bool
check_topology(const struct vcpus_config *config, struct vcpu_topology *ret, GError **error) {
        const struct vcpu_topology *t = &config->topology;
        uint64_t product;

        if (t->threads_per_core == 0 && t->cores_per_die == 0 && t->dies_per_package == 0 &&
            t->packages == 0) {
                if (config->max > UINT16_MAX) {
                        g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                                    "cpus.max: %u vCPUs are too many", config->max);
                        return false;
                }
                *ret = (struct vcpu_topology){ .threads_per_core = 1,
                                               .cores_per_die = (uint16_t) config->max,
                                               .dies_per_package = 1,
                                               .packages = 1 };
                return true;
        }

        product = (uint64_t) t->threads_per_core * t->cores_per_die * t->dies_per_package *
                  t->packages;
        if (product != config->max) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "cpus.topology: %u:%u:%u:%u does not make %u vCPUs",
                            t->threads_per_core, t->cores_per_die, t->dies_per_package, t->packages,
                            config->max);
                return false;
        }
        if (t->threads_per_core > arch_max_threads_per_core()) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "cpus.topology: %u threads per core are more than %u",
                            t->threads_per_core, arch_max_threads_per_core());
                return false;
        }
        *ret = *t;
        return true;
}

static bool check_config(struct hv_vm *vm, const struct vcpus_config *config, GError **error) {
        if (config->boot == 0 || config->boot > config->max) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "cpus.boot: %u is not within 1 to cpus.max, %u", config->boot,
                            config->max);
                return false;
        }
        if (config->max > vm->config.max_vcpus) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "cpus.max: %u is more than the machine's %u", config->max,
                            vm->config.max_vcpus);
                return false;
        }
        for (size_t i = 0; i < config->n_affinity; i++)
                if (config->affinity[i].vcpu >= config->max) {
                        g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                                    "cpus.affinity: there is no vCPU %u", config->affinity[i].vcpu);
                        return false;
                }
        return true;
}

static int pin_thread(pthread_t thread, const struct vcpu_affinity *a) {
        size_t n = 0, size;
        cpu_set_t *set;
        int r;

        for (size_t i = 0; i < a->n_host_cpus; i++)
                n = MAX(n, (size_t) a->host_cpus[i] + 1);
        set = CPU_ALLOC(MAX(n, 1));
        if (!set)
                return ENOMEM;
        size = CPU_ALLOC_SIZE(MAX(n, 1));
        CPU_ZERO_S(size, set);
        for (size_t i = 0; i < a->n_host_cpus; i++)
                CPU_SET_S(a->host_cpus[i], size, set);
        r = pthread_setaffinity_np(thread, size, set);
        CPU_FREE(set);
        return r;
}

static bool set_affinity(struct vcpu *c, const struct vcpus_config *config, GError **error) {
        for (size_t i = 0; i < config->n_affinity; i++) {
                int r;

                if (config->affinity[i].vcpu != c->index)
                        continue;
                r = pin_thread(c->thread, &config->affinity[i]);
                if (r != 0)
                        return hv_error_errno(
                                        error, r, "cpus.affinity: pinning vCPU %u to its host CPUs",
                                        c->index);
        }
        return true;
}

static bool start_thread(struct vcpu *c, GError **error) {
        sigset_t all, old;
        int r;

        /* Signals of the process are the main thread's business; faults of our own are not blocked. */
        (void) sigfillset(&all);
        (void) sigdelset(&all, SIGSEGV);
        (void) sigdelset(&all, SIGBUS);
        (void) sigdelset(&all, SIGILL);
        (void) sigdelset(&all, SIGFPE);
        (void) sigdelset(&all, SIGSYS);
        (void) sigdelset(&all, SIGABRT);
        (void) pthread_sigmask(SIG_SETMASK, &all, &old);
        r = pthread_create(&c->thread, NULL, vcpu_thread, c);
        (void) pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (r != 0)
                return hv_error_errno(error, r, "cpus: starting the thread of vCPU %u", c->index);
        c->started = true;
        return true;
}

static bool add_vcpu(struct vcpus *v, uint32_t index, uint32_t max_hw_id, GError **error) {
        struct vcpu *c = &v->vcpu[index];
        struct hv_vcpu_config config = {
                .index = index,
                .hw_id = vcpus_apic_id(v, index),
                .max_hw_id = max_hw_id,
                .topology = v->config.topology,
        };

        c->all = v;
        c->index = index;
        c->backend = v->vm->ops->vcpu_new(v->vm, &config, error);
        if (!c->backend)
                return false;
        v->n++;
        return start_thread(c, error) && set_affinity(c, &v->config, error);
}

vcpus *
vcpus_new(hv_vm *vm,
          const struct vcpus_config *config,
          const struct vcpu_handlers *handlers,
          void *opaque,
          GError **error) {
        g_autoptr(vcpus) v = NULL;
        struct vcpu_topology topology;
        uint32_t max_hw_id = 0;

        if (!check_config(vm, config, error) || !check_topology(config, &topology, error) ||
            !install_kick(error))
                return NULL;

        v = g_new0(struct vcpus, 1);
        v->vm = vm;
        v->config = *config;
        v->config.topology = topology;
        v->handlers = *handlers;
        v->opaque = opaque;
        (void) pthread_mutex_init(&v->lock, NULL);
        (void) pthread_cond_init(&v->changed, NULL);
        (void) pthread_cond_init(&v->parked, NULL);
        v->vcpu = g_aligned_alloc0(config->boot, sizeof(*v->vcpu), _Alignof(struct vcpu));

        for (uint32_t i = 0; i < config->max; i++)
                max_hw_id = MAX(max_hw_id, arch_vcpu_hw_id(&topology, i));
        for (uint32_t i = 0; i < config->boot; i++)
                if (!add_vcpu(v, i, max_hw_id, error))
                        return NULL;

        /* the caller's list of host CPUs is not ours to keep */
        v->config.affinity = NULL;
        v->config.n_affinity = 0;
        return g_steal_pointer(&v);
}

/* Called with the lock held. */
static void kick_all(struct vcpus *v) {
        for (uint32_t i = 0; i < v->n; i++)
                if (v->vcpu[i].started && !v->vcpu[i].counted) {
                        v->vcpu[i].backend->ops->set_kick(v->vcpu[i].backend, /* on= */ true);
                        (void) pthread_kill(v->vcpu[i].thread, KICK_SIGNAL);
                }
}

vcpus *vcpus_free(vcpus *v) {
        if (!v)
                return NULL;
        (void) pthread_mutex_lock(&v->lock);
        v->quit = true;
        (void) pthread_cond_broadcast(&v->changed);
        kick_all(v);
        (void) pthread_mutex_unlock(&v->lock);

        for (uint32_t i = 0; i < v->n; i++) {
                if (v->vcpu[i].started)
                        (void) pthread_join(v->vcpu[i].thread, NULL);
                v->vcpu[i].backend->ops->free(v->vcpu[i].backend);
        }
        g_aligned_free(v->vcpu);
        (void) pthread_cond_destroy(&v->parked);
        (void) pthread_cond_destroy(&v->changed);
        (void) pthread_mutex_destroy(&v->lock);
        g_free(v);
        return NULL;
}

static void revive(struct vcpus *v) {
        (void) pthread_mutex_lock(&v->lock);
        for (uint32_t i = 0; i < v->n; i++)
                v->vcpu[i].stopped = false;
        (void) pthread_mutex_unlock(&v->lock);
        atomic_store(&v->reported, false);
}

bool vcpus_boot(vcpus *v, const struct boot_entry *entry, GError **error) {
        g_assert(vcpus_paused(v));

        for (uint32_t i = 0; i < v->n; i++) {
                struct hv_vcpu *b = v->vcpu[i].backend;

                if (!b->ops->boot(b, i == 0 ? entry : NULL, error))
                        return false;
        }
        revive(v);
        return true;
}

void vcpus_resume(vcpus *v) {
        (void) pthread_mutex_lock(&v->lock);
        v->running = true;
        (void) pthread_cond_broadcast(&v->changed);
        (void) pthread_mutex_unlock(&v->lock);
}

static bool park_all(struct vcpus *v) {
        bool was_running;

        (void) pthread_mutex_lock(&v->lock);
        was_running = v->running;
        v->running = false;
        kick_all(v);
        while (v->n_parked < v->n)
                (void) pthread_cond_wait(&v->parked, &v->lock);
        (void) pthread_mutex_unlock(&v->lock);
        return was_running;
}

void vcpus_pause(vcpus *v) {
        if (!park_all(v))
                return;
        for (uint32_t i = 0; i < v->n; i++)
                v->vcpu[i].backend->ops->was_paused(v->vcpu[i].backend);
}

bool vcpus_paused(const vcpus *v) {
        /* "running" changes on the main thread alone, which is also the only caller */
        return !v->running;
}

uint32_t vcpus_apic_id(const vcpus *v, uint32_t index) {
        g_assert(index < v->config.max);

        return arch_vcpu_hw_id(&v->config.topology, index);
}

uint64_t vcpus_n_exits(const vcpus *v) {
        uint64_t sum = 0;

        for (uint32_t i = 0; i < v->n; i++)
                sum += atomic_load_explicit(&v->vcpu[i].n_exits, memory_order_relaxed);
        return sum;
}

GVariant *vcpus_save(vcpus *v, GError **error) {
        g_auto(GVariantBuilder) b = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("aa{sv}"));

        g_assert(vcpus_paused(v));

        for (uint32_t i = 0; i < v->n; i++) {
                GVariant *state = v->vcpu[i].backend->ops->save(v->vcpu[i].backend, error);

                if (!state)
                        return NULL;
                g_variant_builder_add_value(&b, state);
        }
        return g_variant_new(STATE_TYPE, STATE_VERSION, &b);
}

bool vcpus_restore(vcpus *v, GVariant *state, GError **error) {
        g_autoptr(GVariant) list = NULL;
        uint32_t version;

        g_assert(vcpus_paused(v));

        if (!g_variant_is_of_type(state, G_VARIANT_TYPE(STATE_TYPE))) {
                g_set_error_literal(error, HV_ERROR, HV_ERROR_STATE, "vCPU state: not of our form");
                return false;
        }
        g_variant_get(state, "(u@aa{sv})", &version, &list);
        if (version != STATE_VERSION) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE, "vCPU state: version %u instead of %u",
                            version, STATE_VERSION);
                return false;
        }
        if (g_variant_n_children(list) != v->n) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE,
                            "vCPU state: of %zu vCPUs, but this machine has %u",
                            (size_t) g_variant_n_children(list), v->n);
                return false;
        }
        for (uint32_t i = 0; i < v->n; i++) {
                g_autoptr(GVariant) one = g_variant_get_child_value(list, i);

                if (!v->vcpu[i].backend->ops->restore(v->vcpu[i].backend, one, error))
                        return false;
        }
        revive(v);
        return true;
}

bool vcpus_nmi(vcpus *v, GError **error) {
        bool was_running = park_all(v), ok = true;

        /* KVM lets nobody at a vCPU that runs; for so short a pause the guest need not know of it */
        for (uint32_t i = 0; ok && i < v->n; i++)
                ok = v->vcpu[i].backend->ops->nmi(v->vcpu[i].backend, error);
        if (was_running)
                vcpus_resume(v);
        return ok;
}
