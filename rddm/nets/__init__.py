"""Networks: `(x (batch, in, height, width), t / T (batch,)) -> (batch, out, height, width)`, found by name."""

from rddm.nets.base import NETWORKS, Network
from rddm.nets.tiny import TinyNet
from rddm.nets.unet import UNet

__all__ = ["NETWORKS", "Network", "TinyNet", "UNet"]
