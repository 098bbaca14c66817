/* Sessions one after another: connect, one message and its echo, close. */
#include "load.h"

static uint64_t all, counted, serial;
static int open;
static int64_t end;

static void opened(Client *client)
{
    expectWithin(client, options.patience);
    client->number = serial++;
    sendMessage(client);
}

static void ready(Client *client, uint32_t events);
static void failed(Client *client, const char *reason);

static const struct role ROLE = {.command = 1, .opened = opened, .ready = ready, .failed = failed};

static void another(int64_t time)
{
    if (time < end) {
        open++;
        openClient(&ROLE);
    }
}

static void ready(Client *client, uint32_t events)
{
    (void)events;
    if (readEcho(client) != 1)
        return;
    int64_t time = now();
    all++;
    open--;
    if (time <= end) {
        counted++;
        addDuration(time - client->began);
    }
    closeClient(client);
    another(time);
}

static void failed(Client *client, const char *reason)
{
    (void)client, (void)reason;
    open--;
    /* A server that refuses everything should not be asked a million times. */
    if (failures() < 1000)
        another(now());
}

static bool finished(void)
{
    return open == 0;
}

void sessions(void)
{
    int64_t began = now();
    end = began + nanoseconds(options.seconds);
    for (int i = 0; i < options.count; i++)
        another(began);
    serveUntil(finished, end + nanoseconds(2 * options.patience));
    beginReport();
    reportNumber("sessions", (double)all);
    reportNumber("rate", (double)counted / options.seconds);
    reportDurations();
    endReport();
}
