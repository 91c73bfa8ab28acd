"""Words that are not ours made safe to show: nothing in them moves the cursor, colours, turns round or hides."""

import re

_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")
_UNSAFE_IN_LINES = re.compile(_UNSAFE.pattern.replace(r"\x0a-", r"\x0b-"))
_LONGEST_ESCAPE = 10  # characters for one


def safe_text(text: str, longest: int = 200) -> str:
    """Control and direction characters as visible escapes, cut to `longest` characters."""
    shown = _UNSAFE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def safe_json(text: str) -> str:
    """The same JSON, with these characters escaped as JSON has it: they stand within its strings only."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def safe_output(text: str) -> str:
    """Whole lines of words or of JSON, these characters escaped as JSON has it: whatever was missed before."""
    return _UNSAFE_IN_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def safe_lines(text: str, longest: int) -> str:
    """The same of each line, tabs left as they are, cut to `longest` characters of the text."""
    lines = text[:longest].replace("\r\n", "\n").split("\n")
    return "\n".join(safe_text(line, len(line) * _LONGEST_ESCAPE) for line in lines)
