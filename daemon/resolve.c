/* Each name is one record that lives as long as the resolver: configured services are few. The record holds the request that
 * libuv works on, so a resolver that ends while a look-up runs leaves the record to the look-up's own callback.
 *
 * What can go wrong: the look-up fails (all who wait are told; an address still usable stays) or takes long (those who wait
 * have deadlines of their own). */
#include "resolve.h"

#include "../proto/error.h"

#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <utlist.h>
#include <uv.h>

#define ADDRESSES 8

struct name {
	uv_getaddrinfo_t request;
	struct resolver *resolver; /* NULL: it has ended, the look-up frees this */
	struct name *next;
	struct resolve_wait *waits, *told;
	bool looking;
	uint64_t found_ms;
	char addresses[ADDRESSES * (UV_IF_NAMESIZE + 48)]; /* "" = none found yet */
	char host[256];
};

struct resolver {
	uv_loop_t *loop;
	struct name *names;
	unsigned count;
};

struct resolver *resolver_create(struct uv_loop_s *loop)
{
	struct resolver *resolver = calloc(1, sizeof(*resolver));

	if (resolver)
		resolver->loop = loop;
	return resolver;
}

void resolver_destroy(struct resolver *resolver)
{
	struct name *name, *next;

	if (!resolver)
		return;
	LL_FOREACH_SAFE (resolver->names, name, next) {
		while (name->waits)
			resolve_cancel(name->waits);
		name->resolver = NULL;
		if (name->looking)
			(void)uv_cancel((uv_req_t *)&name->request);
		else
			free(name);
	}
	free(resolver);
}

/* Writes the list of addresses; returns whether there is any. */
static bool write_addresses(const struct addrinfo *found, char *out, size_t size)
{
	size_t used = 0;
	unsigned count = 0;

	for (; found && count < ADDRESSES; found = found->ai_next) {
		char text[64];
		bool six = found->ai_family == AF_INET6;
		int error = six ? uv_ip6_name((const struct sockaddr_in6 *)(const void *)found->ai_addr, text, sizeof(text))
				: uv_ip4_name((const struct sockaddr_in *)(const void *)found->ai_addr, text, sizeof(text));
		if (error || (!six && found->ai_family != AF_INET))
			continue;
		int length = snprintf(out + used, size - used, "%s%s%s%s", count ? "," : "", six ? "[" : "", text,
				      six ? "]" : "");
		if (length < 0 || (size_t)length >= size - used)
			break;
		used += (size_t)length;
		count++;
	}
	out[used] = '\0';
	return count > 0;
}

static void on_found(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
	struct name *name = request->data;
	const char *error = status ? uv_strerror(status) : "no address";
	char addresses[sizeof(name->addresses)];

	name->looking = false;
	bool any = status == 0 && write_addresses(found, addresses, sizeof(addresses));
	uv_freeaddrinfo(found);
	if (!name->resolver) {
		free(name);
		return;
	}
	if (any) {
		(void)snprintf(name->addresses, sizeof(name->addresses), "%s", addresses);
		name->found_ms = uv_now(name->resolver->loop);
	}
	/* One that is told may wait for the name again, or cancel another: so those to be told have a list of their own. */
	struct resolve_wait *wait;
	while ((wait = name->waits)) {
		DL_DELETE(name->waits, wait);
		DL_APPEND(name->told, wait);
		wait->telling = true;
	}
	while ((wait = name->told)) {
		resolve_cancel(wait);
		wait->done(wait, any ? addresses : NULL, any ? "" : error);
	}
}

/* Starts the look-up, if none is under way. */
static int name_look(struct name *name)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};

	if (name->looking)
		return 0;
	name->request.data = name;
	if (uv_getaddrinfo(name->resolver->loop, &name->request, on_found, name->host, NULL, &hints))
		return ERROR_MEMORY;
	name->looking = true;
	return 0;
}

/* Finds the record of `host`, or makes one. */
static int name_find(struct resolver *resolver, const char *host, struct name **found)
{
	struct name *name;

	LL_FOREACH (resolver->names, name) {
		if (strcmp(name->host, host) == 0) {
			*found = name;
			return 0;
		}
	}
	if (strlen(host) >= sizeof(name->host) || resolver->count >= RESOLVE_NAMES)
		return ERROR_TOO_LARGE;
	name = calloc(1, sizeof(*name));
	if (!name)
		return ERROR_MEMORY;
	(void)snprintf(name->host, sizeof(name->host), "%s", host);
	name->resolver = resolver;
	LL_PREPEND(resolver->names, name);
	resolver->count++;
	*found = name;
	return 0;
}

/* localhost and what is below it are the loopback, whatever the system's tables say or lack (RFC 6761, section 6.3). */
static bool is_loopback(const char *host)
{
	static const char name[] = "localhost";
	size_t length = strlen(host), own = sizeof(name) - 1;

	return length >= own && strcasecmp(host + length - own, name) == 0 &&
	       (length == own || host[length - own - 1] == '.');
}

int resolver_find(struct resolver *resolver, struct resolve_wait *wait, const char *host, const char **addresses)
{
	struct name *name = NULL;

	if (is_loopback(host)) {
		*addresses = "127.0.0.1,[::1]";
		return 1;
	}
	int error = name_find(resolver, host, &name);
	if (error)
		return error;
	uint64_t age = uv_now(resolver->loop) - name->found_ms;
	if (name->addresses[0] && age < RESOLVE_USABLE_MS) {
		if (age >= RESOLVE_FRESH_MS)
			(void)name_look(name);
		*addresses = name->addresses;
		return 1;
	}
	error = name_look(name);
	if (error)
		return error;
	wait->private = name;
	wait->telling = false;
	DL_APPEND(name->waits, wait);
	return 0;
}

void resolve_cancel(struct resolve_wait *wait)
{
	struct name *name = wait->private;

	if (!name)
		return;
	if (wait->telling)
		DL_DELETE(name->told, wait);
	else
		DL_DELETE(name->waits, wait);
	wait->private = NULL;
}
