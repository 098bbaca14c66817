/*
 * More sessions than the server has descriptors for: what becomes of those that are too many,
 * whether those before them go on, and whether all is well again afterwards.
 */
#include "load.h"

#include <string.h>

/* So many come when the server is full. */
enum { MORE = 64 };
/* Who has got nowhere after this part of all patience waits. */
static const double PROMPT = 0.2;

enum outcome { PENDING, SERVED, REFUSED, DROPPED };

static struct visitor {
    Client *client; /* null: there is none any more */
    enum outcome outcome;
} *visitors;

static int from, to; /* the visitors who are waited for */
static uint64_t serial;

static void ask(Client *client)
{
    client->number = serial++;
    sendMessage(client);
}

static void ready(Client *client, uint32_t events)
{
    (void)events;
    if (readEcho(client) == 1)
        visitors[client->place].outcome = SERVED;
}

static void failed(Client *client, const char *reason)
{
    visitors[client->place].client = NULL;
    visitors[client->place].outcome = strncmp(reason, "REP", 3) == 0 ? REFUSED : DROPPED;
}

static const struct role ROLE = {
    .command = 1, .mayFail = true, .opened = ask, .ready = ready, .failed = failed};

static void invite(int place)
{
    Client *client = openClient(&ROLE);
    client->place = place;
    if (!client->error)
        client->deadline = 0;
    visitors[place] = (struct visitor){client, PENDING};
}

static void dismiss(int place)
{
    if (visitors[place].client)
        closeClient(visitors[place].client);
    visitors[place].client = NULL;
}

static int count(enum outcome outcome)
{
    int sum = 0;
    for (int i = from; i < to; i++)
        sum += visitors[i].outcome == outcome;
    return sum;
}

static bool nonePending(void)
{
    return count(PENDING) == 0;
}

/* Wait for some visitors. */
static void await(int first, int end, double seconds)
{
    from = first;
    to = end;
    serveUntil(nonePending, now() + nanoseconds(seconds));
}

/* Invite one after another, until one is not served; says how many are. */
static int inviteEach(int most, int64_t deadline)
{
    int served = 0;
    while (served < most) {
        invite(served);
        await(served, served + 1, PROMPT * options.patience);
        if (visitors[served].outcome == SERVED)
            served++;
        else if (now() < deadline)
            dismiss(served); /* once more */
        else
            break;
    }
    return served;
}

void fill(void)
{
    visitors = allocate(((size_t)options.count + 1 + MORE) * sizeof *visitors);
    int served = inviteEach(options.count, 0);
    bool full = served < options.count;
    int all = served + full + MORE;
    for (int i = served + full; i < all; i++)
        invite(i);
    await(served, all, PROMPT * options.patience);
    beginReport();
    reportNumber("served", served);
    reportNumber("full", full);
    reportNumber("more", count(SERVED));
    reportNumber("refused", count(REFUSED));
    reportNumber("dropped", count(DROPPED));
    reportNumber("waiting", count(PENDING));
    for (int i = 0; i < served; i++) {
        visitors[i].outcome = visitors[i].client ? PENDING : DROPPED;
        if (visitors[i].client)
            ask(visitors[i].client);
    }
    await(0, served, options.patience);
    reportNumber("kept", count(SERVED));
    reportAndWait();
    for (int i = 0; i < served; i++)
        dismiss(i);
    from = served, to = all;
    int before = count(SERVED);
    await(served, all, options.patience);
    reportNumber("later", count(SERVED) - before);
    for (int i = 0; i < all; i++)
        dismiss(i);
    reportNumber("again", inviteEach(served, now() + nanoseconds(options.patience)));
    endReport();
}
