/* One connection through the server: the client's side of RFC 1928 and RFC 1929. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { CONNECTING, SELECTING, CHECKING, REPLYING, ADDRESSING, OPEN };

static Client *first;
static int64_t nextLook;

const char *errorReason(void)
{
    return errno == EBADMSG ? "wrong data" : strerrorname_np(errno);
}

void expectWithin(Client *client, double seconds)
{
    client->deadline = now() + nanoseconds(seconds);
}

void closeClient(Client *client)
{
    if (client->previous)
        client->previous->next = client->next;
    else
        first = client->next;
    if (client->next)
        client->next->previous = client->previous;
    endWatch(&client->watch, client);
}

void failClient(Client *client, const char *reason)
{
    static const char *const during[] = {
        "connecting", "waiting for the method", "waiting for the password's answer",
        "waiting for the reply", "waiting for the reply", "relaying"};
    if (!client->role->mayFail)
        fail("%s: %s", during[client->state], reason);
    client->role->failed(client, reason);
    closeClient(client);
}

static void lookAtDeadlines(int64_t time)
{
    if (time < nextLook)
        return;
    nextLook = time + nanoseconds(0.1);
    for (Client *client = first, *next; client; client = next) {
        next = client->next;
        if (client->deadline && client->deadline < time)
            failClient(client, client->error ? strerrorname_np(client->error) : "nothing comes");
    }
}

bool sendWhole(Client *client, const void *data, size_t size)
{
    ssize_t count = send(client->watch.fd, data, size, MSG_NOSIGNAL);
    if (count == (ssize_t)size)
        return true;
    failClient(client, count < 0 ? errorReason() : "no room for a message");
    return false;
}

static void await(Client *client, int state, unsigned need)
{
    client->state = state;
    client->need = need;
    client->have = 0;
}

/* Say what is due after the connection, or after the selection. */
static void greet(Client *client)
{
    if (sendWhole(client, options.user ? "\5\1\2" : "\5\1\0", 3))
        await(client, SELECTING, 2);
}

static void sendPassword(Client *client)
{
    uint8_t message[513];
    size_t user = strlen(options.user), password = strlen(options.password);
    message[0] = 1;
    message[1] = (uint8_t)user;
    memcpy(message + 2, options.user, user);
    message[2 + user] = (uint8_t)password;
    memcpy(message + 3 + user, options.password, password);
    if (sendWhole(client, message, 3 + user + password))
        await(client, CHECKING, 2);
}

static void request(Client *client)
{
    uint8_t message[262] = {5, client->role->command, 0};
    size_t size = 4;
    if (client->role->command == 3) {
        message[3] = 1; /* 0.0.0.0:0: the client does not say where its datagrams come from */
        size += 6;
    } else {
        if (options.name) {
            message[3] = 3;
            message[4] = (uint8_t)strlen(options.name);
            memcpy(message + 5, options.name, message[4]);
            size += 1 + message[4];
        } else {
            message[3] = 1;
            memcpy(message + 4, &options.target.sin_addr, 4);
            size += 4;
        }
        memcpy(message + size, &options.target.sin_port, 2);
        size += 2;
    }
    if (sendWhole(client, message, size))
        await(client, REPLYING, 10);
}

static void open(Client *client)
{
    client->state = OPEN;
    client->deadline = 0;
    client->role->opened(client);
}

/* The reply has come, as far as one with an IPv4 address goes; none with a name is shorter. */
static void readReply(Client *client)
{
    const uint8_t *reply = client->answer;
    unsigned rest = reply[3] == 4 ? 12 : reply[3] == 3 ? reply[4] - 3U : UINT32_MAX;
    char reason[20];
    if (reply[0] != 5) {
        failClient(client, "not a reply");
    } else if (reply[1] != 0) {
        snprintf(reason, sizeof reason, "REP %02X", reply[1]);
        failClient(client, reason);
    } else if (reply[3] == 1) {
        client->bound = (struct sockaddr_in){.sin_family = AF_INET};
        memcpy(&client->bound.sin_addr, reply + 4, 4);
        memcpy(&client->bound.sin_port, reply + 8, 2);
        open(client);
    } else if (rest == 0) {
        open(client);
    } else if (rest <= 252) {
        client->state = ADDRESSING;
        client->need += rest;
    } else {
        failClient(client, "BND.ADDR is no address");
    }
}

static void proceed(Client *client)
{
    const uint8_t *answer = client->answer;
    switch (client->state) {
    case SELECTING:
        if (answer[0] != 5 || answer[1] != (options.user ? 2 : 0))
            failClient(client, "method refused");
        else if (options.user)
            sendPassword(client);
        else
            request(client);
        break;
    case CHECKING:
        if (answer[1] != 0)
            failClient(client, "password refused");
        else
            request(client);
        break;
    case REPLYING:
        readReply(client);
        break;
    case ADDRESSING:
        open(client); /* such a BND.ADDR says nothing to these clients */
        break;
    }
}

static void connected(Client *client)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(client->watch.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        errno = error;
        failClient(client, errorReason());
        return;
    }
    watchAgainFor(&client->watch, EPOLLIN);
    if (options.plain)
        open(client);
    else
        greet(client);
}

static void serve(Watch *watch, uint32_t events)
{
    Client *client = (Client *)watch;
    if (client->state == OPEN) {
        client->role->ready(client, events);
        return;
    }
    if (client->state == CONNECTING) {
        connected(client);
        return;
    }
    ssize_t count =
        recv(watch->fd, client->answer + client->have, client->need - client->have, 0);
    if (count <= 0) {
        if (count == 0)
            failClient(client, "closed");
        else if (errno != EAGAIN)
            failClient(client, errorReason());
        return;
    }
    client->have += (unsigned)count;
    /* A refusal may end early: its code is in the second octet. */
    if (client->have == client->need ||
        (client->state == REPLYING && client->have >= 2 && client->answer[1] != 0))
        proceed(client);
}

Client *openClient(const struct role *role)
{
    int one = 1;
    Client *client = allocate(sizeof *client);
    client->role = role;
    client->began = now();
    client->watch = (Watch){.ready = serve};
    client->watch.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->watch.fd < 0)
        giveUp("socket: %s", strerror(errno));
    setsockopt(client->watch.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    client->next = first;
    if (first)
        first->previous = client;
    first = client;
    onTick = lookAtDeadlines;
    expectWithin(client, options.patience);
    int result = connect(
        client->watch.fd, (struct sockaddr *)&options.proxy, sizeof options.proxy);
    if (result < 0 && errno != EINPROGRESS) {
        client->error = errno;
        client->deadline = 1; /* told like every other failure: later */
    } else {
        watchFor(&client->watch, EPOLLOUT);
    }
    return client;
}

void sendMessage(Client *client)
{
    uint8_t message[CHUNK];
    fillMessage(message, options.size, client->number);
    client->moved = 0;
    sendWhole(client, message, (size_t)options.size);
}

int readEcho(Client *client)
{
    static uint8_t expected[CHUNK], data[CHUNK];
    ssize_t count =
        recv(client->watch.fd, data, (size_t)options.size - (size_t)client->moved, 0);
    if (count < 0 && errno == EAGAIN)
        return 0;
    if (count <= 0) {
        failClient(client, count == 0 ? "closed" : errorReason());
        return -1;
    }
    fillMessage(expected, options.size, client->number);
    if (memcmp(data, expected + client->moved, (size_t)count) != 0) {
        failClient(client, "wrong data");
        return -1;
    }
    client->moved += (uint64_t)count;
    return client->moved == (uint64_t)options.size;
}
