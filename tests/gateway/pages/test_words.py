"""How names, dates, consents and forms are read and shown."""

from __future__ import annotations

import pytest

from gateway.errors import BadRequest
from gateway.pages.page_form import PageForm, parse_page_form
from gateway.pages.visible_text import shown
from gateway.pages.wording import day, person_name


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("CITIZEN^JANE", "CITIZEN, JANE"),
        ("Citizen^Jane^Q^Dr.^Jr.", "Citizen, Jane Q Dr. Jr."),
        ("^JANE", "JANE"),
        ("CITIZEN", "CITIZEN"),
        ("", ""),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou (山田, 太郎, やまだ, たろう)"),
        ("=山田^太郎", "山田, 太郎"),
        ("^^^^", ""),
    ],
)
def test_a_person_name_reads_as_people_write_it(text: str, read: str) -> None:
    assert person_name(text) == read


def test_a_date_reads_as_a_date_and_anything_else_stays() -> None:
    assert [day(text) for text in ("19700203", "", "1970", "\u0661970020\u0663", "1970-02-03")] == [
        "1970-02-03",
        "",
        "1970",
        "\u0661970020\u0663",
        "1970-02-03",
    ]


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("CITIZEN, JANE", "<bdi>CITIZEN, JANE</bdi>"),
        ("<b>&", "<bdi>&lt;b&gt;&amp;</bdi>"),
        ("a\u202eb", '<bdi>a<span class="mark">U+202E</span>b</bdi>'),
        ("a\u0000\u200bb", '<bdi>a<span class="mark">U+0000</span><span class="mark">U+200B</span>b</bdi>'),
        ("Müller 山田 やまだ", "<bdi>Müller 山田 やまだ</bdi>"),
        ("ДЖЕЙН CITIZEN", "<bdi>ДЖЕЙН CITIZEN</bdi>"),
        ("\u0421ITIZEN", '<bdi>\u0421ITIZEN</bdi> <span class="mark">letters of several alphabets</span>'),
    ],
)
def test_nothing_in_a_text_is_invisible(text: str, html: str) -> None:
    assert str(shown(text)) == html


def test_a_form_is_read_field_by_field() -> None:
    form = parse_page_form(b"a=+x+&b=&c=1&c=2&d=%C3%A9")
    assert (form.text("a"), form.text("b"), form.text("d"), form.text("missing")) == ("x", "", "é", "")
    assert form.several("c") == ("1", "2")
    assert (form.secret("a"), form.secret("c"), form.secret("missing")) == (" x ", None, None)
    assert form.marks("c") == {"1", "2"}
    with pytest.raises(BadRequest):
        form.text("c")


@pytest.mark.parametrize("value", ["x" * 401, "a\u2028b", "a\tb", "a\x7fb"])
def test_what_is_no_line_of_text_is_refused(value: str) -> None:
    form = PageForm([("a", value)])
    with pytest.raises(BadRequest):
        form.text("a")
    with pytest.raises(BadRequest):
        form.several("a")
