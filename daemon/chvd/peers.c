/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Clients on a socket of our own. GDBusObjectManagerServer serves one connection, the bus; each client here gets the
 * same skeletons exported on its own connection, and an object manager that tells of them. A skeleton knows all of its
 * connections, so signals of interfaces need nothing here.
 *
 * Who connects is who the kernel says (EXTERNAL, and nothing else): the authority knows root and owners by that, and polkit is not asked about
 * them. A handshake has a thread of its own, and there are few at a time, so that a client which does not finish its
 * own delays others here at most; it has a time, after which it is over. Not GSocketService: when that is stopped it may still
 * accept somebody, whom it drops. Here who is not let in waits in the socket, if need be for the next service.
 */

#include "daemon/chvd/peers.h"

#include <errno.h>
#include <gio/gunixsocketaddress.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/chvd/inbox.h"
#include "dbus/error.h"
#include "dbus/fd.h"

#define OBJECT_MANAGER "org.freedesktop.DBus.ObjectManager"
#define MAX_HANDSHAKES 8
#define MAX_PEERS 64
#define HANDSHAKE_S 5
#define BACKLOG 64
#define ACCEPT_AGAIN_MS 1000

struct ChvdPeers {
        ChvdContext *context;
        GSocket *socket;
        GSource *waiting; /* for somebody to come; NULL: nobody is let in */
        guint again;
        GDBusNodeInfo *info;
        GPtrArray *peers; /* GDBusConnection */
        unsigned n_handshakes;
        void (*left)(gpointer data); /* of chvd_peers_on_left() */
        gpointer left_data;
};

typedef struct {
        ChvdPeers *peers; /* compared only, until the main thread has it */
        GIOStream *stream;
        GDBusConnection *connection; /* NULL: it has come to nothing */
} Handshake;

/* The one there is; what arrives from a thread after its end is dropped. */
static ChvdPeers *current;

static const char xml[] = "<node><interface name='" OBJECT_MANAGER "'>"
                          "<method name='GetManagedObjects'>"
                          "<arg name='objects' type='a{oa{sa{sv}}}' direction='out'/></method>"
                          "<signal name='InterfacesAdded'><arg name='object' type='o'/>"
                          "<arg name='interfaces' type='a{sa{sv}}'/></signal>"
                          "<signal name='InterfacesRemoved'><arg name='object' type='o'/>"
                          "<arg name='interfaces' type='as'/></signal></interface></node>";

/* Every object there is now. Elements and container are the caller's. */
static GList *all_objects(const ChvdPeers *peers) {
        return g_dbus_object_manager_get_objects(G_DBUS_OBJECT_MANAGER(peers->context->objects));
}

static void free_objects(GList *objects) {
        g_list_free_full(objects, g_object_unref);
}

/* a{sa{sv}}: an object's interfaces with their properties. Floating. */
static GVariant *describe(GDBusObject *object) {
        g_auto(GVariantBuilder) builder = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("a{sa{sv}}"));
        GList *interfaces = g_dbus_object_get_interfaces(object);

        for (GList *i = interfaces; i; i = i->next) {
                GDBusInterfaceInfo *info = g_dbus_interface_skeleton_get_info(i->data);
                g_autoptr(GVariant) properties = g_dbus_interface_skeleton_get_properties(i->data);

                g_variant_builder_add(&builder, "{s@a{sv}}", info->name, properties);
        }
        free_objects(interfaces);
        return g_variant_builder_end(&builder);
}

static void
on_call(GDBusConnection *connection,
        const char *sender,
        const char *path,
        const char *interface,
        const char *method,
        GVariant *parameters,
        GDBusMethodInvocation *invocation,
        gpointer data) {
        ChvdPeers *peers = data;
        g_auto(GVariantBuilder) all = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("a{oa{sa{sv}}}"));
        GList *objects = all_objects(peers);

        for (GList *o = objects; o; o = o->next)
                g_variant_builder_add(
                                &all, "{o@a{sa{sv}}}", g_dbus_object_get_object_path(o->data),
                                describe(o->data));
        free_objects(objects);
        g_dbus_method_invocation_return_value(
                        invocation, g_variant_new("(@a{oa{sa{sv}}})", g_variant_builder_end(&all)));
}

