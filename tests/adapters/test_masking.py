"""Values that no log may show."""

from __future__ import annotations

from apigateway.adapters.masking import QueryMask


def test_names_only_grow_and_each_is_held_once() -> None:
    mask = QueryMask(["token"])
    assert mask.hidden("/?k=k1&token=t") == "/?k=k1&token=***"
    for _ in range(3):
        mask.hide("K")
        mask.hide("sch.lüssel")
    assert mask.names == {"token", "k", "sch.lüssel"}
    assert mask.hidden("/?k=k1&token=t&%4B=k2&k") == "/?k=***&token=***&%4B=***&k"
    assert mask.hidden("/?sch.l%C3%BCssel=a&schxl=b") == "/?sch.l%C3%BCssel=***&schxl=b"


def test_a_mask_without_names_is_told_the_first_later() -> None:
    mask = QueryMask(())
    assert not mask.names
    assert mask.hidden("/?k=k1") == "/?k=k1"
    mask.hide("k")
    assert mask.hidden("/?k=k1&k=k1") == "/?k=***&k=***"
