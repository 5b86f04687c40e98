"""What is read of what captions mention: shares, controls, and pairs that training does not show."""

from sumi.evaluation.attributes import (
    OF_CLASS,
    OF_PARTS,
    SEEN,
    class_attribute,
    group_of,
    mentioned_in,
    others,
    readings,
    unseen_pairs,
)
from tests.coloured import coloured

READ = [{"kind": "cat", "color": "red"}, {"kind": "dog"}, {"kind": "cat", "color": "blue", "hat": "cap"}]
WANTED = [{"kind": "cat", "color": "red"}, {"kind": "cat", "color": "red"}, {"kind": "cat", "hat": "bow"}]


def test_the_mean_is_over_pictures_and_the_shares_over_those_that_mention_it() -> None:
    found = readings([*READ, {"kind": "dog"}], [*WANTED, {}])
    assert found.pictures == 3
    assert found.mean.value == (1 + 0 + 0.5) / 3
    assert {name: e.value for name, e in found.each.items()} == {"kind": 2 / 3, "color": 1 / 2, "hat": 0}


def test_others_are_of_the_same_class_and_never_oneself() -> None:
    classes = [0, 1, 0, 1, 0, 2, 2, 0]
    found = others(classes, seed=4)
    assert sorted(found) == list(range(8))
    assert all(classes[i] == classes[k] and i != k for i, k in enumerate(found))
    assert all(i != k for i, k in enumerate(others([0] * 9, seed=4)))


def test_pairs_are_unseen_if_no_training_picture_has_both_values() -> None:
    train = [
        {"kind": "cat", "color": "red", "hat": "cap"},
        {"kind": "dog", "color": "blue", "hat": "cap"},
        {"kind": "dog", "color": "red", "hat": "bow"},
    ]
    wanted = [
        {"kind": "cat", "color": "red"},
        {"kind": "cat", "color": "blue"},
        {"color": "blue", "hat": "bow"},
        {"kind": "cat", "color": "blue", "hat": "bow"},
    ]
    found = unseen_pairs(train, wanted)
    assert found[:3] == [[], [("color", "kind")], [("color", "hat")]]
    assert set(found[3]) == {("color", "kind"), ("color", "hat"), ("hat", "kind")}
    assert [group_of(pairs, "kind") for pairs in found] == [SEEN, OF_CLASS, OF_PARTS, OF_CLASS]


def test_the_attribute_of_the_class_is_found_and_unmentioned_ones_are_left_out() -> None:
    data = coloured(1)
    assert class_attribute(data) == "color"
    assert mentioned_in(data) == [dict(each) for each in data.attributes or ()]
