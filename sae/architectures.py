"""The architectures and what they become, by name."""

from sae.architecture import Architecture
from sae.autoencoder import SAE
from sae.batchtopk import BatchTopK
from sae.gated import Gated, GatedSAE
from sae.jumprelu import JumpReLU, JumpReLUSAE
from sae.relu import ReLU, ReLUSAE, WeightedReLU
from sae.topk import TopK, TopKSAE

ARCHITECTURES: dict[str, type[Architecture]] = {
    kind.name: kind for kind in (ReLU, WeightedReLU, TopK, BatchTopK, JumpReLU, Gated)
}
INFERENCE: dict[str, type[SAE]] = {
    kind.__name__: kind for kind in (ReLUSAE, TopKSAE, JumpReLUSAE, GatedSAE)
}
