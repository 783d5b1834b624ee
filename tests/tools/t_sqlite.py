#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
sqlite on a key: locks are held per key, a handle goes on from the newest value when it gets one and saves when it lets go
(SPEC 5.1, last line; docs/TOOLS.md).  A transaction that was told to be committed is in the database for good, whoever wrote at the same
time; one that cannot be is an error, never a silence.
"""
import os
import sqlite3
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mount"))
from lib import *  # noqa: E402,F401,F403


conn = {}


def connect(path, sync="full", timeout=30):
    conn[path] = sqlite3.connect(path, isolation_level=None, timeout=timeout)
    conn[path].execute("pragma synchronous=%s" % sync)


def sql(path, *text):
    out = None
    for t in text:
        out = conn[path].execute(t).fetchall()
    return out


def attempt(path, *text):
    """Was the transaction acknowledged?"""
    try:
        sql(path, *text)
        return True
    except sqlite3.Error as e:
        if conn[path].in_transaction:
            conn[path].rollback()
        return str(e)


def burst(path, who, n):
    """n transactions of one row each: those that were acknowledged, and the errors."""
    good, bad = [], []
    for i in range(n):
        r = attempt(path, "begin immediate", "insert into t select %d, count(*) from t" % (who * 1000 + i), "commit")
        (good if r is True else bad).append(who * 1000 + i if r is True else r)
    return good, bad


def leave(path):
    conn.pop(path).close()


def threads(path, mode, n, each, anew=False):
    """
    n connections of this process, a thread each, `each` transactions of one row: what was acknowledged, and the errors.  `anew`: a connection
    for each transaction.
    """
    good, bad, start = [], [], threading.Barrier(n)

    def connect():
        con = sqlite3.connect(path, isolation_level=None, timeout=30)
        con.execute("pragma journal_mode=%s" % mode)
        return con

    def run(who):
        try:
            con = connect()
            start.wait()
            for i in range(each):
                if anew and i:
                    con.close()
                    con = connect()
                try:
                    con.execute("begin immediate")
                    con.execute("insert into t select %d, count(*) from t" % (who * 1000 + i))
                    con.execute("commit")
                    good.append(who * 1000 + i)
                except sqlite3.Error as e:
                    bad.append(str(e))
                    if con.in_transaction:
                        con.rollback()
        except Exception as e:  # pragma or connect: the others are not to wait for this one
            bad.append(repr(e))
            start.abort()
        finally:
            con.close()
    all_of_them = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for x in all_of_them:
        x.start()
    for x in all_of_them:
        x.join()
    return good, bad


def sync_now(path):
    """What sqlite does before it removes its journal, when the transaction is not over yet: the database's bytes of the moment become its value."""
    for fd in os.listdir("/proc/self/fd"):
        try:
            if os.readlink("/proc/self/fd/" + fd).split(" (deleted)")[0] == path:
                os.fsync(int(fd))
        except FileNotFoundError:
            pass


OPS.update({"connect": connect, "sql": sql, "attempt": attempt, "burst": burst, "leave": leave, "threads": threads, "sync_now": sync_now})


def journals(t):
    return [k for k in t.repo.keys(t.ns) if k != "db"]


@case("one shell: each transaction is one commit, the journal none")
def one(t):
    c, db = Client(), t.path("db")
    c.connect(db)
    c.sql(db, "create table t(x, y)")
    with commits(t, 3):
        for i in range(3):
            c.sql(db, "insert into t values(%d, 0)" % i)
    with commits(t, 1):
        c.sql(db, "begin", *("insert into t values(%d, 1)" % i for i in range(500)), "commit")
    with commits(t, 0):
        c.sql(db, "begin", "delete from t", "rollback")
        eq(c.sql(db, "select count(*) from t"), [(503,)])
    c.sql(db, "vacuum")
    eq((c.sql(db, "pragma integrity_check"), journals(t), t.repo.subject(t.ns)), ([("ok",)], [], "set db"))
    c.leave(db)
    c.quit()


