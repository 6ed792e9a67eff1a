"""Models and activations whose number features are known, because they were put there.

Nothing is trained. Use them to see what a tool reports when the truth is known: a method that does
not find these features would not find real ones either, and one that finds them where there are
none would invent them.

`plant` writes a checkpoint, and `planted_activations` makes what its MLP0 would put out.
`smooth_activations` and `untrained_activations` are without any number feature.
"""

from lm.planted.activations import planted_activations
from lm.planted.checkpoint import plant
from lm.planted.smooth import smooth_activations
from lm.planted.truth import REFERENCE, PlantedDials, PlantedTruth, load_truth
from lm.planted.untrained import untrained_activations

__all__ = [
    "REFERENCE",
    "PlantedDials",
    "PlantedTruth",
    "load_truth",
    "plant",
    "planted_activations",
    "smooth_activations",
    "untrained_activations",
]