static void export_on(GDBusConnection *connection, GDBusObject *object) {
        GList *interfaces = g_dbus_object_get_interfaces(object);
        const char *path = g_dbus_object_get_object_path(object);

        for (GList *i = interfaces; i; i = i->next) {
                g_autoptr(GError) error = NULL;

                if (!g_dbus_interface_skeleton_export(i->data, connection, path, &error))
                        g_message("%s is not there for a client: %s", path, error->message);
        }
        free_objects(interfaces);
}

static void unexport_on(GDBusConnection *connection, GDBusObject *object) {
        GList *interfaces = g_dbus_object_get_interfaces(object);

        for (GList *i = interfaces; i; i = i->next)
                if (g_dbus_interface_skeleton_has_connection(i->data, connection))
                        g_dbus_interface_skeleton_unexport_from_connection(i->data, connection);
        free_objects(interfaces);
}

static void tell(GDBusConnection *connection, const char *signal, GVariant *parameters) {
        (void) g_dbus_connection_emit_signal(
                        connection, /* destination_bus_name= */ NULL, CHVD_PATH, OBJECT_MANAGER,
                        signal, parameters, /* error= */ NULL);
}

void chvd_objects_export(ChvdContext *context, gpointer object) {
        const ChvdPeers *peers = context->peers;

        g_dbus_object_manager_server_export(context->objects, object);
        for (unsigned i = 0; peers && i < peers->peers->len; i++) {
                GDBusConnection *connection = g_ptr_array_index(peers->peers, i);

                export_on(connection, object);
                tell(connection, "InterfacesAdded",
                     g_variant_new("(o@a{sa{sv}})", g_dbus_object_get_object_path(object),
                                   describe(object)));
        }
}

static GVariant *names(GDBusObject *object) {
        g_auto(GVariantBuilder) builder = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("as"));
        GList *interfaces = g_dbus_object_get_interfaces(object);

        for (GList *i = interfaces; i; i = i->next)
                g_variant_builder_add(
                                &builder, "s", g_dbus_interface_skeleton_get_info(i->data)->name);
        free_objects(interfaces);
        return g_variant_builder_end(&builder);
}

void chvd_objects_unexport(ChvdContext *context, const char *path) {
        const ChvdPeers *peers = context->peers;
        g_autoptr(GDBusObject) object = g_dbus_object_manager_get_object(
                        G_DBUS_OBJECT_MANAGER(context->objects), path);

        for (unsigned i = 0; peers && object && i < peers->peers->len; i++) {
                GDBusConnection *connection = g_ptr_array_index(peers->peers, i);

                unexport_on(connection, object);
                tell(connection, "InterfacesRemoved", g_variant_new("(o@as)", path, names(object)));
        }
        (void) g_dbus_object_manager_server_unexport(context->objects, path);
}

static void open_door(ChvdPeers *peers);

static void shut_door(ChvdPeers *peers) {
        g_clear_handle_id(&peers->again, g_source_remove);
        if (!peers->waiting)
                return;
        g_source_destroy(peers->waiting);
        g_clear_pointer(&peers->waiting, g_source_unref);
}

static void on_closed(GDBusConnection *connection, gboolean remote, GError *error, gpointer data) {
        ChvdPeers *peers = data;
        GList *objects = all_objects(peers);

        for (GList *o = objects; o; o = o->next)
                unexport_on(connection, o->data);
        free_objects(objects);
        (void) g_signal_handlers_disconnect_by_data(connection, peers);
        (void) g_ptr_array_remove_fast(peers->peers, connection);
        if (peers->left)
                peers->left(peers->left_data);
}

