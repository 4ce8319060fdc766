"""The reference pages of the layouts, made of the layouts themselves: `python -m pipelines.sources.layout_pages`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path

from pipelines.config import SourceConfig
from pipelines.containers import SourceFile
from pipelines.sources.layouts import FILLED, LAYOUTS, Layout, filled
from pipelines.sources.pairing import SourcePair, couple, join

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference" / "layouts"
_MADE = "*Made by `python -m pipelines.sources.layout_pages` of the tables in `pipelines/sources/`.*"
_INDEX = """# Layouts

A layout says how a data set names its files, so that a config names the layout and the root, and nothing else:

```yaml
data:
  source:
    layout: lol
    root: /data/LOLdataset   # a folder, an s3:// prefix, or a zip or tar archive
```

`rddm preprocess --config my.yaml --dry-run` counts what it finds. Whatever a layout says, `data.source` can say
otherwise; `split_names` adds to the layout's. A set that is not here needs two templates and no layout.
"""
_TEMPLATES = """## Templates

| part | matches |
|---|---|
| `{name}` | one or more characters other than `/`; the shortest that lets the whole template fit |
| `{name:REGEX}` | what a regular expression says: `{id:[0-9]+}`, or `{id:.+}`, which spans folders |
| `{split}` | `train`, `val`, `test`, or a name that `split_names` translates into one of them, or into `skip` |
| `{ext}` | the extension of a picture, in any case |
| `{*}` | any characters other than `/`, perhaps none; `{*:REGEX}` restricts them |
| `{**/}` | any number of folders, perhaps none |

Everything else stands for itself. A field that occurs twice holds the same text. Pictures pair where their splits and
all other fields but `{ext}` agree. The clean side, and the masks, may have fewer fields than the degraded side: then
several degraded pictures share one clean picture. What varies but tells nothing apart is `{*}`. A template without
`{split}` is all training; without a `val` split, `val_share` of the training pairs becomes it, pictures that share a
clean picture or a `{scene}` staying together. A file that fits two templates belongs to the one with more text of its
own. Hidden files, `__MACOSX` and `@eaDir` are not looked at.
"""
_LIST = """The list, where `camera` becomes a tag:

```csv
degraded,clean,split,key,camera
a/1.png,b/eins.png,train,one,Canon
a/2.png,b/zwei.png,test,two,Nikon
```"""
_KINDS = {
    "paired_folders": "pairs by name",
    "unpaired_folders": "unpaired",
    "clean_folder": "clean pictures, degraded here",
    "pair_list": "a list",
}


def pages() -> dict[str, str]:
    """Every page by its file name: one for each layout, and the index."""
    return {"index.md": _index(), **{f"{name}.md": _page(name, layout) for name, layout in LAYOUTS.items()}}


def write(folder: Path = FOLDER) -> None:
    """Write all pages, and remove those of layouts that are no more."""
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for path in folder.glob("*.md"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


def tree(files: Iterable[str]) -> str:
    """File names as an indented tree."""
    lines: list[str] = []
    above: list[str] = []
    for file in sorted(files):
        *folders, name = file.split("/")
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(above, folders, strict=False)))
        lines += [f"{'  ' * depth}{folders[depth]}/" for depth in range(shared, len(folders))]
        lines.append(f"{'  ' * len(folders)}{name}")
        above = folders
    return "\n".join(lines)


def example_pairs(layout: Layout) -> tuple[SourcePair, ...]:
    """What a layout makes of its own examples; nothing of a list, which names its files itself."""
    source = filled(SourceConfig(val_share=0.0), layout)
    files = [SourceFile(file) for names in layout.examples.values() for file in names]
    if not source.clean:
        return ()
    return (couple if source.unpaired else join)(files, source).pairs


def _index() -> str:
    rows = [
        f"| [{name}]({name}.md) | {layout.title} | {_KINDS[layout.kind]}{', with masks' if layout.mask else ''} |"
        for name, layout in LAYOUTS.items()
    ]
    table = "\n".join(["| layout | what | how |", "|---|---|---|", *rows])
    return "\n".join([_INDEX, table, "", _TEMPLATES, _MADE, ""])


def _page(name: str, layout: Layout) -> str:
    parts = [
        f"# {layout.title}",
        layout.about,
        _use(name, layout),
        f"Files below the root:\n\n```text\n{tree(file for files in layout.examples.values() for file in files)}\n```",
        _LIST if layout.kind == "pair_list" else _outcome(layout),
        "\n".join(f"- {note}" for note in layout.notes),
    ]
    if layout.kind != "pair_list":
        parts.append(f"The layout written out, to be changed:\n\n{_yaml(_written_out(layout))}")
    parts.append(f"[All layouts, and how templates are read](index.md). {_MADE}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _use(name: str, layout: Layout) -> str:
    lines = ["data:", "  source:", f"    layout: {name}", "    root: /data/set   # a folder, s3://..., a zip or tar"]
    if layout.kind == "pair_list":
        lines.append("    pairs_uri: /data/pairs.csv")
    if layout.kind == "clean_folder":
        lines.append("  degrade: {name: low_light}")
    if layout.task != "restoration":
        lines.append(f"model: {{task: {layout.task}}}")
    return _yaml(lines)


def _written_out(layout: Layout) -> list[str]:
    default = SourceConfig()
    changed = {name: getattr(layout, name) for name in FILLED if getattr(layout, name) != getattr(default, name)}
    lines = [f"    {name}: {json.dumps(value)}" for name, value in changed.items()]
    if layout.split_names:
        lines.append(f"    split_names: {json.dumps(dict(layout.split_names))}")
    return ["data:", "  source:", *lines]


def _outcome(layout: Layout) -> str:
    """What becomes of the examples, as a table."""
    pairs = example_pairs(layout)
    sides = [side for side in ("degraded", "clean", "mask") if getattr(pairs[0], side)]
    rows = [f"| `{pair.key}` | {' | '.join(_cell(pair, side) for side in sides)} |" for pair in pairs]
    return "\n".join(
        ["What becomes of them:", "", f"| key | {' | '.join(sides)} |", "|---|" + "---|" * len(sides), *rows]
    )


def _cell(pair: SourcePair, side: str) -> str:
    file: SourceFile = getattr(pair, side)
    return f"`{file.path}`" + ("" if file.part == "whole" else f", the {file.part} half")


def _yaml(lines: Iterable[str]) -> str:
    return "\n".join(["```yaml", *lines, "```"])


if __name__ == "__main__":
    write()
