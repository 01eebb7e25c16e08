"""What is right for each folder that `faults.py` runs, by its name."""

import re
from collections.abc import Callable
from dataclasses import dataclass


class WrongError(Exception):
    """What is wrong, in a few words."""


@dataclass(frozen=True)
class Seen:
    """What a `run.sh` printed, each call of h2rec (words, exit code, what it said), and how to ask more in the copy."""

    printed: str
    calls: list[dict]
    ask: Callable[[str], str]

    def need(self, *patterns: str, at: str | None = None) -> None:
        """Fail where a pattern is not in what was printed, or in another text."""
        text = re.sub(r"\s+", " ", self.printed if at is None else at)
        for pattern in patterns:
            if not re.search(pattern, text):
                raise WrongError(f"no {pattern!r} in {text[-200:]!r}")

    def said(self, word: str = "") -> str:
        """All that the calls said that have a word among theirs."""
        return "\n".join(call["said"] for call in self.calls if word in " ".join(call["words"]))

    def all_end_well(self) -> None:
        """Fail where a call of h2rec did."""
        for call in self.calls:
            if call["code"]:
                raise WrongError(f"h2rec {' '.join(call['words'])}: {call['said'][-200:]!r}")


def need(true: bool, what: str) -> None:
    if not true:
        raise WrongError(what)


def add_items_out_deletes(seen: Seen) -> str:
    for file in ("precious/thesis.txt", "precious/sub/a.csv"):
        need(seen.printed.split().count(file) == 2, f"{file} is gone")
    need([call["code"] for call in seen.calls[-2:]] == [2, 2], "a folder of others is not refused")
    seen.need("holds what h2rec did not write", "hint", at=seen.calls[-2]["said"])
    seen.need("error: .*hint", at=seen.calls[-1]["said"])
    return "both refused, all files there"


def blanks_in_ids(seen: Seen) -> str:
    seen.all_end_well()
    seen.need(r"\['i1'\] 0 time")
    return "one item, not recommended to who has it"


def brackets_in_path(seen: Seen) -> str:
    seen.all_end_well()
    seen.need("RIGHT tea", r"\{'title': 'chess wooden board number 1'\} \(the two items.parquet differ\)")
    return "the named file is read, four times"


def codeless_model(seen: Seen) -> str:
    seen.all_end_well()
    need(len(seen.calls) == 2, "not both models ran")
    return "pop and sasrec run without codes"


def fork_hangs(seen: Seen) -> str:
    need("HANGS" not in seen.printed and seen.printed.count("fine") == 2, "hangs")
    answered = len(re.findall(r"fine \[\('recommend', \['i.*\('filter', \['i", seen.printed))
    answer = seen.printed.count("was forked")
    need(answered + answer == 2, "neither an answer nor why not")
    return f"answered {answered}, told why not {answer} times"


def heavy_user(seen: Seen) -> str:
    seen.all_end_well()
    seen.need(
        r"(?i)warn[^.]*sampled20[^.]*\bbot\b|\bbot\b[^.]*sampled20|sampled20[^.]*\bbot\b", at=seen.said()
    )
    return "left out of sampled20, named 'bot'"


def int_ids_api(seen: Seen) -> str:
    lists = re.findall(r"^\[.*?\] (\[.*?\]) unknown (\S+) popular (\S+)", seen.printed, re.MULTILINE)
    need(len(lists) == 2 and lists[0] == lists[1], "10 is not '10'")
    need(
        lists[0][1:] == ("()", "()") or lists[0][1:] == ("[]", "[]") or "False" in lists[0][2], str(lists[0])
    )
    seen.need("DataError: history: expected a list of item ids, found str '12' hint")
    answer = seen.ask(
        "import subprocess\n"
        "subprocess.run(['h2rec', 'bundle', 'c.yaml', '--out', 'run'], capture_output=True, check=True)\n"
        "from h2rec import Recommender, H2RecError\n"
        "r = Recommender.load('run/bundle')\n"
        "same = lambda n: [i.item_id for i in r.similar(n, k=3)]\n"
        "print(same(10) == same('10'), r.fields(10) == r.fields('10'), bool(r.fields('10')))\n"
        "for ask in (lambda: r.recommend('12', 5), lambda: r.recommend(['10'], 5.5), lambda: r.similar([10], 3)):\n"
        "    try: print(ask())\n"
        "    except H2RecError: print('told')\n"
    )
    seen.need("^True True True told told told $", at=answer)
    return "integers are ids, '12' is refused"


def json_nan_bom(seen: Seen) -> str:
    seen.all_end_well()
    need(len(seen.calls) == 3, "not all three were read")
    return "all three are read"


def json_over_32_keys(seen: Seen) -> str:
    seen.all_end_well()
    runs = re.split(r"^(?=.*overall │)", seen.printed, flags=re.MULTILINE)[1:]
    need(len(runs) == 3 and runs[0] == runs[1] == runs[2], "three runs of one file differ")
    need("['item_id', 'title', 'attr0', 'attr1'" in runs[0], "the columns are not as in the file")
    return "three equal runs, columns as in the file"


def long_field(seen: Seen) -> str:
    seen.need("102:oops|102:.*oops", r"events\.csv:102: .*oops")
    return "line 102 is blamed"


def npy_ids_bom(seen: Seen) -> str:
    seen.all_end_well()
    need("no embedding" not in seen.said(), "an item has no embedding")
    return "all items have theirs"


def pandas_index(seen: Seen) -> str:
    seen.all_end_well()
    seen.need(r"\['tea green leaf number 0\.?', 'chess wooden board number 1")
    seen.need("__index_level_0__", at=seen.said())
    return "no part of the texts, told"


