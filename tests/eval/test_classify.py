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
