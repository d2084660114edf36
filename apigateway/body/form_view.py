"""Forms as browsers encode them: application/x-www-form-urlencoded (WHATWG URL, 5.1)."""

from __future__ import annotations

from urllib.parse import parse_qsl

from apigateway.body.error import BodyError, check_size

MAX_FORM_FIELDS = 1000


def parse_form(data: bytes) -> tuple[tuple[str, str], ...]:
    """Names and values in order, repeated names kept apart.

    Refused with a BodyError: what is not UTF-8 before or after decoding, more than 1000 fields, more than MAX_PARSED
    octets. A "%" that begins no octet stands for itself.
    """
    check_size(data)
    try:
        pairs = parse_qsl(data.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except UnicodeDecodeError:
        raise BodyError("the form is not UTF-8") from None
    except ValueError:
        raise BodyError(f"a form of more than {MAX_FORM_FIELDS} fields") from None
    return tuple(pairs)
