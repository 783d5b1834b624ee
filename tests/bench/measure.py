# SPDX-License-Identifier: MIT
"""Rounds: the contenders of a group take turns, a short while each, so that their ratios hold on a machine that others use too."""
import math
import statistics
import subprocess

from peers import cpu_of, git_commits


class Result:
    def __init__(self):
        self.ops, self.refused, self.seconds, self.cpu, self.buckets, self.rates = 0, 0, 0.0, 0.0, {}, []

    def add(self, ops, refused, seconds, cpu, buckets, scale=1):
        self.ops += ops * scale
        self.refused += refused
        self.seconds += seconds
        self.cpu += cpu
        self.rates.append(ops * scale / seconds)
        self.scale = scale
        for b, n in buckets:
            self.buckets[b] = self.buckets.get(b, 0) + n

    def rate(self):
        return statistics.median(self.rates)

    def quantile(self, q):
        """Microseconds: the middle of the bucket."""
        left = q * sum(self.buckets.values())
        for b in sorted(self.buckets):
            left -= self.buckets[b]
            if left <= 0:
                return 2 ** ((b + 0.5) / 16) / self.scale
        return 0.0

    def cpu_us(self):
        return self.cpu * 1e6 / self.ops if self.ops else 0.0

    def ratio(self, other):
        """The median of what the rounds gave: each compares neighbours in time."""
        return statistics.median(a / b for a, b in zip(self.rates, other.rates)) if other and all(other.rates) else math.nan


class Contender:
    def __init__(self, title, kind, place, key="k", scale=1, keys=0, clients=None):
        self.title, self.kind, self.place, self.key, self.scale, self.keys, self.clients = title, kind, place, key, scale, keys, clients
        self.state = {}

    def run(self, exe, clients, seconds, size, result):
        pids = self.place.pids()
        cpu = cpu_of(pids)
        if self.kind == "git":
            times = git_commits(self.place.repo, seconds, size, self.state)
            result.add(len(times), 0, sum(times) / 1e6, 0, [(int(math.log2(t) * 16), 1) for t in times])
            return
        out = subprocess.run([exe, self.kind, self.place.where, self.key, str(clients), str(seconds), str(size), str(self.keys)],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if out.returncode:
            raise RuntimeError("%s: %s" % (self.title, out.stderr.strip()))
        ops, refused, took, *buckets = out.stdout.split()
        # Servers that work in children of their own end those with the connection: their parent's count has them then.
        result.add(int(ops), int(refused), float(took), max(0.0, cpu_of(pids) - cpu), [tuple(map(int, b.split(":"))) for b in buckets], self.scale)


def group(exe, contenders, clients, rounds, seconds, size, warn):
    """One Result each; a contender that fails is left out.  A first, short turn of each is not counted: it fills caches and makes journals."""
    results = {c.title: Result() for c in contenders if not c.clients or clients in c.clients}
    broken = set()
    for turn in range(-1, rounds):
        for c in contenders:
            if c.title in broken or c.title not in results:
                continue
            try:
                c.run(exe, clients, seconds if turn >= 0 else seconds / 4, size, results[c.title] if turn >= 0 else Result())
            except (RuntimeError, OSError, subprocess.CalledProcessError) as e:
                warn("%s: left out: %s" % (c.title, e))
                broken.add(c.title)
                del results[c.title]
    return results
