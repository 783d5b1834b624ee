/* SPDX-License-Identifier: MIT */
/* Who made a commit, and when, as git writes it. */
#include "internal.h"

#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define IDENT_MAX 256

/* git cuts these off the ends; inside, angle brackets and line ends would break the header. */
static bool is_crud(unsigned char c)
{
	return c <= 32 || c == '.' || c == ',' || c == ':' || c == ';' || c == '<' || c == '>' || c == '"' || c == '\\' ||
	       c == '\'';
}

static void clean(char *s)
{
	char *from = s, *to = s, *end;

	while (*from && is_crud((unsigned char)*from))
		from++;
	for (; *from; from++)
		if (*from != '<' && *from != '>' && (unsigned char)*from >= 32 && *from != 0x7f)
			*to++ = *from;
	end = to;
	while (end > s && is_crud((unsigned char)end[-1]))
		end--;
	*end = '\0';
}

/*
 * Names of accounts asked for lately: the look-up reads files or asks a server, at every commit.  A name that changes is
 * seen a minute later.
 */
enum { KNOWN = 16, KNOWN_SECONDS = 60 };

static pthread_mutex_t known_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	uid_t uid;
	time_t until; /* 0: free */
	char name[IDENT_MAX];
} known[KNOWN]; /* known_lock */

static time_t uptime(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return t.tv_sec;
}

static bool known_get(uid_t uid, char *out, size_t size)
{
	unsigned i = uid % KNOWN;
	bool found;

	pthread_mutex_lock(&known_lock);
	found = known[i].uid == uid && known[i].until > uptime();
	if (found)
		snprintf(out, size, "%s", known[i].name);
	pthread_mutex_unlock(&known_lock);
	return found;
}

static void known_put(uid_t uid, const char *name)
{
	unsigned i = uid % KNOWN;

	pthread_mutex_lock(&known_lock);
	known[i].uid = uid;
	known[i].until = uptime() + KNOWN_SECONDS;
	snprintf(known[i].name, sizeof(known[i].name), "%s", name);
	pthread_mutex_unlock(&known_lock);
}

static void account(uid_t uid, char *out, size_t size)
{
	char text[4096];
	struct passwd pw, *found = NULL;

	if (known_get(uid, out, size))
		return;
	if (!getpwuid_r(uid, &pw, text, sizeof(text), &found) && found)
		snprintf(out, size, "%s", pw.pw_name);
	else
		out[0] = '\0';
	clean(out);
	if (!*out)
		snprintf(out, size, "uid-%lu", (unsigned long)uid);
	known_put(uid, out);
}

static void host(char *out, size_t size)
{
	if (gethostname(out, size))
		out[0] = '\0';
	out[size - 1] = '\0';
	clean(out);
	if (!*out)
		snprintf(out, size, "localhost");
}

static int zone(time_t at)
{
	struct tm tm;

	return localtime_r(&at, &tm) ? (int)(tm.tm_gmtoff / 60) : 0;
}

int ident_who(struct ledger *l, const struct ledger_actor *a, char out[IDENT_WHO_MAX])
{
	char name[IDENT_MAX] = "", email[2 * IDENT_MAX] = "", user[IDENT_MAX], machine[IDENT_MAX];
	int rc = config_user(l->config, name, sizeof(name), email, sizeof(email));

	if (rc)
		return rc;
	if (a->name)
		snprintf(name, sizeof(name), "%s", a->name);
	if (a->email)
		snprintf(email, sizeof(email), "%s", a->email);
	clean(name);
	clean(email);
	if (!*name || !*email)
		account(a->uid, user, sizeof(user));
	if (!*name)
		snprintf(name, sizeof(name), "%s", user);
	if (!*email) {
		host(machine, sizeof(machine));
		snprintf(email, sizeof(email), "%s@%s", user, machine);
	}
	snprintf(out, IDENT_WHO_MAX, "%s <%s>", name, email);
	return 0;
}

void ident_when(const struct timespec *now, struct buf *out)
{
	int minutes = zone(now->tv_sec);

	buf_fmt(out, "%lld %c%02d%02d", (long long)now->tv_sec, minutes < 0 ? '-' : '+', abs(minutes) / 60,
		abs(minutes) % 60);
}
