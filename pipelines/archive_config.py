"""How an archive of pictures is restored."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveConfig:
    """Limits and choices of a batch restoration.

    Attributes:
        num_actors: Ray Data actors, each of which holds the model once.
        threads_per_actor: CPUs that an actor asks for, and the threads that it computes with.
        seed: With a picture's name it fixes the picture's noise.
        quality: Quality of restored JPEG and WebP pictures, 1 to 100.
        max_members: Members of an archive above which it is refused.
        max_member_bytes: Unpacked size above which a member is quarantined.
        max_pixels: Pixels above which a picture is quarantined; a picture is restored whole, and memory grows with it.
        max_report_images: Pictures that the report shows; the manifest lists all.
    """

    num_actors: int = 2
    threads_per_actor: int = 1
    seed: int = 0
    quality: int = 95
    max_members: int = 1_000_000
    max_member_bytes: int = 512_000_000
    max_pixels: int = 12_000_000
    max_report_images: int = 100
