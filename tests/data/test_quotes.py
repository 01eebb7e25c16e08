"""No row vanishes inside a quote: stray ones are errors with their line, and fields that need quotes keep them."""

import logging

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2rec.data.readers import delimited as delimited_files
from h2rec.data.readers import open_table, quotes
from h2rec.data.readers.quotes import QuoteCheck
from h2rec.errors import DataError

HEADER = "user_id,item_id,title,timestamp"


def rows_with(titles: dict[int, str], separator: str = ",", count: int = 40) -> str:
    """A file of rows without quotes, but for the titles given by line."""
    lines = [HEADER.replace(",", separator)]
    lines += [
        separator.join((f"u{line}", f"i{line % 7}", titles.get(line, f"song {line}"), str(line)))
        for line in range(2, count + 2)
    ]
    return "\n".join(lines) + "\n"


def read(path, content: str, *columns: str):
    path.write_bytes(content.encode())
    table = open_table(path)
    return table.collect(table.scan().select(columns or table.columns)).rows()


@pytest.mark.parametrize(
    "titles", [{11: '"Untitled (live'}, {11: '"Untitled (live', 30: '"Heroes"'}, {11: '12" ruler'}]
)
def test_quotes_in_a_tab_separated_file_are_letters(tmp_path, titles):
    found = read(tmp_path / "a.tsv", rows_with(titles, "\t"))
    assert len(found) == 40
    assert [found[line - 2][2] for line in titles] == list(titles.values())


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
@pytest.mark.parametrize("style", ["necessary", "always", "non_numeric"])
def test_what_a_program_quotes_is_read_as_it_was(tmp_path, separator, style):
    frame = pl.DataFrame({"id": ["1", "2", "3"], "title": [f"a{separator}b", 'say "hi"', "two\nlines"]})
    path = tmp_path / ("a.tsv" if separator == "\t" else "a.csv")
    frame.write_csv(path, separator=separator, quote_style=style)
    table = open_table(path)
    assert table.collect(table.scan()).rows() == frame.rows()
    assert [tuple(values.values()) for _, values in table.records()] == frame.rows()


def test_reading_a_tab_separated_file_as_quoted_is_told(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="h2rec")
    assert read(tmp_path / "a.tsv", 'id\ttitle\n1\t"say ""hi"""\n') == [("1", 'say "hi"')]
    assert "its fields are quoted" in caplog.text


@pytest.mark.parametrize(
    ("titles", "message"),
    [
        ({11: '"Untitled (live'}, r"a\.csv:11: a quote opens a field here and is not closed"),
        (
            {11: '"Untitled (live', 30: '"Heroes"'},
            r"a\.csv:11: a quote opens here and closes in the middle of line 30",
        ),
        ({11: '12" ruler'}, r"a\.csv:11: a quote inside a field that does not begin with one"),
        ({11: '"Heroes" live'}, r"a\.csv:11: a quoted field goes on after its closing quote"),
        ({11: '"a ""b"" c" d'}, r"a\.csv:11: a quoted field goes on after its closing quote"),
        (
            {11: '"Untitled', 30: 'live"'},
            r"a\.csv:11: a quote opens here and closes in line 30, .* rows of the table",
        ),
        ({11: '"Untitled', 12: 'live"'}, r"a\.csv:11: .* closes in line 12, .* rows of the table"),
        ({2: '"Untitled', 41: 'live"'}, r"a\.csv:2: .* closes in line 41, .* rows of the table"),
    ],
)
@pytest.mark.parametrize("columns", [(), ("user_id",)])
def test_a_stray_quote_in_csv_is_an_error_with_its_line(tmp_path, titles, message, columns):
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.csv", rows_with(titles), *columns)


@pytest.mark.parametrize(
    "text",
    [
        "12 Main St\nSpringfield, IL",
        "one, two\n\nthree, four",
        "Hello, you\nand, you\nand, me",
        '"",\n""',
        "a\n1,b",
    ],
)
def test_a_text_of_several_lines_stays_legal(tmp_path, text):
    lines = "".join(f"{n},plain {n}\n" for n in range(20))
    written = text.replace('"', '""')
    content = f'id,text\n{lines}77,"{written}"\n{lines}'
    if text == "a\n1,b":  # a line that is a row as others are: nobody could tell
        with pytest.raises(DataError, match=r"a\.csv:22: .* looks like rows"):
            read(tmp_path / "a.csv", content)
    else:
        assert ("77", text) in read(tmp_path / "a.csv", content)


