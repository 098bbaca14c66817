/* Streams, from the targets to the clients or the other way, each to its very last octet. */
#include "load.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* Sources that have sent nothing for so many seconds have come to a stand. */
static const double QUIET = 0.5;

static int open, unsettled;
static uint64_t taken;
static bool stopping, stalling;
/* The clients that do not read. */
static Client **stalled;
static int stalledCount;

static void opened(Client *client)
{
    const char service = options.up ? SINK : SOURCE;
    client->settled = true;
    unsettled--;
    open++;
    if (!sendWhole(client, &service, 1))
        return;
    if (stalling) {
        stalled[stalledCount++] = client;
        watchAgainFor(&client->watch, 0);
    } else if (options.up) {
        watchAgainFor(&client->watch, EPOLLOUT);
    }
}

static void failed(Client *client, const char *reason)
{
    (void)reason;
    for (int i = 0; i < stalledCount; i++)
        if (stalled[i] == client)
            stalled[i] = NULL;
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

static const struct role ROLE = {.command = 1, .opened = opened, .ready = ready, .failed = failed};

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

static void openAll(void)
{
    unsettled = options.count;
    for (int i = 0; i < options.count; i++)
        openClient(&ROLE);
    serveUntil(allSettled, now() + nanoseconds(2 * options.patience));
}

/* Let all streams end, and see that nothing is missing. */
static void endAll(const uint64_t *sent, const uint64_t *arrived)
{
    stopping = true;
    stopSources();
    if (!serveUntil(allEnded, now() + nanoseconds(2 * options.patience)))
        fail("%d streams have not ended", open);
    if (*arrived != *sent)
        fail("what was sent and what has arrived differ by %lld octets",
             (long long)(*sent - *arrived));
}

void bulk(void)
{
    const uint64_t *arrived = options.up ? &sunk : &taken;
    openAll();
    serveUntil(noneOpen, now() + nanoseconds(options.seconds / 10)); /* until it is in full flow */
    uint64_t before = *arrived;
    int64_t began = now();
    serveUntil(noneOpen, began + nanoseconds(options.seconds));
    double lasted = (double)(now() - began) / 1e9;
    uint64_t counted = *arrived - before;
    endAll(options.up ? &taken : &sourced, arrived);
    beginReport();
    reportNumber("octets", (double)*arrived);
    reportNumber("rate", (double)counted / lasted);
    endReport();
}

/* Whether nobody has taken anything from the sources for a while. */
static bool stuck(void)
{
    static uint64_t before;
    static int64_t since;
    int64_t time = now();
    if (since == 0 || sourced != before) {
        before = sourced;
        since = time;
    }
    return time - since > nanoseconds(QUIET);
}

void stall(void)
{
    stalling = true;
    stalled = allocate((size_t)options.count * sizeof(Client *));
    openAll();
    if (!serveUntil(stuck, now() + nanoseconds(2 * options.patience)))
        fail("the sources do not come to a stand");
    beginReport();
    reportNumber("sessions", open);
    reportNumber("octets", (double)sourced);
    reportAndWait();
    for (int i = 0; i < stalledCount; i++)
        if (stalled[i])
            watchAgainFor(&stalled[i]->watch, EPOLLIN);
    stalledCount = 0;
    endAll(&sourced, &taken);
    reportNumber("octets", (double)taken);
    endReport();
}
