/* SPDX-License-Identifier: MIT */
/* Commit messages (SPEC 7): a subject as a careful person would write it, then the trailers. */
#include "internal.h"

#include <ctype.h>
#include <stdlib.h>

/* Lines of a list in a message; the diff tells the rest. */
#define LIST_MAX 200

/* No longer form than needed, no surrogate, nothing above U+10FFFF: told by the second byte. */
static bool second_fits(const unsigned char *p)
{
	return !(*p == 0xe0 && p[1] < 0xa0) && !(*p == 0xed && p[1] > 0x9f) && !(*p == 0xf0 && p[1] < 0x90) &&
	       !(*p == 0xf4 && p[1] > 0x8f);
}

static bool is_utf8(const char *s)
{
	for (const unsigned char *p = (const unsigned char *)s; *p;) {
		size_t n = *p < 0x80 ? 1 : *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : *p >= 0xc2 ? 2 : 0;

		if (!n || *p > 0xf4)
			return false;
		for (size_t i = 1; i < n; i++)
			if ((p[i] & 0xc0) != 0x80)
				return false;
		if (!second_fits(p))
			return false;
		p += n;
	}
	return true;
}

static const char *escape_of(unsigned char c)
{
	static const char *const names[] = {['\a'] = "\\a", ['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n", ['\v'] = "\\v",
					    ['\f'] = "\\f", ['\r'] = "\\r", ['"'] = "\\\"", ['\\'] = "\\\\"};

	return c < sizeof(names) / sizeof(*names) ? names[c] : NULL;
}

static bool must_quote(const char *path, bool utf8)
{
	for (const unsigned char *p = (const unsigned char *)path; *p; p++)
		if (*p < 0x20 || *p == 0x7f || *p == '"' || *p == '\\' || (!utf8 && *p >= 0x80))
			return true;
	return false;
}

void message_path(struct buf *b, const char *path)
{
	bool utf8 = is_utf8(path);

	if (!must_quote(path, utf8)) {
		buf_str(b, path);
		return;
	}
	buf_str(b, "\"");
	for (const unsigned char *p = (const unsigned char *)path; *p; p++) {
		if (escape_of(*p))
			buf_str(b, escape_of(*p));
		else if (*p < 0x20 || *p == 0x7f || (!utf8 && *p >= 0x80))
			buf_fmt(b, "\\%03o", *p);
		else
			buf_add(b, p, 1);
	}
	buf_str(b, "\"");
}

static void edit_line(struct buf *b, const struct ledger_edit *e)
{
	static const char *const verb[] = {
		[LEDGER_SET] = "set ",           [LEDGER_APPEND] = "append ", [LEDGER_DELETE] = "delete ",
		[LEDGER_MKDIR] = "mkdir ",       [LEDGER_RMDIR] = "rmdir ",   [LEDGER_RENAME] = "rename ",
		[LEDGER_EXCHANGE] = "exchange ", [LEDGER_CHMOD] = "chmod ",
	};

	if (e->op == LEDGER_SET && e->kind == LEDGER_LINK)
		buf_str(b, "symlink ");
	else
		buf_str(b, verb[e->op]);
	if (e->op == LEDGER_CHMOD)
		buf_str(b, e->kind == LEDGER_EXEC ? "+x " : "-x ");
	message_path(b, e->path);
	if (e->op == LEDGER_RENAME || e->op == LEDGER_EXCHANGE) {
		buf_str(b, e->op == LEDGER_RENAME ? " -> " : " <-> ");
		message_path(b, e->to);
	}
}

static void subject_and_list(struct buf *b, const struct ledger_change *c)
{
	if (!c->nedits) {
		buf_str(b, "create ");
		message_path(b, c->ns);
		return;
	}
	if (c->nedits == 1) {
		edit_line(b, c->edits);
		return;
	}
	buf_fmt(b, "%zu changes\n", c->nedits);
	for (size_t i = 0; i < c->nedits && i < LIST_MAX; i++) {
		buf_str(b, "\n");
		edit_line(b, &c->edits[i]);
	}
	if (c->nedits > LIST_MAX)
		buf_fmt(b, "\nand %zu more", c->nedits - LIST_MAX);
}

/* The caller's own text, without blanks around it. */
static void own_message(struct buf *b, const char *text)
{
	size_t len;

	while (isspace((unsigned char)*text))
		text++;
	len = strlen(text);
	while (len && isspace((unsigned char)text[len - 1]))
		len--;
	buf_add(b, text, len);
}

/* "comm[pid] uid"; a program may call itself anything, up to a line that looks like another trailer. */
static void client_trailer(struct buf *b, const struct ledger_actor *a)
{
	buf_str(b, "KV-Client: ");
	for (const unsigned char *p = (const unsigned char *)a->comm; *p; p++)
		buf_fmt(b, "%c", *p < 0x20 || *p >= 0x7f || *p == '[' || *p == ']' ? '?' : *p);
	buf_fmt(b, "[%ld] %lu\n", (long)a->pid, (unsigned long)a->uid);
}

char *message_build(const struct ledger_change *c, uint64_t version, size_t *subjectlen)
{
	struct buf b = BUF_INIT;

	if (c->message)
		own_message(&b, c->message);
	if (!b.len)
		subject_and_list(&b, c);
	*subjectlen = b.p ? strcspn(b.p, "\n") : 0;
	buf_fmt(&b, "\n\nKV-Version: %llu\n", (unsigned long long)version);
	if (c->actor.comm && *c->actor.comm)
		client_trailer(&b, &c->actor);
	return buf_detach(&b);
}
