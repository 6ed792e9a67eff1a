"""What a label says, in words."""

import re

FORMS = {
    "space": "with a leading space",
    "bare": "without a leading space",
    "lower": "in lower case",
    "capital": "with a capital",
    "upper": "in upper case",
}


def residue_of(label: str) -> tuple[int, int] | None:
    """Modulus and residue of `mod<m>/<r>`; None for every other label."""
    found = re.fullmatch(r"mod(\d+)/(\d+)", label)
    return (int(found[1]), int(found[2])) if found else None


def meaning(label: str, sign: int = 0) -> str:
    """What a latent of this label does.

    Args:
        label: as `features.discovery.discover` gives it.
        sign: 1 for latents that rise along an order, -1 for those that fall, 0 for both.
    """
    kind, _, what = label.partition("/")
    follows = {1: "rises", -1: "falls", 0: "rises or falls"}[sign]
    name = what.replace("_", " ")
    if residue := residue_of(label):
        return f"fires on {_class_of(*residue)}"
    if kind == "tens":
        return f"fires on numbers whose tens digit is {what}"
    if kind == "hundreds":
        return f"fires on numbers from {int(what) * 100} to {int(what) * 100 + 99}"
    if kind == "interval":
        return f"fires on numbers from {what.replace('-', ' to ')}"
    if kind == "magnitude":
        return f"{follows} with the logarithm of the number"
    if kind == "ordinal":
        return f"{follows} with the index {'in every task' if what == 'shared' else f'of {name}'}"
    if kind == "task":
        of = "words of all tasks, not on numbers" if what == "words" else name.replace("+", " and ")
        return f"fires on {of}"
    if kind == "form":
        return f"fires on tokens {' and '.join(FORMS.get(part, part) for part in what.split('-'))}"
    return "no hypothesis holds for it"


def _class_of(modulus: int, residue: int) -> str:
    if modulus == 2:
        return f"{('even', 'odd')[residue]} numbers"
    if modulus == 10:
        return f"numbers whose last digit is {residue}"
    return f"numbers that leave {residue} when divided by {modulus}"
