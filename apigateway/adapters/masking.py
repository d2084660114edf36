"""Values of query parameters that no log may show."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_plus

MASK = "***"


class QueryMask:
    """Hides values by the names of their parameters; neither case nor percent-encoding of a name counts."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names: frozenset[str] = frozenset()
        self._take(names)

    def hide(self, name: str) -> None:
        """Hide the values of one more name. None is ever forgotten: they are a configuration's, so only so many."""
        if name.casefold() not in self.names:
            self._take((name,))

    def hidden(self, target: str) -> str:
        """The target or URL with "***" for each value to hide; nothing else in it changes."""
        path, mark, rest = target.partition("?")
        if not mark or self._perhaps(rest) is None:
            return target
        query, hash_mark, fragment = rest.partition("#")
        return path + mark + "&".join(map(self._hidden_pair, query.split("&"))) + hash_mark + fragment

    def _take(self, names: Iterable[str]) -> None:
        self.names |= {name.casefold() for name in names}
        # Most targets hold none of the names; a name that is written otherwise holds "%" or "+".
        self._perhaps = re.compile("|".join(map(re.escape, ("%", "+", *self.names))), re.IGNORECASE).search

    def _hidden_pair(self, pair: str) -> str:
        name, mark, _ = pair.partition("=")
        if mark and unquote_plus(name).casefold() in self.names:
            return name + mark + MASK
        return pair
