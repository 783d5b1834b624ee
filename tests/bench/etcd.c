/* SPDX-License-Identifier: MIT */
/* etcd: a transaction that compares mod_revision, through its JSON gateway on one connection that stays open. */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_MAX 65536

/* Reads one answer with a Content-Length; NULL when it is none, or not 200. */
static char *answer(int fd, char *buf)
{
	size_t have = 0, want = 0;
	char *body = NULL, *h;
	ssize_t n;

	while (!body || have < want) {
		n = read(fd, buf + have, ANSWER_MAX - 1 - have);
		if (n <= 0)
			return NULL;
		have += (size_t)n;
		buf[have] = 0;
		if (!body && (body = strstr(buf, "\r\n\r\n"))) {
			h = strcasestr(buf, "content-length:");
			if (!h || strncmp(buf, "HTTP/1.1 200", 12) != 0)
				return NULL;
			body += 4;
			want = (size_t)(body - buf) + (size_t)atol(h + 15);
		}
	}
	return body;
}

static char *post(struct client *c, const char *path, const char *json, char *buf)
{
	char *req = NULL;
	int len = asprintf(&req, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %zu\r\n\r\n%s", path, strlen(json),
			   json);
	ssize_t n = len < 0 ? -1 : write(c->fd, req, (size_t)len);

	if (len >= 0)
		free(req);
	return n == len ? answer(c->fd, buf) : NULL;
}

/* Compares unless `any`; notes the new revision. */
static int txn(struct client *c, int any)
{
	size_t cap = 2 * c->size + 512;
	char *json = malloc(cap), *value = malloc(2 * c->size + 8), key[700], compare[900] = "", buf[ANSWER_MAX], *a, *rev;
	int err = EIO;

	if (!json || !value)
		goto out;
	value_next(c);
	EVP_EncodeBlock((unsigned char *)key, (const unsigned char *)c->key, (int)strlen(c->key));
	EVP_EncodeBlock((unsigned char *)value, (const unsigned char *)c->value, (int)c->size);
	if (!any)
		snprintf(compare, sizeof(compare), "{\"key\":\"%s\",\"target\":\"MOD\",\"modRevision\":\"%llu\"}", key,
			 (unsigned long long)c->version);
	snprintf(json, cap, "{\"compare\":[%s],\"success\":[{\"requestPut\":{\"key\":\"%s\",\"value\":\"%s\"}}]}", compare,
		 key, value);
	a = post(c, "/v3/kv/txn", json, buf);
	rev = a ? strstr(a, "\"revision\":\"") : NULL;
	if (rev && strstr(a, "\"succeeded\":true")) {
		c->version = strtoull(rev + 12, NULL, 10);
		err = 0;
	} else if (rev) {
		err = EAGAIN;
	}
out:
	free(json);
	free(value);
	return err;
}

static int begin(struct client *c)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(c->where))};
	int one = 1;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof(to)))
		return errno;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return txn(c, 1);
}

static int do_cas(struct client *c)
{
	return txn(c, 0);
}

const struct kind etcd_kinds[] = {{"etcd-cas", begin, do_cas}, {NULL}};