/* It gets nothing to see before everything is there. */
static void admit(ChvdPeers *peers, GDBusConnection *connection) {
        static const GDBusInterfaceVTable vtable = { .method_call = on_call };
        GList *objects;

        if (peers->peers->len >= MAX_PEERS ||
            !g_dbus_connection_register_object(
                            connection, CHVD_PATH, peers->info->interfaces[0], &vtable, peers,
                            /* user_data_free_func= */ NULL, /* error= */ NULL)) {
                g_dbus_connection_close(
                                connection, /* cancellable= */ NULL, /* callback= */ NULL,
                                /* user_data= */ NULL);
                return;
        }
        chvd_inbox_attach(connection);
        g_ptr_array_add(peers->peers, g_object_ref(connection));
        (void) g_signal_connect(connection, "closed", G_CALLBACK(on_closed), peers);
        objects = all_objects(peers);
        for (GList *o = objects; o; o = o->next)
                export_on(connection, o->data);
        free_objects(objects);
        g_dbus_connection_start_message_processing(connection);
}

static gboolean on_greeted(gpointer data) {
        g_autofree Handshake *handshake = data;
        g_autoptr(GIOStream) stream = handshake->stream;
        g_autoptr(GDBusConnection) connection = handshake->connection;

        if (current != handshake->peers)
                return G_SOURCE_REMOVE;
        if (current->n_handshakes-- == MAX_HANDSHAKES)
                open_door(current);
        if (connection && !g_dbus_connection_is_closed(connection))
                admit(current, connection);
        return G_SOURCE_REMOVE;
}

static gboolean on_mechanism(GDBusAuthObserver *observer, const char *mechanism, gpointer data) {
        return g_str_equal(mechanism, "EXTERNAL");
}

static gboolean
on_peer(GDBusAuthObserver *observer, GIOStream *stream, GCredentials *credentials, gpointer data) {
        return credentials &&
               g_credentials_get_unix_user(credentials, /* error= */ NULL) != (uid_t) -1;
}

static gboolean on_handshake_time(gpointer data) {
        g_cancellable_cancel(data);
        return G_SOURCE_REMOVE;
}

/* The handshake's thread. */
static gpointer greet(gpointer data) {
        Handshake *handshake = data;
        g_autoptr(GDBusAuthObserver) observer = g_dbus_auth_observer_new();
        g_autoptr(GCancellable) cancellable = g_cancellable_new();
        g_autoptr(GSource) timer = g_timeout_source_new_seconds(HANDSHAKE_S);
        g_autofree char *guid = g_dbus_generate_guid();
        g_autoptr(GError) error = NULL;

        /* It may fire at the moment it is not needed any more. */
        g_source_set_callback(timer, on_handshake_time, g_object_ref(cancellable), g_object_unref);
        (void) g_source_attach(timer, /* context= */ NULL);
        (void) g_signal_connect(observer, "allow-mechanism", G_CALLBACK(on_mechanism), NULL);
        (void) g_signal_connect(
                        observer, "authorize-authenticated-peer", G_CALLBACK(on_peer), NULL);
        handshake->connection = g_dbus_connection_new_sync(
                        handshake->stream, guid,
                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_SERVER |
                                        G_DBUS_CONNECTION_FLAGS_DELAY_MESSAGE_PROCESSING,
                        observer, cancellable, &error);
        g_source_destroy(timer);
        if (!handshake->connection) {
                g_debug("a client's handshake: %s", error->message);
                (void) g_io_stream_close(handshake->stream, NULL, NULL);
        }
        (void) g_idle_add(on_greeted, handshake);
        return NULL;
}

/* Takes stream over. */
static void receive(ChvdPeers *peers, GIOStream *stream) {
        g_autoptr(GError) error = NULL;
        Handshake *handshake = g_new0(Handshake, 1);
        GThread *thread;

        handshake->peers = peers;
        handshake->stream = stream;
        if (++peers->n_handshakes == MAX_HANDSHAKES)
                shut_door(peers);
        thread = g_thread_try_new("handshake", greet, handshake, &error);
        if (thread)
                g_thread_unref(thread);
        else {
                g_message("a client is turned away: %s", error->message);
                (void) g_idle_add(on_greeted, handshake);
        }
}

