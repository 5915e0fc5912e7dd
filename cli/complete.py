"""``siod complete``: boxes that an annotation file lacks, proposed for review; and the decisions taken back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from siod.cli.options import (
    CACHE,
    RUNS,
    Cache,
    PlainDevice,
    Runs,
    Set,
    Tracking,
    absolute,
    asked_device,
    changes,
    consent,
    refuse_occupied,
    store_uri,
    writable_parent,
)
from siod.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from siod.completion.choosing import Chosen, Wanted
    from siod.completion.proposals import CategoryRate
    from siod.data.category_states import Declared
    from siod.data.coco import CocoDataset
    from siod.tuning.running.completing import Found

INTERRUPTED = 130
SHOWN = 12
"""Categories in the table that is printed; the review page has all."""
SCORES = 4
"""How many scores are named for which boxes without a rate could be proposed."""


Source = Annotated[
    str | None,
    typer.Argument(
        metavar="[STUDY|RUN|DETECTIONS]",
        help="What finds the boxes: a study (with --arm), a run's folder, a checkpoint, or a COCO results file.",
        show_default=False,
    ),
]
Annotations = Annotated[
    Path | None,
    typer.Option(help="COCO file that lacks boxes; the run's own training set when not given.", show_default=False),
]
Images = Annotated[
    Path | None, typer.Option(help="Folder of its images; belongs to --annotations.", show_default=False)
]
Out = Annotated[
    Path | None, typer.Option(help="Folder to write; with --apply the completed COCO file.", show_default=False)
]
MaxFdr = Annotated[
    float | None,
    typer.Option(
        "--max-fdr", min=0.001, max=0.9, help="Largest estimated share of false proposals.", show_default="0.1"
    ),
]
Boxes = Annotated[int | None, typer.Option(min=1, help="The best so many instead of a rate.", show_default=False)]
MinScore = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Of categories whose rate cannot be estimated, those with this score.", show_default=False
    ),
]
Lacks = Annotated[
    Literal["some", "unlabelled"] | None,
    typer.Option(
        help="What the file lacks. some: more boxes where an image has one of a category, none elsewhere; "
        "unlabelled: nobody looked for all of them. Files of siod and LVIS say it themselves.",
        show_default=False,
    ),
]
Whole = Annotated[
    list[str] | None,
    typer.Option("--complete", metavar="CATEGORY", help="Lacks no box; may be given again.", show_default=False),
]
Folds = Annotated[
    int,
    typer.Option(
        min=0, help="Train so many detectors, each without a part of the images, and let it look at that part."
    ),
]
Group = Annotated[
    str | None,
    typer.Option(help="Regular expression; images whose first groups agree share a fold.", show_default=False),
]
AtOnce = Annotated[
    int | None, typer.Option(min=1, help="At most so many folds at once; as many as fit when not given.")
]
Apply = Annotated[
    Path | None,
    typer.Option(help="Decisions that the review page saved: write the completed file.", show_default=False),
]
Review = Annotated[
    Path | None, typer.Option(help="With --apply: where the folder of the review is now.", show_default=False)
]


def complete(
    source: Source = None,
    *,
    annotations: Annotations = None,
    images: Images = None,
    out: Out = None,
    max_fdr: MaxFdr = None,
    boxes: Boxes = None,
    min_score: MinScore = None,
    others: Lacks = None,
    complete_: Whole = None,
    arm: Annotated[str | None, typer.Option(help="Arm of the study.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of its trial.", show_default="its first")] = None,
    folds: Folds = 0,
    group: Group = None,
    set_: Set = None,
    max_concurrent: AtOnce = None,
    link: Annotated[bool, typer.Option("--link", help="Link to the images instead of copying them.")] = False,
    apply: Apply = None,
    review: Review = None,
    device: PlainDevice = "auto",
    runs: Runs = RUNS,
    tracking: Tracking = None,
    cache: Cache = CACHE,
) -> None:
    """Find boxes that are missing, for review in the browser; --apply writes the completed annotation file."""
    if apply is not None:
        if source is not None:
            raise UserError(f"{source}: --apply takes decisions alone; leave it out")
        _refuse_beside_apply(
            {
                "--images": images,
                "--max-fdr": max_fdr,
                "--boxes": boxes,
                "--min-score": min_score,
                "--arm": arm,
                "--seed": seed,
                "--folds": folds or None,
                "--group": group,
                "--set": set_,
                "--max-concurrent": max_concurrent,
                "--link": link or None,
            }
        )
        _apply(apply, review, annotations, out, _declared(complete_, others))
        return
    if source is None or out is None:
        raise UserError(
            "name what finds the boxes, and --out, for example: siod complete runs/mine --annotations mine.json "
            "--images train --out review; or decisions with --apply"
        )
    if review is not None:
        raise UserError("--review says where decisions were made; it belongs to --apply")
    if (annotations is None) != (images is None):
        raise UserError("--annotations and --images belong together; name both or neither")
    if boxes is not None and max_fdr is not None:
        raise UserError("--boxes and --max-fdr exclude each other; name one")
    refuse_occupied(out)
    writable_parent(out)
    from siod.cli.progress import progress_bar  # noqa: PLC0415  (keeps --help fast)
    from siod.completion.choosing import Wanted  # noqa: PLC0415
    from siod.tuning.running.completing import Asked, find  # noqa: PLC0415
    from siod.tuning.running.run_config import RunConfig  # noqa: PLC0415

    config = RunConfig(
        runs_dir=absolute(runs),
        cache_dir=absolute(cache),
        store_uri=store_uri(tracking, absolute(runs)),
        max_concurrent=max_concurrent,
        command=f"siod complete {source}",
    )
    asked = Asked(
        source=source,
        compute=asked_device(device),
        config=config,
        annotations=None if annotations is None else absolute(annotations),
        images=None if images is None else absolute(images),
        declared=_declared(complete_, others),
        arm=arm,
        seed=seed,
        folds=folds,
        group=group,
        settings=changes(set_ or ()),
        confirm=consent(device),
        shown=lambda: progress_bar("looking at images"),
    )
    try:
        found = find(asked)
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on", err=True)
        raise typer.Exit(INTERRUPTED) from None
    rate = (max_fdr or Wanted.max_fdr) if boxes is None else None
    _write(found, Wanted(rate, boxes, min_score), folds or None, absolute(out), link=link)


def _refuse_beside_apply(given: dict[str, object]) -> None:
    for option, value in given.items():
        if value is not None:
            raise UserError(f"{option}: --apply only takes decisions back and would ignore it; leave it out")


def _declared(complete_: list[str] | None, others: Literal["some", "unlabelled"] | None) -> Declared | None:
    """What the options say of the annotations; None when they say nothing."""
    from siod.data.category_states import Declared  # noqa: PLC0415  (keeps --help fast)

    if complete_ is None and others is None:
        return None
    return Declared(tuple(complete_ or ()), others or "unlabelled")


def _write(found: Found, wanted: Wanted, folds: int | None, out: Path, *, link: bool) -> None:
    """Choose among the detections, write the folder, and say what is in it."""
    from siod.cli.progress import progress_bar  # noqa: PLC0415  (keeps --help fast)
    from siod.completion.choosing import choose  # noqa: PLC0415
    from siod.completion.preannotations import write_preannotations  # noqa: PLC0415
    from siod.completion.proposals import FILE, Origin, write_proposals  # noqa: PLC0415
    from siod.data.category_states import category_states  # noqa: PLC0415
    from siod.data.formats.image_folder import atomic_folder  # noqa: PLC0415
    from siod.reports.review.page import PAGE, write_review  # noqa: PLC0415

    dataset = found.images.dataset
    states = category_states(dataset, dataset, found.declared)
    chosen = choose(found.detected, dataset, states, wanted)
    origin = Origin(
        annotations=str(dataset.path),
        annotations_sha256=dataset.sha256,
        images=str(found.images.folder),
        detector=found.detector,
        max_fdr=wanted.max_fdr,
        boxes=wanted.boxes,
        folds=folds,
        confidence=chosen.confidence,
        rates=chosen.rates,
        complete=None if found.declared is None else found.declared.complete,
        others="unlabelled" if found.declared is None else found.declared.others,
    )
    with atomic_folder(out) as folder:
        proposals = write_proposals(folder / FILE, origin, dataset, chosen.boxes)
        write_preannotations(proposals, folder / "preannotations")
        with progress_bar("copying images") as progress:
            write_review(proposals, folder, home=out, link=link, progress=progress)
    typer.echo("\n".join(lines(chosen, dataset)))
    if found.unlearnt:
        typer.echo(f"not found in one fold, which has all boxes of it: {', '.join(found.unlearnt)}")
    if found.errs_low:
        typer.echo("the run taught itself on these images: more are false than estimated; --folds 2 tells how many")
    typer.echo(f"{out / PAGE}: open it in a browser to review, then siod complete --apply the decisions.json it saves")


def lines(chosen: Chosen, dataset: CocoDataset) -> list[str]:
    """What there is to say of proposals.

    Args:
        chosen: The proposals.
        dataset: The annotation file.
    """
    images = len({box.image_id for box in chosen.boxes})
    fdr = chosen.fdr()
    wrong = "" if fdr is None else f", of which about {100 * fdr:.0f}% are false"
    text = [f"{len(chosen.boxes)} boxes proposed in {images} of {len(dataset.images)} images{wrong}"]
    names = {category.id: category.name for category in dataset.categories}
    ordered = sorted(zip(chosen.rates, chosen.surest, strict=True), key=lambda of: -of[0].proposed)
    shown, more = ordered[:SHOWN], len(ordered[SHOWN:])
    width = max(len(names[rate.category_id]) for rate, _ in shown)
    for rate, surest in shown:
        text.append(f"  {names[rate.category_id]:<{width}}  {rate.proposed:>7}  {_estimate(rate, surest)}")
    if more:
        text.append(f"  and {more} {'category' if more == 1 else 'categories'} more")
    if chosen.errs_low:
        text.append(
            "more are false than estimated where images without a category show far fewer objects: "
            f"{', '.join(chosen.errs_low)}"
        )
    if len(chosen.unrated) and not any(rate.proposed and rate.reason for rate in chosen.rates):
        text.append(_by_score(chosen.unrated))
    return text


def _estimate(rate: CategoryRate, surest: float | None) -> str:
    together = ", rare ones together" if rate.pooled else ""
    if rate.fdr is not None and rate.fdr_low is not None and rate.fdr_high is not None:
        interval = f"{100 * rate.fdr_low:.0f} to {100 * rate.fdr_high:.0f}"
        return f"{100 * rate.fdr:.0f}% false ({interval}){together}"
    if surest is not None:
        return f"the surest are {100 * surest:.0f}% false{together}"
    return f"share of false ones not known: {rate.reason}" if rate.reason else "none found without a box"


def _by_score(scores: NDArray[np.float64]) -> str:
    """How many boxes without a rate there are from some scores on."""
    # For each number of boxes the highest score that gives it.
    score_of = {int((scores >= tenth / 10).sum()): tenth / 10 for tenth in range(10)}
    some = [f"{score_of[count]:g} ({count})" for count in sorted(score_of) if count][:SCORES]
    return f"boxes whose share of false ones is not known are proposed with --min-score, such as {', '.join(some)}"


def _apply(
    decisions: Path, review: Path | None, annotations: Path | None, out: Path | None, declared: Declared | None
) -> None:
    """Write the completed annotation file."""
    from siod.completion.decisions import apply  # noqa: PLC0415  (keeps --help fast)

    target = absolute(out or decisions.with_name("completed.json"))
    refuse_occupied(target)
    writable_parent(target)
    done = apply(
        absolute(decisions),
        out=target,
        proposals=None if review is None else absolute(review),
        annotations=None if annotations is None else absolute(annotations),
        declared=declared,
    )
    typer.echo("\n".join(done.sentences()))
