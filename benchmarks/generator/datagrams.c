/* Datagrams there and back through one association, some of them under way at any time. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { HEADER = 10, LARGEST = 2000, ROOM = 65536, IN_FLIGHT = 1024, AT_ONCE = 64 };

/* A datagram that has not come back after this part of all patience is lost. */
static const double LOST_AFTER = 0.05;

static struct slot {
    uint64_t number;
    int64_t sent; /* 0: none under way */
} slots[IN_FLIGHT];

static uint64_t serial, back, lost, late;
static bool associated, refused, stopping;
static int header;
static Watch endpoint;

/* RFC 1928 section 7: RSV, FRAG, ATYP, DST.ADDR, DST.PORT. */
static void fillHeader(uint8_t *datagram)
{
    memcpy(datagram, "\0\0\0\1", 4);
    memcpy(datagram + 4, &options.target.sin_addr, 4);
    memcpy(datagram + 8, &options.target.sin_port, 2);
}

static void fillDatagram(uint8_t *datagram, uint32_t index)
{
    if (header)
        fillHeader(datagram);
    uint8_t *data = datagram + header;
    uint64_t number = slots[index].number;
    memcpy(data, streamAt(number * 61), (size_t)options.size);
    memcpy(data, &number, sizeof number);
    memcpy(data + sizeof number, &index, sizeof index);
}

static void takeDatagram(const uint8_t *datagram, size_t size)
{
    uint8_t expected[HEADER + LARGEST];
    uint64_t number;
    uint32_t index;
    if (size != (size_t)(header + options.size)) {
        fail("a datagram of %zu octets", size);
        return;
    }
    memcpy(&number, datagram + header, sizeof number);
    memcpy(&index, datagram + header + sizeof number, sizeof index);
    if (index >= (uint32_t)options.count || number > serial) {
        fail("a datagram with wrong data");
        return;
    }
    struct slot *slot = &slots[index];
    if (slot->sent == 0 || slot->number != number) {
        late++;
        return;
    }
    fillDatagram(expected, index);
    if (memcmp(expected, datagram, size) != 0) {
        fail("a datagram with wrong data");
        return;
    }
    slot->sent = 0;
    back++;
}

