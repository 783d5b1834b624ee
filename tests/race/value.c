/* SPDX-License-Identifier: MIT */
#include "racer.h"
#include <ctype.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void snapshot_clear(struct snapshot *s)
{
	free(s->state);
	memset(s, 0, sizeof *s);
}

void snapshot_move(struct snapshot *to, struct snapshot *from)
{
	free(to->state);
	*to = *from;
	memset(from, 0, sizeof *from);
}

void snapshot_absent(struct snapshot *out)
{
	snapshot_clear(out);
	out->state = strdup("-");
	if (!out->state)
		die("strdup", "-");
	strcpy(out->oid, "absent");
	out->known = true;
}

void key_name(char out[32], unsigned key)
{
	snprintf(out, 32, "d%u/k%03u", key % 8, key);
}

/* The same letter as gitlog.filler(). */
static char filler(const char *id, size_t len)
{
	unsigned sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += (unsigned char)id[i];
	return (char)('a' + sum % 26);
}

size_t piece_make(char *buf, size_t size, const char *id, unsigned length)
{
	int head = snprintf(buf, size, "%s+%u:", id, length);

	if (head < 0 || (size_t)head + length + 2 > size)
		die("piece", id);
	memset(buf + head, filler(id, strlen(id)), length);
	buf[head + length] = '\n';
	return (size_t)head + length + 1;
}

/* git's name of the blob. */
static void blob_oid(char out[OIDHEX], const char *data, size_t len)
{
	unsigned char raw[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	char head[32];
	int n = snprintf(head, sizeof head, "blob %zu", len) + 1;

	if (!ctx || !EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) || !EVP_DigestUpdate(ctx, head, (size_t)n) ||
	    !EVP_DigestUpdate(ctx, data, len) || !EVP_DigestFinal_ex(ctx, raw, NULL))
		die("sha1", "");
	EVP_MD_CTX_free(ctx);
	for (int i = 0; i < 20; i++)
		sprintf(out + 2 * i, "%02x", raw[i]);
}

/* One piece "ID+LENGTH:FILLER\n" at `at`; returns what is behind it, or NULL. */
static const char *piece_check(const char *at, const char *end, size_t *idlen)
{
	const char *p = at;
	char want;
	size_t length = 0;

	while (p < end && (isalnum((unsigned char)*p) || *p == '.' || *p == '_'))
		p++;
	*idlen = (size_t)(p - at);
	if (!*idlen || p == end || *p++ != '+')
		return NULL;
	for (; p < end && isdigit((unsigned char)*p); p++)
		length = length * 10 + (size_t)(*p - '0');
	if (p == end || *p++ != ':' || (size_t)(end - p) < length + 1)
		return NULL;
	want = filler(at, *idlen);
	for (size_t i = 0; i < length; i++) {
		if (*p++ != want)
			return NULL;
	}
	return *p == '\n' ? p + 1 : NULL;
}

bool snapshot_from(struct snapshot *out, const char *data, size_t len)
{
	const char *at = data, *end = data + len;
	char *state = malloc(len + 1);
	size_t used = 0, idlen;

	if (!state)
		die("malloc", "state");
	while (at && at < end) {
		const char *next = piece_check(at, end, &idlen);

		if (next) {
			if (used)
				state[used++] = ',';
			memcpy(state + used, at, idlen);
			used += idlen;
		}
		at = next;
	}
	if (!at || !used) {
		free(state);
		return false;
	}
	state[used] = '\0';
	snapshot_clear(out);
	out->state = state;
	out->known = true;
	blob_oid(out->oid, data, len);
	return true;
}
