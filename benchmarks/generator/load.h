/*
 * The load generator: clients of a SOCKS5 server, and the targets that they ask it for, in one
 * process on one core.
 *
 * Everything is non-blocking and runs in one epoll loop.  Nothing here waits without end: a client
 * that hears nothing for `options.patience` seconds has failed.
 *
 * The names are those of the RFCs; "plain" is a server that forwards without SOCKS.
 */
#ifndef LOAD_H
#define LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The most that one call reads or writes of bulk data. */
enum { CHUNK = 256 * 1024 };

/* The first octet of a connection tells the target what to do. */
enum { ECHO = 'E', SOURCE = 'D', SINK = 'U' };

/* -- what the command line asks for */

struct options {
    struct sockaddr_in proxy;  /* where the clients connect */
    struct sockaddr_in target; /* what they ask for, and where the targets listen */
    const char *name;          /* DST.ADDR is this name, or null */
    const char *user;          /* user/password is offered, or null */
    const char *password;
    bool plain;                /* no SOCKS */
    int count;                 /* connections, or datagrams in flight */
    int beside;                /* idle sessions beside them */
    int size;                  /* octets of a message or datagram */
    bool up;                   /* bulk data go from the client to the target */
    bool segments;             /* UDP_SEGMENT and UDP_GRO */
    bool verify;               /* compare all bulk data, not only samples */
    double seconds;            /* how long it is measured */
    double patience;           /* how long a client waits for anything */
};

extern struct options options;

/* -- loop.c: descriptors and time */

typedef struct watch Watch;
struct watch {
    int fd;
    void (*ready)(Watch *watch, uint32_t events);
};

/* Nanoseconds of the monotonic clock. */
int64_t now(void);
int64_t nanoseconds(double seconds);

void watchFor(Watch *watch, uint32_t events);
void watchAgainFor(Watch *watch, uint32_t events);
/* Close the descriptor.  `owner` is freed when no event can name it any more; it may be null. */
void endWatch(Watch *watch, void *owner);

/* Called ten times a second or more often. */
extern void (*onTick)(int64_t time);
/* Serve descriptors until `done` says so, or the time has come.  Says whether it was `done`. */
bool serveUntil(bool (*done)(void), int64_t deadline);

void *allocate(size_t size);
__attribute__((noreturn, format(printf, 1, 2))) void giveUp(const char *format, ...);
void raiseDescriptorLimit(void);

/* -- report.c: what is printed */

/* Note that something has failed; all failures of one kind are counted together. */
__attribute__((format(printf, 1, 2))) void fail(const char *format, ...);
unsigned failures(void);
/* One line of JSON: begin, any number of members, end.  The end adds "failures". */
void beginReport(void);
void reportNumber(const char *name, double value);
void reportText(const char *name, const char *value);
void endReport(void);
/* Print the report so far, and wait until a line comes on standard input. */
void reportAndWait(void);
/* Durations, for percentiles. */
void addDuration(int64_t nanoseconds);
void reportDurations(void);

/* -- data.c: octets that can be recognised */

/* The octets of a stream from an offset on, at least CHUNK of them. */
const uint8_t *streamAt(uint64_t offset);
/* Take up to CHUNK octets of a stream from a socket, and compare some of them (or all).
 * Returns what recv returns; fails with EBADMSG if they are wrong. */
long takeStream(int fd, uint64_t offset);
/* Fill a message that asks for an echo. */
void fillMessage(uint8_t *message, int size, uint64_t number);

/* -- target.c */

/* What all sources have sent, and all sinks have received. */
extern uint64_t sourced, sunk;
void startTargets(void);
/* Let all sources end their streams after what they have sent. */
void stopSources(void);
/* How many connections the targets have. */
extern int targetConnections;

/* -- client.c: one connection through the server */

typedef struct client Client;

/* What a discipline does with its clients. */
struct role {
    uint8_t command;                                    /* CMD, 1 or 3 */
    bool mayFail;                                       /* failures are not noted */
    void (*opened)(Client *client);                     /* the server has said yes */
    void (*ready)(Client *client, uint32_t events);     /* events afterwards */
    void (*failed)(Client *client, const char *reason); /* it is being closed */
};

struct client {
    Watch watch;
    const struct role *role;
    Client *previous, *next;
    int state;
    int64_t began;
    int64_t deadline;       /* when it has failed; 0: never */
    struct sockaddr_in bound; /* BND.ADDR and BND.PORT */
    unsigned need, have;    /* of the answer that is due */
    uint8_t answer[300];
    int error;              /* errno of a connect that failed at once */
    uint64_t number;        /* the discipline's own: of the message, */
    uint64_t moved;         /* octets of it or of the stream, */
    int place;              /* its place in a list, */
    bool settled;           /* whether it takes part, */
    bool ended;             /* whether its stream has been ended */
};

/* Begin a connection; what becomes of it the role hears. */
Client *openClient(const struct role *role);
void closeClient(Client *client);
/* Note the reason, tell the role, and close. */
void failClient(Client *client, const char *reason);
/* Let the client have failed unless the deadline is moved again in time. */
void expectWithin(Client *client, double seconds);
/* The name of the error in errno, as a reason. */
const char *errorReason(void);
/* Send a whole small message, or fail the client. */
bool sendWhole(Client *client, const void *data, size_t size);
/* Read what has come of the echo of the client's message.  1: it is complete and right; 0: more is
 * to come; -1: the client has failed. */
int readEcho(Client *client);
/* Send the client's next message. */
void sendMessage(Client *client);

/* -- disciplines */

/* Open sessions that do nothing; says how many there are. */
int openCrowd(int count);
/* Let each of them show with an echo that it still works; says how many do. */
int askCrowd(void);

void sessions(void);
void exchanges(void);
void bulk(void);
void datagrams(void);
void hold(void);
void stall(void);
void fill(void);

#endif