@case("every committed value is a whole database: stock git reads any version of it")
def history(t):
    c, db = Client(), t.path("db")
    c.connect(db)
    c.sql(db, "create table t(x, y)")
    base = t.repo.count(t.ns)
    for i in range(5):
        c.sql(db, "begin", *("insert into t values(%d, 1)" % i for i in range(40)), "commit")
    for back in range(5):
        out = work() + "/old.db"
        with open(out, "wb") as f:
            f.write(t.repo.raw("cat-file", "blob", "refs/kv/%s~%d:db" % (t.ns, back)))
        with sqlite3.connect(out) as old:
            eq(old.execute("select count(*) from t").fetchone()[0], 40 * (5 - back))
            eq(old.execute("pragma integrity_check").fetchone()[0], "ok")
        old.close()
    eq(t.repo.count(t.ns), base + 5)
    c.quit()


@table([("synchronous=full", "full"), ("synchronous=normal", "normal"), ("synchronous=off", "off")])
def two_shells_in_turns(t, sync):
    a, b, db = Client(), Client(), t.path("db")
    for c in (a, b):
        c.connect(db, sync)
    a.sql(db, "create table t(x, y)")
    for i in range(10):
        for n, c in enumerate((a, b)):
            eq(c.attempt(db, "insert into t values(%d, %d)" % (i, n)), True)
            eq([x.sql(db, "select count(*) from t") for x in (a, b)], [[(2 * i + n + 1,)]] * 2, "what both see")
    eq(a.sql(db, "pragma integrity_check"), [("ok",)])
    for c in (a, b):
        c.leave(db)
        c.quit()
    eq(journals(t), [])


@table([("journal_mode=delete", "delete"), ("journal_mode=truncate", "truncate"), ("journal_mode=persist", "persist"), ("journal_mode=memory", "memory")])
def four_shells_at_once(t, mode):
    db = t.path("db")
    shells = [Client() for _ in range(4)]
    for c in shells:
        c.connect(db)
        c.sql(db, "pragma journal_mode=%s" % mode)
    shells[0].sql(db, "create table t(x, y)")
    for n, c in enumerate(shells):
        c.begin("burst", db, n, 12)
    got = [c.end() for c in shells]
    want = sorted(x for good, _ in got for x in good)
    eq([bad for _, bad in got], [[]] * 4, "errors")
    for c in shells:
        eq(sorted(x for x, in c.sql(db, "select x from t")), want, "acknowledged and there")
    eq(sorted(y for y, in shells[0].sql(db, "select y from t")), list(range(len(want))), "each saw all that came before")
    eq(shells[0].sql(db, "pragma integrity_check"), [("ok",)])
    for c in shells:
        c.leave(db)
        c.quit()


@case("two shells that both make the database: one database, nothing lost")
def both_make(t):
    a, b, db = Client(), Client(), t.path("db")
    a.connect(db)
    b.connect(db)
    eq(a.attempt(db, "create table t(x, y)"), True)
    eq(b.attempt(db, "insert into t values(1, 1)"), True)
    eq(a.sql(db, "select count(*) from t"), [(1,)])
    for c in (a, b):
        c.leave(db)
        c.quit()
    eq(read(db)[:15], b"SQLite format 3")


@case("a shell that is killed in the middle of a transaction leaves the database as it was; the next one works on")
def killed(t):
    a, b, db = Client(), Client(), t.path("db")
    for c in (a, b):
        c.connect(db)
    a.sql(db, "create table t(x, y)", "insert into t values(1, 1)", "pragma cache_size=5", "pragma cache_spill=1")
    tip = t.repo.tip(t.ns)
    a.sql(db, "begin immediate", *("insert into t values(%d, zeroblob(3000))" % i for i in range(200)))  # more than its cache: pages are written
    a.quit(9)
    eq(t.repo.tip(t.ns), tip)
    eq(b.sql(db, "select count(*) from t"), [(1,)])
    eq(b.attempt(db, "insert into t values(2, 2)"), True)
    eq(b.sql(db, "pragma integrity_check"), [("ok",)])
    b.leave(db)
    b.quit()
    eq(journals(t), [])


