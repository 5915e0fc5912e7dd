from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from siod.errors import UserError
from siod.reports.analysis.gallery import draw_gallery
from siod.reports.build import build_report
from siod.reports.figures.drawing import PRINTED, FigurePrinter, arm_colours
from siod.reports.figures.study import draw_study, title_of
from siod.reports.page import render_page
from siod.reports.sentences.caveats import caveats
from siod.reports.tables.table import tabulate
from siod.tracking.records import ArmRecord, FoundBox, StudyRecord

NASTY = "<script>alert('x')</script> & \"q\""
VOID = {"meta", "link", "br", "img", "input", "hr"}
Change = Callable[..., StudyRecord]


class Outline(HTMLParser):
    """What a page is made of: tags must close, attributes and text are kept."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page(study: StudyRecord) -> str:
    return render_page(study, tabulate(study), caveats(study), draw_study(study))


def without_epochs(study: StudyRecord) -> StudyRecord:
    """Nothing to draw over the epochs, which takes the longest."""
    return replace(study, trials=tuple(replace(one, history={}) for one in study.trials))


@pytest.fixture(scope="module")
def whole(study: StudyRecord) -> str:
    """The page of the finished study."""
    return page(study)


def test_a_page_is_well_formed_and_needs_nothing_else(whole: str) -> None:
    outline = Outline(whole)
    assert outline.open == []
    assert not {"link", "iframe", "object"} & set(outline.tags)
    references = [value for _, name, value in outline.attributes if name in {"src", "href", "xlink:href", "srcset"}]
    assert references
    mlflow = "http://127.0.0.1:5000/#/experiments/7"
    loaded = [value for value in references if not value.startswith(mlflow)]
    assert len(references) - len(loaded) == 16  # links to follow, one for each trial and one for all
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in loaded)
    assert re.findall(r"url\((?!#)|@import", whole) == []


def test_a_page_says_which_comparisons_were_named_beforehand(study: StudyRecord) -> None:
    text = Outline(page(without_epochs(replace(study, primary=(("dminer", "splg"), ("dminer", "base")))))).text
    assert "only the 2 comparisons named beforehand (SIOD (DMiner) over SIOD + SPLG, SIOD (DMiner) over" in text
    assert "the other 3 are described and not tested, without p or stars" in text
    assert "SIOD (DMiner) is ahead of SIOD + SPLG by" in text


def test_a_page_says_on_what_and_in_what_precision_a_study_was_trained(study: StudyRecord) -> None:
    cpu, gpu = {"device": "cpu", "precision": "bf16"}, {"device": "NVIDIA H100", "precision": "bf16"}
    moved = replace(study, environment={**study.environment, "arithmetic": [cpu, gpu | {"workers": 2}, gpu]})
    assert "Linux, 2 CPUs, trained in bf16 on cpu, then bf16 on NVIDIA H100" in Outline(page(moved)).text


def test_a_page_has_everything_a_reader_asks_for(study: StudyRecord, whole: str) -> None:
    text = Outline(whole).text
    for words in (
        study.question,
        "SIOD (DMiner)",
        "Over the score threshold",
        "SIOD (DMiner) is ahead of SIOD (base) by 9.3",
        "On the same images",
        "5.0 ± 0.0 1.25 620 ± 0",
        "At equal cost",
        "AP@S after 24 s",
        "AP@S after 30 s",
        "Python 3.12.1, Linux, 2 CPUs",
        "numpy==2.1.0",
        "Over the epochs",
        "What the miners find",
        "Trials",
        "siod study run made_up",
        "0123456789abcdef",
        "f00d",
        "dminer.pgcl.top_m = 64",
        "recipe.batch_size",
    ):
        assert words in text


def test_names_on_a_page_are_unique(whole: str) -> None:
    names = [value for _, name, value in Outline(whole).attributes if name == "id"]
    assert len(names) == len(set(names))


def test_every_reference_inside_a_page_leads_somewhere(whole: str) -> None:
    attributes = Outline(whole).attributes
    names = {value for _, name, value in attributes if name == "id"}
    wanted = {value[1:] for _, name, value in attributes if name.endswith("href") and value.startswith("#")}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", whole))
    assert wanted
    assert wanted <= names


def test_a_study_in_the_middle_says_what_is_missing(unfinished: StudyRecord) -> None:
    text = Outline(page(without_epochs(unfinished))).text
    assert "9 finished 1 running 1 interrupted 1 failed 3 not started" in text
    assert "no finished trial yet" in text
    assert "RunError: loss term heatmap is nan at step 812" in text


def test_a_study_before_its_first_trial_has_a_page(study: StudyRecord) -> None:
    text = Outline(page(replace(study, trials=(), gallery=None, gallery_files={}))).text
    assert "15 not started" in text
    assert "Over the epochs" not in text


def test_text_is_text_wherever_it_stands(study: StudyRecord, change: Change) -> None:
    arms = tuple(replace(arm, label=f"{arm.name} {NASTY}", note=NASTY, changes={NASTY: NASTY}) for arm in study.arms)
    failed = change(study, "base", 1, status="failed", error=NASTY)
    nasty = replace(failed, name=NASTY, question=NASTY, command=NASTY, arms=arms, experiment={NASTY: NASTY})
    assert nasty.gallery is not None
    nasty = replace(nasty, gallery=replace(nasty.gallery, categories=(NASTY, "_$1$")))
    text = page(without_epochs(nasty))
    outline = Outline(text)
    assert NASTY in outline.text
    # The gallery's data and the page's own script, which alone may run.
    assert text.count("<script") == outline.tags.count("script") == 2
    (policy,) = (value for _, name, value in outline.attributes if name == "content" and "default-src" in value)
    own = text[text.rindex("<script>") + len("<script>") : text.rindex("</script>")]
    assert base64.b64encode(hashlib.sha256(own.encode()).digest()).decode() in policy


def test_figures_are_the_same_every_time(study: StudyRecord) -> None:
    few = without_epochs(study)
    assert draw_study(few) == draw_study(few)


def test_figures_stand_alone_and_draw_every_arm(study: StudyRecord) -> None:
    drawing, _ = draw_study(without_epochs(study))["thresholds"]
    root = ET.fromstring(drawing.svg)  # noqa: S314  (drawn here)
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {arm.label for arm in study.arms} <= texts
    assert "#010203" not in drawing.svg
    assert all(colour in drawing.svg for colour in arm_colours(study).values())


def test_a_legend_of_long_labels_stays_within_the_figure(study: StudyRecord) -> None:
    long = replace(study, arms=tuple(replace(arm, label=f"{arm.label} on sparse annotations") for arm in study.arms))
    columns = []
    for record in (study, long):
        figure = draw_study(without_epochs(record))["thresholds"][0].figure
        (legend,) = figure.legends
        assert legend.get_window_extent().width <= figure.bbox.width
        columns.append(legend._ncols)
    assert columns == [3, 1]


@pytest.mark.parametrize("label", ["_hidden", "$a$ and $b", "<i>", "", "a\nb"])
def test_a_label_is_drawn_as_it_is(label: str, study: StudyRecord) -> None:
    arms = (ArmRecord("base", label), *(arm for arm in study.arms if arm.name != "base"))
    drawing, _ = draw_study(replace(without_epochs(study), arms=arms))["thresholds"]
    texts = [element.text or "" for element in ET.fromstring(drawing.svg).iter() if element.tag.endswith("text")]  # noqa: S314
    assert {line.strip() for line in label.split("\n") if line} <= {text.strip() for text in texts}


def test_the_gallery_is_printed_with_its_images_and_the_arms_across(study: StudyRecord) -> None:
    (drawing,) = draw_study(study)["gallery"]
    panels = drawing.figure.axes
    assert len(panels) == 4 * (1 + len(study.arms))
    assert [on.get_title() for on in panels[: 1 + len(study.arms)]] == ["ground truth", *(a.title for a in study.arms)]
    strip = draw_gallery(study)[0]
    assert [len(on.patches) for on in panels[: len(strip.panels)]] == [len(panel.boxes) for panel in strip.panels]
    assert drawing.svg.count("<image") == len(panels)


def test_figures_printed_by_other_processes_are_the_same(study: StudyRecord) -> None:
    drawings, printer = draw_study(study)["training"][:2], FigurePrinter()
    for drawing in drawings:
        printer.submit(drawing)
    for drawing in reversed(drawings):
        assert printer.files(drawing) == {kind: drawing.printed(kind) for kind in PRINTED}


def test_figures_are_drawn_for_what_there_are_values_of(study: StudyRecord) -> None:
    names = {group: [one.name for one in drawn] for group, drawn in draw_study(study).items()}
    assert names["training"] == ["ap_s", "train_loss", "train_heatmap", "train_size", "train_offset", "train_pgcl"]
    assert names["mining"][0] == "mining_splg_per_image"
    bare = replace(study, trials=tuple(replace(one, history={}, metrics={}) for one in study.trials), gallery=None)
    assert set(draw_study(bare).values()) == {()}


def test_titles_say_what_is_drawn() -> None:
    assert title_of("mining/pgcl_recall") == "PGCL: recall (%)"
    assert title_of("mining/splg_per_image") == "SPLG: positions per image"
    assert title_of("train/loss") == "Training loss"
    assert title_of("ap_s") == "AP@S (%)"


def test_the_gallery_draws_what_passes_the_threshold(study: StudyRecord, change: Change) -> None:
    found = {1: (FoundBox(1, 2, 3, 4, 0.874, 1), FoundBox(5, 6, 7, 8, 0.3, 0), FoundBox(9, 9, 9, 9, 0.299, 0))}
    strips = draw_gallery(change(study, "base", 0, found=found))
    assert [strip.id for strip in strips] == [1, 2, 3, 4]
    titles = ["ground truth", "FSOD", "SIOD (base)", "SIOD + SPLG", "SIOD + PGCL", "SIOD (DMiner)"]
    assert [panel.title for panel in strips[0].panels] == titles
    base = strips[0].panels[2]
    assert [(box.x, box.y, box.width, box.height, box.caption) for box in base.boxes] == [
        (1, 2, 3, 4, "one 87"),
        (5, 6, 7, 8, "zero 30"),
    ]
    assert strips[1].panels[2].boxes == ()


def test_each_gallery_image_stands_on_the_page_once(study: StudyRecord, whole: str) -> None:
    assert whole.count("data:image/png;base64,") == len(study.gallery_files) == 4


def test_a_report_is_a_folder_of_files(study: StudyRecord, tmp_path: Path) -> None:
    study = without_epochs(study)
    files = build_report(study, tmp_path / "new" / "report")
    text = files.page.read_text()
    written = {path.relative_to(files.folder).as_posix() for path in files.folder.rglob("*") if path.is_file()}
    figures = {f"figures/{path.name}" for path in files.figures}
    tables = {"table.md", "table.tex", "table.csv", "table.parquet", "trials.csv", "trials.parquet"}
    assert written == {"index.html"} | tables | figures
    assert {path.name for path in files.tables} == tables
    # Nothing over the epochs: AP over thresholds, AP at threshold 0 against AP@S and the gallery, in three formats.
    assert figures == {
        f"figures/{name}.{kind}" for name in ("thresholds", "trade_off", "detections") for kind in ("svg", "pdf", "png")
    }
    before = {path: (files.folder / path).read_bytes() for path in written}
    assert build_report(study, files.folder) == files
    assert {path: (files.folder / path).read_bytes() for path in written} == before
    assert files.page.read_text() == text


def test_a_folder_that_cannot_be_written_is_named(study: StudyRecord, tmp_path: Path) -> None:
    study = without_epochs(study)
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match=r"taken/table\.md: cannot be written \(.*\); name another folder with --out"):
        build_report(study, tmp_path / "taken")


def test_reports_are_built_without_torch_ray_and_mlflow() -> None:
    program = (
        "import sys, siod.reports.build, siod.reports.index, siod.reports.terminal;"
        "print(*sorted({'torch', 'ray', 'mlflow', 'pandas', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
