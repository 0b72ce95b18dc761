// SPDX-License-Identifier: Apache-2.0
// What a container may do with device nodes, seen from the inside; static, so that any root can hold it.
//
//   probe open PATH...            opens each node; prints "PATH: " and allowed, or the error's name
//   probe make PATH MAJOR MINOR   makes a character node, opens it, prints the same
//
// Allowed means open, or ENXIO: so opens the node of a device that no driver serves. Where the device cgroup
// does not allow it, that is EPERM: the cgroup is asked before the driver is.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static void show(const char *path) {
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    printf("%s: %s\n", path, fd >= 0 || errno == ENXIO ? "allowed" : strerrorname_np(errno));
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv) {
    if (argc >= 3 && !strcmp(argv[1], "open")) {
        for (int i = 2; i < argc; i++)
            show(argv[i]);
        return 0;
    }
    if (argc == 5 && !strcmp(argv[1], "make")) {
        if (mknod(argv[2], S_IFCHR | 0666, makedev(atoi(argv[3]), atoi(argv[4])))) {
            printf("%s: not made, %s\n", argv[2], strerrorname_np(errno));
            return 1;
        }
        show(argv[2]);
        return 0;
    }
    fputs("usage: probe open PATH... | probe make PATH MAJOR MINOR\n", stderr);
    return 2;
}
