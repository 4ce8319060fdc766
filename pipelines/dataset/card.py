"""What a data set says of itself to people: the Markdown card that stands in it as `README.md`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from pipelines import schema
from pipelines.dataset.text import one_line, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipelines.manifest import DatasetManifest

FIGURES = {
    "psnr_db": "PSNR of degraded against clean (dB)",
    "ssim": "SSIM of degraded against clean",
    "degraded_brightness": "brightness of degraded, 0 to 1",
    "clean_brightness": "brightness of clean, 0 to 1",
    "height_px": "height (px)",
    "width_px": "width (px)",
}
"""What is said of each split's pictures, and how it is called."""
_ENCODINGS = {
    "webp": "lossless WebP; 16-bit pictures and masks are PNG",
    "png": "PNG",
    "zstd": "rows of pixels, each less the one above it, each picture a Zstandard frame",
    "raw": "raw rows of pixels without a header; 16-bit ones are little-endian",
}
_MARKUP = re.compile(r"([\\`*_\[\]<>|#&~!$])")

_READING = """\
With pyarrow:

```python
import pyarrow.dataset
pairs = pyarrow.dataset.dataset("data", format="parquet")
train = pairs.to_table(filter=pyarrow.dataset.field("split") == "train", columns=["key", "degraded", "clean"])
```

With Polars:

```python
import polars
pairs = polars.scan_parquet("data/**/*.parquet")
train = pairs.filter(polars.col("split") == "train").select("key", "degraded", "clean").collect()
```

With DuckDB:

```python
import duckdb
pairs = duckdb.read_parquet("data/**/*.parquet")
train = pairs.filter("split = 'train'").select("key, degraded, clean").fetchall()
```
"""
_DECODING = {
    "raw": """\
A picture is then `numpy.frombuffer(row["clean"], "u1").reshape(row["height_px"], row["width_px"], 3)`, with `"<u2"`
where `bit_depth` is 16; the degraded one has its own `degraded_height_px` and `degraded_width_px`.
""",
    "zstd": """\
A picture is then a Zstandard frame of `height_px * width_px * 3` bytes, twice as many where `bit_depth` is 16, which
`pyarrow.decompress(row["clean"], size, codec="zstd")` takes apart. In it are rows of pixels, each less the one above:
`numpy.cumsum(rows, axis=0, dtype=rows.dtype)` makes the picture of them.
""",
    "png": """\
A picture is then `PIL.Image.open(io.BytesIO(row["clean"]))`; where `bit_depth` is 16, read it with
`cv2.imdecode(numpy.frombuffer(row["clean"], "u1"), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH)`, because Pillow keeps
8 of the 16 bits.
""",
}


def render(manifest: DatasetManifest) -> str:
    """The card.

    Args:
        manifest: Of the data set. Its description is the author's own Markdown; whatever else of its config is shown
            stands escaped or in a code block.

    Returns:
        Markdown; the same for the same manifest.
    """
    sections = [
        f"# {escaped(manifest.title) or 'Data set'}",
        manifest.config["card"]["description"].strip(),
        _origin(manifest),
        f"## Contents\n\n{_contents(manifest)}",
        f"## Statistics\n\n{_statistics(manifest)}\n\n![Distributions by split](statistics.png)",
        f"## Reading it\n\n{_reading(manifest)}",
        f"## How it was made\n\n{_making(manifest)}",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def figures_text(figures: Mapping[str, float], name: str) -> str:
    """One figure of a split, such as `8.51 (median 8.05, 4.95 to 15.25)`; a dash where no picture has it.

    Args:
        figures: As `statistics.summarise` gives them for a split.
        name: Such as `psnr_db`, or `height_px`, which has a range only.
    """
    if f"{name}_min" not in figures:
        return "-"
    low, high = figures[f"{name}_min"], figures[f"{name}_max"]
    span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    if f"{name}_mean" not in figures:
        return span
    return f"{figures[f'{name}_mean']:g} (median {figures[f'{name}_median']:g}, {span})"


def escaped(text: str) -> str:
    """Text on one line, in which nothing is Markdown or HTML."""
    return _MARKUP.sub(r"\\\1", one_line(text))


def _origin(manifest: DatasetManifest) -> str:
    card = manifest.config["card"]
    lines = [
        f"* Licence: {_linked(card['license']) or 'not stated; ask where the pictures come from'}",
        f"* Source: {_linked(card['url'])}" if card["url"] else "",
        f"* Fingerprint: `{manifest.fingerprint}`",
    ]
    language = "bibtex" if card["citation"].lstrip().startswith("@") else "text"
    citation = f"\n\nPlease cite:\n\n{_block(card['citation'], language)}" if card["citation"].strip() else ""
    return "\n".join(line for line in lines if line) + citation


def _contents(manifest: DatasetManifest) -> str:
    rows = []
    for split in schema.SPLITS:
        shards = [shard for shard in manifest.shards if shard.split == split]
        size = sum(shard.num_bytes for shard in shards)
        counts = [manifest.pictures.get(split, 0), manifest.rows.get(split, 0), len(shards)]
        rows.append([split, *(f"{count:,}" for count in counts), size_text(size)])
    encoding = manifest.config["encoding"]
    return "\n\n".join(
        [
            _table(["split", "picture pairs", "rows", "files", "size"], rows),
            f"* Encoding: `{encoding}` ({_ENCODINGS.get(encoding, 'unknown')})\n"
            f"* Masks: {'one in every row' if manifest.has_masks else 'none, or not in every row'}\n"
            f"* Inputs set aside: {manifest.num_quarantined:,}; their names and reasons are in `quarantine.jsonl` and "
            "`quarantine.parquet`\n"
            "* Metadata for machines: `manifest.json`, `croissant.json`; where each row lies: `index.parquet`",
        ]
    )


def _statistics(manifest: DatasetManifest) -> str:
    """Means over pictures, not patches."""
    splits = [split for split in schema.SPLITS if split in manifest.statistics]
    rows = [
        [text, *(figures_text(manifest.statistics[split], name) for split in splits)] for name, text in FIGURES.items()
    ]
    return "Mean (median, range) over the picture pairs; each pair's own figures are in `statistics.parquet`.\n\n" + (
        _table(["", *splits], rows)
    )


def _reading(manifest: DatasetManifest) -> str:
    return (
        f"From the folder that holds this card.\n\n{_READING}\n"
        f"{_DECODING.get(manifest.config['encoding'], _DECODING['png'])}\n"
        "To train on it, give a run the folder that holds this one (its name is `dataset`) as `workspace`:\n\n"
        "```bash\nrddm train --config FILE --set workspace=FOLDER\n```"
    )


def _making(manifest: DatasetManifest) -> str:
    config = yaml.safe_dump({"data": manifest.config}, sort_keys=False, allow_unicode=True, width=110)
    packages = ", ".join(f"{escaped(name)} {escaped(version)}" for name, version in sorted(manifest.versions.items()))
    return (
        f"By `rddm preprocess`, with tables of version {manifest.schema_version}, from this config:\n\n"
        f"{_block(config, 'yaml')}\n\nPackages: {packages}."
    )


def _linked(text: str) -> str:
    """An address becomes a link; other text stands as it is."""
    if re.fullmatch(r"https?://[^\s<>]+", text.strip()):
        return f"<{text.strip()}>"
    return escaped(text)


def _block(text: str, language: str) -> str:
    """A code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.strip()}\n{fence}"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)
