"""The page of a report in a browser: an empty console, all sections, nothing that overlaps."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from nadam_suite.experiment.report import page, read_runs
from tests.browser import NEEDS_BROWSER, browse
from tests.experiment.fake_runs import make

pytestmark = [pytest.mark.slow, pytest.mark.once, NEEDS_BROWSER]

# Shows the page in a frame of some width, and asks it for what cannot be seen in its text.
FRAME = """<!DOCTYPE html><meta charset="utf-8"><title>frame</title>
<iframe id="frame" style="border:0;width:WIDTHpx;height:900px" srcdoc="PAGE"></iframe>
<pre id="found"></pre>
<script>
frame.onload = () => {
  const page = frame.contentDocument, clashes = [];
  for (const drawing of page.querySelectorAll("figure > svg")) {
    const texts = [...drawing.querySelectorAll("text")].map(t => [t, t.getBoundingClientRect()]);
    texts.forEach(([one, a], index) => {
      for (const [other, b] of texts.slice(index + 1))
        if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)
          clashes.push(one.textContent + " | " + other.textContent);
    });
  }
  const figures = [...page.querySelectorAll("figure")].map(f => f.getBoundingClientRect());
  const crossed = figures.filter((a, index) => figures.slice(index + 1).some(b =>
    a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom));
  const style = page.defaultView.getComputedStyle(page.body);
  found.textContent = JSON.stringify({
    width: page.documentElement.scrollWidth, clashes, crossed: crossed.length,
    figures: figures.length, widest: Math.max(...figures.map(f => f.width)),
    sections: [...page.querySelectorAll("section")].map(s => s.id),
    ink: style.color, paper: style.backgroundColor});
};
</script>"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page of two runs with all there is, in a file."""
    folder = tmp_path_factory.mktemp("page")
    half = {"scale": True, "precision": "mixed_float16"}
    runs = [make(folder / f"seed-{seed}", seed=seed, **half) for seed in (0, 1)]
    path = folder / "report.html"
    path.write_text(page(read_runs(runs)), "utf-8")
    return path


def framed(written, width, folder, *options):
    """What the page looks like in a frame of some width."""
    text = FRAME.replace("WIDTH", str(width)).replace(
        "PAGE", html.escape(written.read_text("utf-8"))
    )
    path = Path(folder, "frame.html")
    path.write_text(text, "utf-8")
    document, console = browse(path.as_uri(), Path(folder, "profile"), "--dump-dom", *options)
    found = re.search(r'<pre id="found">(.+?)</pre>', document, re.DOTALL)
    assert found, document[-2000:]
    assert console == []
    return json.loads(html.unescape(found.group(1)))


def test_the_page_opens_without_a_complaint(written, tmp_path):
    """All sections are there and the console is empty, which is not for want of looking."""
    document, console = browse(written.as_uri(), tmp_path / "profile", "--dump-dom")
    assert console == []
    assert re.findall(r'<section id="([^"]+)"', document) == re.findall(
        r'<section id="([^"]+)"', written.read_text("utf-8")
    )
    bad = tmp_path / "bad.html"
    bad.write_text(written.read_text("utf-8") + "<script>missing()</script>", "utf-8")
    _, console = browse(bad.as_uri(), tmp_path / "profile", "--dump-dom")
    assert "missing is not defined" in "".join(console)


@pytest.mark.parametrize("width", [400, 1100])
def test_nothing_overlaps_or_sticks_out(written, tmp_path, width):
    """On a telephone and on a screen."""
    found = framed(written, width, tmp_path)
    assert found["width"] <= width
    assert found["clashes"] == []
    assert found["crossed"] == 0
    assert found["figures"] >= 15
    assert found["widest"] <= width
    assert "curves" in found["sections"]


def test_it_is_dark_where_the_reader_wants_that(written, tmp_path):
    """Light letters on a dark page, and the other way round."""
    light = framed(written, 800, tmp_path)
    dark = framed(written, 800, tmp_path, "--blink-settings=preferredColorScheme=0")
    assert (light["ink"], light["paper"]) == ("rgb(34, 34, 34)", "rgb(255, 255, 255)")
    assert (dark["ink"], dark["paper"]) == ("rgb(232, 232, 234)", "rgb(22, 23, 26)")


def test_it_can_be_seen(written, tmp_path):
    """A picture of it has the colours of the curves."""
    from matplotlib.image import imread

    path = tmp_path / "shot.png"
    browse(
        written.as_uri(), tmp_path / "profile", f"--screenshot={path}", "--window-size=1000,3000"
    )
    pixels = (imread(path)[..., :3] * 255).round().astype(int).reshape(-1, 3)
    for colour in ((0x1F, 0x6F, 0xB4), (0xC2, 0x55, 0x0A)):
        assert (pixels == colour).all(axis=1).sum() > 100