@table([("journal_mode=" + m + (", one for each transaction" if anew else ""), m, anew) for m in ("delete", "truncate", "persist", "memory") for anew in (False, True)])
def connections_of_one_process(t, mode, anew):
    a, b, db = Client(), Client(), t.path("db")
    b.connect(db)
    b.sql(db, "create table t(x, y)")
    b.leave(db)
    good, bad = a.threads(db, mode, 3, 12, anew)
    print("# %d acknowledged, %d refused %s" % (len(good), len(bad), sorted(set(bad))))
    eq(bad, [], "errors")
    b.connect(db)
    eq(sorted(x for x, in b.sql(db, "select x from t")), sorted(good), "acknowledged and there")
    eq(sorted(y for y, in b.sql(db, "select y from t")), list(range(len(good))), "each saw all that came before")
    eq(b.sql(db, "pragma integrity_check"), [("ok",)])
    b.leave(db)
    for c in (a, b):
        c.quit()


@case("WAL: one connection at a time, within a process too; the second gets an error, and what was acknowledged stays")
def wal_threads(t):
    db = t.path("db")
    a = sqlite3.connect(db, isolation_level=None)
    eq(a.execute("pragma journal_mode=wal").fetchone(), ("wal",))
    a.execute("create table t(x)")
    for i in range(5):
        a.execute("insert into t values(%d)" % i)
        b = sqlite3.connect(db, isolation_level=None)
        for text in ("select * from t", "insert into t values(99)"):
            try:
                b.execute(text)
                ok(False, "the second connection did: " + text)
            except sqlite3.OperationalError as e:
                ok("unable to open" in str(e), str(e))
        b.close()
        if i == 2:
            a.close()
            a = sqlite3.connect(db, isolation_level=None)
    eq([x for x, in a.execute("select x from t")], list(range(5)))
    a.close()
    b = sqlite3.connect(db, isolation_level=None)
    eq((b.execute("select count(*) from t").fetchone(), b.execute("pragma integrity_check").fetchone()), ((5,), ("ok",)))
    b.close()
    eq(t.repo.keys(t.ns), ["db"])


@case("two connections in one process beside two other processes: nothing that was acknowledged is lost")
def mixed(t):
    db = t.path("db")
    clients = [Client() for _ in range(3)]
    for c in clients[1:]:
        c.connect(db)
    clients[1].sql(db, "create table t(x, y)")
    clients[0].begin("threads", db, "delete", 2, 10)
    for n, c in enumerate(clients[1:], 5):
        c.begin("burst", db, n, 10)
    got = [c.end() for c in clients]
    print("# refused: %s" % [bad for _, bad in got])
    eq(sorted(x for x, in clients[1].sql(db, "select x from t")), sorted(x for good, _ in got for x in good), "acknowledged and there")
    eq(clients[1].sql(db, "pragma integrity_check"), [("ok",)])
    for c in clients[1:]:
        c.leave(db)
    for c in clients:
        c.quit()


@table([("journal_mode=" + m, m) for m in ("delete", "truncate", "persist")])
def a_hot_journal_rolls_back(t, mode):
    """The writer is killed after its database has been synced and before its journal is gone: that is not committed yet."""
    a, b, db = Client(), Client(), t.path("db")
    for c in (a, b):
        c.connect(db)
        c.sql(db, "pragma journal_mode=%s" % mode)
    a.sql(db, "create table t(x, y)", "with recursive n(i) as (select 1 union all select i + 1 from n where i < 40) insert into t select i, zeroblob(900) from n",
          "pragma cache_size=5", "pragma cache_spill=1")
    was = read(db)
    a.sql(db, "begin immediate", "update t set x = -1, y = zeroblob(901)")  # more than its cache holds: pages are written
    a.sync_now(db)
    ok(read(db) != was, "half of the transaction is the value: the journal is what takes it back")
    a.quit(9)
    eq(b.sql(db, "select count(*), min(x), max(length(y)) from t"), [(40, 1, 900)])
    eq((b.sql(db, "pragma integrity_check"), b.attempt(db, "insert into t values(41, 0)")), ([("ok",)], True))
    b.leave(db)
    b.quit()
    with open(work() + "/check-" + mode, "wb") as f:
        f.write(t.repo.show(t.ns, "db"))
    c = sqlite3.connect(work() + "/check-" + mode)
    eq(c.execute("select count(*), min(x) from t").fetchone(), (41, 1), "what git has")
    c.close()


