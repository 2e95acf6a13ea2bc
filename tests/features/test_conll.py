"""CoNLL and CoNLL-U: read whole, written as they were, malformed lines named."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus import DATA

from ostinato.errors import InputError
from ostinato.features.conll import ConllFile, ConlluFile, Tagged

CONLLU = """# sent_id = 1
# text = I don't know.
1\tI\tI\tPRON\tPRP\tCase=Nom\t4\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\tVBP\t_\t4\taux\t_\t_
3\tn't\tnot\tPART\tRB\t_\t4\tadvmod\t_\t_
4\tknow\tknow\tVERB\tVB\t_\t0\troot\t_\tSpaceAfter=No
4.1\tit\t_\t_\t_\t_\t_\t_\t4:obj\t_
5\t.\t.\tPUNCT\t.\t_\t4\tpunct\t_\t_

1\tYes\tyes\tINTJ\tUH\t_\t0\troot\t_\t_

"""


def written(folder: Path, text: str, name: str = "a.conllu") -> Path:
    (folder / name).write_bytes(text.encode())
    return folder / name


def test_conllu_round_trip(tmp_path: Path) -> None:
    sentences = list(ConlluFile(written(tmp_path, CONLLU)))
    assert [[word.form for word in s.words] for s in sentences] == [["I", "do", "n't", "know", "."], ["Yes"]]
    assert sentences[0].heads == [4, 4, 4, 0, 4]
    assert sentences[1].place.endswith("a.conllu:11")
    assert "".join(sentence.text() for sentence in sentences) == CONLLU
    changed = sentences[0].given("deprel", list("abcde"))
    assert [word.deprel for word in changed.lines] == ["a", "_", "b", "c", "d", "_", "e"]
    with pytest.raises(ValueError, match="5 words, but 1 values for head"):
        sentences[0].given("head", [1])


@pytest.mark.parametrize(("old", "new", "message"), [
    ("3\tn't", "4\tn't", r"a.conllu:6: ID is '4' after word 2"),
    ("3\tn't", "x\tn't", r"a.conllu:6: ID is 'x', expected a number, a range as 3-4, or an empty node as 5.1"),
    ("2-3\tdon", "3-4\tdon", r"a.conllu:4: ID is '3-4' after word 1"),
    ("2-3\tdon", "2-1\tdon", r"a.conllu:4: ID is '2-1' after word 1"),
    ("4.1\tit", "5.1\tit", r"a.conllu:8: ID is '5.1' after word 4"),
    ("\t0\troot\t_\tSpace", "\t6\troot\t_\tSpace", r"a.conllu:7: HEAD is '6', expected a number from 0 to 5 or _"),
    ("\t0\troot\t_\tSpace", "\t-1\troot\t_\tSpace", r"a.conllu:7: HEAD is '-1'"),
    ("\tUH\t_\t0", "\tUH\t0", r"a.conllu:11: 9 fields, where CoNLL-U has 10 between tabs: '1\\tYes"),
    ("1\tYes", "1\t", r"a.conllu:11: FORM is empty, where CoNLL-U writes _ for nothing"),
])  # fmt: skip
def test_malformed_conllu(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in CONLLU
    file = written(tmp_path, CONLLU.replace(old, new))
    with pytest.raises(InputError, match=message):
        list(ConlluFile(file))
    skipping = ConlluFile(file, skip_bad=True)
    assert len(list(skipping)) == 1
    assert skipping.bad == 1
    assert len(list(skipping)) == skipping.bad == 1  # counted anew


def test_a_word_without_a_head(tmp_path: Path) -> None:
    sentence = next(iter(ConlluFile(written(tmp_path, "1\tYes" + "\t_" * 8 + "\n"))))
    with pytest.raises(InputError, match=r"a.conllu:1: word 1 \('Yes'\) has no HEAD"):
        _ = sentence.heads


def test_a_line_of_another_encoding_costs_its_sentence(tmp_path: Path) -> None:
    file = tmp_path / "a.conllu"
    file.write_bytes(CONLLU.encode().replace(b"know\tknow", b"kn\xf6w\tknow"))
    with pytest.raises(InputError, match=r"a.conllu:7: byte 0xf6 is not UTF-8"):
        list(ConlluFile(file))
    skipping = ConlluFile(file, skip_bad=True)
    assert [sentence.words[0].form for sentence in skipping] == ["Yes"]
    assert len(list(ConlluFile(file, encoding="latin-1"))) == 2


def read(file: Path, **options: object) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(s.tokens, s.tags) for s in ConllFile(file, **options)]  # type: ignore[arg-type]


def test_conll_between_tabs(tmp_path: Path) -> None:
    file = written(tmp_path, "# made up\na b\tO\n#\tO\n\tB-X\r\n\t\n\n# 2\nc\tO\n#x\tO")
    assert read(file) == [(("a b", "#", ""), ("O", "O", "B-X")), (("c", "#x"), ("O", "O"))]
    assert next(iter(ConllFile(file))).place.endswith(":1")


def test_conll_between_blanks(tmp_path: Path) -> None:
    text = "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n# # B-NP O\n"
    file = written(tmp_path, text)
    assert read(file) == [(("EU", "rejects"), ("B-ORG", "O")), (("#",), ("O",))]
    assert read(file, column=2)[0] == (("EU", "rejects"), ("NNP", "VBZ"))
    assert read(file, column=0)[0] == (("EU", "rejects"), ("", ""))
    with pytest.raises(InputError, match=r"has no column 5: its lines have 4 fields"):
        read(file, column=5)


@pytest.mark.parametrize(("text", "message"), [
    ("a\tO\nb\nc\tO\n\nd\tO\n", r"a:2: 1 fields, where 2 are expected between tabs: 'b'"),
    ("a O\nb O O\n\nd O\nd O\n", r"a:2: 3 fields, where 2 are expected between blanks: 'b O O'"),
    ("a\t \nb\tO\n\nd\tO\n", r"a:1: the tag of 'a' is empty"),
])  # fmt: skip
def test_malformed_conll(tmp_path: Path, text: str, message: str) -> None:
    file = written(tmp_path, text, "a")
    with pytest.raises(InputError, match=message):
        read(file)
    skipping = ConllFile(file, skip_bad=True)
    assert [sentence.tokens[0] for sentence in skipping] == ["d"]
    assert skipping.bad == 1


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a is empty"):
        read(written(tmp_path, "", "a"))
    with pytest.raises(InputError, match=r"a has no sentences that can be used"):
        list(ConlluFile(written(tmp_path, "\n# text\n\n", "a")))
    with pytest.raises(InputError, match=r"a: a token and its tag are expected in a line"):
        read(written(tmp_path, "a\nb\n", "a"))
    assert read(written(tmp_path, "a\nb\n", "a"), column=0) == [(("a", "b"), ("", ""))]


@pytest.mark.parametrize(("name", "sentences", "tokens"), [
    ("wnut17/wnut17train.conll", 3394, 62730), ("wnut17/emerging.test.annotated", 1287, 23394),
    ("ner_btc/h.conll", 2001, 29480),
])  # fmt: skip
def test_real_conll(tmp_path: Path, name: str, sentences: int, tokens: int) -> None:
    file = DATA / name
    if not file.exists():  # as those are: an empty line may hold a tab
        file = written(tmp_path, ("a\tO\n" * (tokens // sentences) + "\t\n") * sentences, "made")
        tokens = tokens // sentences * sentences
    found: list[Tagged] = list(ConllFile(file))
    assert (len(found), sum(len(sentence.tokens) for sentence in found)) == (sentences, tokens)


def test_real_conllu(tmp_path: Path) -> None:
    file = DATA / "ud_ewt" / "en_ewt-ud-test.conllu"
    text = file.read_text(encoding="utf-8") if file.exists() else CONLLU * 20
    found = list(ConlluFile(written(tmp_path, text)))
    assert "".join(sentence.text() for sentence in found) == text
    if file.exists():
        assert (len(found), sum(len(sentence.words) for sentence in found)) == (2077, 25094)
