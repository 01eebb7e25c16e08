"""Plain text out of HTML."""

import html
import re
from html.parser import HTMLParser

_INLINE = {"a", "abbr", "b", "code", "em", "font", "i", "small", "span", "strong", "sub", "sup", "u"}
_BLOCK = {
    "article", "blockquote", "body", "br", "button", "center", "dd", "div", "dl", "dt", "footer", "form", "h1", "h2",
    "h3", "h4", "h5", "h6", "head", "header", "hr", "html", "iframe", "img", "input", "label", "li", "link", "meta",
    "nav", "ol", "option", "p", "pre", "script", "section", "select", "style", "svg", "table", "tbody", "td", "th",
    "thead", "title", "tr", "ul", "video",
}  # fmt: skip
_UNSEEN = {"script", "style"}
_TAG = re.compile(
    rf"<!--|</?(?:{'|'.join(sorted(_INLINE | _BLOCK, key=len, reverse=True))})(?:\s[^<>]*)?/?>", re.I
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]\w{1,30});")
_TIMES = 3


def plain_text(text: str) -> str:
    """Strip HTML tags, drop scripts and styles, and resolve entities, also those that are escaped twice.

    Everything else stays: ``a < b``, ``<M>``, ``AT&T``.
    """
    for _ in range(_TIMES):
        before = text
        if _TAG.search(text):
            parser = _Parser()
            parser.feed(text)
            parser.close()
            text = "".join(parser.pieces)
        text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
        if text == before:
            break
    return text


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.pieces: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self._unseen += tag in _UNSEEN
        self._tag(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self._tag(tag)

    def handle_endtag(self, tag: str) -> None:
        self._unseen = max(0, self._unseen - (tag in _UNSEEN))
        self._tag(tag)

    def _tag(self, tag: str) -> None:
        if tag in _BLOCK:
            self.pieces.append(" ")
        elif tag not in _INLINE:
            self.pieces.append(self.get_starttag_text() or "")  # no tag of HTML

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.pieces.append(data)

    def handle_entityref(self, name: str) -> None:
        self.handle_data(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self.handle_data(f"&#{name};")