/* Send a batch of single datagrams.  Says whether the kernel has taken all. */
static bool sendEach(uint8_t (*batch)[HEADER + LARGEST], const uint32_t *indices, int count)
{
    struct iovec vectors[AT_ONCE];
    struct mmsghdr messages[AT_ONCE];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < count; i++) {
        vectors[i] = (struct iovec){batch[i], (size_t)(header + options.size)};
        messages[i].msg_hdr.msg_iov = &vectors[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int sent = sendmmsg(endpoint.fd, messages, (unsigned)count, 0);
    if (sent < 0 && errno != EAGAIN)
        fail("sendmmsg: %s", errorReason());
    for (int i = sent < 0 ? 0 : sent; i < count; i++)
        slots[indices[i]].sent = 0;
    return sent == count;
}

/* Send a batch as one piece that the kernel cuts. */
static bool sendSegments(uint8_t (*batch)[HEADER + LARGEST], const uint32_t *indices, int count)
{
    union {
        char octets[CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr aligned;
    } space;
    struct iovec vectors[AT_ONCE];
    uint16_t segment = (uint16_t)(header + options.size);
    struct msghdr message = {
        .msg_iov = vectors, .msg_iovlen = (size_t)count, .msg_control = &space,
        .msg_controllen = CMSG_SPACE(sizeof segment)};
    for (int i = 0; i < count; i++)
        vectors[i] = (struct iovec){batch[i], segment};
    struct cmsghdr *control = CMSG_FIRSTHDR(&message);
    control->cmsg_level = SOL_UDP;
    control->cmsg_type = UDP_SEGMENT;
    control->cmsg_len = CMSG_LEN(sizeof segment);
    memcpy(CMSG_DATA(control), &segment, sizeof segment);
    if (sendmsg(endpoint.fd, &message, 0) >= 0)
        return true;
    if (errno != EAGAIN)
        fail("sendmsg: %s", errorReason());
    for (int i = 0; i < count; i++)
        slots[indices[i]].sent = 0;
    return false;
}

/* Let as many datagrams be under way as should be. */
static void refill(void)
{
    static uint8_t batch[AT_ONCE][HEADER + LARGEST];
    uint32_t indices[AT_ONCE];
    int most = options.segments ? 65000 / (header + options.size) : AT_ONCE;
    uint32_t index = 0;
    if (most > AT_ONCE)
        most = AT_ONCE;
    while (index < (uint32_t)options.count && !stopping) {
        int count = 0;
        int64_t time = now();
        for (; index < (uint32_t)options.count && count < most; index++)
            if (slots[index].sent == 0) {
                slots[index] = (struct slot){++serial, time};
                indices[count] = index;
                fillDatagram(batch[count++], index);
            }
        if (count > 0 &&
            !(options.segments ? sendSegments : sendEach)(batch, indices, count))
            return;
    }
}

static void takeEach(void)
{
    static uint8_t data[AT_ONCE][HEADER + LARGEST];
    static struct iovec vectors[AT_ONCE];
    static struct mmsghdr messages[AT_ONCE];
    for (int i = 0; i < AT_ONCE; i++) {
        vectors[i] = (struct iovec){data[i], sizeof data[i]};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    }
    int count = recvmmsg(endpoint.fd, messages, AT_ONCE, MSG_DONTWAIT, NULL);
    if (count < 0 && errno != EAGAIN)
        fail("recvmmsg: %s", errorReason());
    for (int i = 0; i < count; i++)
        takeDatagram(data[i], messages[i].msg_len);
}

static void takeSegments(void)
{
    static uint8_t data[ROOM];
    for (int i = 0; i < AT_ONCE; i++) {
        union {
            char octets[CMSG_SPACE(sizeof(int))];
            struct cmsghdr aligned;
        } space;
        struct iovec vector = {data, sizeof data};
        struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &space,
                                 .msg_controllen = sizeof space};
        ssize_t count = recvmsg(endpoint.fd, &message, MSG_DONTWAIT);
        if (count < 0) {
            if (errno != EAGAIN)
                fail("recvmsg: %s", errorReason());
            return;
        }
        int segment = (int)count;
        struct cmsghdr *control = CMSG_FIRSTHDR(&message);
        if (control && control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO)
            memcpy(&segment, CMSG_DATA(control), sizeof segment);
        for (ssize_t offset = 0; offset < count; offset += segment)
            takeDatagram(data + offset, (size_t)(count - offset < segment ? count - offset
                                                                          : segment));
    }
}

static void readyDatagrams(Watch *watch, uint32_t events)
{
    (void)watch, (void)events;
    if (options.segments)
        takeSegments();
    else
        takeEach();
    refill();
}

/* Called between ticks, too: a lost datagram leaves its place to another. */
static bool finished(void)
{
    static int64_t nextLook;
    int64_t time = now();
    bool any = false;
    if (time >= nextLook) {
        nextLook = time + nanoseconds(LOST_AFTER * options.patience / 5);
        for (int i = 0; i < options.count; i++)
            if (slots[i].sent && slots[i].sent + nanoseconds(LOST_AFTER * options.patience) < time) {
                slots[i].sent = 0;
                lost++;
            }
        refill();
    }
    for (int i = 0; i < options.count && !any; i++)
        any = slots[i].sent != 0;
    return refused || (stopping && !any);
}

static void begin(const struct sockaddr_in *relay)
{
    int one = 1, room = 4 * 1024 * 1024;
    endpoint.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    endpoint.ready = readyDatagrams;
    if (endpoint.fd < 0 || connect(endpoint.fd, (const struct sockaddr *)relay, sizeof *relay) < 0)
        giveUp("the socket for datagrams: %s", strerror(errno));
    setsockopt(endpoint.fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (options.segments)
        setsockopt(endpoint.fd, SOL_UDP, UDP_GRO, &one, sizeof one);
    watchFor(&endpoint, EPOLLIN);
    associated = true;
}

static void opened(Client *client)
{
    struct sockaddr_in relay = client->bound;
    if (relay.sin_addr.s_addr == INADDR_ANY)
        relay.sin_addr = options.proxy.sin_addr;
    begin(&relay);
}

static void ready(Client *client, uint32_t events)
{
    uint8_t octet;
    (void)events;
    ssize_t count = recv(client->watch.fd, &octet, 1, 0);
    if (count >= 0 || errno != EAGAIN)
        failClient(client, count == 0 ? "closed" : count > 0 ? "octets" : errorReason());
}

static void failed(Client *client, const char *reason)
{
    (void)client, (void)reason;
    refused = true;
}

static const struct role ROLE = {.command = 3, .opened = opened, .ready = ready, .failed = failed};

static bool known(void)
{
    return associated || refused;
}

void datagrams(void)
{
    if (options.size < 16 || options.size > LARGEST || options.count > IN_FLIGHT)
        giveUp("datagrams have 16 to %d octets, and up to %d are under way", LARGEST, IN_FLIGHT);
    if (options.plain) {
        begin(&options.target);
    } else {
        header = HEADER;
        openClient(&ROLE);
    }
    serveUntil(known, now() + nanoseconds(2 * options.patience));
    int64_t began = now();
    if (associated) {
        serveUntil(finished, began + nanoseconds(options.seconds));
        uint64_t counted = back;
        double lasted = (double)(now() - began) / 1e9;
        stopping = true;
        serveUntil(finished, now() + nanoseconds(options.patience));
        if (back == 0)
            fail("no datagram has come back");
        beginReport();
        reportNumber("rate", (double)counted / lasted);
    } else {
        beginReport();
    }
    reportNumber("datagrams", (double)back);
    reportNumber("lost", (double)lost);
    reportNumber("late", (double)late);
    endReport();
}
