"""Names in an expression, made into the few flat variables that its evaluation is given.

`request.headers["x-partner"] == "yes"` becomes `__0 == "yes"`, with a getter for `__0`: handing over a map of all
fields costs ten times as much as the comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import re2  # type: ignore[import-untyped]

from apigateway.flow.cel_alone import cel
from apigateway.flow.exchange import Exchange
from apigateway.flow.expression_tokens import (
    END,
    MACROS,
    REFUSED_MACROS,
    Token,
    find_scopes,
    match_brackets,
    tokenize,
)
from apigateway.flow.expression_values import MAX_HANDED_OVER, Allowance, Wanted, want
from apigateway.flow.variables import ROOTS, Getter, Group, Leaf, Node, Table, Tree
from apigateway.text import nearest

MAX_SOURCE = 4096
MAX_MACROS = 4
# How often maps, lists and bodies are named, since `a + b` copies both, and does so for each item of a macro.
MAX_COLLECTIONS = 32
MAX_COLLECTIONS_IN_MACROS = 2
MAX_SUMS_IN_MACROS = 4

FUNCTIONS = frozenset({"has", "size", "int", "uint", "double", "string", "bytes", "timestamp", "duration"})
METHODS = frozenset(
    {"size", "contains", "startsWith", "endsWith", "matches", "getFullYear", "getMonth", "getDate", "getDayOfMonth",
     "getDayOfWeek", "getDayOfYear", "getHours", "getMinutes", "getSeconds", "getMilliseconds"}
)
_LITERALS = frozenset({"true", "false", "null", "in"})
# What may stand before `"name" in table` for the whole of it to be one operand.
_OPERAND_BEFORE = frozenset({"", "(", "[", ",", "&&", "||", "?", ":"})

Maker = Callable[[Exchange], Callable[..., Any]]


class Names:
    """Rewrites one expression. ValueError, with the nearest known name, for what it may not name or do.

    source: what the engine compiles. getters: variables that are read before an evaluation. functions: what the
    evaluation calls, each made for one exchange. needs_body: names the request's body;
    needs_response: names the response.
    """

    def __init__(self, source: str, known: Mapping[str, Node]) -> None:
        self._known = known
        self._tokens = tokenize(source)
        self._pairs = match_brackets(self._tokens)
        self._scopes = find_scopes(self._tokens, self._pairs)
        self._check_macros()
        self._names: dict[tuple[str, ...], str] = {}
        self._wanted: dict[str, tuple[Tree, Wanted]] = {}
        self._replaced: dict[int, str] = {}
        self._collections = [0, 0]
        self._out: list[str] = []
        self.getters: dict[str, Getter] = {}
        self.functions: dict[str, Maker] = {}
        self.needs_body = False
        self.needs_response = False
        at = 0
        while at < len(self._tokens):
            at = self._step(at)
        self.source = " ".join(self._out)
        self._settle_trees()

    # -- walking

    def _token(self, at: int) -> Token:
        return self._tokens[at] if 0 <= at < len(self._tokens) else END

    def _keep(self, at: int) -> int:
        self._out.append(self._replaced.get(at, self._tokens[at].text))
        return at + 1

    def _step(self, at: int) -> int:
        token, before, after = self._token(at), self._token(at - 1), self._token(at + 1)
        leads = before.kind in ("op", "end") and before.text not in (")", "]", "}")
        if token.text == "." and (leads or before.text in _LITERALS):
            raise ValueError("a name does not begin with a dot")
        if token.kind != "name":
            return self._keep(at)
        if before.text == ".":
            return self._method(at) if after.text == "(" else self._keep(at)
        if after.text == "{":
            raise ValueError(f"{token.text} {{...}}: there are no message types")
        if token.text in _LITERALS or self._is_bound(at):
            return self._keep(at)
        if after.text == "(":
            return self._function(at)
        return self._path(at, asked=False)

    def _method(self, at: int) -> int:
        name = self._token(at).text
        if name in REFUSED_MACROS:
            raise ValueError(f"{name}() may cost too much; exists(), all() and exists_one() are there")
        if name not in METHODS and name not in MACROS:
            raise ValueError(_unknown("function", name, METHODS | MACROS))
        pattern = self._token(at + 2)
        if name != "matches":
            return self._keep(at)
        if pattern.kind != "string" or self._pairs[at + 1] != at + 3:
            raise ValueError("matches() takes one pattern, written out")
        self._out.append(self._pattern(_literal(pattern)))
        self._out += "(", ")"
        return at + 4

    def _function(self, at: int) -> int:
        name = self._token(at).text
        if name not in FUNCTIONS:
            raise ValueError(_unknown("function", name, FUNCTIONS))
        inner = self._token(at + 2)
        if name == "has" and inner.text in self._known and not self._is_bound(at + 2):
            return self._path(at + 2, asked=True)
        return self._keep(at)

    # -- paths

    def _path(self, at: int, *, asked: bool) -> int:
        """Rewrite the path that begins here; asked: it stands in has()."""
        root = self._token(at).text
        if root not in self._known:
            raise ValueError(_missing(root, self._known))
        self.needs_response |= root == "response"
        begin = at
        node, called, at = self._known[root], root, at + 1
        while isinstance(node, Group):
            node, called, at = self._member(node, called, at)
        if not isinstance(node, Leaf) or node.many:
            self._count_collection(begin)
        if isinstance(node, Tree):
            return self._tree(node, called, at, asked=asked)
        if isinstance(node, Table):
            return self._table(node, called, at, asked=asked)
        if asked:
            raise ValueError(f"has() asks for a member of a map; {called} is always there")
        self._out.append(self._variable((called,), node.get))
        return at

    def _member(self, group: Group, called: str, at: int) -> tuple[Node, str, int]:
        name = self._token(at + 1)
        if self._token(at).text != "." or name.kind != "name":
            raise ValueError(f"{called} is no value by itself; name one of its members: {', '.join(group.members)}")
        if name.text not in group.members:
            raise ValueError(_unknown(f"member of {called}", name.text, group.members))
        return group.members[name.text], f"{called}.{name.text}", at + 2

    def _key(self, at: int) -> tuple[str | None, int]:
        """The literal member name that comes next (`.name` or `["name"]`), or None."""
        first, second, third = (self._token(at + offset) for offset in range(3))
        if first.text == "." and second.kind == "name" and third.text != "(":
            return second.text, at + 2
        if first.text == "[" and second.kind == "string" and third.text == "]":
            return _literal(second), at + 3
        return None, at

    def _table(self, table: Table, called: str, at: int, *, asked: bool) -> int:
        key, after = self._key(at)
        if asked:
            if key is None or self._token(after).text != ")":
                raise ValueError(f"has() asks for a member of a map, as in has({called}.name)")
            self._out.append(self._variable((called, "has", table.key(key)), table.has(table.key(key))))
            return after + 1
        if key is not None:
            key = table.key(key)
            self._out.append(self._variable((called, key), table.find(key)))
        elif self._token(at).text == "[":
            self._out += self._lookup(table, called), "("
            self._replaced[self._pairs[at]] = ")"
            return at + 1
        elif (name := self._asked_before(at)) is not None:
            del self._out[-2:]
            self._out.append(self._variable((called, "has", table.key(name)), table.has(table.key(name))))
        else:
            self._out.append(self._variable((called,), table.whole))
        return after

    def _asked_before(self, after: int) -> str | None:
        """The literal of `"literal" in table`, where the path that ends here is that table."""
        at = after - 1
        while self._token(at).kind == "name" and self._token(at - 1).text == ".":
            at -= 2
        literal, word, before = self._token(at - 2), self._token(at - 1), self._token(at - 3)
        operand = before.kind in ("op", "end") and before.text in _OPERAND_BEFORE
        if word.text == "in" and literal.kind == "string" and operand and self._token(after).text not in (".", "["):
            return _literal(literal)
        return None

    def _tree(self, tree: Tree, called: str, at: int, *, asked: bool) -> int:
        name = self._variable((called,), None)
        path = []
        begin = at
        key, at = self._key(at)
        while key is not None:
            path.append(key)
            key, at = self._key(at)
        if asked and not path:
            raise ValueError(f"has() asks for a member of a map, as in has({called}.name)")
        self._wanted[name] = (tree, want(self._wanted.get(name, (tree, {}))[1], path))
        self.needs_body |= tree.body
        self._out += ["has", "("] if asked else []
        self._out += [name, "(", ")"] if tree.body else [name]
        self._out += [token.text for token in self._tokens[begin:at]]
        return at

    def _settle_trees(self) -> None:
        for name, (tree, wanted) in self._wanted.items():
            if tree.body:
                self.functions[name] = _body_function(tree, wanted)
            else:
                self.getters[name] = _tree_getter(tree, wanted)

    # -- names of our own

    def _variable(self, key: tuple[str, ...], get: Getter | None) -> str:
        name = self._names.setdefault(key, f"__{len(self._names)}")
        if get is not None:
            self.getters[name] = get
        return name

    def _lookup(self, table: Table, called: str) -> str:
        name = self._names.setdefault((called, "[]", ""), f"__{len(self._names)}")
        self.functions[name] = lambda exchange: lambda key: table.find(table.key(key))(exchange)
        return name

    def _pattern(self, source: str) -> str:
        name = self._names.setdefault(("matches", "", source), f"__{len(self._names)}")
        options = re2.Options()
        options.log_errors = False
        try:
            search = re2.compile(source, options).search
        except re2.error as error:
            raise ValueError(f"the pattern {source!r} does not compile: {error}") from None
        self.functions[name] = lambda exchange: lambda text: search(text) is not None
        return name

    # -- macros

    def _check_macros(self) -> None:
        if len(self._scopes) > MAX_MACROS:
            raise ValueError(f"more than {MAX_MACROS} macros (all, exists, exists_one)")
        for scope in self._scopes:
            if scope.name in ROOTS or scope.name.startswith("__"):
                raise ValueError(f"{scope.name!r} cannot be the name of an item")
            if any(scope.opens < other.opens < scope.closes for other in self._scopes):
                raise ValueError("a macro (all, exists, exists_one) does not stand inside another")

            inside = self._tokens[scope.opens : scope.closes]
            if sum(token.text == "+" for token in inside) > MAX_SUMS_IN_MACROS:
                raise ValueError(f"more than {MAX_SUMS_IN_MACROS} sums inside a macro")

    def _count_collection(self, at: int) -> None:
        inside = any(scope.opens < at < scope.closes for scope in self._scopes)
        self._collections[inside] += 1
        if sum(self._collections) > MAX_COLLECTIONS or self._collections[True] > MAX_COLLECTIONS_IN_MACROS:
            raise ValueError(
                f"maps, lists and bodies are named more than {MAX_COLLECTIONS} times, "
                f"or more than {MAX_COLLECTIONS_IN_MACROS} times inside macros"
            )

    def _is_bound(self, at: int) -> bool:
        name = self._token(at).text
        return any(scope.opens < at < scope.closes and scope.name == name for scope in self._scopes)


def _body_function(tree: Tree, wanted: Wanted) -> Maker:
    def make(exchange: Exchange) -> Callable[[], Any]:
        made: list[tuple[Any, int]] = []
        in_all = Allowance(MAX_HANDED_OVER)

        def read() -> Any:
            if not made:
                once = Allowance()
                made.append((tree.get(exchange, wanted, once), once.spent))
            value, values = made[0]
            in_all.spend(values)
            return value

        return read

    return make


def _tree_getter(tree: Tree, wanted: Wanted) -> Getter:
    return lambda exchange: tree.get(exchange, wanted, Allowance())


def _literal(token: Token) -> str:
    value = cel.compile(token.text).execute({})
    if isinstance(value, str):
        return value
    raise ValueError(f"{token.text} is no text")


def _missing(root: str, known: Mapping[str, Node]) -> str:
    if root == "response":
        return "the response can be named on the response side only"
    if root == "time":
        return "time cannot be named here"
    return _unknown("name", root, known)


def _unknown(what: str, name: str, known: Mapping[str, Any] | frozenset[str]) -> str:
    near = nearest(name, known)
    hint = f"did you mean {near!r}?" if near else f"known are {', '.join(sorted(known))}"
    return f"unknown {what} {name!r}; {hint}"
