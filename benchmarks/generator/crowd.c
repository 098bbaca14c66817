/* Many sessions that do nothing, each of which has shown with one echo that it works. */
#include "load.h"

enum { AT_ONCE = 64 };

static int waited, idle;
static uint64_t serial;
static Client **members;
static int memberCount, memberRoom;

static void ask(Client *client)
{
    client->number = serial++;
    expectWithin(client, options.patience);
    sendMessage(client);
}

static void failed(Client *client, const char *reason)
{
    (void)reason;
    if (client->settled) {
        idle--;
        for (int i = 0; i < memberCount; i++)
            if (members[i] == client)
                members[i] = NULL;
    }
    if (client->deadline)
        waited--;
}

static void ready(Client *client, uint32_t events)
{
    (void)events;
    if (readEcho(client) != 1)
        return;
    client->deadline = 0;
    waited--;
    if (!client->settled) {
        client->settled = true;
        idle++;
        members[memberCount++] = client;
    }
}

static const struct role ROLE = {.command = 1, .opened = ask, .ready = ready, .failed = failed};

static bool noneWaited(void)
{
    return waited == 0;
}

static void awaitAll(void)
{
    serveUntil(noneWaited, now() + nanoseconds(2 * options.patience));
}

int openCrowd(int count)
{
    memberRoom = count;
    members = allocate((size_t)memberRoom * sizeof(Client *) + 1);
    while (count > 0) {
        int some = count < AT_ONCE ? count : AT_ONCE;
        count -= some;
        waited += some;
        while (some-- > 0)
            openClient(&ROLE);
        awaitAll();
    }
    return idle;
}

int askCrowd(void)
{
    for (int begin = 0; begin < memberCount; begin += AT_ONCE) {
        for (int i = begin; i < memberCount && i < begin + AT_ONCE; i++)
            if (members[i]) {
                waited++;
                ask(members[i]);
            }
        awaitAll();
    }
    return idle;
}

void hold(void)
{
    beginReport();
    reportNumber("sessions", openCrowd(options.count));
    reportAndWait();
    reportNumber("alive", askCrowd());
    endReport();
}
