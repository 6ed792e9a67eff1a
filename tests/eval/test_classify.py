"""Cases of natural text whose class is plain to a reader, in pieces as a BPE tokenizer cuts them.

The eleven were written down before the classifier was run.
"""

import pytest

from eval.text.classify import classify, following, read

ELEVEN = {
    "the next chapter": (
        "succession",
        [" Chapter", " 7", " is", " about", " rivers", ".", " Chapter", " 8", " is"],
        6,
        [(1, 0.7), (0, 0.2)],
    ),
    "the next day": (
        "succession",
        ["The", " shop", " shuts", " on", " Tuesday", " and", " opens", " on", " Wednesday", "."],
        7,
        [(4, 0.6), (3, 0.25), (0, 0.1)],
    ),
    "the next ordinal, in other capitals": (
        "succession",
        ["First", " we", " boil", " water", ".", " The", " second", " step"],
        5,
        [(0, 0.5), (4, 0.2)],
    ),
    "the rest of a name": (
        "copying",
        ["Mrs", ".", " D", "urs", "ley", " left", ".", " Then", " D", "urs", "ley", " came"],
        8,
        [(3, 0.8), (0, 0.1)],
    ),
    "a word said before, in other capitals": (
        "copying",
        [" The", " Cabinet", " met", " at", " noon", " and", " the", " cabinet", " agreed"],
        6,
        [(0, 0.3), (1, 0.5)],
    ),
    "a whole acronym": (
        "acronym",
        [" the", " World", " Health", " Organ", "ization", " (", "WHO", ")", " said"],
        5,
        [(1, 0.4), (4, 0.3), (2, 0.2)],
    ),
    "the end of an acronym": (
        "acronym",
        [" of", " natural", " language", " processing", " (", "N", "LP", ")"],
        5,
        [(3, 0.5), (2, 0.3)],
    ),
    "a later year, cut in two": (
        "greater-than",
        [" the", " years", " from", " 1945", " to", " 19", "50", " were"],
        5,
        [(3, 0.6), (5, 0.3)],
    ),
    "a larger number in words": (
        "greater-than",
        [" children", " between", " three", " and", " nine", " years"],
        3,
        [(2, 0.8), (0, 0.1)],
    ),
    "a word that follows": (
        "other",
        ["The", " cat", " sat", " on", " the", " mat", "."],
        4,
        [(1, 0.6), (2, 0.3)],
    ),
    "a smaller number": (
        "other",
        [" prices", " fell", " from", " 20", " to", " 15", " dollars"],
        4,
        [(3, 0.9)],
    ),
}


@pytest.mark.parametrize("name", ELEVEN)
def test_eleven_cases_of_known_class(name: str) -> None:
    expected, pieces, at, attended = ELEVEN[name]
    assert classify(read(pieces[: at + 1], attended), following(pieces, at)) == expected


@pytest.mark.parametrize(
    ("expected", "pieces", "at", "attended"),
    [
        # The more attended of two explanations, though it is the later element of the list.
        ("succession", ["10", ",", "11", ",", "12"], 3, [(0, 0.5), (2, 0.4)]),
        ("copying", [" 3", " 2", " then", " 3"], 2, [(0, 0.6), (1, 0.3)]),
        ("succession", [" 3", " 2", " then", " 3"], 2, [(0, 0.3), (1, 0.6)]),
        # Hardly attended to.
        ("other", [" Monday", " and", " Tuesday"], 1, [(1, 0.9), (0, 0.05)]),
        # A cycle, forms of one task, and two tasks.
        ("succession", [" December", ",", " january"], 1, [(0, 0.9)]),
        ("other", [" twelve", " or", " 13"], 1, [(0, 0.9)]),
        ("succession", [" III", " and", " IV"], 1, [(0, 0.9)]),
        # Letters within words, and an article, are no letters of a list.
        ("other", [" b", "read", " c", "akes"], 1, [(0, 0.9)]),
        ("other", [" Anna", "'s", " t"], 1, [(1, 0.9)]),
        ("other", [" a", " thing", " I"], 1, [(0, 0.9)]),
        ("succession", ["\n", "a", ")", " river", "\n", "b", ")"], 4, [(1, 0.9)]),
        # Numbers cut in two: the word decides, or the tokens themselves.
        ("succession", [" 19", "45", " to", " 19", "46"], 3, [(1, 0.9)]),
        ("greater-than", [" 19", "14", "–", "18", "."], 2, [(1, 0.9)]),
        ("other", [" 19", "45"], 0, [(0, 0.9)]),
        # Capitals, small words left out, a plural; and initials that no word here has.
        ("acronym", [" Depart", "ment", " of", " State", " (", "DS", ")"], 4, [(1, 0.9)]),
        ("acronym", [" large", " language", " models", " (", "LL", "Ms", ")"], 4, [(2, 0.9)]),
        ("other", [" World", " Health", " (", "wh", "o"], 2, [(0, 0.9)]),
        ("other", [" World", " Bank", " (", "WHO"], 2, [(0, 0.9)]),
        # Marks and line breaks are copied; one is not the other.
        ("copying", [",", " x", ","], 1, [(0, 0.9)]),
        ("other", [" ", "x", "\n"], 1, [(0, 0.9)]),
    ],
)
def test_rules_and_their_order(expected, pieces, at, attended) -> None:
    assert classify(read(pieces[: at + 1], attended), following(pieces, at)) == expected


def test_numbers_too_long_to_be_counted_are_other() -> None:
    pieces = ["9" * 5000, " ", "1" + "0" * 5000]
    assert classify(read(pieces[:2], [(0, 1.0)]), following(pieces, 1)) == "other"
