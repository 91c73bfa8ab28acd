"""Pages as tests read them, and words that want to act in them."""

from html.parser import HTMLParser

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" style="position:fixed',
    "{{ 7 * 7 }}{% raw %}",
    "<!-- --><svg onload=alert(1)>",
    "javascript:alert(1)",
    "\x1b]0;title\x07\x00\x9b31m",
    "\u202eabc\u2066\u2028",
    "&lt;b&gt; ]]> <![CDATA[",
)
VOID = frozenset({"meta", "link", "br", "th", "td"})  # elements of the report that are not closed


class Page(HTMLParser):
    """What a browser would make of it: elements with their attributes, and all words. `void`: those without an end."""

    def __init__(self, text: str, void: frozenset[str] = VOID) -> None:
        super().__init__()
        self.void = void
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        """All words, with single spaces."""
        return " ".join(" ".join(self.words).split())
