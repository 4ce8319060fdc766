"""One run, described whole: the dataclasses that a YAML file is read into."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pipelines.archive_config import ArchiveConfig
from pipelines.config import PreprocessConfig
from rddm.config import ModelConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterConfig:
    """The private Ray that a verb starts when no cluster is named by `RAY_ADDRESS`.

    Attributes:
        num_cpus: Logical CPUs of the private Ray; `None` takes what the machine has, and at least the two that a
            training with two workers needs.
        object_store_bytes: Size of the private Ray's object store.
        log_to_driver: Whether lines printed by workers appear on the terminal.
    """

    num_cpus: int | None = None
    object_store_bytes: int = 500_000_000
    log_to_driver: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectionConfig:
    """How the objective is found when `model.objective` is `auto`.

    Attributes:
        method: `aosa`, the paper's learned weight between residual and noise (section 3.4), or `trial`: short trainings
            of each candidate, compared on the validation pairs, with successive halving.
        learning_rate: Of AOSA: Adam's rate for the network and for the learned weight, which moves by about this much
            a step.
        threshold: Of AOSA: distance from 0.5 at which the weight decides.
        max_steps: Of AOSA: steps after which an undecided search is an error.
        num_seeds: Of AOSA: searches with different seeds; what most of them choose is taken.
        candidates: Of the trial: names in `OBJECTIVES`.
        budget_steps: Of the trial: updates in all, over all candidates and rounds.
    """

    method: Literal["aosa", "trial"] = "aosa"
    learning_rate: float = 8e-5
    threshold: float = 0.01
    max_steps: int = 2000
    num_seeds: int = 1
    candidates: tuple[str, ...] = ("pred_res", "pred_noise", "pred_res_noise")
    budget_steps: int = 900


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """A data-parallel training.

    Attributes:
        num_workers: Ray Train workers; each holds a copy of the network.
        use_gpu: One GPU and NCCL for each worker; otherwise one CPU and gloo.
        threads_per_worker: Threads that torch uses in a CPU worker.
        steps: Optimiser updates.
        global_batch: Pairs in one update, over all workers; a multiple of `num_workers` times `accumulate`.
        loader_processes: Processes of each worker that read and crop ahead; 0 reads between two updates.
        accumulate: Micro-batches of each worker in one update, one after the other.
        crop_px: Side of the random square crop, in pixels.
        learning_rate: Peak of the schedule.
        warmup_steps: Updates over which the rate rises from 0.
        decay: What the rate does after the warm-up.
        loss: A name in `rddm.losses.LOSSES`.
        optimizer: `adam` (Kingma and Ba 2015) or `radam` (Liu et al. 2020).
        adam_betas: The optimiser's two averages.
        gradient_clip: Largest global gradient norm.
        ema_decay: Decay of the averaged weights that are validated and kept.
        ema_every: Updates between two updates of that average.
        log_every: Updates between two points in the tracker.
        validate_every: Updates between two validations.
        checkpoint_every: Updates between two checkpoints.
        keep_checkpoints: Checkpoints that stay on storage.
        max_failures: Worker-group failures that are survived by starting again from the last checkpoint.
        selection: How the objective is found when `model.objective` is `auto`.
    """

    num_workers: int = 2
    use_gpu: bool = False
    threads_per_worker: int = 1
    steps: int = 1000
    global_batch: int = 8
    loader_processes: int = 0
    accumulate: int = 1
    crop_px: int = 96
    learning_rate: float = 8e-5
    warmup_steps: int = 0
    decay: Literal["constant", "cosine"] = "constant"
    loss: str = "l1"
    optimizer: Literal["adam", "radam"] = "adam"
    adam_betas: tuple[float, float] = (0.9, 0.99)
    gradient_clip: float = 1.0
    ema_decay: float = 0.995
    ema_every: int = 1
    log_every: int = 10
    validate_every: int = 250
    checkpoint_every: int = 250
    keep_checkpoints: int = 2
    max_failures: int = 1
    selection: SelectionConfig = field(default_factory=SelectionConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackingConfig:
    """Where MLflow keeps runs and models.

    Attributes:
        uri: Tracking and registry URI; empty means `MLFLOW_TRACKING_URI`, or SQLite inside the workspace.
        experiment: Experiment's name; empty means the run's name.
        model_name: Registered model that versions are added to; empty means the run's name.
    """

    uri: str = ""
    experiment: str = ""
    model_name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """Scores on photographs that training never saw.

    Attributes:
        split: Split of the data set that is scored.
        num_actors: Ray Data actors that restore and score.
        feature_extractor: A name in `rddm.frechet.FEATURE_EXTRACTORS`; the Fréchet distance carries it.
        patch_px: Side of the patches whose features are compared, in pixels.
    """

    split: str = "test"
    num_actors: int = 2
    feature_extractor: str = "random_conv64"
    patch_px: int = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class PromoteConfig:
    """What a version must show before it becomes the champion.

    Attributes:
        alias: Alias that is moved.
        gates: Names in `jobs.gates.GATES`, applied in order.
        min_psnr_gain_db: Least mean gain over the unrestored input, in dB.
        min_ssim: Least mean SSIM, or `None`.
        champion_margin_db: How far below the champion's mean PSNR a version may lie, in dB.
    """

    alias: str = "champion"
    gates: tuple[str, ...] = ("bundle_loads", "gain_over_input", "minimum_ssim", "not_worse_than_champion")
    min_psnr_gain_db: float = 0.0
    min_ssim: float | None = None
    champion_margin_db: float = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreConfig:
    """A batch restoration.

    Attributes:
        input_uri: A zip archive, or a folder.
        output_uri: A new folder for the restored archive, the manifest and the report.
        model_uri: `models:/NAME@ALIAS`, `models:/NAME/VERSION` or a bundle's folder; empty means the run's champion.
        archive: Limits, actors, seed and quality.
    """

    input_uri: str = ""
    output_uri: str = ""
    model_uri: str = ""
    archive: ArchiveConfig = field(default_factory=ArchiveConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateConfig:
    """Pictures out of noise alone.

    Attributes:
        num_images: How many.
        height_px: Their height.
        width_px: Their width.
        batch: Pictures that are drawn together.
        output_uri: A new folder for them.
        model_uri: `models:/NAME@ALIAS`, `models:/NAME/VERSION` or a bundle's folder; empty means the run's champion.
    """

    num_images: int = 16
    height_px: int = 64
    width_px: int = 64
    batch: int = 16
    output_uri: str = ""
    model_uri: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """A whole run: what goes in, what is trained, what it must reach, where everything is written.

    Attributes:
        name: Short name; also the experiment's and the registered model's unless `tracking` names others.
        workspace: Folder or `s3://` prefix below which everything is written; local paths may be relative.
        seed: The one seed; every draw is a function of it, the step and the sample.
        preset: A name in `rddm.presets.PRESETS`, or nothing; it fixes the model, its training, and how data are made.
    """

    name: str
    workspace: str
    data: PreprocessConfig
    preset: str = ""
    seed: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    promote: PromoteConfig = field(default_factory=PromoteConfig)
    restore: RestoreConfig = field(default_factory=RestoreConfig)
    generate: GenerateConfig = field(default_factory=GenerateConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    @property
    def model_name(self) -> str:
        """Name of the registered model."""
        return self.tracking.model_name or self.name

    @property
    def experiment(self) -> str:
        """Name of the MLflow experiment."""
        return self.tracking.experiment or self.name