def parquet_map_bytes(seen: Seen) -> str:
    seen.all_end_well()
    need("panicked" not in seen.said() and len(seen.calls) == 3, "Rust panics")
    for call in seen.calls:
        seen.need(r"(?i)warn.*left out|(?i:left out).*column|columns? .*left out", at=call["said"])
    return "read, the columns are named"


def readonly_home(seen: Seen) -> str:
    seen.all_end_well()
    # The script's encoder keeps nothing; one that does is told.
    answer = seen.ask(
        "import os, subprocess\n"
        "words = ['h2rec', 'bundle', 'shop.yaml', '--set', 'text.encoder=minilm', '--out', 'r']\n"
        "subprocess.run(words, env=os.environ | {'HOME': '/dev/null/no'}, check=True)\n"
    )
    seen.need("embeddings are not kept for later runs: .* H2REC_CACHE names another", at=answer)
    return "warned, the run goes on"


def repeat_consumption(seen: Seen) -> str:
    seen.all_end_well()
    figures = [float(x) for x in re.findall(r"'hit@10': ([\d.]+)", seen.printed)]
    first = [float(x) for x in re.findall(r"'hit@1': ([\d.]+)", seen.printed)]
    served = float(re.search(r"\(default\) ([\d.]+)", seen.printed)[1])
    need(max(first) < 0.3, f"hit@1 {max(first)}")
    full = float(re.search(r"^run .*?'full': {[^}]*'hit@10': ([\d.]+)", seen.printed, re.MULTILINE)[1])
    need(abs(full - served) < 0.01, f"evaluated {full}, served {served}")
    need(len(figures) == 4 and "repeats" in seen.said("--out run"), "nothing is said")
    return f"hit@1 {first[0]}; hit@10 evaluated {full}, served {served:.3f}"


def same_folder_twice(seen: Seen) -> str:
    seen.all_end_well()
    need(len(re.findall(r"try \d: 0 0 *$", seen.printed, re.MULTILINE)) == 5, "one fails")
    need("another process is at it" in seen.said(), "not told that it waits")
    return "five times both end well"


def semicolon(seen: Seen) -> str:
    seen.all_end_well()
    # Excel's first line says it in the file itself.
    answer = ["its separator is a semicolon" in call["said"] for call in seen.calls]
    need(answer == [True, False, True], "not told")
    return "found and told"


def stray_quote(seen: Seen) -> str:
    for name in ("clean", "one", "two"):
        seen.need(rf"{name}\.tsv {{'interaction_rows': 240")
    seen.need(r"DataError: one\.csv:11: ")
    seen.need("data: 40 users, 60 items, 240 interactions", at=seen.said())
    answer = seen.ask(
        "from h2rec import prepare\n"
        "from h2rec.data.settings import DataSettings\n"
        "r = prepare(DataSettings(interactions='clean.tsv', items='items.tsv')).report\n"
        "print(r['item_rows'], r['items_not_in_item_file'])"
    )
    seen.need("^60 0 $", at=answer)
    return "240 rows in each TSV, line 11 of the CSV is named"


def text_language(seen: Seen) -> str:
    warned = [bool(re.search("(?i)warning|text.encoder", call["said"])) for call in seen.calls]
    need(all(warned) or seen.calls[0]["code"] == 2, f"warned: {warned}")
    for call in seen.calls[:2]:
        seen.need("multilingual", at=call["said"])
    zero, counted = map(int, re.search(r"zero vectors (\d+) items_without_text (\d+)", seen.printed).groups())
    need(zero == counted == 0, f"{zero} zero vectors, {counted} counted as without text")
    # The script stops where MiniLM knows no word of three Thai titles, which is an error.
    answer = seen.ask(
        "import polars as pl; from h2rec import embed; from h2rec.text.settings import TextSettings\n"
        "for t in (['เสื้อยืดสีแดง', 'เสื้อยืดสีน้ำเงิน', 'โต๊ะไม้'], ['红色棉质T恤', '蓝色棉质T恤', '木制餐桌'],\n"
        "          ['लाल कमीज़', 'नीली कमीज़', 'लकड़ी की मेज'], ['ఎరుపు చొక్కా', 'నీలం చొక్కా', 'చెక్క బల్ల']):\n"
        "    v = embed(pl.DataFrame({'item_id': list('abc'), 'title': t}), TextSettings(encoder='tfidf')).vectors\n"
        "    print(v[0] @ v[2] < v[0] @ v[1] < 0.99)\n"
    )
    seen.need("^True True True True $", at=answer)
    return "told, with an encoder that knows more; tfidf tells them apart"


def time_column_unguessed(seen: Seen) -> str:
    seen.all_end_well()
    figures = re.findall(r"overall │.*", seen.printed)
    need(len(figures) == 2 and figures[0] == figures[1], "another name, other figures")
    kinds = dict(re.findall(r"^(\w+) -> (.+)$", seen.printed, re.MULTILINE))
    need(len(kinds) == 11 and "file" not in " ".join(kinds.values()), f"not taken for times: {kinds}")
    return "eleven names are times"


CHECKS = {
    check.__name__: check
    for check in (
        add_items_out_deletes, blanks_in_ids, brackets_in_path, codeless_model, fork_hangs, heavy_user,
        int_ids_api, json_nan_bom, json_over_32_keys, long_field, npy_ids_bom, pandas_index, parquet_map_bytes,
        readonly_home, repeat_consumption, same_folder_twice, semicolon, stray_quote, text_language,
        time_column_unguessed,
    )
}  # fmt: skip
