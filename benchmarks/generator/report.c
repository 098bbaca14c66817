/* What is printed: one line of JSON, or two. */
#include "load.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KINDS = 32, REASON = 80 };
/* Milliseconds after which nobody will come any more. */
enum { WAIT = 60000 };

static struct {
    char reason[REASON];
    unsigned count;
} kinds[KINDS];

static int64_t *durations;
static size_t durationCount, durationRoom;
static const char *separator;

void fail(const char *format, ...)
{
    char reason[REASON];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    for (int i = 0; i < KINDS; i++) {
        if (kinds[i].count == 0)
            strcpy(kinds[i].reason, i < KINDS - 1 ? reason : "others");
        if (i == KINDS - 1 || strcmp(kinds[i].reason, reason) == 0) {
            kinds[i].count++;
            return;
        }
    }
}

unsigned failures(void)
{
    unsigned sum = 0;
    for (int i = 0; i < KINDS; i++)
        sum += kinds[i].count;
    return sum;
}

static void key(const char *name)
{
    printf("%s\"%s\": ", separator, name);
    separator = ", ";
}

void beginReport(void)
{
    separator = "";
    putchar('{');
}

void reportNumber(const char *name, double value)
{
    key(name);
    printf("%.17g", value);
}

void reportText(const char *name, const char *value)
{
    key(name);
    printf("\"%s\"", value);
}

void endReport(void)
{
    key("failures");
    putchar('{');
    separator = "";
    for (int i = 0; i < KINDS && kinds[i].count > 0; i++)
        reportNumber(kinds[i].reason, kinds[i].count);
    puts("}}");
    fflush(stdout);
}

void reportAndWait(void)
{
    struct pollfd line = {.fd = STDIN_FILENO, .events = POLLIN};
    char octet = 0;
    endReport();
    if (poll(&line, 1, WAIT) <= 0)
        giveUp("nobody has said to go on");
    while (read(STDIN_FILENO, &octet, 1) == 1 && octet != '\n')
        ;
    if (octet != '\n')
        exit(2); /* whoever has started this is gone */
    beginReport();
}

void addDuration(int64_t duration)
{
    if (durationCount == durationRoom) {
        durationRoom = durationRoom ? 2 * durationRoom : 65536;
        durations = realloc(durations, durationRoom * sizeof *durations);
        if (durations == NULL)
            giveUp("no memory");
    }
    durations[durationCount++] = duration;
}

static int compare(const void *one, const void *other)
{
    int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;
    return (a > b) - (a < b);
}

void reportDurations(void)
{
    if (durationCount == 0)
        return;
    qsort(durations, durationCount, sizeof *durations, compare);
    reportNumber("p50", (double)durations[durationCount / 2] / 1e3);
    reportNumber("p99", (double)durations[durationCount * 99 / 100] / 1e3);
    reportNumber("longest", (double)durations[durationCount - 1] / 1e3);
}
