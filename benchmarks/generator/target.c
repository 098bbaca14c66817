/* What the clients ask for: a TCP service that echoes, sends or swallows, and a UDP one that echoes. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 4096, ACCEPTS = 64, BATCH = 64, DATAGRAM = 65536 };

typedef struct accepted Accepted;
struct accepted {
    Watch watch;
    Accepted *previous, *next;
    uint8_t service;   /* 0: not known yet */
    uint64_t moved;    /* octets of the stream */
    uint8_t *held;     /* an echo that the kernel has no room for */
    size_t heldCount;
    bool ended;        /* a source has ended its stream */
};

uint64_t sourced, sunk;
int targetConnections;

static Accepted *first;

static void drop(Accepted *connection)
{
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        first = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    targetConnections--;
    if (connection->held) {
        /* The memory of both ends with the batch of events. */
        uint8_t *held = connection->held;
        Watch none = {.fd = -1};
        endWatch(&none, held);
    }
    endWatch(&connection->watch, connection);
}

static void source(Accepted *connection)
{
    for (int i = 0; i < 4 && !connection->ended; i++) {
        ssize_t count =
            send(connection->watch.fd, streamAt(connection->moved), CHUNK, MSG_NOSIGNAL);
        if (count < 0) {
            if (errno != EAGAIN) {
                fail("target: source: %s", errorReason());
                drop(connection);
            }
            return;
        }
        connection->moved += (uint64_t)count;
        sourced += (uint64_t)count;
        if (count < CHUNK)
            return;
    }
}

static void endStream(Accepted *connection)
{
    connection->ended = true;
    shutdown(connection->watch.fd, SHUT_WR);
    watchAgainFor(&connection->watch, EPOLLIN);
}

void stopSources(void)
{
    for (Accepted *connection = first; connection; connection = connection->next)
        if (connection->service == SOURCE && !connection->ended)
            endStream(connection);
}

static void sink(Accepted *connection)
{
    long count = takeStream(connection->watch.fd, connection->moved);
    if (count > 0) {
        connection->moved += (uint64_t)count;
        sunk += (uint64_t)count;
    } else if (count == 0 || errno != EAGAIN) {
        if (count < 0)
            fail("target: sink: %s", errorReason());
        drop(connection);
    }
}

static void echoHeld(Accepted *connection)
{
    ssize_t count =
        send(connection->watch.fd, connection->held, connection->heldCount, MSG_NOSIGNAL);
    if (count < 0) {
        if (errno != EAGAIN)
            drop(connection);
        return;
    }
    connection->heldCount -= (size_t)count;
    memmove(connection->held, connection->held + count, connection->heldCount);
    if (connection->heldCount == 0)
        watchAgainFor(&connection->watch, EPOLLIN);
}

static void echo(Accepted *connection, const uint8_t *data, size_t size)
{
    ssize_t count = send(connection->watch.fd, data, size, MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN) {
        drop(connection);
        return;
    }
    if (count < 0)
        count = 0;
    if ((size_t)count < size) {
        if (connection->held == NULL)
            connection->held = allocate(CHUNK);
        connection->heldCount = size - (size_t)count;
        memcpy(connection->held, data + count, connection->heldCount);
        watchAgainFor(&connection->watch, EPOLLOUT);
    }
}

static void serveEcho(Accepted *connection)
{
    static uint8_t data[CHUNK];
    ssize_t count = recv(connection->watch.fd, data, sizeof data, 0);
    if (count > 0)
        echo(connection, data, (size_t)count);
    else if (count == 0 || errno != EAGAIN)
        drop(connection);
}

static void learn(Accepted *connection)
{
    uint8_t octet;
    ssize_t count = recv(connection->watch.fd, &octet, 1, MSG_PEEK);
    if (count < 0 && errno == EAGAIN)
        return;
    if (count <= 0) {
        drop(connection);
        return;
    }
    connection->service = octet;
    if (octet == ECHO) {
        serveEcho(connection);
        return;
    }
    if (recv(connection->watch.fd, &octet, 1, 0) != 1 || (octet != SOURCE && octet != SINK)) {
        fail("target: a client asks for 0x%02x", octet);
        drop(connection);
    } else if (octet == SOURCE) {
        watchAgainFor(&connection->watch, EPOLLOUT);
    }
}

static void serve(Watch *watch, uint32_t events)
{
    Accepted *connection = (Accepted *)watch;
    if (connection->service == 0)
        learn(connection);
    else if (connection->service == SINK)
        sink(connection);
    else if (connection->service == SOURCE && !connection->ended && !(events & EPOLLERR))
        source(connection);
    else if (connection->heldCount > 0)
        echoHeld(connection);
    else
        serveEcho(connection); /* for a source that has ended: until the other end closes */
}

