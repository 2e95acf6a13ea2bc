"""Interim: sentences from CoNLL-U."""
from __future__ import annotations
from typing import NamedTuple
import numpy as np
from ostinato.errors import InputError
from ostinato.tasks.common.kind import Example
from ostinato.tasks.common.words import segment


class Tree(NamedTuple):
    heads: tuple
    relations: tuple
    tags: tuple


class Sentence(NamedTuple):
    forms: tuple
    def with_tree(self, tree):
        return "\n".join(f"{i}\t{f}\t_\t{t}\t_\t_\t{h}\t{r}\t_\t_" for i, (f, h, r, t) in enumerate(zip(self.forms, *tree), 1)) + "\n"


def of_text(text, place):
    return Sentence(tuple(segment(text)))


class read_sentences:
    def __init__(self, path, options, answered): self.path = path
    def __iter__(self):
        rows = []
        for line in open(self.path, encoding="utf-8"):
            line = line.rstrip("\n")
            if line.startswith("#"): continue
            if not line:
                if rows:
                    yield Example("x", Sentence(tuple(r[1] for r in rows)), Tree(tuple(int(r[6]) for r in rows), tuple(r[7] for r in rows), tuple(r[3] for r in rows)))
                rows = []
                continue
            r = line.split("\t")
            if r[0].isdigit(): rows.append(r)


def best_tree(s):
    n = s.shape[0]
    full = np.full((n + 1, n + 1), -np.inf); full[1:] = s
    heads = s.argmax(1)
    def cycle(h):
        for start in range(1, n + 1):
            seen, k = [], start
            while k and k not in seen: seen.append(k); k = h[k - 1]
            if k: return seen[seen.index(k):]
    if cycle(heads) is None and (heads == 0).sum() == 1: return heads
    f = np.where(np.isfinite(full), full, -1e6)
    span = 1e4
    f[:, 0] -= span
    return cle(f)[1:]


def cle(s):
    """heads for square s[dep, head], node 0 root."""
    n = len(s)
    s = s.copy(); np.fill_diagonal(s, -1e9)
    h = s.argmax(1); h[0] = 0
    cyc = None
    for start in range(1, n):
        seen, k = [], start
        while k and k not in seen: seen.append(k); k = int(h[k])
        if k: cyc = seen[seen.index(k):]; break
    if cyc is None: return h
    rest = [i for i in range(n) if i not in cyc]
    c = np.array(cyc)
    m = len(rest)
    t = np.full((m + 1, m + 1), -1e9)
    t[:m, :m] = s[np.ix_(rest, rest)]
    gain = s[c][:, rest] - s[c, h[c]][:, None]
    enter = gain.argmax(0); t[m, :m] = gain.max(0)
    leave = s[np.ix_(rest, c)]; out = leave.argmax(1); t[:m, m] = leave.max(1)
    sub = cle(t)
    new = h.copy()
    for i, node in enumerate(rest):
        if i: new[node] = c[out[i]] if sub[i] == m else rest[sub[i]]
    e = sub[m]
    new[c[enter[e]]] = rest[e]
    return new
