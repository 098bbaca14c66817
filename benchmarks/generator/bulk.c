/* Streams, from the targets to the clients or the other way, each to its very last octet. */
#include "load.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static int open, unsettled;
static uint64_t taken;
static bool stopping;

static void opened(Client *client)
{
    const char service = options.up ? SINK : SOURCE;
    client->settled = true;
    unsettled--;
    open++;
    if (sendWhole(client, &service, 1) && options.up)
        watchAgainFor(&client->watch, EPOLLOUT);
}

static void failed(Client *client, const char *reason)
{
    (void)reason;
    --*(client->settled ? &open : &unsettled);
}

static void finish(Client *client)
{
    client->ended = true;
    shutdown(client->watch.fd, SHUT_WR);
    watchAgainFor(&client->watch, EPOLLIN);
}

static void give(Client *client)
{
    for (int i = 0; i < 4 && !stopping; i++) {
        ssize_t count = send(client->watch.fd, streamAt(client->moved), CHUNK, MSG_NOSIGNAL);
        if (count < 0) {
            if (errno != EAGAIN)
                failClient(client, errorReason());
            return;
        }
        client->moved += (uint64_t)count;
        taken += (uint64_t)count; /* what the proxy has taken; the sinks have another count */
        if (count < CHUNK)
            return;
    }
    if (stopping)
        finish(client);
}

static void take(Client *client)
{
    long count = takeStream(client->watch.fd, client->moved);
    if (count > 0) {
        client->moved += (uint64_t)count;
        taken += (uint64_t)count;
    } else if (count == 0) {
        open--;
        closeClient(client);
    } else if (errno != EAGAIN) {
        failClient(client, errorReason());
    }
}

static void ready(Client *client, uint32_t events)
{
    (void)events;
    if (options.up && !client->ended)
        give(client);
    else
        take(client);
}

static const struct role ROLE = {1, opened, ready, failed};

static bool allSettled(void)
{
    return unsettled == 0;
}

static bool noneOpen(void)
{
    return open == 0;
}

static bool allEnded(void)
{
    return open == 0 && targetConnections == 0;
}

void bulk(void)
{
    const uint64_t *arrived = options.up ? &sunk : &taken;
    const uint64_t *sent = options.up ? &taken : &sourced;
    unsettled = options.count;
    for (int i = 0; i < options.count; i++)
        openClient(&ROLE);
    serveUntil(allSettled, now() + nanoseconds(2 * options.patience));
    serveUntil(noneOpen, now() + nanoseconds(options.seconds / 10)); /* until it is in full flow */
    uint64_t before = *arrived;
    int64_t began = now();
    serveUntil(noneOpen, began + nanoseconds(options.seconds));
    double lasted = (double)(now() - began) / 1e9;
    uint64_t counted = *arrived - before;
    stopping = true;
    stopSources();
    if (!serveUntil(allEnded, now() + nanoseconds(2 * options.patience)))
        fail("%d streams have not ended", open);
    if (*arrived != *sent)
        fail("what was sent and what has arrived differ by %lld octets",
             (long long)(*sent - *arrived));
    beginReport();
    reportNumber("octets", (double)*arrived);
    reportNumber("rate", (double)counted / lasted);
    endReport();
}
