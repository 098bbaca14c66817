/*
 * The command line of the load generator:
 *
 *     load DISCIPLINE PROXY-ADDRESS PROXY-PORT TARGET-ADDRESS TARGET-PORT [NAME=VALUE ...]
 *
 * It serves the targets, does the discipline through the proxy, and prints a line of JSON.  The exit
 * status is 0 even if sessions have failed: the line says so.
 */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

struct options options = {
    .count = 64, .size = 64, .seconds = 2, .patience = 5,
};

static const struct discipline {
    const char *name;
    void (*run)(void);
} DISCIPLINES[] = {
    {"sessions", sessions},
    {"exchanges", exchanges},
    {"bulk", bulk},
    {"datagrams", datagrams},
    {"hold", hold},
    {"stall", stall},
    {"fill", fill},
    {NULL, NULL},
};

static double number(const char *name, const char *value, double least, double most)
{
    char *end;
    double result = strtod(value, &end);
    if (*value == 0 || *end != 0 || !(result >= least && result <= most))
        giveUp("%s: %s is not a number from %g to %g", name, value, least, most);
    return result;
}

static void set(char *argument)
{
    char *value = strchr(argument, '=');
    if (value == NULL)
        giveUp("%s is not NAME=VALUE", argument);
    *value++ = 0;
    if (strcmp(argument, "count") == 0)
        options.count = (int)number(argument, value, 1, 1e6);
    else if (strcmp(argument, "beside") == 0)
        options.beside = (int)number(argument, value, 0, 1e6);
    else if (strcmp(argument, "size") == 0)
        options.size = (int)number(argument, value, 1, CHUNK);
    else if (strcmp(argument, "seconds") == 0)
        options.seconds = number(argument, value, 0.001, 3600);
    else if (strcmp(argument, "patience") == 0)
        options.patience = number(argument, value, 0.001, 3600);
    else if (strcmp(argument, "plain") == 0)
        options.plain = number(argument, value, 0, 1) != 0;
    else if (strcmp(argument, "up") == 0)
        options.up = number(argument, value, 0, 1) != 0;
    else if (strcmp(argument, "segments") == 0)
        options.segments = number(argument, value, 0, 1) != 0;
    else if (strcmp(argument, "verify") == 0)
        options.verify = number(argument, value, 0, 1) != 0;
    else if (strcmp(argument, "name") == 0)
        options.name = value;
    else if (strcmp(argument, "user") == 0)
        options.user = value;
    else if (strcmp(argument, "password") == 0)
        options.password = value;
    else
        giveUp("there is no option %s", argument);
}

static struct sockaddr_in address(const char *host, const char *port)
{
    struct sockaddr_in result = {.sin_family = AF_INET};
    if (inet_pton(AF_INET, host, &result.sin_addr) != 1)
        giveUp("%s is not an IPv4 address", host);
    result.sin_port = htons((uint16_t)number("the port", port, 1, 65535));
    return result;
}

static const struct discipline *find(const char *name)
{
    const struct discipline *discipline = DISCIPLINES;
    while (discipline->name && strcmp(discipline->name, name) != 0)
        discipline++;
    if (discipline->name == NULL)
        giveUp("there is no discipline %s", name);
    return discipline;
}

int main(int count, char **arguments)
{
    if (count < 6)
        giveUp("usage: load DISCIPLINE PROXY-ADDRESS PROXY-PORT TARGET-ADDRESS TARGET-PORT "
               "[NAME=VALUE ...]");
    const struct discipline *discipline = find(arguments[1]);
    options.proxy = address(arguments[2], arguments[3]);
    options.target = address(arguments[4], arguments[5]);
    for (int i = 6; i < count; i++)
        set(arguments[i]);
    if ((options.user == NULL) != (options.password == NULL) ||
        (options.user && (strlen(options.user) > 255 || strlen(options.password) > 255)) ||
        (options.name && strlen(options.name) > 255))
        giveUp("user and password go together, and are of 255 octets at most, like names");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    raiseDescriptorLimit();
    startTargets();
    discipline->run();
    return 0;
}
