"""Tables as programs write them: each is read as what it is, or a sentence names the line and the way out."""

import codecs
import gzip
import json
import os
import random
import zipfile
from contextlib import suppress
from html import escape

import polars as pl
import pytest
from penguin_classifier.machinery import cli
from penguin_classifier.machinery.config.binding import bound
from penguin_classifier.machinery.data import formats, headers, readers, sources
from penguin_classifier.machinery.errors import ProjectError
from penguin_classifier.machinery.jobs.profile.job import open_table

DRAW = random.Random(1)
NAMES = ["age", "spend", "region", "churned"]
ROWS = [
    [DRAW.randint(18, 80), round(90 * DRAW.random(), 2), DRAW.choice(["north", "süd"]), DRAW.choice(["yes", "no"])]
    for _ in range(40)
]
OURS = "penguin_classifier.machinery.data.readers."


def text(rows=ROWS, *, names=NAMES, sign=",", end="\n", written=str):
    """A delimited text."""
    return "".join(sign.join(map(written, row)) + end for row in [*([names] if names else []), *rows])


def quoted(value):
    return f'"{value}"' if isinstance(value, str) else str(value)


def odd(field, *, at=20):
    """The rows as text, with a `field` for the region in the row `at`."""
    lines = text().splitlines(keepends=True)
    lines[at] = f"57,49.61,{field},yes\n"
    return "".join(lines)


def read(path, *, target="churned", **given):
    """What profile reads at `path`: the section, the notes, and the table."""
    source, notes, (_, sample, _) = open_table(str(path), path.name, query=None, target=target, given=given)
    return source, notes, sample


