/* Messages and their echoes, each connection with one under way, perhaps beside idle sessions. */
#include "load.h"

static uint64_t serial, all;
static int waited, busy;
static bool running, stopping;

static void opened(Client *client)
{
    client->number = serial++;
    expectWithin(client, options.patience);
    sendMessage(client); /* the first one shows that the session works */
}

static void failed(Client *client, const char *reason)
{
    (void)reason;
    --*(client->settled ? &busy : &waited);
}

static void ready(Client *client, uint32_t events)
{
    (void)events;
    if (readEcho(client) != 1)
        return;
    if (!client->settled) {
        client->settled = true;
        waited--;
        busy++;
    }
    if (running)
        all++;
    if (stopping) {
        busy--;
        closeClient(client);
    } else {
        opened(client);
    }
}

static const struct role ROLE = {.command = 1, .opened = opened, .ready = ready, .failed = failed};

static bool noneWaited(void)
{
    return waited == 0;
}

static bool noneBusy(void)
{
    return busy == 0;
}

void exchanges(void)
{
    int idle = openCrowd(options.beside);
    waited = options.count;
    for (int i = 0; i < options.count; i++)
        openClient(&ROLE);
    serveUntil(noneWaited, now() + nanoseconds(2 * options.patience));
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
    if (options.beside) {
        reportNumber("idle", idle);
        reportNumber("alive", askCrowd());
    }
    endReport();
}
