/* Descriptors and time. */
#include "load.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 256, TICK = 100 };

static int poller = -1;
/* What is freed when the present batch of events is over. */
static void **dead;
static size_t deadCount, deadRoom;

void (*onTick)(int64_t time);

void giveUp(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(2);
}

void *allocate(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL)
        giveUp("no memory for %zu octets", size);
    return memory;
}

int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

int64_t nanoseconds(double seconds)
{
    return (int64_t)(seconds * 1e9);
}

void raiseDescriptorLimit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void control(int operation, Watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (poller < 0 && (poller = epoll_create1(EPOLL_CLOEXEC)) < 0)
        giveUp("epoll_create1: %s", strerror(errno));
    if (epoll_ctl(poller, operation, watch->fd, &event) < 0)
        giveUp("epoll_ctl: %s", strerror(errno));
}

void watchFor(Watch *watch, uint32_t events)
{
    control(EPOLL_CTL_ADD, watch, events);
}

void watchAgainFor(Watch *watch, uint32_t events)
{
    control(EPOLL_CTL_MOD, watch, events);
}

void endWatch(Watch *watch, void *owner)
{
    if (watch->fd >= 0)
        close(watch->fd);
    watch->fd = -1;
    if (owner == NULL)
        return;
    if (deadCount == deadRoom) {
        deadRoom = deadRoom ? 2 * deadRoom : 256;
        dead = realloc(dead, deadRoom * sizeof *dead);
        if (dead == NULL)
            giveUp("no memory");
    }
    dead[deadCount++] = owner;
}

bool serveUntil(bool (*done)(void), int64_t deadline)
{
    struct epoll_event events[BATCH];
    int64_t nextTick = 0;
    for (;;) {
        int64_t time = now();
        if (time >= nextTick) {
            nextTick = time + TICK * INT64_C(1000000);
            if (onTick)
                onTick(time);
        }
        if (done && done())
            return true;
        if (time >= deadline)
            return false;
        int64_t wait = (deadline < nextTick ? deadline : nextTick) - time;
        int count = epoll_wait(poller, events, BATCH, (int)((wait + 999999) / 1000000));
        if (count < 0 && errno != EINTR)
            giveUp("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < count; i++) {
            Watch *watch = events[i].data.ptr;
            if (watch->fd >= 0)
                watch->ready(watch, events[i].events);
        }
        while (deadCount > 0)
            free(dead[--deadCount]);
    }
}