def test_texts_of_many_lines_in_a_file_that_quotes_everything(tmp_path):
    frame = pl.DataFrame(
        {"id": [str(n) for n in range(30)], "text": [f"{n} Main St\nTown, IL\nUSA, Earth" for n in range(30)]}
    )
    frame.write_csv(tmp_path / "a.csv", quote_style="always")
    table = open_table(tmp_path / "a.csv")
    assert table.collect(table.scan()).rows() == frame.rows()


@pytest.mark.parametrize(
    "titles", [{11: '"Untitled', 30: 'live"'}, {11: '"Untitled', 30: '"Heroes"'}, {39: '"x'}]
)
def test_stray_quotes_where_blocks_meet(tmp_path, monkeypatch, titles):
    monkeypatch.setattr(delimited_files, "_BLOCK_BYTES", 64)
    with pytest.raises(DataError, match=rf"a\.csv:{min(titles)}: a quote opens"):
        read(tmp_path / "a.csv", rows_with(titles))


def test_a_quote_that_swallows_more_than_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited_files, "_BLOCK_BYTES", 256)
    for module in (quotes, delimited_files):
        monkeypatch.setattr(module, "LONGEST_ROW", 256)
    with pytest.raises(DataError, match=r"a\.csv:5: a quote opens a field here and is not closed"):
        read(tmp_path / "a.csv", rows_with({5: '"Untitled'}, count=200))


def strictly_quoted(text: str, separator: str) -> bool:
    """RFC 4180 letter by letter."""
    state, letters = "start", [*text, "\n"]
    for letter in letters:
        if state == "inside":
            state = "closing" if letter == '"' else "inside"
        elif letter == '"':
            if state == "within":
                return False
            state = "inside"
        elif letter in (separator, "\n", "\r"):
            state = "start"
        elif state == "closing":
            return False
        else:
            state = "within"
    return state != "inside"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=st.text(alphabet='a,"\n\r', max_size=30), size=st.integers(1, 12))
def test_the_fast_check_agrees_with_the_rule_letter_by_letter(tmp_path_factory, text, size):
    check = QuoteCheck(tmp_path_factory.getbasetemp() / "a.csv", ",", None)
    data = text.encode()
    try:
        for start in range(0, len(data), size):
            check.feed(data[start : start + size])
        check.close()
        passes = True
    except DataError:
        passes = False
    assert passes == strictly_quoted(text, ",")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    rows=st.lists(
        st.tuples(st.text(alphabet='a ,"\n', min_size=1, max_size=6), st.text(alphabet='b"\n;', max_size=6)),
        max_size=6,
    )
)
def test_the_slow_pass_reads_what_the_fast_one_does(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "b.csv"
    pl.DataFrame(rows, schema=["x", "y"], orient="row").write_csv(path)
    table = open_table(path)
    try:
        fast = table.collect(table.scan()).rows()
    except DataError as error:
        assert "rows of the table" in str(error)  # noqa: PT017
        return
    assert fast == rows
    assert [tuple(values.values()) for _, values in table.records()] == rows


def test_a_long_field_does_not_take_the_blame(tmp_path):
    content = rows_with({10: "y" * 140_000, 30: "short,oops"})
    with pytest.raises(DataError, match=r"a\.csv:30: 5 fields"):
        read(tmp_path / "a.csv", content)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_the_separator_is_what_the_header_shows(tmp_path, caplog, separator):
    caplog.set_level(logging.INFO, logger="h2rec")
    content = f"user_id{separator}item_id\nu{separator}1,5\n"
    assert read(tmp_path / "a.csv", content) == [("u", "1,5")]
    assert "its separator is a" in caplog.text


@pytest.mark.parametrize("first", ["sep=;\n", "\ufeffsep=;\r\n", '"sep=;"\n'])
def test_excels_line_tells_the_separator(tmp_path, first):
    content = first + "user_id;item, id\nu;1,5\n"
    assert read(tmp_path / "a.csv", content) == [("u", "1,5")]
    with pytest.raises(DataError, match=r"a\.csv:4: 1 fields"):
        read(tmp_path / "a.csv", content + "v\n")


def test_a_separator_that_leaves_doubt_is_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user_id;item_id;a,b\nu;i;1,5\n")
    assert open_table(path).columns == ("user_id;item_id;a", "b")
    assert open_table(path, separator=";").columns == ("user_id", "item_id", "a,b")