MIXED_ENDS = text(ROWS[:9], end="\r") + text(ROWS[9:], names=None)
TEXTS = {  # what is in the file, what the section has
    "carriage returns": (text(end="\r"), {"eol_char": "\r"}),
    "carriage returns, cp1252": (text(end="\r").encode("cp1252"), {"encoding": "cp1252"}),
    "utf-16": (text(end="\r\n").encode("utf-16"), {"encoding": "utf_16"}),
    "utf-16 without a mark": (text().encode("utf-16-le"), {"encoding": "utf_16_le"}),
    "a mark and blanks": (codecs.BOM_UTF8 + text(sign=", ").encode(), {"new_columns": NAMES}),
    "a field of 200 kB": (odd("POLYGON" * 30_000), {}),
    "a line of 9 MB in the middle": (odd("x" * 9_000_000), {}),
    "row names": (
        text([[str(at), *row] for at, row in enumerate(ROWS, 1)], written=quoted),
        {"skip_lines": 1, "has_header": False, "new_columns": ["unnamed_0", *NAMES]},
    ),
    "separators that trail in rows": (f"{','.join(NAMES)}\n" + text(names=None, end=",\n"), {"has_header": False}),
    "separators that trail": (text(end=",\n"), {"new_columns": [*NAMES, "unnamed_4"]}),
    "a separator that trails in the header": (f"{','.join(NAMES)},\n" + text(names=None), {}),
    "a title that is longer": ("Customers, prospects, friends, and foes, of 2026\n" + text(), {"skip_lines": 1}),
    "a title that is shorter by one": ("Customers, prospects, friends\n" + text(), {"skip_lines": 1}),
    "a title of two lines": ('"Customers\nof 2026",,,\n\n' + text(), {"skip_lines": 3}),
    "a title, line breaks in fields": ("Customers,,,\n" + text(ROWS).replace("süd", '"s\nüd"'), {"skip_lines": 1}),
    "quotes in the header": (text(names=["age", '"screen 15"""', "region", "churned"]), {}),
    "a quote in a field": (odd('12" north'), {"_target_": OURS + "delimited"}),
    "quotes escaped": (odd(r'"said \"no, thanks\""'), {"_target_": OURS + "delimited", "escape_char": "\\"}),
    "paths of Windows": (odd('"C:\\dir\\"'), {"_target_": "polars.scan_csv"}),
    "blanks before quotes": (text(sign=", ", written=quoted), {"_target_": OURS + "delimited"}),
    "blank lines": (text(end="\n\n"), {"_target_": OURS + "delimited"}),
    "carets": (text(sign="^"), {"separator": "^"}),
    "a sign of two letters": (text(sign="::"), {}),
    "columns aligned by blanks": (text(written=lambda value: f"{value!s:>9}", sign=" "), {"separator": r"\s+"}),
    "a comment": (text().replace("\n", "\n# units: years, euro\n", 1), {"comment_prefix": "#"}),
    "units": (text([["years", "euro", "", ""], *ROWS]), {"skip_rows_after_header": 1}),
    "carriage returns here and there": (MIXED_ENDS, {"_target_": OURS + "delimited"}),
    "blanks above": ("   \n" + text(), {"skip_lines": 1}),
    "a long preamble": ("a note\n" * 40 + text(), {"skip_lines": 40}),
    "Excel's own separator": ("sep=;\n" + text(sign=";"), {"skip_lines": 1, "separator": ";"}),
    "JSON": (
        json.dumps([dict(zip(NAMES, map(str, row), strict=True)) for row in ROWS]),
        {"_target_": "polars.read_json"},
    ),
    "two headers": ("customer,,place,label\n" + text(), {"skip_lines": 1}),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_read_however_it_was_written(name, tmp_path):
    content, expected = TEXTS[name]
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    source, _, table = read(path)
    assert expected.items() <= source.items()
    assert len(table) == len(ROWS) and {"age", "region", "churned"} <= set(table.columns)
    ages = table["age"].str.strip_chars().to_list()
    assert [int(age) for age in ages[:19]] == [row[0] for row in ROWS[:19]]
    assert table["churned"].str.strip_chars()[-1] == ROWS[-1][-1]


LATIN = "33,1,Orléans,no\n".encode("latin-1")
DAMAGED = {
    "one byte of another encoding": (
        odd("Malmö").encode() + "33,1,Orléans,no\n".encode("latin-1"),
        "line 42 is not utf-8",
    ),
    "a quote never closed": (odd('"secret'), r"line 21 opens a quote that is never closed"),
    "a field too many": (odd("north,secret"), "line 21 has 5 fields, and the header 4"),
    "quotes inside quotes": (odd('"a "secret, b" c"'), "line 21 has a quote inside a quoted field"),
    "nothing but a mark": (codecs.BOM_UTF8, "is empty"),
    "letters that are no text": (text().replace("north", "no\0rth"), "is no text"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_is_a_line_and_never_a_value(name, tmp_path):
    content, sentence = DAMAGED[name]
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ProjectError, match=sentence) as raised:
        read(path)
    assert "secret" not in str(raised.value) and "north" not in str(raised.value)


def test_an_encoding_that_changes_far_below_is_seen(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(text().encode() + "33,1.5,Malmö,no\n".encode() * 100_000 + LATIN)
    with pytest.raises(ProjectError, match="line 100,042 is not utf-8"):
        read(path)
    path.write_bytes(text().replace("süd", "south").encode() + b"33,1.5,north,no\n" * 100_000 + LATIN)
    assert read(path)[0]["encoding"] == "cp1252"


def test_an_encoding_that_changes_can_be_passed_over(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(odd("Malmö").encode() + LATIN)
    source, _, table = read(path, encoding="utf8-lossy")
    assert source["encoding"] == "utf8-lossy" and table["region"][-1] == "Orl\ufffdans"


RECORDS = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
BY_COLUMN = {name: [row[at] for row in ROWS] for at, name in enumerate(NAMES)}
NAN = {**RECORDS[0], "spend": float("nan")}
JSON = {
    "a list": (json.dumps(RECORDS), "polars.read_json"),
    "a list with NaN": (json.dumps([NAN, *RECORDS[1:]]), OURS + "json_rows"),
    "a list with a mark": (codecs.BOM_UTF8 + json.dumps(RECORDS).encode(), OURS + "json_rows"),
    "a list in UTF-16": (json.dumps(RECORDS).encode("utf-16"), OURS + "json_rows"),
    "lines": ("\n".join(map(json.dumps, RECORDS)), "polars.scan_ndjson"),
    "lines with NaN": ("\n".join(map(json.dumps, [NAN, *RECORDS[1:]])), OURS + "json_rows"),
    "in an object": (json.dumps({"meta": {"rows": 40}, "data": RECORDS}), OURS + "json_rows"),
    "by column": (
        pl.DataFrame(BY_COLUMN).to_pandas().to_json(),
        OURS + "json_rows",
    ),
    "a list for each column": (
        json.dumps(BY_COLUMN),
        OURS + "json_rows",
    ),
    "split": (json.dumps({"columns": NAMES, "index": list(range(40)), "data": ROWS}), OURS + "json_rows"),
}


@pytest.mark.parametrize("name", JSON)
def test_json_is_read_however_it_was_written(name, tmp_path):
    content, target = JSON[name]
    path = tmp_path / "table.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    source, _, table = read(path)
    assert source["_target_"] == target
    assert table.columns == NAMES and table["age"].to_list() == [row[0] for row in ROWS]
    assert table["spend"].null_count() == ("NaN" in name) and table["spend"].dtype == pl.Float64


@pytest.mark.parametrize(
    "content, sentence",
    [
        (json.dumps({"name": "secret"}), "holds no list with an object for each row: write one"),
        (json.dumps(ROWS), "holds no list with an object for each row: write one"),
        (json.dumps(RECORDS, indent=1)[:-30], r"line \d+ is no JSON"),
        ('{"a": 1}\n{"a": "secret}\n', "line 2 is no JSON: Unterminated string"),
    ],
)
def test_what_is_no_json_is_a_line(content, sentence, tmp_path):
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(ProjectError, match=sentence) as raised:
        read(path)
    assert "secret" not in str(raised.value)


def book(path, **sheets):
    """A workbook as small as Excel opens one."""
    made = {"[Content_Types].xml": "<Types xmlns='http://schemas.openxmlformats.org/package/2006/content-types'/>"}
    main, office = (
        f"http://schemas.openxmlformats.org/{part}"
        for part in ("spreadsheetml/2006/main", "officeDocument/2006/relationships")
    )
    relations = "<Relationships xmlns='http://schemas.openxmlformats.org/package/2006/relationships'>{}</Relationships>"
    relation = "<Relationship Id='r{}' Type='" + office + "/{}' Target='{}'/>"
    made["_rels/.rels"] = relations.format(relation.format(0, "officeDocument", "xl/workbook.xml"))
    listed = "".join(f"<sheet name='{name}' sheetId='{at}' r:id='r{at}'/>" for at, name in enumerate(sheets, 1))
    made["xl/workbook.xml"] = f"<workbook xmlns='{main}' xmlns:r='{office}'><sheets>{listed}</sheets></workbook>"
    made["xl/_rels/workbook.xml.rels"] = relations.format(
        "".join(relation.format(at, "worksheet", f"worksheets/s{at}.xml") for at in range(1, len(sheets) + 1))
    )
    for at, rows in enumerate(sheets.values(), 1):
        cells = [
            f"<c r='{chr(65 + column)}{row}' t='inlineStr'><is><t>{escape(value)}</t></is></c>"
            if isinstance(value, str)
            else f"<c r='{chr(65 + column)}{row}'><v>{value}</v></c>"
            for row, values in enumerate(rows, 1)
            for column, value in enumerate(values)
            if value is not None
        ]
        lines = "".join(f"<row>{cell}</row>" for cell in cells)
        made[f"xl/worksheets/s{at}.xml"] = f"<worksheet xmlns='{main}'><sheetData>{lines}</sheetData></worksheet>"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in made.items():
            archive.writestr(name, content)


BOOKS = {  # sheets, what the section has, a note
    "plain": ({"S": [NAMES, *ROWS]}, {}, None),
    "a title": ({"S": [["Customers of 2026"], [], NAMES, *ROWS]}, {"read_options": {"header_row": 2}}, "in row 3"),
    "two headers": (
        {"S": [["customer", None, "label"], NAMES, *ROWS]},
        {"read_options": {"header_row": 1}},
        "in row 2: what stands above it is skipped",
    ),
    "units": (
        {"S": [NAMES, ["years", "euro"], *ROWS]},
        {"read_options": {"header_row": 0, "skip_rows": 1}},
        "holds names or units: it is skipped",
    ),
    "a cover": (
        {"Cover": [["Report"], [None, "by me"]], "Data": [NAMES, *ROWS], "More": [["a", "b"], [1, 2]]},
        {"sheet_name": "Data"},
        "the sheet Data is read, and not Cover, More: source.sheet_name=... chooses",
    ),
    "a name twice": (
        {"S": [["age", "age", "region", "churned"], *ROWS]},
        {},
        "the header names a column twice: the second is age_1",
    ),
}


@pytest.mark.parametrize("name", BOOKS)
def test_a_workbook_is_read_as_a_text_is(name, tmp_path):
    sheets, expected, note = BOOKS[name]
    book(tmp_path / "book.xlsx", **sheets)
    source, notes, table = read(tmp_path / "book.xlsx")
    assert expected.items() <= source.items() and (note or "") in " ".join(notes)
    assert table["age"].to_list() == [row[0] for row in ROWS] and table["churned"].to_list() == [row[3] for row in ROWS]


def test_of_two_headers_that_with_the_target_counts(tmp_path):
    book(tmp_path / "book.xlsx", S=[["customer", None, "place", "label"], NAMES, *ROWS])
    _, notes, table = read(tmp_path / "book.xlsx", target="label")
    assert set(table["label"]) == {"yes", "no"} and table["customer"].dtype.is_numeric()
    assert "the row below the header holds names or units: it is skipped" in notes


def test_a_sheet_is_chosen_and_what_is_called_so_is_a_workbook(tmp_path):
    book(tmp_path / "book.csv", A=[NAMES, *ROWS], B=[NAMES, *ROWS[:20]])
    assert len(read(tmp_path / "book.csv", sheet_name="B")[2]) == 20
    (tmp_path / "text.xls").write_text(text(sign="\t"))
    assert read(tmp_path / "text.xls")[0]["separator"] == "\t"
    (tmp_path / "page.xls").write_text("<html><table/></html>")
    with pytest.raises(ProjectError, match="is a web page"):
        read(tmp_path / "page.xls")


TABLE = pl.DataFrame(ROWS, schema=NAMES, orient="row")
WRITERS = {
    "a[1].csv": TABLE.write_csv,
    "a[1].csv.gz": lambda path: path.write_bytes(gzip.compress(text().encode())),
    "a*.parquet": TABLE.write_parquet,
    "a[1].arrow": TABLE.write_ipc,
    "a[1].jsonl": TABLE.write_ndjson,
    "a[1].json": TABLE.write_json,
    "a[1].xlsx": lambda path: book(path, S=[NAMES, *ROWS]),
    "a[1]": lambda path: path.mkdir() or TABLE.write_parquet(path / "b[2].parquet"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_name_is_no_pattern(name, tmp_path):
    WRITERS[name](tmp_path / name)
    assert len(read(tmp_path / name)[2]) == len(ROWS)


@pytest.mark.parametrize(
    "reader, way", [("scan_csv", "source.glob=false takes it as it is"), ("scan_ndjson", "rename it")]
)
def test_a_pattern_that_is_a_name_is_said(reader, way, tmp_path):
    (tmp_path / "a[1].csv").write_text(text())
    source = {"_target_": f"polars.{reader}", "source": str(tmp_path / "a[1].csv")}
    with (
        pytest.raises(ProjectError, match=rf"the source: a\[1\].csv is a pattern to polars: {way}"),
        sources.reading(source),
    ):
        bound(source, name="source")().collect()


@pytest.mark.parametrize("late", [False, True])
def test_a_library_s_words_hold_no_value(late, tmp_path):
    (tmp_path / "a.csv").write_text("a\n1\nsecret\n")
    with pytest.raises(ProjectError, match=r"the source cannot be read: .*'a'") as raised, sources.reading():
        table = pl.read_csv(tmp_path / "a.csv", schema_overrides={"a": pl.String if late else pl.Int64})
        table.cast(pl.Int64)
    assert "secret" not in str(raised.value)


def test_parts_of_other_types_and_widths(tmp_path):
    for year, part in {2024: TABLE, 2025: TABLE.cast({"age": pl.Float64}).drop("region").with_columns(more=1)}.items():
        (tmp_path / f"all/year={year}").mkdir(parents=True)
        part.write_parquet(tmp_path / f"all/year={year}/a.parquet")
    source, _, table = read(tmp_path / "all")
    assert source["_target_"] == OURS + "parts"
    assert table["age"].dtype == pl.Float64 and table["region"].null_count() == len(ROWS) == table["more"].null_count()
    assert set(table["year"]) == {2024, 2025}
    (tmp_path / "all/b.parquet").write_bytes(b"PAR1")
    with pytest.raises(ProjectError, match=r"b.parquet is no Parquet file"):
        read(tmp_path / "all")


def test_a_sign_that_is_not_known_can_be_said(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(text(sign="§"))
    assert read(path)[2].width == 1
    assert read(path, separator="§")[2].columns == NAMES


def test_ten_thousand_columns(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text(text([[1] * 10_000] * 5, names=[f"c{at}" for at in range(10_000)]))
    assert read(path, target="c7")[2].shape == (5, 10_000)


def test_a_first_line_that_is_data_is_no_header():
    assert headers.find([["178", "13", "class_0"], *[["1.5"] * 14] * 20], ["column_13"]).at == 1
    assert headers.find([[str(value) for value in row] for row in ROWS], []).at == 0
    assert headers.find([["", "0"], *[[str(at), "1.5"] for at in range(9)]], []).at == 0, "a series of pandas"
    assert not headers.find([NAMES, ["unknown", "3", "north", "yes"], *[["1", "2", "north", "no"]] * 9], []).second


def test_a_title_above_a_table_without_a_header_is_said(tmp_path):
    (tmp_path / "table.csv").write_text("178,13,class_0\n" + text(names=None, sign=",1,"))
    source, notes, _ = read(tmp_path / "table.csv", target="column_6")
    assert source["has_header"] is False and source["skip_lines"] == 1
    assert notes == ["the table begins in line 2: what stands above it is skipped"]


def test_another_table_of_a_dataset_is_read_as_the_first_was(tmp_path):
    ours = {"_target_": OURS + "delimited", "source": "x", "escape_char": "\\", "infer_schema": False}
    (tmp_path / "new.csv").write_text(text(sign=";"))
    guessed, _ = formats.guess(str(tmp_path / "new.csv"), query=None, names=NAMES)
    found = formats.like(guessed, ours)
    assert found["_target_"] == OURS + "delimited" and "escape_char" not in found and found["separator"] == ";"
    assert readers.delimited(**{key: value for key, value in found.items() if key != "_target_"}).columns == NAMES
    units = guessed | {"skip_rows_after_header": 1}
    assert "skip_rows_after_header" not in formats.like(units, guessed), "each row that is asked about has an answer"


def test_an_env_with_a_mark_is_read_and_one_that_is_no_utf_8_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MARKED", raising=False)
    for content in (codecs.BOM_UTF8 + b"MARKED=yes\n", "MARKED=no\n".encode("utf-16")):
        (tmp_path / ".env").write_bytes(content)
        with suppress(OSError):  # there is no project
            cli.main(["nothing"], root=tmp_path, package="penguin_classifier")
    assert os.environ.pop("MARKED") == "yes"
    assert "penguin_classifier: .env is not UTF-8: save it as UTF-8" in capsys.readouterr().err


def test_a_file_with_a_column_less_is_told_by_the_counts(tmp_path):
    (tmp_path / "less.csv").write_text(",size\n1,2\n")
    source = {"source": str(tmp_path / "less.csv"), "new_columns": ["at", "size", "kind"]}
    said = r"the file has 2 columns, and source.new_columns names 3: some were left out or added"
    with pytest.raises(ProjectError, match=said), sources.reading({"_target_": "polars.scan_csv", **source}):
        pl.scan_csv(**source).collect()
