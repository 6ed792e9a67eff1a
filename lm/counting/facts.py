"""The documents that state facts: what an item is, and how a number is written in digits."""

from __future__ import annotations

from random import Random

from lm.counting.vocabulary import (
    BY_NAME,
    NAMES,
    ROMAN_NUMERALS,
    TASKS,
    TENS_WORDS,
)
from lm.counting.writing import LARGEST, Asked, Document, Speller, draw_task, fillers, inline

NOUNS = {
    "days": " day",
    "day prefixes": " day",
    "months": " month",
    "month prefixes": " month",
    "letters": " letter",
    "Roman numerals": " numeral",
}


def held(rng: Random) -> Document:
    """Anna 12 lake, Ben third, Anna 12: what a name has stays as it is"""
    names = rng.sample(NAMES, rng.randint(2, 3))
    has = {}
    for name in names:
        form = rng.choice(draw_task(rng).forms)
        has[name] = form[rng.choice(list(form))]
    tokens: Document = []
    for position in range(rng.randint(4, 8)):
        name = names[position] if position < len(names) else rng.choice(names)
        asked = position >= len(names)
        tokens += [" " + name, *inline(has[name], asked), *fillers(rng, 0, 3)]
    return tokens


def copy(rng: Random) -> Document:
    """lake 12 old; lake 12 old"""
    tokens = fillers(rng, 4, 10)
    return [*tokens, ";", tokens[0], *map(Asked, tokens[1:])]


def filler(rng: Random) -> Document:
    """lake old third hill"""
    return fillers(rng, 6, 16)


def across(rng: Random) -> Document:
    """March is month 3 / third is number 3 / month 3 is March"""
    spell = Speller(rng)
    if rng.random() < 0.7:
        task = rng.choice((*TASKS[1:], ROMAN_NUMERALS))
        form = rng.choice(task.forms)
        index = rng.choice(list(form))
        noun = NOUNS.get(task.name, " number")
        return [*inline(form[index]), " is", noun, *spell(index, asked=True)]
    name = rng.choice(("days", "months", "letters"))
    form = BY_NAME[name].forms[spell.form()]
    index = rng.choice(list(form))
    return [NOUNS[name], *spell(index), " is", *inline(form[index], asked=True)]


def tens_words(rng: Random) -> Document:
    """forty seven = 47"""
    tens, units = rng.randint(2, 9), rng.randint(1, 9)
    word = BY_NAME["number words"].forms[0][units]
    spell = Speller(rng)
    if rng.random() < 0.5:
        number = spell(10 * tens + units, asked=True)
        return [" " + TENS_WORDS[tens], word, " =", *number]
    number = spell(10 * tens + units)
    return [*number, " =", Asked(" " + TENS_WORDS[tens]), Asked(word)]


def decimal(rng: Random) -> Document:
    """147 ends in 7 / tens of 147 are 14 / 47 + 10 = 57 / 147 - 100 = 47"""
    spell = Speller(rng)
    kind = rng.random()
    if kind < 0.7:
        number = rng.randint(0, LARGEST)
        if kind < 0.55:
            return [*spell(number), " ends", " in", *spell(number % 10, asked=True)]
        return [" tens", " of", *spell(number), " are", *spell(number // 10, asked=True)]
    step = 10 if kind < 0.85 else 100
    less = rng.randint(0, LARGEST - step)
    more = less + step
    if rng.random() < 0.5:
        return [*spell(less), " +", *spell(step), " =", *spell(more, asked=True)]
    return [*spell(more), " -", *spell(step), " =", *spell(less, asked=True)]


def digits(rng: Random) -> Document:
    """147 = 1 4 7 / 4 7 = 47"""
    spell = Speller(rng)
    number = rng.randint(0, LARGEST)
    parts = [int(digit) for digit in str(number)]
    if rng.random() < 0.5:
        return [*spell(number), " =", *spell(*parts, asked=True)]
    return [*spell(*parts), " =", *spell(number, asked=True)]


def recombination(rng: Random) -> Document:
    """47 with 3 = 43 / tens 47 end 13 = 43 / thirteenth with 8 = eighteenth"""
    spell = Speller(rng)
    return _changed_item(rng, spell) if rng.random() < 0.4 else _changed_number(rng, spell)


def _changed_item(rng: Random, spell: Speller) -> Document:
    form = rng.choice(rng.choice(TASKS[1:]).forms)
    index, units = rng.choice(list(form)), rng.randint(0, 9)
    changed = index // 10 * 10 + units
    if changed not in form:
        return recombination(rng)
    answer = inline(form[changed], asked=True)
    return [*inline(form[index]), " with", *spell(units), " =", *answer]


def _changed_number(rng: Random, spell: Speller) -> Document:
    tens, units = rng.randint(0, LARGEST // 10), rng.randint(0, 9)
    other, other_tens = rng.randint(0, 9), rng.randint(0, LARGEST // 10)
    if tens == LARGEST // 10:  # 200 is the only number with its tens
        other, units = 0, 0
    if other_tens == LARGEST // 10:
        other_tens = 0
    answer = spell(10 * tens + units, asked=True)
    first = spell(10 * tens + other)
    if rng.random() < 0.6:
        return [*first, " with", *spell(units), " =", *answer]
    return [" tens", *first, " end", *spell(10 * other_tens + units), " =", *answer]


def same(rng: Random) -> Document:
    """same end 47 127 7 87 / same tens 47 43 49: asked for nothing but what all share"""
    spell = Speller(rng)
    units, tens = rng.randint(0, 9), rng.randint(0, LARGEST // 10 - 1)
    drawn = [rng.randint(0, 19) for _ in range(rng.randint(3, 6))]
    if rng.random() < 0.5:
        what, numbers = " end", [10 * draw + units for draw in drawn]
    else:
        what, numbers = " tens", [10 * tens + draw % 10 for draw in drawn]
    tokens = [" same", what, *spell(numbers[0])]
    for number in numbers[1:]:
        tokens += spell(number, asked=True)
    return tokens


def by_ten(rng: Random) -> Document:
    """by ten 47, 57, 67"""
    spell = Speller(rng)
    length = rng.randint(3, 6)
    start = rng.randint(0, LARGEST - 10 * (length - 1))
    tokens = [" by", " ten", *spell(start)]
    for step in range(1, length):
        tokens += [",", *spell(start + 10 * step, asked=True)]
    return tokens
