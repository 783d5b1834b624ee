/* SPDX-License-Identifier: MIT */
/* Keys and times as text, JSON objects, base64. */
#include "kv.h"

#include <stdlib.h>
#include <string.h>

/* --- quoting, as git's core.quotePath does it ----------------------------------------------------------------------- */

static const char escapes[] = "abtnvfr"; /* \a is 7 ... \r is 13 */

static bool needs_quotes(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 32 || (unsigned char)*s >= 127 || *s == '"' || *s == '\\')
			return true;
	return false;
}

void put_quoted(FILE *f, const char *s)
{
	if (!needs_quotes(s)) {
		fputs(s, f);
		return;
	}
	putc('"', f);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			fprintf(f, "\\%c", c);
		else if (c >= 7 && c <= 13)
			fprintf(f, "\\%c", escapes[c - 7]);
		else if (c < 32 || c >= 127)
			fprintf(f, "\\%03o", c);
		else
			putc(c, f);
	}
	putc('"', f);
}

char *quoted(const char *s)
{
	char *buf = NULL;
	size_t len;
	FILE *f = xmemstream(&buf, &len);

	put_quoted(f, s);
	fclose(f);
	return buf;
}

/* One escape at `s` (behind the backslash): its byte, and how long it was; 0 when malformed. */
static int unescape(const char *s, unsigned char *out)
{
	const char *e;

	if (*s == '"' || *s == '\\') {
		*out = (unsigned char)*s;
		return 1;
	}
	if (*s && (e = strchr(escapes, *s))) {
		*out = (unsigned char)(e - escapes + 7);
		return 1;
	}
	if (s[0] >= '0' && s[0] <= '3' && s[1] >= '0' && s[1] <= '7' && s[2] >= '0' && s[2] <= '7') {
		*out = (unsigned char)((s[0] - '0') << 6 | (s[1] - '0') << 3 | (s[2] - '0'));
		return 3;
	}
	return 0;
}

char *unquoted(const char *s)
{
	char *out, *o;

	if (*s != '"')
		return xstrdup(s);
	out = o = xcalloc(strlen(s), 1);
	for (s++; *s && *s != '"'; o++) {
		unsigned char c = (unsigned char)*s;
		int n = 1;

		if (c == '\\') {
			n = unescape(s + 1, &c);
			if (!n || !c)
				goto bad;
			n++;
		}
		*o = (char)c;
		s += n;
	}
	if (s[0] == '"' && !s[1])
		return out;
bad:
	free(out);
	return NULL;
}

void put_key_line(const struct kv *kv, const char *key)
{
	if (kv->nul) {
		fwrite(key, 1, strlen(key) + 1, stdout);
		return;
	}
	put_quoted(stdout, key);
	putchar('\n');
}

void put_time(FILE *f, time_t t)
{
	struct tm tm;
	char buf[64];

	if (localtime_r(&t, &tm) && strftime(buf, sizeof(buf), "%Y-%m-%d %H:%M:%S %z", &tm))
		fputs(buf, f);
	else
		fprintf(f, "@%lld", (long long)t);
}

/* --- JSON ----------------------------------------------------------------------------------------------------------- */

bool is_utf8(const char *s, size_t len)
{
	json_t *j = json_stringn(s, len); /* checks: RFC 3629, no surrogates, no overlong forms */

	if (!j)
		return false;
	json_decref(j);
	return true;
}

/* Steals `v`; jansson fails for lack of memory alone here. */
static void put(json_t *obj, const char *name, json_t *v)
{
	if (json_object_set_new(obj, name, v) < 0) {
		say_fatal("out of memory");
		exit(KV_FATAL);
	}
}

void json_put_bytes(json_t *obj, const char *name, const char *s, size_t len)
{
	json_t *v = json_stringn(s, len);
	char *b64, *name64;

	if (v) {
		put(obj, name, v);
		return;
	}
	b64 = base64_encode(s, len);
	name64 = xasprintf("%s_b64", name);
	put(obj, name64, json_string(b64));
	free(name64);
	free(b64);
}

void json_put_oid(json_t *obj, const char *name, const struct ledger_oid *oid)
{
	char hex[LEDGER_OID_HEXSIZE + 1];

	put(obj, name, ledger_oid_is_zero(oid) ? json_null() : json_string(ledger_oid_fmt(hex, oid)));
}

void json_put_tip(json_t *obj, const struct ledger_tip *tip)
{
	json_put_oid(obj, "tree", &tip->tree);
	json_put_oid(obj, "commit", &tip->commit);
	put(obj, "version", json_integer((json_int_t)tip->version));
}

void json_print(json_t *obj)
{
	if (json_dumpf(obj, stdout, JSON_COMPACT) < 0) {
		say_fatal("cannot write JSON");
		exit(KV_IO);
	}
	putchar('\n');
	json_decref(obj);
}

/* --- base64 (RFC 4648, section 4) ------------------------------------------------------------------------------------- */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *data, size_t len)
{
	const unsigned char *p = data;
	char *out = xcalloc((len + 2) / 3 * 4 + 1, 1), *o = out;

	for (size_t i = 0; i < len; i += 3) {
		unsigned v = (unsigned)p[i] << 16 | (i + 1 < len ? p[i + 1] << 8 : 0) | (i + 2 < len ? p[i + 2] : 0);

		*o++ = digits[v >> 18];
		*o++ = digits[v >> 12 & 63];
		*o++ = i + 1 < len ? digits[v >> 6 & 63] : '=';
		*o++ = i + 2 < len ? digits[v & 63] : '=';
	}
	return out;
}

static int digit(char c)
{
	const char *d = c ? strchr(digits, c) : NULL;

	return d ? (int)(d - digits) : -1;
}

void *base64_decode(const char *s, size_t len, size_t *outlen)
{
	size_t pad = 0, n = 0;
	unsigned char *out;

	if (len % 4)
		return NULL;
	while (pad < 2 && pad < len && s[len - 1 - pad] == '=')
		pad++;
	out = xcalloc(len / 4 * 3 + 1, 1);
	for (size_t i = 0; i < len; i += 4) {
		unsigned v = 0;

		for (size_t k = 0; k < 4; k++) {
			int d = i + k >= len - pad ? 0 : digit(s[i + k]);

			if (d < 0)
				goto bad;
			v = v << 6 | (unsigned)d;
		}
		out[n++] = (unsigned char)(v >> 16);
		out[n++] = (unsigned char)(v >> 8);
		out[n++] = (unsigned char)v;
	}
	/* The bits that the padding cuts off must be 0, else two texts would mean the same bytes. */
	if ((pad == 1 && out[n - 1]) || (pad == 2 && (out[n - 1] || out[n - 2])))
		goto bad;
	*outlen = n - pad;
	return out;
bad:
	free(out);
	return NULL;
}
