"""A small trained competition with hostile names that would break out of missing quotes."""

import csv
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kitbox.cli.app import app
from kitbox.workspace import Workspace
from tests.photographs import competition_on_disk, picture, write_plugin

RUN = ("--device", "cpu", "--precision", "32", "--workers", "0")
# A file name may have all of this except the slash of a closing tag.
IMAGE = '<b>émoji 🐋, "&amp;.png'
LABEL = "</script><script>document.title='broken'</script>"


def kitbox(place: Workspace, *arguments: str) -> Result:
    """Run a command in a workspace; it must succeed."""
    result = CliRunner().invoke(app, ["--workspace", str(place.root), *arguments])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result


def train_sample(root: Path, preset_name: str = "humpback", **settings: Any) -> Workspace:
    """Return a workspace of eleven individuals and two plugins.

    Individual 8 has a hostile label; 9 and 10 are one individual under two labels.
    """
    place, competition = competition_on_disk(
        root, individuals=8, each=5, tests=6, preset_name=preset_name, **settings
    )
    data = competition.images.root
    with (data / "train.csv").open("a", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        for number in range(5):
            name = IMAGE if not number else f"8_{number}.png"
            picture(data / "train" / name, 8, number)
            rows.writerow([name, LABEL])
        for number in range(10):
            size = (90, 60) if number % 2 else (96, 64)
            picture(data / "train" / f"9_{number}.png", 9, number // 2, size)
            rows.writerow([f"9_{number}.png", f"w_{9 + number % 2}"])
    boxes = ["image,x0,y0,x1,y1", *(f"{n}_0.png,10,10,80,50" for n in range(8))]
    (data / "boxes.csv").write_text("\n".join(boxes) + "\n")
    text = place.settings.read_text().replace("# boxes =", "boxes =")
    # these images of one individual are near-duplicates, and would all be on one side
    place.settings.write_text(text.replace("seed = 0", "seed = 0\nnear_duplicate_bits = 0"))
    write_plugin(place, "plain", epochs=1, crop=True)
    write_plugin(place, "large", epochs=0, image_size=48)
    with pytest.MonkeyPatch.context() as outside:
        outside.setenv("KITBOX_WORKSPACE", os.environ.get("KITBOX_WORKSPACE", ""))
        kitbox(place, "train", "plain", "large", *RUN)
    return place
