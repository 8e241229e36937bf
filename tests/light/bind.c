/* A light machine's own address instead of all addresses of this computer: bind(2) to a wildcard binds to
   HOTDESK_LIGHT_ADDRESS, so that several machines here can use the same ports. For LD_PRELOAD. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int bind(int fd, const struct sockaddr *address, socklen_t size) {
    static int (*real)(int, const struct sockaddr *, socklen_t);
    const char *own = getenv("HOTDESK_LIGHT_ADDRESS");
    struct in_addr mine;
    if (!real) real = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "bind");
    if (own && address && inet_pton(AF_INET, own, &mine) == 1) {
        if (address->sa_family == AF_INET && size >= sizeof(struct sockaddr_in)) {
            struct sockaddr_in copy;
            memcpy(&copy, address, sizeof copy);
            if (copy.sin_addr.s_addr == htonl(INADDR_ANY)) {
                copy.sin_addr = mine;
                return real(fd, (struct sockaddr *)&copy, sizeof copy);
            }
        } else if (address->sa_family == AF_INET6 && size >= sizeof(struct sockaddr_in6)) {
            struct sockaddr_in6 copy;
            memcpy(&copy, address, sizeof copy);
            if (IN6_IS_ADDR_UNSPECIFIED(&copy.sin6_addr)) {
                memset(&copy.sin6_addr, 0, sizeof copy.sin6_addr);
                copy.sin6_addr.s6_addr[10] = copy.sin6_addr.s6_addr[11] = 0xff;
                memcpy(&copy.sin6_addr.s6_addr[12], &mine, sizeof mine);
                return real(fd, (struct sockaddr *)&copy, sizeof copy);
            }
        }
    }
    return real(fd, address, size);
}