static void acceptAll(Watch *listener, uint32_t events)
{
    (void)events;
    for (int i = 0; i < ACCEPTS; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno != EAGAIN && errno != ECONNABORTED)
                giveUp("accept: %s", strerror(errno));
            return;
        }
        Accepted *connection = allocate(sizeof *connection);
        connection->watch = (Watch){.fd = fd, .ready = serve};
        connection->next = first;
        if (first)
            first->previous = connection;
        first = connection;
        targetConnections++;
        watchFor(&connection->watch, EPOLLIN);
    }
}

/* Echo many datagrams with two calls. */
static void echoDatagrams(Watch *watch, uint32_t events)
{
    static uint8_t data[BATCH][2048];
    static struct sockaddr_in from[BATCH];
    static struct iovec vectors[BATCH];
    static struct mmsghdr messages[BATCH];
    (void)events;
    for (int i = 0; i < BATCH; i++) {
        vectors[i] = (struct iovec){data[i], sizeof data[i]};
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &from[i], .msg_namelen = sizeof from[i], .msg_iov = &vectors[i],
            .msg_iovlen = 1};
    }
    int count = recvmmsg(watch->fd, messages, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++)
        vectors[i].iov_len = messages[i].msg_len;
    for (int sent = 0; sent < count;) {
        int step = sendmmsg(watch->fd, messages + sent, (unsigned)(count - sent), 0);
        if (step < 0) {
            fail("target: sendmmsg: %s", errorReason());
            step = 1; /* this one is lost */
        }
        sent += step;
    }
}

/* Echo datagrams that the kernel hands over in one piece, as one piece. */
static void echoSegments(Watch *watch, uint32_t events)
{
    static uint8_t data[DATAGRAM];
    (void)events;
    for (int i = 0; i < 16; i++) {
        struct sockaddr_in from;
        union {
            char octets[CMSG_SPACE(sizeof(int))];
            struct cmsghdr aligned;
        } received, sent;
        struct iovec vector = {data, sizeof data};
        struct msghdr message = {
            .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &vector, .msg_iovlen = 1,
            .msg_control = &received, .msg_controllen = sizeof received};
        ssize_t count = recvmsg(watch->fd, &message, MSG_DONTWAIT);
        if (count < 0)
            return;
        int size = 0;
        struct cmsghdr *control = CMSG_FIRSTHDR(&message);
        if (control && control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO)
            memcpy(&size, CMSG_DATA(control), sizeof size);
        vector.iov_len = (size_t)count;
        message.msg_control = NULL;
        message.msg_controllen = 0;
        if (size > 0 && count > size) {
            uint16_t segment = (uint16_t)size;
            message.msg_control = &sent;
            message.msg_controllen = CMSG_SPACE(sizeof segment);
            control = CMSG_FIRSTHDR(&message);
            control->cmsg_level = SOL_UDP;
            control->cmsg_type = UDP_SEGMENT;
            control->cmsg_len = CMSG_LEN(sizeof segment);
            memcpy(CMSG_DATA(control), &segment, sizeof segment);
        }
        if (sendmsg(watch->fd, &message, MSG_DONTWAIT) < 0)
            fail("target: sendmsg: %s", errorReason());
    }
}

static int bound(int type)
{
    int one = 1;
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        giveUp("socket: %s", strerror(errno));
    if (type == SOCK_STREAM)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&options.target, sizeof options.target) < 0)
        giveUp("the target cannot listen: %s", strerror(errno));
    return fd;
}

void startTargets(void)
{
    static Watch listener = {.ready = acceptAll};
    static Watch datagrams = {.ready = echoDatagrams};
    int one = 1, room = 4 * 1024 * 1024;
    listener.fd = bound(SOCK_STREAM);
    setsockopt(listener.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* inherited */
    if (listen(listener.fd, BACKLOG) < 0)
        giveUp("listen: %s", strerror(errno));
    watchFor(&listener, EPOLLIN);
    datagrams.fd = bound(SOCK_DGRAM);
    setsockopt(datagrams.fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (options.segments) {
        datagrams.ready = echoSegments;
        if (setsockopt(datagrams.fd, SOL_UDP, UDP_GRO, &one, sizeof one) < 0)
            giveUp("UDP_GRO: %s", strerror(errno));
    }
    watchFor(&datagrams, EPOLLIN);
}
