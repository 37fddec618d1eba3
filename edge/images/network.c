/* The guest's interface, set by ioctl: a program that did it would be started ten times, which takes longer than a restore. */
#include <arpa/inet.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <net/if_arp.h>
#include <unistd.h>
#include "guest.h"

static const char device[] = "eth0";

static struct sockaddr inet(struct in_addr address)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
	} u = { .in = { .sin_family = AF_INET, .sin_addr = address } };

	return u.any;
}

static int flags(int fd, int up)
{
	struct ifreq r = { 0 };

	strcpy(r.ifr_name, device);
	if (ioctl(fd, SIOCGIFFLAGS, &r) != 0)
		return -1;
	r.ifr_flags = up ? r.ifr_flags | IFF_UP : r.ifr_flags & ~IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &r);
}

static int hardware(int fd, const char *mac)
{
	struct ifreq r = { .ifr_hwaddr.sa_family = ARPHRD_ETHER };
	unsigned char *m = (unsigned char *)r.ifr_hwaddr.sa_data;

	strcpy(r.ifr_name, device);
	if (sscanf(mac, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", m, m + 1, m + 2, m + 3, m + 4, m + 5) != 6)
		return -1;
	return ioctl(fd, SIOCSIFHWADDR, &r);
}

static int route(int fd, struct in_addr to, struct in_addr mask, struct in_addr gateway)
{
	struct rtentry r = { .rt_dst = inet(to), .rt_genmask = inet(mask), .rt_gateway = inet(gateway), .rt_dev = (char *)device };

	r.rt_flags = RTF_UP | (gateway.s_addr != 0 ? RTF_GATEWAY : 0) | (mask.s_addr == ~0u ? RTF_HOST : 0);
	return ioctl(fd, SIOCADDRT, &r);
}

/* Down first: that takes routes and neighbours of an earlier place away. */
int configure(const struct place *p)
{
	struct in_addr address, gateway, none = { 0 }, one = { ~0u }, mask = { htonl(p->prefix == 0 ? 0 : ~0u << (32 - p->prefix)) };
	struct ifreq r = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), failed;

	if (p->prefix < 0 || p->prefix > 32 || inet_pton(AF_INET, p->address, &address) != 1 || inet_pton(AF_INET, p->gateway, &gateway) != 1)
		return -1;
	failed = flags(fd, 0) | hardware(fd, p->mac);
	strcpy(r.ifr_name, device);
	r.ifr_mtu = p->mtu;
	failed |= ioctl(fd, SIOCSIFMTU, &r);
	r.ifr_addr = inet(address);
	failed |= ioctl(fd, SIOCSIFADDR, &r);
	r.ifr_netmask = inet(mask);
	failed |= ioctl(fd, SIOCSIFNETMASK, &r);
	failed |= flags(fd, 1);
	/* The gateway may be outside the prefix. */
	failed |= route(fd, gateway, one, none) | route(fd, none, none, gateway);
	close(fd);
	return failed;
}