@case("writers that are killed at any moment: what was acknowledged stays, in a whole database")
def killed_anywhere(t):
    db = t.path("db")
    c = Client()
    c.connect(db)
    c.sql(db, "create table t(x)")
    c.leave(db)
    c.quit()
    # A row for each line of its input.  The second one gets few until the first one is dead: sqlite has no queue, and who never pauses
    # shuts the other out for more than its timeout, on any file system.
    code = ("import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)\n"
            "for i, _ in enumerate(sys.stdin, int(sys.argv[2])):\n c.execute('insert into t values(%d)' % i)\n print(i, flush=True)")
    good = set()
    for round in range(8):
        ps = [subprocess.Popen([sys.executable, "-c", code, db, str((round * 2 + k) * 1000)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
              for k in range(2)]
        ps[1].stdin.write("\n" * 6)
        for k, p in enumerate(ps):
            p.stdin.write("\n" * 900)
            for _ in range(2 + round % 3 + k):
                good.add(int(p.stdout.readline()))
            p.kill()
            good.update(int(x) for x in p.stdout.read().split())
            p.wait()
    c = Client()
    c.connect(db)
    have = {x for x, in c.sql(db, "select x from t")}
    eq((sorted(good - have), c.sql(db, "pragma integrity_check")), ([], [("ok",)]), "lost")
    ok(len(have - good) <= 16, "at most the one that each was about to tell: %s" % sorted(have - good))
    c.leave(db)
    c.quit()


@case("another writer of the repository moves the database under a shell: an error or its work on top, never a loss in silence")
def foreign(t):
    a, db = Client(), t.path("db")
    a.connect(db)
    a.sql(db, "create table t(x, y)")
    other = work() + "/other.db"
    with open(other, "wb") as f:
        f.write(read(db))
    with sqlite3.connect(other) as o:
        o.execute("insert into t values(7, 7)")
    o.close()
    with open(other, "rb") as f:
        ok(t.repo.foreign(t.ns, {"db": f.read()}), "moved from outside")
    eq(a.attempt(db, "insert into t values(8, 8)"), True)
    eq(a.sql(db, "select x from t order by x"), [(7,), (8,)])
    a.sql(db, "begin immediate", "insert into t values(9, 9)")
    ok(t.repo.foreign(t.ns, {"db": t.repo.show(t.ns, "db") + bytes(4096)}), "moved again, in the middle")
    t.expect_log(r"db-journal: emptied")
    got = a.attempt(db, "commit")
    ok(got is not True, "the commit on a database that moved is an error: %s" % got)
    a.quit(9)


def changed_outside(t, db):
    """The database's bytes with every row's y set to 7 and many more rows, made outside the mount."""
    other = work() + "/outside.db"
    with open(other, "wb") as f:
        f.write(t.repo.show(t.ns, "db"))
    with sqlite3.connect(other) as o:
        o.execute("update t set y = 7")
        o.execute("with recursive n(i) as (select 100 union all select i + 1 from n where i < 400) insert into t select i, 7 from n")
    o.close()
    with open(other, "rb") as f:
        return f.read()


@table([("its commit is refused, then another shell", "refused"), ("killed, then another shell", "killed"), ("refused, then itself", "itself"), ("rolls back, then itself", "rollback"),
        ("somebody looks at it, and the database gets its old value again", "looked up")])
def a_journal_is_not_played_over_a_value_from_elsewhere(t, how):
    a, b, db = Client(), Client(), t.path("db")
    a.connect(db)
    a.sql(db, "create table t(x, y)", "with recursive n(i) as (select 1 union all select i + 1 from n where i < 90) insert into t select i, hex(zeroblob(400)) from n",
          "pragma cache_size=5", "pragma cache_spill=1")
    a.sql(db, "begin immediate", "update t set y = hex(zeroblob(401))")  # more than its cache: the journal is hot
    was = t.repo.entries(t.ns)["db"][1]
    new = changed_outside(t, db)
    ok(t.repo.foreign(t.ns, {"db": new}), "moved from outside")
    t.expect_log(r"db-journal: emptied, because db has got another value from elsewhere")
    if how == "killed":
        a.quit(9)
    elif how == "looked up":
        os.stat(db + "-journal")
        old = t.repo.raw("cat-file", "blob", was)
        ok(t.repo.foreign(t.ns, {"db": old}), "and back")
        a.attempt(db, "rollback")
        eq(t.repo.show(t.ns, "db"), old, "nothing of what it can no longer take back")
        ok(a.attempt(db, "insert into t values(1000, 7)") is not True, "its handle is of no more use")
        ok(t.repo.foreign(t.ns, {"db": new}), "moved again")
    else:
        got = a.attempt(db, "rollback" if how == "rollback" else "commit")
        ok(how == "rollback" or got is not True, "its commit: %s" % got)
    if how in ("killed", "refused"):
        if how == "refused":
            a.quit(9)  # it keeps its locks, as after any error on any file system
        b.connect(db)
        eq(b.sql(db, "select count(*), min(y), max(y) from t"), [(391, 7, 7)])
        eq((b.sql(db, "pragma integrity_check"), b.attempt(db, "insert into t values(1000, 7)")), ([("ok",)], True))
        b.leave(db)
    else:
        print("# itself: %s" % a.attempt(db, "insert into t values(1000, 7)"))
        a.leave(db)
    got = sqlite3.connect(db)
    eq((got.execute("select min(y), max(y) from t").fetchone(), got.execute("pragma integrity_check").fetchone()), ((7, 7), ("ok",)), "from outside")
    got.close()
    if how not in ("killed", "refused"):
        a.quit(9)
    b.quit()


@case("WAL: one shell at a time; the second gets an error, and what was acknowledged stays")
def wal(t):
    a, b, db = Client(), Client(), t.path("base.db")
    a.connect(db)
    eq(a.sql(db, "pragma journal_mode=wal"), [("wal",)])
    a.sql(db, "create table t(x, y)")
    for i in range(5):
        eq(a.attempt(db, "insert into t values(%d, 0)" % i), True)
    b.begin("connect", db)
    try:
        b.end()
        r = b.attempt(db, "insert into t values(99, 0)")
    except AssertionError as e:  # sqlite3.OperationalError of connect's pragma
        r = str(e)
    ok(r is not True and "unable to open" in r, "the second shell: %s" % r)
    eq(a.attempt(db, "insert into t values(5, 0)"), True)
    tip = t.repo.tip(t.ns)
    a.quit(9)
    b.quit()
    eq(t.repo.tip(t.ns), tip)
    c = Client()
    c.connect(db)
    eq([x for x, in c.sql(db, "select x from t order by x")], list(range(6)), "after a kill -9: the log was durable")
    eq(c.sql(db, "pragma integrity_check"), [("ok",)])
    c.leave(db)
    c.quit()
    eq(t.repo.keys(t.ns), ["base.db"])


@case("WAL survives the mount: the log is a key")
def wal_remount(t):
    repo = Repo(work() + "/wal.git")
    with Mount(repo) as m:
        os.mkdir(m.dir + "/app")
        a, db = Client(), m.dir + "/app/base.db"
        a.connect(db)
        a.sql(db, "pragma journal_mode=wal", "create table t(x, y)", "insert into t values(1, 1)")
        m.kill()
        a.quit(9)
    with Mount(repo) as m:
        db = m.dir + "/app/base.db"
        c = Client()
        c.connect(db)
        eq(c.sql(db, "select x from t"), [(1,)])
        c.leave(db)
        c.quit()
    eq((repo.keys("app"), repo.faults()), (["base.db"], []))


@case("a read-only connection keeps the state of its open: never a mixture")
def readonly(t):
    a, db = Client(), t.path("db")
    a.connect(db)
    a.sql(db, "create table t(x, y)", "insert into t values(1, 1)")
    code = "import sqlite3, sys\nc = sqlite3.connect('file:%s?mode=ro' % sys.argv[1], uri=True)\nfor line in sys.stdin: print(c.execute(line).fetchone()[0], flush=True)"
    p = subprocess.Popen([sys.executable, "-c", code, db], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(text):
        p.stdin.write(text + "\n")
        p.stdin.flush()
        return p.stdout.readline().strip()
    eq(ask("select count(*) from t"), "1")
    a.sql(db, "insert into t values(2, 2)")
    eq((ask("select count(*) from t"), ask("pragma integrity_check")), ("1", "ok"))
    p.stdin.close()
    p.wait()
    a.leave(db)
    a.quit()


if __name__ == "__main__":
    main(log=[r"n\d+/db-journal: a scratch file is lost with the mount"])