static gboolean on_again(gpointer data) {
        ChvdPeers *peers = data;

        peers->again = 0;
        open_door(peers);
        return G_SOURCE_REMOVE;
}

static gboolean on_incoming(GSocket *socket, GIOCondition condition, gpointer data) {
        ChvdPeers *peers = data;
        g_autoptr(GError) error = NULL;
        g_autoptr(GSocket) client = g_socket_accept(socket, /* cancellable= */ NULL, &error);

        if (client)
                receive(peers, G_IO_STREAM(g_socket_connection_factory_create_connection(client)));
        else if (!g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
                /* Descriptors are short, as a rule: who has come is still there later. */
                g_message("a client can't be let in: %s", error->message);
                shut_door(peers);
                peers->again = g_timeout_add(ACCEPT_AGAIN_MS, on_again, peers);
        }
        return G_SOURCE_CONTINUE;
}

static void open_door(ChvdPeers *peers) {
        if (peers->waiting)
                return;
        peers->waiting = g_socket_create_source(peers->socket, G_IO_IN, /* cancellable= */ NULL);
        g_source_set_callback(
                        peers->waiting, G_SOURCE_FUNC(on_incoming), peers, /* notify= */ NULL);
        (void) g_source_attach(peers->waiting, /* context= */ NULL);
}

int chvd_peers_listen(const char *path, GError **error) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct stat st;
        chv_autofd fd = -1;

        if (path[0] != '/' || strlen(path) >= sizeof(address.sun_path)) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE,
                            "%s: is no absolute path of up to %zu bytes", path,
                            sizeof(address.sun_path) - 1);
                return -1;
        }
        (void) g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        /* Somebody listens there: it is not ours to take. */
        if (fd >= 0 && connect(fd, (struct sockaddr *) &address, sizeof(address)) == 0) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "%s: is in use", path);
                return -1;
        }
        if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
                (void) unlink(path);
        if (fd < 0 ||
            /* Its mode is that of the file from its first moment. */
            fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0 ||
            listen(fd, BACKLOG) < 0) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "%s: %s", path,
                            g_strerror(errno));
                return -1;
        }
        return chv_fd_steal(&fd);
}

ChvdPeers *chvd_peers_new(ChvdContext *context, int fd, GError **error) {
        GSocket *socket = g_socket_new_from_fd(fd, error);
        ChvdPeers *peers;

        if (!socket) {
                (void) close(fd);
                return NULL;
        }
        peers = g_new0(ChvdPeers, 1);
        peers->context = context;
        peers->peers = g_ptr_array_new_with_free_func(g_object_unref);
        peers->info = g_dbus_node_info_new_for_xml(xml, /* error= */ NULL);
        peers->socket = socket;
        g_socket_set_blocking(socket, false);
        current = context->peers = peers;
        open_door(peers);
        return peers;
}

void chvd_peers_on_left(ChvdPeers *peers, void (*left)(gpointer data), gpointer data) {
        peers->left = left;
        peers->left_data = data;
}

unsigned chvd_peers_count(const ChvdPeers *peers) {
        return peers->peers->len + peers->n_handshakes;
}

void chvd_peers_shut(ChvdPeers *peers) {
        shut_door(peers);
}

void chvd_peers_free(ChvdPeers *peers) {
        if (!peers)
                return;
        current = peers->context->peers = NULL;
        shut_door(peers);
        g_object_unref(peers->socket);
        while (peers->peers->len > 0) {
                g_autoptr(GDBusConnection) connection =
                                g_object_ref(g_ptr_array_index(peers->peers, 0));

                (void) g_dbus_connection_flush_sync(connection, NULL, NULL);
                on_closed(connection, /* remote= */ false, /* error= */ NULL, peers);
                (void) g_dbus_connection_close_sync(connection, NULL, NULL);
        }
        g_ptr_array_unref(peers->peers);
        g_dbus_node_info_unref(peers->info);
        g_free(peers);
}
