"""Retrieval: ranks by hand, ties against the model, galleries of different texts."""

import torch

from sumi.evaluation.retrieval import galleries, ranks, recalls


def test_a_rank_counts_what_is_as_near_and_the_own_one() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.2], [0.8, 0.5, 0.1], [0.4, 0.3, 0.4]])
    assert ranks(scores).tolist() == [1, 2, 2]  # the third is tied with the first


def test_recalls_look_both_ways() -> None:
    """Seven of one row: texts of a picture by its row, pictures of a text by its column."""
    scores = torch.eye(7)
    scores[0, 1:] = 2  # the first picture is nearest to all other texts
    found = recalls([scores])
    assert [e.value for e in found.texts] == [6 / 7, 6 / 7]
    assert [e.value for e in found.pictures] == [1 / 7, 1.0]
    twice = recalls([scores, torch.eye(7)])
    assert twice.texts[0].value == 13 / 14


def test_galleries_are_a_hundred_different_texts_in_an_order_of_the_seed() -> None:
    texts = [f"text {i % 250}" for i in range(700)] + [""] * 20
    found = galleries(texts, seed=0)
    assert [len(one) for one in found] == [100, 100]
    named = [texts[item] for one in found for item in one]
    assert len(set(named)) == 200
    assert "" not in named
    assert found == galleries(texts, seed=0) != galleries(texts, seed=1)
    assert sorted(galleries(["a", "b", "a"], seed=0)[0]) in ([0, 1], [1, 2])
