"""Documents are joined by the names of categories, with ids of their own."""

from __future__ import annotations

from typing import Any

import pytest

from siod.data.formats.merging import join, shared_names, unlisted_categories, with_same_images, with_source_ids
from siod.errors import UserError


def document(names: list[str], categories: list[tuple[int, str]], **more: Any) -> dict[str, Any]:
    """Each image has one box, the categories taken in turn; ids begin with 0."""
    images = [{"id": place, "file_name": name, "width": 20, "height": 10} for place, name in enumerate(names)]
    annotations = [
        {"id": place, "image_id": place, "category_id": categories[place % len(categories)][0], "bbox": [0, 0, 4, 4]}
        for place in range(len(names))
    ]
    listed = [{"id": number, "name": name} for number, name in categories]
    return {"images": images, "annotations": annotations, "categories": listed, **more}


def test_ids_are_made_anew_and_categories_joined_by_name_without_their_blanks() -> None:
    one = document(["a", "b"], [(5, "dog"), (0, "cat")])
    two = document(["c", "d"], [(1, " cat"), (2, "bird ")])
    joined = join([with_source_ids(one), with_source_ids(two)])
    assert [(entry["id"], entry["name"]) for entry in joined.categories] == [(1, "cat"), (2, "dog"), (3, "bird")]
    assert [entry["id"] for entry in joined.images] == [1, 2, 3, 4]
    assert [entry["source_id"] for entry in joined.images] == [0, 1, 0, 1]
    assert [(entry["id"], entry["image_id"], entry["category_id"]) for entry in joined.annotations] == [
        (1, 1, 2),
        (2, 2, 1),
        (3, 3, 1),
        (4, 4, 3),
    ]
    assert [entry["source_id"] for entry in joined.annotations] == [0, 1, 0, 1]
    assert joined.remarks == []


def test_names_that_nearly_agree_stay_apart_and_are_pointed_out() -> None:
    joined = join([document(["a"], [(1, "red cell")]), document(["b"], [(1, "Red-Cells"), (2, "blue")])])
    assert [entry["name"] for entry in joined.categories] == ["red cell", "Red-Cells", "blue"]
    (remark,) = joined.remarks
    assert remark.startswith("categories 'red cell', 'Red-Cells' are told apart")


def test_equal_licences_are_one_and_images_keep_theirs() -> None:
    free, other = {"id": 3, "name": "CC0"}, {"id": 1, "name": "MIT"}
    one, two = (document([name], [(1, "cat")], licenses=licences) for name, licences in (("a", [free]), ("b", [other])))
    three = document(["c"], [(1, "cat")], licenses=[{**free, "id": 9}])
    for made, number in ((one, 3), (two, 1), (three, 9)):
        made["images"][0]["license"] = number
    joined = join([one, two, three])
    assert joined.licenses == [{"id": 1, "name": "CC0"}, {"id": 2, "name": "MIT"}]
    assert [entry["license"] for entry in joined.images] == [1, 2, 1]


def test_a_file_name_that_two_documents_have_is_refused_or_one_image_with_the_boxes_of_both() -> None:
    one, two = document(["a", "b"], [(1, "cat")]), document(["b", "c"], [(1, "cat"), (2, "dog")])
    two["annotations"].append({"id": 7, "image_id": 0, "category_id": 2, "bbox": [1, 1, 2, 2]})
    with pytest.raises(
        UserError, match=r"b: is listed by 1\.json and by 2\.json; if it is one image, add --same-images"
    ):
        shared_names({"1.json": one, "2.json": two})
    joined = with_same_images(join([one, two]))
    assert [(entry["id"], entry["file_name"]) for entry in joined.images] == [(1, "a"), (2, "b"), (3, "c")]
    # The cat of b is in both documents; its dog only in the second.
    assert [(entry["id"], entry["image_id"], entry["category_id"]) for entry in joined.annotations] == [
        (1, 1, 1),
        (2, 2, 1),
        (3, 3, 2),
        (4, 2, 2),
    ]
    assert joined.remarks == ["1 annotations were in several files alike and are kept once"]
    two["images"][0]["width"] = 21
    with pytest.raises(UserError, match="b: is 20 x 10 and 21 x 10 px in different files"):
        with_same_images(join([one, two]))


def test_what_a_document_does_not_list_was_not_looked_for_if_the_user_says_so() -> None:
    one, two = document(["a", "b"], [(5, "cat"), (3, "dog")]), document(["c"], [(1, "bird")])
    assert not any("neg_category_ids" in entry for entry in join([one, two]).images)
    assert unlisted_categories([one, two, document(["d"], [(9, "cat ")])]) == ["bird", "cat", "dog"]
    assert unlisted_categories([one, one]) == []
    joined = join([one, two], unlisted="unlabelled")
    assert joined.remarks == []
    assert [(entry["id"], entry["name"]) for entry in joined.categories] == [(1, "dog"), (2, "cat"), (3, "bird")]
    # a shows a cat, b a dog: the other one of the two is absent, and birds are not listed.
    assert [entry["neg_category_ids"] for entry in joined.images] == [[1], [2], []]


def test_lists_of_categories_are_numbered_anew_and_joined() -> None:
    one, two = document(["a"], [(5, "cat"), (3, "dog")]), document(["a"], [(1, "bird"), (2, "dog")])
    one["images"][0] |= {"neg_category_ids": [3], "not_exhaustive_category_ids": [5]}
    two["images"][0] |= {"neg_category_ids": [2]}
    joined = join([one, two], unlisted="unlabelled")
    assert [entry["neg_category_ids"] for entry in joined.images] == [[1], [1]]
    assert joined.images[0]["not_exhaustive_category_ids"] == [2]
    (image,) = with_same_images(joined).images
    assert (image["neg_category_ids"], image["not_exhaustive_category_ids"]) == ([1], [2])
    two["annotations"][0]["category_id"] = 2
    two["images"][0].pop("neg_category_ids")
    # The second file has the dog that the first lacks.
    (image,) = with_same_images(join([one, two], unlisted="unlabelled")).images
    assert image["neg_category_ids"] == [3]
