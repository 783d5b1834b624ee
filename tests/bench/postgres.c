/* SPDX-License-Identifier: MIT */
/* PostgreSQL: UPDATE ... WHERE key = $1 AND version = $2, prepared.  scripts/bench makes the table kv. */
#include "bench.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number of rows that the statement touched; -1: it failed. */
static int rows(PGresult *r, ExecStatusType want)
{
	int n = -1;

	if (PQresultStatus(r) == want)
		n = want == PGRES_TUPLES_OK ? PQntuples(r) : atoi(PQcmdTuples(r));
	else
		fprintf(stderr, "bench: %s", PQresultErrorMessage(r));
	PQclear(r);
	return n;
}

static int begin(struct client *c)
{
	const char *args[2] = {c->key, c->value};
	char conninfo[128];
	PGconn *p;

	snprintf(conninfo, sizeof(conninfo), "host=127.0.0.1 port=%s user=postgres dbname=postgres", c->where);
	c->conn = p = PQconnectdb(conninfo);
	if (PQstatus(p) != CONNECTION_OK)
		return ECONNREFUSED;
	c->version = 1;
	value_next(c);
	if (rows(PQexecParams(p, "INSERT INTO kv VALUES ($1, 1, $2) ON CONFLICT (key) DO UPDATE SET version = 1", 2, NULL,
			      args, NULL, NULL, 0),
		 PGRES_COMMAND_OK) != 1)
		return EIO;
	if (rows(PQprepare(p, "cas", "UPDATE kv SET value = $3, version = version + 1 WHERE key = $1 AND version = $2", 3,
			   NULL),
		 PGRES_COMMAND_OK) < 0 ||
	    rows(PQprepare(p, "get", "SELECT value FROM kv WHERE key = $1", 1, NULL), PGRES_COMMAND_OK) < 0)
		return EIO;
	return 0;
}

static int do_cas(struct client *c)
{
	char version[32];
	const char *args[3] = {c->key, version, c->value};
	int n;

	snprintf(version, sizeof(version), "%llu", (unsigned long long)c->version);
	value_next(c);
	n = rows(PQexecPrepared(c->conn, "cas", 3, args, NULL, NULL, 0), PGRES_COMMAND_OK);
	if (n == 1)
		c->version++;
	return n == 1 ? 0 : n ? EIO : EAGAIN;
}

static int do_get(struct client *c)
{
	const char *args[1] = {c->key};

	return rows(PQexecPrepared(c->conn, "get", 1, args, NULL, NULL, 0), PGRES_TUPLES_OK) == 1 ? 0 : EIO;
}

const struct kind postgres_kinds[] = {{"postgres-cas", begin, do_cas}, {"postgres-get", begin, do_get}, {NULL}};
