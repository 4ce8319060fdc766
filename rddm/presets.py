"""The paper's settings by name: a preset is whole, and says what was published with it (paper, section 5 and appendix).

A preset is frozen, and a run that names one cannot change what it fixes: figures that carry a preset's name were made
with its settings. To depart from it, copy it (`rddm preset show NAME`) and leave the name out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from rddm.config import ModelConfig, NetworkConfig, SamplingConfig, ScheduleConfig
from rddm.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a preset is trained.

    Attributes:
        loss: A name in `rddm.losses.LOSSES`.
        optimizer: `adam` or `radam`.
        learning_rate: Constant.
        adam_betas: The optimiser's two averages.
        global_batch: Samples of one update, over all micro-batches.
        accumulate: Micro-batches of one update.
        steps: Updates.
        ema_decay: Decay of the averaged weights.
        ema_every: Updates between two updates of the average.
        gradient_clip: Largest global gradient norm.
        size_px: Side of the squares that pictures are resized to, aspect ratio lost.
    """

    loss: str
    optimizer: Literal["adam", "radam"]
    learning_rate: float
    global_batch: int
    steps: int
    size_px: int
    adam_betas: tuple[float, float] = (0.9, 0.99)
    accumulate: int = 2
    ema_decay: float = 0.995
    ema_every: int = 10
    gradient_clip: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A setting of the paper.

    Attributes:
        title: What it is, and on what data.
        model: The model.
        recipe: Its training.
        published: Figures of the paper, by name; the protocol is in the name.
    """

    title: str
    model: ModelConfig
    recipe: Recipe
    published: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "title": self.title,
            "model": self.model.to_dict(),
            "recipe": asdict(self.recipe),
            "published": dict(self.published),
        }


PRESETS: Registry[Preset] = Registry("preset")

_RESTORING = Recipe(loss="l1", optimizer="adam", learning_rate=8e-5, global_batch=2, steps=80_000, size_px=256)
_TWO_NETWORKS = {"arrangement": "two"}


def _restoration(
    *, noise_variance: float, steps: int, objective: str, mask: bool = False, equalise: bool = False
) -> ModelConfig:
    """The official restoration code's model: two curves on t = 1..T, the clamp of the residual, the index as time."""
    return ModelConfig(
        task="masked_restoration" if mask else "restoration",
        objective=objective,
        network=NetworkConfig(
            name="official_unet",
            options=_TWO_NETWORKS if objective == "pred_res_noise" else {},
            time_signal="official_index",
        ),
        schedule=ScheduleConfig(terminal_noise_variance=noise_variance),
        sampling=SamplingConfig(num_inference_steps=steps, clipping="residual"),
        equalise_input=equalise,
    )


def _synthesis(task: str, objective: str = "pred_res_noise") -> ModelConfig:
    """The official generation code's model: curves from 0, the residual's level as time, the noisy image alone."""
    return ModelConfig(
        task=task,
        inputs=("x_t",),
        objective=objective,
        network=NetworkConfig(
            name="official_unet",
            options=_TWO_NETWORKS if objective == "pred_res_noise" else {},
            time_signal="official_alphas",
        ),
        schedule=ScheduleConfig(alphas="decreasing_zero_based", betas2="increasing_zero_based"),
        sampling=SamplingConfig(num_inference_steps=10, clipping="residual"),
    )


def _synthesising(global_batch: int) -> Recipe:
    return Recipe(
        loss="l2", optimizer="radam", learning_rate=2e-4, global_batch=global_batch, steps=100_000, size_px=64
    )


PRESETS.register("istd_shadow")(
    Preset(
        title="Shadow removal on ISTD, with the shadow's mask",
        model=_restoration(noise_variance=0.01, steps=5, objective="pred_res_noise", mask=True),
        recipe=_RESTORING,
        published={
            "psnr_db": 30.91,
            "ssim": 0.962,
            "mae_lab": 4.67,
            "shadow_psnr_db": 36.74,
            "shadow_ssim": 0.988,
            "shadow_mae_lab": 6.67,
            "non_shadow_psnr_db": 33.18,
            "non_shadow_ssim": 0.979,
            "non_shadow_mae_lab": 4.27,
        },
    )
)
PRESETS.register("lol_low_light")(
    Preset(
        title="Low light on LOL, the input's histogram equalised",
        model=_restoration(noise_variance=1.0, steps=2, objective="pred_res", equalise=True),
        recipe=_RESTORING,
        published={"psnr_y_db": 25.39, "ssim_y": 0.937, "lpips": 0.116},
    )
)
PRESETS.register("raindrop")(
    Preset(
        title="Drops on glass, RainDrop test-a",
        model=_restoration(noise_variance=1.0, steps=5, objective="pred_res_noise"),
        recipe=replace(_RESTORING, steps=120_000),
        published={"psnr_y_db": 32.51, "ssim_y": 0.956},
    )
)
PRESETS.register("celeba_generation")(
    Preset(
        title="Faces out of noise, CelebA 64, residual and noise",
        model=_synthesis("generation"),
        recipe=_synthesising(256),
        published={"fid_10_steps": 23.25},
    )
)
PRESETS.register("celeba_generation_noise")(
    Preset(
        title="Faces out of noise, CelebA 64, noise alone",
        model=_synthesis("generation", "pred_noise"),
        recipe=_synthesising(256),
    )
)
PRESETS.register("inpainting")(
    Preset(title="Faces with a hole, 64", model=_synthesis("inpainting"), recipe=_synthesising(128))
)
PRESETS.register("translation")(
    Preset(title="One kind of face into another, 64", model=_synthesis("translation"), recipe=_synthesising(128))
)
