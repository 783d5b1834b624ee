/* SPDX-License-Identifier: MIT */
/* Redis: compare-and-swap by a Lua script that the server keeps. */
#include "bench.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char script[] =
	"if redis.call('GET',KEYS[1])==ARGV[1] then redis.call('SET',KEYS[1],ARGV[2]) return 1 end return 0";
static char sha[64];

static int begin(struct client *c)
{
	redisContext *r = redisConnect("127.0.0.1", atoi(c->where));
	redisReply *a;

	if (!r || r->err)
		return ECONNREFUSED;
	c->conn = r;
	a = redisCommand(r, "SCRIPT LOAD %s", script);
	if (!a || a->type != REDIS_REPLY_STRING)
		return EIO;
	snprintf(sha, sizeof(sha), "%s", a->str);
	freeReplyObject(a);
	value_next(c);
	a = redisCommand(r, "SET %s %b", c->key, c->value, c->size);
	if (!a || a->type == REDIS_REPLY_ERROR)
		return EIO;
	freeReplyObject(a);
	return 0;
}

static int do_cas(struct client *c)
{
	redisReply *a;
	int err;

	memcpy(c->spare, c->value, c->size);
	value_next(c);
	a = redisCommand(c->conn, "EVALSHA %s 1 %s %b %b", sha, c->key, c->spare, c->size, c->value, c->size);
	if (!a)
		return EIO;
	err = a->type != REDIS_REPLY_INTEGER ? EIO : a->integer == 1 ? 0 : EAGAIN;
	freeReplyObject(a);
	return err;
}

static int do_get(struct client *c)
{
	redisReply *a = redisCommand(c->conn, "GET %s", c->key);
	int err = a && a->type == REDIS_REPLY_STRING ? 0 : EIO;

	freeReplyObject(a);
	return err;
}

const struct kind redis_kinds[] = {{"redis-cas", begin, do_cas}, {"redis-get", begin, do_get}, {NULL}};
