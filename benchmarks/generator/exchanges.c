/* Messages and their echoes, each connection with one under way, perhaps beside idle sessions. */
#include "load.h"

static uint64_t serial, all;
static int waited, idle, busy;
static bool running, stopping;

static void opened(Client *client)
{
    client->number = serial++;
    expectWithin(client, options.patience);
    sendMessage(client); /* the first one shows that the session works */
}

static void settle(Client *client, int *kind)
{
    if (!client->settled) {
        client->settled = true;
        waited--;
        ++*kind;
    }
}

static void failedIdle(Client *client, const char *reason)
{
    (void)reason;
    --*(client->settled ? &idle : &waited);
}

static void failedBusy(Client *client, const char *reason)
{
    (void)reason;
    --*(client->settled ? &busy : &waited);
}

static void readyIdle(Client *client, uint32_t events)
{
    (void)events;
    if (readEcho(client) == 1) {
        client->deadline = 0;
        settle(client, &idle);
    }
}

static void readyBusy(Client *client, uint32_t events)
{
    (void)events;
    if (readEcho(client) != 1)
        return;
    settle(client, &busy);
    if (running)
        all++;
    if (stopping) {
        busy--;
        closeClient(client);
    } else {
        opened(client);
    }
}

static const struct role IDLE = {1, opened, readyIdle, failedIdle};
static const struct role BUSY = {1, opened, readyBusy, failedBusy};

static bool noneWaited(void)
{
    return waited == 0;
}

static bool noneBusy(void)
{
    return busy == 0;
}

/* Open sessions, not too many at once. */
static void openAll(const struct role *role, int count)
{
    while (count > 0) {
        int some = count < 64 ? count : 64;
        waited += some;
        count -= some;
        while (some-- > 0)
            openClient(role);
        serveUntil(noneWaited, now() + nanoseconds(2 * options.patience));
    }
}

void exchanges(void)
{
    openAll(&IDLE, options.beside);
    openAll(&BUSY, options.count);
    running = true;
    int64_t began = now();
    serveUntil(noneBusy, began + nanoseconds(options.seconds));
    double lasted = (double)(now() - began) / 1e9;
    uint64_t counted = all;
    stopping = true;
    if (!serveUntil(noneBusy, now() + nanoseconds(2 * options.patience)))
        fail("%d connections still wait for an echo", busy);
    beginReport();
    reportNumber("exchanges", (double)all);
    reportNumber("rate", (double)counted / lasted);
    if (options.beside)
        reportNumber("idle", idle);
    endReport();
}
