"""Networks: `(x (batch, in, height, width), t / T (batch,)) -> (batch, out, height, width)`, found by name."""

from rddm.nets.base import NETWORKS, Network
from rddm.nets.diffusers_unet import DiffusersUNet2D
from rddm.nets.folding import fold_weight_standardisation, for_inference
from rddm.nets.official import ARRANGEMENTS
from rddm.nets.tiny import TinyNet
from rddm.nets.unet import UNet

__all__ = [
    "ARRANGEMENTS",
    "NETWORKS",
    "DiffusersUNet2D",
    "Network",
    "TinyNet",
    "UNet",
    "fold_weight_standardisation",
    "for_inference",
]
