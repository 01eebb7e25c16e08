"""Words of texts in any script."""

import re
import unicodedata
from itertools import pairwise

import regex

_UNSPACED = (
    r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}"
)
_RUN = regex.compile(
    rf"(?P<unspaced>(?:[{_UNSPACED}ー々][\p{{M}}\u200c\u200d]*)+)"
    rf"|(?P<word>(?:(?![{_UNSPACED}\p{{M}}])[\w\p{{N}}][\p{{M}}\u200c\u200d]*)+)"
    r"|(?P<picture>\p{Emoji_Presentation}\p{Emoji_Modifier}*|\p{Regional_Indicator}{2}|[\p{So}--[©®°™]])",
    regex.V1,
)
_ASCII = re.compile(r"\w+")
_CLUSTER = regex.compile(r"\X")
_PLAIN_MARKS = regex.compile(r"(?<=[\p{Latin}\p{Greek}\p{Cyrillic}]\p{M}*)\p{M}")
_VARIANT = regex.compile(r"[\ufe0e\ufe0f]")


def words(text: str) -> list[str]:
    """Split a text into words, lower case, accents of Latin, Greek and Cyrillic letters dropped.

    Scripts without blanks (Chinese, Japanese, Thai, Khmer, ..) give single letters and pairs of neighbours. Vowel signs
    stay with their letters. Emoji are words.
    """
    if text.isascii():
        return _ASCII.findall(text.lower())
    result: list[str] = []
    for match in _RUN.finditer(_folded(text)):
        run = match[0]
        if match.lastgroup != "unspaced":
            result.append(run)
            continue
        letters = _CLUSTER.findall(run)
        result += letters
        result += [first + second for first, second in pairwise(letters)]
    return result


def _folded(text: str) -> str:
    text = _VARIANT.sub("", unicodedata.normalize("NFKD", text.lower()))
    return unicodedata.normalize("NFC", _PLAIN_MARKS.sub("", text))
