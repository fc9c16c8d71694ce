"""Take personal data and secrets out of a text before it leaves the server.

By hand, because the libraries that do more (names, addresses) bring language models of their own
into the model server. Patterns catch what has a shape: it is a safety net for captured text, no
anonymizer. Cards and IBANs are redacted only when their check digits are right, so that other
numbers survive.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

__all__ = ["is_card_number", "is_iban", "redact"]

# Every pattern begins at a border and takes runs possessively (`++`), so that no text costs more
# than one pass over it for each pattern.
_SECRET: Final = re.compile(
    r"""-----BEGIN[ A-Z]{0,40}PRIVATE[ ]KEY-----.*?(?:-----END[ A-Z]{0,40}PRIVATE[ ]KEY-----|\Z)
    | (?<![\w-])(?:
        (?:sk|pk|rk)[-_][\w-]{16,}+              # OpenAI, Anthropic, Stripe
      | gh[oprsu]_\w{20,}+ | github_pat_\w{20,}+ | glpat-[\w-]{16,}+
      | xox[abeprs]-[\w-]{10,}+                  # Slack
      | (?:AKIA|ASIA)[A-Z0-9]{16}(?!\w)          # AWS
      | AIza[\w-]{30,}+ | ya29\.[\w-]{20,}+      # Google
      | hf_\w{20,}+ | npm_\w{20,}+ | pypi-[\w-]{16,}+ | dop_v1_\w{32,}+
      | eyJ[\w-]{8,}+\.[\w-]{8,}+(?:\.[\w-]*+)?  # JSON web token
    )""",
    re.VERBOSE | re.DOTALL,
)
_ASSIGNED: Final = re.compile(
    r"(?i)(?<![a-z])(password|passwd|passphrase|pwd|secret|token|api[_ -]?key|access[_ -]?key"
    r"|authorization:\s*(?:bearer|basic)|bearer)(\"?\s*[:=]\s*\"?|\s+(?=\S*\d))(?!\[)([^\s\"',;]{6,}+)"
)
_URL_LOGIN: Final = re.compile(r"(?<=://)[^\s/@:]{1,256}:[^\s/@]{1,256}(?=@)")
_EMAIL: Final = re.compile(r"(?<![\w.%+-])[\w.%+-]++@(?:[\w-]++\.)+[^\W\d_]{2,}+")
_IBAN: Final = re.compile(r"(?<!\w)[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}(?!\w)")
_CARD: Final = re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w])")
_IP4: Final = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)")
_IP6: Final = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,40}+(?!\w)")
_PHONE: Final = re.compile(r"(?<![\w.,])(?:\+|\()?\d[\d() ./-]{6,22}\d(?!\w)")


def is_card_number(digits: str) -> bool:
    """Tell whether 13 to 19 digits end in the right check digit (Luhn, ISO/IEC 7812-1)."""
    if not 13 <= len(digits) <= 19:
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_iban(compact: str) -> bool:
    """Tell whether an IBAN without spaces has the right check digits (ISO 13616, mod 97-10)."""
    if not 15 <= len(compact) <= 34 or not compact.isascii() or not compact.isalnum():
        return False
    moved = compact[4:] + compact[:4]
    return int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


def redact(text: str) -> str:
    """Return `text` with what looks like personal data or a secret replaced by its kind."""
    text = _SECRET.sub("[SECRET]", text)
    text = _ASSIGNED.sub(r"\1\2[SECRET]", text)
    text = _URL_LOGIN.sub("[SECRET]", text)
    text = _EMAIL.sub("[EMAIL]", text)
    text = _IBAN.sub(_iban, text)
    text = _CARD.sub(_card, text)
    text = _IP4.sub(_address, text)
    text = _IP6.sub(_address, text)
    return _PHONE.sub(_phone, text)


def _compact(text: str) -> str:
    return text.replace(" ", "").replace("-", "")


def _iban(match: re.Match[str]) -> str:
    """Redact an IBAN; words that follow it may have been matched along, so look for its end."""
    found = match[0]
    for end in range(len(found), 14, -1):
        if (end == len(found) or not found[end].isalnum()) and is_iban(_compact(found[:end])):
            return "[IBAN]" + found[end:]
    return found


def _card(match: re.Match[str]) -> str:
    return "[CARD]" if is_card_number(_compact(match[0])) else match[0]


def _address(match: re.Match[str]) -> str:
    found = match[0]
    address = found.rstrip(".") if found.endswith(".") else found
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return found
    return "[IP]" + found[len(address) :]


def _phone(match: re.Match[str]) -> str:
    """Redact 7 to 15 digits (E.164) that are written the way phone numbers are."""
    found = match[0]
    digits = [c for c in found if c.isdigit()]
    prefixed = found[0] in "+(" or digits[0] == "0"
    grouped = re.fullmatch(r"\d{3}[ ./-]\d{3}[ ./-]\d{4}", found) is not None
    return "[PHONE]" if 7 <= len(digits) <= 15 and (prefixed or grouped) else found
