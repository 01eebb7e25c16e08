"""Words of every script, and the same as before for Latin ones."""

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from h2rec.text.encoders import TfidfEncoder
from h2rec.text.words import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Red shoe_2, size 9", ["red", "shoe_2", "size", "9"]),
        ("लाल कमीज़", ["लाल", "कमीज़"]),
        ("ఎరుపు చొక్కా", ["ఎరుపు", "చొక్కా"]),
        ("红色恤 T", ["红", "色", "恤", "红色", "色恤", "t"]),
        ("สีแดง", ["สี", "แ", "ด", "ง", "สีแ", "แด", "ดง"]),
        ("한국어 셔츠", ["한국어", "셔츠"]),
        ("😀❤️ 👍🏽", ["😀", "❤", "👍🏽"]),
        ("!!! ...", []),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    "text", ["Café №5 – naïve Straße™ ½ 10²", "Кафе ёж й", "Ã˜ 1.75mm ® Αθήνα", "ﬁne I'm a_b"]
)
def test_scripts_with_blanks_give_what_they_gave(text):
    analyzer = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", strip_accents="unicode").build_analyzer()
    assert words(text) == analyzer(text)


@pytest.mark.parametrize(
    "shirts",
    [
        ("เสื้อยืดสีแดง", "เสื้อยืดสีน้ำเงิน", "โต๊ะไม้"),
        ("红色棉质T恤", "蓝色棉质T恤", "木制餐桌"),
        ("赤いシャツ", "青いシャツ", "木の机"),
    ],
)
def test_scripts_without_blanks_find_their_like(shirts):
    red, blue, table = TfidfEncoder(8).fit(shirts).encode(shirts)
    assert red @ blue > red @ table + 0.2
